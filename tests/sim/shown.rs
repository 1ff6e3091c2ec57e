//! How workflows stand, as any server shows it.

use jiff::Timestamp;
use piculet_core::outcome::StepState;
use server_stub::dispatch::State;
use server_stub::view::{StepView, WorkflowView};
use server_stub::woodpecker;

/// A workflow.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Workflow {
    /// Its name in the plan.
    pub(crate) id: String,
    pub(crate) state: State,
    pub(crate) agent: Option<String>,
    pub(crate) finished: Option<Timestamp>,
    pub(crate) error: String,
    pub(crate) steps: Vec<Step>,
    /// The server gave it to an agent and has forgotten it since: only that agent can end it, if it ever got it.
    pub(crate) is_out_of_hand: bool,
}

/// A step.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) state: StepState,
    pub(crate) exit_code: Option<i32>,
    pub(crate) outcome: Option<String>,
    pub(crate) error: String,
    pub(crate) log_complaint: Option<String>,
}

impl From<WorkflowView> for Workflow {
    fn from(view: WorkflowView) -> Self {
        Self {
            id: view.id,
            state: view.state,
            agent: view.agent,
            finished: view.finished,
            error: view.error,
            steps: view.steps.into_iter().map(Step::from).collect(),
            is_out_of_hand: false,
        }
    }
}

impl From<StepView> for Step {
    fn from(view: StepView) -> Self {
        let StepView { name, state, exit_code, outcome, error, log_complaint, .. } = view;
        Self { name, state, exit_code, outcome, error, log_complaint }
    }
}

impl Workflow {
    /// As Woodpecker's server shows it.
    pub(crate) fn woodpeckers(id: &str, row: &woodpecker::Workflow, place: Option<woodpecker::Place>) -> Self {
        let state = match row.state {
            woodpecker::State::Blocked | woodpecker::State::Pending => State::Pending,
            woodpecker::State::Running => State::Running,
            woodpecker::State::Success => State::Success,
            woodpecker::State::Failure => State::Failure,
            woodpecker::State::Killed => State::Killed,
            woodpecker::State::Canceled | woodpecker::State::Skipped => State::Canceled,
        };
        Self {
            id: id.to_owned(),
            state,
            agent: None,
            finished: Timestamp::from_second(row.finished).ok().filter(|_| row.finished > 0),
            error: row.error.clone(),
            steps: row.steps.iter().map(Step::from).collect(),
            is_out_of_hand: row.state == woodpecker::State::Pending && row.agent != 0 && place.is_none(),
        }
    }
}

impl From<&woodpecker::Step> for Step {
    fn from(row: &woodpecker::Step) -> Self {
        let state = match row.state {
            woodpecker::State::Blocked | woodpecker::State::Pending => StepState::Pending,
            woodpecker::State::Running => StepState::Running,
            woodpecker::State::Success => StepState::Success,
            woodpecker::State::Failure => StepState::Failure,
            woodpecker::State::Killed => StepState::Killed,
            woodpecker::State::Canceled => StepState::Canceled,
            woodpecker::State::Skipped => StepState::Skipped,
        };
        // The protocol has no word for it; the sentence has.
        let outcome = match state {
            StepState::Success | StepState::Failure if row.error.is_empty() || row.error.starts_with("Exit code ") => {
                Some("exited")
            }
            StepState::Failure if row.error.contains("evicted") => Some("evicted"),
            _ => None,
        };
        Self {
            name: row.name.clone(),
            state,
            exit_code: outcome.is_some().then_some(row.exit_code),
            outcome: outcome.map(str::to_owned),
            error: row.error.clone(),
            log_complaint: None,
        }
    }
}
