//! Silence, in both directions.

use std::time::Duration;

use piculet_proto::v1 as pb;
use piculet_proto::v1::agent_message::Message as Said;
use piculet_proto::v1::server_message::Message as Heard;
use server_stub::server::Config;
use server_stub::stub::Stub;
use server_stub::view::{AgentState, PlaceView};
use tonic::Code;

use crate::agent::{RawAgent, held, hello, workload};

#[tokio::test(start_paused = true)]
async fn a_silent_agent_is_away_when_its_lease_is_over() {
    let stub = Stub::start(Config::default());
    let network = stub.network();
    let mut agent = RawAgent::ready(&network, hello("agent"), 1).await;
    assert_eq!((agent.welcome.heartbeat_seconds, agent.welcome.lease_seconds), (10, 30));
    let id = stub.submit(workload("w"));
    let assign = agent.take().await;
    let begin = tokio::time::Instant::now();
    let status = agent.end().await;
    assert_eq!((status.code(), begin.elapsed().as_secs()), (Code::Unavailable, 30), "{status}");
    assert_eq!(stub.server().agents()[0].state, AgentState::Away);
    assert_eq!(stub.workflow(&id).place, PlaceView::Away);
    let back = pb::Hello { held: vec![held(&assign, 1)], ..hello("agent") };
    let agent = RawAgent::connect(&network, back).await;
    assert!(agent.welcome.held[0].keep);
    assert_eq!(stub.workflow(&id).place, PlaceView::Running);
}

#[tokio::test(start_paused = true)]
async fn whoever_says_something_keeps_its_lease() {
    let stub = Stub::start(Config::default());
    let mut agent = RawAgent::connect(&stub.network(), hello("agent")).await;
    // Answering the pings is enough.
    for _ in 0..10 {
        agent.hears_nothing().await;
    }
    agent.say(Said::Heartbeat(pb::Heartbeat::default())).await;
    assert_eq!(stub.server().agents()[0].state, AgentState::Connected);
}

#[tokio::test(start_paused = true)]
async fn a_frozen_network_is_noticed_and_forgiven() {
    let stub = Stub::start(Config::default());
    let network = stub.network();
    let mut agent = RawAgent::connect(&network, hello("agent")).await;
    network.freeze();
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert_eq!(stub.server().agents()[0].state, AgentState::Away);
    network.mend();
    assert_eq!(agent.end().await.code(), Code::Unavailable);
    RawAgent::connect(&network, hello("agent")).await;
    assert_eq!(stub.server().agents()[0].state, AgentState::Connected);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_was_away_for_long_is_forgotten() {
    let stub = Stub::start(Config::default());
    let agent = RawAgent::connect(&stub.network(), hello("agent")).await;
    drop(agent);
    tokio::time::sleep(Duration::from_secs(301)).await;
    assert_eq!(stub.server().agents(), []);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_does_not_read_holds_up_nobody() {
    let stub = Stub::start(Config::default());
    let network = stub.network();
    // Large enough to fill every buffer between the two.
    let mut large = workload("large");
    large.stages[0].steps[0].environment.insert("BIG".into(), "x".repeat(1 << 20));
    let deaf = RawAgent::ready(&network, hello("a-deaf"), 4).await;
    for _ in 0..4 {
        stub.submit(large.clone());
    }
    let mut other = RawAgent::ready(&network, hello("b-other"), 4).await;
    for _ in 0..4 {
        stub.submit(workload("w"));
    }
    for _ in 0..4 {
        assert_eq!(other.assign().await.workload.unwrap().name, "w");
    }
    drop(deaf);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_goes_says_so() {
    let stub = Stub::start(Config::default());
    let network = stub.network();
    let mut agent = RawAgent::connect(&network, hello("agent")).await;
    let server = stub.server().clone();
    let gone = tokio::spawn(async move { server.shut_down(Duration::from_secs(10)).await });
    let status = agent.end().await;
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "the server is shutting down"));
    drop(agent);
    gone.await.unwrap();
    let status = crate::agent::call(&network, None, vec![Said::Hello(hello("agent"))]).await.err().unwrap();
    assert_eq!(status.code(), Code::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_stream_is_kept_alive() {
    let stub = Stub::start(Config::default());
    let mut agent = RawAgent::connect(&stub.network(), hello("agent")).await;
    let session = stub.expect_session().await;
    session.ping();
    let begin = tokio::time::Instant::now();
    for expected in [0, 10, 20] {
        let heard = agent.hear_all().await;
        assert!(matches!(heard, Heard::Ping(_)), "{heard:?}");
        assert_eq!(begin.elapsed().as_secs(), expected);
    }
}
