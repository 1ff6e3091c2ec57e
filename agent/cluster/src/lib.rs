//! The only crate that calls Kubernetes.
//!
//! Everything goes through a [`Cluster`]: one API server, one namespace. Its answers are values of this crate,
//! `piculet-pods` and `k8s-openapi`; nothing of the client shows.
//!
//! ```text
//! ensure_anchor ▸ ensure ──▶ API server ──▶ PodWatch ▸ Subscription ▸ PodNews      (what became of a pod)
//!                                      └──▶ Tail ▸ Tailed                          (what it wrote)
//! stop ▸ teardown          identity ▸ preflight                                    (at the end; at the start)
//! ```
//!
//! What fails for a reason that may pass is tried again here, within [`Limits`]: a connection that breaks, a server that
//! is overloaded or starts anew, an answer that is lost. What is left is either an answer, or
//! [`CallError::Unreachable`].

mod apply;
mod attempts;
mod binding;
mod client;
mod cluster;
mod events;
mod holder;
mod identity;
mod namespace;
mod preflight;
mod presence;
mod reap;
mod refusal;
mod retire;
mod stop;
mod tail;
mod teardown;
mod watch;

pub use apply::{Anchor, Applied, ApplyError};
pub use attempts::CallError;
pub use client::{ConnectError, KubeSource};
pub use cluster::{Cluster, Limits};
pub use events::PodEvents;
pub use holder::Holding;
pub use identity::ClusterIdentity;
pub use preflight::{Access, Need, Places, Preflight, Right};
pub use presence::Presence;
pub use reap::{Reaped, Remains, Which};
pub use retire::Retired;
pub use stop::Stopped;
pub use tail::{Gap, Opening, Piece, Tail, TailEnd, TailTarget, Tailed};
pub use teardown::{Leftover, ObjectName, Teardown};
pub use watch::{PodNews, PodWatch, Subscription};
