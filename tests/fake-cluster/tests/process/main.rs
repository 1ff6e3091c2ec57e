//! The process runtime on the machine at hand: real namespaces, real mounts, real processes.
//!
//! Where the kernel does not allow that, each test says so on standard error and ends.

#![expect(clippy::unwrap_used, reason = "a test that can go no further fails")]

mod breakout;
mod environment;
mod machine;
mod network;
mod processes;
mod simulated;
mod unprotected;
mod volumes;
