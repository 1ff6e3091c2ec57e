use piculet_proto::woodpecker as pb;

use super::super::step::FailureMode;
use super::{Refusal, State, Step, Workflow};

const NOW: i64 = 10_000;

fn workflow(state: State) -> Workflow {
    let steps = vec![Step::new("A", "a"), Step::new("B", "b")];
    Workflow { state, ..Workflow::new(1, 3, steps) }
}

fn reported(started: i64, finished: i64, error: &str, canceled: bool) -> pb::WorkflowState {
    pb::WorkflowState { started, finished, error: error.to_owned(), canceled }
}

fn begins(uuid: &str) -> pb::StepState {
    pb::StepState { step_uuid: uuid.to_owned(), ..pb::StepState::default() }
}

fn exits(uuid: &str, exit_code: i32) -> pb::StepState {
    pb::StepState { started: 50, finished: 60, exited: true, exit_code, ..begins(uuid) }
}

fn over() -> [State; 5] {
    [State::Success, State::Failure, State::Killed, State::Canceled, State::Skipped]
}

#[test]
fn begins_once_or_more_often_unless_it_is_over_or_blocked() {
    for state in [State::Pending, State::Running] {
        let mut row = workflow(state);
        row.init(&reported(100, 0, "", false)).expect("it may begin");
        assert_eq!((row.state, row.started, row.pipeline), (State::Running, 100, State::Running));
        // As the real server was seen to do: the start is overwritten.
        row.init(&reported(200, 0, "", false)).expect("it may begin again");
        assert_eq!(row.started, 200);
    }
    for state in over() {
        assert_eq!(workflow(state).init(&reported(100, 0, "", false)), Err(Refusal::Finished));
    }
    assert_eq!(workflow(State::Blocked).init(&reported(100, 0, "", false)), Err(Refusal::Blocked));
}

#[test]
fn does_not_begin_without_a_start_or_cancelled() {
    assert_eq!(workflow(State::Pending).init(&reported(0, 0, "", false)), Err(Refusal::Impossible));
    assert_eq!(workflow(State::Pending).init(&reported(100, 0, "", true)), Err(Refusal::Impossible));
    // What it is counts before what is said.
    assert_eq!(workflow(State::Success).init(&reported(0, 0, "", true)), Err(Refusal::Finished));
}

#[test]
fn while_it_is_active_every_report_is_taken_and_bad_ones_are_swallowed() {
    for state in [State::Pending, State::Running] {
        let mut row = workflow(state);
        assert_eq!(row.update(&begins("A"), NOW), Ok(false));
        assert_eq!(row.steps[0].state, State::Running);
        assert_eq!(row.update(&exits("A", 0), NOW), Ok(false));
        assert_eq!(row.steps[0].state, State::Success);
        assert_eq!(row.update(&exits("A", 1), NOW), Ok(false), "a step that is over is no error yet");
        assert_eq!((row.steps[0].state, row.steps[0].exit_code), (State::Success, 0));
    }
    assert_eq!(workflow(State::Running).update(&begins("C"), NOW), Err(Refusal::NoRow));
    assert_eq!(workflow(State::Blocked).update(&begins("A"), NOW), Err(Refusal::Blocked));
}

#[test]
fn once_it_is_over_only_reports_that_end_a_step_are_taken() {
    for state in over() {
        let mut row = workflow(state);
        assert_eq!(row.update(&begins("A"), NOW), Err(Refusal::Finished));
        assert_eq!(row.steps[0].state, State::Pending);
        assert_eq!(row.update(&exits("A", 2), NOW), Ok(false));
        assert_eq!((row.steps[0].state, row.steps[0].exit_code), (State::Failure, 2));
        assert_eq!(row.update(&exits("A", 2), NOW), Err(Refusal::StepFinal("failure")));
        let skipped = pb::StepState { skipped: true, ..begins("B") };
        assert_eq!(row.update(&skipped, NOW), Ok(false));
        assert_eq!(row.steps[1].state, State::Skipped);
    }
}

#[test]
fn a_failure_may_cancel_the_pipeline() {
    for (mode, cancels) in [(FailureMode::Fail, false), (FailureMode::Ignore, false), (FailureMode::Cancel, true)] {
        let mut row = workflow(State::Running);
        row.steps[0].failure = mode;
        assert_eq!(row.update(&begins("A"), NOW), Ok(false));
        assert_eq!(row.update(&exits("A", 1), NOW), Ok(cancels), "{mode:?}");
        row.steps[1].failure = mode;
        assert_eq!(row.update(&exits("B", 0), NOW), Ok(false), "nothing failed");
    }
}

