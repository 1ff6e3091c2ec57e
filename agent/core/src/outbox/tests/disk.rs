//! What goes to the disk, what comes back when, and what happens if it can't.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{LIMITS, begin, key, line, step};
use crate::id::{RunKey, Sequence};
use crate::logs::spool::BlockId;
use crate::outbox::{Body, Done, Envelope, Job, Limits, Outbox, Usage};
use crate::report::{LogLine, LogTotal};

/// Memory for some blocks, each of them for three lines.
const MEMORY: Limits = Limits { spool_bytes: 100_000, chunk_bytes: 1000, unacknowledged_log_bytes: 5000, ..LIMITS };
/// A disk that is large enough for everything.
const LARGE: u64 = 1 << 20;

/// A disk that does what it is told at once.
#[derive(Default)]
struct Disk(BTreeMap<BlockId, Bytes>);

impl Disk {
    fn work(&mut self, outbox: &mut Outbox, now: Instant) {
        while let Some(job) = outbox.next_job(now) {
            outbox.done(self.done(job), now);
        }
    }

    fn done(&mut self, job: Job) -> Done {
        match job {
            Job::Write { id, bytes } => {
                assert_eq!(self.0.insert(id, bytes), None, "a name is used once");
                Done::Wrote { id, success: true }
            }
            Job::Fetch { id, length } => {
                let bytes = self.0[&id].clone();
                assert_eq!(bytes.len(), length);
                Done::Fetched { id, bytes }
            }
            Job::Remove { id } => {
                assert!(self.0.remove(&id).is_some());
                Done::Removed { id, success: true }
            }
        }
    }
}

fn outbox(disk: u64) -> (Outbox, RunKey, Instant) {
    let mut outbox = Outbox::new(MEMORY);
    outbox.set_disk(disk);
    outbox.open(key("1"));
    (outbox, key("1"), begin())
}

fn text(number: u64) -> LogLine {
    line(number, format!("line {number:990}"))
}

/// What the server has after everything left, with a disk at hand.
fn drain(outbox: &mut Outbox, disk: &mut Disk, now: Instant) -> Vec<(u64, Bytes)> {
    let mut lines: BTreeMap<_, Vec<u8>> = BTreeMap::new();
    while !outbox.flushed() {
        disk.work(outbox, now);
        let Some(Envelope { key, sequence, body }) = outbox.next(now) else { panic!("stuck: {:?}", outbox.usage()) };
        outbox.acknowledge(&key, sequence);
        let Body::Chunk { step, chunk } = body else { continue };
        for (number, piece) in (chunk.first_line..).zip(chunk.lines) {
            lines.entry((step.clone(), number)).or_default().extend_from_slice(&piece.bytes);
        }
    }
    disk.work(outbox, now);
    lines.into_iter().map(|((_, number), text)| (number, text.into())).collect()
}

#[test]
fn while_the_disk_has_room_nothing_is_lost() {
    let (mut outbox, key, now) = outbox(LARGE);
    let mut disk = Disk::default();
    for number in 0..200 {
        outbox.log(&key, &step("flood"), vec![text(number)], now);
        disk.work(&mut outbox, now);
        let usage = outbox.usage();
        assert!(usage.spooled <= MEMORY.spool_bytes, "{usage:?}");
        assert_eq!(usage.on_disk, disk.0.values().map(|bytes| bytes.len() as u64).sum::<u64>());
    }
    assert!(outbox.usage().on_disk > 100_000, "{:?}", outbox.usage());
    outbox.end_log(&key, &step("flood"), LogTotal { lines: 200, bytes: 0 }, now);
    let lines = drain(&mut outbox, &mut disk, now);
    assert!(lines.iter().zip(0..).all(|((number, line), i)| *number == i && *line == text(i).bytes));
    assert_eq!((lines.len(), disk.0.len(), outbox.usage()), (200, 0, Usage::default()));
}

