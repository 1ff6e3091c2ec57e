//! The outbox against a server that only drops what it knows, and a disk that may fail: random reports, logs, breaks,
//! acknowledgements, writes and reads.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::Union;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

use super::{LIMITS, begin, finished, line, state};
use crate::id::{Epoch, RunKey, Sequence, StepId, WorkflowId};
use crate::logs::spool::{BLOCK_OVERHEAD, BlockId, Chunk, Spool};
use crate::outbox::disk::Division;
use crate::outbox::{Acknowledged, Body, Done, Envelope, Job, Limits, Outbox, Usage};
use crate::outcome::StepState;
use crate::report::{LogTotal, Report};

const RUNS: usize = 3;
/// All runs together have more than the memory for what comes back has blocks.
const STEPS: usize = 5;

/// Small enough that a few lines reach the bound, and large enough for some blocks.
const MEMORY: Limits = Limits { spool_bytes: 9000, ..LIMITS };

/// What was handed in, and so what has to arrive.
#[derive(Debug, Clone, Default)]
struct Handed {
    /// The size of the disk.
    disk: u64,
    connected: bool,
    runs: BTreeMap<usize, Said>,
}

/// What was handed in about one workflow.
#[derive(Debug, Clone, Default)]
struct Said {
    reports: Vec<Report>,
    logs: [Log; STEPS],
    finished: bool,
    abandoned: bool,
}

#[derive(Debug, Clone, Default)]
struct Log {
    lines: Vec<String>,
    ended: bool,
}

impl Log {
    fn total(&self) -> LogTotal {
        LogTotal { lines: self.lines.len() as u64, bytes: self.lines.iter().map(|line| line.len() as u64).sum() }
    }
}

#[derive(Debug, Clone)]
enum Event {
    Open(usize),
    State(usize),
    Log(usize, usize, Vec<usize>),
    EndLog(usize, usize),
    Finish(usize),
    Abandon(usize),
    Wait(u64),
    /// Ask for this many envelopes.
    Send(usize),
    /// This many of those on the way arrive.
    Arrive(usize),
    /// The server says what it has, less this much: news overtake each other.
    Acknowledge(usize, u64),
    /// An acknowledgement of something that never left.
    Nonsense(usize),
    /// The connection breaks. What is on its way is gone.
    Break,
    Connect,
    /// Begin this many of the jobs for the disk.
    Begin(usize),
    /// One of the jobs is done, or fails.
    Done(usize, bool),
    /// Jobs are begun, some at the same time, and are done in their order, or fail.
    Work(Vec<bool>),
}

impl ReferenceStateMachine for Handed {
    type State = Self;
    type Transition = Event;

    fn init_state() -> BoxedStrategy<Self> {
        let disk = prop_oneof![1 => Just(0), 1 => Just(1500), 4 => Just(100_000)];
        let begin = (disk, prop::bool::ANY);
        begin.prop_map(|(disk, connected)| Self { disk, connected, runs: BTreeMap::new() }).boxed()
    }

