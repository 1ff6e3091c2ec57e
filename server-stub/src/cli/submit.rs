//! `submit`: hands in pipeline files and workloads.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::SignedDuration;
use piculet_core::secret::Secret;
use piculet_core::workload::WorkloadSpec;
use server_stub::api::Submitted;
use server_stub::dispatch::State;
use server_stub::submission::{ContextText, FileText, Request};
use server_stub::view::WorkflowView;
use tokio::time::Instant;

use super::client::{Client, Lines, Target, segment};
use super::exit::{Exit, Failure};
use super::list;
use super::logs::{Printer, Style};
use super::output::Output;

/// Options of `submit`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Pipeline files of one pipeline.
    #[arg(value_name = "FILE", required_unless_present = "workload")]
    files: Vec<PathBuf>,
    /// Workload files (YAML or JSON): workflows as agents get them.
    #[arg(long, value_name = "FILE")]
    workload: Vec<PathBuf>,
    /// The event that the pipeline runs for.
    #[arg(long, default_value = "push")]
    event: String,
    /// The branch; for a pull request the one that it is for.
    #[arg(long, default_value = "main")]
    branch: String,
    /// A variable. A CI_* name that pipelines know sets what it stands for, as in CI_REPO=owner/name.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    var: Vec<(String, String)>,
    /// A secret, for the steps that name it. Other users of this machine may see it; --secret-file hides it.
    #[arg(long, value_name = "NAME=VALUE", value_parser = secret)]
    secret: Vec<(String, Secret)>,
    /// A secret from a file. A line end at its end doesn't count.
    #[arg(long, value_name = "NAME=FILE", value_parser = pair)]
    secret_file: Vec<(String, String)>,
    /// A label for placement; those of a file win.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    label: Vec<(String, String)>,
    /// Workflows with a larger one go first.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    priority: i32,
    /// The repository that the workflows belong to. Of those with the same priority, workflows of the repository with
    /// the fewest running go first.
    #[arg(long, value_name = "OWNER/NAME")]
    repository: Option<String>,
    /// How long each workflow may take.
    #[arg(long, value_name = "DURATION")]
    timeout: Option<SignedDuration>,
    /// Wait until all workflows are over, also while the server is started anew; exit code 1 if one failed.
    #[arg(long)]
    wait: bool,
    /// Show the logs while waiting.
    #[arg(long, short, requires = "wait")]
    follow: bool,
    #[command(flatten)]
    target: Target,
}

/// How long a server that is waited for may be away.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long after a failure it is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// Since when the server is away.
#[derive(Debug, Default)]
struct Absence(Option<Instant>);

impl Absence {
    /// A call failed. Gives up on what doesn't pass, and after a while on the rest.
    fn failed(&mut self, failure: Failure, output: &mut Output) -> Result<(), Failure> {
        let now = Instant::now();
        match self.0 {
            _ if !failure.may_pass() => return Err(failure),
            Some(since) if now >= since + PATIENCE => return Err(failure),
            Some(_) => {}
            None => {
                output.note(&format!("{failure}; the workflow goes on, trying again for {} s", PATIENCE.as_secs()));
                self.0 = Some(now);
            }
        }
        Ok(())
    }

    /// A call was answered.
    fn ended(&mut self, output: &mut Output) {
        if self.0.take().is_some() {
            output.note("the server is back");
        }
    }
}

/// After so many answers in a row that broke off with nothing new, a log counts as one that can't be read.
const FUTILE: u32 = 2;
/// What tells nothing new for longer than this, and then breaks off, was cut by something that stands between.
const QUIET: Duration = Duration::from_secs(10);

/// A workflow's logs, as they are printed.
struct Log {
    printer: Printer,
    /// How many answers in a row broke off with nothing new.
    futile: u32,
}

impl Log {
    fn new(printer: Printer) -> Self {
        Self { printer, futile: 0 }
    }

    /// Whether all was printed that can be.
    fn is_over(&self) -> bool {
        self.printer.is_over()
    }

    /// Whether another call may tell more.
    fn can_be_read(&self) -> bool {
        self.futile < FUTILE
    }

    /// Prints what a call tells. If the workflow `has_ended`, there is nothing that a call would wait for.
    async fn print(&mut self, lines: &mut Lines, has_ended: bool, output: &mut Output) -> Result<(), Failure> {
        let (before, began) = (self.printer.told(), Instant::now());
        let told = self.printer.print(lines, output).await;
        let broke_off = match &told {
            Ok(()) => has_ended && !self.is_over(),
            Err(Failure::Cut { .. }) => has_ended || began.elapsed() < QUIET,
            Err(_) => false,
        };
        let is_futile = broke_off && self.printer.told() == before;
        self.futile = if is_futile { self.futile + 1 } else { 0 };
        // What breaks off goes on with the next call, if there is one.
        if self.can_be_read() { told } else { Ok(()) }
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("it has to be NAME=VALUE".to_owned()),
    }
}

fn secret(text: &str) -> Result<(String, Secret), String> {
    pair(text).map(|(name, value)| (name, Secret::new(value)))
}

fn read_text(path: &Path) -> Result<String, Failure> {
    let bytes = std::fs::read(path).map_err(|error| Failure::Unreadable { path: path.to_owned(), error })?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Failure::BadInput(format!("{} is no text: the byte at {at} is not UTF-8", path.display()))
    })
}

fn read_workload(path: &Path) -> Result<WorkloadSpec, Failure> {
    let text = read_text(path)?;
    // Without the lines around the fault: they may hold secrets.
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(&text, options)
        .map_err(|error| Failure::BadInput(format!("{} is no workload: {error}", path.display())))
}

