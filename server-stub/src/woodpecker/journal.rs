//! What agents called, in order, and how it was answered.

use std::collections::BTreeMap;
use std::fmt;

use piculet_proto::woodpecker as pb;
use tonic::{Code, Status};

use super::access::Metadata;
use super::logs;
use crate::clock::Now;

/// A test that lets more pile up than this is not looking.
const MAX_CALLS: usize = 1_000_000;

/// A method of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "they are documented in woodpecker.proto")]
pub enum Method {
    Auth,
    Version,
    RegisterAgent,
    UnregisterAgent,
    ReportHealth,
    Next,
    Init,
    Wait,
    Extend,
    Update,
    Log,
    Done,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Auth,
        Self::Version,
        Self::RegisterAgent,
        Self::UnregisterAgent,
        Self::ReportHealth,
        Self::Next,
        Self::Init,
        Self::Wait,
        Self::Extend,
        Self::Update,
        Self::Log,
        Self::Done,
    ];
}

/// What a call asked for.
#[derive(Clone, PartialEq)]
#[expect(missing_docs, reason = "the fields are those of woodpecker.proto")]
pub enum Said {
    Auth { token: String, id: i64 },
    Version,
    RegisterAgent(pb::AgentInfo),
    UnregisterAgent,
    ReportHealth(String),
    Next(BTreeMap<String, String>),
    Init { workflow: String, state: pb::WorkflowState },
    Wait(String),
    Extend(String),
    Update { workflow: String, step: pb::StepState },
    Log(Vec<Lines>),
    Done { workflow: String, state: pb::WorkflowState },
}

/// Consecutive entries of one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lines {
    /// The step's UUID.
    pub step: String,
    /// The number of the first line.
    pub first: i32,
    /// How many they are.
    pub count: usize,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is not over yet.
    Pending,
    /// Well.
    Good,
    /// `Next` gave out the workflow with this id.
    Task(String),
    /// `Wait` says whether somebody cancelled.
    Canceled(bool),
    /// With an error.
    Refused(Code, String),
    /// The server did what it was told, and the answer was lost.
    Lost,
    /// The client went away, or the connection broke.
    Abandoned,
}

/// A call.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// When it came.
    pub at: Now,
    /// Who called, if that was found out.
    pub agent: Option<i64>,
    /// What it said of itself.
    pub metadata: Metadata,
    /// What it asked for.
    pub said: Said,
    /// How it ended.
    pub answer: Answer,
}

impl Said {
    /// Which method it is.
    pub fn method(&self) -> Method {
        match self {
            Self::Auth { .. } => Method::Auth,
            Self::Version => Method::Version,
            Self::RegisterAgent(_) => Method::RegisterAgent,
            Self::UnregisterAgent => Method::UnregisterAgent,
            Self::ReportHealth(_) => Method::ReportHealth,
            Self::Next(_) => Method::Next,
            Self::Init { .. } => Method::Init,
            Self::Wait(_) => Method::Wait,
            Self::Extend(_) => Method::Extend,
            Self::Update { .. } => Method::Update,
            Self::Log(_) => Method::Log,
            Self::Done { .. } => Method::Done,
        }
    }

    /// The workflow that it is about, as it was written.
    pub fn workflow(&self) -> Option<&str> {
        match self {
            Self::Init { workflow, .. }
            | Self::Wait(workflow)
            | Self::Extend(workflow)
            | Self::Update { workflow, .. }
            | Self::Done { workflow, .. } => Some(workflow),
            _ => None,
        }
    }

    pub(super) fn log(entries: &[pb::LogEntry]) -> Self {
        let lines = logs::groups(entries).map(|group| Lines {
            step: group[0].step_uuid.clone(),
            first: group[0].line,
            count: group.len(),
        });
        Self::Log(lines.collect())
    }
}

