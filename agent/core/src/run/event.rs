//! What the run machine is told, and what it wants done.

use std::time::Duration;

use crate::id::{Attempt, PodUid, StepIndex};
use crate::observation::{Observation, Said};
use crate::outcome::{NeverStarted, WorkflowState};
use crate::report::StepReport;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The server acknowledged `Accepted`: the workflow is ours, pods may be created.
    Confirmed,
    /// The anchor and the workflow's own objects exist.
    Prepared,
    /// They can't be made.
    PrepareFailed {
        /// The class.
        reason: NeverStarted,
        /// The cluster's words.
        message: String,
    },
    /// The step's pod exists.
    Created {
        /// The step.
        step: StepIndex,
        /// The attempt that [`Action::Create`] named.
        attempt: Attempt,
        /// The pod.
        uid: PodUid,
    },
    /// The step's pod could not be created.
    CreateFailed {
        /// The step.
        step: StepIndex,
        /// The attempt that [`Action::Create`] named.
        attempt: Attempt,
        /// The class.
        reason: NeverStarted,
        /// The cluster's words.
        message: String,
        /// Nobody answered: it may exist nevertheless. Then only another try at the same attempt is safe.
        may_exist: bool,
    },
    /// The step's pod was seen.
    Observed {
        /// The step.
        step: StepIndex,
        /// What was seen. Ignored if its UID isn't that of the current attempt.
        observation: Observation,
    },
    /// What is said of the step's pod, which waits.
    Told {
        /// The step.
        step: StepIndex,
        /// The pod.
        uid: PodUid,
        /// The newest words.
        said: Said,
    },
    /// A consistent read said that the pod is gone, or that another one has its name.
    Gone {
        /// The step.
        step: StepIndex,
        /// The pod that is gone.
        uid: PodUid,
        /// The last observation showed how it was when it went. Otherwise nobody knows what it did in between.
        witnessed: bool,
    },
    /// The log of the pod was read to its end, or nothing more can be read.
    LogEnded {
        /// The step.
        step: StepIndex,
        /// The pod.
        uid: PodUid,
    },
    /// Somebody wants the workflow stopped.
    Cancel {
        /// Who or what, for people.
        by: String,
        /// Time between SIGTERM and SIGKILL; `None`: the pod's own.
        grace: Option<Duration>,
    },
    /// Time passed: [`Run::due`](super::Run::due) has come.
    Tick,
    /// The workflow's objects are gone, or as gone as they get.
    TornDown,
}

/// Something to do. Actions are performed in the order in which they are given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Make the anchor and the workflow's own objects. Answered by `Prepared` or `PrepareFailed`.
    Prepare,
    /// Make the objects of a step. Answered by `Created` or `CreateFailed`.
    Create {
        /// The step.
        step: StepIndex,
        /// Names the pod together with the step.
        attempt: Attempt,
        /// Whether something that it waited for failed: `CI_PIPELINE_STATUS`.
        after_failure: bool,
    },
    /// Read the log of the pod, from its start to its end. Answered by `LogEnded`.
    Tail {
        /// The step.
        step: StepIndex,
        /// The attempt.
        attempt: Attempt,
        /// The pod.
        uid: PodUid,
    },
    /// Delete the pod with a grace. Answered by observations and `Gone`.
    Stop {
        /// The step.
        step: StepIndex,
        /// The attempt.
        attempt: Attempt,
        /// The pod.
        uid: PodUid,
        /// `None`: the pod's own.
        grace: Option<Duration>,
    },
    /// Listen to what the cluster says of the pod, for as long as it waits. Answered by `Told`, or not at all.
    Listen {
        /// The step.
        step: StepIndex,
        /// The pod.
        uid: PodUid,
    },
    /// Put a line of the agent's own into the step's log.
    Say {
        /// The step.
        step: StepIndex,
        /// One line.
        text: String,
    },
    /// The step's log gets no more lines.
    CloseLog {
        /// The step.
        step: StepIndex,
    },
    /// Tell the server.
    Report(StepReport),
    /// The workflow is over: tell the server after everything else.
    Finish {
        /// A final state.
        state: WorkflowState,
        /// What went wrong apart from the steps; empty if nothing did.
        error: String,
    },
    /// Remove all objects of the workflow. Answered by `TornDown`.
    Teardown,
}