#[test]
fn at_both_bounds_the_loss_begins_and_names_them() {
    let (mut outbox, key, now) = outbox(20_000);
    let mut disk = Disk::default();
    for number in 0..200 {
        outbox.log(&key, &step("flood"), vec![text(number)], now);
        disk.work(&mut outbox, now);
        assert!(outbox.usage().on_disk <= 20_000 && outbox.usage().spooled <= MEMORY.spool_bytes);
    }
    assert!(outbox.usage().on_disk > 12_000 && outbox.usage().lost_lines > 0);
    outbox.log(&key, &step("quiet"), vec![text(0)], now);
    outbox.end_logs(&key, now);
    let lost = outbox.usage().lost_lines;
    let lines = drain(&mut outbox, &mut disk, now);
    let losses: Vec<_> = lines.iter().filter(|(_, text)| text.starts_with(b"[piculet]")).collect();
    let why = "the server took them too slowly, and both the memory (100000 bytes) and the disk (20000 bytes) for logs were full.";
    assert_eq!(losses.len(), 1);
    let text = String::from_utf8_lossy(&losses[0].1).into_owned();
    assert!(text.starts_with(&format!("[piculet] {lost} lines")) && text.ends_with(why), "{text}");
    assert_eq!(lines.len() as u64 - 1 + lost, 201, "and the quiet step has its line");
}

#[test]
fn a_disk_that_fails_is_left_alone_for_a_minute() {
    let (mut outbox, key, mut now) = outbox(LARGE);
    let (mut number, mut failures) = (0, 0);
    for _ in 0..180 {
        now += Duration::from_secs(1);
        for _ in 0..5 {
            outbox.log(&key, &step("flood"), vec![text(number)], now);
            number += 1;
            while let Some(job) = outbox.next_job(now) {
                let Job::Write { id, .. } = job else { panic!("{job:?}") };
                failures += 1;
                outbox.done(Done::Wrote { id, success: false }, now);
            }
        }
    }
    assert_eq!((failures, outbox.usage().on_disk), (3, 0));
    outbox.end_logs(&key, now);
    let lost = outbox.usage().lost_lines;
    let lines = drain(&mut outbox, &mut Disk::default(), now);
    assert!(
        lost > 0 && lines.last().is_some_and(|(_, text)| text.ends_with(b"the disk for logs could not be written."))
    );
    assert_eq!(lines.len() as u64 - 1 + lost, number);
}

#[test]
fn a_closed_workflow_leaves_nothing_on_the_disk() {
    let (mut outbox, key, now) = outbox(LARGE);
    let mut disk = Disk::default();
    let mut jobs = Vec::new();
    for number in 0..200 {
        outbox.log(&key, &step("flood"), vec![text(number)], now);
        if number < 100 {
            disk.work(&mut outbox, now);
        } else {
            // Some are on the way when it is closed.
            jobs.extend(outbox.next_job(now));
        }
    }
    assert!(!disk.0.is_empty() && jobs.len() == 2);
    outbox.close(&key);
    for job in jobs {
        let Job::Write { id, bytes } = job else { panic!("{job:?}") };
        disk.0.insert(id, bytes);
        outbox.done(Done::Wrote { id, success: true }, now);
    }
    disk.work(&mut outbox, now);
    let lost_lines = outbox.usage().lost_lines;
    assert_eq!((disk.0.len(), outbox.usage()), (0, Usage { lost_lines, ..Usage::default() }));
}

#[test]
fn a_write_is_waited_for_when_memory_runs_short_but_not_for_long() {
    let (mut outbox, key, now) = outbox(LARGE);
    let mut number = 0;
    while outbox.usage().spooled < 50_000 {
        outbox.log(&key, &step("flood"), vec![text(number)], now);
        number += 1;
    }
    assert_eq!(outbox.busy_until(now), None, "nothing is on the way");
    let job = outbox.next_job(now);
    let Some(Job::Write { id, .. }) = job else { panic!("{job:?}") };
    let until = outbox.busy_until(now).expect("it is on the way");
    assert!(until > now && until < now + Duration::from_secs(1));
    assert_eq!(outbox.busy_until(until), None);
    outbox.done(Done::Wrote { id, success: true }, now);
    assert_eq!(outbox.busy_until(now), None);
}

