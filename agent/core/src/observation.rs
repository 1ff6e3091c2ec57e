//! What was seen of a step's pod: the only thing that verdicts are made from.

use std::fmt;

use jiff::Timestamp;

use crate::id::PodUid;
use crate::outcome::{NeverStarted, Outcome, sentence};

/// One look at one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// Which pod. A look at another pod of the same name says nothing about this one.
    pub uid: PodUid,
    /// What it showed.
    pub seen: Seen,
    /// The pod was asked to go before its container was over: what its end will be called, whatever exit code comes
    /// of it (`Evicted`, `Preempted`, `NodeLost`, or `PodDeleted`). `None` if nobody asked, or if the container was
    /// over clearly before the request (deletion timestamp less its grace period), whose exit code then counts.
    pub going: Option<Outcome>,
    /// Somebody asked for the pod's deletion, before or after its container was over.
    pub asked: bool,
    /// Why the container is over is known, or nobody will say more. False for one that was killed while its pod's
    /// phase is not final: a kubelet that evicts shows the end first, and the reason only with the phase.
    pub settled: bool,
    /// The node that it was bound to, if it was.
    pub node: Option<String>,
}

/// The state of our container in the pod. Never read from the pod's phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// The container has not started yet.
    Waiting(Waiting),
    /// The container runs.
    Running {
        /// When it started, by the node's clock.
        started: Option<Timestamp>,
    },
    /// The container is over, or will never run.
    Ended(Ended),
}

/// Why a container has not started yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Which clock runs.
    pub phase: WaitPhase,
    /// What it will be called if it never starts.
    pub reason: NeverStarted,
    /// True if waiting can't help: the pod has to be ended now.
    pub hopeless: bool,
    /// The cluster's own words, one line, fit for the step's log. Empty if it said nothing.
    pub message: String,
}

impl fmt::Display for Waiting {
    /// A sentence for the step's log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.phase, self.reason) {
            (_, NeverStarted::Volume) => "The pod waits for a volume",
            (WaitPhase::Schedule, _) => "The pod waits for a node",
            (WaitPhase::Pull | WaitPhase::PullAgain, _) => "The pod waits for its image",
            (WaitPhase::Create, _) => "The pod waits for its container to be created",
        })?;
        if self.message.is_empty() { f.write_str(".") } else { write!(f, ": {}", sentence(&self.message)) }
    }
}

/// What a pod is waiting for. Each phase has a time limit of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WaitPhase {
    /// A node.
    Schedule,
    /// The image.
    Pull,
    /// The image, after a try that failed: the kubelet tries again.
    PullAgain,
    /// The container: volumes, configuration, sandbox.
    Create,
}

/// How a container ended, with the source's own times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// How.
    pub outcome: Outcome,
    /// When it started, by the node's clock; `None` if it never did, or nobody can tell.
    pub started: Option<Timestamp>,
    /// When it ended, by the node's clock; `None` if nobody can tell.
    pub finished: Option<Timestamp>,
}
