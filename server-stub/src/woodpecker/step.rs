//! A step's row, and how it changes with what the agent reports.
//!
//! | is      | reported                        | becomes                                                     |
//! |---------|---------------------------------|-------------------------------------------------------------|
//! | pending | `skipped`                       | skipped                                                     |
//! | pending | `finished` 0                    | running                                                     |
//! | pending | `exited` or an error            | success if the exit code is 0 and there is no error, else failure |
//! | running | `exited` or an error            | the same                                                    |
//! | both    | `canceled`, besides             | killed                                                      |
//! | another | anything                        | refused                                                     |

use piculet_proto::woodpecker as pb;

use super::refusal::Refusal;
use super::state::State;

/// What a failure of a step means for its workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FailureMode {
    /// The workflow fails.
    #[default]
    Fail,
    /// Nothing.
    Ignore,
    /// The whole pipeline is cancelled.
    Cancel,
}

/// A step, as the server's database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// From the payload.
    pub uuid: String,
    /// From the payload.
    pub name: String,
    /// `clone`, `service`, `plugin` or `commands`.
    pub kind: String,
    /// From the payload.
    pub failure: FailureMode,
    /// How far it has come.
    pub state: State,
    /// What it exited with; 0 until then.
    pub exit_code: i32,
    /// Why it failed, if it isn't by its exit code.
    pub error: String,
    /// Unix seconds; 0: not yet.
    pub started: i64,
    /// Unix seconds; 0: not yet.
    pub finished: i64,
}

impl FailureMode {
    /// As payloads have it; what isn't known is `fail`.
    pub fn parse(text: &str) -> Self {
        match text {
            "ignore" => Self::Ignore,
            "cancel" => Self::Cancel,
            _ => Self::Fail,
        }
    }

    /// As payloads have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Ignore => "ignore",
            Self::Cancel => "cancel",
        }
    }
}

impl Step {
    /// One that hasn't begun.
    pub fn new(uuid: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            uuid: uuid.into(),
            name: name.into(),
            kind: "commands".to_owned(),
            failure: FailureMode::Fail,
            state: State::Pending,
            exit_code: 0,
            error: String::new(),
            started: 0,
            finished: 0,
        }
    }

    /// The step after this report. `now` is in unix seconds: the server's clock fills in what the agent left out.
    ///
    /// # Errors
    /// If the step is over already.
    pub fn after(&self, report: &pb::StepState, now: i64) -> Result<Self, Refusal> {
        let mut next = self.clone();
        let ends = report.exited || !report.error.is_empty();
        match self.state {
            State::Pending if report.skipped => {
                next.state = State::Skipped;
                next.finished = report.finished;
                return Ok(next);
            }
            State::Pending => {
                if report.finished == 0 {
                    next.state = State::Running;
                }
                next.started = or_now(report.started, now);
                if ends {
                    next.end(report, now);
                }
            }
            State::Running if ends => next.end(report, now),
            State::Running => {}
            state => return Err(Refusal::StepFinal(state.as_str())),
        }
        if report.canceled {
            next.state = State::Killed;
            if next.finished == 0 {
                next.finished = or_now(report.finished, now);
            }
        }
        Ok(next)
    }

    fn end(&mut self, report: &pb::StepState, now: i64) {
        self.finished = or_now(report.finished, now);
        self.exit_code = report.exit_code;
        self.error.clone_from(&report.error);
        let went_well = report.exit_code == 0 && report.error.is_empty();
        self.state = if went_well { State::Success } else { State::Failure };
    }

    /// The workflow is over, and the step isn't: one that was started counts as a success, whatever it did; one that never
    /// was is `never`.
    pub(super) fn close(&mut self, finished: i64, never: State) {
        if self.started == 0 {
            self.state = never;
        } else {
            self.state = State::Success;
            self.finished = finished;
        }
    }

    /// What it contributes to its workflow's state; `None`: nothing.
    pub(super) fn verdict(&self) -> Option<State> {
        let has_failed = matches!(self.state, State::Failure | State::Killed);
        let is_forgiven = has_failed && self.failure != FailureMode::Fail;
        (!is_forgiven).then_some(self.state)
    }
}

fn or_now(reported: i64, now: i64) -> i64 {
    if reported == 0 { now } else { reported }
}

#[cfg(test)]
mod tests;
