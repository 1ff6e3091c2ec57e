//! The command line: `serve` is the server, the other commands talk to one over its HTTP API.
//!
//! Each command is a module with its options (`Args`) and a function `run`. To add one, add a module and a line to
//! [`Command`] and [`run`].

mod agents;
mod cancel;
mod client;
mod clusters;
#[cfg(feature = "demo")]
mod demo;
mod exit;
mod list;
mod logs;
mod output;
mod serve;
mod submit;
mod tokens;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use exit::{Exit, Failure};
use output::Output;

/// A Woodpecker-style CI server for piculet agents.
#[derive(Debug, Parser)]
#[command(name = "piculet-server", version, after_help = exit::HELP)]
struct Cli {
    /// Print JSON instead of text for people.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Listen for agents and for the commands below.
    Serve(serve::Args),
    /// Run pipeline files here and now: server, agent and cluster in one process.
    #[cfg(feature = "demo")]
    Demo(server_stub::demo::Options),
    /// Submit pipeline files or workloads.
    Submit(submit::Args),
    /// Show the logs of a workflow.
    Logs(logs::Args),
    /// Stop a workflow.
    Cancel(cancel::Args),
    /// List workflows, or show one.
    List(list::Args),
    /// List agents, or let one take no more work.
    Agents(agents::Args),
    /// List clusters, with what they have and can take.
    Clusters(clusters::Args),
    /// Let the agents of a cluster finish what they have and take no more work.
    Drain(clusters::One),
    /// Let a cluster take work again that was drained or lost.
    Resume(clusters::One),
    /// Give a cluster up that will not come back: what it has starts anew elsewhere, even if it still runs there.
    Lose(clusters::One),
    /// Make, list and revoke the tokens by which agents are let in.
    #[command(subcommand)]
    Tokens(tokens::Command),
}

/// Runs the command line of this process.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way, too; they are no failures.
            let exit = if error.use_stderr() { Exit::BadInput } else { Exit::Done };
            let _nobody_reads = error.print();
            return exit.into();
        }
    };
    let mut output = Output::new(cli.json);
    match run(cli.command, &mut output) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output.failure(&failure);
            failure.exit().into()
        }
    }
}

fn run(command: Command, output: &mut Output) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Internal(error.to_string()))?;
    let result = runtime.block_on(async {
        match command {
            Command::Serve(args) => serve::run(args, output).await,
            #[cfg(feature = "demo")]
            Command::Demo(options) => demo::run(&options, output).await,
            Command::Submit(args) => submit::run(args, output).await,
            Command::Logs(args) => logs::run(args, output).await,
            Command::Cancel(args) => cancel::run(args, output).await,
            Command::List(args) => list::run(args, output).await,
            Command::Agents(args) => agents::run(args, output).await,
            Command::Clusters(args) => clusters::run(args, output).await,
            Command::Drain(args) => clusters::set_intake(args, "drain", output).await,
            Command::Resume(args) => clusters::set_intake(args, "resume", output).await,
            Command::Lose(args) => clusters::lose(args, output).await,
            Command::Tokens(command) => tokens::run(command, output).await,
        }
    });
    // A disk that hangs, or a database that somebody else keeps locked, must not keep a process that is to end: what it
    // didn't take was told to nobody.
    runtime.shutdown_background();
    result
}
