//! Too many pings.

use std::time::Duration;

use hyper_util::rt::TokioIo;
use server_stub::network::Network;
use server_stub::woodpecker::{Config, Journal, Model, Server};
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};

use crate::agent::{Agent, pass, server};

async fn pinging(network: &Network, interval: u64, while_idle: bool) -> Channel {
    let network = network.clone();
    let connector = tower::service_fn(move |_| {
        let connection = network.dial().map(TokioIo::new);
        async move { connection }
    });
    Endpoint::from_static("http://server.test")
        .http2_keep_alive_interval(Duration::from_secs(interval))
        .keep_alive_while_idle(while_idle)
        .connect_with_connector(connector)
        .await
        .unwrap()
}

/// An agent whose connection pings.
async fn agent(server: &Server, interval: u64, while_idle: bool) -> Agent {
    let network = server.network();
    let agent = Agent::connect(&network).await;
    Agent { channel: pinging(&network, interval, while_idle).await, ..agent }
}

#[tokio::test(start_paused = true)]
async fn a_poll_with_a_ping_every_ten_seconds_is_thrown_off() {
    let server = server();
    let agent = agent(&server, 10, false).await;
    let asked = Instant::now();
    agent.next_with(&[]).await.unwrap_err();
    assert_eq!(asked.elapsed().as_secs(), 40, "the fourth ping is the third early one");
    assert_eq!(server.faults().len(), 1);
    // It may come again.
    agent.health("I am alive!").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn answers_of_other_calls_forgive() {
    let server = server();
    let agent = agent(&server, 10, false).await;
    let poll = agent.polls();
    for _ in 0..100 {
        pass(11).await;
        agent.health("I am alive!").await.unwrap();
    }
    assert!(!poll.is_finished() && server.faults().is_empty());
    poll.abort();
}

#[tokio::test(start_paused = true)]
async fn who_pings_seldom_enough_is_let_be() {
    let server = Server::start(Config { ping_min_time: Duration::from_secs(20), ..Config::default() });
    let agent = agent(&server, 20, false).await;
    let poll = agent.polls();
    pass(3600).await;
    assert!(!poll.is_finished() && server.faults().is_empty());
    poll.abort();
}

#[tokio::test(start_paused = true)]
async fn without_a_call_even_five_minutes_are_too_often() {
    let server = server();
    let agent = agent(&server, 301, true).await;
    agent.health("I am alive!").await.unwrap();
    let idle = Instant::now();
    let thrown_off = |_: &Model, journal: &Journal| journal.faults().first().cloned();
    server.wait_for("the end", thrown_off).await;
    assert_eq!(idle.elapsed().as_secs(), 301 * 4, "one ping is forgiven for the answer, and two are let pass");
}
