//! What one event costs a dispatcher that has much to look after: printed, for people to compare.
//!
//! `cargo bench -p server-stub --bench dispatch -- 1000 10000`, with the numbers of workflows that wait and are kept.

use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use piculet_core::id::{Epoch, InstanceId, RunKey, Sequence, StepId, WorkflowId};
use piculet_core::logs::spool::{Chunk, Piece};
use piculet_core::outcome::WorkflowState;
use piculet_core::report::WorkflowReport;
use piculet_core::workload::{StageSpec, StepSpec, WorkloadSpec};
use piculet_link::message::{Cluster, Demand, Hello, Identity};
use piculet_link::wire::agent::{Received, ReceivedBody, Said};
use server_stub::clock::{Clock, Now};
use server_stub::dispatch::{
    Admission, Condition, Dispatcher, Limits, Policy, SessionId, Submission, Throttle, Timing,
};
use server_stub::mailbox::Stop;
use tokio::time::Instant;

/// Workflows that an agent runs at most.
const CAPACITY: u32 = 4;

struct Bench {
    dispatcher: Dispatcher,
    now: Now,
    session: SessionId,
}

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    // Cargo passes options of its own, too.
    let given: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    for count in if given.is_empty() { vec![1_000, 10_000] } else { given } {
        let mut bench = Bench::new(count);
        let submission = bench.time(|bench| bench.submit([throttled("late".to_owned())]));
        writeln!(out, "{count} wait, {count} are kept: one more is submitted in {submission:?}")?;
        let chunk = bench.time(|bench| {
            bench.report(2, ReceivedBody::Chunk { step: StepId::new("step"), chunk: chunk(100) });
        });
        writeln!(out, "{count} wait, {count} are kept: lines come for which there is no room in {chunk:?}")?;
        let finish = bench.time(Bench::finish);
        writeln!(out, "{count} wait, {count} are kept: one ends, and another takes its place in {finish:?}")?;
    }
    Ok(())
}

impl Bench {
    /// As many wait for the one of their group that runs as are kept, and that is as many as may be kept.
    fn new(count: usize) -> Self {
        let limits = Limits {
            all_log_bytes: 10_000,
            finished_workflows: count,
            open_workflows: count + 10,
            ..Limits::default()
        };
        let policy = Policy {
            server_id: "bench".to_owned(),
            protocol: piculet_proto::v1::PROTOCOL,
            timing: Timing::default(),
            places: false,
            limits,
        };
        let mut dispatcher = Dispatcher::new(policy);
        let now = Clock::starting_at(Timestamp::UNIX_EPOCH).now();
        let identity = Identity {
            name: "agent".to_owned(),
            instance: InstanceId::new("agent"),
            version: String::new(),
            cluster: Cluster::default(),
            labels: Default::default(),
            platforms: Vec::new(),
            capacity: CAPACITY,
        };
        let hello = Hello { identity, held: Vec::new() };
        let session = dispatcher.open(hello, Admission::default(), now).expect("it is the only one");
        let mut bench = Self { dispatcher, now, session };
        bench.hear(Said::Demand(Demand { free_slots: CAPACITY, assigns_received: 0 }));
        for number in 0..count {
            let id = WorkflowId::new(format!("kept-{number}"));
            bench.submit([Submission::new(id.clone(), workload())]);
            let stop = Stop { reason: String::new(), grace: None };
            bench.dispatcher.cancel(&id, stop, now).expect("it waits");
        }
        bench.submit((0..count).map(|number| throttled(format!("waits-{number}"))));
        assert!(bench.dispatcher.assign_to(&WorkflowId::new("waits-0"), session, now), "it waits");
        bench.report(1, ReceivedBody::Accepted);
        bench.dispatcher.policy_mut().places = true;
        bench
    }

    fn submit(&mut self, submissions: impl IntoIterator<Item = Submission>) {
        self.dispatcher.submit(submissions.into_iter().collect(), self.now).expect("there is room");
    }

    fn hear(&mut self, said: Said) {
        self.dispatcher.hear(self.session, said, self.now).expect("it keeps to the protocol");
    }

    fn report(&mut self, sequence: u64, body: ReceivedBody) {
        let key = RunKey { workflow: WorkflowId::new("waits-0"), epoch: Epoch(1) };
        self.hear(Said::Report(Received { key, sequence: Sequence(sequence), body }));
    }

    fn finish(&mut self) {
        let (state, time) = (WorkflowState::Success, self.now.time);
        let report = WorkflowReport { state, started: time, finished: time, error: String::new() };
        self.report(3, ReceivedBody::Finished(report));
        let next = self.dispatcher.workflow(&WorkflowId::new("waits-1")).expect("it is not over");
        assert!(next.agent.is_some(), "it is next");
    }

    fn time(&mut self, event: impl FnOnce(&mut Self)) -> Duration {
        self.dispatcher.touched();
        let start = Instant::now();
        event(self);
        start.elapsed()
    }
}

fn workload() -> WorkloadSpec {
    let step = StepSpec { id: "step".to_owned(), name: "step".to_owned(), ..StepSpec::default() };
    WorkloadSpec { stages: vec![StageSpec { steps: vec![step] }], ..WorkloadSpec::default() }
}

fn throttled(id: String) -> Submission {
    let throttle = Some(Throttle { group: "deploys".to_owned(), limit: 1 });
    let condition = Condition { throttle, ..Condition::default() };
    Submission { condition, ..Submission::new(WorkflowId::new(id), workload()) }
}

fn chunk(lines: usize) -> Chunk {
    let bytes = Bytes::from(vec![b'x'; 100]);
    let piece = Piece { time: Timestamp::UNIX_EPOCH, bytes, continues: false };
    Chunk { first_line: 0, lines: vec![piece; lines], end: None }
}
