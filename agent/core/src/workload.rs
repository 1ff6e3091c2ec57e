//! The workload: a workflow as the agent runs it.
//!
//! A [`WorkloadSpec`] is what somebody handed in: a server, a pipeline file, a workload file. [`Workload::new`] checks
//! it as a whole, tells every problem at once, and gives a value whose invariants the rest of the program relies on:
//! there is at least one step, ids are unique, every `needs` names one step, and nothing waits for itself.

mod check;
mod spec;

pub use check::{Problem, WorkloadError};
pub use spec::{
    ExtraHost, FailurePolicy, Port, Protocol, RegistryAuth, StageSpec, StepKind, StepSpec, VolumeSpec, WorkloadSpec,
};

use std::collections::BTreeMap;
use std::time::Duration;

use crate::id::{StepId, StepIndex, WorkflowId};
use crate::secret::Secret;

/// A validated workflow.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// The server's id of the workflow.
    pub id: WorkflowId,
    /// The workflow's name, for people.
    pub name: String,
    /// Placement labels and the server's own (`woodpecker-ci.org/*`).
    pub labels: BTreeMap<String, String>,
    /// How long the whole workflow may take; `None` leaves it to the agent's default.
    pub timeout: Option<Duration>,
    /// Values to mask, beside those of [`StepSpec::secret_environment`].
    pub secrets: Vec<Secret>,
    /// The server's number of the organisation that it belongs to.
    pub organization: Option<i64>,
    /// What the server calls the volume that steps share; empty: the agent names it.
    pub workspace: String,
    steps: Vec<Step>,
    stages: usize,
}

/// A step of a validated workflow.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The step's id.
    pub id: StepId,
    /// The stage that it stands in; the first is 0.
    pub stage: usize,
    /// The steps that must be over (services and detached ones: up) before this one may start. In index order.
    pub after: Vec<StepIndex>,
    /// All that was said about it.
    pub spec: StepSpec,
}

impl Step {
    /// Whether the step runs beside those after it, and is stopped when they are over.
    pub fn is_detached(&self) -> bool {
        self.spec.detached || self.spec.kind == StepKind::Service
    }

    /// How long the step may take from its start.
    pub fn timeout(&self) -> Option<Duration> {
        self.spec.timeout_seconds.map(Duration::from_secs)
    }
}

impl Workload {
    /// Checks a spec.
    ///
    /// # Errors
    /// Every problem that was found, each naming its field.
    pub fn new(id: WorkflowId, spec: WorkloadSpec) -> Result<Self, WorkloadError> {
        let steps = check::steps(&spec)?;
        Ok(Self {
            id,
            name: spec.name,
            labels: spec.labels,
            timeout: spec.timeout_seconds.map(Duration::from_secs),
            secrets: spec.secrets,
            organization: spec.organization,
            workspace: spec.workspace,
            steps,
            stages: spec.stages.len(),
        })
    }

    /// All steps, stage by stage, in the order in which they were written. Never empty.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The step at an index that this workload gave out.
    pub fn step(&self, index: StepIndex) -> &Step {
        &self.steps[index.0]
    }

    /// Every step with its index.
    pub fn indexed(&self) -> impl Iterator<Item = (StepIndex, &Step)> {
        self.steps.iter().enumerate().map(|(i, step)| (StepIndex(i), step))
    }

    /// How many stages there are; at least 1.
    pub fn stage_count(&self) -> usize {
        self.stages
    }

    /// Every value that must not appear in a log: the workflow's secrets, the steps' secret variables, and the
    /// passwords of registries.
    pub fn masked_values(&self) -> impl Iterator<Item = &Secret> {
        self.secrets.iter().chain(self.steps.iter().flat_map(|step| {
            let registry = step.spec.registry_auth.iter().map(|auth| &auth.password);
            step.spec.secret_environment.values().chain(registry)
        }))
    }
}
