//! The supervisor and the stream link together, against a scripted server: real gRPC over pipes, in virtual time.

#![expect(clippy::unwrap_used, reason = "a test that can't go on shall panic")]

mod agent;
mod closing;
mod network;
mod otlp;
mod outages;
mod refusals;
mod reports;
mod server;
mod sessions;
mod spooling;
mod tls;
