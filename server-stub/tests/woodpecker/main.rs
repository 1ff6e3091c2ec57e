//! The model of Woodpecker's own server at its border: gRPC by a raw client of the generated crate over a network in
//! memory. Time is paused.

#![expect(clippy::unwrap_used, reason = "a test that can't go on shall panic")]

mod agent;
mod authenticating;
mod breaking;
mod canceling;
mod knobs;
mod leasing;
mod logging;
mod pinging;
mod polling;
mod registering;
mod restarting;
mod running;
