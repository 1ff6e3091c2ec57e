//! Between the messages of `proto/agent.proto` and values of the agent, in both directions: the server's half of the
//! conversation decodes and encodes with the same functions.
//!
//! Decoding trusts nothing: what makes no sense is told with the name of its field, and nothing panics.

pub mod agent;
mod field;
pub mod server;
pub mod state;
pub mod time;
pub mod workload;

pub use field::Fault;
