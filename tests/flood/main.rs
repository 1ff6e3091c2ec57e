//! A log of 200 MB beside ten quiet steps, and a server that takes 5,000 lines a second: what the agent needs for it.
//!
//! `cargo bench -p piculet-proto --bench flood`, some four minutes.
//!
//! The agent is this process, so that its memory can be measured. The cluster and the server are a child process, which
//! throws lines away once it has looked at them. Nothing is scaled and no time is virtual.

mod agent;
mod far_side;

use std::error::Error;

/// Lines of the flood; with 200 bytes each, line end included, they are 200 MB.
const LINES: u64 = 1_000_000;
/// What a line of the flood holds.
const LINE_BYTES: usize = 199;
/// Lines that the server takes in a second.
const RATE: u32 = 5000;
/// Steps beside the flood.
const QUIET_STEPS: usize = 10;
/// Lines of each of these, one a second.
const QUIET_LINES: usize = 60;
/// The namespace of the pods.
const NAMESPACE: &str = "ci";
/// The argument that makes this program the other side.
const FAR_SIDE: &str = "far-side";

fn main() -> Result<(), Box<dyn Error>> {
    let is_far_side = std::env::args().any(|argument| argument == FAR_SIDE);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(async { if is_far_side { far_side::run().await } else { agent::run().await } });
    // Whoever waits for standard input must not keep the process.
    runtime.shutdown_background();
    result
}
