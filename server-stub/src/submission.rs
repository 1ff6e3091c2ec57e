//! What somebody hands in becomes workflows for the queue. Pure: ids come in as a value.

use std::collections::{BTreeMap, BTreeSet};

use piculet_core::id::WorkflowId;
use piculet_core::secret::Secret;
use piculet_core::workload::{Workload, WorkloadSpec};
use piculet_link::message::TraceContext;
use piculet_pipeline::{
    CompiledWorkflow, Context, Diagnostics, FilteredWorkflow, Given, GivenError, SourceFile, compile, identify_steps,
    without_missing_dependencies,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::dispatch::{Condition, Submission, Throttle};

/// The label that Woodpecker's server gives to each workflow: `owner/name`.
const REPOSITORY: &str = "repo";

/// What the HTTP API takes: pipeline files with what they run for, or finished workloads, or both.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Submission)]
pub struct Request {
    /// Pipeline files of one pipeline: they may depend on each other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileText>,
    /// What the files run for.
    #[serde(default)]
    pub context: ContextText,
    /// Workflows as agents get them. The ids of their steps are replaced: object names are made from them, and the
    /// same workload may be submitted twice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub workloads: Vec<WorkloadSpec>,
    /// Labels for all of the workflows; those of a file win.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Workflows with a larger one go first; the usual one is 0.
    #[serde(default)]
    pub priority: i32,
    /// The repository that they belong to: of those with the same priority, workflows of the repository with the fewest
    /// running go first. Absent: that of the context, or of the label `repo`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
}

/// A pipeline file.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FileText {
    /// Its path, for messages; the workflow's name is made from it.
    pub name: String,
    /// What is in it.
    pub text: String,
}

/// What pipeline files run for.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ContextText {
    /// The event's name: `push`, `pull_request`, `tag`, …
    #[serde(default = "push")]
    pub event: String,
    /// The branch; for a pull request the one that it is for.
    #[serde(default = "main")]
    pub branch: String,
    /// Variables. A `CI_*` name that pipelines know sets what it stands for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, String>,
    /// Secrets, for the steps that name them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, String>)]
    pub secrets: BTreeMap<String, Secret>,
    /// Seconds that each workflow may take; absent: the agent's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u64>,
}

impl Default for ContextText {
    /// A push to `main`.
    fn default() -> Self {
        Self {
            event: push(),
            branch: main(),
            variables: BTreeMap::new(),
            secrets: BTreeMap::new(),
            timeout_seconds: None,
        }
    }
}

fn push() -> String {
    "push".to_owned()
}

fn main() -> String {
    "main".to_owned()
}

/// What is to be submitted, and what there is to say about it.
#[derive(Debug, Default)]
pub struct Plan {
    /// In the order of the files.
    pub workflows: Vec<Planned>,
    /// Workflows that don't run, because their conditions don't hold.
    pub filtered: Vec<FilteredWorkflow>,
    /// What the authors of the files should know.
    pub warnings: Vec<Diagnostics>,
    /// What whoever submits them should know.
    pub notes: Vec<String>,
}

/// What becomes of a workflow that depends on one that is not among the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// It doesn't run, as on a server that knows all files of a repository.
    Filter,
    /// It runs all the same, and that is noted: for somebody who tries out a single file.
    Ignore,
}

/// A workflow that is to be submitted.
#[derive(Debug)]
pub struct Planned {
    /// For the queue.
    pub submission: Submission,
    /// Steps that don't run, with the reason.
    pub skipped: Vec<(String, String)>,
}

