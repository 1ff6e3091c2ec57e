//! What the server says: `ServerMessage`.

use std::time::Duration;

use piculet_core::id::{Epoch, RunKey, Sequence, ServerId, StepId};
use piculet_core::workload::WorkloadSpec;
use piculet_proto::v1::{self, server_message::Message};

use super::field::{Fault, run_key};
use super::workload;
use crate::message::{Assign, Cancel, HeldDecision, Incoming, TraceContext, Welcome};

/// Accepts a session. Times are cut to whole seconds.
pub fn welcome(welcome: Welcome) -> v1::ServerMessage {
    wrap(Message::Welcome(v1::Welcome {
        protocol: v1::PROTOCOL,
        agent_id: welcome.agent_id,
        session_id: welcome.session_id,
        server_id: welcome.server.as_str().to_owned(),
        heartbeat_seconds: seconds(welcome.heartbeat),
        lease_seconds: seconds(welcome.lease),
        held: welcome
            .held
            .into_iter()
            .map(|decision| v1::HeldDecision {
                workflow_id: decision.key.workflow.as_str().to_owned(),
                epoch: decision.key.epoch.0,
                keep: decision.keep,
                acknowledged: decision.acknowledged.0,
                log_lines: decision
                    .log_lines
                    .into_iter()
                    .map(|(step, lines)| (step.as_str().to_owned(), lines))
                    .collect(),
            })
            .collect(),
    }))
}

/// Hands out a workflow.
pub fn assign(key: &RunKey, spec: &WorkloadSpec, trace: Option<TraceContext>) -> v1::ServerMessage {
    let (traceparent, tracestate) = trace.map_or_else(Default::default, |trace| (trace.parent, trace.state));
    wrap(Message::Assign(v1::Assign {
        workflow_id: key.workflow.as_str().to_owned(),
        epoch: key.epoch.0,
        workload: Some(workload::encode(spec)),
        traceparent,
        tracestate,
    }))
}

/// Stops a workflow. The grace is cut to whole seconds.
pub fn cancel(cancel: Cancel) -> v1::ServerMessage {
    wrap(Message::Cancel(v1::Cancel {
        workflow_id: cancel.key.workflow.as_str().to_owned(),
        epoch: cancel.key.epoch.0,
        reason: cancel.reason,
        grace_seconds: cancel.grace.map(seconds),
    }))
}

/// Acknowledges reports.
pub fn ack(key: &RunKey, sequence: Sequence) -> v1::ServerMessage {
    wrap(Message::Ack(v1::Ack {
        workflow_id: key.workflow.as_str().to_owned(),
        epoch: key.epoch.0,
        sequence: sequence.0,
    }))
}

/// Lets the agent take no more work.
pub fn drain() -> v1::ServerMessage {
    wrap(Message::Drain(v1::Drain {}))
}

/// Lets the agent take work again.
pub fn resume() -> v1::ServerMessage {
    wrap(Message::Resume(v1::Resume {}))
}

/// Shows that the server lives.
pub fn ping() -> v1::ServerMessage {
    wrap(Message::Ping(v1::Ping {}))
}

