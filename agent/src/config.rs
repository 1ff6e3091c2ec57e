//! The configuration: a YAML file, variables and flags, resolved by a pure function.
//!
//! Every setting stands once, in `settings`: its key in the file, its `PICULET_*` variable, its help and its default.
//! What the Woodpecker agent reads stands in `woodpecker`, with the setting that it is here. Later sources win: file,
//! `WOODPECKER_*`, `PICULET_*`, flags. All errors are told at once, and nothing runs before there are none.

pub mod dotenv;
mod files;
mod layers;
mod listen;
#[cfg(test)]
mod page;
mod pods;
mod protocol;
mod resolve;
mod server;
mod settings;
#[cfg(test)]
mod tests;
mod values;
pub mod woodpecker;

pub(crate) use files::log_folder;
pub use files::unreadable;
pub use layers::{ConfigError, Layers, Source};
pub use listen::{BadListen, Listen};
pub use resolve::{Host, admin_address, pod_settings, resolve, settle};
pub use server::{Protocol, Server, Target};
pub use settings::{Place, SETTINGS, Setting};

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use piculet_cluster::Places;
use piculet_core::run::Limits;
use piculet_link::otlp;
use piculet_pods::settings::Profile;

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

/// Who this agent is.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity {
    /// For people; replicas may share it.
    pub name: String,
    /// The machine's name.
    pub hostname: String,
    /// What placement looks at.
    pub labels: BTreeMap<String, String>,
    /// How many workflows run at the same time; at least 1.
    pub max_workflows: u32,
    /// Whether the agent ends after one workflow.
    pub single_workflow: bool,
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
    /// Where health and metrics are served; absent: nowhere.
    pub address: Option<Listen>,
}

/// The agent's own log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// A level, or directives as `tracing` has them.
    pub level: String,
    /// How a line looks.
    pub format: LogFormat,
    /// Where it goes.
    pub file: LogFile,
    /// Whether it has colours.
    pub colour: Colour,
}

/// Where the agent's own log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogFile {
    /// Standard error.
    Stderr,
    /// Standard output.
    Stdout,
    /// A file, which is written on at its end.
    Path(PathBuf),
}

/// Whether the agent's own log has colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Colour {
    /// On a terminal.
    Auto,
    /// Wherever it goes.
    On,
    /// Nowhere.
    Off,
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

impl Config {
    /// Where workflows run.
    pub(crate) fn places(&self) -> Places {
        if self.pods.namespace_per_organization { Places::ManyNamespaces } else { Places::OneNamespace }
    }

    /// What holds for a protocol if nobody says anything. With that of Woodpecker it is what the Woodpecker agent has.
    pub fn of(protocol: Protocol) -> Self {
        let is_woodpecker = protocol == Protocol::Woodpecker;
        let profile = if is_woodpecker { Profile::Compat } else { Profile::Hardened };
        let mut pods = piculet_pods::Settings::default().under(profile);
        if is_woodpecker {
            "woodpecker".clone_into(&mut pods.namespace);
        }
        Self {
            server: Server::of(protocol),
            agent: Identity {
                name: String::new(),
                hostname: String::new(),
                labels: BTreeMap::new(),
                max_workflows: if is_woodpecker { 1 } else { 4 },
                single_workflow: false,
            },
            kubernetes: Kubernetes::default(),
            pods,
            limits: Limits::default(),
            logs: Logs {
                memory: 64 << 20,
                disk: 1 << 30,
                directory: None,
                batch_period: Duration::from_millis(200),
                in_flight: 1 << 20,
            },
            admin: Admin { address: Some(Listen::everywhere(3000)) },
            log: Log {
                level: "info".to_owned(),
                format: LogFormat::Human,
                file: LogFile::Stderr,
                colour: Colour::Auto,
            },
            // The Woodpecker agent's manifest leaves it Kubernetes' 30 s, of which 20 s are the steps' own.
            shutdown: Shutdown { drain_timeout: Duration::from_secs(if is_woodpecker { 5 } else { 60 * 60 }) },
            traces: None,
            warnings: Vec::new(),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::of(Protocol::Stream)
    }
}
