//! The server's own spans of a workflow.
//!
//! ```text
//! workflow                    submitted → over
//! ├─ queue                    → offered to an agent; once for each offer
//! ├─ offer                    → accepted or refused
//! └─ agent                    the agent's: see `recorder`
//! ```
//!
//! Their ids are functions of what a server stores anyway: one that was started anew goes on with the same trace.

use jiff::Timestamp;

use super::context::{Context, SpanId};
use super::derive::{Key, WorkflowTrace};
use super::span::{Kind, Part, Span, Status, convention};
use super::words;
use crate::id::Epoch;
use crate::outcome::WorkflowState;

/// The server's part of a workflow's trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTrace {
    trace: WorkflowTrace,
    name: String,
}

impl ServerTrace {
    /// That of the workflow of this name.
    pub fn new(trace: WorkflowTrace, name: impl Into<String>) -> Self {
        Self { trace, name: name.into() }
    }

    /// What an agent is told with the workflow: its spans lie under [`Part::Workflow`].
    pub fn context(&self, sampled: bool) -> Context {
        self.trace.context(self.id(), sampled)
    }

    /// The workflow is over. `is_out_of_time`: its time limit ended it. `class`: why it failed, where that is known.
    pub fn workflow(
        &self,
        submitted: Timestamp,
        ended: Timestamp,
        state: WorkflowState,
        is_out_of_time: bool,
        class: Option<&'static str>,
    ) -> Span {
        let mut span = self.span(Part::Workflow, self.id(), submitted, ended);
        span.parent = self.trace.parent().map(|parent| parent.span);
        span.is_parent_remote = span.parent.is_some();
        span.kind = Kind::Server;
        span.name = words::workflow_name(&self.name);
        let result = words::pipeline_result(state, false, is_out_of_time);
        span.attributes.push((convention::PIPELINE_RESULT, words::text(result)));
        if words::is_failure(result) {
            let class = class.unwrap_or(convention::OTHER);
            span.attributes.push((convention::ERROR_TYPE, words::text(class)));
            span.status = Status::Error(class.into());
        }
        span
    }

    /// The workflow waited for an agent, and was then offered under this epoch.
    pub fn queue(&self, epoch: Epoch, since: Timestamp, offered: Timestamp) -> Span {
        self.of_epoch(Part::Queue, epoch, since, offered)
    }

    /// An agent answered to the offer of this epoch.
    pub fn offer(&self, epoch: Epoch, offered: Timestamp, answered: Timestamp, is_accepted: bool) -> Span {
        let span = self.of_epoch(Part::Offer, epoch, offered, answered);
        let status = if is_accepted { Status::Unset } else { Status::Error("refused".into()) };
        Span { status, ..span }
    }

    fn of_epoch(&self, part: Part, epoch: Epoch, start: Timestamp, end: Timestamp) -> Span {
        let id = self.trace.span(Key::new(part.as_str()).epoch(epoch));
        let mut span = self.span(part, id, start, end);
        span.attributes.push((convention::EPOCH, words::number(epoch.0)));
        span
    }

    fn id(&self) -> SpanId {
        self.trace.span(Key::new(Part::Workflow.as_str()))
    }

    fn span(&self, part: Part, id: SpanId, start: Timestamp, end: Timestamp) -> Span {
        Span {
            part,
            trace: self.trace.id(),
            id,
            parent: Some(self.id()),
            is_parent_remote: false,
            state: self.trace.parent().map(|parent| parent.state.clone()).unwrap_or_default(),
            name: part.as_str().to_owned(),
            kind: Kind::Internal,
            start,
            end: end.max(start),
            attributes: words::pipeline(&self.name, self.trace.workflow()).into(),
            events: Vec::new(),
            status: Status::Unset,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use jiff::Timestamp;

    use super::ServerTrace;
    use crate::id::{Epoch, ServerId, WorkflowId};
    use crate::outcome::WorkflowState;
    use crate::trace::{Context, Status, WorkflowTrace};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_server_started_anew_gives_the_same_trace_and_agents_lie_below_it() {
        let parent = Context::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "a=b").unwrap();
        let server = || {
            let trace = WorkflowTrace::new(ServerId::new("s"), WorkflowId::new("7"), Some(parent.clone()));
            ServerTrace::new(trace, "build")
        };
        let spans = |server: ServerTrace| {
            vec![
                server.queue(Epoch(1), at(0), at(5)),
                server.offer(Epoch(1), at(5), at(6), false),
                server.queue(Epoch(2), at(6), at(8)),
                server.offer(Epoch(2), at(8), at(9), true),
                server.workflow(at(0), at(60), WorkflowState::Failure, false, Some("exited")),
            ]
        };
        let (before, after) = (spans(server()), spans(server()));
        assert_eq!(before, after);
        let ids: BTreeSet<_> = before.iter().map(|span| span.id).collect();
        assert_eq!(ids.len(), before.len(), "each has an id of its own");
        let root = &before[4];
        assert_eq!((root.parent, root.name.as_str()), (Some(parent.span), "workflow build"));
        assert_eq!(root.status, Status::Error("exited".into()));
        assert!(before[..4].iter().all(|span| span.parent == Some(root.id) && span.trace == parent.trace));
        let told = server().context(true);
        assert_eq!((told.trace, told.span, told.state.as_str()), (parent.trace, root.id, "a=b"));
    }
}
