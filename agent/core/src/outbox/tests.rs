mod disk;
mod random;

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::{Acknowledged, Body, Envelope, Limits, Outbox, Usage};
use crate::id::{Attempt, Epoch, RunKey, Sequence, StepId, WorkflowId};
use crate::logs::spool::BLOCK_OVERHEAD;
use crate::outcome::{StepState, WorkflowState};
use crate::report::{LogLine, LogTotal, Refusal, Report, StepReport, WorkflowReport};

/// Small enough that a few lines reach every bound.
const LIMITS: Limits = Limits {
    chunk_bytes: 100,
    chunk_lines: 4,
    batch_period: Duration::from_secs(1),
    unacknowledged_log_bytes: 1500,
    spool_bytes: 6000,
    waiting_reports: 100,
    finals_after_logs: false,
};

const NOTHING: LogTotal = LogTotal { lines: 0, bytes: 0 };

fn key(workflow: &str) -> RunKey {
    RunKey { workflow: WorkflowId::new(workflow), epoch: Epoch(1) }
}

fn step(name: &str) -> StepId {
    StepId::new(name)
}

fn state(name: &str, state: StepState, error: &str) -> Report {
    Report::Step(StepReport {
        step: step(name),
        attempt: Attempt::FIRST,
        state,
        started: None,
        finished: None,
        outcome: None,
        error: error.to_owned(),
    })
}

fn finished() -> Report {
    let (started, finished) = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH);
    Report::Finished(WorkflowReport { state: WorkflowState::Success, started, finished, error: String::new() })
}

fn line(number: u64, text: impl Into<String>) -> LogLine {
    LogLine { number, time: Timestamp::UNIX_EPOCH, bytes: text.into().into() }
}

#[expect(clippy::disallowed_methods, reason = "any instant will do as the beginning")]
fn begin() -> Instant {
    Instant::now()
}

/// An outbox that knows one workflow.
fn outbox() -> (Outbox, RunKey, Instant) {
    let mut outbox = Outbox::new(LIMITS);
    outbox.open(key("1"));
    (outbox, key("1"), begin())
}

/// All that may leave now, as `number:what`.
fn leaving(outbox: &mut Outbox, now: Instant) -> Vec<String> {
    std::iter::from_fn(|| outbox.next(now)).map(|envelope| shown(&envelope)).collect()
}

fn shown(envelope: &Envelope) -> String {
    let what = match &envelope.body {
        Body::Report(Report::Step(report)) => format!("{} {}", report.step, report.state),
        Body::Report(Report::Accepted) => "accepted".to_owned(),
        Body::Report(Report::Refused { .. }) => "refused".to_owned(),
        Body::Report(Report::Finished(_)) => "finished".to_owned(),
        Body::Chunk { step, chunk } => {
            let end = if chunk.end.is_some() { " end" } else { "" };
            format!("log {step} {}+{}{end}", chunk.first_line, chunk.lines.len())
        }
    };
    format!("{}:{what}", envelope.sequence.0)
}

#[test]
fn a_workflow_from_its_acceptance_to_its_end() {
    let (mut outbox, key, now) = outbox();
    outbox.report(&key, Report::Accepted);
    assert_eq!(leaving(&mut outbox, now), ["1:accepted"]);
    assert_eq!(outbox.acknowledge(&key, Sequence(1)), [Acknowledged::Accepted]);
    assert_eq!(outbox.acknowledge(&key, Sequence(1)), [], "told once");

    outbox.report(&key, state("a", StepState::Running, ""));
    outbox.log(&key, &step("a"), vec![line(0, "hello")], now);
    outbox.report(&key, state("a", StepState::Success, ""));
    outbox.report(&key, finished());
    outbox.report(&key, state("a", StepState::Failure, "nothing comes after the end"));
    assert_eq!(leaving(&mut outbox, now), ["2:a running", "3:a success"], "states overtake logs");
    assert_eq!(outbox.due(), Some(now + LIMITS.batch_period));
    let now = now + LIMITS.batch_period;
    assert_eq!(leaving(&mut outbox, now), ["4:log a 0+1"]);

    outbox.log(&key, &step("a"), vec![line(1, "bye")], now);
    outbox.end_log(&key, &step("a"), LogTotal { lines: 2, bytes: 8 }, now);
    assert_eq!(leaving(&mut outbox, now), ["5:log a 1+1 end", "6:finished"], "the end waits for the log");
    outbox.log(&key, &step("b"), vec![line(0, "too late")], now);
    assert_eq!(leaving(&mut outbox, now + LIMITS.batch_period), [""; 0]);

    assert!(!outbox.flushed());
    assert_eq!(outbox.held().collect::<Vec<_>>(), [(&key, Sequence(1))]);
    assert_eq!(outbox.acknowledge(&key, Sequence(6)), [Acknowledged::Finished]);
    assert!(outbox.flushed());
    assert_eq!(outbox.held().count(), 0);
    assert_eq!(outbox.usage(), Usage::default());
}

