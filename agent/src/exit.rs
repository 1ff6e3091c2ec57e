//! How the process ends: every expected failure has a sentence, a stable code and an exit code.

use std::path::PathBuf;

use crate::config::ConfigError;

/// Something that went wrong in a way that is not our fault, or that a person can mend.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration can't be used.
    #[error("{}", list(.0))]
    Config(Vec<ConfigError>),
    /// A file that was named on the command line can't be read.
    #[error("can't read {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A file that was named on the command line is wrong.
    #[error("{0}")]
    BadInput(String),
    /// The cluster can't be reached, or there is none configured.
    #[error("the Kubernetes API can't be used: {0}")]
    Cluster(String),
    /// `check --cluster` found that no workflow can run: a right is missing, or the namespace.
    #[error("{0}")]
    Rights(String),
    /// The server doesn't accept the agent's credentials, or they can't be read. A sentence.
    #[error("{0}")]
    Unauthorised(String),
    /// No TLS connection with the server comes about. A sentence.
    #[error("{0}")]
    Tls(String),
    /// Server and agent can't talk to each other. A sentence.
    #[error("{0}")]
    Protocol(String),
    /// The admin endpoint can't listen.
    #[error("can't listen on {address} for health and metrics: {error}")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        error: std::io::Error,
    },
    /// The agent was told to stop and had to leave workflows unfinished.
    #[error("stopped with {0} unfinished workflows: the time to drain was over")]
    Unfinished(usize),
    /// The agent ended before the server had taken all that it had to say.
    #[error("the server did not take the last reports in time; they are lost")]
    Undelivered,
    /// `reap`: something did not go. Sentences.
    #[error("not everything is gone: {0}")]
    Left(String),
    /// The standard output can't be written.
    #[error("can't write to the standard output: {0}")]
    Output(std::io::Error),
    /// `ping`: the agent on this machine doesn't say that it is healthy. A sentence.
    #[error("{0}")]
    Unhealthy(String),
    /// A second signal ended the agent at once.
    #[error("stopped at once by a second signal; running workflows were left as they were")]
    Aborted,
    /// A fault of piculet itself.
    #[error("piculet failed, and that is a fault of its own: {0}")]
    Internal(String),
}

impl Failure {
    /// The process's exit code. Documented in `docs/exit-codes.md`; follows `sysexits.h` where that has a word for it.
    pub fn exit_code(&self) -> u8 {
        match self {
            // As the Woodpecker agent's own `ping`.
            Self::Unhealthy(_) => 1,
            Self::BadInput(_) => 65,
            Self::Unreadable { .. } => 66,
            Self::Cluster(_) | Self::Listen { .. } => 69,
            Self::Internal(_) => 70,
            Self::Output(_) => 74,
            Self::Unfinished(_) | Self::Undelivered | Self::Left(_) => 75,
            Self::Protocol(_) => 76,
            Self::Unauthorised(_) | Self::Rights(_) => 77,
            Self::Config(_) => 78,
            // The first that `sysexits.h` leaves free.
            Self::Tls(_) => 79,
            Self::Aborted => 130,
        }
    }

    /// The stable code, for people who search and programs that branch.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Config(_) => "config",
            Self::Unreadable { .. } => "unreadable",
            Self::BadInput(_) => "bad-input",
            Self::Cluster(_) => "cluster",
            Self::Rights(_) => "rights",
            Self::Unauthorised(_) => "unauthorised",
            Self::Tls(_) => "tls",
            Self::Protocol(_) => "protocol",
            Self::Listen { .. } => "listen",
            Self::Unfinished(_) => "unfinished",
            Self::Undelivered => "undelivered",
            Self::Left(_) => "left",
            Self::Output(_) => "output",
            Self::Unhealthy(_) => "unhealthy",
            Self::Aborted => "aborted",
            Self::Internal(_) => "internal",
        }
    }

    /// What to do about it; empty where the sentence says it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Config(_) => "`piculet check` tells all errors of a configuration without starting anything",
            Self::Cluster(_) => {
                "inside a cluster piculet uses its service account; outside, give --kubeconfig or set KUBECONFIG"
            }
            Self::Unauthorised(_) => "check server.token_file, and that the server knows this token",
            Self::Tls(_) => {
                "server.ca_file says whom to trust, server.tls_name by what name, server.certificate_file and \
                 server.key_file who the agent is; agent/docs/security.md has the whole of it"
            }
            Self::Protocol(_) => "use releases of agent and server that speak the same protocol version",
            Self::Unfinished(_) => "raise shutdown.drain_timeout and the pod's terminationGracePeriodSeconds together",
            Self::Left(_) => "run it again; what a finalizer holds goes when its owner has taken that off",
            Self::Undelivered => "look whether the server answers; its own log may say why it was slow",
            Self::Unreadable { .. }
            | Self::BadInput(_)
            | Self::Output(_)
            | Self::Unhealthy(_)
            | Self::Rights(_)
            | Self::Listen { .. }
            | Self::Aborted
            | Self::Internal(_) => "",
        }
    }
}

fn list(errors: &[ConfigError]) -> String {
    let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
    lines.join("\n")
}
