//! Reading single fields of a message.

use piculet_core::id::{Epoch, RunKey, Sequence, WorkflowId};
use piculet_proto::v1;

/// A message that makes no sense: the other side has a fault, or speaks another protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("The field '{field}' of a message {problem}.")]
pub struct Fault {
    /// Message and field, as in the protocol: `ack.workflow_id`.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

impl Fault {
    pub(super) fn new(field: &'static str, problem: impl Into<String>) -> Self {
        Self { field, problem: problem.into() }
    }

    pub(super) fn missing(field: &'static str) -> Self {
        Self::new(field, "is missing")
    }
}

/// Workflow and epoch. `field` names the message's `workflow_id`.
pub(super) fn run_key(field: &'static str, workflow_id: String, epoch: u64) -> Result<RunKey, Fault> {
    if workflow_id.is_empty() {
        return Err(Fault::missing(field));
    }
    Ok(RunKey { workflow: WorkflowId::new(workflow_id), epoch: Epoch(epoch) })
}

/// A report's name and its place in the order.
pub(super) fn stamp(stamp: Option<v1::Stamp>) -> Result<(RunKey, Sequence), Fault> {
    let v1::Stamp { workflow_id, epoch, sequence } = stamp.ok_or_else(|| Fault::missing("stamp"))?;
    let key = run_key("stamp.workflow_id", workflow_id, epoch)?;
    if sequence == 0 {
        return Err(Fault::new("stamp.sequence", "is 0, and the first report has 1"));
    }
    Ok((key, Sequence(sequence)))
}
