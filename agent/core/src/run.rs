//! The run of one workflow, as a machine: events in, actions out, nothing else.
//!
//! The run:
//!
//! | state | event | next | actions |
//! |---|---|---|---|
//! | Offered | Confirmed | Preparing | Prepare |
//! | Offered | Cancel | Over | every step canceled, Finish: there is nothing to tear down |
//! | Preparing | Prepared | Running | Create for each step that waits for nothing |
//! | Preparing | PrepareFailed | Ending | first steps failed, the others canceled, Finish, Teardown |
//! | Preparing | Cancel, or Tick: the time is up | Preparing | remembered until Prepared |
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
//! | Creating | stop | Creating | remembered until there is an answer |
//! | Pausing | Tick | Creating | Create, the next attempt |
//! | Pausing | stop | Over | Report(killed) if an earlier attempt ran, else Report(canceled) |
//! | Waiting | Observed(Waiting) | Waiting | Stop, if that is hopeless |
//! | Waiting | Tick: it has waited for a while | Waiting | Listen, Say what it waits for, if that is news |
//! | Waiting | Told | Waiting | Say it, if nothing else was known so far |
//! | Waiting | Observed(Running) | Running | Tail, Report(running) |
//! | Waiting | Observed(Ended), it ran | Draining | Tail, Report(running) |
//! | Waiting | Observed(Ended), it never ran; or Gone | Pausing, if that can help; else Over | Report |
//! | Waiting | Tick: its phase took too long | Waiting | Stop |
//! | Running | Observed(Ended), or Gone | Draining | |
//! | Running | Tick: its own time is up | Running | Stop |
//! | Waiting, Running | stop | the same | Stop |
//! | Waiting, Running | Tick: asked to go, and not over in time | Draining | |
//! | Draining | LogEnded, and why it ended badly, if it did; or Tick: one of them took too long | Pausing, if the step may be tried again; else Over | CloseLog, Report |
//!
//! Skips are decided by what a step waits for: it runs `on_failure` if one of the steps before it, directly or through
//! others, failed in a way that counts, and `on_success` if none did.

mod attempt;
mod deadlines;
mod event;
mod limits;
mod step;
mod stopping;

pub use event::{Action, Event};
pub use limits::Limits;

use std::sync::Arc;
use std::time::{Duration, Instant};

use deadlines::{Clock, Deadlines};
use step::{Phase, StepRun, Stop, Waits};

use crate::id::{Attempt, StepIndex};
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
    /// When the workflow's time is up; `None` before it is ours.
    time_limit: Option<Instant>,
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
            time_limit: None,
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

    /// Whether the step's pod is there, and its container has not started.
    pub fn is_waiting(&self, step: StepIndex) -> bool {
        matches!(self.steps[step.0].phase, Phase::Waiting { .. })
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
            Event::CreateFailed { step, attempt, reason, message, may_exist } => {
                let outcome = Outcome::NeverStarted { reason, message };
                self.create_failed(step, attempt, outcome, may_exist, now, &mut out);
            }
            Event::Observed { step, observation } => self.observed(step, observation, now, &mut out),
            Event::Told { step, uid, said } => self.told(step, &uid, said, now, &mut out),
            Event::Gone { step, uid, witnessed } => self.gone(step, &uid, witnessed, now, &mut out),
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
        let limit = now + self.workload.timeout.unwrap_or(self.limits.workflow);
        self.time_limit = Some(limit);
        self.deadlines.set(Clock::Workflow, limit);
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

    fn tick(&mut self, now: Instant, out: &mut Vec<Action>) {
        while let Some(clock) = self.deadlines.pop(now) {
            match clock {
                Clock::Workflow => self.time_is_up(now, out),
                Clock::Pause(index) => {
                    if let Phase::Pausing { next, .. } = self.steps[index.0].phase {
                        self.create(index, next, out);
                    }
                }
                Clock::Explain(index) => self.explain(index, out),
                Clock::Wait(index) => self.give_up_waiting(index, now, out),
                Clock::Timeout(index) => {
                    let outcome = Outcome::DeadlineExceeded { which: Deadline::Step };
                    self.stop(index, Stop::Because(outcome), now, out);
                }
                Clock::Stop(index) => self.never_went(index, now, out),
                Clock::LastWord(index) => self.settle(index, None, now, out),
                Clock::Log(index) => {
                    let text =
                        "The end of this log could not be read in time; what is missing is not known.".to_owned();
                    if let Phase::Draining { pod, ended, .. } = &self.steps[index.0].phase {
                        let (attempt, ended) = (pod.attempt, ended.clone());
                        out.push(Action::Say { step: index, text });
                        self.ended(index, attempt, attempt.next(), ended, now, out);
                    }
                }
            }
        }
    }

    /// The workflow's own time limit has passed.
    pub(super) fn time_is_up(&mut self, now: Instant, out: &mut Vec<Action>) {
        let limit = self.workload.timeout.unwrap_or(self.limits.workflow);
        if self.stopped.is_none() {
            self.error = format!("The workflow took longer than its time limit of {} s.", limit.as_secs());
        }
        let outcome = Outcome::DeadlineExceeded { which: Deadline::Workflow };
        self.stop_all(Stopped { outcome, grace: None, state: WorkflowState::Killed }, now, out);
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
        self.watch_the_time();
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
        step.waits = Waits::default();
        step.waiting = None;
        step.listens = false;
        step.said = None;
        step.explained.clear();
        step.started = false;
        step.bound = false;
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

    /// The workflow's time runs while there is work: reading the last log and stopping services is ours to do.
    fn watch_the_time(&mut self) {
        match self.time_limit.filter(|_| self.stopped.is_none() && self.works()) {
            Some(at) => self.deadlines.set(Clock::Workflow, at),
            None => self.deadlines.clear(Clock::Workflow),
        }
    }

    /// Whether a step that others or the workflow wait for is not through with its work.
    pub(super) fn works(&self) -> bool {
        let is_working = |run: &StepRun| !run.is_over() && !matches!(run.phase, Phase::Draining { .. });
        !self.each(|step, run| step.is_detached() || !is_working(run))
    }

    fn finish(&mut self, out: &mut Vec<Action>) {
        // Only a run that was confirmed has made anything. What has its names otherwise is another agent's.
        let is_ours = self.time_limit.is_some();
        self.state = if is_ours { State::Ending } else { State::Over };
        self.deadlines = Deadlines::default();
        let failed = self.workload.indexed().any(|(index, step)| {
            self.step_state(index) == StepState::Failure && step.spec.failure != FailurePolicy::Ignore
        });
        let all_ended =
            self.each(|_, run| !matches!(run.phase, Phase::Over { state: StepState::Killed | StepState::Canceled }));
        let state = match &self.stopped {
            // The time was up, but the news was late: all steps had ended before, and nothing was cut.
            Some(Stopped { outcome: Outcome::DeadlineExceeded { .. }, .. }) if all_ended => {
                self.error.clear();
                if failed { WorkflowState::Failure } else { WorkflowState::Success }
            }
            Some(stopped) => stopped.state,
            None if failed => WorkflowState::Failure,
            None => WorkflowState::Success,
        };
        out.push(Action::Finish { state, error: self.error.clone() });
        if is_ours {
            out.push(Action::Teardown);
        }
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
