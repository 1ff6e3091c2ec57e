//! What outlives the server's process, as plain values: made by the dispatcher, kept by the store.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use piculet_core::id::{Epoch, InstanceId, Sequence, WorkflowId};
use piculet_core::report::LogLine;
use piculet_core::workload::WorkloadSpec;
use piculet_link::message::{Identity, TraceContext};
use serde::{Deserialize, Serialize};

use crate::assignment::Holder;
use crate::dispatch::{Condition, End};
use crate::ledger::{Known, Part, StepRecord};
use crate::mailbox::Stop;

/// One change of what is stored. Those of a batch take effect in their order.
#[derive(Debug)]
pub enum Write {
    /// The server's identity, once.
    ServerId(String),
    /// A workflow goes, with all that belongs to it.
    ForgetWorkflow(u64),
    /// The lines of a workflow's logs go.
    ForgetLogs(u64),
    /// A workflow is new, or looks different.
    Workflow(Box<WorkflowRecord>, Payload),
    /// A step is new, looks different, or has new lines.
    Step(Box<StepWrite>),
    /// An agent is new, or looks different.
    Agent(Box<AgentRecord>),
    /// An agent, by its number, goes.
    ForgetAgent(u64),
    /// A cluster is new, or looks different.
    Cluster(Box<ClusterRecord>),
    /// A cluster, by its name, goes.
    ForgetCluster(String),
    /// A token is new, or looks different.
    Token(Box<TokenRecord>),
    /// A token, by its id, goes.
    ForgetToken(String),
}

/// What becomes of the stored workload.
#[derive(Debug)]
pub enum Payload {
    /// It stays as it is.
    Same,
    /// It is stored for the first time.
    New(Arc<WorkloadSpec>),
    /// It is needed no more.
    Gone,
}

/// A workflow, without its steps and its workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowRecord {
    /// Counts the workflows of the server from 1.
    pub number: u64,
    /// The server's id of it.
    pub id: WorkflowId,
    /// Its name.
    pub name: String,
    /// The repository that it belongs to; may be empty.
    pub repository: String,
    /// Larger ones go first.
    pub priority: i32,
    /// What placement looks at.
    pub labels: BTreeMap<String, String>,
    /// What it waits for.
    pub condition: Condition,
    /// The trace that it belongs to.
    pub trace: Option<TraceContext>,
    /// Whether its trace leaves the server; `None`: no traces did when it was submitted.
    #[serde(default)]
    pub is_sampled: Option<bool>,
    /// When it was submitted.
    pub created: Timestamp,
    /// Since when it waits, or when it waited last.
    pub queued: Timestamp,
    /// When an agent got it last.
    pub assigned: Option<Timestamp>,
    /// When its first step started.
    pub started: Option<Timestamp>,
    /// How often it began from nothing.
    pub round: u64,
    /// Which assignment is the current or the next one.
    pub epoch: Epoch,
    /// Where it is.
    pub place: PlaceRecord,
    /// The only instance whose reports count.
    pub driver: Option<InstanceId>,
    /// The name of the agent that has or had it last.
    pub agent: Option<String>,
    /// The name of that agent's cluster.
    pub cluster: Option<String>,
    /// Whether a token says that the agent is of that one.
    pub has_cluster_by_token: bool,
    /// The last report that was stored.
    pub stored: Sequence,
    /// Somebody wants it stopped.
    pub stop: Option<Stop>,
    /// How it ended, if it has.
    pub end: Option<End>,
}

/// Where a workflow is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlaceRecord {
    /// In the queue.
    Pending,
    /// Offered to an agent that was not told that its acceptance is stored: it has created nothing.
    Offered(Holder),
    /// Belongs to the cluster of this agent.
    Bound(Holder),
    /// Over.
    Ended,
}

/// A step to be stored.
#[derive(Debug)]
pub struct StepWrite {
    /// The number of its workflow.
    pub workflow: u64,
    /// Its place in the workflow, from 0.
    pub position: usize,
    /// A [`StepDocument`], as JSON.
    pub document: String,
    /// A line of which only the beginning has come.
    pub part: Option<Part>,
    /// Lines that were not stored yet.
    pub lines: Vec<LogLine>,
}

/// What is known of a step and of its log.
#[derive(Debug, Serialize, Deserialize)]
pub struct StepDocument<S = StepRecord, K = Known> {
    /// The step.
    pub step: S,
    /// Its log, without the lines.
    pub log: K,
}

/// An agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentRecord {
    /// Counts the agents of the server from 1.
    pub number: u64,
    /// The instance.
    pub instance: InstanceId,
    /// What it said about itself when it came last.
    pub identity: Identity,
    /// The name of its cluster.
    pub cluster: String,
    /// Whether a token says that it is that one.
    pub has_cluster_by_token: bool,
    /// An operator said that it shall take no more work.
    pub is_drained: bool,
}

/// A cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterRecord {
    /// Names it among the clusters of this server.
    pub name: String,
    /// The UID of its `kube-system` namespace; empty: unknown.
    pub uid: String,
    /// The version of its API server, for people.
    pub version: String,
    /// An operator said that it shall take no more work.
    pub is_drained: bool,
    /// When an operator said that it is lost.
    pub lost: Option<Timestamp>,
}

/// A token by which agents of one cluster are let in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Names it; no secret.
    pub id: String,
    /// The cluster whose agents have it.
    pub cluster: String,
    /// What it is for, for people.
    pub note: String,
    /// SHA-256 of the token, in hexadecimal digits.
    pub hash: String,
    /// When it was made.
    pub created: Timestamp,
    /// When it was revoked, if it was.
    pub revoked: Option<Timestamp>,
}
