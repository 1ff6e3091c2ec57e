//! The machine by example; `random` drives it through every row of its table.

mod random;

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Action, Event, Limits, Run};
use crate::id::{Attempt, PodUid, StepIndex, WorkflowId};
use crate::observation::{Ended, Observation, Seen, WaitPhase, Waiting};
use crate::outcome::{Deadline, NeverStarted, Outcome, StepState, WorkflowState};
use crate::workload::{FailurePolicy, StageSpec, StepKind, StepSpec, Workload, WorkloadSpec};

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
    let observation =
        Observation { uid: uid(step, attempt), seen, going: None, asked: false, node: Some("node-1".to_owned()) };
    Event::Observed { step: StepIndex(step), observation }
}

/// What is seen of a pod that was asked to go.
pub(super) fn stopped(step: usize, attempt: u32, seen: Seen) -> Event {
    let going = Some(Outcome::PodDeleted { by: None });
    let observation =
        Observation { uid: uid(step, attempt), seen, going, asked: true, node: Some("node-1".to_owned()) };
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

#[test]
fn stages_run_in_order_and_a_stage_waits_for_all_of_the_one_before() {
    let mut drive = Drive::begin(&workload(vec![vec![step("a"), step("b")], vec![step("c")]]));
    assert_eq!(drive.creations(), [(0, 1, false), (1, 1, false)]);
    drive.exits(0, 0);
    assert_eq!(drive.creations().len(), 2, "b is not over yet");
    drive.exits(1, 0);
    assert_eq!(drive.creations()[2], (2, 1, false));
    drive.exits(2, 0);
    assert_eq!(drive.finish(), Some((WorkflowState::Success, String::new())));
    assert_eq!(drive.actions.last(), Some(&Action::Teardown));
    assert!(!drive.run.is_over());
    drive.on(Event::TornDown);
    assert!(drive.run.is_over());
}

#[test]
fn needs_start_a_step_as_soon_as_they_are_over() {
    let c = StepSpec { needs: Some(vec!["a".to_owned()]), ..step("c") };
    let mut drive = Drive::begin(&workload(vec![vec![step("a"), step("b")], vec![c]]));
    drive.exits(0, 0);
    assert_eq!(drive.creations()[2], (2, 1, false));
}

#[test]
fn a_failure_skips_what_runs_on_success_and_starts_what_runs_on_failure() {
    let notify = StepSpec { on_success: false, on_failure: true, ..step("notify") };
    let always = StepSpec { on_failure: true, ..step("always") };
    let mut drive = Drive::begin(&workload(vec![vec![step("a")], vec![step("b")], vec![notify], vec![always]]));
    drive.exits(0, 7);
    assert_eq!(drive.creations(), [(0, 1, false), (2, 1, true)]);
    drive.exits(2, 0);
    drive.exits(3, 0);
    assert_eq!(drive.creations()[2], (3, 1, true), "a step that ran after a failure does not undo it");
    let expected = [StepState::Failure, StepState::Skipped, StepState::Success, StepState::Success];
    assert_eq!(drive.states(), expected);
    assert_eq!(drive.finish(), Some((WorkflowState::Failure, String::new())));
    assert_eq!(drive.final_outcome(0), Some(Outcome::Exited { code: 7 }));
}

#[test]
fn a_failure_of_something_else_does_not_reach_a_step_with_needs() {
    let c = StepSpec { needs: Some(vec!["a".to_owned()]), ..step("c") };
    let d = StepSpec { needs: Some(vec!["c".to_owned()]), ..step("d") };
    let mut drive = Drive::begin(&workload(vec![vec![step("a"), step("b")], vec![c, d]]));
    drive.exits(1, 1);
    drive.exits(0, 0);
    assert_eq!(drive.creations()[2], (2, 1, false));
}

#[test]
fn a_skipped_step_hands_on_the_failure_before_it() {
    let b = StepSpec { needs: Some(vec!["a".to_owned()]), ..step("b") };
    let c = StepSpec { needs: Some(vec!["b".to_owned()]), on_failure: true, on_success: false, ..step("c") };
    let mut drive = Drive::begin(&workload(vec![vec![step("a"), b, c]]));
    drive.exits(0, 1);
    assert_eq!(drive.creations()[1], (2, 1, true));
}

#[test]
fn an_ignored_failure_is_shown_and_nothing_else() {
    let a = StepSpec { failure: FailurePolicy::Ignore, ..step("a") };
    let notify = StepSpec { on_success: false, on_failure: true, ..step("notify") };
    let mut drive = Drive::begin(&workload(vec![vec![a], vec![notify], vec![step("c")]]));
    drive.exits(0, 3);
    drive.exits(2, 0);
    assert_eq!(drive.states(), [StepState::Failure, StepState::Skipped, StepState::Success]);
    assert_eq!(drive.finish(), Some((WorkflowState::Success, String::new())));
}

#[test]
fn an_ignored_step_that_never_started_is_ignored_too() {
    let a = StepSpec { failure: FailurePolicy::Ignore, ..step("a") };
    let mut drive = Drive::begin(&workload(vec![vec![a], vec![step("b")]]));
    let (reason, message) = (NeverStarted::Admission, "no".to_owned());
    drive.on(Event::CreateFailed { step: StepIndex(0), attempt: Attempt(1), reason, message, may_exist: false });
    assert_eq!(drive.creations()[1], (1, 1, false));
}

#[test]
fn a_failure_that_cancels_stops_its_siblings() {
    let a = StepSpec { failure: FailurePolicy::Cancel, ..step("a") };
    let mut drive = Drive::begin(&workload(vec![vec![a, step("b")], vec![step("c")]]));
    drive.running(1);
    let actions = drive.exits(0, 1);
    assert!(actions.iter().any(|action| matches!(action, Action::Stop { step: StepIndex(1), .. })), "{actions:?}");
    drive.on(stopped(1, 1, ended(Outcome::Exited { code: 143 })));
    drive.on(Event::LogEnded { step: StepIndex(1), uid: uid(1, 1) });
    assert_eq!(drive.states(), [StepState::Failure, StepState::Killed, StepState::Canceled]);
    assert_eq!(drive.finish(), Some((WorkflowState::Failure, String::new())));
}

#[test]
fn services_are_up_before_and_are_stopped_after_the_others() {
    let service = StepSpec { kind: StepKind::Service, ..step("db") };
    let mut drive = Drive::begin(&workload(vec![vec![service], vec![step("test")]]));
    drive.created(0, 1);
    assert_eq!(drive.creations().len(), 1, "the service doesn't run yet");
    drive.on(seen(0, 1, Seen::Running { started: None }));
    assert_eq!(drive.creations().len(), 2);
    let actions = drive.exits(1, 0);
    assert!(actions.iter().any(|action| matches!(action, Action::Stop { step: StepIndex(0), .. })), "{actions:?}");
    drive.on(stopped(0, 1, ended(Outcome::Exited { code: 137 })));
    drive.on(Event::LogEnded { step: StepIndex(0), uid: uid(0, 1) });
    assert_eq!(drive.states(), [StepState::Success, StepState::Success]);
    assert_eq!(drive.final_outcome(0), None, "nobody asked it for an exit code");
    assert_eq!(drive.finish(), Some((WorkflowState::Success, String::new())));
}

#[test]
fn a_workflow_of_services_alone_ends_when_they_are_up() {
    let service = StepSpec { kind: StepKind::Service, ..step("db") };
    let mut drive = Drive::begin(&workload(vec![vec![service]]));
    assert_eq!(drive.created(0, 1), []);
    let actions = drive.on(seen(0, 1, Seen::Running { started: None }));
    assert!(matches!(actions.last(), Some(Action::Stop { .. })), "{actions:?}");
}

#[test]
fn a_cancel_stops_what_runs_and_cancels_what_does_not() {
    let mut drive = Drive::begin(&workload(vec![vec![step("a"), step("b")], vec![step("c")]]));
    drive.running(0);
    let actions = drive.on(Event::Cancel { by: "alice".to_owned(), grace: Some(Duration::from_secs(3)) });
    let stops = actions.iter().filter(|action| matches!(action, Action::Stop { .. })).count();
    assert_eq!(stops, 1, "b's pod isn't there yet");
    let actions = drive.created(1, 1);
    assert!(
        matches!(actions.as_slice(), [Action::Stop { grace: Some(grace), .. }] if grace.as_secs() == 3),
        "{actions:?}"
    );
    drive.on(Event::Gone { step: StepIndex(1), uid: uid(1, 1), witnessed: true });
    drive.on(stopped(0, 1, ended(Outcome::Exited { code: 0 })));
    assert_eq!(drive.finish(), None, "the last words of a are still being read");
    drive.on(Event::LogEnded { step: StepIndex(0), uid: uid(0, 1) });
    assert_eq!(drive.states(), [StepState::Killed, StepState::Canceled, StepState::Canceled]);
    assert_eq!(drive.final_outcome(0), Some(Outcome::Cancelled { by: "alice".to_owned() }));
    assert_eq!(drive.finish(), Some((WorkflowState::Killed, String::new())));
}

#[test]
fn a_cancel_before_the_workflow_is_ours_creates_nothing() {
    let mut run = Run::new(workload(vec![vec![step("a")]]), Limits::default());
    let actions = run.on(Event::Cancel { by: "alice".to_owned(), grace: None }, start());
    assert!(!actions.contains(&Action::Teardown), "what has its names is another agent's: {actions:?}");
    assert!(matches!(actions.last(), Some(Action::Finish { state: WorkflowState::Killed, .. })), "{actions:?}");
    assert!(run.is_over());
    assert_eq!(run.on(Event::Confirmed, start()), []);
}

#[test]
fn a_cancel_during_preparation_waits_for_it() {
    let mut run = Run::new(workload(vec![vec![step("a")]]), Limits::default());
    run.on(Event::Confirmed, start());
    let actions = run.on(Event::Cancel { by: "alice".to_owned(), grace: None }, start());
    assert!(!actions.contains(&Action::Teardown), "what is being made would be left behind: {actions:?}");
    let actions = run.on(Event::Prepared, start());
    assert!(actions.contains(&Action::Teardown), "{actions:?}");
}

#[test]
fn the_workflows_time_limit_kills_and_says_so() {
    let mut drive = Drive::begin(&workload(vec![vec![step("a")]]));
    drive.running(0);
    drive.after(Duration::from_secs(3600));
    drive.on(stopped(0, 1, ended(Outcome::Exited { code: 143 })));
    drive.on(Event::LogEnded { step: StepIndex(0), uid: uid(0, 1) });
    assert_eq!(drive.states(), [StepState::Killed]);
    assert_eq!(drive.final_outcome(0), Some(Outcome::DeadlineExceeded { which: Deadline::Workflow }));
    let error = "The workflow took longer than its time limit of 3600 s.".to_owned();
    assert_eq!(drive.finish(), Some((WorkflowState::Killed, error)));
}

#[test]
fn a_steps_time_limit_fails_the_step_even_if_it_then_exits_with_0() {
    let a = StepSpec { timeout_seconds: Some(5), ..step("a") };
    let mut drive = Drive::begin(&workload(vec![vec![a]]));
    drive.running(0);
    assert!(matches!(drive.after(Duration::from_secs(5)).as_slice(), [Action::Stop { .. }]));
    drive.on(stopped(0, 1, ended(Outcome::Exited { code: 0 })));
    drive.on(Event::LogEnded { step: StepIndex(0), uid: uid(0, 1) });
    assert_eq!(drive.states(), [StepState::Failure]);
    assert_eq!(drive.finish().map(|(state, _)| state), Some(WorkflowState::Failure));
}

#[test]
fn an_end_from_before_our_own_request_to_go_counts() {
    let a = StepSpec { timeout_seconds: Some(5), ..step("a") };
    let mut drive = Drive::begin(&workload(vec![vec![a]]));
    drive.running(0);
    drive.after(Duration::from_secs(5));
    drive.on(seen(0, 1, ended(Outcome::Exited { code: 0 })));
    drive.on(Event::LogEnded { step: StepIndex(0), uid: uid(0, 1) });
    assert_eq!(drive.states(), [StepState::Success], "the watch was late, not the step");

    let service = StepSpec { kind: StepKind::Service, ..step("db") };
    let mut drive = Drive::begin(&workload(vec![vec![service], vec![step("test")]]));
    drive.running(0);
    drive.exits(1, 0);
    drive.on(seen(0, 1, ended(Outcome::Exited { code: 1 })));
    drive.on(Event::LogEnded { step: StepIndex(0), uid: uid(0, 1) });
    assert_eq!(drive.states(), [StepState::Failure, StepState::Success], "it had crashed before");
    assert_eq!(drive.finish().map(|(state, _)| state), Some(WorkflowState::Failure));
}

#[test]
fn a_service_that_was_asked_to_go_is_not_judged_by_clocks_that_differ() {
    let service = StepSpec { kind: StepKind::Service, ..step("db") };
    let mut drive = Drive::begin(&workload(vec![vec![service], vec![step("test")]]));
    drive.running(0);
    drive.exits(1, 0);
    let seen = ended(Outcome::Exited { code: 143 });
    let observation = Observation { uid: uid(0, 1), seen, going: None, asked: true, node: None };
    drive.on(Event::Observed { step: StepIndex(0), observation });
    drive.on(Event::LogEnded { step: StepIndex(0), uid: uid(0, 1) });
    assert_eq!(drive.states(), [StepState::Success, StepState::Success]);
}

#[test]
fn a_pod_that_ran_into_its_own_deadline_ends_the_workflow() {
    let mut drive = Drive::begin(&workload(vec![vec![step("a")], vec![step("b")]]));
    drive.running(0);
    let outcome = Outcome::DeadlineExceeded { which: Deadline::Workflow };
    let observation =
        Observation { uid: uid(0, 1), seen: ended(outcome.clone()), going: Some(outcome), asked: false, node: None };
    drive.on(Event::Observed { step: StepIndex(0), observation });
    drive.on(Event::LogEnded { step: StepIndex(0), uid: uid(0, 1) });
    assert_eq!(drive.states(), [StepState::Killed, StepState::Canceled]);
    let error = "The workflow took longer than its time limit of 3600 s.".to_owned();
    assert_eq!(drive.finish(), Some((WorkflowState::Killed, error)));
}

#[test]
fn late_news_of_an_end_in_time_undo_the_time_limit() {
    for (code, state) in [(0, WorkflowState::Success), (3, WorkflowState::Failure)] {
        let mut drive = Drive::begin(&workload(vec![vec![step("a")]]));
        drive.running(0);
        drive.after(Duration::from_secs(3600));
        drive.on(seen(0, 1, ended(Outcome::Exited { code })));
        drive.on(Event::LogEnded { step: StepIndex(0), uid: uid(0, 1) });
        assert_eq!(drive.finish(), Some((state, String::new())));
    }
}

#[test]
fn the_time_limit_holds_while_the_workflows_own_objects_are_made() {
    let mut run = Run::new(workload(vec![vec![step("a")]]), Limits::default());
    run.on(Event::Confirmed, start());
    let late = start() + Duration::from_secs(3601);
    assert!(run.due().is_some_and(|due| due <= late));
    run.on(Event::Tick, late);
    let actions = run.on(Event::Prepared, late);
    assert!(!actions.iter().any(|action| matches!(action, Action::Create { .. })), "{actions:?}");
}

#[test]
fn the_workflows_time_limit_is_one_for_work_not_for_reading_the_last_log() {
    let service = StepSpec { kind: StepKind::Service, ..step("db") };
    let mut drive = Drive::begin(&workload(vec![vec![service], vec![step("a")]]));
    drive.running(0);
    drive.running(1);
    drive.now += Duration::from_secs(3595);
    drive.on(seen(1, 1, ended(Outcome::Exited { code: 0 })));
    drive.after(Duration::from_secs(10));
    drive.on(Event::LogEnded { step: StepIndex(1), uid: uid(1, 1) });
    drive.on(stopped(0, 1, ended(Outcome::Exited { code: 143 })));
    drive.on(Event::LogEnded { step: StepIndex(0), uid: uid(0, 1) });
    assert_eq!(drive.finish(), Some((WorkflowState::Success, String::new())));
}

#[test]
fn a_second_cancel_may_shorten_the_grace() {
    let mut drive = Drive::begin(&workload(vec![vec![step("a")]]));
    drive.running(0);
    let cancel = |seconds| Event::Cancel { by: "alice".to_owned(), grace: Some(Duration::from_secs(seconds)) };
    drive.on(Event::Cancel { by: "alice".to_owned(), grace: None });
    assert_eq!(drive.on(cancel(900)), [], "it never grows, whoever said the first");
    let actions = drive.on(cancel(3));
    assert!(
        matches!(actions.as_slice(), [Action::Stop { grace: Some(grace), .. }] if grace.as_secs() == 3),
        "{actions:?}"
    );
    let actions = drive.on(cancel(0));
    assert!(matches!(actions.as_slice(), [Action::Stop { grace: Some(Duration::ZERO), .. }]), "{actions:?}");
}

#[test]
fn a_cancel_shortens_the_grace_of_what_is_stopping_already() {
    let a = StepSpec { timeout_seconds: Some(5), ..step("a") };
    let mut drive = Drive::begin(&workload(vec![vec![a]]));
    drive.running(0);
    drive.after(Duration::from_secs(5));
    let actions = drive.on(Event::Cancel { by: "alice".to_owned(), grace: Some(Duration::ZERO) });
    assert!(matches!(actions.as_slice(), [Action::Stop { grace: Some(Duration::ZERO), .. }]), "{actions:?}");
}

#[test]
fn a_vanished_pod_is_never_a_success() {
    let mut drive = Drive::begin(&workload(vec![vec![step("a")]]));
    drive.running(0);
    drive.on(Event::Gone { step: StepIndex(0), uid: uid(0, 1), witnessed: true });
    drive.on(Event::LogEnded { step: StepIndex(0), uid: uid(0, 1) });
    assert_eq!(drive.final_outcome(0), Some(Outcome::PodDeleted { by: None }));
    assert_eq!(drive.states(), [StepState::Failure]);
    assert_eq!(drive.said().len(), 1, "the log says so, too");
}

#[test]
fn an_exit_code_of_0_after_an_eviction_is_no_success() {
    let mut drive = Drive::begin(&workload(vec![vec![step("a")]]));
    drive.running(0);
    let evicted = Outcome::Evicted { reason: "drained".to_owned() };
    let seen = ended(Outcome::Exited { code: 0 });
    let observation = Observation { uid: uid(0, 1), seen, going: Some(evicted.clone()), asked: true, node: None };
    drive.on(Event::Observed { step: StepIndex(0), observation });
    drive.on(Event::LogEnded { step: StepIndex(0), uid: uid(0, 1) });
    assert_eq!(drive.final_outcome(0), Some(evicted));
}

#[test]
fn an_exit_code_from_before_a_deletion_counts() {
    let mut drive = Drive::begin(&workload(vec![vec![step("a")]]));
    drive.running(0);
    let going = Some(Outcome::PodDeleted { by: None });
    let observation =
        Observation { uid: uid(0, 1), seen: Seen::Running { started: None }, going, asked: true, node: None };
    drive.on(Event::Observed { step: StepIndex(0), observation });
    drive.on(seen(0, 1, ended(Outcome::Exited { code: 0 })));
    drive.on(Event::LogEnded { step: StepIndex(0), uid: uid(0, 1) });
    assert_eq!(drive.states(), [StepState::Success], "the last look says that it was over before the request");
}

#[test]
fn a_step_that_the_cluster_ended_runs_again_only_where_it_may() {
    let again = StepSpec { max_attempts: 2, ..step("again") };
    let mut drive = Drive::begin(&workload(vec![vec![again]]));
    for attempt in [1, 2] {
        drive.created(0, attempt);
        drive.on(seen(0, attempt, Seen::Running { started: None }));
        drive.on(Event::Gone { step: StepIndex(0), uid: uid(0, attempt), witnessed: true });
        drive.on(Event::LogEnded { step: StepIndex(0), uid: uid(0, attempt) });
        drive.after(Duration::from_secs(2));
    }
    assert_eq!(drive.creations(), [(0, 1, false), (0, 2, false)]);
    assert_eq!(drive.states(), [StepState::Failure]);
}

#[test]
fn a_step_that_is_stopped_between_two_attempts_was_killed() {
    let again = StepSpec { max_attempts: 2, ..step("again") };
    let mut drive = Drive::begin(&workload(vec![vec![again]]));
    drive.running(0);
    drive.on(Event::Gone { step: StepIndex(0), uid: uid(0, 1), witnessed: true });
    drive.on(Event::LogEnded { step: StepIndex(0), uid: uid(0, 1) });
    drive.on(Event::Cancel { by: "alice".to_owned(), grace: None });
    assert_eq!(drive.states(), [StepState::Killed], "its first attempt did run");
}

#[test]
fn a_pod_that_vanished_while_nobody_looked_may_have_run() {
    let mut drive = Drive::begin(&workload(vec![vec![step("deploy")]]));
    drive.created(0, 1);
    drive.on(Event::Gone { step: StepIndex(0), uid: uid(0, 1), witnessed: false });
    drive.after(Duration::from_secs(60));
    assert_eq!(drive.creations().len(), 1, "it is not for us to run it twice");
    assert_eq!(drive.final_outcome(0), Some(Outcome::PodDeleted { by: None }));

    // Its node could have started it and told nobody.
    let mut drive = Drive::begin(&workload(vec![vec![step("deploy")]]));
    drive.created(0, 1);
    let (phase, reason) = (WaitPhase::Create, NeverStarted::Cluster);
    drive.on(seen(0, 1, Seen::Waiting(Waiting { phase, reason, hopeless: false, message: String::new() })));
    drive.on(Event::Gone { step: StepIndex(0), uid: uid(0, 1), witnessed: true });
    drive.after(Duration::from_secs(60));
    assert_eq!(drive.creations().len(), 1);
}

#[test]
fn a_creation_that_nobody_answered_is_repeated_not_followed_by_another() {
    let mut drive = Drive::begin(&workload(vec![vec![step("deploy")]]));
    for may_exist in [true, false] {
        let (step, attempt, reason) = (StepIndex(0), Attempt(1), NeverStarted::Cluster);
        drive.on(Event::CreateFailed { step, attempt, reason, message: "no answer".to_owned(), may_exist });
        drive.after(Duration::from_secs(60));
    }
    assert_eq!(drive.creations(), [(0, 1, false), (0, 1, false), (0, 2, false)]);
}

#[test]
fn a_pod_that_never_started_is_created_again_a_few_times() {
    let mut drive = Drive::begin(&workload(vec![vec![step("a")]]));
    for attempt in 1..=5 {
        drive.created(0, attempt);
        drive.on(Event::Gone { step: StepIndex(0), uid: uid(0, attempt), witnessed: true });
        drive.after(Duration::from_secs(60));
    }
    assert_eq!(drive.creations().len(), 5);
    assert_eq!(drive.states(), [StepState::Failure]);
}

#[test]
fn waiting_ends_at_the_limit_of_its_phase_and_says_what_it_waited_for() {
    let mut drive = Drive::begin(&workload(vec![vec![step("a")]]));
    drive.created(0, 1);
    let waiting = Waiting {
        phase: WaitPhase::Pull,
        reason: NeverStarted::ImagePull,
        hopeless: false,
        message: "registry is down".to_owned(),
    };
    drive.on(seen(0, 1, Seen::Waiting(waiting.clone())));
    let said = "The pod waits for its image: registry is down.".to_owned();
    assert_eq!(drive.after(Duration::from_secs(10)), [Action::Say { step: StepIndex(0), text: said }]);
    drive.now += Duration::from_secs(589);
    assert_eq!(drive.on(seen(0, 1, Seen::Waiting(waiting))), [], "the same phase doesn't start the clock anew");
    assert!(matches!(drive.after(Duration::from_secs(1)).as_slice(), [Action::Stop { .. }]));
    drive.on(Event::Gone { step: StepIndex(0), uid: uid(0, 1), witnessed: true });
    let message = "registry is down".to_owned();
    assert_eq!(drive.final_outcome(0), Some(Outcome::NeverStarted { reason: NeverStarted::ImagePull, message }));
    assert_eq!(drive.states(), [StepState::Failure]);
}

#[test]
fn what_a_pod_waits_for_is_said_after_a_while_and_again_when_it_changes() {
    let mut drive = Drive::begin(&workload(vec![vec![step("a")]]));
    drive.created(0, 1);
    let waits = |phase, message: &str| {
        let message = message.to_owned();
        let waiting = Waiting { phase, reason: NeverStarted::Cluster, hopeless: false, message };
        seen(0, 1, Seen::Waiting(waiting))
    };
    let period = Duration::from_secs(10);
    drive.after(period);
    drive.on(waits(WaitPhase::Schedule, ""));
    drive.on(waits(WaitPhase::Schedule, "0/1 nodes are available"));
    drive.after(period / 2);
    drive.after(period / 2);
    drive.on(waits(WaitPhase::Schedule, "0/1 nodes are available"));
    drive.after(period);
    drive.on(waits(WaitPhase::Create, "no volume yet"));
    drive.on(seen(0, 1, Seen::Running { started: None }));
    drive.after(period);
    let expected = [
        "The pod is created; the cluster has said nothing about it yet.",
        "The pod waits for a node: 0/1 nodes are available.",
    ];
    assert_eq!(drive.said(), expected);
}

#[test]
fn hopeless_waiting_ends_at_once() {
    let mut drive = Drive::begin(&workload(vec![vec![step("a")]]));
    drive.created(0, 1);
    let (phase, reason) = (WaitPhase::Pull, NeverStarted::ImagePull);
    let waiting = Waiting { phase, reason, hopeless: true, message: "invalid name".to_owned() };
    assert!(matches!(drive.on(seen(0, 1, Seen::Waiting(waiting))).as_slice(), [Action::Stop { .. }]));
}

#[test]
fn a_log_that_does_not_end_is_given_up_and_that_is_said() {
    let mut drive = Drive::begin(&workload(vec![vec![step("a")]]));
    drive.running(0);
    drive.on(seen(0, 1, ended(Outcome::Exited { code: 0 })));
    drive.after(Duration::from_secs(300));
    assert_eq!(drive.states(), [StepState::Success]);
    assert_eq!(drive.said(), ["The end of this log could not be read in time; what is missing is not known."]);
}

#[test]
fn a_pod_that_never_goes_does_not_hold_the_workflow() {
    let mut drive = Drive::begin(&workload(vec![vec![step("a")]]));
    drive.running(0);
    drive.on(Event::Cancel { by: "alice".to_owned(), grace: None });
    drive.after(Duration::from_secs(140));
    drive.after(Duration::from_secs(300));
    assert_eq!(drive.states(), [StepState::Killed]);
}

#[test]
fn what_cannot_be_prepared_fails_the_first_steps_with_the_reason() {
    let mut drive = Drive {
        run: Run::new(workload(vec![vec![step("a")], vec![step("b")]]), Limits::default()),
        now: start(),
        actions: Vec::new(),
    };
    drive.on(Event::Confirmed);
    drive.on(Event::PrepareFailed { reason: NeverStarted::Quota, message: "no room".to_owned() });
    assert_eq!(drive.states(), [StepState::Failure, StepState::Canceled]);
    let error = "The workflow's own objects could not be made: no room".to_owned();
    assert_eq!(drive.finish(), Some((WorkflowState::Failure, error)));
}

#[test]
fn what_is_seen_of_another_pod_changes_nothing() {
    let mut drive = Drive::begin(&workload(vec![vec![step("a")]]));
    drive.running(0);
    assert_eq!(drive.on(seen(0, 2, ended(Outcome::Exited { code: 0 }))), []);
    assert_eq!(drive.on(Event::Gone { step: StepIndex(0), uid: uid(0, 2), witnessed: true }), []);
    assert_eq!(drive.states(), [StepState::Running]);
}
