//! Reports as they leave the agent and as they arrive.

use bytes::Bytes;
use jiff::Timestamp;
use piculet_core::id::{Attempt, Epoch, InstanceId, RunKey, Sequence, StepId, WorkflowId};
use piculet_core::logs::spool::{Chunk, Piece};
use piculet_core::outbox::{Body, Envelope};
use piculet_core::outcome::{Outcome, StepState, WorkflowState};
use piculet_core::report::{LogTotal, Refusal, Report, StepReport, WorkflowReport};
use piculet_proto::v1::{self, agent_message::Message};

use super::{Received, ReceivedBody, Said, StepUpdate, decode, encode, hello, wrap};
use crate::message::{Cluster, Demand, Held, Hello, Identity, Outgoing};
use crate::wire::state::OutcomeClass;

fn key() -> RunKey {
    RunKey { workflow: WorkflowId::new("w7"), epoch: Epoch(3) }
}

fn time(nanoseconds: i128) -> Timestamp {
    Timestamp::from_nanosecond(nanoseconds).unwrap()
}

fn sent(body: Body) -> Received {
    let message = encode(Outgoing::Report(Envelope { key: key(), sequence: Sequence(5), body }));
    let Ok(Some(Said::Report(received))) = decode(message) else { panic!("no report") };
    assert_eq!((&received.key, received.sequence), (&key(), Sequence(5)));
    received
}

#[test]
fn a_session_opens_with_all_that_is_known() {
    let said = Hello {
        identity: Identity {
            name: "agent".into(),
            instance: InstanceId::new("uid-1"),
            version: "0.1.0".into(),
            cluster: Cluster { name: "prod".into(), uid: "c-1".into(), version: "v1.34.4".into() },
            labels: [("!gpu".to_owned(), "yes".to_owned())].into(),
            platforms: vec!["linux/arm64".into()],
            capacity: 12,
        },
        held: vec![Held { key: key(), acknowledged: Sequence(2) }],
    };
    let message = hello(said.clone());
    let Some(Message::Hello(v1::Hello { protocol, .. })) = &message.message else { panic!("no hello") };
    assert_eq!(*protocol, v1::PROTOCOL);
    assert_eq!(decode(message), Ok(Some(Said::Hello(said))));
}

#[test]
fn what_is_no_report_comes_back() {
    let held = vec![Held { key: key(), acknowledged: Sequence(2) }];
    let demand = Demand { free_slots: 3, assigns_received: 8 };
    for (outgoing, said) in [
        (Outgoing::Demand(demand), Said::Demand(demand)),
        (Outgoing::Heartbeat(held.clone()), Said::Heartbeat(held.clone())),
        (Outgoing::Draining, Said::Draining),
        (Outgoing::Released(held.clone()), Said::Released(held)),
    ] {
        assert_eq!(decode(encode(outgoing)), Ok(Some(said)));
    }
}

#[test]
fn reports_come_back() {
    assert_eq!(sent(Body::Report(Report::Accepted)).body, ReceivedBody::Accepted);
    for scope in [Refusal::Everywhere, Refusal::Here, Refusal::Now] {
        assert_eq!(
            sent(Body::Report(Report::Refused { reason: "no".into(), scope })).body,
            ReceivedBody::Refused { reason: "no".into(), scope }
        );
    }
    let finished = WorkflowReport {
        state: WorkflowState::Killed,
        started: time(1_700_000_000_000_000_001),
        finished: time(1_700_000_000_000_000_002),
        error: "too long".into(),
    };
    assert_eq!(sent(Body::Report(Report::Finished(finished.clone()))).body, ReceivedBody::Finished(finished));
    let chunk = Chunk {
        first_line: 7,
        lines: vec![Piece { time: time(5), bytes: Bytes::from_static(b"\xff\0"), continues: true }],
        end: Some(LogTotal { lines: 8, bytes: 2 }),
    };
    let step = StepId::new("s-1");
    assert_eq!(
        sent(Body::Chunk { step: step.clone(), chunk: chunk.clone() }).body,
        ReceivedBody::Chunk { step, chunk }
    );
}

