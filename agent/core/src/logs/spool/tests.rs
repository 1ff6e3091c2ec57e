use std::time::{Duration, Instant};

use jiff::Timestamp;
use proptest::prelude::*;

use super::{Batch, Chunk, LINE_OVERHEAD, Spool, Waiting};
use crate::report::{LogLine, LogTotal};

const BATCH: Batch = Batch { bytes: 10, lines: 4, period: Duration::from_secs(1) };
const MIB: usize = 1024 * 1024;

fn line(number: u64, text: &str) -> LogLine {
    LogLine { number, time: Timestamp::UNIX_EPOCH, bytes: text.to_owned().into() }
}

#[expect(clippy::disallowed_methods, reason = "any instant will do as the beginning")]
fn begin() -> Instant {
    Instant::now()
}

fn after(begin: Instant, millis: u64) -> Instant {
    begin + Duration::from_millis(millis)
}

/// A chunk as `first line: text|text…|`, where `…` is a piece that continues, and `.` the end.
fn shown(chunk: &Chunk) -> String {
    let mut text = format!("{}:", chunk.first_line);
    for piece in &chunk.lines {
        text.push_str(&String::from_utf8_lossy(&piece.bytes));
        text.push(if piece.continues { '…' } else { '|' });
    }
    if chunk.end.is_some() {
        text.push('.');
    }
    text
}

#[test]
fn a_line_costs_what_is_counted_for_it() {
    // An entry with the mean slack of a queue that doubles, a reference count, and what an allocator takes for each.
    let (entry, count, allocator) = (size_of::<Waiting>() * 3 / 2, size_of::<usize>() * 3, size_of::<usize>());
    assert!(entry + count + 2 * allocator <= LINE_OVERHEAD);
}

#[test]
fn a_chunk_leaves_a_period_after_its_first_line_whatever_comes_later() {
    let begin = begin();
    let mut spool = Spool::new(BATCH, MIB);
    assert_eq!(spool.due(), None);
    spool.push(line(0, "a"), begin, MIB);
    spool.push(line(1, "b"), after(begin, 900), MIB);
    assert_eq!(spool.due(), Some(after(begin, 1000)));
    assert_eq!(spool.take(after(begin, 999)), None);
    assert_eq!(spool.take(after(begin, 1000)).as_ref().map(shown).as_deref(), Some("0:a|b|"));
    assert!(spool.is_empty() && spool.bytes() == 0);
}

#[test]
fn a_full_chunk_leaves_at_once_and_the_rest_waits_for_its_own_period() {
    let begin = begin();
    let mut spool = Spool::new(BATCH, MIB);
    for (number, text) in [(0, "aaaa"), (1, "bbbb"), (2, "cccc")] {
        spool.push(line(number, text), after(begin, number * 100), MIB);
    }
    let now = after(begin, 200);
    assert!(spool.due() <= Some(now));
    assert_eq!(spool.take(now).as_ref().map(shown).as_deref(), Some("0:aaaa|bbbb|"));
    assert_eq!(spool.due(), Some(after(begin, 1200)));
    assert_eq!(spool.take(now), None);

    // Lines without bytes fill a chunk too.
    let mut spool = Spool::new(BATCH, MIB);
    for number in 0..5 {
        spool.push(line(number, ""), begin, MIB);
    }
    assert_eq!(spool.take(begin).as_ref().map(shown).as_deref(), Some("0:||||"));
    assert_eq!(spool.take(begin), None);
}

#[test]
fn a_line_that_fits_into_no_chunk_goes_in_parts() {
    let begin = begin();
    let mut spool = Spool::new(BATCH, MIB);
    for (number, text) in [(7, "short"), (8, "0123456789abcdefghijKLM"), (9, "tail")] {
        spool.push(line(number, text), begin, MIB);
    }
    spool.end(LogTotal { lines: 10, bytes: 32 }, begin);
    let chunks: Vec<_> = std::iter::from_fn(|| spool.take(begin)).map(|chunk| shown(&chunk)).collect();
    assert_eq!(chunks, ["7:short|", "8:0123456789…", "8:abcdefghij…", "8:KLM|tail|."]);
    assert!(spool.is_over() && spool.bytes() == 0);
}

#[test]
fn the_end_leaves_at_once_and_once() {
    let begin = begin();
    let total = LogTotal { lines: 3, bytes: 0 };
    let mut spool = Spool::new(BATCH, MIB);
    spool.end(total, begin);
    assert!(!spool.is_over());
    let chunk = spool.take(begin).expect("an end is due at once");
    assert_eq!((chunk.first_line, chunk.lines.len(), chunk.end), (3, 0, Some(total)));
    spool.end(total, begin);
    assert!(!spool.push(line(3, "too late"), begin, MIB));
    assert!(spool.is_over() && spool.due().is_none() && spool.take(after(begin, 5000)).is_none());
}

#[test]
fn lost_lines_are_announced_in_their_place() {
    let begin = begin();
    let batch = Batch { bytes: 1000, lines: 100, ..BATCH };
    let mut spool = Spool::new(batch, 64 * MIB);
    let one = LINE_OVERHEAD + 3;
    assert!(spool.push(line(0, "one"), begin, one));
    assert!(!spool.push(line(1, "two"), begin, one - 1));
    assert!(!spool.push(line(2, "three"), begin, 0));
    assert_eq!(spool.bytes(), one + LINE_OVERHEAD, "a loss is not free");
    assert!(spool.push(line(3, "four"), begin, MIB));
    assert!(!spool.push(line(4, "x"), begin, 0));
    spool.end(LogTotal { lines: 5, bytes: 16 }, begin);
    let chunks: Vec<_> = std::iter::from_fn(|| spool.take(begin)).map(|chunk| shown(&chunk)).collect();
    let why = "the server took them too slowly and the memory for logs (64 MiB) was full.";
    assert_eq!(
        chunks,
        [
            format!("0:one|[piculet] 2 lines (8 bytes) of this log were lost here: {why}|"),
            format!("3:four|[piculet] 1 line (1 byte) of this log was lost here: {why}|."),
        ]
    );
    assert_eq!(spool.bytes(), 0);
}

