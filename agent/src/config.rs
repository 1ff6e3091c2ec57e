//! The configuration: a YAML file, `PICULET_*` variables and flags, resolved by a pure function.
//!
//! Every setting stands once, in `settings`: its key in the file, its variable, its help and its default. Later
//! sources win: file, environment, flags. All errors are told at once, and nothing runs before there are none.

mod files;
mod layers;
#[cfg(test)]
mod page;
mod pods;
mod resolve;
mod settings;
#[cfg(test)]
mod tests;

pub(crate) use files::log_folder;
pub use files::unreadable;
pub use layers::{ConfigError, Layers, Source};
pub use resolve::{Host, pod_settings, resolve, settle};
pub use settings::{Place, SETTINGS, Setting};

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use piculet_core::run::Limits;
use piculet_core::secret::Secret;
use piculet_link::otlp;
use piculet_link::stream::Address;

/// A configuration that can be used.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The CI server.
    pub server: Server,
    /// Who this agent is.
    pub agent: Identity,
    /// The cluster.
    pub kubernetes: Kubernetes,
    /// What the pods look like.
    pub pods: piculet_pods::Settings,
    /// The clocks of a run.
    pub limits: Limits,
    /// What is kept of logs before the server has them.
    pub logs: Logs,
    /// Health and metrics.
    pub admin: Admin,
    /// The agent's own log.
    pub log: Log,
    /// How the agent stops.
    pub shutdown: Shutdown,
    /// Where traces go, by the standard `OTEL_*` variables; absent: nowhere.
    pub traces: Option<otlp::Settings>,
    /// What was given and does no harm, but not what was meant either.
    pub warnings: Vec<ConfigError>,
}

/// The CI server.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    /// Where it is.
    pub address: Address,
    /// The agent's token, from the environment.
    pub token: Option<Secret>,
    /// A file with the token.
    pub token_file: Option<PathBuf>,
    /// PEM certificates to trust instead of the machine's.
    pub ca_file: Option<PathBuf>,
    /// The name that the server's certificate must have; absent: the host of the address.
    pub tls_name: Option<String>,
    /// PEM certificate to present.
    pub certificate_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
}

/// Who this agent is.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity {
    /// For people; replicas may share it.
    pub name: String,
    /// What placement looks at.
    pub labels: BTreeMap<String, String>,
    /// How many workflows run at the same time; at least 1.
    pub max_workflows: u32,
}

/// The cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Kubernetes {
    /// A kubeconfig; absent: the pod's service account, else `KUBECONFIG`, else the user's own.
    pub kubeconfig: Option<PathBuf>,
    /// A context of it; absent: the current one.
    pub context: Option<String>,
    /// The operator's name for the cluster.
    pub cluster_name: String,
    /// Platforms of the nodes that steps may run on; empty: read from the nodes.
    pub platforms: Vec<String>,
}

/// What is kept of logs before the server has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logs {
    /// Bytes of memory for lines that were read and not sent, all steps together.
    pub memory: usize,
    /// Bytes of disk for those that memory is too small for; 0 is none.
    pub disk: u64,
    /// The directory for them; absent: no disk.
    pub directory: Option<PathBuf>,
    /// How long a line may wait for others to be sent with.
    pub batch_period: Duration,
    /// How many bytes may be on their way to the server; more waits, so that states don't.
    pub in_flight: usize,
}

/// Health and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Where `/livez`, `/readyz` and `/metrics` are served; absent: nowhere.
    pub address: Option<SocketAddr>,
}

/// The agent's own log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// A level, or directives as `tracing` has them.
    pub level: String,
    /// How a line looks.
    pub format: LogFormat,
}

/// How a line of the agent's own log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object per line.
    Json,
}

/// How the agent stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shutdown {
    /// How long running workflows may go on after the first signal.
    pub drain_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server: Server {
                address: "http://localhost:9443".parse().expect("a constant"),
                token: None,
                token_file: None,
                ca_file: None,
                tls_name: None,
                certificate_file: None,
                key_file: None,
            },
            agent: Identity { name: String::new(), labels: BTreeMap::new(), max_workflows: 4 },
            kubernetes: Kubernetes::default(),
            pods: piculet_pods::Settings::default(),
            limits: Limits::default(),
            logs: Logs {
                memory: 64 << 20,
                disk: 1 << 30,
                directory: None,
                batch_period: Duration::from_millis(200),
                in_flight: 1 << 20,
            },
            admin: Admin { address: Some(SocketAddr::from(([0, 0, 0, 0], 3000))) },
            log: Log { level: "info".to_owned(), format: LogFormat::Human },
            shutdown: Shutdown { drain_timeout: Duration::from_secs(60 * 60) },
            traces: None,
            warnings: Vec::new(),
        }
    }
}
