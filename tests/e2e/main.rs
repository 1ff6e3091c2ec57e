//! One behaviour suite, two clusters: the same scenarios against the cluster in memory, in virtual time, and against a real
//! one, with real containers. Where the two differ, the one in memory is wrong.
//!
//! `cargo test --test e2e` uses the one in memory. With `PICULET_E2E=real` it is the cluster of `KUBECONFIG`; each scenario
//! has a namespace of its own there, which goes afterwards. `-- --nocapture` shows what was provoked and what became of it.
//! `PICULET_RECORD=tests/fixtures/recorded` writes down what the real one showed; `agent/pods/tests/recorded` replays it.
//!
//! With `PICULET_E2E=inside` the agent runs in that cluster as well, with no rights but those of its chart; `inside.rs` says
//! what this needs. A scenario whose agent can't be had that way says SKIPPED, and why.

#![expect(clippy::unwrap_used, reason = "a test may panic where it is set up, too")]

mod acts;
mod canary;
mod disruptions;
mod disturbances;
mod exits;
mod hardened;
mod inside;
mod isolated;
mod logs;
mod never_started;
mod obstacles;
mod removals;
mod restarts;
mod rights;
mod site;
mod told;
mod world;
