//! A workflow's row, and what may be done with it in which state.
//!
//! Each workflow is a pipeline of its own here, so the pipeline's state is a part of the row.

use piculet_proto::woodpecker as pb;

use super::refusal::Refusal;
use super::state::State;
use super::step::Step;

/// For how long after its end a pipeline's steps take lines. Seconds.
const LATE_LINES: i64 = 5 * 60;

/// A workflow, as the server's database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workflow {
    /// The row's number.
    pub id: i64,
    /// How far it has come.
    pub state: State,
    /// What the agent said was wrong with it as a whole.
    pub error: String,
    /// Unix seconds by the agent's clock; 0: not yet.
    pub started: i64,
    /// Unix seconds by the agent's clock; 0: not yet.
    pub finished: i64,
    /// The agent that it was handed out to; 0: nobody.
    pub agent: i64,
    /// The organisation of its repository.
    pub org: i64,
    /// How far the pipeline has come. A cancelled one is so at once, though the workflow still runs.
    pub pipeline: State,
    /// When the pipeline ended. Unix seconds; 0: not yet.
    pub pipeline_finished: i64,
    /// In the payload's order.
    pub steps: Vec<Step>,
}

impl Workflow {
    /// One that waits for an agent.
    pub(super) fn new(id: i64, org: i64, steps: Vec<Step>) -> Self {
        Self {
            id,
            state: State::Pending,
            error: String::new(),
            started: 0,
            finished: 0,
            agent: 0,
            org,
            pipeline: State::Pending,
            pipeline_finished: 0,
            steps,
        }
    }

    /// The step with this name.
    pub fn step(&self, name: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.name == name)
    }

    /// The agent says that it begins. It may say so again while it runs, and sets the start anew with that.
    ///
    /// # Errors
    /// If it is over or blocked, or if nothing can begin like that.
    pub fn init(&mut self, reported: &pb::WorkflowState) -> Result<(), Refusal> {
        may_go_on(self.state)?;
        if reported.started == 0 || reported.canceled {
            return Err(Refusal::Impossible);
        }
        if self.pipeline == State::Pending {
            self.pipeline = State::Running;
        }
        self.state = State::Running;
        self.started = reported.started;
        Ok(())
    }

    /// A step's report, checked and taken. What the state machine of the step makes of it is swallowed while the workflow is
    /// active. True if the pipeline is to be cancelled.
    ///
    /// # Errors
    /// If the workflow is over and the step wouldn't be, or was before.
    pub fn update(&mut self, report: &pb::StepState, now: i64) -> Result<bool, Refusal> {
        let Some(step) = self.steps.iter_mut().find(|step| step.uuid == report.step_uuid) else {
            return Err(Refusal::NoRow);
        };
        let next = step.after(report, now);
        match self.state {
            State::Blocked => return Err(Refusal::Blocked),
            state if state.is_terminal() && !next.clone()?.state.is_terminal() => return Err(Refusal::Finished),
            _ => {}
        }
        let Ok(next) = next else { return Ok(false) };
        let did_fail = next.exit_code != 0 || !next.error.is_empty();
        let cancels = did_fail && next.state.is_terminal() && next.failure == super::step::FailureMode::Cancel;
        *step = next;
        Ok(cancels)
    }

    /// The agent says that it is over. Steps that aren't are closed: those that were started count as successes.
    ///
    /// # Errors
    /// If it was over or blocked before, or if nothing can end like that.
    pub fn done(&mut self, reported: &pb::WorkflowState) -> Result<(), Refusal> {
        may_go_on(self.state)?;
        if reported.canceled && reported.started == 0 {
            return Err(Refusal::Impossible);
        }
        for step in self.steps.iter_mut().filter(|step| !step.state.is_terminal()) {
            step.close(reported.finished, State::Killed);
        }
        self.finished = reported.finished;
        self.error.clone_from(&reported.error);
        self.state = if reported.canceled {
            State::Killed
        } else if !reported.error.is_empty() {
            State::Failure
        } else if reported.started == 0 {
            State::Skipped
        } else {
            self.steps.iter().filter_map(Step::verdict).fold(State::Success, State::merged)
        };
        self.pipeline = self.state;
        self.pipeline_finished = self.finished;
        Ok(())
    }

    /// Somebody stops the pipeline. A workflow that hasn't begun is over with that; one that runs waits for what its agent
    /// says. False if the pipeline is over already.
    pub fn cancel(&mut self, now: i64) -> bool {
        if self.pipeline.is_terminal() {
            return false;
        }
        let had_begun = self.state != State::Pending;
        if !had_begun {
            self.state = State::Skipped;
        }
        for step in self.steps.iter_mut().filter(|step| step.state == State::Pending) {
            step.close(0, State::Canceled);
        }
        self.pipeline = if had_begun { State::Killed } else { State::Canceled };
        self.pipeline_finished = now;
        true
    }

    /// Whether lines of a step are taken at this time.
    ///
    /// # Errors
    /// If it is too late, or too early.
    pub fn takes_lines(&self, step: &Step, now: i64) -> Result<(), Refusal> {
        let runs = step.state == State::Running || self.pipeline == State::Running;
        if runs || self.pipeline_finished + LATE_LINES > now { Ok(()) } else { Err(Refusal::LogClosed) }
    }
}

/// Whether a workflow in this state may begin or end.
fn may_go_on(state: State) -> Result<(), Refusal> {
    match state {
        State::Pending | State::Running => Ok(()),
        State::Blocked => Err(Refusal::Blocked),
        _ => Err(Refusal::Finished),
    }
}

#[cfg(test)]
mod tests;
