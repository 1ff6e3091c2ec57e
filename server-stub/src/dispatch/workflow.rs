//! One workflow, from submission to its end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use piculet_core::id::{Epoch, InstanceId, RunKey, WorkflowId};
use piculet_core::outcome::WorkflowState;
use piculet_core::report::WorkflowReport;
use piculet_core::workload::WorkloadSpec;
use piculet_link::message::TraceContext;
use serde::{Deserialize, Serialize};

use crate::assignment::{Assignment, Place};
use crate::ledger::Ledger;
use crate::mailbox::Stop;

/// The state of a workflow, in Woodpecker's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Waits for an agent, or for other workflows.
    Pending,
    /// An agent has it.
    Running,
    /// No step failed that counts.
    Success,
    /// A step failed that counts, or it could not be run.
    Failure,
    /// Stopped while it ran.
    Killed,
    /// The workflows that it waited for didn't end as it asks.
    Skipped,
    /// Stopped before anything ran.
    Canceled,
}

/// What a workflow waits for before it may go to an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// All of these have to be over.
    pub after: Vec<WorkflowId>,
    /// Run if all of them succeeded.
    pub on_success: bool,
    /// Run if one of them didn't.
    pub on_failure: bool,
    /// How many of its kind may run at once.
    pub throttle: Option<Throttle>,
}

/// How many workflows of a group may run at once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Throttle {
    /// Those that share the limit.
    pub group: String,
    /// At least 1.
    pub limit: u32,
}

impl Default for Condition {
    /// Waits for nothing.
    fn default() -> Self {
        Self { after: Vec::new(), on_success: true, on_failure: false, throttle: None }
    }
}

/// How a workflow ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// A final state.
    pub state: State,
    /// When.
    pub at: Timestamp,
    /// What went wrong apart from the steps; empty if nothing did.
    pub error: String,
}

/// A workflow.
#[derive(Debug)]
pub struct Workflow {
    /// The server's id of it.
    pub id: WorkflowId,
    /// Counts the workflows of this server from 1: an id that people can type.
    pub number: u64,
    /// Its name, for people.
    pub name: String,
    /// The repository that it belongs to: those that have the fewest running go first. Those with an empty
    /// one share their turns.
    pub repository: String,
    /// Workflows with a larger one go first.
    pub priority: i32,
    /// What placement looks at.
    pub labels: BTreeMap<String, String>,
    /// When it was submitted.
    pub created: Timestamp,
    /// Since when it waits, or when it waited last.
    pub(super) queued: Timestamp,
    /// When an agent got it last.
    pub assigned: Option<Timestamp>,
    /// What it waits for.
    pub condition: Condition,
    /// Who has it.
    pub assignment: Assignment,
    /// What was reported of it.
    pub ledger: Ledger,
    /// Somebody wants it stopped.
    pub stop: Option<Stop>,
    /// How it ended, if it has.
    pub end: Option<End>,
    /// The name of the agent that has or had it last.
    pub agent: Option<String>,
    /// The name of that agent's cluster.
    pub cluster: Option<String>,
    /// Whether a token says that the agent is of that one.
    pub(super) has_cluster_by_token: bool,
    /// The trace that it belongs to.
    pub(super) trace: Option<TraceContext>,
    /// Whether its trace leaves the server; `None`: no traces do.
    pub(super) is_sampled: Option<bool>,
    /// The payload; forgotten at the end, since it carries secrets.
    pub(super) spec: Option<Arc<WorkloadSpec>>,
    /// The only instance whose reports count.
    pub(super) driver: Option<InstanceId>,
    /// What it awaits is over, and ended as it asks.
    pub(super) is_free: bool,
    /// Who refused it, with their words.
    pub(super) refusals: BTreeMap<InstanceId, String>,
    /// Since when every agent that fits has refused it.
    pub(super) refused_since: Option<Instant>,
}

impl End {
    /// What an agent would have said of it.
    pub(super) fn report(&self, started: Option<Timestamp>) -> WorkflowReport {
        WorkflowReport {
            state: self.state.as_reported(),
            started: started.unwrap_or(self.at),
            finished: self.at,
            error: self.error.clone(),
        }
    }
}

impl Workflow {
    /// Its state.
    pub fn state(&self) -> State {
        match (&self.end, self.assignment.place()) {
            (Some(end), _) => end.state,
            (None, Place::Pending | Place::Assigned(_)) => State::Pending,
            (None, _) => State::Running,
        }
    }

    /// The current or next run.
    pub fn run(&self) -> RunKey {
        RunKey { workflow: self.id.clone(), epoch: self.assignment.epoch() }
    }

    /// The workflows that have to be over before it may go to an agent. None once it was with one: its turn came, and
    /// stays its turn when it comes back, even if nobody knows those others any more.
    pub fn awaited(&self) -> &[WorkflowId] {
        if *self.assignment.place() == Place::Pending && !self.had_its_turn() { &self.condition.after } else { &[] }
    }

    /// Whether it was with an agent and came back.
    pub(super) fn had_its_turn(&self) -> bool {
        self.assignment.epoch() > Epoch(1)
    }

    /// Whether it is neither in the queue nor over.
    pub(super) fn is_with_an_agent(&self) -> bool {
        !matches!(self.assignment.place(), Place::Pending | Place::Ended)
    }

    /// Whether the reports of this instance under this epoch count.
    pub(super) fn is_driven_by(&self, instance: &InstanceId, epoch: Epoch) -> bool {
        self.driver.as_ref() == Some(instance) && self.assignment.epoch() == epoch
    }
}

impl State {
    /// Whether nothing follows it.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Pending | Self::Running)
    }

    /// Woodpecker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Killed => "killed",
            Self::Skipped => "skipped",
            Self::Canceled => "canceled",
        }
    }

    /// The state that agents know for it.
    pub(super) fn as_reported(self) -> WorkflowState {
        match self {
            Self::Pending => WorkflowState::Pending,
            Self::Running => WorkflowState::Running,
            Self::Success => WorkflowState::Success,
            Self::Failure => WorkflowState::Failure,
            Self::Killed | Self::Skipped | Self::Canceled => WorkflowState::Killed,
        }
    }
}

impl From<WorkflowState> for State {
    fn from(state: WorkflowState) -> Self {
        match state {
            WorkflowState::Pending => Self::Pending,
            WorkflowState::Running => Self::Running,
            WorkflowState::Success => Self::Success,
            WorkflowState::Failure => Self::Failure,
            WorkflowState::Killed => Self::Killed,
        }
    }
}
