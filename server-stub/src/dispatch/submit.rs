//! Workflows come in, are stopped on request, and end.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use piculet_core::id::{InstanceId, RunKey, WorkflowId};
use piculet_core::workload::WorkloadSpec;
use piculet_link::message::TraceContext;
use prost::Message as _;

use super::{Condition, Dispatcher, End, SessionId, State, Workflow};
use crate::assignment::{Assignment, Place};
use crate::clock::Now;
use crate::ledger::Ledger;
use crate::mailbox::Stop;

/// A workflow that somebody hands in.
#[derive(Debug, Clone)]
pub struct Submission {
    /// A new id.
    pub id: WorkflowId,
    /// What to run.
    pub spec: WorkloadSpec,
    /// The repository that it belongs to; may be empty.
    pub repository: String,
    /// Workflows with a larger one go first.
    pub priority: i32,
    /// What it waits for.
    pub condition: Condition,
    /// The trace that it belongs to.
    pub trace: Option<TraceContext>,
    /// Whether its trace leaves the server; `None`: no traces do.
    pub is_sampled: Option<bool>,
}

impl Submission {
    /// One that belongs to nothing and waits for nothing.
    pub fn new(id: WorkflowId, spec: WorkloadSpec) -> Self {
        Self {
            id,
            spec,
            repository: String::new(),
            priority: 0,
            condition: Condition::default(),
            trace: None,
            is_sampled: None,
        }
    }
}

/// Why a workflow is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The queue is full.
    #[error("{0} workflows wait or run, and there is no room for more; try again when some are over")]
    QueueFull(usize),
    /// It doesn't fit into a message.
    #[error(
        "the workload '{name}' has {size} bytes, and a message to an agent may have {limit}; move data out of the \
         environment and the commands"
    )]
    TooLarge {
        /// Its name.
        name: String,
        /// Its size.
        size: usize,
        /// The most that is taken.
        limit: usize,
    },
}

/// Why a workflow can't be stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CancelError {
    /// There is none of that name.
    #[error("there is no workflow '{0}'")]
    Unknown(WorkflowId),
    /// It is too late.
    #[error("the workflow '{id}' is over: {}", state.as_str())]
    Over {
        /// Which one.
        id: WorkflowId,
        /// How it ended.
        state: State,
    },
}

impl Dispatcher {
    /// Takes workflows into the queue: all of them or none.
    ///
    /// # Errors
    /// If there is no room for them, or one is too large to be sent.
    pub fn submit(&mut self, submissions: Vec<Submission>, now: Now) -> Result<(), SubmitError> {
        let open = self.standings.open().len();
        if open + submissions.len() > self.policy.limits.open_workflows {
            return Err(SubmitError::QueueFull(open));
        }
        let limit = self.policy.limits.workload_bytes;
        let mut sizes = submissions.iter().map(|submission| {
            (&submission.spec.name, piculet_link::wire::workload::encode(&submission.spec).encoded_len())
        });
        if let Some((name, size)) = sizes.find(|(_, size)| *size > limit) {
            return Err(SubmitError::TooLarge { name: name.clone(), size, limit });
        }
        for submission in submissions {
            self.enqueue(submission, now);
        }
        self.place(now);
        Ok(())
    }

    fn enqueue(&mut self, submission: Submission, now: Now) {
        let Submission { id, spec, repository, priority, condition, trace, is_sampled } = submission;
        self.submitted += 1;
        let workflow = Workflow {
            id: id.clone(),
            number: self.submitted,
            name: spec.name.clone(),
            repository,
            priority,
            labels: spec.labels.clone(),
            created: now.time,
            queued: now.time,
            assigned: None,
            condition,
            assignment: Assignment::default(),
            ledger: Ledger::new(&spec, self.policy.limits.log_bytes),
            stop: None,
            end: None,
            agent: None,
            cluster: None,
            has_cluster_by_token: false,
            trace,
            is_sampled,
            spec: Some(Arc::new(spec)),
            driver: None,
            is_free: false,
            refusals: BTreeMap::new(),
            refused_since: None,
        };
        self.workflows.insert(id.clone(), workflow);
        self.order.insert(self.submitted, id.clone());
        self.note_standing(&id);
        self.unsaved.new_workflows.insert(id.clone());
        self.touched.workflows.insert(id);
    }

    /// Gives a waiting workflow to the agent behind a session, whatever its labels and its credit. False if that can't
    /// be done.
    pub fn assign_to(&mut self, id: &WorkflowId, session: SessionId, now: Now) -> bool {
        let Some(instance) = self.sessions.get(&session).map(|session| session.instance.clone()) else { return false };
        self.assign(id, &instance, now)
    }

    /// Stops a workflow. One that no agent knows of ends at once; else its agent is told, now or when it comes back.
    /// Somebody may ask again, for a shorter grace.
    ///
    /// # Errors
    /// If there is no such workflow, or it is over.
    pub fn cancel(&mut self, id: &WorkflowId, stop: Stop, now: Now) -> Result<(), CancelError> {
        let workflow = self.workflows.get_mut(id).ok_or_else(|| CancelError::Unknown(id.clone()))?;
        if let Some(end) = &workflow.end {
            return Err(CancelError::Over { id: id.clone(), state: end.state });
        }
        let stop = match workflow.stop.take() {
            Some(earlier) => earlier.again(stop),
            None => stop,
        };
        workflow.stop = Some(stop.clone());
        self.touched.workflows.insert(id.clone());
        let run = workflow.run();
        let never_left = match workflow.assignment.holder().map(|holder| holder.instance.clone()) {
            Some(instance) => self.take_back(&instance, run, &stop, now),
            None => *workflow.assignment.place() == Place::Pending,
        };
        if never_left {
            self.finish(id, End { state: State::Canceled, at: now.time, error: stop.reason });
        }
        self.place(now);
        Ok(())
    }

    /// Tells an agent to stop a run. True if the run was never handed out: then there is nothing to tell.
    fn take_back(&mut self, instance: &InstanceId, run: RunKey, stop: &Stop, now: Now) -> bool {
        let Some(session) = self.live_session(instance) else { return false };
        session.spoken = now.instant;
        let never_left = !session.mailbox.cancel(run, stop.clone());
        if never_left {
            session.credit.undo();
        }
        never_left
    }

    /// Ends a workflow: nobody has it any more, and its payload is forgotten. Others may have waited for that:
    /// [`Dispatcher::place`] has to follow.
    pub(super) fn finish(&mut self, id: &WorkflowId, end: End) {
        let now = end.at;
        self.finish_at(id, end, now);
    }

    /// The same, by an end whose time is not that of the server's clock.
    pub(super) fn finish_at(&mut self, id: &WorkflowId, end: End, now: Timestamp) {
        let Some(workflow) = self.workflows.get_mut(id) else { return };
        if workflow.end.is_some() {
            return;
        }
        let run = workflow.run();
        if let Some(agent) = workflow.driver.as_ref().and_then(|driver| self.agents.get_mut(driver)) {
            agent.runs.remove(&run);
        }
        if workflow.ledger.finished().is_none() {
            workflow.ledger.abandon(end.report(workflow.ledger.started()), &end.error);
            // Whoever comes back with it is told to let it go.
            workflow.driver = None;
        }
        workflow.assignment.ended();
        workflow.spec = None;
        workflow.end = Some(end);
        self.note_standing(id);
        self.trace_workflow(id, now);
        self.touched.workflows.insert(id.clone());
        self.forget_the_oldest(0);
    }
}
