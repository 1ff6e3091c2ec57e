//! One attempt at a step: from its pod's creation to the end of its log.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::deadlines::Clock;
use super::step::{Phase, Pod, Stop};
use super::{Action, Run, Stopped};
use crate::id::{Attempt, PodUid, StepIndex};
use crate::observation::{Ended, Observation, Said, Seen, Waiting};
use crate::outcome::{Deadline, Outcome, StepState, WorkflowState};
use crate::report::StepReport;
use crate::workload::FailurePolicy;

/// How long after a container ended badly its pod's final phase may come, which brings the reason. A kubelet says it
/// within two seconds.
const LAST_WORD: Duration = Duration::from_secs(5);

impl Run {
    pub(super) fn created(
        &mut self,
        index: StepIndex,
        attempt: Attempt,
        uid: PodUid,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        let step = &mut self.steps[index.0];
        if step.phase != (Phase::Creating { attempt }) {
            return;
        }
        step.phase = Phase::Waiting { pod: Pod { attempt, uid, log_ended: false, asked: false }, phase: None };
        self.deadlines.set(Clock::Wait(index), now + self.limits.schedule);
        self.deadlines.set(Clock::Explain(index), now + self.limits.explain);
        if self.steps[index.0].stop.is_some() {
            self.stop_pod(index, now, out);
        }
    }

    pub(super) fn create_failed(
        &mut self,
        index: StepIndex,
        attempt: Attempt,
        outcome: Outcome,
        may_exist: bool,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        if self.steps[index.0].phase == (Phase::Creating { attempt }) {
            // A pod of another name could run beside the one that nobody answered for.
            let next = if may_exist { attempt } else { attempt.next() };
            self.ended(index, attempt, next, Ended { outcome, started: None, finished: None }, now, out);
        }
    }

    pub(super) fn observed(&mut self, index: StepIndex, observation: Observation, now: Instant, out: &mut Vec<Action>) {
        let step = &mut self.steps[index.0];
        let pod = match &step.phase {
            Phase::Waiting { pod, .. } | Phase::Running { pod, .. } => pod,
            Phase::Draining { pod, settled: false, .. } => {
                if pod.uid == observation.uid && observation.settled {
                    self.last_word(index, observation, now, out);
                }
                return;
            }
            _ => return,
        };
        if pod.uid != observation.uid {
            return;
        }
        step.bound |= observation.node.is_some();
        let is_going = observation.going.is_some();
        let is_asked = observation.asked;
        if let Some(going) = observation.going {
            step.going = Some(going);
            // Whoever asked for it: a pod that never goes (its node is lost) must not hold the workflow for ever.
            let clock = Clock::Stop(index);
            if !self.deadlines.is_set(clock) {
                self.deadlines.set(clock, now + self.limits.grace + self.limits.lost);
            }
        }
        match observation.seen {
            Seen::Waiting(waiting) => self.seen_waiting(index, waiting, now, out),
            Seen::Running { started } => self.seen_running(index, started, now, out),
            Seen::Ended(ended) => {
                // What this very look says about the end counts: an earlier one may have come before the natural end.
                if !is_going {
                    let step = &mut self.steps[index.0];
                    step.going = None;
                    // It was over before anybody asked it to go: our own asking came too late to have a say. Of a
                    // service that is certain only if nobody has asked yet: clocks differ.
                    let is_certain = !is_asked || step.stop != Some(Stop::NotNeeded);
                    if ended.outcome.exit_code().is_some() && is_certain {
                        step.stop = None;
                    }
                }
                self.seen_ended(index, ended, observation.settled, now, out);
            }
        }
    }

    /// What a later look says of a container that ended badly.
    fn last_word(&mut self, index: StepIndex, observation: Observation, now: Instant, out: &mut Vec<Action>) {
        let Seen::Ended(Ended { outcome, .. }) = observation.seen else { return };
        let Phase::Draining { pod, .. } = &self.steps[index.0].phase else { return };
        // That its pod is being deleted may be our own doing, which came too late to have a say.
        let by_us = |going: &Outcome| pod.asked && *going == (Outcome::PodDeleted { by: None });
        let going = observation.going.filter(|going| !by_us(going));
        let why = match outcome {
            Outcome::OomKilled { .. } => Some(outcome),
            // An exit code doesn't change.
            Outcome::Exited { .. } | Outcome::Signaled { .. } => going,
            other => Some(going.unwrap_or(other)),
        };
        self.settle(index, why, now, out);
    }

    /// Why a container ended badly is known, or never will be.
    pub(super) fn settle(&mut self, index: StepIndex, why: Option<Outcome>, now: Instant, out: &mut Vec<Action>) {
        let Phase::Draining { pod, ended, settled } = &mut self.steps[index.0].phase else { return };
        *settled = true;
        if let Some(why) = why {
            ended.outcome = why;
        }
        self.deadlines.clear(Clock::LastWord(index));
        if pod.log_ended {
            let (attempt, ended) = (pod.attempt, ended.clone());
            self.ended(index, attempt, attempt.next(), ended, now, out);
        }
    }

