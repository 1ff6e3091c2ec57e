//! Ids from what is known everywhere.

use sha2::{Digest, Sha256};

use super::context::{Context, SpanId, TraceId};
use crate::id::{Attempt, Epoch, ServerId, StepId, WorkflowId};

/// The trace of a workflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkflowTrace {
    server: ServerId,
    workflow: WorkflowId,
    parent: Option<Context>,
    id: TraceId,
}

/// Which span of a workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key<'a> {
    name: &'a str,
    epoch: Option<Epoch>,
    step: Option<&'a StepId>,
    attempt: Option<Attempt>,
}

impl WorkflowTrace {
    /// The trace that `parent` belongs to; without one, a trace of the workflow's own.
    pub fn new(server: ServerId, workflow: WorkflowId, parent: Option<Context>) -> Self {
        let own = || TraceId::from_hash(&hash("trace", [server.as_str(), workflow.as_str()]));
        let id = parent.as_ref().map_or_else(own, |parent| parent.trace);
        Self { server, workflow, parent, id }
    }

    /// The trace.
    pub fn id(&self) -> TraceId {
        self.id
    }

    /// What the workflow's own spans lie under, if somebody was in a trace when it was submitted.
    pub fn parent(&self) -> Option<&Context> {
        self.parent.as_ref()
    }

    /// The workflow.
    pub fn workflow(&self) -> &WorkflowId {
        &self.workflow
    }

    /// The id of a span. Workflows may share a trace, so it depends on the workflow, too.
    pub fn span(&self, key: Key<'_>) -> SpanId {
        let epoch = key.epoch.map(|epoch| epoch.0.to_string()).unwrap_or_default();
        let attempt = key.attempt.map(|attempt| attempt.0.to_string()).unwrap_or_default();
        let step = key.step.map(StepId::as_str).unwrap_or_default();
        let parts = [self.server.as_str(), self.workflow.as_str(), key.name, &epoch, step, &attempt];
        SpanId::from_hash(&hash("span", parts))
    }

    /// What a process below that span is told.
    pub fn context(&self, span: SpanId, sampled: bool) -> Context {
        let (random, state) =
            self.parent.as_ref().map_or_else(Default::default, |parent| (parent.random, parent.state.clone()));
        Context { trace: self.id, span, sampled, random, state }
    }
}

impl<'a> Key<'a> {
    /// The span of this name, of which a workflow has one.
    pub fn new(name: &'a str) -> Self {
        Self { name, epoch: None, step: None, attempt: None }
    }

    /// One for each assignment. Who adopts a workflow goes on with the epoch under which it began.
    #[must_use]
    pub fn epoch(self, epoch: Epoch) -> Self {
        Self { epoch: Some(epoch), ..self }
    }

    /// One for each step.
    #[must_use]
    pub fn step(self, step: &'a StepId) -> Self {
        Self { step: Some(step), ..self }
    }

    /// One for each attempt at it.
    #[must_use]
    pub fn attempt(self, attempt: Attempt) -> Self {
        Self { attempt: Some(attempt), ..self }
    }
}

/// Every part goes in with its length, so that no two lists of parts are the same text.
fn hash<const N: usize>(purpose: &str, parts: [&str; N]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in ["piculet", purpose].into_iter().chain(parts) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::{Key, WorkflowTrace};
    use crate::id::{Attempt, Epoch, ServerId, StepId, WorkflowId};
    use crate::trace::Context;

    fn trace(server: &str, workflow: &str, parent: Option<Context>) -> WorkflowTrace {
        WorkflowTrace::new(ServerId::new(server), WorkflowId::new(workflow), parent)
    }

    #[test]
    fn ids_are_the_same_in_every_release() {
        let trace = trace("server", "1", None);
        let step = StepId::new("01K3");
        assert_eq!(trace.id().to_string(), "2a25d3837f9372c6f7c447bf03bd250a");
        assert_eq!(trace.span(Key::new("workflow")).to_string(), "8f67f9aa2b4f2934");
        let attempt = Key::new("run").epoch(Epoch(1)).step(&step).attempt(Attempt::FIRST);
        assert_eq!(trace.span(attempt).to_string(), "42173eedc02824ea");
    }

    #[test]
    fn a_submitters_trace_is_gone_on_with() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
        let parent = Context::parse(parent, "a=b").unwrap();
        let (first, second) = (trace("s", "1", Some(parent.clone())), trace("s", "2", Some(parent.clone())));
        assert_eq!((first.id(), second.id()), (parent.trace, parent.trace));
        let span = |trace: &WorkflowTrace| trace.span(Key::new("workflow"));
        assert_ne!(span(&first), span(&second), "two workflows of one trace have spans of their own");
        assert_eq!(first.context(span(&first), true).state, "a=b");
    }

    proptest! {
        /// What is said of one span is never said of another, whatever the ids are made of.
        #[test]
        fn ids_differ_where_their_parts_do(
            parts in prop::collection::vec(("[ab]{0,2}", "[ab]{0,2}", "[ab]{0,2}", 0..3u64, "[ab]{0,2}", 0..3u32), 2..40)
        ) {
            let mut seen = HashMap::new();
            for part in parts {
                let (server, workflow, name, epoch, step, attempt) = &part;
                let step = StepId::new(step.as_str());
                let key = Key::new(name).epoch(Epoch(*epoch)).step(&step).attempt(Attempt(*attempt));
                let id = trace(server, workflow, None).span(key);
                if let Some(other) = seen.insert(id, part.clone()) {
                    prop_assert_eq!(other, part);
                }
            }
        }
    }
}
