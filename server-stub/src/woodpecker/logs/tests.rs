use piculet_proto::woodpecker as pb;

use super::{CHUNK, Logs, groups};

fn entries(step: &str, lines: impl IntoIterator<Item = i32>) -> Vec<pb::LogEntry> {
    let entry = |line: i32| pb::LogEntry {
        step_uuid: step.to_owned(),
        line,
        data: line.to_string().into_bytes().into(),
        ..pb::LogEntry::default()
    };
    lines.into_iter().map(entry).collect()
}

fn numbers(logs: &Logs, step: &str) -> Vec<i32> {
    logs.lines(step).into_iter().map(|line| line.line).collect()
}

#[test]
fn lines_are_read_by_their_numbers() {
    let mut logs = Logs::default();
    assert_eq!(logs.append("A", &entries("A", [4, 2])), 2);
    assert_eq!(logs.append("A", &entries("A", [3, 0])), 2);
    assert_eq!(logs.append("B", &entries("B", [2])), 1);
    assert_eq!((numbers(&logs, "A"), numbers(&logs, "B")), (vec![0, 2, 3, 4], vec![2]));
    assert!(numbers(&logs, "C").is_empty());
}

#[test]
fn a_chunk_with_a_known_line_is_dropped_whole() {
    // As the real server was seen to do.
    let mut logs = Logs::default();
    logs.append("A", &entries("A", 0..10));
    assert_eq!(logs.append("A", &entries("A", 8..12)), 0);
    assert_eq!(numbers(&logs, "A"), Vec::from_iter(0..10));
    for line in 8..12 {
        logs.append("A", &entries("A", [line]));
    }
    assert_eq!(numbers(&logs, "A"), Vec::from_iter(0..12));
    assert_eq!(logs.append("A", &entries("A", [20, 20])), 0);
}

#[test]
fn chunks_before_a_bad_one_are_kept() {
    let mut logs = Logs::default();
    let chunk = i32::try_from(CHUNK).expect("it is small");
    logs.append("A", &entries("A", [chunk + 5]));
    assert_eq!(logs.append("A", &entries("A", 0..3 * chunk)), CHUNK);
    assert_eq!(numbers(&logs, "A").len(), CHUNK + 1);
}

#[test]
fn entries_are_grouped_by_steps_that_follow_each_other() {
    let all = [entries("A", [0, 1]), entries("B", [0]), entries("A", [2])].concat();
    let groups: Vec<_> = groups(&all).map(|group| (group[0].step_uuid.as_str(), group.len())).collect();
    assert_eq!(groups, [("A", 2), ("B", 1), ("A", 1)]);
}
