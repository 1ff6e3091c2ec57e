//! `serve`: the server itself.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::SignedDuration;
use piculet_core::secret::{Secret, is_token};
use piculet_link::otlp::{self, Traces};
use server_stub::dispatch::{Limits, Timing};
use server_stub::serve::{Tls, TlsFile, TlsFiles, bind};
use server_stub::server::{Config, Server};
use server_stub::store::Store;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;
use tracing_subscriber::EnvFilter;

use super::exit::{Exit, Failure};
use super::output::Output;

/// How long what is open may take to end and to be stored. With [`FLUSH`] that is less than the 30 s that Kubernetes gives.
const GRACE: Duration = Duration::from_secs(20);
/// The variable with the token that agents have to present.
const TOKEN: &str = "PICULET_SERVER_TOKEN";
/// How long the last spans of traces may take to leave.
const FLUSH: Duration = Duration::from_secs(2);

/// Options of `serve`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where agents connect (gRPC).
    #[arg(long, value_name = "ADDR", env = "PICULET_SERVER_LISTEN", default_value = "127.0.0.1:9443")]
    listen: SocketAddr,
    /// Where the other commands connect (HTTP).
    #[arg(long, value_name = "ADDR", env = "PICULET_SERVER_HTTP", default_value = "127.0.0.1:9080")]
    http: SocketAddr,
    /// A file with the token that agents have to present. The variable PICULET_SERVER_TOKEN may hold the token instead;
    /// an argument can't, since other users of the machine see those.
    #[arg(long, value_name = "FILE", env = "PICULET_SERVER_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// A file with the token that the HTTP API asks for; needed if it isn't on a loopback address.
    #[arg(long, value_name = "FILE", env = "PICULET_SERVER_API_TOKEN_FILE")]
    api_token_file: Option<PathBuf>,
    /// The certificate chain for agents, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its key, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Let only agents in whose certificate comes from this authority, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_client_ca: Option<PathBuf>,
    /// The certificate chain for the HTTP API, PEM. Files of certificates may be exchanged while the server runs.
    #[arg(long, value_name = "FILE", requires = "http_tls_key")]
    http_tls_cert: Option<PathBuf>,
    /// Its key, PEM.
    #[arg(long, value_name = "FILE", requires = "http_tls_cert")]
    http_tls_key: Option<PathBuf>,
    /// The file in which everything is kept; it is made if it isn't there. It holds the secrets of workflows that wait.
    #[arg(long, value_name = "FILE", env = "PICULET_SERVER_DATABASE", default_value = "piculet-server.db")]
    database: PathBuf,
    /// Keep everything in memory instead, and forget it at the end.
    #[arg(long, conflicts_with = "database")]
    in_memory: bool,
    /// How many workflows that are over are kept; the oldest are forgotten first, with their logs.
    #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
    keep_workflows: usize,
    /// Room for all logs, in GiB. When it is full, the workflows that ended first are forgotten. The database's file
    /// becomes somewhat larger than that, and never smaller: what is free in it is used again.
    #[arg(long, value_name = "GIB", default_value_t = 16)]
    keep_logs: u64,
    /// The server's identity, from which object names are made; the database keeps it. The default is a new one for
    /// each database.
    #[arg(long, value_name = "ID")]
    server_id: Option<String>,
    /// How long a workflow waits for an agent that went away with it.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    lost_after: Duration,
    /// What is logged, as in `info,server_stub=debug`.
    #[arg(long, value_name = "FILTER", env = "PICULET_SERVER_LOG", default_value = "info")]
    log: String,
}

/// What of the environment no option stands for.
struct Variables {
    /// The token that agents have to present.
    token: Option<OsString>,
    /// Those of OpenTelemetry, with their names.
    otel: Vec<(String, String)>,
}

/// What is longer is a mistake, and clocks can't count what is much longer.
const A_YEAR: Duration = Duration::from_hours(365 * 24);

fn duration(text: &str) -> Result<Duration, String> {
    let duration = text.parse::<SignedDuration>().map_err(|error| error.to_string())?;
    let duration = Duration::try_from(duration).map_err(|_| "it has to be positive".to_owned())?;
    if duration > A_YEAR { Err("it may be a year at most".to_owned()) } else { Ok(duration) }
}

/// Reads a token from a file; white space around it doesn't count.
pub(super) fn read_token(path: &Path) -> Result<Secret, Failure> {
    token(&read(path)?, &format!("the file {}", path.display()))
}

/// The token in a text; white space around it doesn't count. `place` says where the text is.
fn token(text: &[u8], place: &str) -> Result<Secret, Failure> {
    match std::str::from_utf8(text).map(str::trim) {
        Ok("") => Err(Failure::BadInput(format!("{place} is empty, and should hold a token"))),
        Ok(token) if is_token(token) => Ok(Secret::new(token)),
        _ => Err(Failure::BadInput(format!("the token in {place} has to be one word of ASCII"))),
    }
}

