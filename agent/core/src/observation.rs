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

/// What a component of the cluster said of a pod that waits, in an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// What the waiting is about: what it will be called if it never ends.
    pub reason: NeverStarted,
    /// One line, fit for the step's log.
    pub message: String,
}

impl Waiting {
    /// Whether others may have more to say: see [`Self::told`].
    pub fn can_be_told(&self) -> bool {
        self.phase == WaitPhase::Schedule || self.message.is_empty()
    }

    /// The same, with what was said of it where the pod itself says nothing. Words about something that is over, such as
    /// an image that has come, change nothing.
    pub fn told(&self, said: &Said) -> Self {
        let Said { reason, message } = said.clone();
        match (self.phase, reason) {
            (WaitPhase::Create, NeverStarted::Volume | NeverStarted::Cluster)
            | (WaitPhase::Pull, NeverStarted::ImagePull)
                if self.message.is_empty() =>
            {
                Self { reason, message, ..self.clone() }
            }
            // The scheduler has its say, and who makes nodes another.
            (WaitPhase::Schedule, NeverStarted::Unschedulable) if !self.message.is_empty() => {
                Self { message: format!("{} {message}", sentence(&self.message)), ..self.clone() }
            }
            _ => self.clone(),
        }
    }
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