/// Why nothing is submitted.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// There is nothing.
    #[error("there is nothing to run: give at least one pipeline file or workload")]
    Empty,
    /// What the files run for makes no sense.
    #[error("{0}")]
    Context(#[from] GivenError),
    /// Files are wrong.
    #[error("{} can't be run\n\n{}", if .0.len() == 1 { "a pipeline file" } else { "pipeline files" }, rendered(.0))]
    Files(Vec<Diagnostics>),
    /// A workload is wrong.
    #[error("the workload '{name}' can't be run: {problems}")]
    Workload {
        /// Its name.
        name: String,
        /// Each with its field.
        problems: String,
    },
    /// Workflows wait for each other.
    #[error("the workflows wait for each other: {}", .0.join(", "))]
    Cycle(Vec<String>),
}

impl PlanError {
    /// Stable over releases, for programs that branch.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "nothing-to-run",
            Self::Context(_) => "context-invalid",
            Self::Files(_) => "pipeline-invalid",
            Self::Workload { .. } => "workload-invalid",
            Self::Cycle(_) => "workflow-cycle",
        }
    }
}

fn rendered(diagnostics: &[Diagnostics]) -> String {
    diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n")
}

impl ContextText {
    /// As the compiler takes it. `id_prefix` has to be another one for each submission.
    ///
    /// # Errors
    /// If something makes no sense.
    pub fn context(&self, id_prefix: &str) -> Result<Context, GivenError> {
        let mut context = Context::given(&Given {
            event: self.event.clone(),
            branch: self.branch.clone(),
            variables: self.variables.iter().map(|(name, value)| format!("{name}={value}")).collect(),
            secrets: self.secrets.iter().map(|(name, value)| format!("{name}={}", value.expose())).collect(),
            id_prefix: id_prefix.to_owned(),
        })?;
        context.timeout_seconds = self.timeout_seconds;
        Ok(context)
    }
}

impl Request {
    /// Compiles the files and checks the workloads. `id_prefix` has to be another one for each submission: the ids of
    /// workflows and steps are made from it.
    ///
    /// # Errors
    /// If anything of it can't be run; then nothing of it is.
    pub fn plan(self, id_prefix: &str, trace: Option<TraceContext>) -> Result<Plan, PlanError> {
        if self.files.is_empty() && self.workloads.is_empty() {
            return Err(PlanError::Empty);
        }
        let context = self.context.context(id_prefix)?;
        let files: Vec<_> = self.files.into_iter().map(|file| SourceFile::new(file.name, file.text)).collect();
        let mut plan = plan_files(&files, &context, trace.clone(), Missing::Filter)?;
        for spec in self.workloads {
            let id = WorkflowId::new(format!("{id_prefix}-{}", plan.workflows.len()));
            plan.workflows.push(plan_workload(id, spec, trace.clone())?);
        }
        for Planned { submission, .. } in &mut plan.workflows {
            for (key, value) in &self.labels {
                submission.spec.labels.entry(key.clone()).or_insert_with(|| value.clone());
            }
            submission.priority = self.priority;
            match &self.repository {
                Some(repository) => submission.repository.clone_from(repository),
                None if submission.repository.is_empty() => {
                    submission.repository = submission.spec.labels.get(REPOSITORY).cloned().unwrap_or_default();
                }
                None => {}
            }
        }
        Ok(plan)
    }
}

