//! The one owner of the server's state: agents, sessions, workflows and the queue.
//!
//! Methods are named by what happened. Each takes the moment as a value, changes the state without waiting for
//! anything, and leaves what has to be said in the mailboxes of the sessions; [`Dispatcher::touched`] tells whom to
//! wake. Nothing here reads a clock, a socket or randomness.

mod agents;
mod clusters;
mod keeping;
mod order;
mod placing;
mod post;
mod reports;
mod saving;
mod standing;
mod submit;
mod timing;
mod tokens;
mod tracing;
mod workflow;

pub use agents::{Admission, Agent, Session, SessionId};
pub use clusters::{Cluster, NoSuchCluster};
pub use post::Post;
pub use reports::Effect;
pub use submit::{CancelError, Submission, SubmitError};
pub use timing::Timing;
pub use tokens::{NewToken, NoSuchToken};
pub use workflow::{Condition, End, State, Throttle, Workflow};

use std::collections::{BTreeMap, BTreeSet};

use piculet_core::id::{InstanceId, WorkflowId};
use piculet_core::trace::Span;

use crate::record::TokenRecord;
use saving::Unsaved;
use standing::Standings;

/// How the server behaves.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The server's identity: object names of two servers never clash.
    pub server_id: String,
    /// The protocol version that is answered to agents.
    pub protocol: u32,
    /// Periods and deadlines.
    pub timing: Timing,
    /// Whether workflows are placed as soon as an agent can take them; tests that place by hand switch it off.
    pub places: bool,
    /// What is kept at most.
    pub limits: Limits,
}

/// What is kept at most.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Room for the log of one step, in bytes. What comes after is counted and not kept.
    pub log_bytes: u64,
    /// Room for all logs, in bytes. When it is full, the workflows that ended first are forgotten; when that isn't
    /// enough, what comes after is counted and not kept. A line counts when it is whole: of each step that runs, up to
    /// 1 MiB comes on top.
    pub all_log_bytes: u64,
    /// Workflows that are over; the oldest are forgotten first.
    pub finished_workflows: usize,
    /// Workflows that are not over; more are refused.
    pub open_workflows: usize,
    /// Bytes of one workload on the wire.
    pub workload_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            log_bytes: 256 << 20,
            all_log_bytes: 4 << 30,
            finished_workflows: 1000,
            open_workflows: 10_000,
            // The rest of a message has room in 64 KiB.
            workload_bytes: piculet_proto::v1::MAX_MESSAGE_BYTES - (64 << 10),
        }
    }
}

/// Whom a change concerns.
#[derive(Debug, Default)]
pub struct Touched {
    /// Sessions with new letters.
    pub sessions: BTreeSet<SessionId>,
    /// Workflows that look different now.
    pub workflows: BTreeSet<WorkflowId>,
    /// A deadline may come earlier than before.
    pub deadline: bool,
}

/// The state of the server.
#[derive(Debug)]
pub struct Dispatcher {
    policy: Policy,
    agents: BTreeMap<InstanceId, Agent>,
    /// By name.
    clusters: BTreeMap<String, Cluster>,
    /// By id.
    tokens: BTreeMap<String, TokenRecord>,
    sessions: BTreeMap<SessionId, Session>,
    workflows: BTreeMap<WorkflowId, Workflow>,
    /// All workflows, by their numbers, for lists.
    order: BTreeMap<u64, WorkflowId>,
    /// Which of them wait, run and are over.
    standings: Standings,
    /// The room that the logs of all workflows take in the store, in bytes.
    log_size: u64,
    submitted: u64,
    sessions_opened: u64,
    agents_seen: u64,
    touched: Touched,
    unsaved: Unsaved,
    /// Of traces, and not handed over yet.
    spans: Vec<Span>,
}

impl Dispatcher {
    /// A server that nobody has spoken to yet.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            agents: BTreeMap::new(),
            clusters: BTreeMap::new(),
            tokens: BTreeMap::new(),
            sessions: BTreeMap::new(),
            workflows: BTreeMap::new(),
            order: BTreeMap::new(),
            standings: Standings::default(),
            log_size: 0,
            submitted: 0,
            sessions_opened: 0,
            agents_seen: 0,
            touched: Touched::default(),
            unsaved: Unsaved::default(),
            spans: Vec::new(),
        }
    }

    /// How the server behaves.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Changes how it behaves.
    pub fn policy_mut(&mut self) -> &mut Policy {
        &mut self.policy
    }

    /// Whom the changes since the last call concern.
    pub fn touched(&mut self) -> Touched {
        let touched = std::mem::take(&mut self.touched);
        self.unsaved.workflows.extend(touched.workflows.iter().cloned());
        touched
    }

    /// A workflow.
    pub fn workflow(&self, id: &WorkflowId) -> Option<&Workflow> {
        self.workflows.get(id)
    }

    /// All workflows, the oldest first.
    pub fn workflows(&self) -> impl DoubleEndedIterator<Item = &Workflow> {
        self.order.values().filter_map(|id| self.workflows.get(id))
    }

    /// The workflow with this number.
    pub fn numbered(&self, number: u64) -> Option<&Workflow> {
        self.workflows.get(self.order.get(&number)?)
    }

    /// Workflows that are not over.
    fn open_workflows(&self) -> impl Iterator<Item = &Workflow> {
        self.standings.open().iter().filter_map(|id| self.workflows.get(id))
    }

    /// All agents that were heard of lately.
    pub fn agents(&self) -> impl Iterator<Item = &Agent> {
        self.agents.values()
    }

    /// A session, as long as its end was not fetched.
    pub fn session(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(&id)
    }

    /// The session that an agent speaks through, for changes; marks it as one to wake.
    fn live_session(&mut self, instance: &InstanceId) -> Option<&mut Session> {
        let id = self.agents.get(instance)?.session?;
        self.touched.sessions.insert(id);
        self.sessions.get_mut(&id)
    }
}