    fn transitions(handed: &Self) -> BoxedStrategy<Event> {
        let runs = |wanted: fn(&Said) -> bool| -> Vec<usize> {
            handed.runs.iter().filter(|(_, said)| wanted(said)).map(|(run, _)| *run).collect()
        };
        let new: Vec<usize> = (0..RUNS).filter(|run| !handed.runs.contains_key(run)).collect();
        let kept = runs(|said| !said.abandoned);
        let talking = runs(|said| !said.abandoned && !said.finished);
        let logging: Vec<(usize, usize)> = talking
            .iter()
            .flat_map(|run| (0..STEPS).map(|step| (*run, step)))
            .filter(|(run, step)| !handed.runs[run].logs[*step].ended)
            .collect();

        let mut events =
            vec![(3, (0u64..1500).prop_map(Event::Wait).boxed()), (10, (1usize..10).prop_map(Event::Arrive).boxed())];
        // Until what could not be read is tried again, or written.
        events.push((1, (10_000u64..70_000).prop_map(Event::Wait).boxed()));
        if handed.disk > 0 {
            events.push((10, (1usize..6).prop_map(Event::Begin).boxed()));
            let work = prop::collection::vec(prop::bool::weighted(0.8), 1..20);
            events.push((10, work.prop_map(Event::Work).boxed()));
            let done = (0usize..6, prop::bool::weighted(0.8));
            events.push((15, done.prop_map(|(index, success)| Event::Done(index, success)).boxed()));
        }
        if handed.connected {
            events.push((10, (1usize..10).prop_map(Event::Send).boxed()));
            events.push((2, Just(Event::Break).boxed()));
        } else {
            events.push((2, Just(Event::Connect).boxed()));
        }
        if !new.is_empty() {
            events.push((3, select(new).prop_map(Event::Open).boxed()));
        }
        if !kept.is_empty() {
            events.push((
                6,
                (select(kept.clone()), 0u64..3).prop_map(|(run, less)| Event::Acknowledge(run, less)).boxed(),
            ));
            events.push((1, select(kept.clone()).prop_map(Event::Nonsense).boxed()));
            events.push((1, select(kept).prop_map(Event::Abandon).boxed()));
        }
        if !talking.is_empty() {
            events.push((6, select(talking.clone()).prop_map(Event::State).boxed()));
            events.push((1, select(talking).prop_map(Event::Finish).boxed()));
        }
        if !logging.is_empty() {
            // Up to one that the memory for what comes back has just no room for.
            let length = prop_oneof![6 => 0usize..250, 1 => 1000usize..2500, 1 => 250usize..3500];
            let lengths = prop::collection::vec(length, 1..12);
            let lines =
                (select(logging.clone()), lengths).prop_map(|((run, step), lengths)| Event::Log(run, step, lengths));
            events.push((10, lines.boxed()));
            events.push((1, select(logging).prop_map(|(run, step)| Event::EndLog(run, step)).boxed()));
        }
        Union::new_weighted(events).boxed()
    }

    /// Asked again when a failing sequence is made shorter.
    fn preconditions(handed: &Self, event: &Event) -> bool {
        let said = |run| handed.runs.get(run).filter(|said| !said.abandoned);
        match event {
            Event::Open(run) => !handed.runs.contains_key(run),
            Event::State(run) | Event::Finish(run) => said(run).is_some_and(|said| !said.finished),
            Event::Log(run, step, _) | Event::EndLog(run, step) => {
                said(run).is_some_and(|said| !said.finished && !said.logs[*step].ended)
            }
            Event::Abandon(run) | Event::Acknowledge(run, _) | Event::Nonsense(run) => said(run).is_some(),
            Event::Send(_) | Event::Break => handed.connected,
            Event::Connect => !handed.connected,
            Event::Wait(_) | Event::Arrive(_) | Event::Begin(_) | Event::Done(..) | Event::Work(_) => true,
        }
    }

    fn apply(mut handed: Self, event: &Event) -> Self {
        match event {
            Event::Open(run) => {
                handed.runs.insert(*run, Said { reports: vec![Report::Accepted], ..Said::default() });
            }
            Event::State(run) => handed.change(*run, |said| {
                let nth = said.reports.len().to_string();
                said.reports.push(state("a", StepState::Running, &nth));
            }),
            Event::Log(run, step, lengths) => handed.change(*run, |said| {
                let lines = &mut said.logs[*step].lines;
                for length in lengths {
                    let text = format!("{} {}", lines.len(), "x".repeat(*length));
                    lines.push(text);
                }
            }),
            Event::EndLog(run, step) => handed.change(*run, |said| said.logs[*step].ended = true),
            Event::Finish(run) => handed.change(*run, |said| {
                said.reports.push(finished());
                said.finished = true;
                said.logs.iter_mut().for_each(|log| log.ended = true);
            }),
            Event::Abandon(run) => handed.change(*run, |said| said.abandoned = true),
            Event::Break => handed.connected = false,
            Event::Connect => handed.connected = true,
            Event::Wait(_)
            | Event::Send(_)
            | Event::Arrive(_)
            | Event::Acknowledge(..)
            | Event::Nonsense(_)
            | Event::Begin(_)
            | Event::Done(..)
            | Event::Work(_) => {}
        }
        handed
    }
}

