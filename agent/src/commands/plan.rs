//! `piculet plan FILE`: every object that a file would create, as it would be created.

use std::io::{self, Write};
use std::path::Path;

use jiff::Timestamp;
use piculet_core::id::{Attempt, Epoch, InstanceId, ServerId, WorkflowId};
use piculet_core::run::Limits;
use piculet_core::workload::{Workload, WorkloadSpec};
use piculet_pipeline::{Compiled, Context, Given, SourceFile};
use piculet_pods::{Object, PipelineStatus, Settings, StepStart};

use crate::cli::PipelineContext;
use crate::exit::Failure;
use crate::site::{Site, own_platform};

/// Prints the objects of every workflow in `file` to `out`, and what its author should know to `notes`. Values of secrets
/// are left out.
///
/// # Errors
/// If the file can't be read or is wrong, or if Kubernetes would not take what comes of it.
pub fn plan(
    file: &Path,
    context: &PipelineContext,
    pods: &Settings,
    out: &mut impl Write,
    notes: &mut impl Write,
) -> Result<(), Failure> {
    let text = std::fs::read(file).map_err(|error| Failure::Unreadable { path: file.to_owned(), error })?;
    for spec in specs(file, text, context, notes)? {
        let workload =
            Workload::new(WorkflowId::new("0"), spec).map_err(|error| Failure::BadInput(error.to_string()))?;
        for object in objects(&workload, pods)? {
            let yaml = serde_saphyr::to_string(&object.to_public_value())
                .map_err(|error| Failure::Internal(format!("an object can't be written as YAML: {error}")))?;
            write!(out, "---\n{yaml}").map_err(Failure::Output)?;
        }
    }
    Ok(())
}

/// The workflows of a file. What has `stages` at its top is a workload file, all else a pipeline file.
fn specs(
    file: &Path,
    text: Vec<u8>,
    context: &PipelineContext,
    notes: &mut impl Write,
) -> Result<Vec<WorkloadSpec>, Failure> {
    let name = file.display().to_string();
    if is_workload(&text) {
        let text = String::from_utf8_lossy(&text);
        let spec = serde_saphyr::from_str(&text);
        // Without the lines around the place: one of them may hold a secret.
        return spec
            .map(|spec| vec![spec])
            .map_err(|error| Failure::BadInput(format!("{name}: {}", error.without_snippet())));
    }
    let given = Given {
        event: context.event.clone(),
        branch: context.branch.clone(),
        variables: context.vars.clone(),
        secrets: context.secrets.clone(),
        id_prefix: "plan".to_owned(),
    };
    let context = Context::given(&given).map_err(|error| Failure::BadInput(error.to_string()))?;
    let compiled = piculet_pipeline::compile(&SourceFile::new(name, text), &context)
        .map_err(|diagnostics| Failure::BadInput(diagnostics.to_string()))?;
    tell(&compiled, notes).map_err(Failure::Output)?;
    Ok(compiled.workflows.into_iter().map(|workflow| workflow.spec).collect())
}

/// What is not in the plan, and why.
fn tell(compiled: &Compiled, notes: &mut impl Write) -> io::Result<()> {
    if !compiled.warnings.is_empty() {
        writeln!(notes, "{}", compiled.warnings)?;
    }
    for workflow in &compiled.filtered {
        writeln!(notes, "note: the workflow '{}' does not run: {}", workflow.name, workflow.why)?;
    }
    for workflow in &compiled.workflows {
        for step in &workflow.skipped {
            writeln!(notes, "note: the step '{}' of '{}' does not run: {}", step.name, workflow.name, step.why)?;
        }
    }
    Ok(())
}

fn is_workload(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    serde_saphyr::from_str::<serde_json::Value>(&text).is_ok_and(|value| value.get("stages").is_some())
}

fn objects(workload: &Workload, pods: &Settings) -> Result<Vec<Object>, Failure> {
    let refused = |error: piculet_pods::PlanError| Failure::BadInput(error.to_string());
    let site = Site { instance: InstanceId::new("plan"), machine: "plan".to_owned(), platform: own_platform() };
    let limit = workload.timeout.unwrap_or_else(|| Limits::default().workflow);
    let context = site.context(Epoch(1), ServerId::new("plan"), Timestamp::UNIX_EPOCH, limit);
    let start = StepStart {
        status: PipelineStatus::Success,
        workflow_started: Timestamp::UNIX_EPOCH,
        step_started: Timestamp::UNIX_EPOCH,
        machine: context.machine.clone(),
        platform: context.platform.clone(),
        node: None,
        trace: None,
    };
    let plan = piculet_pods::plan(workload, pods, &context).map_err(refused)?;
    let mut objects = vec![Object::from(plan.anchor)];
    objects.extend(plan.shared);
    for (index, _) in workload.indexed() {
        let step =
            piculet_pods::step(workload, index, Attempt::FIRST, &start, pods, &context, None).map_err(refused)?;
        objects.extend(step.into_objects());
    }
    Ok(objects)
}
