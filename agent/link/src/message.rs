//! What goes over a link, as values of the agent. A link turns them into its server's wire form and back.

use std::collections::BTreeMap;
use std::time::Duration;

use piculet_core::id::{Epoch, InstanceId, RunKey, Sequence, ServerId, StepId};
use piculet_core::outbox::Envelope;
use piculet_core::workload::{WorkloadError, WorkloadSpec};
use serde::{Deserialize, Serialize};

/// Who the agent is: the same in every session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its name, for people. Replicas of one deployment may share it.
    pub name: String,
    /// This process, over all its connections.
    pub instance: InstanceId,
    /// The version of the program, for people.
    pub version: String,
    /// Where steps run.
    pub cluster: Cluster,
    /// What placement looks at. A key with a leading `!` is required of the workflow; the value `*` matches any.
    pub labels: BTreeMap<String, String>,
    /// Platforms of the cluster's nodes, as `linux/amd64`. Empty: unknown.
    pub platforms: Vec<String>,
    /// How many workflows it runs at most.
    pub capacity: u32,
}

/// A Kubernetes cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cluster {
    /// The operator's name for it.
    pub name: String,
    /// UID of its `kube-system` namespace; empty if that can't be read.
    pub uid: String,
    /// Version of its API server, as `v1.34.4`.
    pub version: String,
}

/// Opens a session, or resumes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Who says it.
    pub identity: Identity,
    /// Every workflow that this instance holds.
    pub held: Vec<Held>,
}

/// A workflow that the agent holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Which, under which assignment.
    pub key: RunKey,
    /// The last report that the agent saw acknowledged; 0 if none.
    pub acknowledged: Sequence,
}

/// How many more workflows the agent can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Demand {
    /// Free slots.
    pub free_slots: u32,
    /// How many assignments of this session had been received when it was said: later ones are not subtracted yet.
    pub assigns_received: u64,
}

/// What the agent says in a session, after [`Hello`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outgoing {
    /// Replaces what was said before.
    Demand(Demand),
    /// A report or a run of log lines; the server acknowledges its sequence.
    Report(Envelope),
    /// The instance lives, and holds these.
    Heartbeat(Vec<Held>),
    /// No more work is taken.
    Draining,
    /// These were left running for another instance of the cluster.
    Released(Vec<Held>),
}

/// What a server says in a session.
#[derive(Debug, Clone, PartialEq)]
pub enum Incoming {
    /// The session is open. Always the first, and only the first.
    Welcome(Welcome),
    /// A workflow to run.
    Assign(Box<Assign>),
    /// Stop a workflow.
    Cancel(Cancel),
    /// The workflow is another agent's now: report nothing, and leave to that one what it has taken over.
    LetGo(RunKey),
    /// Everything of this workflow up to the sequence is stored.
    Ack {
        /// The workflow and its assignment.
        key: RunKey,
        /// The last stored report.
        sequence: Sequence,
    },
    /// Take no more work, and finish what is there.
    Drain,
    /// Work may be taken again.
    Resume,
    /// The server lives, and asks for a [`Outgoing::Heartbeat`].
    Ping,
    /// The server lives.
    Alive,
}

/// Accepts a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// The server's id of the agent.
    pub agent_id: String,
    /// The server's id of the session.
    pub session_id: String,
    /// The server, stable over its restarts.
    pub server: ServerId,
    /// Time between two heartbeats; more than zero.
    pub heartbeat: Duration,
    /// Silence after which each side holds the other for gone; more than two heartbeats.
    pub lease: Duration,
    /// What becomes of each workflow of [`Hello::held`].
    pub held: Vec<HeldDecision>,
}

/// What becomes of a held workflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldDecision {
    /// Which.
    pub key: RunKey,
    /// False: stop it, and report nothing.
    pub keep: bool,
    /// The last report that the server has.
    pub acknowledged: Sequence,
    /// How many whole log lines the server has, per step.
    pub log_lines: BTreeMap<StepId, u64>,
}

/// A workflow handed to the agent.
#[derive(Debug, Clone, PartialEq)]
pub struct Assign {
    /// Which, under which assignment.
    pub key: RunKey,
    /// The epoch that the workflow's objects are made under. That of the key, unless the server knows no epochs: then
    /// the first, whoever makes them, so that each agent recognises what another one made.
    pub made_under: Epoch,
    /// What to run, or why it can't be read.
    pub spec: Result<WorkloadSpec, WorkloadError>,
    /// Whether the server gives it to somebody else if this agent can't take it now.
    pub can_go_elsewhere: bool,
    /// The trace that it belongs to.
    pub trace: Option<TraceContext>,
}

/// W3C trace context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceContext {
    /// The `traceparent` header; not empty.
    pub parent: String,
    /// The `tracestate` header; may be empty.
    pub state: String,
}

/// Stops a workflow. May be said more than once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cancel {
    /// Which.
    pub key: RunKey,
    /// Who or what asked for it, for people.
    pub reason: String,
    /// Time between SIGTERM and SIGKILL; `None`: the agent's own setting.
    pub grace: Option<Duration>,
}
