//! A Woodpecker-style server for piculet's stream: a queue, many agents, logs, and an HTTP API for people; and a model of
//! Woodpecker's own server, [`woodpecker`], for tests of the agent.
//!
//! [`server::Server`] is the whole of it; [`stub::Stub`] is the same server in the hands of a test. Decisions are made
//! by values that know no connection and no clock: [`labels`], [`placement`], [`credit`], [`assignment`], [`ledger`],
//! and [`dispatch::Dispatcher`], which owns them all. What they know is
//! kept by a [`store::Store`], within [`dispatch::Limits`].

pub mod api;
pub mod assignment;
pub mod clock;
pub mod credit;
#[cfg(feature = "demo")]
pub mod demo;
pub mod dispatch;
pub mod follow;
mod hello;
pub mod labels;
pub mod ledger;
pub mod log_page;
pub mod mailbox;
pub mod network;
mod page;
pub mod placement;
pub mod record;
mod script;
pub mod serve;
pub mod server;
pub mod session;
pub mod store;
pub mod stub;
pub mod submission;
mod token;
pub mod view;
pub mod woodpecker;

pub use script::Heard;