#[test]
fn a_refused_workflow_is_forgotten_once_that_is_known() {
    let (mut outbox, key, now) = outbox();
    outbox.report(&key, Report::Refused { reason: "No stages.".to_owned(), scope: Refusal::Everywhere });
    outbox.report(&key, finished());
    assert_eq!(leaving(&mut outbox, now), ["1:refused"]);
    assert_eq!(outbox.acknowledge(&key, Sequence(1)), [Acknowledged::Refused]);
    assert_eq!(outbox.held().count(), 0);
}

#[test]
fn what_is_said_about_an_unknown_workflow_is_ignored() {
    let (mut outbox, known, now) = outbox();
    let unknown = key("2");
    outbox.report(&unknown, Report::Accepted);
    outbox.log(&unknown, &step("a"), vec![line(0, "hello")], now);
    outbox.end_log(&unknown, &step("a"), NOTHING, now);
    assert_eq!(outbox.acknowledge(&unknown, Sequence(1)), []);
    assert_eq!(outbox.resume(&unknown, Sequence(1)), []);

    outbox.report(&known, Report::Accepted);
    outbox.log(&known, &step("a"), vec![line(0, "hello"), line(1, "x".repeat(200))], now);
    assert_eq!(leaving(&mut outbox, now), ["1:accepted", "2:log a 0+1", "3:log a 1+1", "4:log a 1+1"]);
    outbox.close(&known);
    outbox.report(&known, finished());
    assert_eq!(leaving(&mut outbox, now), [""; 0]);
    assert_eq!((outbox.usage(), outbox.held().count(), outbox.due()), (Usage::default(), 0, None));
}

#[test]
fn after_a_reconnect_the_rest_leaves_again_under_its_old_numbers() {
    let (mut outbox, key, now) = outbox();
    outbox.report(&key, Report::Accepted);
    outbox.log(&key, &step("a"), vec![line(0, "x".repeat(100))], now);
    assert_eq!(leaving(&mut outbox, now), ["1:accepted", "2:log a 0+1"]);
    outbox.report(&key, state("a", StepState::Running, ""));
    assert_eq!(leaving(&mut outbox, now), ["3:a running"]);

    outbox.disconnected();
    outbox.report(&key, state("a", StepState::Success, ""));
    outbox.log(&key, &step("a"), vec![line(1, "x".repeat(100))], now);
    assert_eq!(leaving(&mut outbox, now), [""; 0]);
    assert_eq!(outbox.due(), None);

    assert_eq!(outbox.resume(&key, Sequence(1)), [Acknowledged::Accepted], "its acknowledgement got lost on the way");
    assert_eq!(leaving(&mut outbox, now), ["2:log a 0+1", "3:a running", "4:a success", "5:log a 1+1"]);
    // A server that has forgotten something gets all that is left; one that claims too much gets it too.
    outbox.disconnected();
    assert_eq!(outbox.resume(&key, Sequence(0)), []);
    assert_eq!(leaving(&mut outbox, now).len(), 4);
    outbox.disconnected();
    assert_eq!(outbox.resume(&key, Sequence(99)), []);
    assert_eq!(leaving(&mut outbox, now).len(), 4);
}

#[test]
fn only_numbers_that_left_can_be_acknowledged() {
    let (mut outbox, key, now) = outbox();
    outbox.report(&key, Report::Accepted);
    assert_eq!(outbox.acknowledge(&key, Sequence(1)), [], "it has no number yet");
    assert_eq!(leaving(&mut outbox, now), ["1:accepted"]);
    assert_eq!(outbox.acknowledge(&key, Sequence(2)), []);
    assert_eq!(outbox.acknowledge(&key, Sequence(u64::MAX)), []);
    assert_eq!(outbox.acknowledge(&key, Sequence(0)), []);
    assert_eq!(outbox.acknowledge(&key, Sequence(1)), [Acknowledged::Accepted]);
}

#[test]
fn unacknowledged_logs_stop_logs_and_never_states() {
    let (mut outbox, run, now) = outbox();
    outbox.open(key("2"));
    for number in 0..20 {
        outbox.log(&run, &step("a"), vec![line(number, "x".repeat(100))], now);
    }
    let sent = leaving(&mut outbox, now).len();
    assert!(sent > 1 && outbox.usage().unacknowledged <= LIMITS.unacknowledged_log_bytes);
    assert_eq!(outbox.due(), None, "there is nothing to do until something is acknowledged");
    outbox.report(&run, state("a", StepState::Running, ""));
    outbox.report(&key("2"), Report::Accepted);
    assert_eq!(leaving(&mut outbox, now), [format!("{}:a running", sent + 1), "1:accepted".to_owned()]);
    outbox.acknowledge(&run, Sequence(1));
    assert_eq!(leaving(&mut outbox, now), [format!("{}:log a {sent}+1", sent + 2)]);
}

