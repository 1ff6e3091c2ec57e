//! The machine by example; `random` drives it through every row of its table.

mod attempts;
mod order;
mod random;
mod stopping;
mod waiting;

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Action, Event, Limits, Run};
use crate::id::{Attempt, PodUid, StepIndex, WorkflowId};
use crate::observation::{Ended, Observation, Seen};
use crate::outcome::{Outcome, StepState, WorkflowState};
use crate::workload::{StageSpec, StepSpec, Workload, WorkloadSpec};

pub(super) fn step(name: &str) -> StepSpec {
    StepSpec { id: format!("id-{name}"), name: name.to_owned(), image: "alpine".to_owned(), ..StepSpec::default() }
}

pub(super) fn workload(stages: Vec<Vec<StepSpec>>) -> Arc<Workload> {
    let stages = stages.into_iter().map(|steps| StageSpec { steps }).collect();
    Arc::new(Workload::new(WorkflowId::new("7"), WorkloadSpec { stages, ..WorkloadSpec::default() }).unwrap())
}

#[expect(clippy::disallowed_methods, reason = "a starting point; the machine only ever adds to it")]
pub(super) fn start() -> Instant {
    Instant::now()
}

pub(super) fn uid(step: usize, attempt: u32) -> PodUid {
    PodUid::new(format!("uid-{step}-{attempt}"))
}

pub(super) fn seen(step: usize, attempt: u32, seen: Seen) -> Event {
    let observation = Observation {
        uid: uid(step, attempt),
        seen,
        going: None,
        asked: false,
        settled: true,
        node: Some("node-1".to_owned()),
    };
    Event::Observed { step: StepIndex(step), observation }
}

/// What is seen of a pod that was asked to go.
pub(super) fn stopped(step: usize, attempt: u32, seen: Seen) -> Event {
    let going = Some(Outcome::PodDeleted { by: None });
    let observation = Observation {
        uid: uid(step, attempt),
        seen,
        going,
        asked: true,
        settled: true,
        node: Some("node-1".to_owned()),
    };
    Event::Observed { step: StepIndex(step), observation }
}

fn ended(outcome: Outcome) -> Seen {
    Seen::Ended(Ended {
        outcome,
        started: Some(jiff::Timestamp::UNIX_EPOCH),
        finished: Some(jiff::Timestamp::UNIX_EPOCH),
    })
}

/// A run and what it has asked for so far.
struct Drive {
    run: Run,
    now: Instant,
    actions: Vec<Action>,
}

impl Drive {
    fn begin(workload: &Arc<Workload>) -> Self {
        let run = Run::new(Arc::clone(workload), Limits::default());
        let mut drive = Self { run, now: start(), actions: Vec::new() };
        drive.on(Event::Confirmed);
        drive.on(Event::Prepared);
        drive
    }

    /// The new actions.
    fn on(&mut self, event: Event) -> Vec<Action> {
        let new = self.run.on(event, self.now);
        self.actions.extend(new.iter().cloned());
        new
    }

    fn after(&mut self, pause: Duration) -> Vec<Action> {
        self.now += pause;
        self.on(Event::Tick)
    }

    fn created(&mut self, step: usize, attempt: u32) -> Vec<Action> {
        let attempt_id = Attempt(attempt);
        self.on(Event::Created { step: StepIndex(step), attempt: attempt_id, uid: uid(step, attempt) })
    }

    fn running(&mut self, step: usize) {
        self.created(step, 1);
        self.on(seen(step, 1, Seen::Running { started: None }));
    }

    /// Runs the step to its end, its log included.
    fn exits(&mut self, step: usize, code: i32) -> Vec<Action> {
        self.running(step);
        self.on(seen(step, 1, ended(Outcome::Exited { code })));
        self.on(Event::LogEnded { step: StepIndex(step), uid: uid(step, 1) })
    }

    fn states(&self) -> Vec<StepState> {
        (0..self.run.steps.len()).map(|i| self.run.step_state(StepIndex(i))).collect()
    }

    /// The steps that were asked for, with what came before.
    fn creations(&self) -> Vec<(usize, u32, bool)> {
        let creations = self.actions.iter().filter_map(|action| match action {
            Action::Create { step, attempt, after_failure } => Some((step.0, attempt.0, *after_failure)),
            _ => None,
        });
        creations.collect()
    }

    fn finish(&self) -> Option<(WorkflowState, String)> {
        self.actions.iter().find_map(|action| match action {
            Action::Finish { state, error } => Some((*state, error.clone())),
            _ => None,
        })
    }

    fn said(&self) -> Vec<&str> {
        let said = self.actions.iter().filter_map(|action| match action {
            Action::Say { text, .. } => Some(text.as_str()),
            _ => None,
        });
        said.collect()
    }

    fn final_outcome(&self, step: usize) -> Option<Outcome> {
        let id = format!("id-{}", self.run.workload.step(StepIndex(step)).spec.name);
        self.actions.iter().rev().find_map(|action| match action {
            Action::Report(report) if report.step.as_str() == id && report.state.is_final() => report.outcome.clone(),
            _ => None,
        })
    }
}
