//! What a server is made with.

use std::time::Duration;

use jiff::Timestamp;

/// How the queue keeps its tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QueueKind {
    /// As in production: a task's row is deleted when the task is handed out, and what comes back without a row is dropped
    /// as stale. A workflow whose lease ran out stays as it is for ever.
    #[default]
    Persistent,
    /// A workflow whose lease ran out is handed out again.
    Memory,
}

/// What a server is made with.
#[derive(Debug, Clone)]
pub struct Config {
    /// The token that all agents of the installation share; `None`: only agents with tokens of their own come in.
    pub system_token: Option<String>,
    /// What access tokens are made with. `None`: something new at each start, so that a restart makes all of them
    /// invalid.
    pub secret: Option<String>,
    /// What is made instead of something random: servers of different seeds don't take each other's access tokens.
    pub seed: u64,
    /// How the queue keeps its tasks.
    pub queue: QueueKind,
    /// What `Version` says.
    pub version: String,
    /// The protocol that the server speaks.
    pub protocol: i32,
    /// How often an agent may send a PING: more than two that come earlier, with no answer of a call between, end the
    /// connection.
    pub ping_min_time: Duration,
    /// The wall time at the start; `None`: the machine's. For simulations.
    pub wall_time: Option<Timestamp>,
}

impl Default for Config {
    /// A server as it is installed, with the system token [`Config::TOKEN`].
    fn default() -> Self {
        Self {
            system_token: Some(Self::TOKEN.to_owned()),
            secret: None,
            seed: 0,
            queue: QueueKind::default(),
            version: "3.17.0".to_owned(),
            protocol: piculet_proto::woodpecker::PROTOCOL,
            ping_min_time: Duration::from_secs(5 * 60),
            wall_time: None,
        }
    }
}

impl Config {
    /// The system token of [`Config::default`].
    pub const TOKEN: &'static str = "system-token";
}
