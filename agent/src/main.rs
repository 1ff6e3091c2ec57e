//! `piculet`: see [`piculet::cli`].

use std::io::{ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use piculet::cli::{Cli, Command, Settings};
use piculet::commands::{self, Wish};
use piculet::config::{Config, ConfigError, Host, Source, admin_address, dotenv, pod_settings, settle, unreadable};
use piculet::exit::Failure;

/// The exit code for a wrong command line, as `sysexits.h` has it.
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way, too; they are no failures.
            let code = if error.use_stderr() { USAGE } else { 0 };
            let _nobody_reads = error.print();
            return ExitCode::from(code);
        }
    };
    let is_check = matches!(cli.command, Command::Check { .. });
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads the output has had enough of it, as `head` does.
        Err(Failure::Output(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            report(&failure, is_check);
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    let environment = environment()?;
    let environment = with_dotenv(environment)?;
    let host = host(&environment);
    let layers =
        |settings: &Settings| settings.layers(environment.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let read = |settings: &Settings| -> Result<Config, Failure> {
        let (config, mut errors) = settle(layers(settings)?, &host);
        errors.extend(unreadable(&config));
        if errors.is_empty() { Ok(config) } else { Err(Failure::Config(errors)) }
    };
    let mut out = std::io::stdout().lock();
    match command {
        Command::Agent(settings) => block_on(commands::run(read(&settings)?)),
        Command::Check { cluster, settings } => block_on(commands::check(&read(&settings)?, cluster, &mut out)),
        Command::Ping(settings) => {
            let address = admin_address(layers(&settings)?).map_err(|error| Failure::Config(vec![error]))?;
            block_on(commands::ping(address.as_ref()))
        }
        Command::Reap { dry_run, all, retire, orphans_after, settings } => {
            let age = Duration::from_secs(u64::from(orphans_after) * 3600);
            let (config, mut errors) = settle(layers(&settings)?, &host);
            // No server is asked.
            errors.retain(|error| !error.key.starts_with("server."));
            if !errors.is_empty() {
                return Err(Failure::Config(errors));
            }
            let wish = Wish { dry_run, all, age, retire: retire.as_deref() };
            block_on(commands::reap(&config, &wish, &mut out))
        }
        Command::Plan { file, context, settings } => {
            let pods = pod_settings(layers(&settings)?).map_err(Failure::Config)?;
            commands::plan(&file, &context, &pods, &mut out, &mut std::io::stderr())
        }
    }
}

fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    // The one crypto provider of the process. It fails only if there is one already.
    let _first = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Internal(error.to_string()))?;
    let result = runtime.block_on(work);
    // A name that is being looked up must not keep a process that was told to end at once.
    runtime.shutdown_background();
    result
}

/// The environment above what `.env` in the working directory says.
fn with_dotenv(mut environment: Vec<(String, String)>) -> Result<Vec<(String, String)>, Failure> {
    let text = match std::fs::read(dotenv::FILE) {
        Ok(text) => text,
        // A directory of that name is somebody else's.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::IsADirectory) => return Ok(environment),
        Err(error) => return Err(Failure::Unreadable { path: dotenv::FILE.into(), error }),
    };
    let variables = dotenv::read(&text).map_err(|error| Failure::Config(vec![error]))?;
    for (name, value) in variables {
        if !environment.iter().any(|(known, _)| *known == name) {
            environment.push((name, value));
        }
    }
    Ok(environment)
}

/// The environment, read once. Of others' variables those that aren't text are left alone.
#[expect(clippy::disallowed_methods, reason = "the one place of the program that reads the environment")]
fn environment() -> Result<Vec<(String, String)>, Failure> {
    let mut variables = Vec::new();
    let mut errors = Vec::new();
    for (name, value) in std::env::vars_os() {
        match (name.into_string(), value.into_string()) {
            (Ok(name), Ok(value)) => variables.push((name, value)),
            (Ok(name), Err(_)) if ["PICULET_", "WOODPECKER_", "OTEL_"].iter().any(|ours| name.starts_with(ours)) => {
                let message = "the value is no UTF-8".to_owned();
                errors.push(ConfigError { key: String::new(), source: Source::Variable(name), message });
            }
            _ => {}
        }
    }
    if errors.is_empty() { Ok(variables) } else { Err(Failure::Config(errors)) }
}

/// Where a pod's own token is. The variables alone say little: the Woodpecker agent wants them set outside a cluster, too.
const POD_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

fn host(environment: &[(String, String)]) -> Host {
    let get = |wanted: &str| environment.iter().find_map(|(name, value)| (name == wanted).then(|| value.clone()));
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned());
    let own = get("HOME").map(|home| PathBuf::from(home).join(".kube/config")).filter(|path| path.exists());
    Host {
        name: name.ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "piculet".to_owned()),
        is_terminal: std::io::stderr().is_terminal(),
        in_cluster: get("KUBERNETES_SERVICE_HOST").is_some_and(|host| !host.is_empty())
            && Path::new(POD_TOKEN).exists(),
        kubeconfig: get("KUBECONFIG").filter(|path| !path.is_empty()).map(PathBuf::from).or(own),
    }
}

/// Tells a person what went wrong.
fn report(failure: &Failure, is_check: bool) {
    let mut err = std::io::stderr().lock();
    // If standard error is gone there is nobody to tell.
    let _nobody_reads = writeln!(err, "error[{}]: {failure}", failure.code());
    // `check` needn't be told to use `check`.
    let is_known = is_check && matches!(failure, Failure::Config(_));
    if !is_known && !failure.hint().is_empty() {
        let _nobody_reads = writeln!(err, "  hint: {}", failure.hint());
    }
}
