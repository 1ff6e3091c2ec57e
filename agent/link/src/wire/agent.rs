//! What the agent says: `AgentMessage`.

use std::collections::HashMap;

use jiff::Timestamp;
use piculet_core::id::{Attempt, InstanceId, RunKey, Sequence, StepId};
use piculet_core::logs::spool::{Chunk, Piece};
use piculet_core::outbox::{Body, Envelope};
use piculet_core::outcome::StepState;
use piculet_core::report::{LogTotal, Refusal, Report, StepReport, WorkflowReport};
use piculet_proto::v1::{self, agent_message::Message};

use super::field::{Fault, run_key, stamp};
use super::state::{ClosedSet, NotInSet, OutcomeClass};
use super::time;
use crate::message::{Cluster, Demand, Held, Hello, Identity, Outgoing};

/// A message as the server understands it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// The first message of a call. The server has checked its protocol version before.
    Hello(Hello),
    /// Free slots.
    Demand(Demand),
    /// Something to store and acknowledge.
    Report(Received),
    /// The instance lives, and holds these.
    Heartbeat(Vec<Held>),
    /// No more work is taken.
    Draining,
    /// These were left running for another instance of the cluster.
    Released(Vec<Held>),
}

/// A report as it arrives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// What it is about.
    pub key: RunKey,
    /// Its place in the order.
    pub sequence: Sequence,
    /// What it says.
    pub body: ReceivedBody,
}

/// What a report says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReceivedBody {
    /// The agent will run it.
    Accepted,
    /// The agent can't run it.
    Refused {
        /// For the person who wrote the workflow.
        reason: String,
        /// What that means for other tries.
        scope: Refusal,
    },
    /// A step changed its state.
    Step(StepUpdate),
    /// Lines of a step's log.
    Chunk {
        /// The step.
        step: StepId,
        /// The lines.
        chunk: Chunk,
    },
    /// The workflow is over.
    Finished(WorkflowReport),
}

/// A step's new state: a [`StepReport`] whose outcome is reduced to what travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepUpdate {
    /// The step.
    pub step: StepId,
    /// Which attempt at it.
    pub attempt: Attempt,
    /// The state.
    pub state: StepState,
    /// By the node's clock; `None` if it never started.
    pub started: Option<Timestamp>,
    /// By the node's clock; `None` if it has not ended.
    pub finished: Option<Timestamp>,
    /// How the container ended; `None` as long as it has not.
    pub outcome: Option<OutcomeClass>,
    /// The exit code that was observed.
    pub exit_code: Option<i32>,
    /// A sentence; empty where the exit code says it all.
    pub error: String,
}

impl From<StepReport> for StepUpdate {
    fn from(report: StepReport) -> Self {
        Self {
            step: report.step,
            attempt: report.attempt,
            state: report.state,
            started: report.started,
            finished: report.finished,
            outcome: report.outcome.as_ref().map(OutcomeClass::from),
            exit_code: report.outcome.as_ref().and_then(|outcome| outcome.exit_code()),
            error: report.error,
        }
    }
}

/// The first message of a call.
pub fn hello(hello: Hello) -> v1::AgentMessage {
    let Hello { identity, held } = hello;
    wrap(Message::Hello(v1::Hello {
        protocol: v1::PROTOCOL,
        agent_name: identity.name,
        instance_id: identity.instance.as_str().to_owned(),
        agent_version: identity.version,
        cluster: Some(v1::Cluster {
            name: identity.cluster.name,
            uid: identity.cluster.uid,
            version: identity.cluster.version,
        }),
        labels: identity.labels.into_iter().collect::<HashMap<_, _>>(),
        platforms: identity.platforms,
        capacity: identity.capacity,
        held: encode_held(&held),
    }))
}

