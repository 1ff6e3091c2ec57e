//! `logs`: what a workflow printed.

use piculet_core::outcome::StepState;
use server_stub::api::LogEvent;
use server_stub::view::StepView;

use super::client::{Client, Target, segment};
use super::exit::{Exit, Failure};
use super::output::Output;

/// Options of `logs`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The workflow: its number, its id or a beginning of it, or its name (of several the newest).
    #[arg(value_name = "WORKFLOW")]
    workflow: String,
    /// One step of it, by name or id.
    #[arg(value_name = "STEP")]
    step: Option<String>,
    /// Go on until the workflow is over.
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    target: Target,
}

/// What stands before a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// Nothing: the lines are one step's.
    Bare,
    /// The step.
    WithStep,
    /// The workflow and the step.
    WithWorkflow,
}

/// Prints the logs.
pub(super) async fn run(args: Args, output: &mut Output) -> Result<Exit, Failure> {
    let client = args.target.client()?;
    let style = if args.step.is_some() { Style::Bare } else { Style::WithStep };
    let (workflow, step) = (&args.workflow, args.step.as_deref());
    print(&client, workflow, workflow, step, args.follow, style, output).await?;
    Ok(Exit::Done)
}

/// Prints the logs of a workflow, or of one of its steps, as they come.
pub(super) async fn print(
    client: &Client,
    workflow: &str,
    name: &str,
    step: Option<&str>,
    follow: bool,
    style: Style,
    output: &mut Output,
) -> Result<(), Failure> {
    let part = step.map(|step| format!("/steps/{}", segment(step))).unwrap_or_default();
    let path = format!("/api/workflows/{}{part}/log?follow={follow}", segment(workflow));
    let mut lines = client.lines(&path).await?;
    while let Some(line) = lines.next().await? {
        if output.is_json() {
            output.line(&String::from_utf8_lossy(&line))?;
            continue;
        }
        let event = serde_json::from_slice(&line)
            .map_err(|error| Failure::Internal(format!("a line of the server's answer makes no sense: {error}")))?;
        match event {
            LogEvent::Line(line) => output.line(&match style {
                Style::Bare => line.text,
                Style::WithStep => format!("[{}] {}", line.step, line.text),
                Style::WithWorkflow => format!("[{name}/{}] {}", line.step, line.text),
            })?,
            LogEvent::Step(step) => tell(&step, output),
            LogEvent::End(end) if end.error.is_empty() => {}
            LogEvent::End(end) => output.note(&format!("{}: {}", end.state.as_str(), end.error)),
        }
    }
    Ok(())
}

/// Tells how a step ended, where there is more to say than that it did.
fn tell(step: &StepView, output: &mut Output) {
    let ended_badly = step.state.is_final() && !matches!(step.state, StepState::Success | StepState::Skipped);
    if ended_badly {
        let code = step.exit_code.map(|code| format!(" (exit code {code})")).unwrap_or_default();
        let error = if step.error.is_empty() { String::new() } else { format!(": {}", step.error) };
        output.note(&format!("step '{}': {}{code}{error}", step.name, step.state));
    }
    if let Some(complaint) = step.log_complaint.as_ref().filter(|_| step.state.is_final()) {
        output.note(&format!("step '{}': {complaint}", step.name));
    }
}