#[test]
fn ends_once() {
    for state in over() {
        assert_eq!(workflow(state).done(&reported(100, 200, "", false)), Err(Refusal::Finished));
    }
    assert_eq!(workflow(State::Blocked).done(&reported(100, 200, "", false)), Err(Refusal::Blocked));
    assert_eq!(workflow(State::Running).done(&reported(0, 200, "", true)), Err(Refusal::Impossible));
    // An end without a beginning is taken: the lease may have come and gone meanwhile.
    assert_eq!(workflow(State::Pending).done(&reported(100, 200, "", false)), Ok(()));
}

#[test]
fn steps_that_are_open_are_closed_with_it() {
    let mut row = workflow(State::Running);
    row.update(&begins("A"), NOW).expect("the step begins");
    row.done(&reported(100, 200, "", true)).expect("it may end");
    let closed: Vec<_> = row.steps.iter().map(|step| (step.state, step.finished)).collect();
    assert_eq!(closed, [(State::Success, 200), (State::Killed, 0)]);
    assert_eq!((row.state, row.finished, row.pipeline), (State::Killed, 200, State::Killed));
}

#[test]
fn its_end_is_merged_from_its_steps() {
    use FailureMode::{Cancel, Fail, Ignore};
    use State::{Canceled, Failure, Killed, Skipped, Success};
    for (first, mode, second, end, expected) in [
        (Success, Fail, Success, reported(1, 2, "", false), Success),
        (Success, Fail, Skipped, reported(1, 2, "", false), Success),
        (Skipped, Fail, Skipped, reported(1, 2, "", false), Success),
        (Failure, Fail, Skipped, reported(1, 2, "", false), Failure),
        (Failure, Ignore, Success, reported(1, 2, "", false), Success),
        (Failure, Cancel, Success, reported(1, 2, "", false), Success),
        (Killed, Ignore, Success, reported(1, 2, "", false), Success),
        (Killed, Fail, Success, reported(1, 2, "", false), Killed),
        (Failure, Fail, Killed, reported(1, 2, "", false), Killed),
        (Canceled, Fail, Success, reported(1, 2, "", false), Killed),
        (Success, Fail, Success, reported(1, 2, "no volume", false), Failure),
        (Failure, Fail, Success, reported(1, 2, "no volume", true), Killed),
        (Success, Fail, Success, reported(0, 2, "", false), Skipped),
        (Success, Fail, Success, reported(0, 2, "no volume", false), Failure),
    ] {
        let mut row = workflow(State::Running);
        (row.steps[0].state, row.steps[0].failure, row.steps[1].state) = (first, mode, second);
        row.done(&end).expect("it may end");
        assert_eq!(row.state, expected, "{first:?} {mode:?} {second:?} {end:?}");
        assert_eq!(row.error, end.error);
    }
}

#[test]
fn a_cancel_ends_what_has_not_begun_and_only_tells_what_has() {
    let mut row = workflow(State::Pending);
    assert!(row.cancel(NOW));
    assert_eq!((row.state, row.pipeline, row.pipeline_finished), (State::Skipped, State::Canceled, NOW));
    assert!(row.steps.iter().all(|step| step.state == State::Canceled));
    assert!(!row.cancel(NOW), "it is over");

    let mut row = workflow(State::Running);
    row.update(&begins("A"), NOW).expect("the step begins");
    assert!(row.cancel(NOW));
    assert_eq!((row.state, row.pipeline), (State::Running, State::Killed));
    let states: Vec<_> = row.steps.iter().map(|step| step.state).collect();
    assert_eq!(states, [State::Running, State::Canceled]);
    assert!(!row.cancel(NOW), "nobody cancels twice");
}

#[test]
fn lines_are_taken_while_something_runs_and_five_minutes_more() {
    use State::{Failure, Killed, Pending, Running, Success};
    let long_ago = NOW - 10 * 60;
    for (pipeline, finished, step, is_taken) in [
        (Running, 0, Running, true),
        (Success, long_ago, Running, true),
        (Killed, long_ago, Running, true),
        (Running, 0, Success, true),
        (Running, 0, Failure, true),
        (Running, 0, Pending, true),
        (Success, NOW - 30, Success, true),
        (Killed, NOW - 30, Pending, true),
        (Success, NOW - 299, Success, true),
        (Success, NOW - 300, Success, false),
        (Failure, long_ago, Failure, false),
        (Pending, 0, Pending, false),
    ] {
        let row = Workflow { pipeline, pipeline_finished: finished, ..workflow(Running) };
        let taken = row.takes_lines(&Step { state: step, ..Step::new("A", "a") }, NOW);
        let expected = if is_taken { Ok(()) } else { Err(Refusal::LogClosed) };
        assert_eq!(taken, expected, "{pipeline:?} since {finished}, {step:?}");
    }
}