fn wrap(message: Message) -> v1::ServerMessage {
    v1::ServerMessage { message: Some(message) }
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

/// From the wire. `None`: a message that this version doesn't know. The protocol version of a welcome is not looked at.
///
/// # Errors
/// The first field that makes no sense. A workload that can't be read is none of these: its assignment tells the
/// problems, so that the server learns them with the refusal.
pub fn decode(message: v1::ServerMessage) -> Result<Option<Incoming>, Fault> {
    let Some(message) = message.message else { return Ok(None) };
    Ok(Some(match message {
        Message::Welcome(welcome) => Incoming::Welcome(decode_welcome(welcome)?),
        Message::Assign(assign) => Incoming::Assign(Box::new(Assign {
            key: run_key("assign.workflow_id", assign.workflow_id, assign.epoch)?,
            made_under: Epoch(assign.epoch),
            spec: assign.workload.ok_or_else(workload::missing).and_then(workload::decode),
            can_go_elsewhere: true,
            trace: (!assign.traceparent.is_empty())
                .then_some(TraceContext { parent: assign.traceparent, state: assign.tracestate }),
        })),
        Message::Cancel(cancel) => Incoming::Cancel(Cancel {
            key: run_key("cancel.workflow_id", cancel.workflow_id, cancel.epoch)?,
            reason: cancel.reason,
            grace: cancel.grace_seconds.map(|seconds| Duration::from_secs(seconds.into())),
        }),
        Message::Ack(ack) => Incoming::Ack {
            key: run_key("ack.workflow_id", ack.workflow_id, ack.epoch)?,
            sequence: Sequence(ack.sequence),
        },
        Message::Drain(v1::Drain {}) => Incoming::Drain,
        Message::Resume(v1::Resume {}) => Incoming::Resume,
        Message::Ping(v1::Ping {}) => Incoming::Ping,
    }))
}

fn decode_welcome(welcome: v1::Welcome) -> Result<Welcome, Fault> {
    let (heartbeat, lease) = (u64::from(welcome.heartbeat_seconds), u64::from(welcome.lease_seconds));
    if heartbeat == 0 {
        return Err(Fault::missing("welcome.heartbeat_seconds"));
    }
    if lease <= 2 * heartbeat {
        let problem = format!("is {lease}, which is not more than two heartbeats of {heartbeat}");
        return Err(Fault::new("welcome.lease_seconds", problem));
    }
    if welcome.server_id.is_empty() {
        return Err(Fault::missing("welcome.server_id"));
    }
    Ok(Welcome {
        agent_id: welcome.agent_id,
        session_id: welcome.session_id,
        server: ServerId::new(welcome.server_id),
        heartbeat: Duration::from_secs(heartbeat),
        lease: Duration::from_secs(lease),
        held: welcome.held.into_iter().map(decode_decision).collect::<Result<_, _>>()?,
    })
}

fn decode_decision(decision: v1::HeldDecision) -> Result<HeldDecision, Fault> {
    Ok(HeldDecision {
        key: run_key("held.workflow_id", decision.workflow_id, decision.epoch)?,
        keep: decision.keep,
        acknowledged: Sequence(decision.acknowledged),
        log_lines: decision.log_lines.into_iter().map(|(step, lines)| (StepId::new(step), lines)).collect(),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use piculet_core::id::{Epoch, RunKey, Sequence, ServerId, StepId, WorkflowId};
    use piculet_core::workload::{StageSpec, StepSpec, WorkloadSpec};
    use piculet_proto::v1::{self, server_message::Message};

    use super::{ack, assign, cancel, decode, drain, ping, resume, welcome, wrap};
    use crate::message::{Assign, Cancel, HeldDecision, Incoming, TraceContext, Welcome};

    fn key() -> RunKey {
        RunKey { workflow: WorkflowId::new("w7"), epoch: Epoch(3) }
    }

    fn accepted_session() -> Welcome {
        Welcome {
            agent_id: "a1".into(),
            session_id: "s1".into(),
            server: ServerId::new("srv"),
            heartbeat: Duration::from_secs(10),
            lease: Duration::from_secs(30),
            held: vec![HeldDecision {
                key: key(),
                keep: true,
                acknowledged: Sequence(4),
                log_lines: [(StepId::new("s"), 12)].into(),
            }],
        }
    }

    #[test]
    fn every_message_comes_back() {
        let spec = WorkloadSpec {
            name: "test".into(),
            stages: vec![StageSpec { steps: vec![StepSpec::default()] }],
            ..WorkloadSpec::default()
        };
        let trace = Some(TraceContext { parent: "00-1-2-01".into(), state: "a=b".into() });
        let stop = Cancel { key: key(), reason: "by Ann".into(), grace: Some(Duration::ZERO) };
        for (message, expected) in [
            (welcome(accepted_session()), Incoming::Welcome(accepted_session())),
            (
                assign(&key(), &spec, trace.clone()),
                Incoming::Assign(Box::new(Assign {
                    key: key(),
                    made_under: key().epoch,
                    spec: Ok(spec.clone()),
                    can_go_elsewhere: true,
                    trace,
                })),
            ),
            (
                assign(&key(), &spec, None),
                Incoming::Assign(Box::new(Assign {
                    key: key(),
                    made_under: key().epoch,
                    spec: Ok(spec),
                    can_go_elsewhere: true,
                    trace: None,
                })),
            ),
            (cancel(stop.clone()), Incoming::Cancel(stop)),
            (ack(&key(), Sequence(9)), Incoming::Ack { key: key(), sequence: Sequence(9) }),
            (drain(), Incoming::Drain),
            (resume(), Incoming::Resume),
            (ping(), Incoming::Ping),
        ] {
            assert_eq!(decode(message), Ok(Some(expected)));
        }
    }

    #[test]
    fn an_unknown_message_is_skipped() {
        assert_eq!(decode(v1::ServerMessage { message: None }), Ok(None));
    }

    #[test]
    fn a_workload_that_cannot_be_read_is_still_an_assignment() {
        let message = v1::Assign { workflow_id: "w7".into(), epoch: 3, ..v1::Assign::default() };
        let Ok(Some(Incoming::Assign(assign))) = decode(wrap(Message::Assign(message))) else {
            panic!("no assignment")
        };
        assert_eq!(assign.spec.unwrap_err().to_string(), "workload: is missing [wire-missing]");
    }

    #[test]
    fn nonsense_is_told_with_its_field() {
        let fault = |message| decode(wrap(message)).unwrap_err().to_string();
        assert_eq!(fault(Message::Ack(v1::Ack::default())), "The field 'ack.workflow_id' of a message is missing.");
        let Some(Message::Welcome(good)) = welcome(accepted_session()).message else { panic!("no welcome") };
        let bad = v1::Welcome { lease_seconds: 20, ..good.clone() };
        assert_eq!(
            fault(Message::Welcome(bad)),
            "The field 'welcome.lease_seconds' of a message is 20, which is not more than two heartbeats of 10."
        );
        let bad = v1::Welcome { heartbeat_seconds: u32::MAX, lease_seconds: u32::MAX, ..good };
        assert!(fault(Message::Welcome(bad)).contains("lease_seconds"));
    }
}
