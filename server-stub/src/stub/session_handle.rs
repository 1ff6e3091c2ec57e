//! One session, in the hands of a test.

use std::time::Duration;

use piculet_core::id::WorkflowId;
use piculet_core::workload::WorkloadSpec;
use piculet_link::message::Hello;
use piculet_link::wire::agent::{Received, Said};
use tonic::Status;

use super::Stub;
use crate::dispatch::SessionId;
use crate::mailbox::{Intake, Stop};
use crate::script::{Heard, Next};

/// A session that an agent opened. The session doesn't end when the handle is dropped.
#[derive(Debug)]
pub struct SessionHandle {
    stub: Stub,
    id: SessionId,
    hello: Hello,
}

impl SessionHandle {
    pub(super) fn new(stub: Stub, id: SessionId, hello: Hello) -> Self {
        Self { stub, id, hello }
    }

    /// What the agent said when it came.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Waits until the agent has credit, and gives it a workflow, whatever its labels.
    pub async fn assign(&self, spec: WorkloadSpec) -> WorkflowId {
        let id = self.id;
        self.stub
            .poll("credit", |state| {
                let agent = state.dispatcher.agents().find(|agent| agent.session == Some(id))?;
                (state.dispatcher.free_slots(agent) > 0).then_some(())
            })
            .await;
        self.assign_anyway(spec)
    }

    /// Gives the agent a workflow, whatever its labels and its credit.
    ///
    /// # Panics
    /// If the session is over, or the server places workflows by itself and gave it away already.
    pub fn assign_anyway(&self, spec: WorkloadSpec) -> WorkflowId {
        let workflow = self.stub.submit(spec);
        let assigned = self.stub.server.change(|state, now| state.dispatcher.assign_to(&workflow, self.id, now));
        assert!(assigned, "the workflow could not be assigned: the session is over, or somebody else has it");
        workflow
    }

    /// Stops a workflow.
    ///
    /// # Panics
    /// If it is over, or not known.
    pub fn cancel(&self, workflow: &WorkflowId, reason: &str, grace: Option<Duration>) {
        if let Err(error) = self.stub.server.cancel(workflow, Stop { reason: reason.to_owned(), grace }) {
            panic!("{error}");
        }
    }

    /// Ends the session with this status.
    pub fn break_with(&self, status: Status) {
        self.stub.server.change(|state, now| state.dispatcher.end_session(self.id, Some(status), now));
    }

    /// Ends the session without an error.
    pub fn end(&self) {
        self.stub.server.change(|state, now| state.dispatcher.end_session(self.id, None, now));
    }

    /// Goes on storing reports, and acknowledges none.
    pub fn stop_acking(&self) {
        self.stub.server.change(|state, _| state.dispatcher.set_acking(self.id, false));
    }

    /// Acknowledges again, first of all what was held back.
    pub fn resume_acking(&self) {
        self.stub.server.change(|state, _| state.dispatcher.set_acking(self.id, true));
    }

    /// Tells the agent to take no more work.
    pub fn drain(&self) {
        self.stub.server.set_intake(self.hello.identity.instance.as_str(), Intake::Closed);
    }

    /// Tells the agent that it may take work again.
    pub fn resume(&self) {
        self.stub.server.set_intake(self.hello.identity.instance.as_str(), Intake::Open);
    }

    /// Asks the agent for a sign of life.
    pub fn ping(&self) {
        self.stub.server.change(|state, _| state.dispatcher.ping(self.id));
    }

    /// The next message of the agent, of any kind.
    ///
    /// # Panics
    /// If the session is over, or nothing comes for two minutes of tokio's clock.
    pub async fn next_message(&self) -> Heard {
        match self.try_next_message().await {
            Some(heard) => heard,
            None => panic!("the session is over, and the agent said no more"),
        }
    }

    /// The next message of the agent; `None` if the session is over.
    ///
    /// # Panics
    /// If nothing comes for two minutes of tokio's clock.
    pub async fn try_next_message(&self) -> Option<Heard> {
        self.stub
            .poll("a message of the agent", |state| match state.script.next_heard(self.id) {
                Next::Heard(heard) => Some(Some(*heard)),
                Next::Over => Some(None),
                Next::NotYet => None,
            })
            .await
    }

    /// The next report of the agent, whatever became of it. Other messages are passed over.
    ///
    /// # Panics
    /// If the session is over, or none comes for two minutes of tokio's clock.
    pub async fn next_report(&self) -> Received {
        loop {
            if let Said::Report(received) = self.next_message().await.said {
                return received;
            }
        }
    }
}

impl Drop for SessionHandle {
    fn drop(&mut self) {
        self.stub.server.change(|state, _| state.script.forget(self.id));
    }
}