/// Reads a file that an option names.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| Failure::Unreadable { path: path.to_owned(), error })
}

impl Args {
    fn config(&self, variables: &Variables) -> Result<Config, Failure> {
        let agent_token = match (&self.token_file, &variables.token) {
            (Some(_), Some(_)) => {
                let text = format!("the agents' token is given twice, by --token-file and by the variable {TOKEN}");
                return Err(Failure::BadInput(text));
            }
            (Some(path), None) => Some(read_token(path)?),
            (None, Some(text)) => Some(token(text.as_encoded_bytes(), &format!("the variable {TOKEN}"))?),
            (None, None) => None,
        };
        let api_token = self.api_token_file.as_deref().map(read_token).transpose()?;
        if api_token.is_none() && !self.http.ip().is_loopback() {
            return Err(Failure::BadInput(format!(
                "--http {} can be reached from other machines, and everybody there would be let in; \
                 give --api-token-file too",
                self.http
            )));
        }
        Ok(Config {
            server_id: self.server_id.clone(),
            agent_token,
            // From other machines nobody comes in without a token, of `tokens create` or the one that is given here.
            requires_token: !self.listen.ip().is_loopback(),
            api_token,
            timing: Timing { lost_after: self.lost_after, ..Timing::default() },
            limits: Limits {
                finished_workflows: self.keep_workflows,
                all_log_bytes: self.keep_logs.saturating_mul(1 << 30),
                ..Limits::default()
            },
            ..Config::default()
        })
    }

    fn store(&self) -> Result<Store, Failure> {
        if self.in_memory { Ok(Store::in_memory()?) } else { Ok(Store::open(&self.database)?) }
    }

    fn agents_tls(&self) -> Result<Option<Tls>, Failure> {
        let options = ["--tls-cert", "--tls-key", "--tls-client-ca"];
        load(options, &self.tls_cert, &self.tls_key, self.tls_client_ca.clone())
    }

    fn http_tls(&self) -> Result<Option<Tls>, Failure> {
        load(["--http-tls-cert", "--http-tls-key", ""], &self.http_tls_cert, &self.http_tls_key, None)
    }
}

/// Reads what the options name, in the order of [`TlsFiles`].
fn load(
    options: [&'static str; 3],
    certificate: &Option<PathBuf>,
    key: &Option<PathBuf>,
    client_authority: Option<PathBuf>,
) -> Result<Option<Tls>, Failure> {
    let (Some(certificate), Some(key)) = (certificate.clone(), key.clone()) else { return Ok(None) };
    let tls = Tls::load(TlsFiles { certificate, key, client_authority });
    tls.map(Some).map_err(|error| {
        let option = match error.file {
            TlsFile::Certificate => options[0],
            TlsFile::Key => options[1],
            TlsFile::ClientAuthority => options[2],
        };
        Failure::Certificate { option, error }
    })
}

/// Serves until a signal comes.
pub(super) async fn run(args: Args, output: &mut Output) -> Result<Exit, Failure> {
    let filter = EnvFilter::try_new(&args.log).map_err(|error| Failure::BadInput(format!("--log: {error}")))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let log = log.with_ansi(std::io::stderr().is_terminal());
    if output.is_json() {
        log.json().init()
    } else {
        log.init()
    }
    // The one crypto provider of the process. It fails only if there is one already.
    let _first = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut terminate = listen_for(SignalKind::terminate())?;
    let mut interrupt = listen_for(SignalKind::interrupt())?;

    let variables = Variables::read();
    let (mut config, agents_tls, http_tls) = (args.config(&variables)?, args.agents_tls()?, args.http_tls()?);
    for (tls, address, warning) in [
        (&agents_tls, args.listen, "agents connect without TLS: their token and the secrets of workflows"),
        (&http_tls, args.http, "the HTTP API is served without TLS: its token, and the secrets of what is submitted,"),
    ] {
        if tls.is_none() && !address.ip().is_loopback() {
            tracing::warn!("{warning} can be read on the way");
        }
    }
    let store = args.store()?;
    let (agents, api) = (bind(args.listen).await?, bind(args.http).await?);
    let url = |listener: &tokio::net::TcpListener, tls: &Option<Tls>, wanted: SocketAddr| {
        let scheme = if tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", listener.local_addr().unwrap_or(wanted))
    };
    let (agents_url, api_url) = (url(&agents, &agents_tls, args.listen), url(&api, &http_tls, args.http));
    let traces = traces(&variables).await?;
    config.traces = traces.as_ref().map(|traces| traces.outlet().clone());
    let server = Server::start(config, store)?;
    let traces = traces.map(|traces| traces.open(resource(&server)));
    if server.lets_nobody_in() {
        tracing::warn!("no agent is let in yet: make a token with 'piculet-server tokens create --cluster NAME'");
    }
    let mut serving_agents = tokio::spawn(server.serve_agents(agents, agents_tls));
    let mut serving_api = tokio::spawn(server.serve_api(api, http_tls));
    if output.is_json() {
        output.json(&serde_json::json!({ "agents": agents_url, "api": api_url }))?;
    } else {
        output.line(&format!("agents: {agents_url}"))?;
        output.line(&format!("api: {api_url}"))?;
    }

    let broken = |ended: Result<Result<(), _>, tokio::task::JoinError>| match ended {
        Ok(ended) => ended.map_err(Failure::Serve),
        Err(error) => Err(Failure::Internal(error.to_string())),
    };
    tokio::select! {
        biased;
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        ended = &mut serving_agents => return broken(ended).map(|()| Exit::Done),
        ended = &mut serving_api => return broken(ended).map(|()| Exit::Done),
        // What is not stored was told to nobody, so a server that is started anew goes on without loss.
        reason = server.failed() => return Err(Failure::Internal(reason)),
    }
    tracing::info!("shutting down; a second signal ends the server at once");
    tokio::select! {
        biased;
        ended = end(&server, traces) => ended,
        _ = terminate.recv() => Ok(Exit::Aborted),
        _ = interrupt.recv() => Ok(Exit::Aborted),
    }
}

/// Ends the server. Connections that don't end by themselves are cut with the process.
async fn end(server: &Server, traces: Option<otlp::Open>) -> Result<Exit, Failure> {
    let is_stored = tokio::select! {
        biased;
        is_stored = server.shut_down(GRACE) => is_stored,
        reason = server.failed() => return Err(Failure::Internal(reason)),
    };
    if let Some(traces) = traces {
        traces.close(Instant::now() + FLUSH).await;
    }
    if is_stored { Ok(Exit::Done) } else { Err(Failure::NotStored) }
}

impl Variables {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place of the server that reads variables which are no options"
    )]
    fn read() -> Self {
        let text = |text: OsString| text.to_string_lossy().into_owned();
        let all = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
        Self { token: std::env::var_os(TOKEN), otel: all.filter(|(name, _)| name.starts_with("OTEL_")).collect() }
    }
}

