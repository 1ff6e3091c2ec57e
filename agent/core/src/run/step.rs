//! What the run machine knows of one step.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::id::{Attempt, PodUid};
use crate::observation::{Ended, Said, WaitPhase, Waiting};
use crate::outcome::{Outcome, StepState};

/// One step of a run.
#[derive(Debug, Default)]
pub(super) struct StepRun {
    pub(super) phase: Phase,
    /// How often a pod was asked for.
    pub(super) creations: u32,
    /// How often a container started, as far as anybody can tell.
    pub(super) starts: u32,
    /// It started in the current attempt.
    pub(super) started: bool,
    /// A container has run: enough for those that wait for a detached step.
    pub(super) up: bool,
    /// The step failed in a way that counts for those after it.
    pub(super) failed: bool,
    /// Something that it waited for had failed when it was decided about.
    pub(super) after_failure: bool,
    /// Set once the step is being stopped; the first reason counts.
    pub(super) stop: Option<Stop>,
    /// How long the current attempt's pod has waited.
    pub(super) waits: Waits,
    /// What the pod is waiting for, as last seen.
    pub(super) waiting: Option<Waiting>,
    /// Others were asked.
    pub(super) listens: bool,
    /// What they said last.
    pub(super) said: Option<Said>,
    /// What the log says of the pod's waiting; empty if it says nothing yet.
    pub(super) explained: String,
    /// The current attempt's pod was seen on a node: it may have started since.
    pub(super) bound: bool,
    /// The pod was asked to go, and not by us.
    pub(super) going: Option<Outcome>,
    /// The attempt that the step ended with.
    pub(super) last_attempt: Option<Attempt>,
}

/// Where a step stands; the table in `run.rs` says how it gets from one to the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Phase {
    #[default]
    Blocked,
    Pausing {
        /// The attempt before the pause.
        last: Attempt,
        /// The attempt after it: the same one if nobody knows whether its pod exists.
        next: Attempt,
    },
    Creating {
        attempt: Attempt,
    },
    Waiting {
        pod: Pod,
        phase: Option<WaitPhase>,
    },
    Running {
        pod: Pod,
        started: Option<Timestamp>,
    },
    Draining {
        pod: Pod,
        ended: Ended,
        /// Why it ended is known, or nobody will say more.
        settled: bool,
    },
    Over {
        state: StepState,
    },
}

/// The pod of the current attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pod {
    pub(super) attempt: Attempt,
    pub(super) uid: PodUid,
    /// Its log was read to the end, maybe before its end was observed.
    pub(super) log_ended: bool,
    /// We asked it to go.
    pub(super) asked: bool,
}

/// How long a pod has waited for each thing.
#[derive(Debug, Default)]
pub(super) struct Waits {
    spent: BTreeMap<WaitPhase, Duration>,
    since: Option<(WaitPhase, Instant)>,
}

impl Waits {
    /// It waits for this from now on. Gives how long it did so before: a pod that goes to and fro between two troubles
    /// must not wait for ever.
    pub(super) fn begin(&mut self, phase: WaitPhase, now: Instant) -> Duration {
        if let Some((last, since)) = self.since.replace((phase, now)) {
            *self.spent.entry(last).or_default() += now.saturating_duration_since(since);
        }
        self.spent.get(&phase).copied().unwrap_or_default()
    }
}

/// Why a step is being stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stop {
    /// It ran beside others, and these are over.
    NotNeeded,
    /// Anything else.
    Because(Outcome),
}

impl Stop {
    pub(super) fn outcome(self) -> Option<Outcome> {
        match self {
            Self::NotNeeded => None,
            Self::Because(outcome) => Some(outcome),
        }
    }
}

impl StepRun {
    pub(super) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over { .. })
    }

    /// Whether those after it come after a failure: its own, or one before it.
    pub(super) fn failed_before(&self) -> bool {
        self.failed || self.after_failure
    }

    /// The container of the current attempt started, as far as anybody can tell.
    pub(super) fn count_start(&mut self) {
        self.starts += 1;
        self.started = true;
    }

    /// Whether a pod that was waiting when it was seen last may have run after that: where nobody looked, or on a node
    /// that couldn't tell. One that was stopped by us and is gone was only pulling its image, as far as anybody saw.
    pub(super) fn may_have_run(&self, witnessed: bool) -> bool {
        match self.stop {
            None => !witnessed || self.bound,
            Some(_) => !witnessed && self.bound,
        }
    }

    /// What its pod waits for, by its own words and those of others.
    pub(super) fn waits_for(&self) -> Option<Waiting> {
        let waiting = self.waiting.as_ref()?;
        Some(self.said.as_ref().map_or_else(|| waiting.clone(), |said| waiting.told(said)))
    }

    /// What its pod waits for, in a sentence for the log.
    pub(super) fn explanation(&self) -> String {
        match self.waits_for() {
            Some(waiting) => waiting.to_string(),
            None => "The pod is created; the cluster has said nothing about it yet.".to_owned(),
        }
    }

    /// Whether another attempt is allowed and can end otherwise.
    pub(super) fn may_try_again(&self, outcome: &Outcome, max_starts: u32, max_creations: u32) -> bool {
        if self.started {
            outcome.is_clusters_fault() && self.starts < max_starts
        } else {
            outcome.may_recreate() && self.creations < max_creations
        }
    }
}
