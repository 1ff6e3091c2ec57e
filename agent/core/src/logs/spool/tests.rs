use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use proptest::prelude::*;

use super::segment::{Place, Segment};
use super::{BLOCK_OVERHEAD, Batch, BlockId, Bounds, Chunk, Hunger, LINE_OVERHEAD, Piece, Spool, Stored, Why};
use crate::report::{LogLine, LogTotal};

const BATCH: Batch = Batch { bytes: 10, lines: 4, period: Duration::from_secs(1) };
const MIB: usize = 1024 * 1024;
/// One block for all of it.
const BOUNDS: Bounds = Bounds { memory: 64 * MIB, disk: 0, block: MIB, largest: MIB };
/// A block for every two lines of six bytes.
const BLOCKS: Bounds = Bounds { memory: MIB, disk: MIB as u64, block: 20, largest: 100 };

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

/// Adds a line where there is room for all.
fn push(spool: &mut Spool, number: u64, text: &str, now: Instant) {
    assert!(spool.push(&line(number, text), now, MIB, Why::Memory));
}

/// Adds a line where there is no room.
fn lose(spool: &mut Spool, number: u64, text: &str, now: Instant) {
    assert!(!spool.push(&line(number, text), now, 0, Why::Memory));
}

/// Memory for lines that wait, in bytes.
fn memory(spool: &Spool) -> usize {
    spool.kept() + spool.ahead()
}