impl Args {
    fn request(&self) -> Result<Request, Failure> {
        let mut secrets: BTreeMap<_, _> = self.secret.iter().cloned().collect();
        for (name, path) in &self.secret_file {
            let text = read_text(Path::new(path))?;
            let text = text.strip_suffix('\n').unwrap_or(&text);
            secrets.insert(name.clone(), Secret::new(text.strip_suffix('\r').unwrap_or(text)));
        }
        let file = |path: &PathBuf| {
            let name = path.to_string_lossy().into_owned();
            Ok::<_, Failure>(FileText { name, text: read_text(path)? })
        };
        let seconds = |timeout: SignedDuration| match u64::try_from(timeout.as_secs()) {
            Ok(seconds @ 1..) => Ok(seconds),
            _ => Err(Failure::BadInput("--timeout has to be a second or more".to_owned())),
        };
        Ok(Request {
            files: self.files.iter().map(file).collect::<Result<_, _>>()?,
            context: ContextText {
                event: self.event.clone(),
                branch: self.branch.clone(),
                variables: self.var.iter().cloned().collect(),
                secrets,
                timeout_seconds: self.timeout.map(seconds).transpose()?,
            },
            workloads: self.workload.iter().map(|path| read_workload(path)).collect::<Result<_, _>>()?,
            labels: self.label.iter().cloned().collect(),
            priority: self.priority,
            repository: self.repository.clone(),
        })
    }
}

/// Submits, and waits if that is asked for.
pub(super) async fn run(args: Args, output: &mut Output) -> Result<Exit, Failure> {
    let client = args.target.client()?;
    let submitted: Submitted = client.post("/api/workflows", &args.request()?).await?;
    if !submitted.warnings_text.is_empty() && !output.is_json() {
        output.note(&submitted.warnings_text);
    }
    if !args.wait {
        tell(&submitted, output)?;
        return Ok(Exit::Done);
    }
    if !output.is_json() {
        for workflow in &submitted.filtered {
            output.note(&format!("{}: does not run: {}", workflow.name, workflow.why));
        }
    }
    let mut ended = Vec::new();
    for workflow in &submitted.workflows {
        let style = if submitted.workflows.len() > 1 { Style::WithWorkflow } else { Style::WithStep };
        let log = (args.follow && !output.is_json()).then(|| Log::new(Printer::new(&workflow.name, style)));
        ended.push(wait(&client, &workflow.id, log, output).await?);
    }
    if output.is_json() {
        output.json(&server_stub::api::WorkflowList { workflows: ended.clone(), next: None })?;
    } else {
        list::print(&ended, output)?;
    }
    let is_good = |workflow: &WorkflowView| matches!(workflow.state, State::Success | State::Skipped);
    Ok(if ended.iter().all(is_good) { Exit::Done } else { Exit::Failed })
}

fn tell(submitted: &Submitted, output: &mut Output) -> Result<(), Failure> {
    if output.is_json() {
        return output.json(submitted);
    }
    for workflow in &submitted.workflows {
        output.line(&format!("{}  {}  {}", workflow.number, workflow.id, workflow.name))?;
        for step in &workflow.skipped {
            output.note(&format!("{}: the step '{}' does not run: {}", workflow.name, step.name, step.why));
        }
    }
    for workflow in &submitted.filtered {
        output.note(&format!("{}: does not run: {}", workflow.name, workflow.why));
    }
    Ok(())
}

/// Waits for the end of a workflow, over as many calls as that takes; prints its logs if they are wanted.
async fn wait(client: &Client, id: &str, mut log: Option<Log>, output: &mut Output) -> Result<WorkflowView, Failure> {
    let mut absence = Absence::default();
    loop {
        match follow(client, id, log.as_mut(), &mut absence, output).await {
            Ok(Some(workflow)) => return Ok(workflow),
            // It is over, or the server goes, which ends the answer early; the next call tells.
            Ok(None) => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(failure) => {
                absence.failed(failure, output)?;
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Follows a workflow as far as one call reaches; returns it if it is over, and all of it was told that can be.
async fn follow(
    client: &Client,
    id: &str,
    log: Option<&mut Log>,
    absence: &mut Absence,
    output: &mut Output,
) -> Result<Option<WorkflowView>, Failure> {
    let path = format!("/api/workflows/{}", segment(id));
    let workflow: WorkflowView = client.get(&path).await?;
    let has_ended = workflow.state.is_final();
    if has_ended && log.as_ref().is_none_or(|log| log.is_over()) {
        absence.ended(output);
        return Ok(Some(workflow));
    }
    let Some(log) = log.filter(|log| has_ended || log.can_be_read()) else {
        // Says what happens until the end; only its end is of interest.
        let mut events = client.lines(&format!("{path}/events?lines=false")).await?;
        absence.ended(output);
        while events.next().await?.is_some() {}
        return Ok(None);
    };
    let mut lines = client.lines(&format!("{path}/log?follow=true")).await?;
    absence.ended(output);
    log.print(&mut lines, has_ended, output).await?;
    if log.can_be_read() {
        return Ok(None);
    }
    if has_ended {
        output.note(&format!("{}: the server can't tell the rest of the log; its own log says why", workflow.name));
        return Ok(Some(workflow));
    }
    output.note(&format!("{}: the server can't tell the log; it is asked for the rest at the end", workflow.name));
    Ok(None)
}
