//! What agents say, once their session is open.

use piculet_core::id::{InstanceId, RunKey, Sequence, WorkflowId};
use piculet_core::logs::spool::Chunk;
use piculet_core::report::Refusal;
use piculet_link::message::Held;
use piculet_link::wire::agent::{Received, ReceivedBody, Said};
use piculet_proto::v1::MAX_LOG_CHUNK_BYTES;
use tonic::Status;

use super::{Agent, Dispatcher, End, SessionId, State};
use crate::assignment::Place;
use crate::clock::Now;
use crate::ledger::Receipt;
use crate::placement::Presence;

/// How many lines the log of a step may have: a number of a line is exact wherever it goes, in the database, in JSON and
/// in a browser. A step that prints a million lines a second would need 285 years.
const MAX_LINES: u64 = 1 << 53;
/// How often a workflow may change hands in its cluster before the server hears of it. Each time its epoch grows by one,
/// and whatever an agent says, there has to be a next one.
const MAX_UNHEARD: u64 = 1 << 20;

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It is no report; it took effect.
    Heard,
    /// It is a report, and this became of it.
    Report(Receipt),
    /// It is a report of a workflow that the server doesn't know.
    Unknown,
}

impl Dispatcher {
    /// An agent said something.
    ///
    /// # Errors
    /// If it breaks the protocol; the session is ended with that status then.
    pub fn hear(&mut self, id: SessionId, said: Said, now: Now) -> Result<Effect, Status> {
        let Some(session) = self.sessions.get_mut(&id).filter(|session| session.is_open) else {
            return Err(Status::aborted("the session is over"));
        };
        session.heard = now.instant;
        let instance = session.instance.clone();
        let effect = match said {
            Said::Hello(_) => Err(Status::invalid_argument("Hello is the first message of a call, and only the first")),
            Said::Report(received) => match check(&received.body) {
                Ok(()) => self.report(id, &instance, received, now),
                Err(status) => Err(status),
            },
            Said::Demand(demand) => {
                session.credit.said(demand);
                self.place(now);
                Ok(Effect::Heard)
            }
            Said::Heartbeat(held) => self.check_held(&held).map(|()| {
                self.heartbeat(&instance, &held, now);
                Effect::Heard
            }),
            Said::Draining => {
                session.credit.none();
                if let Some(agent) = self.agents.get_mut(&instance) {
                    agent.is_draining = true;
                }
                Ok(Effect::Heard)
            }
            Said::Released(held) => self.check_held(&held).map(|()| {
                for held in &held {
                    self.release(&instance, &held.key, now);
                }
                self.place(now);
                Effect::Heard
            }),
        };
        if let Err(status) = &effect {
            self.end_session(id, Some(status.clone()), now);
        }
        effect
    }

    /// What no agent can hold.
    pub(super) fn check_held(&self, held: &[Held]) -> Result<(), Status> {
        for Held { key, .. } in held {
            let Some(workflow) = self.workflows.get(&key.workflow) else { continue };
            let known = workflow.assignment.epoch();
            if key.epoch.0.saturating_sub(known.0) > MAX_UNHEARD {
                return Err(Status::invalid_argument(format!(
                    "the agent speaks of the workflow '{}' under the epoch {}, and the server knows the epoch {}; so often \
                     it can't have changed hands",
                    key.workflow, key.epoch.0, known.0
                )));
            }
        }
        Ok(())
    }

    fn report(
        &mut self,
        session: SessionId,
        instance: &InstanceId,
        received: Received,
        now: Now,
    ) -> Result<Effect, Status> {
        let Received { key: run, sequence, body } = received;
        let Some(workflow) = self.workflows.get(&run.workflow) else { return Ok(Effect::Unknown) };
        let may_act = |agent: &Agent| agent.may_act_for(workflow);
        if !workflow.is_driven_by(instance, run.epoch) || !self.agents.get(instance).is_some_and(may_act) {
            let current = workflow.assignment.epoch();
            tracing::debug!(workflow = %run.workflow, epoch = run.epoch.0, current = current.0, "dropped an old report");
            return Ok(Effect::Report(Receipt::Stale { current }));
        }
        let consequence = Consequence::of(&body);
        let receipt = self.record(&run, sequence, body);
        let (Some(receipt), Some(workflow)) = (receipt, self.workflows.get(&run.workflow)) else {
            return Ok(Effect::Unknown);
        };
        let stored = workflow.ledger.stored();
        match receipt {
            Receipt::Stored => {
                self.acknowledge(session, &run, stored, now);
                self.touched.workflows.insert(run.workflow.clone());
                self.follow(instance, &run, consequence, now);
            }
            Receipt::Known => self.acknowledge(session, &run, stored, now),
            Receipt::Gap { expected } => {
                return Err(Status::data_loss(format!(
                    "report {} of the workflow '{}' came where {} was expected; connect again and send what is missing",
                    sequence.0, run.workflow, expected.0
                )));
            }
            Receipt::Stale { .. } => {}
        }
        Ok(Effect::Report(receipt))
    }

