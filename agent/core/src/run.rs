//! The run of one workflow, as a machine: events in, actions out, nothing else.
//!
//! The run:
//!
//! | state | event | next | actions |
//! |---|---|---|---|
//! | Offered | Confirmed | Preparing | Prepare |
//! | Offered | Cancel | Ending | every step canceled, Finish, Teardown |
//! | Preparing | Prepared | Running | Create for each step that waits for nothing |
//! | Preparing | PrepareFailed | Ending | first steps failed, the others canceled, Finish, Teardown |
//! | Preparing | Cancel | Preparing | remembered until Prepared |
//! | Running | every step over | Ending | Finish, Teardown |
//! | Ending | TornDown | Over | |
//!
//! A step:
//!
//! | state | event | next | actions |
//! |---|---|---|---|
//! | Blocked | what it waits for is over, and it shall run | Creating | Create |
//! | Blocked | what it waits for is over, and it shall not run | Over | Report(skipped) |
//! | Blocked | stop | Over | Report(canceled) |
//! | Creating | Created | Waiting | Stop, if it was stopped meanwhile |
//! | Creating | CreateFailed | Pausing, if that can help; else Over | Report(failure) |
//! | Pausing | Tick | Creating | Create, the next attempt |
//! | Pausing | stop | Over | Report(canceled) |
//! | Waiting | Observed(Waiting) | Waiting | Stop, if that is hopeless |
//! | Waiting | Observed(Running) | Running | Tail, Report(running) |
//! | Waiting | Observed(Ended), it ran | Draining | Tail, Report(running) |
//! | Waiting | Observed(Ended), it never ran; or Gone | Pausing, if that can help; else Over | Report |
//! | Waiting | Tick: its phase took too long | Waiting | Stop |
//! | Running | Observed(Ended), or Gone | Draining | |
//! | Running | Tick: its own time is up | Running | Stop |
//! | Waiting, Running | stop | the same | Stop |
//! | Waiting, Running | Tick: asked to go, and not over in time | Draining | |
//! | Draining | LogEnded, or Tick: the log took too long | Pausing, if the step may be tried again; else Over | CloseLog, Report |
//!
//! Skips are decided by what a step waits for: it runs `on_failure` if one of the steps before it, directly or through
//! others, failed in a way that counts, and `on_success` if none did.

mod deadlines;
mod event;
mod limits;
mod step;

pub use event::{Action, Event};
pub use limits::Limits;

use std::sync::Arc;
use std::time::{Duration, Instant};

use deadlines::{Clock, Deadlines};
use step::{Phase, Pod, StepRun, Stop};

use crate::id::{Attempt, PodUid, StepIndex};
use crate::observation::{Ended, Observation, Seen, Waiting};
use crate::outcome::{Deadline, NeverStarted, Outcome, StepState, WorkflowState};
use crate::report::StepReport;
use crate::workload::{FailurePolicy, Step, Workload};

/// The run of one workflow.
#[derive(Debug)]
pub struct Run {
    workload: Arc<Workload>,
    limits: Limits,
    state: State,
    steps: Vec<StepRun>,
    deadlines: Deadlines,
    /// Set once the workflow as a whole is being stopped.
    stopped: Option<Stopped>,
    /// What went wrong apart from the steps.
    error: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Offered,
    Preparing,
    Running,
    Ending,
    Over,
}

/// Why the workflow is being stopped.
#[derive(Debug, Clone)]
struct Stopped {
    outcome: Outcome,
    grace: Option<Duration>,
    state: WorkflowState,
}

impl Run {
    /// A run that waits for [`Event::Confirmed`].
    pub fn new(workload: Arc<Workload>, limits: Limits) -> Self {
        let steps = workload.steps().iter().map(|_| StepRun::default()).collect();
        Self {
            workload,
            limits,
            state: State::Offered,
            steps,
            deadlines: Deadlines::default(),
            stopped: None,
            error: String::new(),
        }
    }

