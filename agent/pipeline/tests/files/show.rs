//! What came of a file, as text for snapshots.

use std::fmt::Write;

use piculet_core::workload::StepSpec;
use piculet_pipeline::{Compiled, Diagnostics};

pub(crate) fn result(result: &Result<Compiled, Diagnostics>) -> String {
    match result {
        Err(found) => found.to_string(),
        Ok(compiled) => {
            let mut text = String::new();
            show(compiled, &mut text).unwrap();
            text
        }
    }
}

fn show(compiled: &Compiled, text: &mut String) -> std::fmt::Result {
    if !compiled.warnings.is_empty() {
        writeln!(text, "{}\n", compiled.warnings)?;
    }
    for workflow in &compiled.filtered {
        writeln!(text, "not run: {}: {}", workflow.name, workflow.why)?;
    }
    for workflow in &compiled.workflows {
        writeln!(text, "workflow: {}", workflow.name)?;
        writeln!(text, "labels: {:?}", workflow.labels)?;
        if !workflow.depends_on.is_empty() {
            writeln!(text, "depends on: {:?}", workflow.depends_on)?;
        }
        if workflow.runs_on.failure || !workflow.runs_on.success {
            writeln!(text, "runs on: {:?}", workflow.runs_on)?;
        }
        if let Some(concurrency) = &workflow.concurrency {
            writeln!(text, "concurrency: {concurrency:?}")?;
        }
        for skipped in &workflow.skipped {
            writeln!(text, "skipped: {}: {}", skipped.name, skipped.why)?;
        }
        for (number, stage) in workflow.spec.stages.iter().enumerate() {
            writeln!(text, "stage {number}:")?;
            for spec in &stage.steps {
                writeln!(text, "{}", step(spec))?;
            }
        }
    }
    Ok(())
}

/// A step without what every step has.
fn step(spec: &StepSpec) -> String {
    let mut spec = spec.clone();
    spec.id = String::new();
    let own = |name: &str| name == "CI_WORKSPACE" || !(name == "CI" || name.starts_with("CI_"));
    spec.environment
        .retain(|name, value| own(name) && !["VERSION", "TAG"].contains(&name.as_str()) || value == "mine/now");
    let json = serde_json::to_value(&spec).unwrap();
    let lines = json.as_object().unwrap().iter().filter(|(key, value)| {
        let usual = matches!(
            (key.as_str(), value.to_string().as_str()),
            ("on_success", "true") | ("failure", r#""fail""#) | ("max_attempts", "1") | ("id", r#""""#)
        );
        !usual && *key != "name"
    });
    let mut text = format!("- {}", spec.name);
    for (key, value) in lines {
        text.extend([format!("\n    {key}: {value}")]);
    }
    text
}
