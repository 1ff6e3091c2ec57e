//! Servers that don't want this agent, and what is done about it.

use std::io::Write as _;
use std::time::Duration;

use piculet_core::secret::Secret;
use piculet_link::link::Cause;
use piculet_link::stream::Token;
use piculet_link::wire;
use piculet_proto::v1::server_message::Message;
use piculet_proto::v1::{Ack, ServerMessage};
use tonic::Status;

use crate::agent::{Plan, start};
use crate::server::{Store, key, welcome};

fn other_protocol() -> ServerMessage {
    let mut message = wire::server::welcome(welcome([]));
    let Some(Message::Welcome(welcome)) = &mut message.message else { panic!("no welcome") };
    welcome.protocol = 2;
    message
}

#[tokio::test(start_paused = true)]
async fn a_token_that_never_was_any_good_is_the_end() {
    let (agent, network, mut server) = start(Plan::default());
    server.ring().await.refuse(Status::unauthenticated("unknown token"));
    let given_up = agent.ended().await.unwrap_err();
    assert_eq!(given_up.cause.code(), "link-unauthenticated");
    assert_eq!(
        given_up.to_string(),
        "The server does not accept the agent's credentials: unknown token. Check the token, and the client certificate \
         if there is one."
    );
    assert_eq!(network.dials(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_rotated_is_read_again_and_workflows_go_on() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "first").unwrap();
    let mut plan = Plan::default();
    plan.stream.token = Some(Token::File(file.path().to_owned()));
    let (mut agent, _network, mut server) = start(plan);
    let call = server.session().await;
    agent.connected().await;
    call.assign(&key("w1"));
    agent.run().await;
    call.end(Status::unauthenticated("the token was revoked"));
    assert!(agent.disconnected().await.contains("the token was revoked"));
    for _ in 0..5 {
        server.ring().await.refuse(Status::unauthenticated("unknown token"));
    }
    std::fs::write(file.path(), "second\n").unwrap();
    let mut ring = server.ring().await;
    while ring.authorization.as_deref() == Some("Bearer first") {
        ring.refuse(Status::unauthenticated("unknown token"));
        ring = server.ring().await;
    }
    assert_eq!(ring.authorization.as_deref(), Some("Bearer second"));
    let mut call = ring.accept();
    assert_eq!(call.hear_hello().await.held[0].key, key("w1"));
}

#[tokio::test(start_paused = true)]
async fn credentials_that_cannot_be_read_are_named() {
    for (token, told) in [
        (Token::Text(Secret::new(" \n")), "The agent's token can't be used: it is empty."),
        (Token::File("/nonexistent/token".into()), "The agent's token file '/nonexistent/token' can't be used: "),
        (Token::Text(Secret::new("hunter\u{7f}2")), "can't be used: it has characters that no header can hold."),
    ] {
        let mut plan = Plan::default();
        plan.stream.token = Some(token);
        let (agent, network, _server) = start(plan);
        let given_up = agent.ended().await.unwrap_err();
        assert!(matches!(given_up.cause, Cause::Credentials { .. }));
        assert!(given_up.to_string().contains(told), "{given_up}");
        assert!(!given_up.to_string().contains("hunter"), "{given_up}");
        assert_eq!(network.dials(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_knows_no_such_protocol_is_the_end() {
    let (agent, _network, mut server) = start(Plan::default());
    server.ring().await.refuse(Status::failed_precondition("this server speaks version 2"));
    let given_up = agent.ended().await.unwrap_err();
    assert_eq!(given_up.cause.code(), "link-protocol");
    assert_eq!(
        given_up.to_string(),
        "Agent and server do not speak the same protocol: the agent speaks version 1, and the server said 'this server \
         speaks version 2'. Use releases of agent and server that fit together."
    );
}

#[tokio::test(start_paused = true)]
async fn a_protocol_that_the_agent_does_not_know_is_the_end() {
    let (agent, _network, mut server) = start(Plan::default());
    let (call, _) = server.call().await;
    call.say(other_protocol());
    let given_up = agent.ended().await.unwrap_err();
    assert_eq!(
        given_up.to_string(),
        "Agent and server do not speak the same protocol: the agent speaks version 1, and the server speaks version 2. \
         Use releases of agent and server that fit together."
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_may_be_rolled_back_while_workflows_run() {
    let (mut agent, _network, mut server) = start(Plan::default());
    let call = server.session().await;
    agent.connected().await;
    call.assign(&key("w1"));
    agent.run().await;
    call.end(Status::unavailable("the server is updated"));
    agent.disconnected().await;
    let (call, _) = server.call().await;
    call.say(other_protocol());
    server.resumed(&Store::default()).await;
    agent.connected().await;
}

#[tokio::test(start_paused = true)]
async fn the_newest_process_of_an_instance_wins() {
    let (mut agent, network, mut server) = start(Plan::default());
    let call = server.session().await;
    agent.connected().await;
    call.assign(&key("w1"));
    agent.run().await;
    call.end(Status::aborted("a newer session of instance-1 began"));
    agent.disconnected().await;
    let given_up = agent.ended().await.unwrap_err();
    assert_eq!(given_up.cause.code(), "link-replaced");
    assert_eq!(network.dials(), 1, "two of the same identity must not throw each other out in turns");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_makes_no_sense_is_left_and_tried_again() {
    let (mut agent, _network, mut server) = start(Plan::default());
    let (call, _) = server.call().await;
    call.say(wire::server::ping());
    let call = server.session().await;
    assert_eq!(
        agent.status.borrow().last_error.as_ref().unwrap().to_string(),
        "The server does not keep to the protocol: Its first message is no welcome."
    );
    agent.connected().await;
    call.say(ServerMessage { message: Some(Message::Ack(Ack::default())) });
    assert!(agent.disconnected().await.contains("'ack.workflow_id'"));
    let call = server.session().await;
    agent.connected().await;
    call.say(wire::server::welcome(welcome([])));
    assert!(agent.disconnected().await.contains("a second welcome"));
    server.session().await;
    agent.connected().await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_asks_for_patience_gets_it() {
    let (_agent, _network, mut server) = start(Plan::default());
    let mut metadata = tonic::metadata::MetadataMap::new();
    metadata.insert("grpc-retry-pushback-ms", "120000".parse().unwrap());
    server.ring().await.refuse(Status::with_metadata(tonic::Code::ResourceExhausted, "too many agents", metadata));
    let refused = tokio::time::Instant::now();
    server.ring().await;
    assert_eq!(refused.elapsed().as_secs(), Duration::from_secs(120).as_secs());
}