    fn acknowledge(&mut self, id: SessionId, run: &RunKey, stored: Sequence, now: Now) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.spoken = now.instant;
        session.mailbox.ack(run.clone(), stored);
        self.touched.sessions.insert(id);
    }

    /// What a stored report means for the assignment.
    fn follow(&mut self, instance: &InstanceId, run: &RunKey, consequence: Consequence, now: Now) {
        match consequence {
            Consequence::Taken => {
                if let Some(workflow) = self.workflows.get_mut(&run.workflow)
                    && workflow.assignment.accepted()
                {
                    self.trace_offer(&run.workflow, true, now.time);
                }
                return;
            }
            Consequence::Refused { reason, scope } => self.refused(instance, run, reason, scope, now),
            Consequence::Over => self.reported_over(&run.workflow, now),
        }
        self.place(now);
    }

    fn refused(&mut self, instance: &InstanceId, run: &RunKey, reason: String, scope: Refusal, now: Now) {
        // What an agent refuses because it goes away, its successor may take.
        let is_leaving = self.agents.get(instance).is_none_or(|agent| self.presence(agent) != Presence::Ready);
        let Some(workflow) = self.workflows.get_mut(&run.workflow) else { return };
        // Once the agent may have started pods, nobody else may start them again.
        if scope == Refusal::Everywhere || matches!(workflow.assignment.place(), Place::Bound(_)) {
            self.finish(&run.workflow, End { state: State::Failure, at: now.time, error: reason });
            return;
        }
        if scope == Refusal::Here && !is_leaving {
            workflow.refusals.insert(instance.clone(), reason);
        }
        // That is not about the workflow: the agent gets nothing until it says again what is free.
        if scope == Refusal::Now
            && let Some(session) = self.live_session(instance)
        {
            session.credit.none();
        }
        self.release(instance, run, now);
    }

    fn reported_over(&mut self, id: &WorkflowId, now: Now) {
        let Some(report) = self.workflows.get(id).and_then(|workflow| workflow.ledger.finished()) else { return };
        let end = End { state: report.state.into(), at: report.finished, error: report.error.clone() };
        self.finish_at(id, end, now.time);
    }
}

/// What a report means beyond the ledger.
enum Consequence {
    /// The agent has the workflow.
    Taken,
    /// It doesn't want it.
    Refused { reason: String, scope: Refusal },
    /// It is over.
    Over,
}

impl Consequence {
    fn of(body: &ReceivedBody) -> Self {
        match body {
            ReceivedBody::Refused { reason, scope } => Self::Refused { reason: reason.clone(), scope: *scope },
            ReceivedBody::Finished(_) => Self::Over,
            ReceivedBody::Accepted | ReceivedBody::Step(_) | ReceivedBody::Chunk { .. } => Self::Taken,
        }
    }
}

/// What the protocol forbids beyond the form of a message, and what no agent has reason to say.
fn check(body: &ReceivedBody) -> Result<(), Status> {
    match body {
        ReceivedBody::Chunk { chunk, .. } if lines_until(chunk) > MAX_LINES => Err(Status::invalid_argument(format!(
            "a log chunk is about the line {}, and a log may have {MAX_LINES} lines",
            lines_until(chunk)
        ))),
        ReceivedBody::Chunk { chunk, .. } if size(chunk) > MAX_LOG_CHUNK_BYTES => Err(Status::invalid_argument(
            format!("a log chunk has {} bytes of lines, and may have {MAX_LOG_CHUNK_BYTES}", size(chunk)),
        )),
        ReceivedBody::Finished(report) if !report.state.is_final() => {
            Err(Status::invalid_argument(format!("a workflow can't finish as '{}'", report.state)))
        }
        _ => Ok(()),
    }
}

/// How many lines a log has at least, by what a chunk says.
fn lines_until(chunk: &Chunk) -> u64 {
    let sent = chunk.first_line.saturating_add(chunk.lines.len() as u64);
    sent.max(chunk.end.map_or(0, |total| total.lines))
}

fn size(chunk: &Chunk) -> usize {
    chunk.lines.iter().map(|piece| piece.bytes.len()).sum()
}