impl Handed {
    fn change(&mut self, run: usize, change: impl FnOnce(&mut Said)) {
        change(self.runs.get_mut(&run).expect("a precondition"));
    }
}

/// An outbox, its disk, the way to the server, and the server.
struct World {
    outbox: Outbox,
    disk: BTreeMap<BlockId, Bytes>,
    jobs: Vec<Job>,
    now: Instant,
    /// What `next` gave out, each number once.
    left: BTreeMap<RunKey, Vec<Body>>,
    on_the_way: VecDeque<Envelope>,
    server: BTreeMap<RunKey, Stored>,
    news: BTreeMap<RunKey, Vec<Acknowledged>>,
}

/// What the server has of one workflow.
#[derive(Default)]
struct Stored {
    envelopes: Vec<Body>,
    reports: Vec<Report>,
    logs: BTreeMap<StepId, StoredLog>,
}

#[derive(Default)]
struct StoredLog {
    lines: Vec<(u64, String)>,
    unfinished: bool,
    end: Option<LogTotal>,
}

fn key(run: usize) -> RunKey {
    RunKey { workflow: WorkflowId::new(run.to_string()), epoch: Epoch(1) }
}

fn step(step: usize) -> StepId {
    StepId::new(step.to_string())
}

impl Stored {
    /// Drops what is known and puts the rest together.
    fn store(&mut self, envelope: Envelope) {
        let known = self.envelopes.len() as u64;
        let number = envelope.sequence.0;
        assert!(number >= 1 && number <= known + 1, "{number} came after {known}");
        if number <= known {
            let before = &self.envelopes[usize::try_from(number).expect("small") - 1];
            assert_eq!(before, &envelope.body, "number {number} changed its meaning");
            return;
        }
        assert!(!self.reports.iter().any(|report| matches!(report, Report::Finished(_))), "something after the end");
        self.envelopes.push(envelope.body.clone());
        match envelope.body {
            Body::Report(report) => self.reports.push(report),
            Body::Chunk { step, chunk } => self.logs.entry(step).or_default().store(chunk),
        }
    }
}

impl StoredLog {
    fn store(&mut self, chunk: Chunk) {
        assert_eq!(self.end, None, "a chunk after the log's end");
        for (number, piece) in (chunk.first_line..).zip(chunk.lines) {
            let text = String::from_utf8(piece.bytes.to_vec()).expect("ASCII");
            match self.lines.last_mut() {
                Some((last, beginning)) if self.unfinished => {
                    assert_eq!(number, *last);
                    beginning.push_str(&text);
                }
                _ => self.lines.push((number, text)),
            }
            self.unfinished = piece.continues;
        }
        self.end = chunk.end;
    }

    /// Each line that was handed in is here in its order, or one of those that a line in their place counts.
    fn check(&self, log: &Log) {
        let mut next = 0;
        for (index, (number, text)) in self.lines.iter().enumerate() {
            assert_eq!(*number, next as u64, "a hole or a double before {text:?}");
            if text.starts_with("[piculet]") && !(self.unfinished && index + 1 == self.lines.len()) {
                let words: Vec<&str> = text.split(' ').collect();
                let lost: usize = words[1].parse().expect("a count");
                let bytes: usize = log.lines[next..next + lost].iter().map(String::len).sum();
                assert_eq!(words[3], format!("({bytes}"));
                next += lost;
            } else if self.unfinished && index + 1 == self.lines.len() {
                assert!(text.starts_with("[piculet]") || log.lines[next].starts_with(text));
            } else {
                assert_eq!(text, &log.lines[next]);
                next += 1;
            }
        }
        if let Some(end) = self.end {
            assert!(log.ended && end == log.total());
            assert_eq!(next, log.lines.len(), "lines are missing at the end");
        }
    }
}

