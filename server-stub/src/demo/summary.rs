//! How it all ended: a table for people, an object for programs.

use std::collections::BTreeSet;
use std::io::{self, Write};

use piculet_core::id::{Attempt, StepIndex};
use piculet_core::workload::Workload;
use piculet_pods::names::Names;
use serde::Serialize;

use crate::server::Server;
use crate::submission::{Plan, Planned};

/// The widest column of names, in characters; a longer name moves its own line only.
const MAX_WIDTH: usize = 40;

/// All workflows, those that were filtered out included.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    workflows: Vec<WorkflowEnd>,
}

#[derive(Debug, Serialize)]
struct WorkflowEnd {
    name: String,
    state: String,
    #[serde(skip)]
    error: String,
    steps: Vec<StepEnd>,
}

#[derive(Debug, Serialize)]
struct StepEnd {
    name: String,
    state: String,
    /// `None` where there was none.
    exit_code: Option<i32>,
    error: String,
    log_lines: u64,
    simulated: bool,
}

impl Summary {
    pub(super) fn new(server: &Server, plan: &Plan, simulated: &BTreeSet<String>) -> Self {
        let ran = plan.workflows.iter().map(|planned| WorkflowEnd::of(server, planned, simulated));
        let filtered = plan.filtered.iter().map(|filtered| WorkflowEnd {
            name: filtered.name.clone(),
            state: "skipped".to_owned(),
            error: filtered.why.clone(),
            steps: Vec::new(),
        });
        Self { workflows: ran.chain(filtered).collect() }
    }

    /// Whether nothing failed. What was not to run has not failed.
    pub(super) fn all_succeeded(&self) -> bool {
        self.workflows.iter().all(|workflow| matches!(workflow.state.as_str(), "success" | "skipped"))
    }

    pub(super) fn table(&self, out: &mut impl Write, colour: bool) -> io::Result<()> {
        let names = self.workflows.iter().flat_map(|workflow| workflow.steps.iter().map(|step| step.name.as_str()));
        let width = names.map(|name| name.chars().count()).max().unwrap_or(0).clamp(4, MAX_WIDTH);
        for workflow in &self.workflows {
            writeln!(out)?;
            writeln!(out, "{}  {}", workflow.name, paint(&workflow.state, colour))?;
            if !workflow.error.is_empty() {
                writeln!(out, "  {}", workflow.error)?;
            }
            for step in &workflow.steps {
                let code = step.exit_code.map(|code| format!("exit {code}")).unwrap_or_default();
                let mark = if step.simulated { "simulated" } else { "" };
                let name = format!("{}{}", step.name, " ".repeat(width.saturating_sub(step.name.chars().count())));
                let state = paint(&format!("{:8}", step.state), colour);
                let line = format!("  {name}  {state}  {code:8}  {:>7} lines  {mark}", step.log_lines);
                writeln!(out, "{}", line.trim_end())?;
                if !step.error.is_empty() {
                    writeln!(out, "      {}", step.error)?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn json(&self, out: &mut impl Write) -> io::Result<()> {
        let text = serde_json::to_string(self)?;
        writeln!(out, "{text}")?;
        out.flush()
    }
}

impl WorkflowEnd {
    fn of(server: &Server, planned: &Planned, simulated: &BTreeSet<String>) -> Self {
        let name = planned.submission.spec.name.clone();
        let Ok(view) = server.workflow(planned.submission.id.as_str()) else {
            let error = "the server has forgotten it".to_owned();
            return Self { name, state: "failure".to_owned(), error, steps: Vec::new() };
        };
        let pods = pod_names(planned);
        let ran = view.steps.iter().enumerate().map(|(i, step)| StepEnd {
            name: step.name.clone(),
            state: step.state.as_str().to_owned(),
            exit_code: step.exit_code,
            error: [step.error.as_str(), step.log_complaint.as_deref().unwrap_or_default()].join(" ").trim().to_owned(),
            log_lines: step.log_lines,
            simulated: pods.get(i).is_some_and(|pod| simulated.contains(pod)),
        });
        let skipped = planned.skipped.iter().map(|(name, why)| StepEnd {
            name: name.clone(),
            state: "skipped".to_owned(),
            exit_code: None,
            error: why.clone(),
            log_lines: 0,
            simulated: false,
        });
        Self { name, state: view.state.as_str().to_owned(), error: view.error, steps: ran.chain(skipped).collect() }
    }
}

/// The name of each step's first pod.
fn pod_names(planned: &Planned) -> Vec<String> {
    let submission = &planned.submission;
    let Ok(workload) = Workload::new(submission.id.clone(), submission.spec.clone()) else { return Vec::new() };
    let names = Names::new(&workload);
    (0..workload.steps().len()).map(|i| names.of(StepIndex(i), Attempt::FIRST).pod).collect()
}

fn paint(state: &str, colour: bool) -> String {
    let code = match state.trim() {
        "success" => 32,
        "failure" | "killed" => 31,
        _ => 33,
    };
    if colour { format!("\x1b[{code}m{state}\x1b[0m") } else { state.to_owned() }
}