#[test]
fn after_a_loss_some_room_is_needed_not_just_a_line_of_it() {
    let begin = begin();
    let mut spool = Spool::new(BATCH, MIB);
    let text = "x".repeat(4000);
    assert!(spool.push(line(0, &text), begin, MIB));
    assert!(!spool.push(line(1, "a"), begin, 0));
    assert!(!spool.push(line(2, "a"), begin, 500), "room for the line, and for less than an eighth of what waits");
    assert!(spool.push(line(3, "a"), begin, 600));
    assert!(spool.push(line(4, "a"), begin, 500), "the hole is over");
}

#[test]
fn what_was_announced_is_not_counted_again() {
    let begin = begin();
    let mut spool = Spool::new(Batch { bytes: 1000, ..BATCH }, 1000);
    assert!(!spool.push(line(0, "a"), begin, 0));
    let first = spool.take(after(begin, 1000)).expect("a loss is due as a line is");
    assert!(!spool.push(line(1, "b"), begin, 0));
    let second = spool.take(after(begin, 1000)).expect("another loss");
    for (number, chunk) in [(0, first), (1, second)] {
        assert_eq!(chunk.first_line, number);
        assert!(chunk.lines[0].bytes.starts_with(b"[piculet] 1 line (1 byte) of this log was lost here"));
        assert!(chunk.lines[0].bytes.ends_with(b"(1000 bytes) was full."));
    }
}

proptest! {
    /// Whatever is pushed and taken when: each line arrives once and whole, or is counted in one announced loss.
    #[test]
    fn nothing_is_lost_silently_and_nothing_doubled(
        batch_bytes in 1usize..200, batch_lines in 1usize..6,
        steps in prop::collection::vec(
            (0usize..60, prop_oneof![2 => Just(MIB), 1 => 0usize..400], 0u64..400, any::<bool>()),
            0..80,
        ),
    ) {
        let batch = Batch { bytes: batch_bytes, lines: batch_lines, period: Duration::from_secs(1) };
        let mut spool = Spool::new(batch, MIB);
        let mut now = begin();
        let (mut pushed, mut chunks) = (Vec::new(), Vec::new());
        for (length, room, millis, take) in steps {
            let text = "x".repeat(length);
            let before = spool.bytes();
            let kept = spool.push(line(pushed.len() as u64, &text), now, room);
            prop_assert!(!kept || spool.bytes() - before <= room);
            pushed.push((text.clone(), kept));
            now += Duration::from_millis(millis);
            if take {
                let due = spool.due();
                let chunk = spool.take(now);
                prop_assert_eq!(chunk.is_some(), due.is_some_and(|due| due <= now));
                chunks.extend(chunk);
            }
        }
        let bytes = pushed.iter().map(|(text, _)| text.len() as u64).sum();
        let total = LogTotal { lines: pushed.len() as u64, bytes };
        spool.end(total, now);
        chunks.extend(std::iter::from_fn(|| spool.take(now)));
        prop_assert!(spool.is_over() && spool.bytes() == 0 && spool.data == 0);
        prop_assert_eq!(chunks.iter().filter_map(|chunk| chunk.end).collect::<Vec<_>>(), vec![total]);
        prop_assert!(chunks.last().is_some_and(|chunk| chunk.end.is_some()));

        // What a server puts together.
        let mut lines: Vec<(u64, String)> = Vec::new();
        let mut unfinished = false;
        for chunk in chunks {
            prop_assert!(chunk.lines.iter().map(|piece| piece.bytes.len()).sum::<usize>() <= batch_bytes);
            prop_assert!(chunk.lines.len() <= batch_lines && chunk.cost() <= batch.max_cost());
            for (number, piece) in (chunk.first_line..).zip(chunk.lines) {
                let text = String::from_utf8(piece.bytes.to_vec()).expect("ASCII");
                match lines.last_mut() {
                    Some((last, beginning)) if unfinished => {
                        prop_assert_eq!(number, *last);
                        beginning.push_str(&text);
                    }
                    _ => lines.push((number, text)),
                }
                unfinished = piece.continues;
            }
        }
        prop_assert!(!unfinished);
        let mut next = 0;
        for (number, text) in lines {
            prop_assert_eq!(number, next as u64);
            if pushed[next].1 {
                prop_assert_eq!(&text, &pushed[next].0);
                next += 1;
            } else {
                let run = pushed[next..].iter().take_while(|(_, kept)| !kept).count();
                let words: Vec<&str> = text.split(' ').collect();
                let lost: usize = words[1].parse().expect("a count");
                prop_assert!(lost >= 1 && lost <= run, "{}", text);
                let bytes: usize = pushed[next..next + lost].iter().map(|(text, _)| text.len()).sum();
                prop_assert_eq!(words[3], format!("({bytes}"));
                next += lost;
            }
        }
        prop_assert_eq!(next, pushed.len());
    }
}
