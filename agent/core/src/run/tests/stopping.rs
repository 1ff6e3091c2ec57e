//! Cancels and time limits.

use std::time::Duration;

use super::super::{Action, Event, Limits, Run};
use super::{Drive, ended, seen, start, step, stopped, uid, workload};
use crate::id::StepIndex;
use crate::observation::Observation;
use crate::outcome::{Deadline, Outcome, StepState, WorkflowState};
use crate::workload::{StepKind, StepSpec};

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
fn a_cancel_beside_the_end_of_a_stage_is_a_cancel_whichever_is_heard_of_first() {
    let cancel = || Event::Cancel { by: "alice".to_owned(), grace: None };
    for stage_first in [true, false] {
        let mut drive = Drive::begin(&workload(vec![vec![step("a")], vec![step("b")]]));
        drive.running(0);
        if !stage_first {
            drive.on(cancel());
        }
        drive.on(seen(0, 1, ended(Outcome::Exited { code: 0 })));
        drive.on(Event::LogEnded { step: StepIndex(0), uid: uid(0, 1) });
        if stage_first {
            assert_eq!(drive.creations().len(), 2, "the next stage begins");
            drive.on(cancel());
            drive.created(1, 1);
            drive.on(Event::Gone { step: StepIndex(1), uid: uid(1, 1), witnessed: true });
        }
        assert_eq!(drive.states(), [StepState::Success, StepState::Canceled], "stage first: {stage_first}");
        assert_eq!(drive.finish(), Some((WorkflowState::Killed, String::new())), "stage first: {stage_first}");
    }
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
    let observation = Observation { uid: uid(0, 1), seen, going: None, asked: true, settled: true, node: None };
    drive.on(Event::Observed { step: StepIndex(0), observation });
    drive.on(Event::LogEnded { step: StepIndex(0), uid: uid(0, 1) });
    assert_eq!(drive.states(), [StepState::Success, StepState::Success]);
}

#[test]
fn a_pod_that_ran_into_its_own_deadline_ends_the_workflow() {
    let mut drive = Drive::begin(&workload(vec![vec![step("a")], vec![step("b")]]));
    drive.running(0);
    let outcome = Outcome::DeadlineExceeded { which: Deadline::Workflow };
    let observation = Observation {
        uid: uid(0, 1),
        seen: ended(outcome.clone()),
        going: Some(outcome),
        asked: false,
        settled: true,
        node: None,
    };
    drive.on(Event::Observed { step: StepIndex(0), observation });
    drive.on(Event::LogEnded { step: StepIndex(0), uid: uid(0, 1) });
    assert_eq!(drive.states(), [StepState::Killed, StepState::Canceled]);
    let error = "The workflow took longer than its time limit of 3600 s.".to_owned();
    assert_eq!(drive.finish(), Some((WorkflowState::Killed, error)));
}

#[test]
fn a_service_whose_pod_runs_out_of_time_while_the_last_log_is_read_kills_nothing() {
    let service = StepSpec { kind: StepKind::Service, ..step("db") };
    let mut drive = Drive::begin(&workload(vec![vec![service], vec![step("a")]]));
    drive.running(0);
    drive.running(1);
    drive.on(seen(1, 1, ended(Outcome::Exited { code: 0 })));
    let outcome = Outcome::DeadlineExceeded { which: Deadline::Workflow };
    let observation = Observation {
        uid: uid(0, 1),
        seen: ended(outcome.clone()),
        going: Some(outcome),
        asked: false,
        settled: true,
        node: None,
    };
    drive.on(Event::Observed { step: StepIndex(0), observation });
    drive.on(Event::LogEnded { step: StepIndex(0), uid: uid(0, 1) });
    drive.on(Event::LogEnded { step: StepIndex(1), uid: uid(1, 1) });
    assert_eq!(drive.finish(), Some((WorkflowState::Success, String::new())));
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
fn a_pod_that_never_goes_does_not_hold_the_workflow() {
    let mut drive = Drive::begin(&workload(vec![vec![step("a")]]));
    drive.running(0);
    drive.on(Event::Cancel { by: "alice".to_owned(), grace: None });
    drive.after(Duration::from_secs(140));
    drive.after(Duration::from_secs(5));
    assert_eq!(drive.states(), [StepState::Killed], "nor does its log");
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
