//! How steps and workflows stand, in the words of the protocol.
//!
//! What the reference agent sends in each situation decides which field means what to the server and its page; the
//! sentence about what happened goes with it wherever the exit code doesn't say it all.

use jiff::Timestamp;
use piculet_core::outcome::{Outcome, StepState, WorkflowState};
use piculet_core::report::{StepReport, WorkflowReport};
use piculet_proto::woodpecker as pb;

/// What Woodpecker calls what a user stopped.
const CANCELED: &str = "Canceled";

/// The exit code of a process that was ended by SIGKILL, as the kernel does it to one that takes too much memory.
const KILLED: i32 = 137;

/// A step that begins: the server's clock says when, unless it is known.
pub(super) fn begun(step: &str, started: Option<Timestamp>) -> pb::StepState {
    pb::StepState { step_uuid: step.to_owned(), started: seconds(started), ..pb::StepState::default() }
}

/// A step that is over, or was never tried; `None`: nothing is said about one in that state. `has_begun`: the server takes
/// it for running. `by_user`: the server said that somebody stopped the workflow.
pub(super) fn ended(report: &StepReport, has_begun: bool, by_user: bool) -> Option<pb::StepState> {
    let state = begun(report.step.as_str(), None);
    let over = || pb::StepState {
        started: seconds(report.started),
        finished: seconds(report.finished),
        exited: true,
        exit_code: exit_code(report.outcome.as_ref()),
        error: report.error.clone(),
        ..state.clone()
    };
    match report.state {
        StepState::Success => Some(over()),
        // One that looks like a success to the server must not be taken for one.
        StepState::Failure if exit_code(report.outcome.as_ref()) == 0 && report.error.is_empty() => {
            Some(pb::StepState { error: "The step failed.".to_owned(), ..over() })
        }
        StepState::Failure => Some(over()),
        StepState::Killed => Some(pb::StepState {
            // Nobody saw it exit, unless it never ran: then it is over for good.
            finished: if report.started.is_none() { seconds(report.finished) } else { 0 },
            exited: report.started.is_none(),
            error: why_killed(report, by_user),
            canceled: true,
            ..over()
        }),
        // It waited, and its log says for what: left as it is, the server would close it as a success.
        StepState::Canceled | StepState::Skipped if has_begun => {
            Some(pb::StepState { exit_code: 0, error: why_killed(report, by_user), canceled: true, ..over() })
        }
        StepState::Skipped => Some(pb::StepState { skipped: true, ..state }),
        // The server closes those that never began itself.
        StepState::Canceled | StepState::Pending | StepState::Running => None,
    }
}

/// The end of a workflow that began at `started`. `by_user`: the server said that somebody stopped it; `by_step`: a step
/// failed whose failure stops everything, which is a cancel to the server; `about_steps`: what is to be said of steps
/// where the workflow is looked at.
pub(super) fn done(
    report: &WorkflowReport,
    started: Timestamp,
    by_user: bool,
    by_step: bool,
    about_steps: &[String],
) -> pb::WorkflowState {
    let canceled = report.state == WorkflowState::Killed || by_step;
    // Who stopped it knows, and the page shows what stands here as an error of the workflow.
    let own = if canceled && by_user { "" } else { report.error.as_str() };
    let sentences = [own].into_iter().chain(about_steps.iter().map(String::as_str)).filter(|text| !text.is_empty());
    pb::WorkflowState {
        started: started.as_second(),
        finished: report.finished.as_second().max(started.as_second()),
        error: sentences.collect::<Vec<_>>().join(" "),
        canceled,
    }
}

/// The end of a workflow that never ran.
pub(super) fn refused(reason: &str, at: Timestamp) -> pb::WorkflowState {
    let (started, finished) = (at.as_second(), at.as_second());
    pb::WorkflowState { started, finished, error: reason.to_owned(), canceled: false }
}

/// Woodpecker's word for what a user did; a sentence for what a user can't know.
fn why_killed(report: &StepReport, by_user: bool) -> String {
    let is_users = by_user && !matches!(report.outcome, Some(Outcome::DeadlineExceeded { .. }));
    if is_users || report.error.is_empty() { CANCELED.to_owned() } else { report.error.clone() }
}

fn exit_code(outcome: Option<&Outcome>) -> i32 {
    match outcome {
        Some(Outcome::OomKilled { code, .. }) => code.filter(|code| *code != 0).unwrap_or(KILLED),
        other => other.and_then(Outcome::exit_code).unwrap_or(0),
    }
}

fn seconds(time: Option<Timestamp>) -> i64 {
    time.map_or(0, Timestamp::as_second)
}
