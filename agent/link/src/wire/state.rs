//! Closed sets: states, outcomes, kinds. Mapped one to one; the compiler sees that none is forgotten on either side.

use std::fmt;

use piculet_core::outcome::{Outcome, StepState, WorkflowState};
use piculet_core::workload::{FailurePolicy, StepKind};
use piculet_proto::v1;
use serde::{Deserialize, Serialize};

/// The class of an [`Outcome`]: what a server learns of it, beside the exit code and the sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutcomeClass {
    /// The process ended by itself.
    Exited,
    /// A signal ended it.
    Signaled,
    /// There was not enough memory.
    OomKilled,
    /// The pod was evicted.
    Evicted,
    /// A pod of a higher priority took its place.
    Preempted,
    /// The node went away with it.
    NodeLost,
    /// Somebody deleted the pod.
    PodDeleted,
    /// The container never ran.
    NeverStarted,
    /// It took too long.
    DeadlineExceeded,
    /// It was stopped on request.
    Cancelled,
    /// Nobody can tell.
    Unknown,
}

impl OutcomeClass {
    /// Its name, in kebab case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exited => "exited",
            Self::Signaled => "signaled",
            Self::OomKilled => "oom-killed",
            Self::Evicted => "evicted",
            Self::Preempted => "preempted",
            Self::NodeLost => "node-lost",
            Self::PodDeleted => "pod-deleted",
            Self::NeverStarted => "never-started",
            Self::DeadlineExceeded => "deadline-exceeded",
            Self::Cancelled => "cancelled",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for OutcomeClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<&Outcome> for OutcomeClass {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Exited { .. } => Self::Exited,
            Outcome::Signaled { .. } => Self::Signaled,
            Outcome::OomKilled { .. } => Self::OomKilled,
            Outcome::Evicted { .. } => Self::Evicted,
            Outcome::Preempted { .. } => Self::Preempted,
            Outcome::NodeLost { .. } => Self::NodeLost,
            Outcome::PodDeleted { .. } => Self::PodDeleted,
            Outcome::NeverStarted { .. } => Self::NeverStarted,
            Outcome::DeadlineExceeded { .. } => Self::DeadlineExceeded,
            Outcome::Cancelled { .. } => Self::Cancelled,
            Outcome::Unknown { .. } => Self::Unknown,
        }
    }
}

/// A number that is no value of a closed set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotInSet {
    /// It is the set's zero: nothing was said.
    #[error("is missing")]
    Unspecified,
    /// It is not known here.
    #[error("is {0}, which this version doesn't know")]
    Unknown(i32),
}

macro_rules! mapped {
    ($ours:ident as $wire:ident: $($variant:ident),+ $(,)?) => {
        impl ClosedSet for $ours {
            type Wire = v1::$wire;

            fn encode(self) -> v1::$wire {
                match self {
                    $(Self::$variant => v1::$wire::$variant,)+
                }
            }

            fn decode(number: i32) -> Result<Self, NotInSet> {
                match v1::$wire::try_from(number) {
                    $(Ok(v1::$wire::$variant) => Ok(Self::$variant),)+
                    Ok(v1::$wire::Unspecified) => Err(NotInSet::Unspecified),
                    Err(_) => Err(NotInSet::Unknown(number)),
                }
            }
        }
    };
}

/// A closed set with a counterpart on the wire.
pub trait ClosedSet: Sized {
    /// The generated enum.
    type Wire;

    /// For the wire.
    fn encode(self) -> Self::Wire;

    /// From the wire.
    ///
    /// # Errors
    /// The number is none of the set.
    fn decode(number: i32) -> Result<Self, NotInSet>;
}

mapped!(StepState as StepState: Pending, Running, Success, Failure, Killed, Skipped, Canceled);
mapped!(WorkflowState as WorkflowState: Pending, Running, Success, Failure, Killed);
mapped!(StepKind as StepKind: Clone, Service, Plugin, Commands);
mapped!(FailurePolicy as FailurePolicy: Fail, Ignore, Cancel);
mapped!(
    OutcomeClass as OutcomeClass: Exited, Signaled, OomKilled, Evicted, Preempted, NodeLost, PodDeleted, NeverStarted,
    DeadlineExceeded, Cancelled, Unknown,
);

#[cfg(test)]
mod tests {
    use piculet_core::outcome::{StepState, WorkflowState};
    use piculet_core::workload::{FailurePolicy, StepKind};

    use super::{ClosedSet, NotInSet, OutcomeClass};

    fn numbers<T: ClosedSet>(count: i32) {
        assert_eq!(T::decode(0).err(), Some(NotInSet::Unspecified));
        for number in 1..=count {
            assert!(T::decode(number).is_ok(), "{number}");
        }
        for number in [count + 1, -1, i32::MAX, i32::MIN] {
            assert_eq!(T::decode(number).err(), Some(NotInSet::Unknown(number)));
        }
    }

    #[test]
    fn the_sets_are_closed() {
        numbers::<StepState>(7);
        numbers::<WorkflowState>(5);
        numbers::<StepKind>(4);
        numbers::<FailurePolicy>(3);
        numbers::<OutcomeClass>(11);
    }

    #[test]
    fn the_words_mean_the_same_on_both_sides() {
        for number in 1..=7 {
            let state = StepState::decode(number).unwrap();
            assert_eq!(state.encode() as i32, number);
            assert_eq!(state.encode().as_str_name(), format!("STEP_STATE_{}", state.as_str().to_uppercase()));
        }
        for number in 1..=5 {
            let state = WorkflowState::decode(number).unwrap();
            assert_eq!(state.encode().as_str_name(), format!("WORKFLOW_STATE_{}", state.as_str().to_uppercase()));
        }
        for number in 1..=11 {
            let class = OutcomeClass::decode(number).unwrap();
            let word = class.as_str().to_uppercase().replace('-', "_");
            assert_eq!(class.encode().as_str_name(), format!("OUTCOME_CLASS_{word}"));
        }
    }
}
