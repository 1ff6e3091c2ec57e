//! The pure heart of piculet: what a workflow is, how it runs, how its steps end, and what is said about it.
//!
//! Nothing here reads a clock, a socket or the environment. Time comes in as a value, decisions go out as values:
//! `on(event, now) -> actions`. The crate can't name tokio, kube or tonic.

pub mod id;
pub mod logs;
pub mod observation;
pub mod outbox;
pub mod outcome;
pub mod report;
pub mod retry;
pub mod run;
pub mod secret;
pub mod slots;
pub mod trace;
pub mod workload;
