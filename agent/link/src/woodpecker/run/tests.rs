use std::collections::BTreeSet;

use bytes::Bytes;
use jiff::Timestamp;
use piculet_core::id::{Attempt, Sequence, StepId};
use piculet_core::logs::spool::{Chunk, Piece};
use piculet_core::outbox::Body;
use piculet_core::outcome::{Deadline, NeverStarted, Outcome, StepState, WorkflowState};
use piculet_core::report::{LogTotal, Refusal, Report, StepReport, WorkflowReport};
use piculet_proto::woodpecker as pb;

use super::{Answer, Call, Lane, Run};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn report(state: StepState, outcome: Option<Outcome>) -> StepReport {
    StepReport {
        step: StepId::new("A"),
        attempt: Attempt::FIRST,
        state,
        started: None,
        finished: None,
        error: outcome.as_ref().map(ToString::to_string).unwrap_or_default(),
        outcome,
    }
}

fn ran(state: StepState, outcome: Outcome) -> StepReport {
    StepReport { started: Some(at(100)), finished: Some(at(160)), ..report(state, Some(outcome)) }
}

fn step(report: StepReport) -> Body {
    Body::Report(Report::Step(report))
}

fn running(name: &str) -> Body {
    step(StepReport { step: StepId::new(name), ..report(StepState::Running, None) })
}