#[test]
fn a_steps_outcome_travels_as_class_code_and_sentence() {
    let report = |outcome, state| StepReport {
        step: StepId::new("s-1"),
        attempt: Attempt(2),
        state,
        started: Some(time(-1)),
        finished: None,
        outcome,
        error: "a sentence".into(),
    };
    let update = |outcome, exit_code, state| {
        ReceivedBody::Step(StepUpdate {
            step: StepId::new("s-1"),
            attempt: Attempt(2),
            state,
            started: Some(time(-1)),
            finished: None,
            outcome,
            exit_code,
            error: "a sentence".into(),
        })
    };
    for (outcome, class, code, state) in [
        (None, None, None, StepState::Running),
        (Some(Outcome::Exited { code: 7 }), Some(OutcomeClass::Exited), Some(7), StepState::Failure),
        (Some(Outcome::Signaled { signal: 9 }), Some(OutcomeClass::Signaled), Some(137), StepState::Failure),
        (Some(Outcome::NodeLost { node: None }), Some(OutcomeClass::NodeLost), None, StepState::Failure),
    ] {
        assert_eq!(sent(Body::Report(Report::Step(report(outcome, state)))).body, update(class, code, state));
    }
}

#[test]
fn nonsense_is_told_with_its_field() {
    let stamp = || Some(v1::Stamp { workflow_id: "w7".into(), epoch: 3, sequence: 5 });
    let step_update = || v1::StepUpdate {
        stamp: stamp(),
        step_id: "s-1".into(),
        state: v1::StepState::Running.into(),
        attempt: 1,
        ..v1::StepUpdate::default()
    };
    let no_sequence = v1::Stamp { sequence: 0, ..stamp().unwrap() };
    for (message, field) in [
        (Message::Hello(v1::Hello::default()), "hello.instance_id"),
        (Message::Accepted(v1::Accepted { stamp: None }), "stamp"),
        (Message::Accepted(v1::Accepted { stamp: Some(v1::Stamp::default()) }), "stamp.workflow_id"),
        (Message::Accepted(v1::Accepted { stamp: Some(no_sequence) }), "stamp.sequence"),
        (Message::StepUpdate(v1::StepUpdate { state: 0, ..step_update() }), "step_update.state"),
        (Message::StepUpdate(v1::StepUpdate { attempt: 0, ..step_update() }), "step_update.attempt"),
        (Message::StepUpdate(v1::StepUpdate { outcome: 99, ..step_update() }), "step_update.outcome"),
        (Message::StepUpdate(v1::StepUpdate { step_id: String::new(), ..step_update() }), "step_update.step_id"),
        (Message::LogChunk(v1::LogChunk { stamp: stamp(), ..v1::LogChunk::default() }), "log_chunk.step_id"),
        (Message::Finished(v1::Finished { stamp: stamp(), state: 6, ..v1::Finished::default() }), "finished.state"),
        (Message::Heartbeat(v1::Heartbeat { held: vec![v1::Held::default()] }), "held.workflow_id"),
    ] {
        assert_eq!(decode(wrap(message)).unwrap_err().field, field);
    }
}

#[test]
fn an_unknown_message_is_skipped() {
    assert_eq!(decode(v1::AgentMessage { message: None }), Ok(None));
}

#[test]
fn a_sentence_that_would_fill_the_message_is_cut_between_characters() {
    let reason = "ä".repeat(40_000);
    let received = sent(Body::Report(Report::Refused { reason, scope: Refusal::Everywhere }));
    let ReceivedBody::Refused { reason, .. } = received.body else { panic!("{received:?}") };
    assert_eq!((reason.chars().count(), reason.ends_with("ä…")), (32_769, true));
}
