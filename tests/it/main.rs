//! Agent, server stub and fake cluster together, in one process, in virtual time: only the wires between them are real.

#![expect(clippy::unwrap_used, reason = "a test may panic where it is set up, too")]

mod cluster_light;
mod clusters;
mod credentials;
mod faults;
mod flows;
mod handovers;
mod leftovers;
mod logs;
mod refusals;
mod stops;
mod traces;
mod woodpecker;
mod world;