// Tokens stay out of what a failing test prints.
impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auth { id, .. } => write!(f, "Auth({id})"),
            Self::RegisterAgent(info) => write!(f, "RegisterAgent({info:?})"),
            Self::ReportHealth(status) => write!(f, "ReportHealth({status:?})"),
            Self::Next(labels) => write!(f, "Next({labels:?})"),
            Self::Init { workflow, state } => write!(f, "Init({workflow}, {state:?})"),
            Self::Wait(workflow) => write!(f, "Wait({workflow})"),
            Self::Extend(workflow) => write!(f, "Extend({workflow})"),
            Self::Update { workflow, step } => write!(f, "Update({workflow}, {step:?})"),
            Self::Log(lines) => write!(f, "Log({lines:?})"),
            Self::Done { workflow, state } => write!(f, "Done({workflow}, {state:?})"),
            Self::Version | Self::UnregisterAgent => write!(f, "{:?}", self.method()),
        }
    }
}

impl From<&Status> for Answer {
    fn from(status: &Status) -> Self {
        Self::Refused(status.code(), status.message().to_owned())
    }
}

/// All calls since the server was made, restarts included.
#[derive(Debug, Default)]
pub struct Journal {
    calls: Vec<Call>,
    /// By agent: those that are under way, and the most that ever were.
    polls: BTreeMap<i64, Gauge>,
    waits: Gauge,
    faults: Vec<String>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Gauge {
    now: usize,
    most: usize,
}

impl Gauge {
    fn rise(&mut self) {
        self.now += 1;
        self.most = self.most.max(self.now);
    }

    fn fall(&mut self) {
        self.now = self.now.saturating_sub(1);
    }
}

impl Journal {
    /// The calls, the oldest first.
    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    /// The calls of one method, the oldest first.
    pub fn of(&self, method: Method) -> impl DoubleEndedIterator<Item = &Call> {
        self.calls.iter().filter(move |call| call.said.method() == method)
    }

    /// The calls about one workflow, the oldest first. `Log` is about steps.
    pub fn about(&self, workflow: i64) -> impl DoubleEndedIterator<Item = &Call> {
        let id = workflow.to_string();
        self.calls.iter().filter(move |call| match (&call.answer, call.said.workflow()) {
            (Answer::Task(given), _) => *given == id,
            (_, about) => about == Some(id.as_str()),
        })
    }

    /// How many calls of `Next` an agent has under way.
    pub fn polls(&self, agent: i64) -> usize {
        self.polls.get(&agent).map_or(0, |gauge| gauge.now)
    }

    /// The most calls of `Next` that an agent ever had under way at once.
    pub fn most_polls(&self, agent: i64) -> usize {
        self.polls.get(&agent).map_or(0, |gauge| gauge.most)
    }

    /// How many calls of `Wait` are under way.
    pub fn waits(&self) -> usize {
        self.waits.now
    }

    /// The most calls of `Wait` that ever were under way at once.
    pub fn most_waits(&self) -> usize {
        self.waits.most
    }

    /// What agents did that a real server suffers from, or doesn't put up with. Empty, if they are good.
    pub fn faults(&self) -> &[String] {
        &self.faults
    }

    pub(super) fn fault(&mut self, what: String) {
        if self.faults.len() < MAX_CALLS {
            self.faults.push(what);
        }
    }

    pub(super) fn begin(&mut self, call: Call) -> usize {
        let number = self.calls.len();
        if number < MAX_CALLS {
            self.calls.push(call);
        }
        number
    }

    /// The caller is known from now on.
    pub(super) fn identify(&mut self, number: usize, agent: i64) {
        if let Some(call) = self.calls.get_mut(number) {
            call.agent = Some(agent);
            match call.said.method() {
                Method::Next => self.polls.entry(agent).or_default().rise(),
                Method::Wait => self.waits.rise(),
                _ => {}
            }
        }
    }

    pub(super) fn end(&mut self, number: usize, answer: Answer) {
        if let Some(call) = self.calls.get_mut(number) {
            call.answer = answer;
            match (call.said.method(), call.agent) {
                (Method::Next, Some(agent)) => self.polls.entry(agent).or_default().fall(),
                (Method::Wait, Some(_)) => self.waits.fall(),
                _ => {}
            }
        }
    }
}
