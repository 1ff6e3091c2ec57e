//! What goes wrong between agent and server: the network, and messages that are too large.

use std::time::Duration;

use piculet_proto::woodpecker as pb;
use server_stub::woodpecker::{Answer, Method, Submission};
use tokio::time::Instant;
use tonic::Code;

use crate::agent::{Agent, at, lines, one_step, pass, server};

const MIB: usize = 1024 * 1024;

#[tokio::test(start_paused = true)]
async fn a_cut_ends_every_call_and_the_next_one_goes_through() {
    let server = server();
    let network = server.network();
    let agent = Agent::connect(&network).await;
    let poll = agent.polls();
    server.wait_for("a poll", |_, journal| (journal.polls(agent.id) == 1).then_some(())).await;
    network.cut();
    poll.await.unwrap().unwrap_err();
    server.wait_for("its end", |_, journal| (journal.polls(agent.id) == 0).then_some(())).await;
    assert!(network.dial().is_err());
    agent.health("I am alive!").await.unwrap_err();
    network.mend();
    let id = server.submit(one_step());
    agent.take(id).await;
}

#[tokio::test(start_paused = true)]
async fn a_frozen_network_says_nothing() {
    let server = server();
    let network = server.network();
    let agent = Agent::connect(&network).await;
    network.freeze();
    let health = tokio::spawn({
        let agent = agent.clone();
        async move { agent.health("I am alive!").await }
    });
    pass(1800).await;
    assert!(!health.is_finished());
    assert_eq!(server.calls().len(), 1);
    network.mend();
    health.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn connections_can_break_alone() {
    let server = server();
    let agent = Agent::connect(&server.network()).await;
    let poll = agent.polls();
    server.wait_for("a poll", |_, journal| (journal.polls(agent.id) == 1).then_some(())).await;
    server.break_connections();
    poll.await.unwrap().unwrap_err();
    let ended = server.look(|_, journal| journal.of(Method::Next).next().map(|call| call.answer.clone()));
    assert_eq!(ended, Some(Answer::Abandoned));
    let id = server.submit(one_step());
    agent.take(id).await;
}

#[tokio::test(start_paused = true)]
async fn a_narrow_network_takes_its_time() {
    let server = server();
    let network = server.network();
    let id = server.submit(Submission::raw(vec![b' '; MIB]));
    let agent = Agent::connect(&network).await;
    network.limit(64 * 1024);
    let asked = Instant::now();
    agent.take(id).await;
    assert!(asked.elapsed() > Duration::from_secs(15), "{:?}", asked.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_server_takes_four_mebibytes_and_sends_more() {
    let server = server();
    let compiled = one_step();
    let id = server.submit(Submission { payload: vec![b'x'; 6 * MIB].into(), ..Submission::from(&compiled) }.steps([]));
    let big = server.submit(&compiled);
    let agent = Agent::connect(&server.network()).await;
    assert_eq!(agent.take(id).await.payload.len(), 6 * MIB);
    agent.begin(big).await;
    let entry = |bytes: usize| {
        let mut lines = lines(&compiled.uuid("test"), 0, &["x"]);
        lines[0].data = vec![b'x'; bytes].into();
        lines
    };
    let overhead = prost::Message::encoded_len(&pb::LogRequest { log_entries: entry(4 * MIB) }) - 4 * MIB;
    let status = agent.log(entry(4 * MIB - overhead + 1)).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(status.message(), "grpc: received message larger than max (4194305 vs. 4194304)");
    assert!(server.log(big, "test").is_empty());
    agent.log(entry(4 * MIB - overhead)).await.unwrap();
    assert_eq!(server.log(big, "test").len(), 1);
    agent.done(big, at(100, 200)).await.unwrap();
}
