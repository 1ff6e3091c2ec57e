//! The server in the hands of a test.

use std::time::Duration;

use piculet_link::wire::agent::ReceivedBody;
use piculet_proto::v1 as pb;
use piculet_proto::v1::agent_message::Message as Said;
use server_stub::stub::Stub;
use tonic::{Code, Status};

use crate::agent::{RawAgent, accepted, call, hello, workload};

#[tokio::test(start_paused = true)]
async fn a_session_does_what_it_is_told() {
    let stub = Stub::by_hand();
    let network = stub.network();
    let waiting = stub.submit(workload("by itself"));
    let mut agent = RawAgent::ready(&network, hello("agent"), 1).await;
    let session = stub.expect_session().await;
    assert_eq!(session.hello().identity.name, "agent");
    agent.hears_nothing().await;
    let id = session.assign(workload("by hand")).await;
    let assign = agent.assign().await;
    assert_eq!(assign.workflow_id, id.as_str());
    agent.say(accepted(&assign)).await;
    let report = session.next_report().await;
    assert_eq!((report.key.workflow, report.body), (id, ReceivedBody::Accepted));
    assert!(stub.workflow(&waiting).agent.is_none());
    session.break_with(Status::resource_exhausted("the test says so"));
    let status = agent.end().await;
    assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, "the test says so"));
    drop(agent);
    assert_eq!(session.try_next_message().await, None);
}

#[tokio::test(start_paused = true)]
async fn acknowledgements_can_be_held_back() {
    let stub = Stub::by_hand();
    let mut agent = RawAgent::ready(&stub.network(), hello("agent"), 1).await;
    let session = stub.expect_session().await;
    session.stop_acking();
    session.assign(workload("w")).await;
    let assign = agent.assign().await;
    agent.say(accepted(&assign)).await;
    agent.hears_nothing().await;
    session.resume_acking();
    assert_eq!(agent.ack().await, (assign.workflow_id, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn calls_can_be_refused_and_protocols_claimed() {
    let stub = Stub::by_hand();
    let network = stub.network();
    stub.refuse_next(Status::unavailable("later"));
    stub.refuse_next(Status::internal("later still"));
    let first = || vec![Said::Hello(hello("agent"))];
    for code in [Code::Unavailable, Code::Internal] {
        assert_eq!(call(&network, None, first()).await.err().map(|status| status.code()), Some(code));
    }
    stub.claim_protocol(7);
    assert_eq!(call(&network, None, first()).await.unwrap().welcome.protocol, 7);
}

#[tokio::test(start_paused = true)]
async fn headers_can_be_delayed_until_hello() {
    let stub = Stub::by_hand();
    let network = stub.network();
    stub.delay_headers(true);
    // Whoever waits for headers before saying hello waits for ever.
    let silent = tokio::time::timeout(Duration::from_secs(9), call(&network, None, Vec::new())).await;
    assert!(silent.is_err());
    let agent = call(&network, None, vec![Said::Hello(hello("agent"))]).await.unwrap();
    assert_eq!(agent.welcome.protocol, pb::PROTOCOL);
}

#[tokio::test(start_paused = true)]
async fn a_cut_network_breaks_connections_and_lets_none_through() {
    let stub = Stub::by_hand();
    let network = stub.network();
    let mut agent = RawAgent::connect(&network, hello("agent")).await;
    network.cut();
    assert!(network.dial().is_err());
    assert_ne!(agent.end().await.code(), Code::Ok);
    network.mend();
    RawAgent::connect(&network, hello("agent")).await;
}
