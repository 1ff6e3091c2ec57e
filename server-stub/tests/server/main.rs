//! The server at its borders: gRPC by a raw client of the generated crate over a network in memory, HTTP and the
//! command line over loopback. Time is paused wherever nothing real is involved.

mod agent;
mod assigning;
mod lease;
mod refusals;
mod resume;
mod script;
