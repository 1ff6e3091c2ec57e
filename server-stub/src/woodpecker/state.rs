//! The states of workflows and steps.

/// How far a workflow, a step or a pipeline has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Waits for somebody's approval.
    Blocked,
    /// Waits to be begun.
    Pending,
    /// Runs.
    Running,
    /// Ended well.
    Success,
    /// Failed.
    Failure,
    /// Was stopped after it had begun.
    Killed,
    /// Was stopped before it had begun.
    Canceled,
    /// Didn't have to run.
    Skipped,
}

impl State {
    /// Nothing comes after it.
    pub fn is_terminal(self) -> bool {
        !matches!(self, Self::Blocked | Self::Pending | Self::Running)
    }

    /// As people see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Killed => "killed",
            Self::Canceled => "canceled",
            Self::Skipped => "skipped",
        }
    }

    /// What two of them make together: the one that stands first here. What was cancelled beside something else counts as
    /// killed, because something had begun.
    #[must_use]
    pub fn merged(self, other: Self) -> Self {
        const ORDER: [State; 8] = [
            State::Blocked,
            State::Killed,
            State::Canceled,
            State::Running,
            State::Pending,
            State::Failure,
            State::Success,
            State::Skipped,
        ];
        if self != other && (self == Self::Canceled || other == Self::Canceled) {
            return Self::Killed.merged(if self == Self::Canceled { other } else { self });
        }
        ORDER.into_iter().find(|state| *state == self || *state == other).unwrap_or(self)
    }
}

#[cfg(test)]
mod tests;
