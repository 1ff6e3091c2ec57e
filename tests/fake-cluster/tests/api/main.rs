//! The fake cluster through the real client, as the agent uses it.

mod access;
mod deletion;
mod determinism;
mod disruption;
mod faults;
mod fixture;
mod garbage;
mod kubelet;
mod logs;
mod objects;
mod program;
mod scheduling;
mod updates;
mod validation;
mod watches;
mod wire;
