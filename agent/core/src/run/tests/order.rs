//! What runs after what.

use std::time::Duration;

use super::super::{Action, Event};
use super::{Drive, ended, seen, step, stopped, uid, workload};
use crate::id::{Attempt, StepIndex};
use crate::observation::Seen;
use crate::outcome::{NeverStarted, Outcome, StepState, WorkflowState};
use crate::workload::{FailurePolicy, StepKind, StepSpec};

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
fn a_step_of_any_kind_that_never_started_fails_the_workflow_unless_that_is_ignored() {
    for (kind, detached) in [
        (StepKind::Commands, false),
        (StepKind::Plugin, false),
        (StepKind::Clone, false),
        (StepKind::Service, true),
        (StepKind::Commands, true),
    ] {
        for failure in [FailurePolicy::Fail, FailurePolicy::Ignore] {
            let a = StepSpec { kind, detached, failure, ..step("a") };
            let mut drive = Drive::begin(&workload(vec![vec![a], vec![step("b")]]));
            let (reason, message) = (NeverStarted::Admission, "no".to_owned());
            drive.on(Event::CreateFailed {
                step: StepIndex(0),
                attempt: Attempt(1),
                reason,
                message,
                may_exist: false,
            });
            let expected = if failure == FailurePolicy::Fail {
                (StepState::Skipped, WorkflowState::Failure)
            } else {
                drive.exits(1, 0);
                (StepState::Success, WorkflowState::Success)
            };
            let what = format!("{kind:?}, detached: {detached}, {failure:?}");
            assert_eq!(drive.states(), [StepState::Failure, expected.0], "{what}");
            assert_eq!(drive.finish(), Some((expected.1, String::new())), "{what}");
        }
    }
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
    let stop = actions.iter().find_map(|action| match action {
        Action::Stop { step, grace, .. } => Some((step.0, *grace)),
        _ => None,
    });
    assert_eq!(stop, Some((0, Some(Duration::from_secs(5)))), "the workflow's end waits for it, so not for long");
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
