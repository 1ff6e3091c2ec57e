//! What people and programs are shown. Nothing in here comes from a workload but names and labels: no command, no
//! variable, no secret.

use std::collections::BTreeMap;

use jiff::Timestamp;
use piculet_core::id::WorkflowId;
use piculet_core::outcome::StepState;
use piculet_core::workload::StepKind;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::schema::{step_kind, step_state};
use crate::assignment::Place;
use crate::dispatch::{Agent, Cluster, Dispatcher, NoSuchCluster, State, Workflow};
use crate::ledger::StepRecord;
use crate::placement::Presence;
use crate::server::Server;

/// The shortest beginning of an id that names a workflow.
const MIN_PREFIX: usize = 4;

/// A workflow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkflowView {
    /// The server's id of it.
    pub id: String,
    /// Counts the workflows of this server from 1: an id that people can type.
    pub number: u64,
    /// Its name, for people.
    pub name: String,
    /// In Woodpecker's words.
    pub state: State,
    /// Where it is.
    pub place: PlaceView,
    /// Grows with each assignment; the first is 1.
    pub epoch: u64,
    /// Counts how often it began from nothing, from 1: it does if its cluster is given up. Attempts of steps and lines
    /// count from the beginning in each round.
    pub round: u64,
    /// The name of the agent that has or had it.
    pub agent: Option<String>,
    /// The name of that agent's cluster.
    pub cluster: Option<String>,
    /// The repository that it belongs to; may be empty.
    pub repository: String,
    /// Workflows with a larger one go first.
    pub priority: i32,
    /// What placement looks at.
    pub labels: BTreeMap<String, String>,
    /// When it was submitted.
    pub created: Timestamp,
    /// When an agent got it last.
    pub assigned: Option<Timestamp>,
    /// When its first step started, by the node's clock.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub finished: Option<Timestamp>,
    /// What went wrong apart from the steps; empty if nothing did.
    pub error: String,
    /// Why it waits: other workflows, or else one sentence for each agent. Empty if no agent is there.
    pub waiting: Vec<String>,
    /// Why somebody wants it stopped; empty if nobody does. It may take a while: its agent may be away.
    pub stopping: String,
    /// Its steps, in the order of the file.
    pub steps: Vec<StepView>,
}

/// Where a workflow is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PlaceView {
    /// In the queue.
    Pending,
    /// Offered to an agent that has not answered.
    Assigned,
    /// Accepted by an agent.
    Accepted,
    /// An agent runs it.
    Running,
    /// Its agent went away with it, and may come back.
    Away,
    /// Over.
    Finished,
}

/// A step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StepView {
    /// The step's id.
    pub id: String,
    /// Its name, for people.
    pub name: String,
    /// The stage that it stands in; the first is 0.
    pub stage: u32,
    /// What it is.
    #[schema(schema_with = step_kind)]
    pub kind: StepKind,
    /// The names of the steps that it waits for; `None`: all of the earlier stages.
    pub needs: Option<Vec<String>>,
    /// In Woodpecker's words.
    #[schema(schema_with = step_state)]
    pub state: StepState,
    /// Which attempt; the first is 1.
    pub attempt: u32,
    /// The exit code, if one was observed.
    pub exit_code: Option<i32>,
    /// The class of its outcome, for example `oom-killed`; `None` as long as it has no end.
    pub outcome: Option<String>,
    /// A sentence; empty where the exit code says it all.
    pub error: String,
    /// By the node's clock.
    pub started: Option<Timestamp>,
    /// By the node's clock.
    pub finished: Option<Timestamp>,
    /// How many lines of its log are kept.
    pub log_lines: u64,
    /// What is wrong with its log, if something is.
    pub log_complaint: Option<String>,
}

/// An agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentView {
    /// The server's id of it.
    pub id: String,
    /// Its name, for people.
    pub name: String,
    /// The identity of its process.
    pub instance: String,
    /// Its version.
    pub version: String,
    /// Whether it can be given work.
    pub state: AgentState,
    /// The name of its cluster, as this server knows it.
    pub cluster: String,
    /// The version of its cluster's API server.
    pub cluster_version: String,
    /// What it offers to workflows.
    pub labels: BTreeMap<String, String>,
    /// Platforms of its nodes.
    pub platforms: Vec<String>,
    /// How many workflows it runs at most.
    pub capacity: u32,
    /// How many more it may be given now.
    pub free_slots: u32,
    /// The ids of the workflows that it has.
    pub workflows: Vec<String>,
}