/// Any other message.
pub fn encode(message: Outgoing) -> v1::AgentMessage {
    wrap(match message {
        Outgoing::Demand(Demand { free_slots, assigns_received }) => {
            Message::Demand(v1::Demand { free_slots, assigns_received })
        }
        Outgoing::Report(envelope) => encode_envelope(envelope),
        Outgoing::Heartbeat(held) => Message::Heartbeat(v1::Heartbeat { held: encode_held(&held) }),
        Outgoing::Draining => Message::Draining(v1::Draining {}),
        Outgoing::Released(held) => Message::Released(v1::Released { held: encode_held(&held) }),
    })
}

fn wrap(message: Message) -> v1::AgentMessage {
    v1::AgentMessage { message: Some(message) }
}

/// The most bytes of a sentence that is sent.
const MAX_SENTENCE: usize = 64 * 1024;

/// A sentence that fits into a message, whatever it quotes.
fn cut(mut text: String) -> String {
    if text.len() > MAX_SENTENCE {
        text.truncate(text.floor_char_boundary(MAX_SENTENCE));
        text.push('…');
    }
    text
}

fn encode_held(held: &[Held]) -> Vec<v1::Held> {
    held.iter()
        .map(|held| v1::Held {
            workflow_id: held.key.workflow.as_str().to_owned(),
            epoch: held.key.epoch.0,
            acknowledged: held.acknowledged.0,
        })
        .collect()
}

