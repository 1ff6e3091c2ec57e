//! Who asked a pod to go, and when.

use jiff::{SignedDuration, Timestamp};
use piculet_core::outcome::{Deadline, Outcome};

use super::{Look, one_line};

/// By how much the clocks of a cluster's machines may differ, with their whole seconds.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_secs(2);

/// A pod was asked to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    /// What its end will be called.
    pub(super) outcome: Outcome,
    /// When; `None` if nobody can tell.
    when: Option<Timestamp>,
}

impl Request {
    /// Whether it came before the container was over, which then may be its consequence.
    ///
    /// Both times have whole seconds, the one by the API server's clock and the other by the node's: what ended within
    /// [`CLOCKS_DIFFER`] before the request counts as ended by it. A container that isn't over, or of which nobody can
    /// tell when, ends after every request.
    pub(super) fn came_before(&self, finished: Option<Timestamp>) -> bool {
        match (self.when, finished) {
            (Some(when), Some(finished)) => when.duration_since(finished) <= CLOCKS_DIFFER,
            _ => true,
        }
    }
}

impl Look<'_> {
    /// The request to go, if there was one.
    pub(super) fn request(&self) -> Option<Request> {
        let deleted = self.deletion_requested();
        let failed = self.phase() == "Failed";
        if deleted.is_none() && !failed {
            // A condition alone may be a stale announcement: what was to come never came.
            return None;
        }
        if let Some(request) = self.disruption() {
            let when = [request.when, deleted].into_iter().flatten().min();
            return Some(Request { when, ..request });
        }
        // What the kubelet never took was not asked to go.
        if failed
            && self.rejected().is_none()
            && let Some(outcome) = self.pod_reason()
        {
            return Some(Request { outcome, when: None });
        }
        Some(Request { outcome: Outcome::PodDeleted { by: None }, when: Some(deleted?) })
    }

    /// When the pod's deletion was asked for. Its deletion timestamp is the end of the grace.
    fn deletion_requested(&self) -> Option<Timestamp> {
        let metadata = &self.pod.metadata;
        let deadline = metadata.deletion_timestamp.as_ref()?.0;
        let grace = SignedDuration::from_secs(metadata.deletion_grace_period_seconds.unwrap_or_default());
        Some(deadline.checked_sub(grace).unwrap_or(deadline))
    }

    /// The condition that Kubernetes sets before it ends a pod for its own reasons.
    fn disruption(&self) -> Option<Request> {
        let mut conditions = self.status?.conditions.iter().flatten();
        let condition =
            conditions.find(|condition| condition.type_ == "DisruptionTarget" && condition.status == "True")?;
        let kind = condition.reason.as_deref().unwrap_or_default();
        let message = condition.message.as_deref().map(one_line).filter(|message| !message.is_empty());
        let reason = message.unwrap_or_else(|| kind.to_owned());
        let outcome = match kind {
            "PreemptionByScheduler" => Outcome::Preempted { reason },
            "DeletionByPodGC" => self.node_lost(),
            // A node that still answers reports how the container ended; one that doesn't is why the taint was set.
            "DeletionByTaintManager"
                if self.own.is_some_and(|own| own.state.as_ref().is_some_and(|s| s.running.is_some())) =>
            {
                self.node_lost()
            }
            // The kubelet's own story is more telling than its condition's.
            "TerminationByKubelet" => self.pod_reason().unwrap_or(Outcome::Evicted { reason }),
            _ => Outcome::Evicted { reason },
        };
        Some(Request { outcome, when: condition.last_transition_time.as_ref().map(|time| time.0) })
    }

    /// What the reason of a failed pod means, if the cluster ended it while it ran.
    pub(super) fn pod_reason(&self) -> Option<Outcome> {
        match self.reason() {
            "Evicted" | "Shutdown" | "NodeShutdown" | "Terminated" => Some(Outcome::Evicted { reason: self.message() }),
            "Preempting" => Some(Outcome::Preempted { reason: self.message() }),
            "NodeLost" => Some(self.node_lost()),
            // Only the workflow's time limit becomes a pod's.
            "DeadlineExceeded" => Some(Outcome::DeadlineExceeded { which: Deadline::Workflow }),
            _ => None,
        }
    }

    fn node_lost(&self) -> Outcome {
        Outcome::NodeLost { node: self.node().map(str::to_owned) }
    }
}
