//! What a pipeline file becomes.

use std::collections::{BTreeMap, BTreeSet};

use piculet_core::workload::WorkloadSpec;

use crate::diagnostic::Diagnostics;

/// A compiled pipeline file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Compiled {
    /// What is to run: one per combination of the matrix, in its order.
    pub workflows: Vec<CompiledWorkflow>,
    /// What is not to run, because its conditions don't hold.
    pub filtered: Vec<FilteredWorkflow>,
    /// What its author should know.
    pub warnings: Diagnostics,
}

/// A workflow that is to run.
#[derive(Debug, Clone, PartialEq)]
pub struct CompiledWorkflow {
    /// For people: the base name, and the combination of the matrix if there are several. Not unique: a matrix may hold
    /// a combination twice, and two files may have the same name in different folders.
    pub name: String,
    /// From the file's name. Other workflows depend on it by this: on all that have it.
    pub base_name: String,
    /// The combination of the matrix.
    pub axis: BTreeMap<String, String>,
    /// What the agent gets. A [`Workload`](piculet_core::workload::Workload) can always be made of it.
    pub spec: WorkloadSpec,
    /// The file's `labels`: which agents may take it.
    pub labels: BTreeMap<String, String>,
    /// Which other workflows have to be over before.
    pub depends_on: Vec<WorkflowDependency>,
    /// After what outcome of those it runs.
    pub runs_on: RunsOn,
    /// How many may run at once.
    pub concurrency: Option<Concurrency>,
    /// Steps and services that don't run, because their conditions don't hold.
    pub skipped: Vec<SkippedStep>,
}

/// A workflow that is not to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilteredWorkflow {
    /// As in [`CompiledWorkflow::name`].
    pub name: String,
    /// As in [`CompiledWorkflow::base_name`].
    pub base_name: String,
    /// The combination of the matrix.
    pub axis: BTreeMap<String, String>,
    /// Which condition doesn't hold, for people.
    pub why: String,
}

/// A step that doesn't run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedStep {
    /// Its name.
    pub name: String,
    /// Which condition doesn't hold, for people.
    pub why: String,
}

/// A workflow to wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkflowDependency {
    /// Its base name.
    pub name: String,
    /// If it doesn't run at all, nobody waits for it. Of one that isn't optional, the dependent one doesn't run either.
    pub optional: bool,
}

/// After what outcome of the workflows before it a workflow runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunsOn {
    /// If all of them succeeded.
    pub success: bool,
    /// If one of them failed.
    pub failure: bool,
}

/// How many workflows may run at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Concurrency {
    /// At least 1.
    pub limit: u32,
    /// Workflows of the repository that share the limit; `None`: the runs of this workflow.
    pub group: Option<String>,
}

/// Of the workflows of one pipeline, those whose required dependencies run too, and the others with the reason.
/// Optional dependencies that don't run are removed.
pub fn without_missing_dependencies(
    mut workflows: Vec<CompiledWorkflow>,
) -> (Vec<CompiledWorkflow>, Vec<FilteredWorkflow>) {
    let mut filtered = Vec::new();
    loop {
        let names: BTreeSet<String> = workflows.iter().map(|workflow| workflow.base_name.clone()).collect();
        let count = workflows.len();
        let (kept, dropped) = workflows.into_iter().partition(|workflow| {
            workflow.depends_on.iter().all(|dependency| dependency.optional || names.contains(&dependency.name))
        });
        workflows = kept;
        filtered.extend(dropped.into_iter().map(|workflow: CompiledWorkflow| {
            let missing = workflow.depends_on.iter().find(|other| !other.optional && !names.contains(&other.name));
            let missing = missing.map_or("", |other| other.name.as_str());
            FilteredWorkflow {
                why: format!("it depends on the workflow '{missing}', which doesn't run"),
                name: workflow.name,
                base_name: workflow.base_name,
                axis: workflow.axis,
            }
        }));
        if workflows.len() == count {
            for workflow in &mut workflows {
                workflow.depends_on.retain(|dependency| names.contains(&dependency.name));
            }
            return (workflows, filtered);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{CompiledWorkflow, RunsOn, WorkflowDependency, without_missing_dependencies};

    fn workflow(name: &str, depends_on: &[(&str, bool)]) -> CompiledWorkflow {
        CompiledWorkflow {
            name: name.to_owned(),
            base_name: name.to_owned(),
            axis: std::collections::BTreeMap::new(),
            spec: piculet_core::workload::WorkloadSpec::default(),
            labels: std::collections::BTreeMap::new(),
            depends_on: depends_on
                .iter()
                .map(|&(name, optional)| WorkflowDependency { name: name.to_owned(), optional })
                .collect(),
            runs_on: RunsOn { success: true, failure: false },
            concurrency: None,
            skipped: Vec::new(),
        }
    }

    #[test]
    fn a_missing_workflow_takes_those_that_need_it_along() {
        let (kept, filtered) = without_missing_dependencies(vec![
            workflow("deploy", &[("test", false)]),
            workflow("test", &[("lint", false)]),
            workflow("build", &[("lint", true)]),
            workflow("report", &[("build", false), ("deploy", true)]),
        ]);
        let names: Vec<_> = kept.iter().map(|workflow| workflow.name.as_str()).collect();
        assert_eq!(names, ["build", "report"]);
        assert!(kept[0].depends_on.is_empty());
        assert_eq!(kept[1].depends_on, [WorkflowDependency { name: "build".to_owned(), optional: false }]);
        let why: Vec<_> = filtered.iter().map(|workflow| (workflow.name.as_str(), workflow.why.as_str())).collect();
        assert_eq!(
            why,
            [
                ("test", "it depends on the workflow 'lint', which doesn't run"),
                ("deploy", "it depends on the workflow 'test', which doesn't run"),
            ]
        );
    }
}
