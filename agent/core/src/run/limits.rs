//! The clocks of a run.

use std::time::Duration;

use crate::observation::WaitPhase;

/// Time limits of a run. All are the operator's; a workflow's and a step's own timeouts stand in the workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// For a workflow that has no timeout of its own.
    pub workflow: Duration,
    /// How long a pod may wait for a node.
    pub schedule: Duration,
    /// How long a pod may wait for its image.
    pub pull: Duration,
    /// How long a pod may wait for an image whose pull has failed.
    pub pull_again: Duration,
    /// How long a pod may wait for its container: volumes, configuration, sandbox.
    pub create: Duration,
    /// How long a pod may wait before its step's log says for what, and the pause before it says something else.
    pub explain: Duration,
    /// How long to read a log after its container ended.
    pub log: Duration,
    /// The grace of a pod that is stopped with its own grace.
    pub grace: Duration,
    /// The grace of a service that nobody needs any more, if it is shorter: the workflow's end waits for it.
    pub service_grace: Duration,
    /// How long after its grace a stopped pod may take to be over before it counts as lost.
    pub lost: Duration,
    /// How often the pod of a step that never started is created at most; at least 1.
    pub creations: u32,
    /// The pause before the second creation; doubled for each further one, up to a minute.
    pub recreate_pause: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            workflow: Duration::from_secs(60 * 60),
            schedule: Duration::from_secs(10 * 60),
            pull: Duration::from_secs(10 * 60),
            pull_again: Duration::from_secs(60),
            create: Duration::from_secs(5 * 60),
            explain: Duration::from_secs(10),
            log: Duration::from_secs(5 * 60),
            grace: Duration::from_secs(20),
            service_grace: Duration::from_secs(5),
            lost: Duration::from_secs(2 * 60),
            creations: 5,
            recreate_pause: Duration::from_secs(2),
        }
    }
}

impl Limits {
    pub(super) fn of_phase(&self, phase: WaitPhase) -> Duration {
        match phase {
            WaitPhase::Schedule => self.schedule,
            WaitPhase::Pull => self.pull,
            WaitPhase::PullAgain => self.pull_again,
            WaitPhase::Create => self.create,
        }
    }

    /// The pause before a creation; `creation` is 2 for the first repetition.
    pub(super) fn pause_before(&self, creation: u32) -> Duration {
        let doubled = 2u32.saturating_pow(creation.saturating_sub(2));
        self.recreate_pause.saturating_mul(doubled).min(Duration::from_secs(60))
    }
}
