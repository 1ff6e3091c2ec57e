//! `logs`: what a workflow printed.

use std::collections::{BTreeMap, BTreeSet};

use piculet_core::outcome::StepState;
use server_stub::api::LogEvent;
use server_stub::view::StepView;

use super::client::{Lines, Target, segment};
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
    /// Go on until the workflow, or the step, is over.
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
    let part = args.step.as_deref().map(|step| format!("/steps/{}", segment(step))).unwrap_or_default();
    let path = format!("/api/workflows/{}{part}/log?follow={}", segment(&args.workflow), args.follow);
    let mut lines = client.lines(&path).await?;
    let mut printer = Printer::new(&args.workflow, style);
    printer.print(&mut lines, output).await?;
    if args.follow && !printer.is_over() {
        return Err(lines.cut("it ended before what it tells of was over"));
    }
    Ok(Exit::Done)
}

/// Prints logs, each line once, over as many calls as that takes.
#[derive(Debug)]
pub(super) struct Printer {
    /// The workflow, for people.
    name: String,
    style: Style,
    /// What the rest is about: the workflow's first beginning, or a later one.
    round: u64,
    /// By step, the number of the line that comes next.
    next_lines: BTreeMap<String, u64>,
    /// Steps and attempts of which the end was told.
    ended: BTreeSet<(String, u32)>,
    /// How much was told.
    told: u64,
    is_over: bool,
}

impl Printer {
    pub(super) fn new(workflow: &str, style: Style) -> Self {
        let name = workflow.to_owned();
        Self { name, style, round: 1, next_lines: BTreeMap::new(), ended: BTreeSet::new(), told: 0, is_over: false }
    }

    /// Whether all was printed, up to the end of the workflow, or of the step if it is about one.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Grows with what was printed.
    pub(super) fn told(&self) -> u64 {
        self.told
    }

    /// Prints what a call tells that was not printed yet, as it comes.
    pub(super) async fn print(&mut self, lines: &mut Lines, output: &mut Output) -> Result<(), Failure> {
        while let Some(line) = lines.next().await? {
            let event = serde_json::from_slice(&line);
            if let Ok(event) = &event {
                self.is_over = self.is_over_with(event);
            }
            if output.is_json() {
                // As it comes, also what only a newer server says.
                output.line(&String::from_utf8_lossy(&line))?;
                continue;
            }
            let event = event
                .map_err(|error| Failure::Internal(format!("a line of the server's answer makes no sense: {error}")))?;
            self.tell(event, output)?;
        }
        Ok(())
    }

    fn is_over_with(&self, event: &LogEvent) -> bool {
        match event {
            LogEvent::Anew(_) => false,
            LogEvent::Line(_) => self.is_over,
            LogEvent::Step(step) => self.is_over || (self.style == Style::Bare && step.state.is_final()),
            LogEvent::End(_) => true,
        }
    }

    fn tell(&mut self, event: LogEvent, output: &mut Output) -> Result<(), Failure> {
        match event {
            LogEvent::Anew(anew) if anew.round == self.round => {}
            LogEvent::Anew(anew) => {
                self.round = anew.round;
                self.next_lines.clear();
                self.ended.clear();
                output.note(&format!("{}: starts anew, since its cluster was given up", self.name));
            }
            LogEvent::Line(line) => {
                let next = self.next_lines.entry(line.step.clone()).or_default();
                if line.number < *next {
                    return Ok(());
                }
                *next = line.number.saturating_add(1);
                self.told += 1;
                output.line(&match self.style {
                    Style::Bare => line.text,
                    Style::WithStep => format!("[{}] {}", line.step, line.text),
                    Style::WithWorkflow => format!("[{}/{}] {}", self.name, line.step, line.text),
                })?;
            }
            LogEvent::Step(step) => {
                if step.state.is_final() && self.ended.insert((step.name.clone(), step.attempt)) {
                    self.told += 1;
                    tell_end(&step, output);
                }
            }
            LogEvent::End(end) => {
                if !end.error.is_empty() {
                    output.note(&format!("{}: {}", end.state.as_str(), end.error));
                }
            }
        }
        Ok(())
    }
}

/// Tells how a step ended, where there is more to say than that it did.
fn tell_end(step: &StepView, output: &mut Output) {
    let ended_badly = !matches!(step.state, StepState::Success | StepState::Skipped);
    if ended_badly {
        let code = step.exit_code.map(|code| format!(" (exit code {code})")).unwrap_or_default();
        let error = if step.error.is_empty() { String::new() } else { format!(": {}", step.error) };
        output.note(&format!("step '{}': {}{code}{error}", step.name, step.state));
    }
    if let Some(complaint) = &step.log_complaint {
        output.note(&format!("step '{}': {complaint}", step.name));
    }
}
