//! The server's part of each workflow's trace.
//!
//! A span leaves when the change that ended it is stored. So a server that is killed and comes back sends no span twice
//! with other times; what was stored and had not left is lost with its process.

use jiff::Timestamp;
use piculet_core::id::{ServerId, WorkflowId};
use piculet_core::outcome::StepState;
use piculet_core::trace::{Context, ServerTrace, Span, WorkflowTrace};
use piculet_link::message::TraceContext;

use super::{Dispatcher, Workflow};

impl Dispatcher {
    /// The spans that ended since the last call.
    pub fn take_spans(&mut self) -> Vec<Span> {
        std::mem::take(&mut self.spans)
    }

    /// The trace that a workflow of this id belongs to: its submitter's, or one of its own.
    pub fn trace_of(&self, id: &WorkflowId, submitter: Option<&TraceContext>) -> WorkflowTrace {
        // A header that is none doesn't count, as W3C asks for.
        let parent = submitter.and_then(|trace| Context::parse(&trace.parent, &trace.state).ok());
        WorkflowTrace::new(ServerId::new(self.policy.server_id.as_str()), id.clone(), parent)
    }

    /// What an agent is told of the trace: to go on below the server's span, or else below the submitter's.
    pub(super) fn context_of(&self, workflow: &Workflow) -> Option<TraceContext> {
        let Some(is_sampled) = workflow.is_sampled else { return workflow.trace.clone() };
        let context = self.server_trace(workflow).context(is_sampled);
        Some(TraceContext { parent: context.parent(), state: context.state })
    }

    /// An agent gets the workflow.
    pub(super) fn trace_queue(&mut self, id: &WorkflowId, now: Timestamp) {
        self.trace(id, |trace, workflow| Some(trace.queue(workflow.assignment.epoch(), workflow.queued, now)));
    }

    /// An agent answered, or went away before it did. To be called before the epoch grows.
    pub(super) fn trace_offer(&mut self, id: &WorkflowId, is_accepted: bool, now: Timestamp) {
        self.trace(id, |trace, workflow| {
            Some(trace.offer(workflow.assignment.epoch(), workflow.assigned?, now, is_accepted))
        });
    }

    /// The workflow is over. Its span begins and ends by the server's clock, whatever that of its agent says.
    pub(super) fn trace_workflow(&mut self, id: &WorkflowId, now: Timestamp) {
        self.trace(id, |trace, workflow| {
            let end = workflow.end.as_ref()?;
            let failed = workflow.ledger.steps().iter().find(|step| step.state == StepState::Failure);
            let class = failed.and_then(|step| step.outcome).map(|class| class.as_str());
            Some(trace.workflow(workflow.created, now, end.state.as_reported(), false, class))
        });
    }

    fn trace(&mut self, id: &WorkflowId, span: impl FnOnce(&ServerTrace, &Workflow) -> Option<Span>) {
        let Some(workflow) = self.workflows.get(id).filter(|workflow| workflow.is_sampled == Some(true)) else {
            return;
        };
        let span = span(&self.server_trace(workflow), workflow);
        self.spans.extend(span);
    }

    fn server_trace(&self, workflow: &Workflow) -> ServerTrace {
        ServerTrace::new(self.trace_of(&workflow.id, workflow.trace.as_ref()), workflow.name.clone())
    }
}