    fn seen_waiting(&mut self, index: StepIndex, waiting: Waiting, now: Instant, out: &mut Vec<Action>) {
        let step = &mut self.steps[index.0];
        let Phase::Waiting { phase, .. } = &mut step.phase else { return };
        if *phase != Some(waiting.phase) {
            *phase = Some(waiting.phase);
            let spent = step.waits.begin(waiting.phase, now);
            let left = self.limits.of_phase(waiting.phase).saturating_sub(spent);
            self.deadlines.set(Clock::Wait(index), now + left);
        }
        let hopeless = waiting.hopeless;
        let step = &mut self.steps[index.0];
        step.waiting = Some(waiting);
        if step.stop.is_some() {
            return;
        }
        if hopeless {
            self.give_up_waiting(index, now, out);
        } else if step.explained != step.explanation() && !self.deadlines.is_set(Clock::Explain(index)) {
            self.deadlines.set(Clock::Explain(index), now + self.limits.explain);
        }
    }

    /// Says in the log what the pod has been waiting for, once for each answer; and asks others, who may know more.
    pub(super) fn explain(&mut self, index: StepIndex, out: &mut Vec<Action>) {
        let step = &mut self.steps[index.0];
        let Phase::Waiting { pod, .. } = &step.phase else { return };
        let may_know_more = step.waiting.as_ref().is_none_or(Waiting::can_be_told);
        if may_know_more && !std::mem::replace(&mut step.listens, true) {
            out.push(Action::Listen { step: index, uid: pod.uid.clone() });
        }
        let text = step.explanation();
        if step.explained != text {
            step.explained.clone_from(&text);
            out.push(Action::Say { step: index, text });
        }
    }

    /// What others say of a pod that waits.
    pub(super) fn told(&mut self, index: StepIndex, uid: &PodUid, said: Said, now: Instant, out: &mut Vec<Action>) {
        let step = &mut self.steps[index.0];
        let Phase::Waiting { pod, .. } = &step.phase else { return };
        if pod.uid != *uid {
            return;
        }
        let is_first = step.said.replace(said).is_none();
        if step.stop.is_some() || step.explained == step.explanation() {
            return;
        }
        if is_first && !step.explained.is_empty() {
            // It was asked for a moment ago.
            self.explain(index, out);
        } else if !self.deadlines.is_set(Clock::Explain(index)) {
            self.deadlines.set(Clock::Explain(index), now + self.limits.explain);
        }
    }

    fn seen_running(&mut self, index: StepIndex, started: Option<Timestamp>, now: Instant, out: &mut Vec<Action>) {
        if let Phase::Waiting { pod, .. } = &self.steps[index.0].phase {
            let pod = pod.clone();
            self.started(index, pod, started, now, out);
        }
    }

    /// The container runs, or ran: its log is read from now on.
    fn started(&mut self, index: StepIndex, pod: Pod, started: Option<Timestamp>, now: Instant, out: &mut Vec<Action>) {
        let spec = self.workload.step(index);
        out.push(Action::Tail { step: index, attempt: pod.attempt, uid: pod.uid.clone() });
        out.push(Action::Report(StepReport {
            step: spec.id.clone(),
            attempt: pod.attempt,
            state: StepState::Running,
            started,
            finished: None,
            outcome: None,
            error: String::new(),
        }));
        self.deadlines.clear(Clock::Wait(index));
        self.deadlines.clear(Clock::Explain(index));
        if let Some(timeout) = spec.timeout() {
            self.deadlines.set(Clock::Timeout(index), now + timeout);
        }
        let step = &mut self.steps[index.0];
        step.count_start();
        step.up = true;
        step.phase = Phase::Running { pod, started };
    }

    fn seen_ended(&mut self, index: StepIndex, ended: Ended, settled: bool, now: Instant, out: &mut Vec<Action>) {
        if let Phase::Waiting { pod, .. } = &self.steps[index.0].phase {
            let pod = pod.clone();
            if ended.started.is_none() && ended.outcome.exit_code().is_none() {
                let step = &mut self.steps[index.0];
                let mut ended = ended;
                // The kubelet calls a container unknown that it was told to end before it had begun.
                if matches!(ended.outcome, Outcome::Unknown { .. })
                    && let Some(going) = step.going.clone()
                {
                    ended.outcome = going;
                    if step.may_have_run(true) {
                        step.count_start();
                    }
                }
                self.ended(index, pod.attempt, pod.attempt.next(), ended, now, out);
                return;
            }
            self.started(index, pod, ended.started, now, out);
        }
        self.drain(index, ended, settled, now, out);
    }

