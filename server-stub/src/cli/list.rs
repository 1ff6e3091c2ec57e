//! `list`: workflows and their steps.

use server_stub::api::WorkflowList;
use server_stub::dispatch::State;
use server_stub::view::{PlaceView, WorkflowView};

use super::client::{Target, segment};
use super::exit::{Exit, Failure};
use super::output::Output;

/// Options of `list`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// One workflow, with its steps: its number, its id or a beginning of it, or its name (of several the newest).
    #[arg(value_name = "WORKFLOW")]
    workflow: Option<String>,
    #[command(flatten)]
    target: Target,
}

/// Lists all workflows, or shows one.
pub(super) async fn run(args: Args, output: &mut Output) -> Result<Exit, Failure> {
    let client = args.target.client()?;
    match &args.workflow {
        None => {
            let mut list = WorkflowList { workflows: Vec::new(), next: Some(0) };
            while let Some(after) = list.next {
                let page: WorkflowList = client.get(&format!("/api/workflows?limit=1000&after={after}")).await?;
                list.workflows.extend(page.workflows);
                list.next = page.next;
            }
            if output.is_json() { output.json(&list)? } else { print(&list.workflows, output)? }
        }
        Some(workflow) => {
            let workflow: WorkflowView = client.get(&format!("/api/workflows/{}", segment(workflow))).await?;
            if output.is_json() { output.json(&workflow)? } else { print_one(&workflow, output)? }
        }
    }
    Ok(Exit::Done)
}

/// Prints workflows as a table.
pub(super) fn print(workflows: &[WorkflowView], output: &mut Output) -> Result<(), Failure> {
    let rows: Vec<_> = workflows
        .iter()
        .map(|workflow| {
            let agent = workflow.agent.clone().unwrap_or_else(|| "-".to_owned());
            let number = workflow.number.to_string();
            [number, workflow.name.clone(), state(workflow), agent, remark(workflow)]
        })
        .collect();
    output.table(["NO", "WORKFLOW", "STATE", "AGENT", "REMARK"], &rows)
}

fn print_one(workflow: &WorkflowView, output: &mut Output) -> Result<(), Failure> {
    print(std::slice::from_ref(workflow), output)?;
    for reason in &workflow.waiting {
        output.line(&format!("waits: {reason}"))?;
    }
    output.line("")?;
    let rows: Vec<_> = workflow
        .steps
        .iter()
        .map(|step| {
            let code = step.exit_code.map_or_else(|| "-".to_owned(), |code| code.to_string());
            let remark = [Some(&step.error), step.log_complaint.as_ref()];
            let remark: Vec<_> =
                remark.into_iter().flatten().map(String::as_str).filter(|text| !text.is_empty()).collect();
            [step.name.clone(), step.state.to_string(), code, step.log_lines.to_string(), remark.join(" ")]
        })
        .collect();
    output.table(["STEP", "STATE", "EXIT", "LINES", "REMARK"], &rows)
}

fn state(workflow: &WorkflowView) -> String {
    match (workflow.state, workflow.place) {
        (State::Running, PlaceView::Away) => "running (its agent is away)".to_owned(),
        (state, _) => state.as_str().to_owned(),
    }
}

/// The most important thing to say about a workflow, in a line.
fn remark(workflow: &WorkflowView) -> String {
    if !workflow.error.is_empty() {
        return workflow.error.lines().next().unwrap_or_default().to_owned();
    }
    if !workflow.stopping.is_empty() && !workflow.state.is_final() {
        return format!("is to be stopped: {}", workflow.stopping);
    }
    match &workflow.waiting[..] {
        [] if workflow.place == PlaceView::Pending => "no agent is connected".to_owned(),
        [] => String::new(),
        [reason] => reason.clone(),
        [reason, more @ ..] => format!("{reason} (and {} more)", more.len()),
    }
}
