use std::collections::BTreeMap;

use super::{Ledger, Receipt};
use bytes::Bytes;
use jiff::Timestamp;
use piculet_core::id::{Attempt, Epoch, Sequence, StepId};
use piculet_core::logs::spool::{Chunk, Piece};
use piculet_core::outcome::{StepState, WorkflowState};
use piculet_core::report::{LogTotal, WorkflowReport};
use piculet_core::workload::{StageSpec, StepKind, StepSpec, WorkloadSpec};
use piculet_link::wire::agent::{ReceivedBody as Report, StepUpdate};
use piculet_link::wire::state::OutcomeClass;

const EPOCH: Epoch = Epoch(1);
/// As much as anybody may want.
const ROOM: u64 = u64::MAX;

fn step(id: &str) -> StepSpec {
    StepSpec { id: id.to_owned(), name: format!("step {id}"), image: "alpine".to_owned(), ..StepSpec::default() }
}

fn ledger_of(steps: Vec<StepSpec>) -> Ledger {
    Ledger::new(&WorkloadSpec { stages: vec![StageSpec { steps }], ..WorkloadSpec::default() }, 1000)
}

fn ledger() -> Ledger {
    ledger_of(vec![step("a")])
}

fn state(state: StepState, attempt: u32) -> Report {
    Report::Step(StepUpdate {
        step: StepId::new("a"),
        state,
        attempt: Attempt(attempt),
        started: Some(Timestamp::UNIX_EPOCH),
        finished: None,
        outcome: state.is_final().then_some(OutcomeClass::Exited),
        exit_code: state.is_final().then_some(0),
        error: String::new(),
    })
}

fn piece(text: &str) -> Piece {
    let (text, continues) = text.strip_suffix('…').map_or((text, false), |text| (text, true));
    Piece { time: Timestamp::UNIX_EPOCH, bytes: Bytes::copy_from_slice(text.as_bytes()), continues }
}

fn chunk(first_line: u64, lines: &[&str]) -> Report {
    let lines = lines.iter().map(|line| piece(line)).collect();
    Report::Chunk { step: StepId::new("a"), chunk: Chunk { first_line, lines, end: None } }
}

fn end(lines: u64, bytes: u64) -> Report {
    let end = Some(LogTotal { lines, bytes });
    Report::Chunk { step: StepId::new("a"), chunk: Chunk { first_line: lines, lines: Vec::new(), end } }
}

fn finished(state: WorkflowState) -> Report {
    let at = Timestamp::UNIX_EPOCH;
    Report::Finished(WorkflowReport { state, started: at, finished: at, error: String::new() })
}

/// Applies reports as numbers 1, 2, 3, … of the first epoch.
fn apply_all(ledger: &mut Ledger, reports: impl IntoIterator<Item = Report>) {
    for report in reports {
        let sequence = ledger.stored().next();
        assert_eq!(ledger.apply(EPOCH, sequence, report, ROOM), Receipt::Stored);
    }
}

/// The lines of the first step that were not asked for yet, by number.
fn text(ledger: &mut Ledger) -> BTreeMap<u64, String> {
    let unsaved = ledger.take_unsaved().into_iter().filter(|(at, _)| *at == 0).flat_map(|(_, lines)| lines);
    unsaved.map(|line| (line.number, String::from_utf8_lossy(&line.bytes).into_owned())).collect()
}

#[test]
fn each_report_takes_effect_once_and_in_order() {
    let mut ledger = ledger();
    for (epoch, sequence, expected) in [
        (1, 1, Receipt::Stored),
        (1, 1, Receipt::Known),
        (1, 3, Receipt::Gap { expected: Sequence(2) }),
        (2, 2, Receipt::Stale { current: Epoch(1) }),
        (0, 2, Receipt::Stale { current: Epoch(1) }),
        (1, 2, Receipt::Stored),
        (1, 1, Receipt::Known),
        (1, 3, Receipt::Stored),
    ] {
        let receipt = ledger.apply(Epoch(epoch), Sequence(sequence), Report::Accepted, ROOM);
        assert_eq!(receipt, expected, "epoch {epoch}, sequence {sequence}");
    }
    assert_eq!(ledger.stored(), Sequence(3));
    ledger.begin(Epoch(2));
    assert_eq!(ledger.stored(), Sequence(0));
    assert_eq!(ledger.apply(Epoch(1), Sequence(4), Report::Accepted, ROOM), Receipt::Stale { current: Epoch(2) });
    assert_eq!(ledger.apply(Epoch(2), Sequence(1), Report::Accepted, ROOM), Receipt::Stored);
}

