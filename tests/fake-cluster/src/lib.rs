//! A Kubernetes API server in memory, at the wire, with kubelets that run a script or processes of this machine.
//!
//! It stands below `kube::Client` as a service, or behind a listener with a kubeconfig. What it does not know of
//! Kubernetes it refuses; what it knows it does as Kubernetes does it, since the same tests run against a real one.

mod access;
mod admission;
mod api;
mod body;
mod classes;
mod clock;
mod cluster;
mod controllers;
mod counters;
mod disruption;
mod events;
mod failure;
mod faults;
mod kind;
mod kubelet;
mod latest;
mod listen;
mod log;
mod mutations;
mod object;
pub mod process;
mod quantity;
pub mod recording;
pub mod runtime;
mod scheduler;
pub mod script;
mod selector;
mod service;
mod store;
mod validate;

pub use access::{Access, Rule};
pub use api::Verb;
pub use body::Body;
pub use classes::Classes;
pub use cluster::{ADMIN, FakeCluster, NodeSettings, Settings};
pub use counters::{Counters, Watches};
pub use failure::Failure;
pub use faults::{Fault, Faults};
pub use kind::Kind;
pub use kubelet::KubeletTiming;
pub use log::LogSettings;
pub use script::{Script, ScriptedRuntime};
pub use service::Connection;
