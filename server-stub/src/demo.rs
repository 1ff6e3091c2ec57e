//! The main job on one machine: a server, an agent and a cluster in one process, running pipeline files.
//!
//! The agent talks to the server by real gRPC over loopback, and to the cluster by real requests. The cluster is the one
//! in memory, whose containers are processes of this machine; or a real one, by a kubeconfig.

mod live;
mod options;
mod place;
mod summary;

pub use options::Options;

use std::io::{ErrorKind, IsTerminal, Write};
use std::path::PathBuf;

use piculet_core::id::WorkflowId;
use piculet_core::workload::{StepKind, StepSpec};
use piculet_pipeline::{Context, Given, SourceFile};
use tokio::signal::unix::{SignalKind, signal};

use crate::mailbox::Stop;
use crate::server::{Config, Server};
use crate::store::{Store, StoreError};
use crate::submission::{self, Missing, Plan};
use live::Printer;
use place::Place;
use summary::Summary;

/// The file that is run if none is given.
const EXAMPLE: &str = include_str!("demo/example.yaml");

/// Why the demo did not run, or could not end well.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// What was given is wrong.
    #[error("{0}")]
    BadInput(String),
    /// This machine, or the cluster, can't do it.
    #[error("{0}")]
    Place(String),
    /// The output can't be written.
    #[error("can't write to the standard output: {0}")]
    Output(#[from] std::io::Error),
}

/// Runs the files, shows their logs, and says how they ended: true if all succeeded.
///
/// # Errors
/// If nothing could be run.
pub async fn run(options: &Options, json: bool, out: &mut (impl Write + Send)) -> Result<bool, DemoError> {
    let plan = plan(options)?;
    let config = Config { agent_token: Some(place::token()), ..Config::default() };
    let broken = |error: StoreError| DemoError::Place(error.to_string());
    let server = Server::start(config, Store::in_memory().map_err(broken)?).map_err(broken)?;
    let place = Place::prepare(options, &plan, &server).await?;
    let is_terminal = std::io::stdout().is_terminal();
    let colour = is_terminal && !options.no_colour;
    let submissions = plan.workflows.iter().map(|planned| planned.submission.clone()).collect();
    server.submit(submissions).map_err(|error| DemoError::BadInput(error.to_string()))?;
    let ids: Vec<_> = plan.workflows.iter().map(|planned| planned.submission.id.clone()).collect();
    let interrupts = tokio::spawn(cancel_on_signals(server.clone(), ids));
    let mut printer = Printer::new(out, is_terminal, colour);
    live::follow(&server, &plan, &mut printer).await;
    let closed = printer.closed();
    let simulated = place.leave(&server).await;
    interrupts.abort();
    let summary = Summary::new(&server, &plan, &simulated);
    let printed = match closed {
        Some(error) => Err(error),
        None => summary.table(out, colour).and_then(|()| if json { summary.json(out) } else { out.flush() }),
    };
    match printed {
        // Whoever read the output had had enough of it; the exit code still tells how it ended.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(DemoError::Output(error)),
        _ => Ok(summary.all_succeeded()),
    }
}

/// Compiles the files, and tells what their authors should know.
fn plan(options: &Options) -> Result<Plan, DemoError> {
    let given = Given {
        event: options.event.clone(),
        branch: options.branch.clone(),
        variables: options.vars.clone(),
        secrets: options.secrets.clone(),
        id_prefix: uuid::Uuid::new_v4().to_string(),
    };
    let mut context = Context::given(&given).map_err(|error| DemoError::BadInput(error.to_string()))?;
    context.timeout_seconds = options.timeout;
    let files = sources(&options.files)?;
    let plan = submission::plan_files(&files, &context, None, Missing::Ignore);
    let plan = plan.map_err(|error| DemoError::BadInput(error.to_string()))?;
    for warning in &plan.warnings {
        tell(&warning.to_string());
    }
    for note in &plan.notes {
        tell(note);
    }
    if options.source.is_some() {
        let specs = plan.workflows.iter().map(|planned| &planned.submission.spec);
        for spec in specs.filter(|spec| !spec.stages.iter().flat_map(|stage| &stage.steps).any(is_clone)) {
            tell(&format!("note: '{}' skips the clone, so it sees nothing of --source", spec.name));
        }
    }
    Ok(plan)
}

fn is_clone(step: &StepSpec) -> bool {
    step.kind == StepKind::Clone
}

fn sources(files: &[PathBuf]) -> Result<Vec<SourceFile>, DemoError> {
    if files.is_empty() {
        return Ok(vec![SourceFile::new("example.yaml", EXAMPLE)]);
    }
    let read = |path: &PathBuf| match std::fs::read(path) {
        Ok(text) => Ok(SourceFile::new(path.display().to_string(), text)),
        Err(error) => Err(DemoError::BadInput(format!("can't read {}: {error}", path.display()))),
    };
    files.iter().map(read).collect()
}

/// The first signal cancels everything; what runs gets its grace and its last words are shown. The second one ends the
/// process: the kernel takes the steps with it.
async fn cancel_on_signals(server: Server, ids: Vec<WorkflowId>) {
    let Ok(mut interrupt) = signal(SignalKind::interrupt()) else { return };
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return };
    for second in [false, true] {
        tokio::select! {
            biased;
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if second {
            #[expect(clippy::exit, reason = "whoever asked, asked twice")]
            std::process::exit(130);
        }
        tell("stopping; a second signal ends at once");
        for id in &ids {
            // One that is over needs no cancel.
            let _over = server.cancel(id, Stop { reason: "the demo was interrupted".to_owned(), grace: None });
        }
    }
}

fn tell(text: &str) {
    // If standard error is gone there is nobody to tell.
    let _nobody_reads = writeln!(std::io::stderr().lock(), "{text}");
}
