//! What the server says no with. Nearly everything is `Unknown` with a text, because the real server hands plain errors to
//! gRPC.

use tonic::{Code, Status};

/// No, and why. The texts are those of the real server as far as they are known; agents must not read them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A row that isn't there: a workflow, a step or an agent.
    #[error("sql: no rows in result set")]
    NoRow,
    /// An id that is no number.
    #[error("strconv.ParseInt: parsing {0:?}: invalid syntax")]
    NoNumber(String),
    /// `Auth` failed.
    #[error("agent could not auth: {0}")]
    Auth(&'static str),
    /// The metadata has no `token`.
    #[error("token is not provided")]
    NoToken,
    /// The `token` is wrong or too old.
    #[error("access token is invalid: {0}")]
    BadToken(&'static str),
    /// `proto-version` is no number.
    #[error("proto-version {0:?} is not a number")]
    NoVersion(String),
    /// `proto-version` is another one than the server's.
    #[error("agent speaks protocol version {agent}, server speaks {server}")]
    OtherVersion {
        /// What the agent speaks.
        agent: i32,
        /// What the server speaks.
        server: i32,
    },
    /// Too large a message.
    #[error("grpc: received message larger than max ({0} vs. {max})", max = super::MAX_MESSAGE_BYTES)]
    TooLarge(usize),
    /// The real server would have crashed.
    #[error("panic: assignment to entry in nil map")]
    Crash,
    /// The status of an agent that isn't well.
    #[error("Are you alive?")]
    NotAlive,
    /// The workflow is another agent's, or of an organisation that the agent isn't for.
    #[error("agent is not allowed to interact with workflow: agentId={agent} workflowID={workflow}")]
    NotYours {
        /// Who asks.
        agent: i64,
        /// For what.
        workflow: i64,
    },
    /// The workflow is over.
    #[error("workflow was already marked as finished")]
    Finished,
    /// The workflow waits for somebody's approval.
    #[error("workflow is currently in blocked state")]
    Blocked,
    /// A state that no workflow can have at this point.
    #[error("agent reported impossible workflow state")]
    Impossible,
    /// The step is of another pipeline.
    #[error("agent returned status with step uuid '{0}' which does not belong to current pipeline")]
    ForeignStep(String),
    /// The step's state doesn't allow for this change.
    #[error("step has state {0} and does not expect rpc state updates")]
    StepFinal(&'static str),
    /// Lines of a step that isn't known.
    #[error("could not find step with uuid {0} in store: sql: no rows in result set")]
    NoStep(String),
    /// Lines that come too late, or too early.
    #[error("can not alter logs: agent can not append logs to a step that is marked not running")]
    LogClosed,
    /// The queue doesn't have the task among those that run.
    #[error("queue: task not found")]
    NoTask,
    /// The lease is over.
    #[error("queue: task expired")]
    Expired,
    /// The queue has given the task to somebody else.
    #[error("task assigned to different agent")]
    OtherAgent,
}

impl Refusal {
    /// The code that goes over the wire.
    pub fn code(&self) -> Code {
        match self {
            Self::NoToken | Self::BadToken(_) => Code::Unauthenticated,
            Self::NoVersion(_) => Code::InvalidArgument,
            Self::OtherVersion { .. } => Code::FailedPrecondition,
            Self::TooLarge(_) => Code::ResourceExhausted,
            Self::Crash => Code::Internal,
            _ => Code::Unknown,
        }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code(), refusal.to_string())
    }
}