#[test]
fn who_can_not_go_on_gets_its_block_first() {
    let (mut outbox, key, now) = outbox(LARGE);
    let mut disk = Disk::default();
    for number in 0..60 {
        for name in ["a", "b", "c"] {
            outbox.log(&key, &step(name), vec![text(number)], now);
            disk.work(&mut outbox, now);
        }
    }
    outbox.end_logs(&key, now);
    // Lines leave in turns, although only a few blocks have room at the same time.
    let mut sent: BTreeMap<String, usize> = ["a", "b", "c"].map(|name| (name.to_owned(), 0)).into();
    while !outbox.flushed() {
        disk.work(&mut outbox, now);
        let envelope = outbox.next(now).expect("not stuck");
        outbox.acknowledge(&key, envelope.sequence);
        let Body::Chunk { step, chunk } = envelope.body else { panic!("only logs") };
        *sent.get_mut(step.as_str()).expect("known") += chunk.lines.len();
        let (least, most) = (sent.values().min().expect("three"), sent.values().max().expect("three"));
        assert!(most - least < 40, "{sent:?}");
    }
    disk.work(&mut outbox, now);
    assert_eq!(outbox.acknowledge(&key, Sequence(0)), []);
    assert_eq!(outbox.usage(), Usage::default());
}

#[test]
fn what_came_early_leaves_room_for_what_is_before_it() {
    let (mut outbox, key, now) = outbox(LARGE);
    let mut disk = Disk::default();
    // The second line goes to the disk while the first is in memory; the first follows when it is all that can.
    let long = (0..).zip([25_000, 20_000, 1000]).map(|(number, length)| line(number, "x".repeat(length)));
    outbox.log(&key, &step("flood"), long.collect(), now);
    for number in 3..80 {
        disk.work(&mut outbox, now);
        outbox.log(&key, &step("flood"), vec![text(number)], now);
    }
    outbox.end_logs(&key, now);
    assert_eq!(drain(&mut outbox, &mut disk, now).len(), 80);
    assert_eq!(outbox.usage(), Usage::default());
}

#[test]
fn what_is_back_leaves_room_for_what_failed_before_it() {
    let (mut outbox, key, begin) = outbox(LARGE);
    let mut disk = Disk::default();
    // Begins all that it can, and then ends it.
    let mut work = |outbox: &mut Outbox, now, unreadable: usize| loop {
        let jobs: Vec<_> = std::iter::from_fn(|| outbox.next_job(now)).collect();
        if jobs.is_empty() {
            break;
        }
        for job in jobs {
            let done = match job {
                Job::Fetch { id, length } if length >= unreadable => Done::Unread { id, gone: false },
                job => disk.done(job),
            };
            outbox.done(done, now);
        }
    };
    let say = |outbox: &mut Outbox, name: &str, lengths: &[usize], now| {
        let lines = (0..).zip(lengths).map(|(number, length)| line(number, "x".repeat(*length)));
        outbox.log(&key, &step(name), lines.collect(), now);
    };
    // All of it goes to the disk, and each first block fails whenever it is tried at first.
    say(&mut outbox, "a", &[22_000, 11_000, 1], begin);
    work(&mut outbox, begin, 0);
    say(&mut outbox, "b", &[12_000, 11_000, 1], begin);
    work(&mut outbox, begin, 0);
    let later = |seconds| begin + Duration::from_secs(seconds);
    say(&mut outbox, "c", &[30_000], later(10));
    work(&mut outbox, later(10), 0);
    for seconds in [20, 30] {
        work(&mut outbox, later(seconds), 12_000);
    }
    outbox.end_logs(&key, begin);
    assert_eq!(drain(&mut outbox, &mut disk, later(50)).len(), 7);
    assert_eq!(outbox.usage(), Usage::default());
}