/// A cluster, with all of its agents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClusterView {
    /// Names it among the clusters of this server.
    pub name: String,
    /// The UID of its `kube-system` namespace; empty: unknown.
    pub uid: String,
    /// The version of its API server; empty: unknown.
    pub version: String,
    /// Whether it can be given work.
    pub state: ClusterState,
    /// When an operator said that it is lost.
    pub lost: Option<Timestamp>,
    /// How many of its agents are connected.
    pub agents: usize,
    /// How many workflows those run at most.
    pub capacity: u32,
    /// How many more they may be given now.
    pub free_slots: u32,
    /// How many workflows it has, with those whose agent is away.
    pub workflows: usize,
}

/// Whether a cluster can be given work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClusterState {
    /// At least one of its agents takes work.
    Connected,
    /// It takes no more work: an operator said so, or its agents did.
    Draining,
    /// None of its agents is there.
    Away,
    /// An operator gave it up. It takes no work until it is resumed.
    Lost,
}

/// Whether an agent can be given work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AgentState {
    /// It is there and takes work.
    Connected,
    /// It is there and takes no more work.
    Draining,
    /// It is not there.
    Away,
}

/// Why a name leads to no workflow, step or agent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// No workflow has it.
    #[error("there is no workflow '{0}'; workflows that were over long ago are forgotten")]
    NoWorkflow(String),
    /// Several workflows have it.
    #[error("'{0}' could be more than one workflow; say more of its id")]
    Ambiguous(String),
    /// The workflow has no such step.
    #[error("the workflow '{workflow}' has no step '{step}'")]
    NoStep {
        /// The workflow's name.
        workflow: String,
        /// What was asked for.
        step: String,
    },
    /// No agent has it.
    #[error("there is no agent '{0}'; agents that were away for long are forgotten")]
    NoAgent(String),
}

impl Server {
    /// A workflow, by its number, its id, a beginning of it that no other shares, or its name; of several with the same
    /// name the newest.
    ///
    /// # Errors
    /// If there is none, or more than one.
    pub fn workflow(&self, text: &str) -> Result<WorkflowView, LookupError> {
        self.look(|dispatcher| find(dispatcher, text).map(|workflow| WorkflowView::of(dispatcher, workflow)))
    }

    /// All workflows, the oldest first.
    pub fn workflows(&self) -> Vec<WorkflowView> {
        // One by one: why a workflow waits takes a look at every agent, and agents should not wait for a long list.
        let ids: Vec<_> = self.look(|dispatcher| dispatcher.workflows().map(|workflow| workflow.id.clone()).collect());
        let view =
            |id: &WorkflowId| self.look(|dispatcher| Some(WorkflowView::of(dispatcher, dispatcher.workflow(id)?)));
        ids.iter().filter_map(view).collect()
    }

    /// All clusters, by name.
    pub fn clusters(&self) -> Vec<ClusterView> {
        self.look(|dispatcher| {
            dispatcher.clusters().map(|(name, cluster)| ClusterView::of(dispatcher, name, cluster)).collect()
        })
    }

    /// A cluster, by its name.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn cluster(&self, name: &str) -> Result<ClusterView, NoSuchCluster> {
        let clusters = self.clusters();
        clusters.into_iter().find(|cluster| cluster.name == name).ok_or_else(|| NoSuchCluster(name.to_owned()))
    }

    /// All agents that were heard of lately, by name.
    pub fn agents(&self) -> Vec<AgentView> {
        let mut agents: Vec<_> =
            self.look(|dispatcher| dispatcher.agents().map(|agent| AgentView::of(dispatcher, agent)).collect());
        agents.sort_by(|a: &AgentView, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        agents
    }
}

/// Finds a workflow as [`Server::workflow`] does.
pub(crate) fn find<'d>(dispatcher: &'d Dispatcher, text: &str) -> Result<&'d Workflow, LookupError> {
    if let Some(workflow) = dispatcher.workflow(&WorkflowId::new(text)) {
        return Ok(workflow);
    }
    let number = text.parse().ok();
    if let Some(workflow) = number.and_then(|number| dispatcher.numbered(number)) {
        return Ok(workflow);
    }
    if text.len() >= MIN_PREFIX {
        let mut matching = dispatcher.workflows().filter(|workflow| workflow.id.as_str().starts_with(text));
        match (matching.next(), matching.next()) {
            (Some(workflow), None) => return Ok(workflow),
            (Some(_), Some(_)) => return Err(LookupError::Ambiguous(text.to_owned())),
            (None, _) => {}
        }
    }
    let mut named = dispatcher.workflows().filter(|workflow| workflow.name == text);
    named.next_back().ok_or_else(|| LookupError::NoWorkflow(text.to_owned()))
}

