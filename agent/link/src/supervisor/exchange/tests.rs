//! What the exchange decides, message by message.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use piculet_core::id::{Epoch, RunKey, Sequence, ServerId, StepId, WorkflowId};
use piculet_core::outbox::{Body, Limits};
use piculet_core::report::{LogLine, Report};
use piculet_core::workload::WorkloadSpec;
use tokio::time::Instant;

use super::{Exchange, WAITING_DIRECTIVES};
use crate::link::Cause;
use crate::message::{Assign, Demand, HeldDecision, Incoming, Outgoing, Welcome};
use crate::supervisor::Directive;
use crate::supervisor::reporter::Delivery;

const HEARTBEAT: Duration = Duration::from_secs(10);

fn key(workflow: &str) -> RunKey {
    RunKey { workflow: WorkflowId::new(workflow), epoch: Epoch(1) }
}

fn welcome(held: Vec<HeldDecision>) -> Incoming {
    Incoming::Welcome(Welcome {
        agent_id: String::new(),
        session_id: String::new(),
        server: ServerId::new("server"),
        heartbeat: HEARTBEAT,
        lease: HEARTBEAT * 3,
        held,
    })
}

fn assign(workflow: &str) -> Incoming {
    Incoming::Assign(Box::new(Assign {
        key: key(workflow),
        made_under: key(workflow).epoch,
        spec: Ok(WorkloadSpec::default()),
        can_go_elsewhere: true,
        trace: None,
    }))
}

fn demand(free_slots: u32, assigns_received: u64) -> Outgoing {
    Outgoing::Demand(Demand { free_slots, assigns_received })
}

/// In a session, with a demand of 3 said.
fn open(now: std::time::Instant) -> Exchange {
    let mut exchange = Exchange::new(Limits::default());
    exchange.set_demand(3);
    exchange.hear(welcome(vec![]), now).unwrap();
    assert_eq!(exchange.next(now), Some(demand(3, 0)));
    assert_eq!(exchange.next(now), None);
    assert!(matches!(exchange.next_directive(), Some(Directive::Connected { .. })));
    exchange
}

#[test]
fn nothing_is_said_before_the_welcome() {
    let now = Instant::now().into_std();
    let mut exchange = Exchange::new(Limits::default());
    exchange.set_demand(3);
    assert_eq!((exchange.next(now + HEARTBEAT * 9), exchange.next_due(), exchange.lease()), (None, None, None));
    assert!(matches!(exchange.hear(Incoming::Ping, now), Err(Cause::Fault { .. })));
}

#[test]
fn an_assignment_that_is_known_is_given_back_as_credit() {
    let now = Instant::now().into_std();
    let mut exchange = open(now);
    exchange.hear(assign("w1"), now).unwrap();
    assert!(matches!(exchange.next_directive(), Some(Directive::Run(_))));
    assert_eq!(exchange.next(now), None, "the agent has not said yet what it has left");
    exchange.hear(assign("w1"), now).unwrap();
    assert_eq!(exchange.next_directive(), None);
    assert_eq!(exchange.next(now), Some(demand(3, 2)));
}

#[test]
fn a_server_that_forgets_a_held_workflow_does_not_stop_it() {
    let now = Instant::now().into_std();
    let mut exchange = open(now);
    for workflow in ["w1", "w2"] {
        exchange.hear(assign(workflow), now).unwrap();
        exchange.deliver(Delivery::Report(key(workflow), Report::Accepted), now);
    }
    while exchange.next(now).is_some() {}
    exchange.end(&Cause::Closed);
    let about_one = HeldDecision { key: key("w2"), keep: true, acknowledged: Sequence(1), log_lines: BTreeMap::new() };
    exchange.hear(welcome(vec![about_one]), now).unwrap();
    assert_eq!(exchange.held().len(), 2);
    assert_eq!(exchange.next(now), Some(demand(3, 0)));
    let Some(Outgoing::Report(envelope)) = exchange.next(now) else { panic!("no report") };
    assert_eq!(
        (envelope.key, envelope.sequence, envelope.body),
        (key("w1"), Sequence(1), Body::Report(Report::Accepted))
    );
    assert_eq!(exchange.next(now), None);
}

#[test]
fn a_heartbeat_goes_before_logs() {
    let now = Instant::now().into_std();
    let mut exchange = open(now);
    exchange.hear(assign("w1"), now).unwrap();
    let lines =
        (0..2000).map(|number| LogLine { number, time: Timestamp::UNIX_EPOCH, bytes: Bytes::from_static(&[b'x'; 64]) });
    exchange.deliver(Delivery::Lines(key("w1"), StepId::new("s"), lines.collect()), now);
    assert!(matches!(exchange.next(now), Some(Outgoing::Report(_))));
    assert!(exchange.next_due() <= Some(now + HEARTBEAT));
    assert!(matches!(exchange.next(now + HEARTBEAT), Some(Outgoing::Heartbeat(held)) if held.len() == 1));
    assert!(matches!(exchange.next(now + HEARTBEAT), Some(Outgoing::Report(_))));
}

#[test]
fn what_waits_for_the_agent_is_bounded_by_not_listening() {
    let now = Instant::now().into_std();
    let mut exchange = open(now);
    for _ in 0..WAITING_DIRECTIVES {
        assert!(exchange.has_room());
        exchange.hear(Incoming::Drain, now).unwrap();
    }
    assert!(!exchange.has_room());
    exchange.next_directive();
    assert!(exchange.has_room());
}

#[test]
fn a_drain_that_was_not_said_is_still_owed() {
    let now = Instant::now().into_std();
    let mut exchange = open(now);
    assert!(exchange.flushed());
    exchange.drain();
    assert!(!exchange.flushed());
    assert_eq!(exchange.next(now), Some(Outgoing::Draining));
    assert!(exchange.flushed());
}

#[test]
fn the_end_of_a_session_is_told_once() {
    let now = Instant::now().into_std();
    let mut exchange = open(now);
    for _ in 0..3 {
        exchange.end(&Cause::Closed);
    }
    assert!(matches!(exchange.next_directive(), Some(Directive::Disconnected { .. })));
    assert_eq!(exchange.next_directive(), None);
    assert_eq!(exchange.next(now), None);
}