impl World {
    fn send(&mut self, handed: &Handed) -> bool {
        let Some(envelope) = self.outbox.next(self.now) else { return false };
        let left = self.left.entry(envelope.key.clone()).or_default();
        if envelope.sequence.0 > left.len() as u64 {
            left.push(envelope.body.clone());
            if matches!(envelope.body, Body::Chunk { .. }) {
                self.check_that_no_state_waits(handed);
            }
        }
        self.on_the_way.push_back(envelope);
        true
    }

    /// All states have left, apart from the last ones, which have to wait for logs.
    fn check_that_no_state_waits(&self, handed: &Handed) {
        for (run, said) in handed.runs.iter().filter(|(_, said)| !said.abandoned) {
            let states = self.left.get(&key(*run)).into_iter().flatten().filter(|body| matches!(body, Body::Report(_)));
            assert!(states.count() + usize::from(said.finished) >= said.reports.len(), "a state waits behind a log");
        }
    }

    fn arrive(&mut self) -> bool {
        let Some(envelope) = self.on_the_way.pop_front() else { return false };
        self.server.entry(envelope.key.clone()).or_default().store(envelope);
        true
    }

    fn begin_job(&mut self) {
        let Some(job) = self.outbox.next_job(self.now) else { return };
        match &job {
            Job::Write { id, .. } => assert!(!self.disk.contains_key(id), "a name is used once"),
            Job::Fetch { id, length } => assert_eq!(self.disk[id].len(), *length),
            Job::Remove { id } => assert!(self.disk.contains_key(id)),
        }
        self.jobs.push(job);
    }

    fn end_job(&mut self, index: usize, success: bool) {
        if self.jobs.is_empty() {
            return;
        }
        let done = match self.jobs.remove(index % self.jobs.len()) {
            Job::Write { id, bytes } => {
                if success {
                    self.disk.insert(id, bytes);
                }
                Done::Wrote { id, success }
            }
            Job::Fetch { id, .. } if success => Done::Fetched { id, bytes: self.disk[&id].clone() },
            // Some are gone for good, and some were not tried.
            Job::Fetch { id, .. } if id.0 % 3 == 0 => Done::Untried { id },
            Job::Fetch { id, .. } => {
                let gone = id.0.is_multiple_of(2);
                if gone {
                    self.disk.remove(&id);
                }
                Done::Unread { id, gone }
            }
            Job::Remove { id } => {
                if success {
                    self.disk.remove(&id);
                }
                Done::Removed { id, success }
            }
        };
        self.outbox.done(done, self.now);
    }

    fn stored(&self, key: &RunKey) -> Sequence {
        Sequence(self.server.get(key).map_or(0, |stored| stored.envelopes.len() as u64))
    }

    fn connect(&mut self) {
        let held: Vec<RunKey> = self.outbox.held().map(|(key, _)| key.clone()).collect();
        for key in held {
            let news = self.outbox.resume(&key, self.stored(&key));
            self.news.entry(key).or_default().extend(news);
        }
    }

    fn acknowledge(&mut self, key: RunKey, sequence: Sequence) {
        let news = self.outbox.acknowledge(&key, sequence);
        self.news.entry(key).or_default().extend(news);
    }
}

struct OutboxTest;

impl StateMachineTest for OutboxTest {
    type SystemUnderTest = World;
    type Reference = Handed;