#[test]
fn a_repeated_chunk_adds_no_line() {
    let mut ledger = ledger();
    assert_eq!(ledger.apply(EPOCH, Sequence(1), chunk(0, &["one", "two"]), ROOM), Receipt::Stored);
    assert_eq!(ledger.apply(EPOCH, Sequence(1), chunk(0, &["one", "two"]), ROOM), Receipt::Known);
    // An adopter that read the log anew numbers the same.
    ledger.begin(Epoch(2));
    assert_eq!(ledger.apply(Epoch(2), Sequence(1), chunk(1, &["TWO", "three"]), ROOM), Receipt::Stored);
    assert_eq!(ledger.apply(Epoch(2), Sequence(2), end(3, 11), ROOM), Receipt::Stored);
    assert_eq!(text(&mut ledger), BTreeMap::from([(0, "one".into()), (1, "two".into()), (2, "three".into())]));
    assert_eq!(ledger.steps()[0].log.complaint(true), None);
}

#[test]
fn parts_become_one_line() {
    let mut ledger = ledger();
    apply_all(&mut ledger, [chunk(0, &["first", "lo…"]), chunk(1, &["ng…"]), chunk(1, &["er", "last"]), end(3, 15)]);
    assert_eq!(text(&mut ledger), BTreeMap::from([(0, "first".into()), (1, "longer".into()), (2, "last".into())]));
    assert_eq!(ledger.steps()[0].log.whole_lines(), 3);
    assert_eq!(ledger.steps()[0].log.complaint(true), None);
}

#[test]
fn a_new_epoch_starts_a_broken_line_anew() {
    let mut ledger = ledger();
    apply_all(&mut ledger, [chunk(0, &["first", "lo…"])]);
    assert_eq!(ledger.steps()[0].log.whole_lines(), 1, "a part is no whole line");
    ledger.begin(Epoch(2));
    ledger.apply(Epoch(2), Sequence(1), chunk(1, &["long", "last"]), ROOM);
    assert_eq!(text(&mut ledger), BTreeMap::from([(0, "first".into()), (1, "long".into()), (2, "last".into())]));
}

#[test]
fn the_rest_of_a_line_that_never_comes_does_not_swallow_the_next() {
    let mut ledger = ledger();
    apply_all(&mut ledger, [chunk(0, &["lo…"]), chunk(1, &["next"]), end(2, 8)]);
    assert_eq!(text(&mut ledger), BTreeMap::from([(0, "lo".into()), (1, "next".into())]));
    assert_eq!(
        ledger.steps()[0].log.complaint(true).as_deref(),
        Some("The agent counted 8 bytes in this log and sent 6.")
    );
}

#[test]
fn missing_lines_are_said() {
    for (reports, missing, complaint) in [
        (vec![chunk(0, &["a", "b"]), end(2, 2)], 0, None),
        (
            vec![chunk(0, &["a"]), chunk(3, &["d"]), end(4, 4)],
            2,
            Some("2 lines of this log never came from the agent."),
        ),
        (vec![chunk(0, &["a"]), end(3, 3)], 2, Some("2 lines of this log never came from the agent.")),
        (vec![chunk(0, &["a"]), chunk(2, &["c"]), chunk(1, &["b"]), end(3, 3)], 0, None),
        (vec![chunk(0, &["a", "b"]), end(1, 1)], 0, Some("The agent counted 1 lines and sent 2.")),
        (vec![chunk(0, &["a"])], 0, Some("The agent never said that this log is complete.")),
        (vec![], 0, None),
    ] {
        let mut ledger = ledger();
        apply_all(&mut ledger, reports.clone());
        let log = &ledger.steps()[0].log;
        assert_eq!(log.missing_lines(), missing, "{reports:?}");
        assert_eq!(log.complaint(true).as_deref(), complaint, "{reports:?}");
    }
}