#[test]
fn a_final_state_can_be_made_to_wait_for_its_own_log_and_for_no_other() {
    let mut outbox = Outbox::new(Limits { finals_after_logs: true, ..LIMITS });
    let (key, now) = (key("1"), begin());
    outbox.open(key.clone());
    for name in ["a", "b"] {
        outbox.report(&key, state(name, StepState::Running, ""));
        outbox.log(&key, &step(name), (0..3).map(|number| line(number, "text")).collect(), now);
    }
    outbox.report(&key, state("a", StepState::Success, ""));
    outbox.report(&key, state("c", StepState::Skipped, ""));
    assert_eq!(leaving(&mut outbox, now), ["1:a running", "2:b running", "3:c skipped"]);
    outbox.end_log(&key, &step("a"), LogTotal { lines: 3, bytes: 12 }, now);
    assert_eq!(leaving(&mut outbox, now), ["4:log a 0+3 end", "5:a success"]);
    outbox.disconnected();
    outbox.resume(&key, Sequence(3));
    assert_eq!(leaving(&mut outbox, now), ["4:log a 0+3 end", "5:a success"], "sent again as it was");
    outbox.report(&key, state("b", StepState::Failure, ""));
    outbox.report(&key, finished());
    assert_eq!(leaving(&mut outbox, now), [] as [&str; 0], "the log of 'b' goes on");
    outbox.end_logs(&key, now);
    assert_eq!(leaving(&mut outbox, now), ["6:log b 0+3 end", "7:b failure", "8:finished"]);
}

#[test]
fn one_chunk_may_always_leave() {
    let mut outbox = Outbox::new(Limits { unacknowledged_log_bytes: 0, ..LIMITS });
    outbox.open(key("1"));
    let lines = (0..8).map(|number| line(number, "x".repeat(25))).collect();
    outbox.log(&key("1"), &step("a"), lines, begin());
    assert_eq!(leaving(&mut outbox, begin()), ["1:log a 0+4"]);
}

#[test]
fn logs_take_turns() {
    let (mut outbox, run, now) = outbox();
    outbox.open(key("2"));
    for (run, name) in [(&run, "a"), (&run, "b"), (&key("2"), "c")] {
        let lines = (0..3).map(|number| line(number, "x".repeat(100))).collect();
        outbox.log(run, &step(name), lines, now);
    }
    let order: Vec<String> = std::iter::from_fn(|| {
        let envelope = outbox.next(now)?;
        outbox.acknowledge(&envelope.key, envelope.sequence);
        let Body::Chunk { step, .. } = envelope.body else { return None };
        Some(step.to_string())
    })
    .collect();
    assert_eq!(order, ["a", "b", "c", "a", "b", "c", "a", "b", "c"]);
}

#[test]
fn a_workflow_that_is_not_resumed_yet_holds_up_no_other() {
    let (mut outbox, run, now) = outbox();
    outbox.open(key("2"));
    for run in [&run, &key("2")] {
        outbox.log(run, &step("a"), vec![line(0, "x".repeat(100))], now);
    }
    outbox.disconnected();
    outbox.resume(&key("2"), Sequence(0));
    assert_eq!(leaving(&mut outbox, now), ["1:log a 0+1"]);
    assert_eq!(outbox.due(), None);
    outbox.resume(&run, Sequence(0));
    assert_eq!(outbox.due(), Some(now));
    assert_eq!(leaving(&mut outbox, now), ["1:log a 0+1"]);
}

#[test]
fn a_flood_loses_its_own_lines_and_not_those_of_a_quiet_step() {
    let mut outbox = Outbox::new(Limits { spool_bytes: 60_000, ..LIMITS });
    let (key, now) = (key("1"), begin());
    outbox.open(key.clone());
    let flood = || (0..4000).map(|number| line(number, "x".repeat(40))).collect();
    outbox.log(&key, &step("flood"), flood(), now);
    let usage = outbox.usage();
    // Four fifths, the last block, and the entry for the loss.
    assert!((45_000..48_000 + 2000 + 2 * BLOCK_OVERHEAD).contains(&usage.spooled), "{usage:?}");
    assert!((3000..3100).contains(&usage.lost_lines), "a line costs a few bytes beside its own: {usage:?}");
    outbox.log(&key, &step("quiet"), vec![line(0, "hello")], now);
    assert_eq!(outbox.usage().lost_lines, usage.lost_lines);
    // And a second flood gets its part too.
    outbox.log(&key, &step("flood too"), flood(), now);
    assert!(outbox.usage().spooled <= 60_000 + 2 * BLOCK_OVERHEAD);
    assert!(outbox.usage().lost_lines < usage.lost_lines + 4000);
}

#[test]
fn waiting_states_are_bounded() {
    let mut outbox = Outbox::new(Limits { waiting_reports: 4, ..LIMITS });
    let (key, now) = (key("1"), begin());
    outbox.open(key.clone());
    outbox.report(&key, Report::Accepted);
    outbox.report(&key, state("b", StepState::Running, ""));
    for _ in 0..1000 {
        outbox.report(&key, state("a", StepState::Running, ""));
    }
    outbox.report(&key, state("a", StepState::Success, ""));
    outbox.report(&key, finished());
    assert_eq!(leaving(&mut outbox, now), ["1:accepted", "2:b running", "3:a success", "4:finished"]);
}