    fn init_test(handed: &Handed) -> World {
        let mut outbox = Outbox::new(MEMORY);
        outbox.set_disk(handed.disk);
        World {
            outbox,
            disk: BTreeMap::new(),
            jobs: Vec::new(),
            now: begin(),
            left: BTreeMap::new(),
            on_the_way: VecDeque::new(),
            server: BTreeMap::new(),
            news: BTreeMap::new(),
        }
    }

    fn apply(mut world: World, handed: &Handed, event: Event) -> World {
        match event {
            Event::Open(run) => {
                world.outbox.open(key(run));
                world.outbox.report(&key(run), Report::Accepted);
            }
            Event::State(run) => {
                let report = handed.runs[&run].reports.last().expect("just added").clone();
                world.outbox.report(&key(run), report);
            }
            Event::Log(run, number, lengths) => {
                let lines = &handed.runs[&run].logs[number].lines;
                let first = lines.len() - lengths.len();
                let new = (first..lines.len()).map(|number| line(number as u64, lines[number].as_str())).collect();
                world.outbox.log(&key(run), &step(number), new, world.now);
            }
            Event::EndLog(run, number) => {
                let total = handed.runs[&run].logs[number].total();
                world.outbox.end_log(&key(run), &step(number), total, world.now);
            }
            Event::Finish(run) => {
                world.outbox.report(&key(run), finished());
                // Whoever finishes ends the logs; one that was never begun still may be ended.
                if run.is_multiple_of(2) {
                    world.outbox.end_logs(&key(run), world.now);
                }
                for (number, log) in handed.runs[&run].logs.iter().enumerate() {
                    world.outbox.end_log(&key(run), &step(number), log.total(), world.now);
                }
            }
            Event::Abandon(run) => {
                world.outbox.close(&key(run));
                world.on_the_way.retain(|envelope| envelope.key != key(run));
            }
            Event::Wait(millis) => world.now += Duration::from_millis(millis),
            Event::Send(count) => (0..count).for_each(|_| _ = world.send(handed)),
            Event::Arrive(count) => (0..count).for_each(|_| _ = world.arrive()),
            Event::Acknowledge(run, less) => {
                let sequence = Sequence(world.stored(&key(run)).0.saturating_sub(less));
                world.acknowledge(key(run), sequence);
            }
            Event::Nonsense(run) => {
                let before = world.outbox.usage();
                world.acknowledge(key(run), Sequence(u64::MAX));
                assert_eq!(world.outbox.usage(), before);
            }
            Event::Break => {
                world.on_the_way.clear();
                world.outbox.disconnected();
                assert_eq!((world.outbox.next(world.now), world.outbox.due()), (None, None));
            }
            Event::Connect => world.connect(),
            Event::Begin(count) => (0..count).for_each(|_| world.begin_job()),
            Event::Done(index, success) => world.end_job(index, success),
            Event::Work(successes) => {
                for together in successes.chunks(4) {
                    together.iter().for_each(|_| world.begin_job());
                    together.iter().for_each(|success| world.end_job(0, *success));
                }
            }
        }
        world
    }

