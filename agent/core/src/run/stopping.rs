//! Stopping: on request, at a time limit, or because nobody needs a step any more.

use std::time::{Duration, Instant};

use super::deadlines::Clock;
use super::step::{Phase, Stop};
use super::{Action, Run, State, Stopped};
use crate::id::StepIndex;
use crate::observation::{Ended, Waiting};
use crate::outcome::{NeverStarted, Outcome, StepState};

/// How long after a pod that never went was given up its log may end, which was read all the while.
const SILENCE: Duration = Duration::from_secs(5);

impl Run {
    /// Stops the whole workflow. The first reason counts.
    pub(super) fn stop_all(&mut self, stopped: Stopped, now: Instant, out: &mut Vec<Action>) {
        if matches!(self.state, State::Ending | State::Over) {
            return;
        }
        if let Some(first) = &mut self.stopped {
            let before = first.grace.unwrap_or(self.limits.grace);
            if stopped.grace.is_some_and(|grace| grace < before) {
                first.grace = stopped.grace;
                self.shorten(now, out);
            }
            return;
        }
        if self.state == State::Offered {
            self.state = State::Running;
        }
        self.stopped = Some(stopped.clone());
        if stopped.grace.is_some_and(|grace| grace < self.limits.grace) {
            self.shorten(now, out);
        }
        self.deadlines.clear(Clock::Workflow);
        for index in self.indices() {
            self.stop(index, Stop::Because(stopped.outcome.clone()), now, out);
        }
    }

    pub(super) fn stop(&mut self, index: StepIndex, why: Stop, now: Instant, out: &mut Vec<Action>) {
        match &self.steps[index.0].phase {
            Phase::Blocked => {
                let outcome = why.outcome();
                self.over(index, StepState::Canceled, outcome, None, out);
            }
            &Phase::Pausing { last, .. } => {
                self.deadlines.clear_step(index);
                let step = &mut self.steps[index.0];
                step.last_attempt = Some(last);
                let (outcome, ran) = (why.outcome(), step.starts > 0);
                let state = outcome.as_ref().filter(|_| ran).map_or(StepState::Canceled, Outcome::state);
                self.over(index, state, outcome, None, out);
            }
            Phase::Creating { .. } => {
                self.steps[index.0].stop.get_or_insert(why);
            }
            Phase::Waiting { .. } | Phase::Running { .. } => {
                let stopping = self.steps[index.0].stop.is_some();
                self.steps[index.0].stop.get_or_insert(why);
                if !stopping {
                    self.stop_pod(index, now, out);
                }
            }
            Phase::Draining { .. } | Phase::Over { .. } => {}
        }
    }

    pub(super) fn stop_pod(&mut self, index: StepIndex, now: Instant, out: &mut Vec<Action>) {
        let step = &mut self.steps[index.0];
        let (Phase::Waiting { pod, .. } | Phase::Running { pod, .. }) = &mut step.phase else { return };
        pod.asked = true;
        let asked = self.stopped.as_ref().and_then(|stopped| stopped.grace);
        let of_service = (step.stop == Some(Stop::NotNeeded)).then_some(self.limits.service_grace);
        let shorter = of_service.filter(|grace| *grace < self.limits.grace);
        let grace = asked.into_iter().chain(shorter).min();
        out.push(Action::Stop { step: index, attempt: pod.attempt, uid: pod.uid.clone(), grace });
        self.deadlines.clear(Clock::Wait(index));
        self.deadlines.clear(Clock::Explain(index));
        self.deadlines.clear(Clock::Timeout(index));
        self.deadlines.set(Clock::Stop(index), now + grace.unwrap_or(self.limits.grace) + self.limits.lost);
    }

    /// Asks the pods that are stopping already once more, with less grace.
    fn shorten(&mut self, now: Instant, out: &mut Vec<Action>) {
        for index in self.indices() {
            if self.steps[index.0].stop.is_some() {
                self.stop_pod(index, now, out);
            }
        }
    }

    pub(super) fn give_up_waiting(&mut self, index: StepIndex, now: Instant, out: &mut Vec<Action>) {
        let step = &self.steps[index.0];
        let outcome = match step.waits_for() {
            Some(Waiting { reason, message, .. }) => Outcome::NeverStarted { reason, message },
            None => Outcome::NeverStarted {
                reason: NeverStarted::Cluster,
                message: "the cluster said nothing about the pod".to_owned(),
            },
        };
        self.stop(index, Stop::Because(outcome), now, out);
    }

    /// A pod that was asked to go neither went nor ended in time: nobody will ever say how it ended.
    pub(super) fn never_went(&mut self, index: StepIndex, now: Instant, out: &mut Vec<Action>) {
        let message = "the pod was asked to end and did not, and its node doesn't answer".to_owned();
        let outcome = Outcome::Unknown { message };
        match &self.steps[index.0].phase {
            Phase::Waiting { pod, .. } => {
                let attempt = pod.attempt;
                self.ended(index, attempt, attempt.next(), Ended { outcome, started: None, finished: None }, now, out);
            }
            Phase::Running { started, .. } => {
                let ended = Ended { outcome, started: *started, finished: None };
                self.drain(index, ended, true, now, out);
                // What a node that is silent still has comes no more.
                if matches!(self.steps[index.0].phase, Phase::Draining { .. }) {
                    self.deadlines.set(Clock::Log(index), now + self.limits.log.min(SILENCE));
                }
            }
            _ => {}
        }
    }
}
