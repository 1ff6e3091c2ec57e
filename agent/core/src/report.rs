//! What an agent says about a workflow: numbered, kept until acknowledged, sent again after a reconnect.

use bytes::Bytes;
use jiff::Timestamp;

use crate::id::{Attempt, StepId};
use crate::outcome::{Outcome, StepState, WorkflowState};

/// A report about a workflow's state. Outranks logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// The workflow was validated and its objects fit.
    Accepted,
    /// The agent can't run it.
    Refused {
        /// For the person who wrote the workflow.
        reason: String,
        /// What that means for other tries.
        scope: Refusal,
    },
    /// A step changed its state.
    Step(StepReport),
    /// The workflow is over. The last report.
    Finished(WorkflowReport),
}

/// How far a refusal goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No other agent could run it either.
    Everywhere,
    /// Another agent may be able to.
    Here,
    /// This agent may, too, once it has a free slot.
    Now,
}

/// A step's new state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepReport {
    /// The step.
    pub step: StepId,
    /// Which attempt at it.
    pub attempt: Attempt,
    /// The state.
    pub state: StepState,
    /// By the node's clock; `None` if it never started.
    pub started: Option<Timestamp>,
    /// By the node's clock; `None` if it has not ended, or never started.
    pub finished: Option<Timestamp>,
    /// How the container ended; `None` as long as it has not, and for steps that were never tried.
    pub outcome: Option<Outcome>,
    /// A sentence; empty where the exit code says it all.
    pub error: String,
}

/// A workflow's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkflowReport {
    /// A final state.
    pub state: WorkflowState,
    /// By the agent's clock.
    pub started: Timestamp,
    /// By the agent's clock.
    pub finished: Timestamp,
    /// What went wrong apart from the steps; empty if nothing did.
    pub error: String,
}

/// A numbered line of a step's log: masked, without its line end, at most 1 MiB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// The first line of a step is 0.
    pub number: u64,
    /// When it was written, by the node's clock.
    pub time: Timestamp,
    /// Not always UTF-8.
    pub bytes: Bytes,
}

/// The whole of a step's log, said when it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogTotal {
    /// How many lines there were.
    pub lines: u64,
    /// How many bytes these lines had, line ends not counted.
    pub bytes: u64,
}