/// The way of the traces, if OpenTelemetry's variables give one.
async fn traces(variables: &Variables) -> Result<Option<Traces>, Failure> {
    let variables = variables.otel.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let bad = |problems: Vec<otlp::Problem>| {
        let words = problems.iter().map(|otlp::Problem { variable, message }| format!("{variable}: {message}"));
        Failure::BadInput(words.collect::<Vec<_>>().join("\n"))
    };
    let settings = match otlp::Settings::read(variables).map_err(bad)? {
        otlp::Wanted::On(settings) => settings,
        otlp::Wanted::Off => return Ok(None),
        otlp::Wanted::Foreign(problem) => {
            tracing::warn!("{problem}; traces stay off");
            return Ok(None);
        }
    };
    let exporter = otlp::exporter(&settings).await.map_err(|problem| bad(vec![problem]))?;
    Ok(Some(Traces::new(&settings, exporter)))
}

/// Whose spans these are.
fn resource(server: &Server) -> [(&'static str, String); 3] {
    [
        ("service.name", "piculet-server".to_owned()),
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("service.instance.id", server.look(|dispatcher| dispatcher.policy().server_id.clone())),
    ]
}

fn listen_for(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| Failure::Internal(format!("signals can't be listened for: {error}")))
}

#[cfg(test)]
mod tests {
    use super::{GRACE, duration, end};
    use crate::cli::exit::Exit;
    use server_stub::server::{Config, Server};
    use server_stub::store::Store;
    use std::time::Duration;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_stored_at_the_end_has_exit_code_73() {
        let disk = |latency| Store::simulated(latency).expect("memory is always to be had");
        let server = Server::start(Config::default(), disk(Duration::from_secs(3000))).expect("it is empty");
        server.create_token("a".to_owned(), String::new());
        let start = Instant::now();
        let failure = end(&server, None).await.expect_err("the disk took nothing");
        assert_eq!((failure.exit(), start.elapsed()), (Exit::Database, GRACE));
        let server = Server::start(Config::default(), disk(Duration::from_secs(15))).expect("it is empty");
        server.create_token("a".to_owned(), String::new());
        assert_eq!(end(&server, None).await.ok(), Some(Exit::Done));
    }

    #[test]
    fn durations_are_written_as_people_do() {
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("1h 30s"), Ok(Duration::from_secs(3630)));
        assert!(duration("-1s").is_err());
        assert!(duration("soon").is_err());
        assert!(duration("8760h").is_ok() && duration("8761h").is_err());
    }
}
