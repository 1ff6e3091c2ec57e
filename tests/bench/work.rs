//! The workflows that are measured.

use piculet_core::workload::{StageSpec, StepSpec, WorkloadSpec};

pub(crate) const IMAGE: &str = "busybox:stable";

/// Steps that do nothing, one after the other.
pub(crate) fn in_sequence(name: &str, count: usize) -> WorkloadSpec {
    let stages = (0..count).map(|number| StageSpec { steps: vec![step(&step_name(name, number), &["true"])] });
    WorkloadSpec { name: name.to_owned(), stages: stages.collect(), ..WorkloadSpec::default() }
}

/// Steps that do the same beside each other.
pub(crate) fn beside(name: &str, count: usize, entrypoint: &[&str]) -> WorkloadSpec {
    let steps = (0..count).map(|number| step(&step_name(name, number), entrypoint)).collect();
    WorkloadSpec { name: name.to_owned(), stages: vec![StageSpec { steps }], ..WorkloadSpec::default() }
}

/// No two steps of a run have the same.
pub(crate) fn step_name(workflow: &str, number: usize) -> String {
    format!("{workflow}-step{number}")
}

fn step(name: &str, entrypoint: &[&str]) -> StepSpec {
    StepSpec {
        id: name.to_owned(),
        name: name.to_owned(),
        image: IMAGE.to_owned(),
        entrypoint: entrypoint.iter().map(ToString::to_string).collect(),
        workspace_base: "/woodpecker".to_owned(),
        working_dir: "/woodpecker/src".to_owned(),
        ..StepSpec::default()
    }
}