/// Compiles the files of one pipeline. Workflows with the same name all run, and whoever depends on the name waits for
/// all of them, as in Woodpecker.
///
/// # Errors
/// If one of them is wrong, or workflows wait for each other; all that is wrong is told.
pub fn plan_files(
    files: &[SourceFile],
    context: &Context,
    trace: Option<TraceContext>,
    missing: Missing,
) -> Result<Plan, PlanError> {
    let mut compiled = Vec::new();
    let mut plan = Plan::default();
    let mut wrong = Vec::new();
    for file in files {
        match compile(file, context) {
            Ok(file) => {
                compiled.extend(file.workflows);
                plan.filtered.extend(file.filtered);
                plan.warnings.extend(Some(file.warnings).filter(|warnings| !warnings.is_empty()));
            }
            Err(diagnostics) => wrong.push(diagnostics),
        }
    }
    if !wrong.is_empty() {
        return Err(PlanError::Files(wrong));
    }
    if missing == Missing::Ignore {
        plan.notes = ignore_missing(&mut compiled);
    }
    let (compiled, filtered) = without_missing_dependencies(compiled);
    plan.filtered.extend(filtered);
    let ids: Vec<_> =
        (0..compiled.len()).map(|index| WorkflowId::new(format!("{}-{index}", context.id_prefix))).collect();
    let names: Vec<_> = compiled.iter().map(|workflow| workflow.base_name.clone()).collect();
    find_cycle(&compiled)?;
    for (mut workflow, id) in compiled.into_iter().zip(&ids) {
        // Two of them may have the same name. Names of pods are made from these ids, so they may not be the same.
        identify_steps(&mut workflow.spec, id);
        let wanted = |name: &String| workflow.depends_on.iter().any(|dependency| dependency.name == *name);
        let after = names.iter().zip(&ids).filter(|(name, _)| wanted(name)).map(|(_, id)| id.clone()).collect();
        let throttle = workflow.concurrency.as_ref().map(|concurrency| Throttle {
            group: match &concurrency.group {
                Some(group) => format!("{}:{group}", context.repository.full_name()),
                None => format!("{}:{}", context.repository.full_name(), workflow.base_name),
            },
            limit: concurrency.limit,
        });
        let condition =
            Condition { after, on_success: workflow.runs_on.success, on_failure: workflow.runs_on.failure, throttle };
        let skipped = workflow.skipped.into_iter().map(|step| (step.name, step.why)).collect();
        let submission = Submission {
            repository: context.repository.full_name(),
            condition,
            trace: trace.clone(),
            ..Submission::new(id.clone(), workflow.spec)
        };
        plan.workflows.push(Planned { submission, skipped });
    }
    Ok(plan)
}

fn plan_workload(id: WorkflowId, mut spec: WorkloadSpec, trace: Option<TraceContext>) -> Result<Planned, PlanError> {
    if let Err(error) = Workload::new(id.clone(), spec.clone()) {
        return Err(PlanError::Workload { name: spec.name, problems: error.to_string() });
    }
    identify_steps(&mut spec, &id);
    let submission = Submission { trace, ..Submission::new(id, spec) };
    Ok(Planned { submission, skipped: Vec::new() })
}

/// Makes dependencies on workflows that are not there optional.
fn ignore_missing(workflows: &mut [CompiledWorkflow]) -> Vec<String> {
    let names: BTreeSet<_> = workflows.iter().map(|workflow| workflow.base_name.clone()).collect();
    let mut notes = Vec::new();
    for workflow in workflows {
        let required = workflow.depends_on.iter_mut().filter(|dependency| !dependency.optional);
        for dependency in required.filter(|dependency| !names.contains(&dependency.name)) {
            dependency.optional = true;
            let (name, missing) = (&workflow.name, &dependency.name);
            notes.push(format!(
                "the workflow '{name}' depends on '{missing}', which is not among the files; it runs all the same"
            ));
        }
    }
    notes
}

/// Workflows that can't start because they wait for each other.
fn find_cycle(workflows: &[CompiledWorkflow]) -> Result<(), PlanError> {
    let mut open: Vec<_> = workflows.iter().collect();
    loop {
        let names: Vec<_> = open.iter().map(|workflow| workflow.base_name.as_str()).collect();
        let waits = |workflow: &CompiledWorkflow| {
            workflow.depends_on.iter().any(|dependency| names.contains(&dependency.name.as_str()))
        };
        let left: Vec<_> = open.iter().copied().filter(|workflow| waits(workflow)).collect();
        if left.is_empty() {
            return Ok(());
        }
        if left.len() == open.len() {
            return Err(PlanError::Cycle(left.iter().map(|workflow| format!("'{}'", workflow.name)).collect()));
        }
        open = left;
    }
}

#[cfg(test)]
mod tests;
