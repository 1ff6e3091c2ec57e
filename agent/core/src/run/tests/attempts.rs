//! What becomes of a pod, and whether there is another one.

use std::time::Duration;

use super::super::{Action, Event};
use super::{Drive, ended, seen, step, uid, workload};
use crate::id::{Attempt, StepIndex};
use crate::observation::{Ended, Observation, Seen, WaitPhase, Waiting};
use crate::outcome::{NeverStarted, Outcome, StepState};
use crate::workload::StepSpec;

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
    let observation =
        Observation { uid: uid(0, 1), seen, going: Some(evicted.clone()), asked: true, settled: true, node: None };
    drive.on(Event::Observed { step: StepIndex(0), observation });
    drive.on(Event::LogEnded { step: StepIndex(0), uid: uid(0, 1) });
    assert_eq!(drive.final_outcome(0), Some(evicted));
}

/// What is seen of a container that was killed before its pod's phase says why.
fn killed(settled: bool, going: Option<Outcome>) -> Event {
    let seen = ended(Outcome::Exited { code: 137 });
    let observation = Observation { uid: uid(0, 1), seen, going, asked: false, settled, node: None };
    Event::Observed { step: StepIndex(0), observation }
}

#[test]
fn a_container_that_was_killed_waits_for_the_word_why() {
    let evicted = Outcome::Evicted { reason: "low on memory".to_owned() };
    let log_ended = || Event::LogEnded { step: StepIndex(0), uid: uid(0, 1) };
    let begin = || {
        let mut drive = Drive::begin(&workload(vec![vec![StepSpec { max_attempts: 2, ..step("a") }]]));
        drive.running(0);
        drive.on(killed(false, None));
        drive
    };
    // Before the end of its log, or after it.
    for log_first in [false, true] {
        let mut drive = begin();
        let events = [log_ended(), killed(true, Some(evicted.clone()))];
        for event in if log_first {
            events
        } else {
            let [log, word] = events;
            [word, log]
        } {
            drive.on(event);
        }
        drive.after(Duration::from_secs(60));
        assert_eq!(drive.creations(), [(0, 1, false), (0, 2, false)], "the cluster ended it, so it runs again");
    }
    // The kill was the step's own affair.
    let mut drive = begin();
    drive.on(log_ended());
    assert_eq!(drive.final_outcome(0), None);
    drive.on(killed(true, None));
    assert_eq!(drive.final_outcome(0), Some(Outcome::Exited { code: 137 }));
    // Nobody says.
    let mut drive = begin();
    drive.on(log_ended());
    assert_eq!(drive.run.due(), Some(drive.now + Duration::from_secs(5)));
    drive.after(Duration::from_secs(5));
    assert_eq!(drive.final_outcome(0), Some(Outcome::Exited { code: 137 }));
    let mut drive = begin();
    drive.on(log_ended());
    drive.on(Event::Gone { step: StepIndex(0), uid: uid(0, 1), witnessed: false });
    assert_eq!(drive.final_outcome(0), Some(Outcome::Exited { code: 137 }));
    // The log is what takes long.
    let mut drive = begin();
    drive.after(Duration::from_secs(60));
    assert_eq!(drive.final_outcome(0), None);
    drive.on(log_ended());
    assert_eq!(drive.final_outcome(0), Some(Outcome::Exited { code: 137 }));
}

#[test]
fn a_deletion_that_we_asked_for_too_late_is_nobody_elses() {
    let timed = StepSpec { timeout_seconds: Some(5), max_attempts: 2, ..step("a") };
    let mut drive = Drive::begin(&workload(vec![vec![timed]]));
    drive.running(0);
    assert!(matches!(drive.after(Duration::from_secs(5)).as_slice(), [Action::Stop { .. }]));
    // It died by itself, and the request was on its way.
    drive.on(killed(false, None));
    drive.on(Event::LogEnded { step: StepIndex(0), uid: uid(0, 1) });
    drive.on(killed(true, Some(Outcome::PodDeleted { by: None })));
    assert_eq!(drive.final_outcome(0), Some(Outcome::Exited { code: 137 }));
    assert_eq!(drive.creations().len(), 1);
    // What its node says is no doing of ours.
    let evicted = Outcome::Evicted { reason: "low on memory".to_owned() };
    let mut drive = Drive::begin(&workload(vec![vec![StepSpec { timeout_seconds: Some(5), ..step("a") }]]));
    drive.running(0);
    drive.after(Duration::from_secs(5));
    drive.on(killed(false, None));
    drive.on(Event::LogEnded { step: StepIndex(0), uid: uid(0, 1) });
    drive.on(killed(true, Some(evicted.clone())));
    assert_eq!(drive.final_outcome(0), Some(evicted));
}

#[test]
fn a_workflow_that_is_being_stopped_tries_nothing_again() {
    let mut drive = Drive::begin(&workload(vec![vec![StepSpec { max_attempts: 2, ..step("a") }]]));
    drive.running(0);
    drive.on(killed(false, None));
    drive.on(Event::Cancel { by: "a test".to_owned(), grace: None });
    let evicted = Outcome::Evicted { reason: "low on memory".to_owned() };
    drive.on(killed(true, Some(evicted.clone())));
    drive.on(Event::LogEnded { step: StepIndex(0), uid: uid(0, 1) });
    assert_eq!(drive.final_outcome(0), Some(evicted));
    assert!(!drive.said().iter().any(|said| said.contains("tried again")), "{:?}", drive.said());
    assert_eq!(drive.creations().len(), 1);
}

#[test]
fn an_exit_code_from_before_a_deletion_counts() {
    let mut drive = Drive::begin(&workload(vec![vec![step("a")]]));
    drive.running(0);
    let going = Some(Outcome::PodDeleted { by: None });
    let observation = Observation {
        uid: uid(0, 1),
        seen: Seen::Running { started: None },
        going,
        asked: true,
        settled: true,
        node: None,
    };
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
fn what_was_told_to_go_before_it_began_is_called_by_that_and_may_run_again_where_it_may() {
    let preempted = Outcome::Preempted { reason: "more important".to_owned() };
    for (max_attempts, creations) in [(1, 1), (2, 2)] {
        let mut drive = Drive::begin(&workload(vec![vec![StepSpec { max_attempts, ..step("a") }]]));
        drive.created(0, 1);
        let unknown = Outcome::Unknown { message: "ContainerStatusUnknown".to_owned() };
        let seen = Seen::Ended(Ended { outcome: unknown, started: None, finished: None });
        let (going, node) = (Some(preempted.clone()), Some("node-1".to_owned()));
        let observation = Observation { uid: uid(0, 1), seen, going, asked: true, settled: true, node };
        drive.on(Event::Observed { step: StepIndex(0), observation });
        drive.after(Duration::from_secs(60));
        assert_eq!(drive.creations().len(), creations);
        if creations == 1 {
            assert_eq!(drive.final_outcome(0), Some(preempted.clone()));
        }
    }
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
fn what_is_seen_of_another_pod_changes_nothing() {
    let mut drive = Drive::begin(&workload(vec![vec![step("a")]]));
    drive.running(0);
    assert_eq!(drive.on(seen(0, 2, ended(Outcome::Exited { code: 0 }))), []);
    assert_eq!(drive.on(Event::Gone { step: StepIndex(0), uid: uid(0, 2), witnessed: true }), []);
    assert_eq!(drive.states(), [StepState::Running]);
}