    /// When [`Event::Tick`] is due; `None` if nothing waits for time to pass.
    pub fn due(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// Whether nothing more will happen: the workflow is over and its objects are gone.
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// The state of a step.
    pub fn step_state(&self, step: StepIndex) -> StepState {
        match &self.steps[step.0].phase {
            Phase::Over { state } => *state,
            Phase::Running { .. } | Phase::Draining { .. } => StepState::Running,
            Phase::Blocked | Phase::Pausing { .. } | Phase::Creating { .. } | Phase::Waiting { .. } => {
                StepState::Pending
            }
        }
    }

    /// Takes one event and says what is to be done. Events that don't fit the state (late, repeated, about a pod that
    /// is no longer the step's) change nothing.
    pub fn on(&mut self, event: Event, now: Instant) -> Vec<Action> {
        let mut out = Vec::new();
        match event {
            Event::Confirmed => self.confirmed(now, &mut out),
            Event::Prepared => self.prepared(),
            Event::PrepareFailed { reason, message } => self.prepare_failed(reason, &message, &mut out),
            Event::Created { step, attempt, uid } => self.created(step, attempt, uid, now, &mut out),
            Event::CreateFailed { step, attempt, reason, message } => {
                self.create_failed(step, attempt, Outcome::NeverStarted { reason, message }, now, &mut out);
            }
            Event::Observed { step, observation } => self.observed(step, observation, now, &mut out),
            Event::Gone { step, uid } => self.gone(step, &uid, now, &mut out),
            Event::LogEnded { step, uid } => self.log_ended(step, &uid, now, &mut out),
            Event::Cancel { by, grace } => {
                let stopped = Stopped { outcome: Outcome::Cancelled { by }, grace, state: WorkflowState::Killed };
                self.stop_all(stopped, now, &mut out);
            }
            Event::Tick => self.tick(now, &mut out),
            Event::TornDown => {
                if self.state == State::Ending {
                    self.state = State::Over;
                }
            }
        }
        self.advance(now, &mut out);
        out
    }

    fn confirmed(&mut self, now: Instant, out: &mut Vec<Action>) {
        if self.state != State::Offered {
            return;
        }
        self.state = State::Preparing;
        self.deadlines.set(Clock::Workflow, now + self.workload.timeout.unwrap_or(self.limits.workflow));
        out.push(Action::Prepare);
    }

    fn prepared(&mut self) {
        if self.state == State::Preparing {
            self.state = State::Running;
        }
    }

    fn prepare_failed(&mut self, reason: NeverStarted, message: &str, out: &mut Vec<Action>) {
        if self.state != State::Preparing {
            return;
        }
        self.state = State::Running;
        if self.stopped.is_none() {
            self.error = format!("The workflow's own objects could not be made: {message}");
        }
        for index in self.indices() {
            if self.steps[index.0].phase != Phase::Blocked {
                continue;
            }
            if self.workload.step(index).after.is_empty() {
                let outcome = Outcome::NeverStarted { reason, message: message.to_owned() };
                self.over(index, StepState::Failure, Some(outcome), None, out);
            } else {
                self.over(index, StepState::Canceled, None, None, out);
            }
        }
    }

    fn created(&mut self, index: StepIndex, attempt: Attempt, uid: PodUid, now: Instant, out: &mut Vec<Action>) {
        let step = &mut self.steps[index.0];
        if step.phase != (Phase::Creating { attempt }) {
            return;
        }
        step.phase = Phase::Waiting { pod: Pod { attempt, uid, log_ended: false }, phase: None };
        self.deadlines.set(Clock::Wait(index), now + self.limits.schedule);
        if self.steps[index.0].stop.is_some() {
            self.stop_pod(index, now, out);
        }
    }

    fn create_failed(
        &mut self,
        index: StepIndex,
        attempt: Attempt,
        outcome: Outcome,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        if self.steps[index.0].phase == (Phase::Creating { attempt }) {
            self.ended(index, attempt, Ended { outcome, started: None, finished: None }, now, out);
        }
    }

    fn observed(&mut self, index: StepIndex, observation: Observation, now: Instant, out: &mut Vec<Action>) {
        let step = &mut self.steps[index.0];
        let (Phase::Waiting { pod, .. } | Phase::Running { pod, .. }) = &step.phase else { return };
        if pod.uid != observation.uid {
            return;
        }
        let is_going = observation.going.is_some();
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
                    self.steps[index.0].going = None;
                }
                self.seen_ended(index, ended, now, out);
            }
        }
    }

    fn seen_waiting(&mut self, index: StepIndex, waiting: Waiting, now: Instant, out: &mut Vec<Action>) {
        let step = &mut self.steps[index.0];
        let Phase::Waiting { phase, .. } = &mut step.phase else { return };
        if *phase != Some(waiting.phase) {
            *phase = Some(waiting.phase);
            self.deadlines.set(Clock::Wait(index), now + self.limits.of_phase(waiting.phase));
        }
        let hopeless = waiting.hopeless;
        let step = &mut self.steps[index.0];
        step.waiting = Some(waiting);
        if hopeless && step.stop.is_none() {
            self.give_up_waiting(index, now, out);
        }
    }

    fn seen_running(
        &mut self,
        index: StepIndex,
        started: Option<jiff::Timestamp>,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        if let Phase::Waiting { pod, .. } = &self.steps[index.0].phase {
            let pod = pod.clone();
            self.started(index, pod, started, now, out);
        }
    }

    /// The container runs, or ran: its log is read from now on.
    fn started(
        &mut self,
        index: StepIndex,
        pod: Pod,
        started: Option<jiff::Timestamp>,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
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
        if let Some(timeout) = spec.timeout() {
            self.deadlines.set(Clock::Timeout(index), now + timeout);
        }
        let step = &mut self.steps[index.0];
        step.starts += 1;
        step.up = true;
        step.phase = Phase::Running { pod, started };
    }

    fn seen_ended(&mut self, index: StepIndex, ended: Ended, now: Instant, out: &mut Vec<Action>) {
        if let Phase::Waiting { pod, .. } = &self.steps[index.0].phase {
            let pod = pod.clone();
            if ended.started.is_none() && ended.outcome.exit_code().is_none() {
                self.ended(index, pod.attempt, ended, now, out);
                return;
            }
            self.started(index, pod, ended.started, now, out);
        }
        self.drain(index, ended, now, out);
    }

    fn gone(&mut self, index: StepIndex, uid: &PodUid, now: Instant, out: &mut Vec<Action>) {
        let step = &self.steps[index.0];
        let gone = Outcome::PodDeleted { by: None };
        match &step.phase {
            Phase::Waiting { pod, .. } if pod.uid == *uid => {
                let outcome = step.going.clone().unwrap_or(gone);
                self.ended(index, pod.attempt, Ended { outcome, started: None, finished: None }, now, out);
            }
            Phase::Running { pod, started } if pod.uid == *uid => {
                let ended = Ended { outcome: gone, started: *started, finished: None };
                self.drain(index, ended, now, out);
            }
            _ => {}
        }
    }

    /// The container is over: what remains is its log.
    fn drain(&mut self, index: StepIndex, mut ended: Ended, now: Instant, out: &mut Vec<Action>) {
        let step = &mut self.steps[index.0];
        let Phase::Running { pod, started } = &step.phase else { return };
        if let Some(going) = step.going.take()
            && !matches!(ended.outcome, Outcome::OomKilled { .. })
        {
            ended.outcome = going;
        }
        ended.started = ended.started.or(*started);
        let pod = pod.clone();
        let (attempt, log_ended) = (pod.attempt, pod.log_ended);
        self.deadlines.clear(Clock::Timeout(index));
        self.deadlines.clear(Clock::Stop(index));
        if log_ended {
            self.ended(index, attempt, ended, now, out);
        } else {
            self.deadlines.set(Clock::Log(index), now + self.limits.log);
            self.steps[index.0].phase = Phase::Draining { pod, ended };
        }
    }

    fn log_ended(&mut self, index: StepIndex, uid: &PodUid, now: Instant, out: &mut Vec<Action>) {
        match &mut self.steps[index.0].phase {
            Phase::Running { pod, .. } if pod.uid == *uid => pod.log_ended = true,
            Phase::Draining { pod, ended } if pod.uid == *uid => {
                let (attempt, ended) = (pod.attempt, ended.clone());
                self.ended(index, attempt, ended, now, out);
            }
            _ => {}
        }
    }

    /// An attempt is over, its log too: another one, or the end of the step.
    fn ended(&mut self, index: StepIndex, attempt: Attempt, ended: Ended, now: Instant, out: &mut Vec<Action>) {
        self.deadlines.clear_step(index);
        let spec = self.workload.step(index);
        let step = &mut self.steps[index.0];
        let ran = matches!(step.phase, Phase::Running { .. } | Phase::Draining { .. });
        let natural = step.stop.is_none();
        if natural && step.may_try_again(&ended.outcome, ran, spec.spec.max_attempts, self.limits.creations) {
            let pause = self.limits.pause_before(step.creations + 1);
            out.push(Action::Say {
                step: index,
                text: format!("{} It is tried again in {} s.", ended.outcome, pause.as_secs()),
            });
            step.phase = Phase::Pausing { next: attempt.next() };
            step.going = None;
            self.deadlines.set(Clock::Pause(index), now + pause);
            return;
        }
        let (state, outcome) = match step.stop.take() {
            None => (ended.outcome.state(), Some(ended.outcome)),
            // A service that was up until nobody needed it any more did all that was asked of it.
            Some(Stop::NotNeeded) if ran => (StepState::Success, None),
            Some(Stop::NotNeeded) => (StepState::Canceled, None),
            Some(Stop::Because(outcome @ Outcome::NeverStarted { .. })) => (StepState::Failure, Some(outcome)),
            Some(Stop::Because(outcome)) if ran => (outcome.state(), Some(outcome)),
            Some(Stop::Because(outcome)) => (StepState::Canceled, Some(outcome)),
        };
        step.last_attempt = Some(attempt);
        self.over(index, state, outcome, Some((ended.started, ended.finished)), out);
        if state == StepState::Failure && self.workload.step(index).spec.failure == FailurePolicy::Cancel {
            let name = &self.workload.step(index).spec.name;
            let by = format!("the step '{name}' failed, and its failure stops the workflow");
            let stopped = Stopped { outcome: Outcome::Cancelled { by }, grace: None, state: WorkflowState::Failure };
            self.stop_all(stopped, now, out);
        }
    }

    /// Puts a step into its final state and says so.
    fn over(
        &mut self,
        index: StepIndex,
        state: StepState,
        outcome: Option<Outcome>,
        times: Option<(Option<jiff::Timestamp>, Option<jiff::Timestamp>)>,
        out: &mut Vec<Action>,
    ) {
        let (started, finished) = times.unwrap_or_default();
        let error = outcome.as_ref().map(Outcome::to_string).unwrap_or_default();
        let spec = self.workload.step(index);
        let step = &mut self.steps[index.0];
        let never_started = matches!(outcome, Some(Outcome::NeverStarted { .. }));
        step.failed = state == StepState::Failure
            && spec.spec.failure != FailurePolicy::Ignore
            && (!spec.is_detached() || never_started);
        let attempt = step.last_attempt.unwrap_or(Attempt::FIRST);
        step.phase = Phase::Over { state };
        if step.creations > 0 {
            if !error.is_empty() {
                out.push(Action::Say { step: index, text: error.clone() });
            }
            out.push(Action::CloseLog { step: index });
        }
        out.push(Action::Report(StepReport {
            step: spec.id.clone(),
            attempt,
            state,
            started,
            finished,
            outcome,
            error,
        }));
    }

    /// Stops the whole workflow. The first reason counts.
    fn stop_all(&mut self, stopped: Stopped, now: Instant, out: &mut Vec<Action>) {
        if self.stopped.is_some() || matches!(self.state, State::Ending | State::Over) {
            return;
        }
        if self.state == State::Offered {
            self.state = State::Running;
        }
        self.stopped = Some(stopped.clone());
        self.deadlines.clear(Clock::Workflow);
        for index in self.indices() {
            self.stop(index, Stop::Because(stopped.outcome.clone()), now, out);
        }
    }

    fn stop(&mut self, index: StepIndex, why: Stop, now: Instant, out: &mut Vec<Action>) {
        match &self.steps[index.0].phase {
            Phase::Blocked => {
                let outcome = why.outcome();
                self.over(index, StepState::Canceled, outcome, None, out);
            }
            Phase::Pausing { .. } => {
                self.deadlines.clear_step(index);
                let outcome = why.outcome();
                self.over(index, StepState::Canceled, outcome, None, out);
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

    fn stop_pod(&mut self, index: StepIndex, now: Instant, out: &mut Vec<Action>) {
        let (Phase::Waiting { pod, .. } | Phase::Running { pod, .. }) = &self.steps[index.0].phase else { return };
        let grace = self.stopped.as_ref().and_then(|stopped| stopped.grace);
        out.push(Action::Stop { step: index, attempt: pod.attempt, uid: pod.uid.clone(), grace });
        self.deadlines.clear(Clock::Wait(index));
        self.deadlines.clear(Clock::Timeout(index));
        self.deadlines.set(Clock::Stop(index), now + grace.unwrap_or(self.limits.grace) + self.limits.lost);
    }

    fn give_up_waiting(&mut self, index: StepIndex, now: Instant, out: &mut Vec<Action>) {
        let step = &self.steps[index.0];
        let outcome = match &step.waiting {
            Some(waiting) => Outcome::NeverStarted { reason: waiting.reason, message: waiting.message.clone() },
            None => Outcome::NeverStarted {
                reason: NeverStarted::Cluster,
                message: "the cluster said nothing about the pod".to_owned(),
            },
        };
        self.stop(index, Stop::Because(outcome), now, out);
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Action>) {
        while let Some(clock) = self.deadlines.pop(now) {
            match clock {
                Clock::Workflow => {
                    let outcome = Outcome::DeadlineExceeded { which: Deadline::Workflow };
                    let limit = self.workload.timeout.unwrap_or(self.limits.workflow);
                    if self.stopped.is_none() {
                        self.error = format!("The workflow took longer than its time limit of {} s.", limit.as_secs());
                    }
                    self.stop_all(Stopped { outcome, grace: None, state: WorkflowState::Killed }, now, out);
                }
                Clock::Pause(index) => {
                    if let Phase::Pausing { next } = self.steps[index.0].phase {
                        self.create(index, next, out);
                    }
                }
                Clock::Wait(index) => self.give_up_waiting(index, now, out),
                Clock::Timeout(index) => {
                    let outcome = Outcome::DeadlineExceeded { which: Deadline::Step };
                    self.stop(index, Stop::Because(outcome), now, out);
                }
                Clock::Stop(index) => self.never_went(index, now, out),
                Clock::Log(index) => {
                    let text =
                        "The end of this log could not be read in time; what is missing is not known.".to_owned();
                    if let Phase::Draining { pod, ended } = &self.steps[index.0].phase {
                        let (attempt, ended) = (pod.attempt, ended.clone());
                        out.push(Action::Say { step: index, text });
                        self.ended(index, attempt, ended, now, out);
                    }
                }
            }
        }
    }

    /// A pod that was asked to go neither went nor ended in time: nobody will ever say how it ended.
    fn never_went(&mut self, index: StepIndex, now: Instant, out: &mut Vec<Action>) {
        let message = "the pod was asked to end and did not, and its node doesn't answer".to_owned();
        let outcome = Outcome::Unknown { message };
        match &self.steps[index.0].phase {
            Phase::Waiting { pod, .. } => {
                let attempt = pod.attempt;
                self.ended(index, attempt, Ended { outcome, started: None, finished: None }, now, out);
            }
            Phase::Running { started, .. } => {
                let ended = Ended { outcome, started: *started, finished: None };
                self.drain(index, ended, now, out);
            }
            _ => {}
        }
    }

    /// Starts what can start, and ends what is over.
    fn advance(&mut self, now: Instant, out: &mut Vec<Action>) {
        if self.state != State::Running {
            return;
        }
        if let Some(stopped) = self.stopped.clone() {
            // A cancel that came while the workflow's own objects were being made.
            for index in self.indices() {
                self.stop(index, Stop::Because(stopped.outcome.clone()), now, out);
            }
        }
        // A skipped step may free the next one in the same turn. Indices don't always grow along `needs`.
        while let Some((index, after_failure)) = self.next_ready() {
            let spec = &self.workload.step(index).spec;
            let runs = if after_failure { spec.on_failure } else { spec.on_success };
            self.steps[index.0].after_failure = after_failure;
            if runs {
                self.create(index, Attempt::FIRST, out);
            } else {
                self.over(index, StepState::Skipped, None, None, out);
            }
        }
        // A detached step is asked for nothing more than to come up; so a workflow of services alone ends, too.
        let blocking_over = self.each(|step, run| run.is_over() || (step.is_detached() && run.up));
        if blocking_over {
            for index in self.indices() {
                self.stop(index, Stop::NotNeeded, now, out);
            }
        }
        if self.each(|_, run| run.is_over()) {
            self.finish(out);
        }
    }

    fn create(&mut self, index: StepIndex, attempt: Attempt, out: &mut Vec<Action>) {
        let step = &mut self.steps[index.0];
        step.creations += 1;
        step.waiting = None;
        step.phase = Phase::Creating { attempt };
        out.push(Action::Create { step: index, attempt, after_failure: step.after_failure });
    }

    /// A blocked step whose waiting is over, and whether it comes after a failure.
    fn next_ready(&self) -> Option<(StepIndex, bool)> {
        self.workload.indexed().find_map(|(index, step)| {
            let blocked = self.steps[index.0].phase == Phase::Blocked;
            let mut before = step.after.iter().map(|&before| (self.workload.step(before), &self.steps[before.0]));
            let ready = blocked && before.all(|(step, run)| run.is_over() || (step.is_detached() && run.up));
            ready.then(|| (index, step.after.iter().any(|before| self.steps[before.0].failed_before())))
        })
    }

    fn finish(&mut self, out: &mut Vec<Action>) {
        self.state = State::Ending;
        self.deadlines = Deadlines::default();
        let failed = self.workload.indexed().any(|(index, step)| {
            self.step_state(index) == StepState::Failure && step.spec.failure != FailurePolicy::Ignore
        });
        let state = match &self.stopped {
            Some(stopped) => stopped.state,
            None if failed => WorkflowState::Failure,
            None => WorkflowState::Success,
        };
        out.push(Action::Finish { state, error: self.error.clone() });
        out.push(Action::Teardown);
    }

    fn indices(&self) -> impl Iterator<Item = StepIndex> + use<> {
        (0..self.steps.len()).map(StepIndex)
    }

    fn each(&self, check: impl Fn(&Step, &StepRun) -> bool) -> bool {
        self.workload.steps().iter().zip(&self.steps).all(|(step, run)| check(step, run))
    }
}

#[cfg(test)]
mod tests;
