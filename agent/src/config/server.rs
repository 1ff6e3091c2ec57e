//! The CI server, as the configuration has it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use piculet_core::secret::Secret;
use piculet_link::woodpecker::{KeepAlive, Proxies};
use piculet_link::{stream, woodpecker};

/// How the agent and its server talk to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// piculet's own stream.
    Stream,
    /// What Woodpecker servers speak.
    Woodpecker,
}

/// Where the server is, in the way of its protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A server of piculet's own stream.
    Stream(stream::Address),
    /// A Woodpecker server.
    Woodpecker(woodpecker::Address),
}

/// The CI server.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    /// Where it is.
    pub address: Target,
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
    /// Takes whatever certificate a Woodpecker server shows.
    pub skip_verify: bool,
    /// How long a call that a Woodpecker server keeps answering with a retryable error is repeated, not counting the time
    /// without a connection; absent: it is never given up.
    pub retry_timeout: Option<Duration>,
    /// When a connection counts as dead.
    pub keep_alive: KeepAlive,
    /// Where the id that a Woodpecker server gave the agent is kept; absent: nowhere.
    pub id_file: Option<PathBuf>,
    /// The proxies of this machine; used on the way to a Woodpecker server.
    pub proxies: Proxies,
}

impl Target {
    /// How the server there is talked to.
    pub fn protocol(&self) -> Protocol {
        match self {
            Self::Stream(_) => Protocol::Stream,
            Self::Woodpecker(_) => Protocol::Woodpecker,
        }
    }

    /// Whether the connection is encrypted.
    pub fn is_encrypted(&self) -> bool {
        match self {
            Self::Stream(address) => address.is_encrypted(),
            Self::Woodpecker(address) => address.is_encrypted(),
        }
    }

    /// Whether what is said goes unencrypted over a network.
    pub fn is_exposed(&self) -> bool {
        match self {
            Self::Stream(address) => !address.is_encrypted(),
            Self::Woodpecker(address) => address.is_exposed(),
        }
    }

    /// Takes an address in the way of the protocol that this one has.
    pub(super) fn put(&mut self, text: &str) -> Result<(), String> {
        match self {
            Self::Stream(address) => *address = text.parse().map_err(|error: stream::BadAddress| error.to_string())?,
            Self::Woodpecker(address) => {
                *address = text.parse().map_err(|error: woodpecker::BadAddress| error.to_string())?;
            }
        }
        Ok(())
    }

    /// Takes what is said of TLS beside the address.
    pub(super) fn encrypt(&mut self, is_encrypted: bool) -> Result<(), String> {
        match self {
            Self::Stream(address) if address.is_encrypted() == is_encrypted => Ok(()),
            Self::Stream(_) => {
                Err("with the protocol `stream` https:// or http:// in server.address says it".to_owned())
            }
            Self::Woodpecker(address) => {
                *address = address.clone().encrypted(is_encrypted).map_err(|error| error.to_string())?;
                Ok(())
            }
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream(address) => address.fmt(f),
            Self::Woodpecker(address) => address.fmt(f),
        }
    }
}

impl Server {
    /// What holds for a protocol if nobody says anything. A server of the stream has no usual address: it must be given.
    pub(super) fn of(protocol: Protocol) -> Self {
        let is_woodpecker = protocol == Protocol::Woodpecker;
        Self {
            address: match protocol {
                Protocol::Stream => Target::Stream("http://localhost:9443".parse().expect("a constant")),
                Protocol::Woodpecker => Target::Woodpecker("localhost:9000".parse().expect("a constant")),
            },
            token: None,
            token_file: None,
            ca_file: None,
            tls_name: None,
            certificate_file: None,
            key_file: None,
            skip_verify: false,
            retry_timeout: Some(Duration::from_secs(2 * 60)),
            keep_alive: KeepAlive::default(),
            id_file: is_woodpecker.then(|| PathBuf::from("/etc/woodpecker/agent.conf")),
            proxies: Proxies::default(),
        }
    }
}
