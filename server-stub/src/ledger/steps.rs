//! What is known of one step.

use jiff::Timestamp;
use piculet_core::id::{Attempt, StepId};
use piculet_core::outcome::StepState;
use piculet_core::workload::{StepKind, StepSpec};
use piculet_link::wire::agent::StepUpdate;
use piculet_link::wire::state::OutcomeClass;
use serde::{Deserialize, Serialize};

use super::StepLog;

/// What is known of a step.
#[derive(Debug, Serialize, Deserialize)]
pub struct StepRecord {
    /// The step's id.
    pub id: StepId,
    /// Its name, for people.
    pub name: String,
    /// What kind of step it is.
    pub kind: StepKind,
    /// The stage that it stands in, from 0.
    pub stage: u32,
    /// The names of the steps that it waits for; `None`: all of the earlier stages.
    pub needs: Option<Vec<String>>,
    /// Runs beside the others, and is stopped when they are over.
    pub is_detached: bool,
    /// The state of the newest attempt.
    pub state: StepState,
    /// The newest attempt.
    pub attempt: Attempt,
    /// When the newest attempt started.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub finished: Option<Timestamp>,
    /// How it ended; `None` if it has not, or was never tried.
    pub outcome: Option<OutcomeClass>,
    /// The exit code, if one was observed.
    pub exit_code: Option<i32>,
    /// What went wrong; empty if nothing did.
    pub error: String,
    /// What it printed. The store keeps it apart.
    #[serde(skip)]
    pub log: StepLog,
}

impl StepRecord {
    /// A step that nothing is known of.
    pub(super) fn new(spec: &StepSpec, stage: u32, log_bytes: u64) -> Self {
        Self {
            id: StepId::new(spec.id.as_str()),
            name: spec.name.clone(),
            kind: spec.kind,
            stage,
            needs: spec.needs.clone(),
            is_detached: spec.detached || spec.kind == StepKind::Service,
            state: StepState::Pending,
            attempt: Attempt::FIRST,
            started: None,
            finished: None,
            outcome: None,
            exit_code: None,
            error: String::new(),
            log: StepLog::new(log_bytes),
        }
    }

    /// Takes a new state. An older attempt says nothing about a newer one, and an attempt ends once.
    pub(super) fn change(&mut self, update: StepUpdate) {
        if update.attempt < self.attempt || (update.attempt == self.attempt && self.state.is_final()) {
            return;
        }
        self.state = update.state;
        self.attempt = update.attempt;
        self.started = update.started;
        self.finished = update.finished;
        self.outcome = update.outcome;
        self.exit_code = update.exit_code;
        self.error = update.error;
    }

    /// Whether anything was reported of it that people can see.
    pub(super) fn is_touched(&self) -> bool {
        self.state != StepState::Pending || self.attempt != Attempt::FIRST || self.log.kept_until() > 0
    }

    /// The workflow is over, and nobody said how this step ended: that is never a success.
    pub(super) fn close(&mut self, because: &str) {
        self.state = match self.state {
            StepState::Running if self.is_detached => StepState::Killed,
            StepState::Running => StepState::Failure,
            StepState::Pending => StepState::Canceled,
            state => state,
        };
        because.clone_into(&mut self.error);
        if self.state != StepState::Canceled {
            self.outcome = Some(OutcomeClass::Unknown);
        }
    }
}