impl WorkflowView {
    pub(crate) fn of(dispatcher: &Dispatcher, workflow: &Workflow) -> Self {
        let mut waiting = dispatcher.blocked_by(workflow);
        if waiting.is_empty() {
            waiting = dispatcher.why_waiting(&workflow.id).iter().map(ToString::to_string).collect();
        }
        let is_over = workflow.end.is_some();
        Self {
            id: workflow.id.to_string(),
            number: workflow.number,
            name: workflow.name.clone(),
            state: workflow.state(),
            place: workflow.assignment.place().into(),
            epoch: workflow.assignment.epoch().0,
            round: workflow.ledger.round(),
            agent: workflow.agent.clone(),
            cluster: workflow.cluster.clone(),
            repository: workflow.repository.clone(),
            priority: workflow.priority,
            labels: workflow.labels.clone(),
            created: workflow.created,
            assigned: workflow.assigned,
            started: workflow.ledger.started(),
            finished: workflow.end.as_ref().map(|end| end.at),
            error: workflow.end.as_ref().map(|end| end.error.clone()).unwrap_or_default(),
            waiting,
            stopping: workflow.stop.as_ref().map(|stop| stop.reason.clone()).unwrap_or_default(),
            steps: workflow.ledger.steps().iter().map(|step| StepView::of(step, is_over)).collect(),
        }
    }
}

impl StepView {
    pub(crate) fn of(step: &StepRecord, is_over: bool) -> Self {
        Self {
            id: step.id.to_string(),
            name: step.name.clone(),
            stage: step.stage,
            kind: step.kind,
            needs: step.needs.clone(),
            state: step.state,
            attempt: step.attempt.0,
            exit_code: step.exit_code,
            outcome: step.outcome.map(|class| class.to_string()),
            error: step.error.clone(),
            started: step.started,
            finished: step.finished,
            log_lines: step.log.line_count(),
            log_complaint: step.log.complaint(is_over),
        }
    }
}

impl AgentView {
    fn of(dispatcher: &Dispatcher, agent: &Agent) -> Self {
        let identity = &agent.identity;
        Self {
            id: agent.id(),
            name: identity.name.clone(),
            instance: identity.instance.to_string(),
            version: identity.version.clone(),
            state: dispatcher.presence(agent).into(),
            cluster: agent.cluster.clone(),
            cluster_version: identity.cluster.version.clone(),
            labels: identity.labels.clone(),
            platforms: identity.platforms.clone(),
            capacity: identity.capacity,
            free_slots: dispatcher.free_slots(agent),
            workflows: agent.runs.iter().map(|run| run.workflow.to_string()).collect(),
        }
    }
}

impl ClusterView {
    fn of(dispatcher: &Dispatcher, name: &str, cluster: &Cluster) -> Self {
        let connected: Vec<_> = dispatcher.agents_of(name).filter(|agent| agent.session.is_some()).collect();
        let is_ready = |agent: &&Agent| dispatcher.presence(agent) == Presence::Ready;
        let state = match cluster.lost {
            Some(_) => ClusterState::Lost,
            None if connected.iter().any(is_ready) => ClusterState::Connected,
            None if cluster.is_drained || !connected.is_empty() => ClusterState::Draining,
            None => ClusterState::Away,
        };
        Self {
            name: name.to_owned(),
            uid: cluster.uid.clone(),
            version: cluster.version.clone(),
            state,
            lost: cluster.lost,
            agents: connected.len(),
            capacity: connected.iter().map(|agent| agent.identity.capacity).fold(0, u32::saturating_add),
            free_slots: connected.iter().map(|agent| dispatcher.free_slots(agent)).fold(0, u32::saturating_add),
            workflows: dispatcher.load_of(name),
        }
    }
}

impl From<&Place> for PlaceView {
    fn from(place: &Place) -> Self {
        match place {
            Place::Pending => Self::Pending,
            Place::Assigned(_) => Self::Assigned,
            Place::Accepted(_) => Self::Accepted,
            Place::Bound(_) => Self::Running,
            Place::Orphaned { .. } => Self::Away,
            Place::Ended => Self::Finished,
        }
    }
}

impl From<Presence> for AgentState {
    fn from(presence: Presence) -> Self {
        match presence {
            Presence::Ready => Self::Connected,
            Presence::Draining => Self::Draining,
            Presence::Away => Self::Away,
        }
    }
}
