//! `demo`: everything in one process.

use std::io::IsTerminal;

use server_stub::demo::{self, DemoError, Options};
use tracing_subscriber::EnvFilter;

use super::exit::{Exit, Failure};
use super::output::Output;

/// Runs the files and shows how they went.
pub(super) async fn run(options: &Options, output: &mut Output) -> Result<Exit, Failure> {
    let filter = EnvFilter::try_new(&options.log_level)
        .map_err(|error| Failure::BadInput(format!("--log-level '{}': {error}", options.log_level)))?;
    let colour = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    log.with_target(false).with_ansi(colour).init();
    let mut out = std::io::BufWriter::new(std::io::stdout());
    match demo::run(options, output.is_json(), &mut out).await {
        Ok(true) => Ok(Exit::Done),
        Ok(false) => Ok(Exit::Failed),
        Err(DemoError::BadInput(message) | DemoError::Place(message)) => Err(Failure::BadInput(message)),
        Err(DemoError::Output(error)) => Err(Failure::Output(error)),
    }
}