/// An outbox whose ended log of 200 lines is mostly on the disk, and the disk.
fn backlog() -> (Outbox, Disk, Instant) {
    let (mut outbox, key, now) = outbox(LARGE);
    let mut disk = Disk::default();
    for number in 0..200 {
        outbox.log(&key, &step("flood"), vec![text(number)], now);
        disk.work(&mut outbox, now);
    }
    outbox.end_logs(&key, now);
    (outbox, disk, now)
}

fn failed(id: BlockId) -> Done {
    Done::Unread { id, gone: false }
}

/// Lets every read end like this until nothing happens any more without time going by.
fn fail(outbox: &mut Outbox, unread: fn(BlockId) -> Done, now: Instant) {
    loop {
        while let Some(job) = outbox.next_job(now) {
            let done = match job {
                Job::Fetch { id, .. } => unread(id),
                Job::Remove { id } => Done::Removed { id, success: true },
                Job::Write { .. } => panic!("{job:?}"),
            };
            outbox.done(done, now);
        }
        let Some(envelope) = outbox.next(now) else { return };
        outbox.acknowledge(&envelope.key, envelope.sequence);
    }
}

#[test]
fn a_bad_moment_of_the_disk_costs_no_line() {
    let (mut outbox, mut disk, now) = backlog();
    fail(&mut outbox, failed, now);
    assert!(!outbox.flushed() && outbox.next_job(now).is_none());
    let later = outbox.next_job_due(now).expect("it is tried again");
    assert!(later > now && later <= now + Duration::from_secs(60));
    fail(&mut outbox, failed, later);
    let later = outbox.next_job_due(later).expect("and again");
    drain(&mut outbox, &mut disk, later);
    assert_eq!((outbox.usage(), disk.0.len()), (Usage::default(), 0));
}

#[test]
fn a_block_that_can_not_be_read_is_lost_alone() {
    let (mut outbox, mut disk, mut now) = backlog();
    let (mut bad, mut tries) = (None, 0);
    while !outbox.flushed() {
        while let Some(job) = outbox.next_job(now) {
            if let Job::Fetch { id, .. } = job
                && *bad.get_or_insert(id) == id
            {
                tries += 1;
                outbox.done(Done::Unread { id, gone: false }, now);
            } else {
                outbox.done(disk.done(job), now);
            }
        }
        match outbox.next(now) {
            Some(envelope) => _ = outbox.acknowledge(&envelope.key, envelope.sequence),
            None => now = outbox.next_job_due(now).expect("not stuck"),
        }
    }
    disk.work(&mut outbox, now);
    assert_eq!((tries, outbox.usage().on_disk, disk.0.len()), (3, 0, 0));
    assert!((1..=4).contains(&outbox.usage().lost_lines), "{:?}", outbox.usage());
}

#[test]
fn a_block_that_is_not_tried_is_not_lost_while_others_are_read() {
    let (mut outbox, mut disk, mut now) = backlog();
    let before = outbox.usage().lost_lines;
    let (mut untried, mut times) = (None, 0);
    while !outbox.flushed() {
        while let Some(job) = outbox.next_job(now) {
            match job {
                Job::Fetch { id, .. } if times < 10 && *untried.get_or_insert(id) == id => {
                    times += 1;
                    outbox.done(Done::Untried { id }, now);
                }
                job => outbox.done(disk.done(job), now),
            }
        }
        match outbox.next(now) {
            Some(envelope) => _ = outbox.acknowledge(&envelope.key, envelope.sequence),
            None => now = outbox.next_job_due(now).expect("not stuck"),
        }
    }
    assert_eq!((times, outbox.usage().lost_lines), (10, before));
}

