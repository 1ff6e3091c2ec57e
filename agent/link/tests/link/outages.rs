//! The line breaks, and everything goes on.

use std::collections::BTreeMap;
use std::time::Duration;

use piculet_core::id::{Epoch, RunKey, Sequence};
use piculet_core::outcome::StepState;
use piculet_core::report::{LogTotal, Report};
use piculet_core::retry::Growth;
use piculet_link::message::{Held, HeldDecision};
use piculet_link::supervisor::Directive;
use piculet_link::wire;
use piculet_link::wire::agent::ReceivedBody;
use tokio::time::{Instant, sleep, timeout};
use tonic::Status;

use crate::agent::{Plan, finished, line, start, state, step};
use crate::server::{Call, Store, key, welcome};

/// Stores and acknowledges, until nothing comes for a while or the call breaks.
async fn serve(call: &mut Call, store: &mut Store, acknowledge: bool) {
    let mut last: BTreeMap<RunKey, Sequence> = BTreeMap::new();
    while let Ok(Some(report)) = timeout(Duration::from_secs(2), call.next_report()).await {
        let (key, sequence) = (report.key.clone(), report.sequence);
        let before = last.insert(key.clone(), sequence).unwrap_or_default();
        assert!(before < sequence, "{sequence:?} after {before:?} in one session");
        store.take(report);
        if acknowledge {
            call.ack(&key, sequence.0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn thirty_seconds_without_a_line_lose_and_double_nothing() {
    let (mut agent, network, mut server) = start(Plan::default());
    let mut store = Store::default();
    let mut call = server.session().await;
    agent.connected().await;
    for workflow in ["w1", "w2"] {
        call.assign(&key(workflow));
        agent.run().await;
        agent.report(&key(workflow), Report::Accepted).await;
        agent.report(&key(workflow), state(StepState::Running)).await;
    }
    let mut number = 0;
    let mut bytes = 0;
    let mut lines = |count: u64| {
        let batch: Vec<_> = (number..number + count).map(|n| line(n, format!("line {n}"))).collect();
        number += count;
        bytes += batch.iter().map(|line| line.bytes.len() as u64).sum::<u64>();
        (batch, LogTotal { lines: number, bytes })
    };
    agent.lines(&key("w1"), lines(1000).0).await;
    serve(&mut call, &mut store, true).await;
    // From here on, the server stores what it gets, and its acknowledgements are lost.
    agent.lines(&key("w1"), lines(1000).0).await;
    serve(&mut call, &mut store, false).await;
    agent.lines(&key("w1"), lines(1000).0).await;
    network.cut();
    let cut = Instant::now();
    agent.report(&key("w2"), state(StepState::Failure)).await;
    agent.lines(&key("w1"), lines(1000).0).await;
    sleep(Duration::from_secs(30)).await;
    assert!(!agent.status.borrow().is_connected());
    network.repair();
    let (batch, total) = lines(1);
    agent.lines(&key("w1"), batch).await;
    for workflow in ["w1", "w2"] {
        agent
            .reporter
            .end_log(&key(workflow), &step(), if workflow == "w1" { total } else { LogTotal { lines: 0, bytes: 0 } })
            .await
            .unwrap();
        agent.report(&key(workflow), state(StepState::Success)).await;
        agent.report(&key(workflow), finished()).await;
    }
    let mut call = server.resumed(&store).await;
    assert!(cut.elapsed() >= Duration::from_secs(30));
    serve(&mut call, &mut store, true).await;

    let reports = &store.0[&key("w1")];
    assert_eq!(reports.first(), Some(&ReceivedBody::Accepted));
    assert!(matches!(reports.last(), Some(ReceivedBody::Finished(_))));
    let mut next = 0;
    for report in reports {
        if let ReceivedBody::Chunk { chunk, .. } = report {
            assert_eq!(chunk.first_line, next);
            for piece in &chunk.lines {
                assert_eq!(piece.bytes, format!("line {next}"));
                next += 1;
            }
        }
    }
    assert_eq!(next, 4001);
    let states = |workflow| {
        let update = |report: &ReceivedBody| match report {
            ReceivedBody::Step(update) => Some(update.state),
            _ => None,
        };
        store.0[&key(workflow)].iter().filter_map(update).collect::<Vec<_>>()
    };
    assert_eq!(states("w1"), [StepState::Running, StepState::Success]);
    assert_eq!(states("w2"), [StepState::Running, StepState::Failure, StepState::Success]);
    // Confirmed, away, back, concluded: each once.
    let mut told = Vec::new();
    while let Ok(directive) = timeout(Duration::from_secs(1), agent.directive()).await {
        told.push(match directive {
            Directive::Confirmed(key) => format!("confirmed {}", key.workflow),
            Directive::Concluded(key) => format!("concluded {}", key.workflow),
            Directive::Connected { .. } => "connected".to_owned(),
            Directive::Disconnected { .. } => "disconnected".to_owned(),
            other => panic!("{other:?}"),
        });
    }
    told[..2].sort();
    told[4..].sort();
    assert_eq!(told, ["confirmed w1", "confirmed w2", "disconnected", "connected", "concluded w1", "concluded w2"]);
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_that_was_lost_comes_with_the_welcome() {
    let (mut agent, network, mut server) = start(Plan::default());
    let mut store = Store::default();
    let mut call = server.session().await;
    agent.connected().await;
    call.assign(&key("w1"));
    agent.run().await;
    agent.report(&key("w1"), Report::Accepted).await;
    store.take(call.hear_report().await);
    network.cut();
    agent.disconnected().await;
    network.repair();
    let mut call = server.resumed(&store).await;
    agent.connected().await;
    assert_eq!(agent.directive().await, Directive::Confirmed(key("w1")));
    let again = timeout(Duration::from_secs(5), call.next_report()).await;
    assert!(again.is_err(), "the server has it already: {again:?}");
}

#[tokio::test(start_paused = true)]
async fn what_the_server_does_not_want_any_more_is_abandoned() {
    let (mut agent, network, mut server) = start(Plan::default());
    let call = server.session().await;
    agent.connected().await;
    for workflow in ["w1", "w2"] {
        call.assign(&key(workflow));
        agent.run().await;
    }
    network.cut();
    agent.disconnected().await;
    network.repair();
    let (mut call, hello) = server.call().await;
    let held = |workflow| Held { key: key(workflow), acknowledged: Sequence(0) };
    assert_eq!(hello.held, [held("w1"), held("w2")]);
    let decision = |workflow, keep| HeldDecision {
        key: key(workflow),
        keep,
        acknowledged: Sequence(0),
        log_lines: BTreeMap::new(),
    };
    // About one that it has never heard of the server may say what it wants.
    call.say(wire::server::welcome(welcome([decision("w1", false), decision("w2", true), decision("w3", false)])));
    agent.connected().await;
    assert_eq!(agent.directive().await, Directive::Abandon(key("w1")));
    agent.report(&key("w1"), Report::Accepted).await;
    agent.report(&key("w2"), Report::Accepted).await;
    assert_eq!(call.hear_report().await.key, key("w2"));
    call.end(Status::unavailable("going away"));
    agent.disconnected().await;
    assert_eq!(server.call().await.1.held, [held("w2")]);
}

#[tokio::test(start_paused = true)]
async fn an_assignment_that_is_said_again_is_taken_once() {
    let (mut agent, network, mut server) = start(Plan::default());
    let call = server.session().await;
    agent.connected().await;
    call.assign(&key("w1"));
    agent.run().await;
    network.cut();
    agent.disconnected().await;
    network.repair();
    let call = server.resumed(&Store::default()).await;
    agent.connected().await;
    call.assign(&key("w1"));
    let newer = RunKey { epoch: Epoch(2), ..key("w1") };
    call.assign(&newer);
    // An older assignment makes room for a newer one of the same workflow.
    assert_eq!(agent.directive().await, Directive::Abandon(key("w1")));
    assert_eq!(agent.run().await.key, newer);
}

#[tokio::test(start_paused = true)]
async fn runners_do_not_notice_an_outage() {
    let (mut agent, network, mut server) = start(Plan::default());
    let call = server.session().await;
    agent.connected().await;
    call.assign(&key("w1"));
    agent.run().await;
    network.cut();
    agent.disconnected().await;
    let began = Instant::now();
    for number in 0..10_000 {
        agent.lines(&key("w1"), vec![line(number, "x".repeat(100))]).await;
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn dialing_slows_down_and_starts_anew_after_a_stable_session() {
    let mut plan = Plan::default();
    plan.supervisor.backoff = Growth { initial: Duration::from_millis(500), factor: 2.0, cap: Duration::from_secs(30) };
    let (mut agent, network, mut server) = start(plan);
    let call = server.session().await;
    agent.connected().await;
    // Each short session makes it slower, though each began well.
    drop(call);
    let mut delays = Vec::new();
    for _ in 0..8 {
        agent.disconnected().await;
        let closed = Instant::now();
        let call = server.session().await;
        delays.push(closed.elapsed());
        agent.connected().await;
        drop(call);
    }
    assert!(delays[0] <= Duration::from_millis(510), "{delays:?}");
    assert!(delays[7] >= Duration::from_secs(15) && delays[7] <= Duration::from_secs(31), "{delays:?}");
    agent.disconnected().await;
    let call = server.session().await;
    agent.connected().await;
    for _ in 0..7 {
        sleep(Duration::from_secs(10)).await;
        call.say(wire::server::ping());
    }
    drop(call);
    agent.disconnected().await;
    let closed = Instant::now();
    let call = server.session().await;
    assert!(closed.elapsed() <= Duration::from_millis(510), "{:?}", closed.elapsed());
    agent.connected().await;
    // Ten minutes without a line: some tries, not thousands.
    network.cut();
    let before = network.dials();
    agent.disconnected().await;
    sleep(Duration::from_secs(600)).await;
    let tries = network.dials() - before;
    assert!((20..=60).contains(&tries), "{tries}");
    assert_eq!(agent.status.borrow().failures as usize, tries + 1);
    drop(call);
}
