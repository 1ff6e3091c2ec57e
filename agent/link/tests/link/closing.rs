//! The end, in order.

use std::time::Duration;

use piculet_core::report::Report;
use piculet_link::message::Demand;
use piculet_link::supervisor::{Closed, Gone};
use piculet_link::wire::agent::{ReceivedBody, Said};
use tokio::time::{Instant, sleep, timeout};

use crate::agent::{Plan, finished, start};
use crate::server::{Store, key};

const GRACE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn what_was_reported_is_acknowledged_before_the_end() {
    let (mut agent, _network, mut server) = start(Plan::default());
    let mut call = server.session().await;
    agent.connected().await;
    assert_eq!(call.hear_demand().await.free_slots, 2);
    call.assign(&key("w1"));
    agent.run().await;
    agent.report(&key("w1"), Report::Accepted).await;
    agent.report(&key("w1"), finished()).await;
    agent.closer.close(Instant::now() + GRACE);
    let mut said = Vec::new();
    while said.len() < 4 {
        said.push(call.hear().await.unwrap());
    }
    assert!(said.contains(&Said::Draining), "{said:?}");
    assert!(said.contains(&Said::Demand(Demand { free_slots: 0, assigns_received: 1 })), "{said:?}");
    sleep(Duration::from_secs(5)).await;
    assert!(!agent.running.is_finished(), "nothing is acknowledged yet");
    call.ack(&key("w1"), 2);
    // The agent closes its half, and waits for the server to close the other.
    assert_eq!(call.hear().await, None);
    drop(call);
    let acknowledged = Instant::now();
    let reporter = agent.reporter.clone();
    assert_eq!(agent.ended().await, Ok(Closed::Flushed));
    assert!(acknowledged.elapsed() < Duration::from_secs(1));
    assert_eq!(reporter.report(&key("w1"), Report::Accepted).await, Err(Gone));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_owed_nothing_is_told_too() {
    let (mut agent, _network, mut server) = start(Plan::default());
    let mut call = server.session().await;
    agent.connected().await;
    assert_eq!(call.hear_demand().await.free_slots, 2);
    agent.closer.close(Instant::now() + GRACE);
    assert_eq!(call.hear().await, Some(Said::Draining));
    assert_eq!(call.hear_demand().await.free_slots, 0);
    assert_eq!(call.hear().await, None);
    drop(call);
    assert_eq!(agent.ended().await, Ok(Closed::Flushed));
}

#[tokio::test(start_paused = true)]
async fn the_deadline_counts_though_something_is_left() {
    let (mut agent, _network, mut server) = start(Plan::default());
    let call = server.session().await;
    agent.connected().await;
    call.assign(&key("w1"));
    agent.run().await;
    agent.report(&key("w1"), Report::Accepted).await;
    let began = Instant::now();
    agent.closer.close(began + GRACE);
    agent.closer.close(began + Duration::from_secs(20));
    agent.closer.close(began + GRACE);
    assert_eq!(agent.ended().await, Ok(Closed::DeadlinePassed));
    let took = began.elapsed();
    assert_eq!(took.as_secs(), 20);
    drop(call);
}

#[tokio::test(start_paused = true)]
async fn an_outage_at_the_end_is_waited_out() {
    let (mut agent, network, mut server) = start(Plan::default());
    let mut call = server.session().await;
    agent.connected().await;
    call.assign(&key("w1"));
    agent.run().await;
    agent.report(&key("w1"), Report::Accepted).await;
    let mut store = Store::default();
    store.take(call.hear_report().await);
    network.cut();
    agent.disconnected().await;
    agent.report(&key("w1"), finished()).await;
    agent.closer.close(Instant::now() + GRACE);
    sleep(Duration::from_secs(10)).await;
    network.repair();
    let mut call = server.resumed(&store).await;
    let report = call.hear_report().await;
    assert!(matches!(report.body, ReceivedBody::Finished(_)));
    call.ack(&key("w1"), report.sequence.0);
    drop(call);
    assert_eq!(agent.ended().await, Ok(Closed::Flushed));
}

#[tokio::test(start_paused = true)]
async fn without_a_server_nothing_owed_is_nothing_to_wait_for() {
    let (agent, network, _server) = start(Plan::default());
    network.cut();
    sleep(Duration::from_secs(100)).await;
    let began = Instant::now();
    agent.closer.close(began + GRACE);
    assert_eq!(agent.ended().await, Ok(Closed::Flushed));
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_drain_is_said_in_every_session_and_ends_nothing() {
    let (mut agent, network, mut server) = start(Plan::default());
    let mut call = server.session().await;
    agent.connected().await;
    assert_eq!(call.hear_demand().await.free_slots, 2);
    agent.closer.drain();
    assert_eq!(call.hear().await, Some(Said::Draining));
    assert_eq!(call.hear_demand().await.free_slots, 0);
    agent.demand.send_replace(3);
    let said = timeout(Duration::from_secs(5), call.hear()).await;
    assert!(said.is_err(), "{said:?}");
    network.cut();
    agent.disconnected().await;
    network.repair();
    let mut call = server.session().await;
    assert_eq!(call.hear().await, Some(Said::Draining));
    assert_eq!(call.hear_demand().await.free_slots, 0);
    assert!(!agent.running.is_finished());
}
