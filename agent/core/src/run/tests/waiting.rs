//! What a pod waits for, and what is given up.

use std::time::Duration;

use super::super::{Action, Event, Limits, Run};
use super::{Drive, ended, seen, start, step, uid, workload};
use crate::id::StepIndex;
use crate::observation::{Said, Seen, WaitPhase, Waiting};
use crate::outcome::{NeverStarted, Outcome, StepState, WorkflowState};

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
fn what_others_say_of_a_pod_that_says_nothing_is_said_at_once_and_is_the_reason_in_the_end() {
    let mut drive = Drive::begin(&workload(vec![vec![step("a")]]));
    drive.created(0, 1);
    let nothing =
        Waiting { phase: WaitPhase::Create, reason: NeverStarted::Cluster, hopeless: false, message: String::new() };
    drive.on(seen(0, 1, Seen::Waiting(nothing)));
    let listen = Action::Listen { step: StepIndex(0), uid: uid(0, 1) };
    assert_eq!(drive.after(Duration::from_secs(10)).first(), Some(&listen));
    let told = |attempt, message: &str| Event::Told {
        step: StepIndex(0),
        uid: uid(0, attempt),
        said: Said { reason: NeverStarted::Volume, message: message.to_owned() },
    };
    assert_eq!(drive.on(told(2, "another pod")), []);
    drive.on(told(1, "FailedMount: no disk"));
    assert_eq!(drive.on(told(1, "FailedMount: no disk")), [], "it is no news");
    assert_eq!(drive.on(told(1, "FailedMount: a disk, but of another")), [], "not each word at once");
    assert_eq!(drive.after(Duration::from_secs(10)).len(), 1);
    let expected = [
        "The pod waits for its container to be created.",
        "The pod waits for a volume: FailedMount: no disk.",
        "The pod waits for a volume: FailedMount: a disk, but of another.",
    ];
    assert_eq!(drive.said(), expected);
    drive.after(Duration::from_secs(300));
    drive.on(Event::Gone { step: StepIndex(0), uid: uid(0, 1), witnessed: true });
    let message = "FailedMount: a disk, but of another".to_owned();
    assert_eq!(drive.final_outcome(0), Some(Outcome::NeverStarted { reason: NeverStarted::Volume, message }));
}

#[test]
fn a_pod_that_goes_to_and_fro_between_two_troubles_does_not_wait_for_ever() {
    let mut drive = Drive::begin(&workload(vec![vec![step("a")]]));
    drive.created(0, 1);
    let message = "no sandbox".to_owned();
    let waits = |phase| Waiting { phase, reason: NeverStarted::Cluster, hopeless: false, message: message.clone() };
    let is_stopped = (0..20).any(|_| {
        drive.on(seen(0, 1, Seen::Waiting(waits(WaitPhase::Create))));
        let stops = |actions: &[Action]| actions.iter().any(|action| matches!(action, Action::Stop { .. }));
        let stopped = stops(&drive.after(Duration::from_secs(50)));
        drive.on(seen(0, 1, Seen::Waiting(waits(WaitPhase::Pull))));
        stopped || stops(&drive.after(Duration::from_secs(1)))
    });
    assert!(is_stopped, "six times 50 s are the five minutes of its creation");
}

#[test]
fn words_about_what_is_over_change_nothing() {
    let waits = |phase, reason, message: &str| Waiting { phase, reason, hopeless: false, message: message.to_owned() };
    let said = |reason, message: &str| Said { reason, message: message.to_owned() };
    for (waiting, said, expected) in [
        (
            waits(WaitPhase::Schedule, NeverStarted::Unschedulable, "no room"),
            said(NeverStarted::Unschedulable, "TriggeredScaleUp: one more"),
            "The pod waits for a node: no room. TriggeredScaleUp: one more.",
        ),
        (
            waits(WaitPhase::Pull, NeverStarted::ImagePull, ""),
            said(NeverStarted::ImagePull, "Pulling image \"a\""),
            "The pod waits for its image: Pulling image \"a\".",
        ),
        (
            waits(WaitPhase::Pull, NeverStarted::ImagePull, ""),
            said(NeverStarted::Volume, "FailedMount: no disk"),
            "The pod waits for its image.",
        ),
        (
            waits(WaitPhase::Create, NeverStarted::Config, "CreateContainerConfigError: no secret"),
            said(NeverStarted::Volume, "FailedMount: no disk"),
            "The pod waits for its container to be created: CreateContainerConfigError: no secret.",
        ),
    ] {
        assert_eq!(waiting.told(&said).to_string(), expected);
    }
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
