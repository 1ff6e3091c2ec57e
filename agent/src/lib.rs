//! The shell of the agent: configuration, session, runners, telemetry, admin, and the commands.
//!
//! All decisions are made in the pure crates; here they are put together with the cluster and the server. As a library it
//! is used by the demo and by tests, which run an agent in their own process.

pub mod admin;
pub mod agent;
pub mod cli;
mod clock;
pub mod commands;
pub mod config;
pub mod exit;
pub mod link;
mod runner;
mod session;
pub mod shutdown;
pub mod site;
mod sweep;
pub mod telemetry;
