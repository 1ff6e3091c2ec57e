//! What a run waits for in time.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::id::StepIndex;

/// A clock that runs. Each exists at most once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Clock {
    /// The whole workflow's time.
    Workflow,
    /// The pause before the next attempt.
    Pause(StepIndex),
    /// The wait for a node, an image, a container.
    Wait(StepIndex),
    /// The time until the log says what a pod waits for.
    Explain(StepIndex),
    /// The step's own time.
    Timeout(StepIndex),
    /// The end of a pod that was asked to go.
    Stop(StepIndex),
    /// The end of a log whose container is over.
    Log(StepIndex),
    /// The cluster's last word on why a container was killed.
    LastWord(StepIndex),
}

/// All clocks of a run.
#[derive(Debug, Default)]
pub(super) struct Deadlines(BTreeMap<Clock, Instant>);

impl Deadlines {
    /// Starts a clock, or starts it anew.
    pub(super) fn set(&mut self, clock: Clock, at: Instant) {
        self.0.insert(clock, at);
    }

    pub(super) fn clear(&mut self, clock: Clock) {
        self.0.remove(&clock);
    }

    pub(super) fn clear_step(&mut self, step: StepIndex) {
        for clock in [
            Clock::Pause(step),
            Clock::Wait(step),
            Clock::Explain(step),
            Clock::Timeout(step),
            Clock::Stop(step),
            Clock::Log(step),
            Clock::LastWord(step),
        ] {
            self.clear(clock);
        }
    }

    pub(super) fn is_set(&self, clock: Clock) -> bool {
        self.0.contains_key(&clock)
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.values().min().copied()
    }

    /// Takes the earliest one that is due.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Clock> {
        let (&clock, _) = self.0.iter().filter(|&(_, &at)| at <= now).min_by_key(|&(_, &at)| at)?;
        self.0.remove(&clock);
        Some(clock)
    }
}
