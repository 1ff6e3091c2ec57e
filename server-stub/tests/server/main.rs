//! The server at its borders: gRPC by a raw client of the generated crate over a network in memory, HTTP and the
//! command line over loopback. Time is paused wherever nothing real is involved.

#![expect(clippy::unwrap_used, reason = "a test that can't go on shall panic")]

mod agent;
mod api;
mod assigning;
mod cli;
mod clusters;
mod described;
mod events;
mod following;
mod lease;
mod leaving;
mod pages;
mod refusals;
mod restart;
mod resume;
mod script;
mod storing;
mod telling;
mod tls;
mod tokens;
mod traces;
mod volume;
mod waiting;
mod web;