fn encode_envelope(envelope: Envelope) -> Message {
    let stamp = Some(v1::Stamp {
        workflow_id: envelope.key.workflow.as_str().to_owned(),
        epoch: envelope.key.epoch.0,
        sequence: envelope.sequence.0,
    });
    match envelope.body {
        Body::Report(Report::Accepted) => Message::Accepted(v1::Accepted { stamp }),
        Body::Report(Report::Refused { reason, scope }) => {
            let (is_final, full) = (scope == Refusal::Everywhere, scope == Refusal::Now);
            Message::Refused(v1::Refused { stamp, reason: cut(reason), r#final: is_final, full })
        }
        Body::Report(Report::Step(report)) => {
            let update = StepUpdate::from(report);
            Message::StepUpdate(v1::StepUpdate {
                stamp,
                step_id: update.step.as_str().to_owned(),
                state: update.state.encode().into(),
                attempt: update.attempt.0,
                started_unix_nano: update.started.map(time::encode),
                finished_unix_nano: update.finished.map(time::encode),
                outcome: update.outcome.map_or(v1::OutcomeClass::Unspecified, ClosedSet::encode).into(),
                exit_code: update.exit_code,
                error: cut(update.error),
            })
        }
        Body::Report(Report::Finished(report)) => Message::Finished(v1::Finished {
            stamp,
            state: report.state.encode().into(),
            started_unix_nano: time::encode(report.started),
            finished_unix_nano: time::encode(report.finished),
            error: cut(report.error),
        }),
        Body::Chunk { step, chunk } => Message::LogChunk(v1::LogChunk {
            stamp,
            step_id: step.as_str().to_owned(),
            first_line: chunk.first_line,
            lines: chunk
                .lines
                .into_iter()
                .map(|piece| v1::LogLine {
                    time_unix_nano: time::encode(piece.time),
                    data: piece.bytes,
                    continues: piece.continues,
                })
                .collect(),
            end: chunk.end.map(|total| v1::LogEnd { total_lines: total.lines, total_bytes: total.bytes }),
        }),
    }
}

/// From the wire, for the server. `None`: a message that this version doesn't know.
///
/// # Errors
/// The first field that makes no sense.
pub fn decode(message: v1::AgentMessage) -> Result<Option<Said>, Fault> {
    let Some(message) = message.message else { return Ok(None) };
    let report = |(key, sequence), body| Said::Report(Received { key, sequence, body });
    Ok(Some(match message {
        Message::Hello(hello) => Said::Hello(decode_hello(hello)?),
        Message::Demand(v1::Demand { free_slots, assigns_received }) => {
            Said::Demand(Demand { free_slots, assigns_received })
        }
        Message::Accepted(accepted) => report(stamp(accepted.stamp)?, ReceivedBody::Accepted),
        Message::Refused(refused) => {
            let scope = match (refused.r#final, refused.full) {
                (true, _) => Refusal::Everywhere,
                (false, true) => Refusal::Now,
                (false, false) => Refusal::Here,
            };
            report(stamp(refused.stamp)?, ReceivedBody::Refused { reason: refused.reason, scope })
        }
        Message::StepUpdate(mut update) => {
            report(stamp(update.stamp.take())?, ReceivedBody::Step(decode_update(update)?))
        }
        Message::LogChunk(mut chunk) => report(stamp(chunk.stamp.take())?, decode_chunk(chunk)?),
        Message::Finished(finished) => {
            let body = ReceivedBody::Finished(WorkflowReport {
                state: in_set("finished.state", finished.state)?,
                started: time::decode(finished.started_unix_nano),
                finished: time::decode(finished.finished_unix_nano),
                error: finished.error,
            });
            report(stamp(finished.stamp)?, body)
        }
        Message::Heartbeat(heartbeat) => Said::Heartbeat(decode_held(heartbeat.held)?),
        Message::Draining(v1::Draining {}) => Said::Draining,
        Message::Released(released) => Said::Released(decode_held(released.held)?),
    }))
}

fn decode_hello(hello: v1::Hello) -> Result<Hello, Fault> {
    if hello.instance_id.is_empty() {
        return Err(Fault::missing("hello.instance_id"));
    }
    let cluster = hello.cluster.unwrap_or_default();
    Ok(Hello {
        identity: Identity {
            name: hello.agent_name,
            instance: InstanceId::new(hello.instance_id),
            version: hello.agent_version,
            cluster: Cluster { name: cluster.name, uid: cluster.uid, version: cluster.version },
            labels: hello.labels.into_iter().collect(),
            platforms: hello.platforms,
            capacity: hello.capacity,
        },
        held: decode_held(hello.held)?,
    })
}

fn decode_held(held: Vec<v1::Held>) -> Result<Vec<Held>, Fault> {
    held.into_iter()
        .map(|held| {
            let key = run_key("held.workflow_id", held.workflow_id, held.epoch)?;
            Ok(Held { key, acknowledged: Sequence(held.acknowledged) })
        })
        .collect()
}

fn decode_update(update: v1::StepUpdate) -> Result<StepUpdate, Fault> {
    if update.attempt == 0 {
        return Err(Fault::new("step_update.attempt", "is 0, and the first attempt has 1"));
    }
    Ok(StepUpdate {
        step: step_id("step_update.step_id", update.step_id)?,
        attempt: Attempt(update.attempt),
        state: in_set("step_update.state", update.state)?,
        started: update.started_unix_nano.map(time::decode),
        finished: update.finished_unix_nano.map(time::decode),
        outcome: match OutcomeClass::decode(update.outcome) {
            Ok(class) => Some(class),
            Err(NotInSet::Unspecified) => None,
            Err(problem) => return Err(Fault::new("step_update.outcome", problem.to_string())),
        },
        exit_code: update.exit_code,
        error: update.error,
    })
}

fn decode_chunk(chunk: v1::LogChunk) -> Result<ReceivedBody, Fault> {
    Ok(ReceivedBody::Chunk {
        step: step_id("log_chunk.step_id", chunk.step_id)?,
        chunk: Chunk {
            first_line: chunk.first_line,
            lines: chunk
                .lines
                .into_iter()
                .map(|line| Piece {
                    time: time::decode(line.time_unix_nano),
                    bytes: line.data,
                    continues: line.continues,
                })
                .collect(),
            end: chunk.end.map(|end| LogTotal { lines: end.total_lines, bytes: end.total_bytes }),
        },
    })
}

fn step_id(field: &'static str, text: String) -> Result<StepId, Fault> {
    if text.is_empty() { Err(Fault::missing(field)) } else { Ok(StepId::new(text)) }
}

fn in_set<T: ClosedSet>(field: &'static str, number: i32) -> Result<T, Fault> {
    T::decode(number).map_err(|problem| Fault::new(field, problem.to_string()))
}

#[cfg(test)]
mod tests;
