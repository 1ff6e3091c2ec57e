//! `cancel`: stops a workflow.

use server_stub::api::CancelText;
use server_stub::view::WorkflowView;

use super::client::{Target, segment};
use super::exit::{Exit, Failure};
use super::output::Output;

/// Options of `cancel`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The workflow: its number, its id or a beginning of it, or its name (of several the newest).
    #[arg(value_name = "WORKFLOW")]
    workflow: String,
    /// Why; it is shown with the workflow and its steps.
    #[arg(long)]
    reason: Option<String>,
    /// Seconds between SIGTERM and SIGKILL; the agent's own setting if absent.
    #[arg(long, value_name = "SECONDS")]
    grace: Option<u32>,
    #[command(flatten)]
    target: Target,
}

/// Asks for the stop. That everything has stopped is for `logs --follow` to tell.
pub(super) async fn run(args: Args, output: &mut Output) -> Result<Exit, Failure> {
    let path = format!("/api/workflows/{}/cancel", segment(&args.workflow));
    let text = CancelText { reason: args.reason, grace_seconds: args.grace };
    let workflow: WorkflowView = args.target.client()?.post(&path, &text).await?;
    if output.is_json() {
        output.json(&workflow)?;
    } else if workflow.state.is_final() {
        output.line(&format!("{}  {}  {}", workflow.number, workflow.name, workflow.state.as_str()))?;
    } else {
        output.line(&format!("{}  {}  is being stopped", workflow.number, workflow.name))?;
    }
    Ok(Exit::Done)
}
