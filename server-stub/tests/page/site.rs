//! A server with its page on loopback, and agents that do and say what the test tells them to.

use std::collections::BTreeMap;

use piculet_core::secret::Secret;
use piculet_core::workload::{StageSpec, StepKind, StepSpec, WorkloadSpec};
use piculet_proto::v1 as pb;
use piculet_proto::v1::agent_message::Message as Said;
use server_stub::server::Config;
use server_stub::stub::Stub;
use tokio::net::TcpListener;

use crate::agent::{RawAgent, finished, hello, stamp};

/// A message has room for 32 KiB of lines.
const CHUNK_BYTES: usize = 30_000;

/// A server and the address of its page.
pub(crate) struct Site {
    pub(crate) stub: Stub,
    pub(crate) address: String,
}

impl Site {
    pub(crate) async fn start(api_token: Option<&str>) -> Self {
        let stub = Stub::start(Config { api_token: api_token.map(Secret::new), ..Config::default() });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(stub.server().serve_api(listener, None));
        Self { stub, address }
    }

    /// The address of a view.
    pub(crate) fn at(&self, view: &str) -> String {
        format!("{}#/{view}", self.address)
    }

    /// An agent of a cluster, with this many slots.
    pub(crate) async fn agent(&self, name: &str, cluster: &str, slots: u32, labels: &[(&str, &str)]) -> RawAgent {
        let hello = pb::Hello {
            cluster: Some(pb::Cluster {
                name: cluster.into(),
                uid: format!("uid-of-{cluster}"),
                version: "v1.34.4".into(),
            }),
            agent_version: "0.1.0".into(),
            capacity: slots,
            platforms: vec!["linux/amd64".into()],
            labels: labels.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect(),
            ..hello(name)
        };
        RawAgent::ready(&self.stub.network(), hello, slots).await
    }

    /// The agent takes the next workflow.
    pub(crate) async fn run(&self, agent: &mut RawAgent) -> Run {
        let assign = agent.take().await;
        let mut run = Run { assign, sequence: 1, lines: BTreeMap::new(), now: 0 };
        run.now = run.nanos(self.stub.server().now().time);
        run
    }
}

/// A step of the commands kind.
pub(crate) fn step(name: &str) -> StepSpec {
    let id =
        name.bytes().map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte) } else { '-' }).take(40).collect();
    StepSpec { id, name: name.into(), image: "alpine".into(), commands: vec!["true".into()], ..StepSpec::default() }
}

pub(crate) fn service(name: &str) -> StepSpec {
    StepSpec { kind: StepKind::Service, commands: Vec::new(), ..step(name) }
}

/// A workflow of these stages.
pub(crate) fn workflow(name: &str, labels: &[(&str, &str)], stages: Vec<Vec<StepSpec>>) -> WorkloadSpec {
    WorkloadSpec {
        name: name.into(),
        labels: labels.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect(),
        stages: stages.into_iter().map(|steps| StageSpec { steps }).collect(),
        ..WorkloadSpec::default()
    }
}

/// A workflow that an agent has.
pub(crate) struct Run {
    pub(crate) assign: pb::Assign,
    sequence: u64,
    /// How many lines each step has printed.
    lines: BTreeMap<String, (u64, u64)>,
    /// When it was taken, in nanoseconds.
    now: i64,
}

impl Run {
    fn nanos(&self, time: jiff::Timestamp) -> i64 {
        i64::try_from(time.as_nanosecond()).unwrap()
    }

    fn id(&self, name: &str) -> String {
        let stages = self.assign.workload.iter().flat_map(|workload| &workload.stages);
        let step = stages.flat_map(|stage| &stage.steps).find(|step| step.name == name);
        step.unwrap_or_else(|| panic!("there is no step {name}")).id.clone()
    }

    fn next(&mut self) -> Option<pb::Stamp> {
        self.sequence += 1;
        stamp(&self.assign, self.sequence)
    }

    /// Waits until the server has everything.
    pub(crate) async fn settle(&mut self, agent: &mut RawAgent) {
        while agent.ack().await.2 < self.sequence {}
    }

    /// A step starts, this many seconds after the workflow was taken.
    pub(crate) async fn starts(&mut self, agent: &RawAgent, name: &str, after: i64) {
        self.update(agent, name, pb::StepState::Running, (after, None), None, "").await;
    }

    /// A step is over. Its log ends too.
    pub(crate) async fn ends(&mut self, agent: &RawAgent, name: &str, span: (i64, i64), code: i32, error: &str) {
        let (lines, bytes) = self.lines.get(name).copied().unwrap_or_default();
        let end = Some(pb::LogEnd { total_lines: lines, total_bytes: bytes });
        let (stamp, step_id) = (self.next(), self.id(name));
        agent.say(Said::LogChunk(pb::LogChunk { stamp, step_id, first_line: lines, lines: Vec::new(), end })).await;
        let state = if code == 0 { pb::StepState::Success } else { pb::StepState::Failure };
        self.update(agent, name, state, (span.0, Some(span.1)), Some(code), error).await;
    }

    async fn update(
        &mut self,
        agent: &RawAgent,
        name: &str,
        state: pb::StepState,
        (from, to): (i64, Option<i64>),
        exit_code: Option<i32>,
        error: &str,
    ) {
        let at = |seconds: i64| self.now + seconds * 1_000_000_000;
        let (started, finished) = (at(from), to.map(at));
        let outcome = if exit_code.is_some() { pb::OutcomeClass::Exited } else { pb::OutcomeClass::Unspecified };
        let update = pb::StepUpdate {
            stamp: self.next(),
            step_id: self.id(name),
            state: state.into(),
            attempt: 1,
            started_unix_nano: Some(started),
            finished_unix_nano: finished,
            outcome: outcome.into(),
            exit_code,
            error: error.to_owned(),
        };
        agent.say(Said::StepUpdate(update)).await;
    }

    /// A step prints lines.
    pub(crate) async fn prints<L: AsRef<[u8]>>(
        &mut self,
        agent: &RawAgent,
        name: &str,
        lines: impl IntoIterator<Item = L>,
    ) {
        let step_id = self.id(name);
        let mut chunk: Vec<pb::LogLine> = Vec::new();
        let mut size = 0;
        let mut all: Vec<Vec<pb::LogLine>> = Vec::new();
        for line in lines {
            let data = line.as_ref().to_vec();
            size += data.len() + 16;
            if size > CHUNK_BYTES {
                all.push(std::mem::take(&mut chunk));
                size = data.len() + 16;
            }
            chunk.push(pb::LogLine { time_unix_nano: self.now, data: data.into(), continues: false });
        }
        all.push(chunk);
        for lines in all {
            let stamp = self.next();
            let printed = self.lines.entry(name.to_owned()).or_default();
            let first_line = printed.0;
            printed.0 += lines.len() as u64;
            printed.1 += lines.iter().map(|line| line.data.len() as u64).sum::<u64>();
            let step_id = step_id.clone();
            agent.say(Said::LogChunk(pb::LogChunk { stamp, step_id, first_line, lines, end: None })).await;
        }
    }

    /// The workflow is over.
    pub(crate) async fn finishes(&mut self, agent: &mut RawAgent, state: pb::WorkflowState, error: &str) {
        self.sequence += 1;
        let Said::Finished(mut report) = finished(&self.assign, self.sequence, state) else { unreachable!() };
        error.clone_into(&mut report.error);
        report.finished_unix_nano = self.now;
        report.started_unix_nano = self.now;
        agent.say(Said::Finished(report)).await;
        self.settle(agent).await;
    }
}
