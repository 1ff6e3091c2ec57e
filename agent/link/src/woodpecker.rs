//! The link to an unmodified Woodpecker server, from v3.14 on: unary calls, as `proto/woodpecker.proto` describes them.
//!
//! ```text
//!  demand ──▶ one `Next` for each free slot ──▶ a workflow ──▶ `Wait` and `Extend` until it is over
//!  reports ─▶ its run: lanes of `Init`, `Update`, `Log`, `Done` ──▶ acknowledged when the server has answered
//! ```
//!
//! A connection that breaks ends the session, never a workflow: the next session goes on where this one was, and calls
//! that may not have arrived are made again. What the server said of a workflow is kept over sessions; the server itself
//! forgets which workflows run when it restarts, and takes their reports nevertheless.

mod address;
mod answer;
mod calls;
mod id_file;
mod open;
mod pass;
mod payload;
mod polls;
mod proxy;
mod run;
mod session;
mod states;
mod transport;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use piculet_core::id::{RunKey, ServerId};
use piculet_core::outbox::Limits;
use tokio::sync::mpsc;
use tracing::{Instrument as _, info_span};

pub use address::{Address, BadAddress};
pub use proxy::{BadProxy, Proxies};
pub use transport::{Dialer, KeepAlive, MIN_KEEP_ALIVE, Settings as Transport};

use crate::link::{Ended, Link};
use crate::message::{Hello, Incoming, Outgoing};
use crate::stream::{Connect, Token};
use run::Run;

/// How the agent presents itself to a server, and for how long it asks it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How to reach the server. Its address is also its identity, since it has no other one.
    pub transport: Transport,
    /// The agent's token: that of all agents of the server, or of this one.
    pub token: Option<Token>,
    /// Where the server's number of this agent is kept; `None`: nowhere, and the agent takes leave when it ends.
    pub id_file: Option<PathBuf>,
    /// The agent's host name: a label, and for people.
    pub hostname: String,
    /// The agent's platform: `linux/amd64`.
    pub platform: String,
    /// How long a call is repeated that the server answers with an error that asks for it; `None`: without an end. Time
    /// without a server never counts.
    pub retry_timeout: Option<Duration>,
    /// Lets agents that lost their server at the same moment call it at different ones.
    pub seed: u64,
}

/// What the outbox has to do for this link: a line is never cut, a chunk is what the server stores at once (1,000
/// lines) and well below what it receives (4 MiB), and the end of a step comes after its log.
pub fn limits(limits: Limits) -> Limits {
    const LINE: usize = 1024 * 1024;
    Limits {
        chunk_bytes: LINE,
        chunk_lines: 1000,
        unacknowledged_log_bytes: limits.unacknowledged_log_bytes.max(4 * LINE),
        finals_after_logs: true,
        ..limits
    }
}

/// The link to a Woodpecker server.
pub struct WoodpeckerLink<C = Dialer> {
    settings: Settings,
    connect: C,
    now: Box<dyn Fn() -> Timestamp + Send + Sync>,
    /// The server's number of this agent, once it has one.
    agent_id: Option<i64>,
    /// The number is kept nowhere.
    is_stateless: bool,
    sessions: u64,
    runs: BTreeMap<RunKey, Run>,
    /// How many workflows were taken. The server knows no epochs, and may give a workflow back to an agent that still stops
    /// it: what the agent says of that run must not be taken for the later one's.
    taken: u64,
}

impl WoodpeckerLink {
    /// Over the network. `now` is the wall clock.
    pub fn new(settings: Settings, now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        let dialer = Dialer::new(&settings.transport);
        Self::with_connector(settings, dialer, now)
    }
}

impl<C: Connect> WoodpeckerLink<C> {
    /// Over whatever `connect` brings: pipes in tests, a simulated network.
    pub fn with_connector(settings: Settings, connect: C, now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        let is_stateless = settings.id_file.is_none();
        let now = Box::new(now);
        Self { settings, connect, now, agent_id: None, is_stateless, sessions: 0, runs: BTreeMap::new(), taken: 0 }
    }

    fn server(&self) -> ServerId {
        ServerId::new(self.settings.transport.server.to_string())
    }
}

impl<C> fmt::Debug for WoodpeckerLink<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WoodpeckerLink")
            .field("settings", &self.settings)
            .field("agent_id", &self.agent_id)
            .field("runs", &self.runs.len())
            .finish_non_exhaustive()
    }
}

impl<C: Connect> Link for WoodpeckerLink<C> {
    async fn run(
        &mut self,
        hello: Hello,
        outgoing: mpsc::Receiver<Outgoing>,
        incoming: mpsc::Sender<Incoming>,
    ) -> Ended {
        let span = info_span!(target: "piculet::trace", "connect", "server.address" = %self.settings.transport.server);
        match self.open(&hello).instrument(span).await {
            Ok(calls) => self.serve(calls, hello, outgoing, incoming).await,
            Err(ended) => ended,
        }
    }
}