    pub(super) fn gone(
        &mut self,
        index: StepIndex,
        uid: &PodUid,
        witnessed: bool,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        let step = &mut self.steps[index.0];
        let gone = Outcome::PodDeleted { by: None };
        match &step.phase {
            Phase::Waiting { pod, .. } if pod.uid == *uid => {
                let outcome = step.going.clone().unwrap_or(gone);
                let attempt = pod.attempt;
                if step.may_have_run(witnessed) {
                    // To run it again is for the step to allow.
                    step.count_start();
                }
                let ended = Ended { outcome, started: None, finished: None };
                self.ended(index, attempt, attempt.next(), ended, now, out);
            }
            Phase::Running { pod, started } if pod.uid == *uid => {
                let ended = Ended { outcome: gone, started: *started, finished: None };
                self.drain(index, ended, true, now, out);
            }
            Phase::Draining { pod, settled: false, .. } if pod.uid == *uid => self.settle(index, None, now, out),
            _ => {}
        }
    }

    /// The container is over: what remains is its log.
    pub(super) fn drain(
        &mut self,
        index: StepIndex,
        mut ended: Ended,
        mut settled: bool,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        let step = &mut self.steps[index.0];
        let Phase::Running { pod, started } = &step.phase else { return };
        if let Some(going) = step.going.take()
            && !matches!(ended.outcome, Outcome::OomKilled { .. })
        {
            ended.outcome = going;
            settled = true;
        }
        ended.started = ended.started.or(*started);
        let pod = pod.clone();
        let (attempt, log_ended) = (pod.attempt, pod.log_ended);
        self.deadlines.clear(Clock::Timeout(index));
        self.deadlines.clear(Clock::Stop(index));
        if log_ended && settled {
            self.ended(index, attempt, attempt.next(), ended, now, out);
            return;
        }
        if !log_ended {
            self.deadlines.set(Clock::Log(index), now + self.limits.log);
        }
        if !settled {
            self.deadlines.set(Clock::LastWord(index), now + LAST_WORD);
        }
        self.steps[index.0].phase = Phase::Draining { pod, ended, settled };
    }

    pub(super) fn log_ended(&mut self, index: StepIndex, uid: &PodUid, now: Instant, out: &mut Vec<Action>) {
        match &mut self.steps[index.0].phase {
            Phase::Running { pod, .. } if pod.uid == *uid => pod.log_ended = true,
            Phase::Draining { pod, ended, settled } if pod.uid == *uid => {
                pod.log_ended = true;
                if !*settled {
                    self.deadlines.clear(Clock::Log(index));
                    return;
                }
                let (attempt, ended) = (pod.attempt, ended.clone());
                self.ended(index, attempt, attempt.next(), ended, now, out);
            }
            _ => {}
        }
    }

    /// An attempt is over, its log too: another one (`next`), or the end of the step.
    pub(super) fn ended(
        &mut self,
        index: StepIndex,
        attempt: Attempt,
        next: Attempt,
        ended: Ended,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        self.deadlines.clear_step(index);
        let spec = self.workload.step(index);
        let step = &mut self.steps[index.0];
        let may_try_again = step.may_try_again(&ended.outcome, spec.spec.max_attempts, self.limits.creations);
        if step.stop.is_none() && self.stopped.is_none() && may_try_again {
            let pause = self.limits.pause_before(step.creations + 1);
            out.push(Action::Say {
                step: index,
                text: format!("{} It is tried again in {} s.", ended.outcome, pause.as_secs()),
            });
            step.phase = Phase::Pausing { last: attempt, next };
            step.going = None;
            self.deadlines.set(Clock::Pause(index), now + pause);
            return;
        }
        let ran = step.starts > 0;
        let (state, outcome) = match step.stop.take() {
            None => (ended.outcome.state(), Some(ended.outcome)),
            // A service that was up until nobody needed it any more did all that was asked of it.
            Some(Stop::NotNeeded) if step.started => (StepState::Success, None),
            Some(Stop::NotNeeded) => (StepState::Canceled, None),
            Some(Stop::Because(outcome @ Outcome::NeverStarted { .. })) => (StepState::Failure, Some(outcome)),
            Some(Stop::Because(outcome)) if ran => (outcome.state(), Some(outcome)),
            Some(Stop::Because(outcome)) => (StepState::Canceled, Some(outcome)),
        };
        step.last_attempt = Some(attempt);
        // The net under a pod, which is there in case that our own clock stood still.
        let is_out_of_time = matches!(outcome, Some(Outcome::DeadlineExceeded { which: Deadline::Workflow }));
        self.over(index, state, outcome, Some((ended.started, ended.finished)), out);
        // A service that is up while the last log is read does no work that could take too long.
        if is_out_of_time && (!self.workload.step(index).is_detached() || self.works()) {
            self.time_is_up(now, out);
        }
        if state == StepState::Failure && self.workload.step(index).spec.failure == FailurePolicy::Cancel {
            let name = &self.workload.step(index).spec.name;
            let by = format!("the step '{name}' failed, and its failure stops the workflow");
            let stopped = Stopped { outcome: Outcome::Cancelled { by }, grace: None, state: WorkflowState::Failure };
            self.stop_all(stopped, now, out);
        }
    }
}