fn chunk(name: &str, first_line: u64, lines: &[&'static str]) -> Body {
    let piece = |(n, text): (usize, &&'static str)| Piece {
        time: at(1000 + 10 * n as i64),
        bytes: Bytes::from_static(text.as_bytes()),
        continues: false,
    };
    let lines = lines.iter().enumerate().map(piece).collect();
    Body::Chunk { step: StepId::new(name), chunk: Chunk { first_line, lines, end: None } }
}

fn finished(state: WorkflowState, error: &str) -> Body {
    Body::Report(Report::Finished(WorkflowReport {
        state,
        started: at(50),
        finished: at(200),
        error: error.to_owned(),
    }))
}

/// A run whose first reports were taken, at second 50.
fn run(bodies: impl IntoIterator<Item = Body>) -> Run {
    let mut run = Run::new("7", BTreeSet::new());
    for (number, body) in (1..).zip(bodies) {
        run.take(Sequence(number), body, at(50));
    }
    run
}

/// All calls that can be made now, as a person would tell them.
fn calls(run: &mut Run) -> Vec<String> {
    run.next_calls().iter().map(|(_, call)| told(call)).collect()
}

/// Makes all calls until none is left; each is taken.
fn all(run: &mut Run) -> Vec<String> {
    let mut made = Vec::new();
    loop {
        let calls = run.next_calls();
        if calls.is_empty() {
            return made;
        }
        for (lane, call) in calls {
            made.push(told(&call));
            run.answered(&lane, Answer::Taken);
        }
    }
}

fn told(call: &Call) -> String {
    match call {
        Call::Init(pb::InitRequest { state, .. }) => format!("init {}", state.as_ref().unwrap().started),
        Call::Update(pb::UpdateRequest { state, .. }) => {
            let state = state.as_ref().unwrap();
            let flags = [(state.exited, " exited"), (state.canceled, " canceled"), (state.skipped, " skipped")];
            let flags: String = flags.iter().filter(|(set, _)| *set).map(|(_, word)| *word).collect();
            format!(
                "{} {}-{}{flags} {} {:?}",
                state.step_uuid, state.started, state.finished, state.exit_code, state.error
            )
        }
        Call::Log(pb::LogRequest { log_entries }) => log_entries
            .iter()
            .map(|entry| {
                format!("{}:{}@{} {}", entry.step_uuid, entry.line, entry.time, String::from_utf8_lossy(&entry.data))
            })
            .collect::<Vec<_>>()
            .join(", "),
        Call::Done(pb::DoneRequest { state, .. }) => {
            let state = state.as_ref().unwrap();
            let canceled = if state.canceled { " canceled" } else { "" };
            format!("done {}-{}{canceled} {:?}", state.started, state.finished, state.error)
        }
    }
}

/// The calls about one step that ends so.
fn end(report: StepReport) -> Vec<String> {
    all(&mut run([step(report)]))
}

#[test]
fn each_end_is_said_as_the_reference_agent_says_it() {
    let begun = "A 100-0 0 \"\"";
    assert_eq!(end(ran(StepState::Success, Outcome::Exited { code: 0 })), [begun, "A 100-160 exited 0 \"\""]);
    assert_eq!(end(ran(StepState::Failure, Outcome::Exited { code: 7 })), [begun, "A 100-160 exited 7 \"\""]);
    let cancelled = Outcome::Cancelled { by: "somebody".to_owned() };
    let by_user = |report: StepReport| {
        let mut run = Run::new("7", BTreeSet::new());
        run.stopped_by_user();
        run.take(Sequence(1), step(report), at(50));
        all(&mut run)
    };
    assert_eq!(by_user(ran(StepState::Killed, cancelled.clone())), [begun, "A 100-0 canceled 0 \"Canceled\""]);
    assert_eq!(
        by_user(report(StepState::Killed, Some(cancelled.clone()))),
        ["A 0-0 0 \"\"", "A 0-0 exited canceled 0 \"Canceled\""],
        "cancelled while it was starting"
    );
    assert_eq!(end(ran(StepState::Killed, cancelled)), [begun, "A 100-0 canceled 0 \"Stopped: somebody.\""]);
    assert_eq!(end(report(StepState::Skipped, None)), ["A 0-0 skipped 0 \"\""]);
    assert_eq!(end(report(StepState::Canceled, None)), [] as [&str; 0], "never reached");
    assert_eq!(end(report(StepState::Pending, None)), [] as [&str; 0]);
    let unneeded = StepReport { started: Some(at(100)), finished: Some(at(160)), ..report(StepState::Success, None) };
    assert_eq!(end(unneeded), [begun, "A 100-160 exited 0 \"\""], "a service that nobody needs any more");
}

#[test]
fn what_an_exit_code_does_not_say_is_said_in_words() {
    let limit = Some(1 << 30);
    for (outcome, code, words) in [
        (Outcome::OomKilled { limit, code: Some(137) }, 137, "out of memory"),
        (Outcome::OomKilled { limit, code: None }, 137, "out of memory"),
        (Outcome::OomKilled { limit, code: Some(0) }, 137, "out of memory"),
        (Outcome::Signaled { signal: 15 }, 143, "signal 15"),
        (Outcome::Evicted { reason: "low on disk".to_owned() }, 0, "low on disk"),
        (Outcome::PodDeleted { by: None }, 0, "deleted"),
        (Outcome::DeadlineExceeded { which: Deadline::Step }, 0, "time limit"),
    ] {
        let said = end(ran(StepState::Failure, outcome)).pop().unwrap();
        assert!(said.starts_with(&format!("A 100-160 exited {code} ")) && said.contains(words), "{said}");
    }
    let never = Outcome::NeverStarted { reason: NeverStarted::ImagePull, message: "no such image".to_owned() };
    let said = end(report(StepState::Failure, Some(never)));
    assert_eq!(said[0], "A 0-0 0 \"\"");
    assert!(said[1].starts_with("A 0-0 exited 0 ") && said[1].contains("no such image"), "{said:?}");
    let mute = end(report(StepState::Failure, None)).pop().unwrap();
    assert_eq!(mute, "A 0-0 exited 0 \"The step failed.\"", "no failure looks like a success");
    let late = Outcome::DeadlineExceeded { which: Deadline::Workflow };
    let said = end(ran(StepState::Killed, late)).pop().unwrap();
    assert!(said.contains("canceled") && said.contains("time limit"), "{said}");
}

#[test]
fn a_step_begins_once_however_it_is_heard_of_first() {
    let again = [running("A"), running("A"), chunk("A", 0, &["x"])];
    assert_eq!(all(&mut run(again)), ["A 0-0 0 \"\"", "A:0@0 x"]);
    let waits = [chunk("A", 0, &["waiting for a node"]), running("A")];
    assert_eq!(all(&mut run(waits)), ["A 0-0 0 \"\"", "A:0@0 waiting for a node"]);
    let mut waits = run([chunk("A", 0, &["waiting"]), running("A"), chunk("A", 1, &["x"])]);
    all(&mut waits);
    assert_eq!(waits.settled(), Sequence(3));
}

#[test]
fn lines_count_from_0_and_their_times_from_the_first_one() {
    let mut run = run([chunk("A", 0, &["a", "b"]), chunk("A", 2, &["c", "d"])]);
    assert_eq!(all(&mut run)[1..], ["A:0@0 a, A:1@10 b", "A:2@0 c, A:3@10 d"]);
}

#[test]
fn steps_go_side_by_side_and_each_keeps_its_order() {
    let bodies = [
        running("A"),
        running("B"),
        chunk("A", 0, &["a"]),
        chunk("B", 0, &["b"]),
        step(ran(StepState::Success, Outcome::Exited { code: 0 })),
        finished(WorkflowState::Success, ""),
    ];
    let mut run = run(bodies);
    assert_eq!(calls(&mut run), ["A 0-0 0 \"\"", "B 0-0 0 \"\""]);
    assert_eq!(calls(&mut run), [] as [&str; 0], "one call of each step at a time");
    let a = Lane::Step(StepId::new("A"));
    assert_eq!(run.answered(&a, Answer::Taken).settled, Sequence(1));
    assert_eq!(calls(&mut run), ["A:0@0 a"]);
    assert_eq!(run.answered(&a, Answer::Taken).settled, Sequence(1), "the beginning of B is not answered");
    assert_eq!(calls(&mut run), ["A 100-160 exited 0 \"\""]);
    run.answered(&a, Answer::Taken);
    assert_eq!(calls(&mut run), [] as [&str; 0], "the end waits for B");
    let b = Lane::Step(StepId::new("B"));
    assert_eq!(run.answered(&b, Answer::Taken).settled, Sequence(3));
    assert_eq!(calls(&mut run), ["B:0@0 b"]);
    assert_eq!(run.answered(&b, Answer::Taken).settled, Sequence(5));
    assert!(run.is_ending());
    assert_eq!(calls(&mut run), ["done 50-200 \"\""]);
    let progress = run.answered(&Lane::Workflow, Answer::Taken);
    assert!(progress.is_over);
    assert_eq!(progress.settled, Sequence(6));
}

#[test]
fn the_start_is_the_same_whenever_it_is_said() {
    let mut run = Run::new("7", BTreeSet::new());
    run.take(Sequence(1), Body::Report(Report::Accepted), at(50));
    assert_eq!(calls(&mut run), ["init 50"]);
    run.begin_anew();
    run.take(Sequence(1), Body::Report(Report::Accepted), at(90));
    assert_eq!(all(&mut run), ["init 50"], "a second one moves the start at the server");
    run.take(Sequence(2), finished(WorkflowState::Success, ""), at(200));
    assert_eq!(all(&mut run), ["done 50-200 \"\""]);
}

#[test]
fn after_a_break_only_what_was_not_answered_is_said_again() {
    let mut run = run([running("A"), running("B"), chunk("A", 0, &["a"])]);
    calls(&mut run);
    run.answered(&Lane::Step(StepId::new("A")), Answer::Taken);
    calls(&mut run);
    run.answered(&Lane::Step(StepId::new("A")), Answer::Taken);
    assert_eq!(run.settled(), Sequence(1));
    run.begin_anew();
    // The outbox hands in everything after what is acknowledged.
    run.take(Sequence(2), running("B"), at(60));
    let progress = run.take(Sequence(3), chunk("A", 0, &["a"]), at(60));
    assert_eq!(progress, None, "it is settled, and the answer to B will say so");
    assert_eq!(all(&mut run), ["B 0-0 0 \"\""]);
    assert_eq!(run.settled(), Sequence(3));
}

#[test]
fn a_workflow_that_cannot_run_begins_and_fails_with_the_reason() {
    let reason = "The workflow can't be run: pipeline: it has no steps".to_owned();
    let mut run = run([Body::Report(Report::Refused { reason, scope: Refusal::Everywhere })]);
    assert_eq!(all(&mut run), ["init 50", "done 50-50 \"The workflow can't be run: pipeline: it has no steps\""]);
    assert_eq!(run.settled(), Sequence(1));
}

#[test]
fn a_users_cancel_is_no_error_and_a_time_limit_says_so() {
    let killed = || [finished(WorkflowState::Killed, "The workflow took too long.")];
    assert_eq!(all(&mut run(killed())), ["done 50-200 canceled \"The workflow took too long.\""]);
    let mut stopped = run(killed());
    stopped.stopped_by_user();
    assert_eq!(all(&mut stopped), ["done 50-200 canceled \"\""]);
    assert_eq!(all(&mut run([finished(WorkflowState::Failure, "")])), ["done 50-200 \"\""], "steps say why");
}

#[test]
fn a_failure_that_the_server_does_not_take_is_said_at_the_end() {
    let mut run = run([
        running("A"),
        step(ran(StepState::Failure, Outcome::Exited { code: 7 })),
        finished(WorkflowState::Failure, ""),
    ]);
    for _ in 0..2 {
        let (lane, _) = run.next_calls().pop().unwrap();
        run.answered(&lane, Answer::Refused);
    }
    assert_eq!(
        all(&mut run),
        ["done 50-200 \"The server did not take that the step with the id A ended as failure.\""],
        "else the server would close it as a success"
    );
}

#[test]
fn why_a_step_never_started_is_said_with_the_workflow_that_fails_for_it() {
    let never = Outcome::NeverStarted { reason: NeverStarted::ImagePull, message: "no such image".to_owned() };
    let body = || step(report(StepState::Failure, Some(never.clone())));
    let done = |state| all(&mut run([body(), finished(state, "")])).pop().unwrap();
    let said = done(WorkflowState::Failure);
    assert!(said.starts_with("done 50-200 \"The step never started: ") && said.contains("no such image"), "{said}");
    assert_eq!(done(WorkflowState::Success), "done 50-200 \"\"", "its failure was ignored");
}

#[test]
fn the_end_of_a_log_needs_no_call() {
    let total = LogTotal { lines: 0, bytes: 0 };
    let end = Body::Chunk { step: StepId::new("A"), chunk: Chunk { first_line: 0, lines: vec![], end: Some(total) } };
    let mut run = Run::new("7", BTreeSet::new());
    let progress = run.take(Sequence(1), end, at(50)).unwrap();
    assert_eq!(progress.settled, Sequence(1));
    assert_eq!(all(&mut run), [] as [&str; 0]);
}