    fn check_invariants(world: &World, handed: &Handed) {
        let usage = world.outbox.usage();
        assert!(usage.unacknowledged <= MEMORY.unacknowledged_log_bytes, "{usage:?}");
        // A hole costs an entry, and a line once it is announced.
        let logs = handed.runs.values().flat_map(|said| &said.logs).filter(|log| !log.lines.is_empty());
        assert!(usage.spooled <= MEMORY.spool_bytes + logs.count() * 2 * (BLOCK_OVERHEAD + 200), "{usage:?}");
        let back = world.outbox.ahead + world.outbox.disk.fetching();
        let Division { ahead, largest, .. } = world.outbox.division();
        assert!(back <= ahead, "{back} bytes are back");
        let early: usize = world.outbox.runs.values().flat_map(|run| run.spools()).map(Spool::early).sum();
        assert!(early + largest <= ahead, "{early} bytes are early");
        assert!(usage.on_disk <= handed.disk, "{usage:?}");
        let (mut on_the_way, mut to_the_disk) = (0, 0);
        for job in &world.jobs {
            match job {
                Job::Write { bytes, .. } => {
                    (on_the_way, to_the_disk) = (on_the_way + bytes.len(), to_the_disk + bytes.len())
                }
                Job::Fetch { length, .. } => on_the_way += length,
                Job::Remove { .. } => {}
            }
        }
        let on_disk = to_the_disk + world.disk.values().map(Bytes::len).sum::<usize>();
        assert_eq!(usage.on_disk, on_disk as u64);
        let runs = world.outbox.runs.values();
        let waiting = runs.clone().flat_map(|run| run.spools()).map(|spool| spool.kept() + spool.ahead());
        assert_eq!(usage.spooled, on_the_way + waiting.sum::<usize>());
        assert_eq!(usage.unacknowledged, runs.map(|run| run.unacknowledged()).sum::<usize>());
        for (run, said) in &handed.runs {
            let Some(stored) = world.server.get(&key(*run)) else { continue };
            assert!(said.reports.starts_with(&stored.reports), "{:?} of {:?}", stored.reports, said.reports);
            for (number, log) in said.logs.iter().enumerate() {
                if let Some(stored) = stored.logs.get(&step(number)) {
                    stored.check(log);
                }
            }
        }
    }

    /// With a connection that holds, all that was handed in arrives.
    fn teardown(mut world: World, handed: Handed) {
        let mut complete = handed.clone();
        for (run, said) in complete.runs.iter_mut().filter(|(_, said)| !said.abandoned && !said.finished) {
            for (number, log) in said.logs.iter_mut().enumerate() {
                log.ended = true;
                world.outbox.end_log(&key(*run), &step(number), log.total(), world.now);
            }
            said.reports.push(finished());
            said.finished = true;
            world.outbox.report(&key(*run), finished());
        }
        if !handed.connected {
            world.connect();
        }
        while !world.outbox.flushed() {
            while world.send(&complete) {}
            let jobs = world.jobs.len();
            world.now = world.outbox.next_job_due(world.now).unwrap_or(world.now);
            world.begin_job();
            assert!(
                !world.on_the_way.is_empty()
                    || jobs < world.jobs.len()
                    || jobs > 0
                    || world.outbox.held().any(|(key, acknowledged)| acknowledged < world.stored(key))
            );
            while world.arrive() {}
            while !world.jobs.is_empty() {
                world.end_job(0, true);
            }
            let held: Vec<RunKey> = world.outbox.held().map(|(key, _)| key.clone()).collect();
            for key in held {
                let stored = world.stored(&key);
                world.acknowledge(key, stored);
            }
            Self::check_invariants(&world, &complete);
        }
        assert_eq!(world.outbox.held().count(), 0);
        // What nobody needs is still to be removed.
        while !(world.jobs.is_empty() && world.disk.is_empty()) {
            world.begin_job();
            if world.jobs.is_empty() {
                world.now = world.outbox.next_job_due(world.now).expect("it is tried again");
            } else {
                world.end_job(0, true);
            }
        }
        assert!(world.outbox.turns.is_empty());
        assert_eq!(world.outbox.usage(), Usage { lost_lines: world.outbox.usage().lost_lines, ..Usage::default() });
        for (run, said) in complete.runs.iter().filter(|(_, said)| !said.abandoned) {
            let stored = &world.server[&key(*run)];
            assert_eq!(stored.reports, said.reports);
            assert!(stored.logs.values().all(|log| log.end.is_some()) && stored.logs.len() == STEPS);
            assert_eq!(world.news[&key(*run)], [Acknowledged::Accepted, Acknowledged::Finished]);
        }
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]
    #[test]
    fn every_state_and_every_line_arrives_once(sequential 1..200 => OutboxTest);
}
