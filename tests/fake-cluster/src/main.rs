//! A fake cluster as a program of its own, so that an agent can be killed without its cluster.

use std::io::{self, IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use fake_cluster::process::{ProcessRuntime, ProcessSettings};
use fake_cluster::runtime::Runtime;
use fake_cluster::{FakeCluster, NodeSettings, Script, ScriptedRuntime, Settings};
use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};

/// A Kubernetes API server in memory, with one node.
#[derive(Debug, Parser)]
#[command(name = "fake-cluster", version)]
struct Arguments {
    /// The address to listen on, plain HTTP. Port 0 is any free one.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Where to write the kubeconfig.
    #[arg(long, value_name = "FILE")]
    write_kubeconfig: Option<PathBuf>,
    /// A namespace that exists from the start, and that the kubeconfig names. Can be repeated; the first is named.
    #[arg(long, default_value = "ci", value_name = "NAME")]
    namespace: Vec<String>,
    /// The number of nodes.
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    nodes: usize,
    /// What containers are.
    #[arg(long, value_enum, default_value_t = Containers::Scripted)]
    runtime: Containers,
    /// With `--runtime scripted`: how many lines each container prints.
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    script_lines: usize,
    /// With `--runtime scripted`: how long each container runs after that, in seconds.
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    script_seconds: u64,
    /// With `--runtime scripted`: the exit code of each container.
    #[arg(long, default_value_t = 0, value_name = "CODE")]
    script_exit: i32,
    /// With `--runtime process`: a folder for the containers' files, which are removed at the end. The default is the
    /// one for temporary files.
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// With `--runtime process`: a folder whose contents take the place of a clone.
    #[arg(long, value_name = "DIR")]
    source: Option<PathBuf>,
    /// With `--runtime process`: containers without a command succeed, and print what they would have got.
    #[arg(long)]
    simulate_plugins: bool,
    /// With `--runtime process`: no network but the pods' own.
    #[arg(long)]
    offline: bool,
    /// With `--runtime process`: run commands with your own rights, on all your files.
    #[arg(long)]
    unsafe_host: bool,
    /// What to say on standard error, for example `info` or `fake_cluster=debug`.
    #[arg(long, default_value = "warn", value_name = "FILTER")]
    log: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Containers {
    /// All play the same script.
    Scripted,
    /// Their commands run as processes of this machine.
    Process,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let colour = io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(&arguments.log).with_writer(io::stderr).with_ansi(colour).init();
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("there is no runtime: {error}"))
        .and_then(|runtime| runtime.block_on(run(arguments)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // If standard error is gone there is nobody to tell.
            let _nobody_reads = writeln!(io::stderr(), "error: {message}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), String> {
    let signals = [SignalKind::interrupt(), SignalKind::terminate()].map(signal);
    let runtime: Arc<dyn Runtime> = match arguments.runtime {
        Containers::Scripted => scripted(&arguments),
        Containers::Process => processes(&arguments).await?,
    };
    let settings = Settings {
        epoch: wall_time(),
        seed: seed(),
        namespaces: arguments.namespace.clone(),
        nodes: (1..=arguments.nodes).map(|number| NodeSettings::new(&format!("node-{number}"))).collect(),
        ..Settings::default()
    };
    let cluster = FakeCluster::start(settings, runtime);
    let (address, kubeconfig) = cluster
        .listen(arguments.listen)
        .await
        .map_err(|error| format!("can't listen on {}: {error}", arguments.listen))?;
    if let Some(file) = &arguments.write_kubeconfig {
        std::fs::write(file, kubeconfig).map_err(|error| format!("can't write {}: {error}", file.display()))?;
    }
    writeln!(io::stdout(), "ready: http://{address}")
        .map_err(|error| format!("can't say that it is ready: {error}"))?;
    let [interrupt, terminate] = signals;
    let mut interrupt = interrupt.map_err(|error| format!("can't wait for signals: {error}"))?;
    let mut terminate = terminate.map_err(|error| format!("can't wait for signals: {error}"))?;
    tokio::select! {
        biased;
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    cluster.shut_down().await;
    Ok(())
}

fn scripted(arguments: &Arguments) -> Arc<dyn Runtime> {
    let runtime = ScriptedRuntime::new();
    let script = Script::new()
        .lines(arguments.script_lines, |number| format!("line {}", number + 1))
        .wait(Duration::from_secs(arguments.script_seconds))
        .exit(arguments.script_exit);
    runtime.on_all(script);
    runtime
}

async fn processes(arguments: &Arguments) -> Result<Arc<dyn Runtime>, String> {
    let mut settings = ProcessSettings::new(arguments.scratch.clone().unwrap_or_else(std::env::temp_dir));
    settings.source.clone_from(&arguments.source);
    settings.simulate_plugins = arguments.simulate_plugins;
    settings.offline = arguments.offline;
    settings.unsafe_host = arguments.unsafe_host;
    let runtime = ProcessRuntime::new(settings).await.map_err(|error| error.to_string())?;
    Ok(runtime)
}

#[expect(clippy::disallowed_methods, reason = "the one place where this program reads the wall clock")]
fn wall_time() -> Timestamp {
    Timestamp::now()
}

/// Each run of the program is another cluster, with other uids.
fn seed() -> u64 {
    let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
    high ^ low
}
