//! What a link is, and how its sessions end.

use std::future::Future;
use std::time::Duration;

use piculet_core::retry::Verdict;
use tokio::sync::mpsc;

use crate::message::{Hello, Incoming, Outgoing};

/// One way to talk to a CI server.
///
/// A link consumes demand and reports and produces assignments, cancellations and acknowledgements until its session
/// ends. How many calls that takes is its own matter: the stream has one; a server with unary calls gets a poll per
/// free slot, and each report acknowledges itself by the answer to its call.
pub trait Link: Send + 'static {
    /// Runs one session, from dialing to its end. What must outlive a session (an id that the server gave, a token) is
    /// kept in the link itself.
    ///
    /// - The first that it sends to `incoming` is a [`Welcome`](Incoming::Welcome), which decides about every workflow
    ///   of `hello`. It gives up by itself if the server doesn't come to that in time.
    /// - From then on, anything sent to `incoming` also says that the server lives. Whoever runs the session drops it
    ///   when nothing came for the lease.
    /// - It sends what comes out of `outgoing`, and what belongs to one step in that order. What it has taken can't be
    ///   overtaken, so it takes no more than it can send now, or lets other steps' states pass by. When `outgoing` ends,
    ///   it sends the rest, closes the session and returns.
    /// - Dropping the future ends the session at once.
    fn run(
        &mut self,
        hello: Hello,
        outgoing: mpsc::Receiver<Outgoing>,
        incoming: mpsc::Sender<Incoming>,
    ) -> impl Future<Output = Ended> + Send;
}

/// The end of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Why.
    pub cause: Cause,
    /// Whether another one can do better.
    pub verdict: Verdict,
}

impl Ended {
    /// An end after which another try may go well.
    pub fn retry(cause: Cause) -> Self {
        Self { cause, verdict: Verdict::RETRY }
    }
}

/// Why a session ended, or never began.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// The server ended it without an error.
    #[error("The server closed the session.")]
    Closed,
    /// No connection came about.
    #[error(
        "The server at {server} can't be reached: {reason}. Check its address, and the network policies on the way."
    )]
    Unreachable {
        /// The address that was dialed.
        server: String,
        /// The transport's words.
        reason: String,
    },
    /// The connection broke.
    #[error("The connection to the server broke: {reason}.")]
    Broken {
        /// The transport's words.
        reason: String,
    },
    /// No TLS connection comes about: one side doesn't trust the other, or doesn't speak TLS.
    #[error("No TLS connection with the server comes about: {reason}.")]
    Tls {
        /// What it is, and what to do.
        reason: String,
    },
    /// Nothing came from the server for too long.
    #[error("Nothing came from the server for {} s.", after.as_secs_f64())]
    Silent {
        /// How long was waited.
        after: Duration,
    },
    /// The server doesn't accept the agent's credentials.
    #[error(
        "The server does not accept the agent's credentials: {reason}. Check the token, and the client certificate if \
         there is one."
    )]
    Unauthenticated {
        /// The server's words.
        reason: String,
    },
    /// The agent's own credentials can't be used.
    #[error("The agent's {what} can't be used: {reason}.")]
    Credentials {
        /// Which of them: `token file '/etc/piculet/token'`.
        what: String,
        /// What is wrong. Holds no secret.
        reason: String,
    },
    /// Agent and server speak different protocols.
    #[error(
        "Agent and server do not speak the same protocol: the agent speaks version {agent}, and {reason}. Use releases \
         of agent and server that fit together."
    )]
    Protocol {
        /// The version that this agent speaks.
        agent: u32,
        /// What the server speaks, or said.
        reason: String,
    },
    /// A newer session of the same instance took its place.
    #[error(
        "Another process with the same instance id took this agent's place at the server: {reason}. Two agents can't \
         share an instance id; let each pod have its own."
    )]
    Replaced {
        /// The server's words.
        reason: String,
    },
    /// The server ended the session with an error.
    #[error("The server ended the session with {status}: {reason}.")]
    Refused {
        /// The status, by its name.
        status: String,
        /// The server's words.
        reason: String,
    },
    /// The server said something that makes no sense.
    #[error("The server does not keep to the protocol: {reason}")]
    Fault {
        /// What it was.
        reason: String,
    },
}

impl Cause {
    /// Stable over releases, for people who search and programs that branch.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Closed => "link-closed",
            Self::Unreachable { .. } => "link-unreachable",
            Self::Broken { .. } => "link-broken",
            Self::Tls { .. } => "link-tls",
            Self::Silent { .. } => "link-silent",
            Self::Unauthenticated { .. } => "link-unauthenticated",
            Self::Credentials { .. } => "link-credentials",
            Self::Protocol { .. } => "link-protocol",
            Self::Replaced { .. } => "link-replaced",
            Self::Refused { .. } => "link-refused",
            Self::Fault { .. } => "link-fault",
        }
    }
}
