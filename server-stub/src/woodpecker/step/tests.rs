use piculet_proto::woodpecker as pb;

use super::{Refusal, State, Step};

const NOW: i64 = 1000;

fn step(state: State) -> Step {
    let started = if state == State::Running { 500 } else { 0 };
    Step { state, started, ..Step::new("U", "test") }
}

/// What the agent says, as `started finished exit-code error flags`, where `e`, `c` and `s` are exited, canceled and
/// skipped.
fn report(started: i64, finished: i64, exit_code: i32, error: &str, flags: &str) -> pb::StepState {
    pb::StepState {
        step_uuid: "U".to_owned(),
        started,
        finished,
        exit_code,
        error: error.to_owned(),
        exited: flags.contains('e'),
        canceled: flags.contains('c'),
        skipped: flags.contains('s'),
    }
}

fn after(state: State, report: &pb::StepState) -> (State, i64, i64, i32, String) {
    let next = step(state).after(report, NOW).expect("the step goes on");
    (next.state, next.started, next.finished, next.exit_code, next.error)
}

#[test]
fn goes_on_as_the_table_says() {
    use State::{Failure, Killed, Pending, Running, Skipped, Success};
    for (from, report, to, started, finished, code, error) in [
        // The first report, as agents send it: all zeros.
        (Pending, report(0, 0, 0, "", ""), Running, NOW, 0, 0, ""),
        (Pending, report(7, 0, 0, "", ""), Running, 7, 0, 0, ""),
        // It was skipped.
        (Pending, report(0, 0, 0, "", "s"), Skipped, 0, 0, 0, ""),
        (Pending, report(0, 9, 0, "", "s"), Skipped, 0, 9, 0, ""),
        (Pending, report(0, 9, 0, "", "sc"), Skipped, 0, 9, 0, ""),
        // The first report got lost.
        (Pending, report(7, 9, 0, "", "e"), Success, 7, 9, 0, ""),
        (Pending, report(0, 0, 0, "", "e"), Success, NOW, NOW, 0, ""),
        (Pending, report(0, 9, 3, "", "e"), Failure, NOW, 9, 3, ""),
        (Pending, report(0, 9, 0, "no image", ""), Failure, NOW, 9, 0, "no image"),
        // A finish alone does nothing but set the start.
        (Pending, report(0, 9, 0, "", ""), Pending, NOW, 0, 0, ""),
        // The last report.
        (Running, report(7, 9, 0, "", "e"), Success, 500, 9, 0, ""),
        (Running, report(7, 0, 0, "", "e"), Success, 500, NOW, 0, ""),
        (Running, report(7, 9, 1, "", "e"), Failure, 500, 9, 1, ""),
        (Running, report(7, 9, 0, "lost", "e"), Failure, 500, 9, 0, "lost"),
        (Running, report(7, 9, 0, "lost", ""), Failure, 500, 9, 0, "lost"),
        // An exit code counts for nothing unless it exited.
        (Running, report(7, 9, 1, "", ""), Running, 500, 0, 0, ""),
        // Cancelled while it ran, while it was about to end, while it was about to begin, and with nothing else said.
        (Running, report(7, 0, 0, "Canceled", "c"), Killed, 500, NOW, 0, "Canceled"),
        (Running, report(7, 9, 137, "Canceled", "ec"), Killed, 500, 9, 137, "Canceled"),
        (Pending, report(0, 9, 0, "Canceled", "ec"), Killed, NOW, 9, 0, "Canceled"),
        (Running, report(7, 0, 0, "", "c"), Killed, 500, NOW, 0, ""),
    ] {
        let expected = (to, started, finished, code, error.to_owned());
        assert_eq!(after(from, &report), expected, "{from:?} after {report:?}");
    }
}

#[test]
fn what_is_over_stays_as_it_is() {
    for state in [State::Success, State::Failure, State::Killed, State::Canceled, State::Skipped] {
        for report in [report(0, 0, 0, "", ""), report(7, 9, 0, "", "e"), report(0, 0, 0, "", "s")] {
            assert_eq!(step(state).after(&report, NOW), Err(Refusal::StepFinal(state.as_str())));
        }
    }
}
