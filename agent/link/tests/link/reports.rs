//! From an assignment to the acknowledgement of its end.

use std::time::Duration;

use piculet_core::outbox::Limits;
use piculet_core::outcome::StepState;
use piculet_core::report::{LogTotal, Refusal, Report};
use piculet_link::message::Cancel;
use piculet_link::supervisor::Directive;
use piculet_link::wire;
use piculet_link::wire::agent::{ReceivedBody, Said};
use piculet_proto::v1::server_message::Message;
use tokio::time::{Instant, timeout};

use crate::agent::{Agent, Plan, finished, line, start, state, step};
use crate::server::{Call, Server, Store, key, spec};

/// A workflow that the agent has accepted, and its server.
pub(crate) async fn accepted(plan: Plan) -> (Agent, Server, Call) {
    let (mut agent, _network, mut server) = start(plan);
    let mut call = server.session().await;
    agent.connected().await;
    call.assign(&key("w1"));
    agent.run().await;
    agent.report(&key("w1"), Report::Accepted).await;
    assert_eq!(call.hear_report().await.body, ReceivedBody::Accepted);
    call.ack(&key("w1"), 1);
    assert_eq!(agent.directive().await, Directive::Confirmed(key("w1")));
    (agent, server, call)
}

fn small(unacknowledged_log_bytes: usize) -> Plan {
    let mut plan = Plan::default();
    plan.supervisor.limits = Limits { unacknowledged_log_bytes, ..Limits::default() };
    plan
}

fn data(body: &ReceivedBody) -> usize {
    match body {
        ReceivedBody::Chunk { chunk, .. } => chunk.lines.iter().map(|piece| piece.bytes.len()).sum(),
        _ => 0,
    }
}

#[tokio::test(start_paused = true)]
async fn a_workflow_is_confirmed_and_concluded_by_acknowledgements_only() {
    let (mut agent, _server, mut call) = accepted(Plan::default()).await;
    agent.report(&key("w1"), state(StepState::Running)).await;
    agent.lines(&key("w1"), vec![line(0, "hello"), line(1, "world")]).await;
    agent.reporter.end_log(&key("w1"), &step(), LogTotal { lines: 2, bytes: 10 }).await.unwrap();
    agent.report(&key("w1"), state(StepState::Success)).await;
    agent.report(&key("w1"), finished()).await;
    let mut store = Store::default();
    store.0.insert(key("w1"), vec![ReceivedBody::Accepted]);
    while !matches!(store.0[&key("w1")].last(), Some(ReceivedBody::Finished(_))) {
        store.take(call.hear_report().await);
    }
    let reports = &store.0[&key("w1")];
    assert!(matches!(&reports[1], ReceivedBody::Step(update) if update.state == StepState::Running));
    assert_eq!(reports.iter().map(data).sum::<usize>(), 10);
    // Not before the acknowledgement.
    assert!(timeout(Duration::from_secs(5), agent.directive()).await.is_err());
    call.ack(&key("w1"), 4);
    assert!(timeout(Duration::from_secs(5), agent.directive()).await.is_err());
    call.ack(&key("w1"), 5);
    assert_eq!(agent.directive().await, Directive::Concluded(key("w1")));
    call.say(wire::server::ping());
    while call.hear().await.expect("the session goes on") != Said::Heartbeat(vec![]) {}
}

#[tokio::test(start_paused = true)]
async fn the_end_does_not_wait_for_a_log_that_nobody_ends() {
    let (agent, _server, mut call) = accepted(Plan::default()).await;
    agent.lines(&key("w1"), vec![line(0, "last words")]).await;
    agent.report(&key("w1"), finished()).await;
    let ReceivedBody::Chunk { chunk, .. } = call.hear_report().await.body else { panic!("the log comes first") };
    assert_eq!(chunk.end, Some(LogTotal { lines: 1, bytes: 10 }));
    assert!(matches!(call.hear_report().await.body, ReceivedBody::Finished(_)));
}

#[tokio::test(start_paused = true)]
async fn a_workload_that_cannot_be_read_is_refused_by_the_agent() {
    let (mut agent, _network, mut server) = start(Plan::default());
    let mut call = server.session().await;
    agent.connected().await;
    let mut message = wire::server::assign(&key("w1"), &spec(), None);
    let Some(Message::Assign(assign)) = &mut message.message else { panic!("no assignment") };
    assign.workload.as_mut().unwrap().stages[0].steps[0].kind = 99;
    call.say(message);
    let reason = agent.run().await.spec.unwrap_err().to_string();
    assert_eq!(reason, "stages[0].steps[0].kind: is 99, which this version doesn't know [wire-enum]");
    agent.report(&key("w1"), Report::Refused { reason: reason.clone(), scope: Refusal::Everywhere }).await;
    assert_eq!(call.hear_report().await.body, ReceivedBody::Refused { reason, scope: Refusal::Everywhere });
    call.ack(&key("w1"), 1);
    assert_eq!(agent.directive().await, Directive::Concluded(key("w1")));
}

#[tokio::test(start_paused = true)]
async fn no_more_log_bytes_are_on_their_way_than_allowed() {
    let cap = 256 * 1024;
    let (agent, _server, mut call) = accepted(small(cap)).await;
    for number in 0..4096 {
        agent.lines(&key("w1"), vec![line(number, vec![b'x'; 1024])]).await;
    }
    let (mut received, mut last) = (0, 1);
    while let Ok(report) = timeout(Duration::from_secs(5), call.hear_report()).await {
        received += data(&report.body);
        last = report.sequence.0;
    }
    assert!(received >= cap / 4 && received <= cap, "{received} bytes without an acknowledgement");
    assert!(agent.usage.borrow().spooled > 0);
    // Acknowledged, it goes on: to the last line.
    let mut total = received;
    while total < 4096 * 1024 {
        call.ack(&key("w1"), last);
        let report = call.hear_report().await;
        total += data(&report.body);
        last = report.sequence.0;
    }
    assert_eq!(total, 4096 * 1024);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_lines_delays_no_state() {
    let cap = 128 * 1024;
    let (agent, _server, mut call) = accepted(small(cap)).await;
    let began = Instant::now();
    for number in 0..20_000 {
        agent.lines(&key("w1"), vec![line(number, vec![b'x'; 1024])]).await;
    }
    agent.report(&key("w1"), state(StepState::Running)).await;
    assert_eq!(began.elapsed(), Duration::ZERO, "the runner waited for the network");
    let mut before = 0;
    loop {
        let report = call.hear_report().await;
        if let ReceivedBody::Step(update) = report.body {
            assert_eq!(update.state, StepState::Running);
            break;
        }
        before += data(&report.body);
    }
    assert!(before <= cap, "{before} bytes came before the state");
    assert!(began.elapsed() < Duration::from_secs(1), "it took {:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn cancellations_reach_what_is_held_and_nothing_else() {
    let (mut agent, _server, call) = accepted(Plan::default()).await;
    let cancel = |workflow| Cancel { key: key(workflow), reason: "by Ann".into(), grace: None };
    call.say(wire::server::cancel(cancel("another")));
    call.say(wire::server::cancel(Cancel { grace: Some(Duration::from_secs(3)), ..cancel("w1") }));
    let expected = Directive::Cancel { key: key("w1"), reason: "by Ann".into(), grace: Some(Duration::from_secs(3)) };
    assert_eq!(agent.directive().await, expected);
}