#[test]
fn a_log_on_a_dead_disk_ends_and_says_what_is_lost() {
    for unread in [failed, |id| Done::Untried { id }] {
        let (mut outbox, _, begin) = backlog();
        let mut now = begin;
        let before = outbox.usage().lost_lines;
        loop {
            fail(&mut outbox, unread, now);
            if outbox.flushed() {
                break;
            }
            now = outbox.next_job_due(now).expect("not stuck");
        }
        let took = now - begin;
        assert!(took >= Duration::from_secs(60) && took <= Duration::from_secs(900), "{took:?}");
        assert!(outbox.usage().lost_lines > before + 100);
        assert_eq!((outbox.usage().on_disk, outbox.usage().spooled), (0, 0));
    }
}

#[test]
fn a_block_that_was_not_removed_counts_until_it_is_and_holds_up_no_other() {
    let (mut outbox, mut disk, now) = backlog();
    outbox.close(&key("1"));
    let used = outbox.usage().on_disk;
    let Some(Job::Remove { id }) = outbox.next_job(now) else { panic!("nobody needs them") };
    outbox.done(Done::Removed { id, success: false }, now);
    assert_eq!(outbox.usage().on_disk, used);
    disk.work(&mut outbox, now);
    assert_eq!(disk.0.keys().collect::<Vec<_>>(), [&id]);
    assert_eq!(outbox.usage().on_disk, disk.0[&id].len() as u64);
    let later = outbox.next_job_due(now).expect("it is tried again");
    assert!(later > now);
    disk.work(&mut outbox, later);
    assert_eq!((outbox.usage().on_disk, disk.0.len()), (0, 0));
}

#[test]
fn a_block_whose_step_was_begun_anew_is_removed_even_if_it_can_not_be_read() {
    let (mut outbox, mut disk, now) = backlog();
    let id = loop {
        match outbox.next_job(now) {
            Some(Job::Fetch { id, .. }) => break id,
            Some(job) => outbox.done(disk.done(job), now),
            None => {
                let envelope = outbox.next(now).expect("not stuck");
                outbox.acknowledge(&envelope.key, envelope.sequence);
            }
        }
    };
    outbox.close(&key("1"));
    outbox.open(key("1"));
    outbox.log(&key("1"), &step("flood"), vec![text(0)], now);
    outbox.done(Done::Unread { id, gone: false }, now);
    disk.work(&mut outbox, now);
    assert_eq!((outbox.usage().on_disk, disk.0.len()), (0, 0));
}

#[test]
fn a_disk_that_has_no_room_for_the_next_block_is_full_and_not_slow() {
    let (mut outbox, key, now) = outbox(8000);
    let mut disk = Disk::default();
    for number in 0..20 {
        outbox.log(&key, &step("long"), vec![line(number, "x".repeat(10_000))], now);
        disk.work(&mut outbox, now);
    }
    outbox.end_logs(&key, now);
    let lines = drain(&mut outbox, &mut disk, now);
    let text = String::from_utf8_lossy(&lines.last().expect("a loss").1).into_owned();
    assert!(text.contains("both the memory (100000 bytes) and the disk (8000 bytes) for logs were full"), "{text}");
}

#[test]
fn a_read_that_failed_keeps_nothing_from_being_written() {
    let (mut outbox, key, now) = outbox(LARGE);
    let mut disk = Disk::default();
    let mut unread = 0;
    for number in 0..200 {
        outbox.log(&key, &step("flood"), vec![text(number)], now);
        while let Some(job) = outbox.next_job(now) {
            let done = match job {
                Job::Fetch { id, .. } => {
                    unread += 1;
                    Done::Unread { id, gone: false }
                }
                job => disk.done(job),
            };
            outbox.done(done, now);
        }
        if number > 100
            && let Some(envelope) = outbox.next(now)
        {
            outbox.acknowledge(&envelope.key, envelope.sequence);
        }
    }
    assert!(unread > 0 && outbox.usage().on_disk > 100_000, "{unread}: {:?}", outbox.usage());
    assert_eq!(outbox.usage().lost_lines, 0);
}