#[test]
fn whole_lines_stop_before_the_first_hole() {
    let mut ledger = ledger();
    apply_all(&mut ledger, [chunk(0, &["a"]), chunk(4, &["e"]), chunk(2, &["c"])]);
    assert_eq!(ledger.steps()[0].log.whole_lines(), 1);
    apply_all(&mut ledger, [chunk(1, &["b"])]);
    assert_eq!(ledger.steps()[0].log.whole_lines(), 3);
    apply_all(&mut ledger, [chunk(3, &["d"])]);
    assert_eq!(ledger.steps()[0].log.whole_lines(), 5);
}

#[test]
fn a_full_log_counts_what_it_does_not_keep() {
    let mut ledger = ledger();
    let long = "x".repeat(600);
    // What comes after the first that has no room has none either: one hole at the end can be understood.
    apply_all(&mut ledger, [chunk(0, &[&long, &long, "short"]), end(3, 1205)]);
    let log = &ledger.steps()[0].log;
    assert_eq!((log.line_count(), log.unstored_lines(), log.missing_lines(), log.whole_lines()), (1, 2, 0, 3));
    assert_eq!(
        log.complaint(true).as_deref(),
        Some("2 more lines came and were not kept: the server has room for 1000 bytes of a step's log.")
    );
}

#[test]
fn empty_lines_need_room_too() {
    let mut ledger = ledger();
    apply_all(&mut ledger, [chunk(0, &[""; 100]), end(100, 0)]);
    let log = &ledger.steps()[0].log;
    assert!(log.line_count() < 100 && log.size() <= 1000, "{} lines", log.line_count());
    assert_eq!(log.line_count() + log.unstored_lines(), 100);
}

#[test]
fn lines_without_room_in_the_server_are_counted() {
    let mut ledger = ledger();
    let report = chunk(0, &["a", "b…"]);
    assert_eq!(ledger.size_of(Sequence(2), &report), 0, "it is not next");
    assert_eq!(ledger.size_of(Sequence(1), &report), 2 * 17);
    ledger.apply(EPOCH, Sequence(1), report, 17);
    assert_eq!((ledger.size(), ledger.size_of(Sequence(2), &chunk(1, &["b"]))), (17, 17 + 17));
    ledger.apply(EPOCH, Sequence(2), chunk(1, &["b", "c"]), 17);
    let log = &ledger.steps()[0].log;
    assert_eq!((log.line_count(), log.unstored_lines(), log.whole_lines()), (1, 2, 3), "a line of two bytes is more");
    let complaint = "2 more lines came and were not kept: the server had no room left for the logs of all workflows.";
    assert_eq!(log.complaint(false).as_deref(), Some(complaint));
    let report = chunk(3, &["d"]);
    assert_eq!(ledger.size_of(Sequence(3), &report), 0, "nothing is kept after a hole");
    ledger.apply(EPOCH, Sequence(3), report, ROOM);
    assert_eq!(ledger.size(), 17);
}

#[test]
fn what_the_store_was_given_is_not_given_again() {
    let mut ledger = ledger_of(vec![step("a"), step("b")]);
    let places = |ledger: &mut Ledger| ledger.take_unsaved().into_iter().map(|(at, _)| at).collect::<Vec<_>>();
    assert_eq!(places(&mut ledger), [0, 1], "all of it is new");
    assert!(places(&mut ledger).is_empty());
    apply_all(&mut ledger, [chunk(0, &["one", "tw…"])]);
    assert_eq!(text(&mut ledger), BTreeMap::from([(0, "one".into())]), "a part is no line yet");
    apply_all(&mut ledger, [chunk(1, &["o", "three"])]);
    assert_eq!(text(&mut ledger), BTreeMap::from([(1, "two".into()), (2, "three".into())]));
    apply_all(&mut ledger, [state(StepState::Running, 1)]);
    assert_eq!(places(&mut ledger), [0]);
    apply_all(&mut ledger, [finished(WorkflowState::Failure)]);
    assert_eq!(places(&mut ledger), [0, 1], "the end closes what was open");
}

