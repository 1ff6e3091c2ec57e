//! A model of Woodpecker's own server, as agents meet it: version 3.17, protocol 16. For tests, simulations and demos of the
//! agent; no forge, no users, no database, and each workflow is a pipeline of its own.
//!
//! ```no_run
//! # async fn test() {
//! use server_stub::woodpecker::{Compiled, Config, Job, Server};
//!
//! let server = Server::start(Config::default());
//! let network = server.network();
//! // … an agent dials through `network` …
//! let id = server.submit(Compiled::new("build").then([Job::commands("test", "rust:1.90", ["cargo test"])]));
//! let workflow = server.ended(id).await;
//! # }
//! ```
//!
//! What it does well, it does as the real one; and what the real one does badly, it does as badly: answers that hide
//! failures, tasks that get lost, errors that all have the same code. [`Model`] decides, without network and clock, and owns
//! every row; [`Server`] brings both along, and has what a test needs besides: a [`Journal`] of all calls, and knobs that
//! let calls go wrong.

mod access;
mod agents;
mod compiled;
mod config;
mod faults;
mod journal;
mod knobs;
mod line;
mod logs;
mod model;
mod pings;
mod queue;
mod refusal;
mod server;
mod service;
mod state;
mod step;
mod submission;
mod workflow;

pub use access::{Access, Metadata, TOKEN_LIFE};
pub use agents::{Agent, Agents, Owner};
pub use compiled::{Compiled, Job, ORG, REPO};
pub use config::{Config, QueueKind};
pub use faults::Loss;
pub use journal::{Answer, Call, Journal, Lines, Method, Said};
pub use logs::{Line, Logs};
pub use model::{Asked, Awaited, KnownStep, Model};
pub use queue::{News, Place, PollEnd, PollId, Queue, TICK, WaitEnd, WaitId};
pub use refusal::Refusal;
pub use server::Server;
pub use state::State;
pub use step::{FailureMode, Step};
pub use submission::Submission;
pub use workflow::Workflow;

/// The most bytes of a message that the server takes; it sends any.
pub const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;
