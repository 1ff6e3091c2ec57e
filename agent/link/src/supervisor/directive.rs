//! What the supervisor tells the agent.

use std::time::Duration;

use piculet_core::id::{Epoch, RunKey, ServerId};
use piculet_core::workload::{WorkloadError, WorkloadSpec};

use crate::message::TraceContext;

/// Something for the agent to do, or to know. In the order in which it came about.
#[derive(Debug, Clone, PartialEq)]
pub enum Directive {
    /// Take this workflow: answer with `Accepted` or `Refused`. There may be one more than slots are free, if a slot
    /// was given back and taken in the same moment; it is refused, not finally, and the server places it elsewhere.
    /// From a server that can't do that it waits for its slot; it may come after a drain began, too.
    Run(Box<Assignment>),
    /// The server stored `Accepted`: the workflow is this agent's, and pods may be created now.
    Confirmed(RunKey),
    /// The server stored `Finished` or `Refused`, and all before it: nothing more is owed about this workflow.
    Concluded(RunKey),
    /// Stop a workflow, and report its end. May be said more than once.
    Cancel {
        /// Which.
        key: RunKey,
        /// Who or what asked for it, for people.
        reason: String,
        /// Time between SIGTERM and SIGKILL; `None`: the agent's own setting.
        grace: Option<Duration>,
    },
    /// The server doesn't want this workflow from this agent any more: stop it. Reports about it are dropped.
    Abandon(RunKey),
    /// The workflow is another agent's now, which may go on with what is there: leave it to that one if it has taken it
    /// over, and stop it otherwise. Reports about it are dropped.
    LetGo(RunKey),
    /// Take no more work, and finish what is there.
    Drain,
    /// Work may be taken again.
    Resume,
    /// A session began.
    Connected {
        /// The server.
        server: ServerId,
        /// The server's id of this agent.
        agent_id: String,
        /// The server's id of the session.
        session_id: String,
    },
    /// The session ended. Workflows go on; another session is being tried for.
    Disconnected {
        /// A sentence.
        reason: String,
    },
}

/// A workflow handed to this agent.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// Which, under which assignment.
    pub key: RunKey,
    /// The epoch that its objects are made under: see [`Assign::made_under`](crate::message::Assign::made_under).
    pub made_under: Epoch,
    /// What to run; or why it can't be read, which is to be refused finally.
    pub spec: Result<WorkloadSpec, WorkloadError>,
    /// Whether the server gives it to somebody else if this agent can't take it now.
    pub can_go_elsewhere: bool,
    /// The server that it came from.
    pub server: ServerId,
    /// The trace that it belongs to.
    pub trace: Option<TraceContext>,
}