#[test]
fn an_attempt_ends_once() {
    use StepState::{Failure, Pending, Running, Success};
    for (reports, expected) in [
        (vec![state(Running, 1), state(Success, 1)], (Success, 1)),
        (vec![state(Running, 1), state(Failure, 1), state(Running, 1)], (Failure, 1)),
        (vec![state(Failure, 1), state(Running, 2)], (Running, 2)),
        (vec![state(Running, 2), state(Failure, 1)], (Running, 2)),
        (vec![], (Pending, 1)),
    ] {
        let mut ledger = ledger();
        apply_all(&mut ledger, reports.clone());
        let step = &ledger.steps()[0];
        assert_eq!((step.state, step.attempt.0), expected, "{reports:?}");
    }
}

#[test]
fn nothing_is_successful_that_nobody_saw_end() {
    let service = StepSpec { kind: StepKind::Service, ..step("a") };
    for (spec, reports, workflow, expected) in [
        (step("a"), vec![state(StepState::Success, 1)], WorkflowState::Success, StepState::Success),
        (step("a"), vec![state(StepState::Running, 1)], WorkflowState::Failure, StepState::Failure),
        (step("a"), vec![], WorkflowState::Failure, StepState::Canceled),
        (service, vec![state(StepState::Running, 1)], WorkflowState::Success, StepState::Killed),
    ] {
        let mut ledger = ledger_of(vec![spec]);
        apply_all(&mut ledger, reports.clone());
        apply_all(&mut ledger, [finished(WorkflowState::Success)]);
        let end = ledger.finished().expect("it is over");
        assert_eq!((end.state, ledger.steps()[0].state), (workflow, expected), "{reports:?}: {end:?}");
    }
}

#[test]
fn nothing_follows_the_end() {
    let mut ledger = ledger();
    apply_all(&mut ledger, [state(StepState::Success, 1), finished(WorkflowState::Success)]);
    apply_all(&mut ledger, [chunk(0, &["late"]), finished(WorkflowState::Failure)]);
    assert_eq!(ledger.finished().map(|end| end.state), Some(WorkflowState::Success));
    assert_eq!(text(&mut ledger), BTreeMap::new());
}

#[test]
fn steps_are_found_by_id_and_by_name() {
    let ledger = ledger_of(vec![step("a"), StepSpec { name: "a".to_owned(), ..step("b") }]);
    assert_eq!(ledger.step("a").map(|step| step.id.as_str()), Some("a"), "an id comes first");
    assert_eq!(ledger.step("step a").map(|step| step.id.as_str()), Some("a"));
    assert!(ledger.step("c").is_none());
}

#[test]
fn a_step_knows_its_stage_and_what_it_waits_for() {
    let service = StepSpec { kind: StepKind::Service, ..step("db") };
    let picky = StepSpec { needs: Some(vec!["step b".to_owned()]), ..step("d") };
    let stages = [vec![step("a"), service], vec![step("b")], vec![step("c"), picky]];
    let stages = stages.map(|steps| StageSpec { steps }).to_vec();
    let ledger = Ledger::new(&WorkloadSpec { stages, ..WorkloadSpec::default() }, 1000);
    let seen = ledger.steps().iter().map(|step| (step.id.as_str(), step.stage, step.kind, step.needs.is_some()));
    assert_eq!(
        seen.collect::<Vec<_>>(),
        [
            ("a", 0, StepKind::Commands, false),
            ("db", 0, StepKind::Service, false),
            ("b", 1, StepKind::Commands, false),
            ("c", 2, StepKind::Commands, false),
            ("d", 2, StepKind::Commands, true),
        ]
    );
}

#[test]
fn another_round_begins_where_something_was_known_of_the_last() {
    let spec = WorkloadSpec { stages: vec![StageSpec { steps: vec![step("a")] }], ..WorkloadSpec::default() };
    for (report, round) in [
        (Report::Accepted, 1),
        (state(StepState::Running, 1), 2),
        (state(StepState::Pending, 2), 2),
        (chunk(0, &["x"]), 2),
    ] {
        let mut ledger = ledger();
        ledger.begin(Epoch(2));
        ledger.apply(Epoch(2), Sequence(1), report, ROOM);
        ledger.start_anew(&spec, 1000);
        assert_eq!((ledger.round(), ledger.stored()), (round, Sequence(0)));
        assert_eq!(Ledger::restored(ledger.state(), Vec::new()).round(), round);
    }
}