/// All that leaves now.
fn leaving(spool: &mut Spool, now: Instant) -> Vec<String> {
    std::iter::from_fn(|| spool.take(now)).map(|chunk| shown(&chunk)).collect()
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
fn what_is_counted_is_what_it_costs() {
    // An entry with the slack of a queue that doubles, and what an allocator takes for the bytes.
    assert!(size_of::<Segment>() * 2 <= BLOCK_OVERHEAD, "{}", size_of::<Segment>());
    // A piece's entry, a reference count of its own, and what an allocator takes for each.
    assert!(size_of::<Piece>() * 2 + size_of::<usize>() * 5 <= LINE_OVERHEAD);
}

#[test]
fn many_lines_cost_little_more_than_their_bytes() {
    let begin = begin();
    let mut spool = Spool::new(BATCH, BOUNDS);
    for number in 0..1000 {
        push(&mut spool, number, &"x".repeat(80), begin);
    }
    assert!(spool.kept() < 2 * 1000 * 84 + BLOCK_OVERHEAD, "{}", spool.kept());
    // The first line of another block ends the slack.
    let mut spool = Spool::new(BATCH, Bounds { block: 42_000, ..BOUNDS });
    for number in 0..1001 {
        push(&mut spool, number, &"x".repeat(80), begin);
    }
    assert!(spool.kept() < 1001 * 84 + 3 * BLOCK_OVERHEAD + 1000, "{}", spool.kept());
}

#[test]
fn a_chunk_leaves_a_period_after_its_first_line_whatever_comes_later() {
    let begin = begin();
    let mut spool = Spool::new(BATCH, BOUNDS);
    assert_eq!(spool.due(), None);
    push(&mut spool, 0, "a", begin);
    push(&mut spool, 1, "b", after(begin, 900));
    assert_eq!(spool.due(), Some(after(begin, 1000)));
    assert_eq!(spool.take(after(begin, 999)), None);
    assert_eq!(spool.take(after(begin, 1000)).as_ref().map(shown).as_deref(), Some("0:a|b|"));
    assert!(spool.is_empty() && memory(&spool) == 0);
}

#[test]
fn a_full_chunk_leaves_at_once_and_the_rest_waits_for_its_own_period() {
    let begin = begin();
    let mut spool = Spool::new(BATCH, BOUNDS);
    for (number, text) in [(0, "aaaa"), (1, "bbbb"), (2, "cccc")] {
        push(&mut spool, number, text, after(begin, number * 100));
    }
    let now = after(begin, 200);
    assert!(spool.due() <= Some(now));
    assert_eq!(spool.take(now).as_ref().map(shown).as_deref(), Some("0:aaaa|bbbb|"));
    assert_eq!(spool.due(), Some(after(begin, 1200)));
    assert_eq!(spool.take(now), None);

    // Lines without bytes fill a chunk too.
    let mut spool = Spool::new(BATCH, BOUNDS);
    for number in 0..5 {
        push(&mut spool, number, "", begin);
    }
    assert_eq!(spool.take(begin).as_ref().map(shown).as_deref(), Some("0:||||"));
    assert_eq!(spool.take(begin), None);
}

#[test]
fn a_line_that_fits_into_no_chunk_goes_in_parts() {
    let begin = begin();
    let mut spool = Spool::new(BATCH, BOUNDS);
    for (number, text) in [(7, "short"), (8, "0123456789abcdefghijKLM"), (9, "tail")] {
        push(&mut spool, number, text, begin);
    }
    spool.end(LogTotal { lines: 10, bytes: 32 }, begin);
    assert_eq!(leaving(&mut spool, begin), ["7:short|", "8:0123456789…", "8:abcdefghij…", "8:KLM|tail|."]);
    assert!(spool.is_over() && memory(&spool) == 0);
}

#[test]
fn the_end_leaves_at_once_and_once() {
    let begin = begin();
    let total = LogTotal { lines: 3, bytes: 0 };
    let mut spool = Spool::new(BATCH, BOUNDS);
    spool.end(total, begin);
    assert!(!spool.is_over());
    let chunk = spool.take(begin).expect("an end is due at once");
    assert_eq!((chunk.first_line, chunk.lines.len(), chunk.end), (3, 0, Some(total)));
    spool.end(total, begin);
    assert!(!spool.push(&line(3, "too late"), begin, MIB, Why::Memory));
    assert!(spool.is_over() && spool.due().is_none() && spool.take(after(begin, 5000)).is_none());
}

#[test]
fn lost_lines_are_announced_in_their_place() {
    let begin = begin();
    let batch = Batch { bytes: 1000, lines: 100, ..BATCH };
    // No block has room for a second line.
    let mut spool = Spool::new(batch, Bounds { block: 1, ..BOUNDS });
    push(&mut spool, 0, "one", begin);
    let before = spool.kept();
    lose(&mut spool, 1, "two", begin);
    lose(&mut spool, 2, "three", begin);
    assert_eq!(spool.kept(), before + BLOCK_OVERHEAD, "a loss is not free");
    push(&mut spool, 3, "four", begin);
    lose(&mut spool, 4, "x", begin);
    spool.end(LogTotal { lines: 5, bytes: 16 }, begin);
    let why = "the server took them too slowly and the memory for logs (64 MiB) was full.";
    assert_eq!(
        leaving(&mut spool, begin),
        [
            format!("0:one|[piculet] 2 lines (8 bytes) of this log were lost here: {why}|"),
            format!("3:four|[piculet] 1 line (1 byte) of this log was lost here: {why}|."),
        ]
    );
    assert_eq!(memory(&spool), 0);
}

#[test]
fn a_loss_names_what_was_full() {
    let begin = begin();
    let bounds = Bounds { disk: 3 << 20, ..BOUNDS };
    for (why, words) in [
        (Why::MemoryAndDisk, "both the memory (64 MiB) and the disk (3 MiB) for logs were full."),
        (Why::DiskFails, "the memory for logs (64 MiB) was full, and the disk for logs could not be written."),
        (Why::DiskIsSlow, "the memory for logs (64 MiB) was full, and the disk for logs was too slow."),
    ] {
        let mut spool = Spool::new(Batch { bytes: 1000, ..BATCH }, bounds);
        assert!(!spool.push(&line(0, "x"), begin, 0, why));
        spool.abandon(begin);
        let said = leaving(&mut spool, begin).concat();
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn after_a_loss_some_room_is_needed_not_just_a_line_of_it() {
    let begin = begin();
    let mut spool = Spool::new(BATCH, BOUNDS);
    push(&mut spool, 0, &"x".repeat(8000), begin);
    lose(&mut spool, 1, "a", begin);
    let mut keeps = |number, room| spool.push(&line(number, "a"), begin, room, Why::Memory);
    assert!(!keeps(2, 1000), "room for the line, and for less than an eighth of what waits");
    assert!(keeps(3, 1100));
    assert!(keeps(4, 1000), "the hole is over");
}

#[test]
fn what_was_announced_is_not_counted_again() {
    let begin = begin();
    let mut spool = Spool::new(Batch { bytes: 1000, ..BATCH }, Bounds { memory: 1000, ..BOUNDS });
    lose(&mut spool, 0, "a", begin);
    let first = spool.take(after(begin, 1000)).expect("a loss is due as a line is");
    lose(&mut spool, 1, "b", begin);
    let second = spool.take(after(begin, 1000)).expect("another loss");
    for (number, chunk) in [(0, first), (1, second)] {
        assert_eq!(chunk.first_line, number);
        assert!(chunk.lines[0].bytes.starts_with(b"[piculet] 1 line (1 byte) of this log was lost here"));
        assert!(chunk.lines[0].bytes.ends_with(b"(1000 bytes) was full."));
    }
}

/// Four blocks of two lines and one that gets more; a chunk holds a block.
fn blocks(now: Instant) -> Spool {
    let mut spool = Spool::new(Batch { bytes: 14, ..BATCH }, BLOCKS);
    for number in 0..9 {
        push(&mut spool, number, &format!("line {number}"), now);
    }
    spool
}

#[test]
fn the_middle_goes_to_the_disk_and_comes_back_in_time() {
    let begin = begin();
    let mut spool = blocks(begin);
    let before = spool.kept();
    let stored = [1, 2, 3].map(|id| spool.store(BlockId(id)).expect("a block"));
    assert_eq!(stored.clone().map(|block| block.last_line), [7, 5, 3], "the last first, but not the one that grows");
    let bytes: usize = stored.iter().map(|block| block.length).sum();
    assert_eq!((spool.kept(), spool.stored()), (before - bytes, bytes as u64));
    assert!(stored.iter().all(|block| spool.written(block.id, block.last_line, true)));

    assert_eq!(spool.wants().map(|(hunger, ..)| hunger), Some(Hunger::Soon), "there is one more before it");
    let next = spool.fetch().expect("the next one");
    assert_eq!((next.id, spool.wants(), spool.early()), (BlockId(3), None, next.length));
    assert_eq!(leaving(&mut spool, begin), ["0:line 0|line 1|"]);
    assert_eq!(spool.early(), 0, "it is the first now");
    assert_eq!(spool.due(), None, "nothing to do before it is there");
    assert_eq!(spool.fetched(next.id, next.last_line, Some(stored[2].bytes.clone()), begin), 0);
    assert_eq!((spool.ahead(), spool.due()), (next.length, Some(begin)));
    assert_eq!(leaving(&mut spool, begin), ["2:line 2|line 3|"]);
    assert_eq!(spool.wants().map(|(hunger, ..)| hunger), Some(Hunger::Starving));
    for bytes in [&stored[1].bytes, &stored[0].bytes] {
        let next = spool.fetch().expect("the next one");
        spool.fetched(next.id, next.last_line, Some(bytes.clone()), begin);
    }
    spool.abandon(begin);
    assert_eq!(leaving(&mut spool, begin), ["4:line 4|line 5|", "6:line 6|line 7|", "8:line 8|."]);
    assert_eq!((memory(&spool), spool.stored()), (0, 0));
}

#[test]
fn what_leaves_while_it_is_written_is_not_needed_on_the_disk() {
    let begin = begin();
    let mut spool = blocks(begin);
    let stored = [1, 2, 3, 4].map(|id| spool.store(BlockId(id)).expect("a block"));
    assert_eq!(spool.store(BlockId(5)), None);
    assert_eq!(leaving(&mut spool, begin).len(), 4, "from memory, where it still is");
    assert!(stored.iter().all(|block| !spool.written(block.id, block.last_line, true)));
    assert_eq!(spool.stored(), 0);
}

#[test]
fn what_could_not_be_written_stays_in_memory() {
    let begin = begin();
    let mut spool = blocks(begin);
    let before = (spool.kept(), spool.movable());
    let block = spool.store(BlockId(1)).expect("a block");
    assert!(!spool.written(block.id, block.last_line, false));
    assert_eq!((spool.kept(), spool.movable(), spool.stored()), (before.0, before.1, 0));
    assert_eq!(leaving(&mut spool, begin).len(), 4);
}

#[test]
fn what_does_not_come_back_is_lost_and_said() {
    let begin = begin();
    for wrong in [None, Some(Vec::new()), Some(vec![0; 18]), Some(vec![0xFF; 18])] {
        let mut spool = blocks(begin);
        let block = (1..=3).filter_map(|id| spool.store(BlockId(id))).last().expect("a block");
        spool.written(block.id, block.last_line, true);
        let next = spool.fetch().expect("it is wanted");
        assert_eq!((next.length, spool.fetched(next.id, next.last_line, wrong.map(Into::into), begin)), (18, 2));
        let said = leaving(&mut spool, begin).concat();
        let loss = "[piculet] 2 lines (12 bytes) of this log were lost here: they were on the agent's disk and could not be read back.";
        let (text, rest) = said.split_once("4:").expect("what follows is there");
        let parts: String = text.split(['…', '|']).map(|part| part.trim_start_matches("2:")).collect();
        assert_eq!((parts, rest), (format!("0:line 0line 1{loss}"), "line 4|line 5|6:line 6|line 7|"));
    }
}

#[test]
fn a_block_of_one_huge_line_stays_in_memory() {
    let begin = begin();
    let mut spool = Spool::new(BATCH, BLOCKS);
    for number in 0..3 {
        push(&mut spool, number, &"x".repeat(200), begin);
    }
    assert_eq!((spool.movable(), spool.store(BlockId(1))), (0, None));
}

/// What happens to a spool.
#[derive(Debug, Clone)]
enum Event {
    /// A line of so many bytes comes, and there is so much room.
    Push(usize, usize),
    Wait(u64),
    Take,
    Store,
    Fetch,
    /// One of those that are on the way is done, or fails.
    Done(usize, bool),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let room = prop_oneof![2 => Just(MIB), 1 => 0usize..1200];
    let event = prop_oneof![
        6 => (0usize..60, room).prop_map(|(length, room)| Event::Push(length, room)),
        2 => (0u64..400).prop_map(Event::Wait),
        2 => Just(Event::Take),
        3 => Just(Event::Store),
        3 => Just(Event::Fetch),
        4 => (0usize..8, prop::bool::weighted(0.8)).prop_map(|(index, success)| Event::Done(index, success)),
    ];
    prop::collection::vec(event, 0..150)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]
    /// Whatever is pushed, taken, stored and fetched when: each line arrives once and whole, or is counted in one
    /// announced loss.
    #[test]
    fn nothing_is_lost_silently_and_nothing_doubled(
        batch_bytes in 1usize..200, batch_lines in 1usize..6, block in 1usize..150, events in events(),
    ) {
        let batch = Batch { bytes: batch_bytes, lines: batch_lines, period: Duration::from_secs(1) };
        let mut spool = Spool::new(batch, Bounds { block, ..BLOCKS });
        let mut now = begin();
        let (mut pushed, mut chunks) = (Vec::new(), Vec::new());
        let mut disk = BTreeMap::new();
        let mut jobs: Vec<(bool, Stored)> = Vec::new();
        let mut last_id = 0;
        for event in events {
            match event {
                Event::Push(length, room) => {
                    let text = format!("{} {}", pushed.len(), "x".repeat(length));
                    let before = spool.kept();
                    let kept = spool.push(&line(pushed.len() as u64, &text), now, room, Why::Memory);
                    prop_assert!(!kept || spool.kept() <= before + room);
                    pushed.push((text, kept));
                }
                Event::Wait(millis) => now += Duration::from_millis(millis),
                Event::Take => {
                    let due = spool.due();
                    let chunk = spool.take(now);
                    prop_assert_eq!(chunk.is_some(), due.is_some_and(|due| due <= now));
                    chunks.extend(chunk);
                }
                Event::Store => {
                    last_id += 1;
                    let length = spool.next_store();
                    let block = spool.store(BlockId(last_id));
                    prop_assert_eq!(block.as_ref().map(|block| block.length), length);
                    jobs.extend(block.map(|block| (true, block)));
                }
                Event::Fetch => {
                    let length = spool.wants().map(|(.., length)| length);
                    let block = spool.fetch();
                    prop_assert_eq!(block.as_ref().map(|block| block.length), length);
                    jobs.extend(block.map(|block| (false, block)));
                }
                Event::Done(index, success) => {
                    if !jobs.is_empty() {
                        let (is_write, block) = jobs.remove(index % jobs.len());
                        done(&mut spool, &mut disk, &mut pushed, is_write, &block, success, now);
                    }
                }
            }
            check(&spool);
        }
        let bytes = pushed.iter().map(|(text, _)| text.len() as u64).sum();
        let total = LogTotal { lines: pushed.len() as u64, bytes };
        spool.end(total, now);
        loop {
            chunks.extend(std::iter::from_fn(|| spool.take(now)));
            for (is_write, block) in jobs.drain(..) {
                done(&mut spool, &mut disk, &mut pushed, is_write, &block, true, now);
            }
            jobs.extend(spool.fetch().map(|block| (false, block)));
            if jobs.is_empty() && spool.due().is_none() {
                break;
            }
        }
        prop_assert!(spool.is_over() && memory(&spool) == 0 && spool.data == 0 && spool.lines == 0);
        prop_assert!(spool.stored() == 0 && spool.movable() == 0);
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

/// What a disk does, and what a spool makes of it.
fn done(
    spool: &mut Spool,
    disk: &mut BTreeMap<BlockId, bytes::Bytes>,
    pushed: &mut [(String, bool)],
    is_write: bool,
    block: &Stored,
    success: bool,
    now: Instant,
) {
    if is_write {
        let needed = spool.written(block.id, block.last_line, success);
        assert!(success || !needed);
        if needed {
            disk.insert(block.id, block.bytes.clone());
        }
        return;
    }
    let bytes = disk.remove(&block.id).filter(|_| success);
    let lost = usize::try_from(spool.fetched(block.id, block.last_line, bytes, now)).expect("a few");
    assert_eq!(lost == 0, success);
    let end = usize::try_from(block.last_line).expect("a few") + 1;
    pushed[end - lost..end].iter_mut().for_each(|(_, kept)| *kept = false);
}

/// The sums are those of the parts.
fn check(spool: &Spool) {
    let (mut kept, mut ahead, mut movable, mut stored) = (0, 0, 0, 0);
    for segment in &spool.segments {
        kept += BLOCK_OVERHEAD;
        match segment {
            Segment::Block(block) => {
                let (more_kept, more_ahead) = block.place.memory();
                (kept, ahead) = (kept + more_kept, ahead + more_ahead);
                match &block.place {
                    Place::Sealed(bytes) => movable += bytes.len(),
                    Place::Writing(_, bytes) => stored += bytes.len(),
                    Place::Stored(_, length) | Place::Fetching(_, length) => stored += length,
                    Place::Open { .. } | Place::Pinned(_) | Place::Ahead(_) => {}
                }
            }
            Segment::Announced { line, .. } => kept += line.bytes.len(),
            Segment::Lost(_) => {}
        }
    }
    assert_eq!((spool.kept(), spool.ahead(), spool.movable(), spool.stored()), (kept, ahead, movable, stored as u64));
}
