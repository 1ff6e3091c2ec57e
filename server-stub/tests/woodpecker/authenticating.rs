//! Who comes in, and what every call has to bring along.

use server_stub::woodpecker::{Config, Method, Owner, Server};
use tonic::Code;

use crate::agent::{Agent, auth, channel, pass, refused, server};

#[tokio::test(start_paused = true)]
async fn the_system_token_makes_a_new_agent_or_lets_a_known_one_in() {
    let server = server();
    let channel = channel(&server.network()).await;
    let first = auth(&channel, Config::TOKEN, -1).await.unwrap();
    assert_eq!((first.status.as_str(), first.agent_id), ("ok", 1));
    assert_eq!(auth(&channel, Config::TOKEN, -1).await.unwrap().agent_id, 2);
    assert_eq!(auth(&channel, Config::TOKEN, 1).await.unwrap().agent_id, 1);
    assert_eq!(server.agents().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_agents_own_token_is_that_agent_whatever_it_says() {
    let server = server();
    let own = server.add_agent_token("own-token", Owner::User(7));
    let channel = channel(&server.network()).await;
    for id in [-1, 0, own, 99] {
        assert_eq!(auth(&channel, "own-token", id).await.unwrap().agent_id, own);
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_not_let_in_is_told_so_with_an_unknown_error() {
    let server = server();
    let own = server.add_agent_token("own-token", Owner::Org(3));
    let channel = channel(&server.network()).await;
    let no_token = "agent could not auth: individual agent not found by token: sql: no rows in result set";
    for (token, id, text) in [
        (Config::TOKEN, 0, "agent could not auth: AgentID not found in database"),
        (Config::TOKEN, 99, "agent could not auth: AgentID not found in database"),
        (Config::TOKEN, own, "agent could not auth: the agent with this ID is not a system agent"),
        ("wrong", -1, no_token),
        ("", -1, no_token),
    ] {
        refused(auth(&channel, token, id).await, Code::Unknown, text);
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_system_token_only_agents_of_their_own_come_in() {
    let server = Server::start(Config { system_token: None, ..Config::default() });
    server.add_agent_token("own-token", Owner::User(7));
    let channel = channel(&server.network()).await;
    assert!(auth(&channel, Config::TOKEN, -1).await.is_err());
    assert!(auth(&channel, "own-token", -1).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn every_call_needs_a_good_token() {
    let server = server();
    let agent = Agent::connect(&server.network()).await;
    let wrong = Agent { token: "7.8.9".to_owned(), ..agent.clone() };
    let text = "access token is invalid: signature is invalid";
    let state = piculet_proto::woodpecker::WorkflowState::default;
    let step = piculet_proto::woodpecker::StepState::default;
    refused(wrong.version().await, Code::Unauthenticated, text);
    refused(wrong.register(Default::default()).await, Code::Unauthenticated, text);
    refused(wrong.unregister().await, Code::Unauthenticated, text);
    refused(wrong.health("I am alive!").await, Code::Unauthenticated, text);
    refused(wrong.next_with(&[]).await, Code::Unauthenticated, text);
    refused(wrong.init(1, state()).await, Code::Unauthenticated, text);
    refused(wrong.wait(1).await, Code::Unauthenticated, text);
    refused(wrong.extend(1).await, Code::Unauthenticated, text);
    refused(wrong.update(1, step()).await, Code::Unauthenticated, text);
    refused(wrong.log(Vec::new()).await, Code::Unauthenticated, text);
    refused(wrong.done(1, state()).await, Code::Unauthenticated, text);
    let text = "token is not provided";
    let bare = agent.client().version(piculet_proto::woodpecker::Empty {}).await;
    refused(bare, Code::Unauthenticated, text);
    // Nobody knows whose calls these were.
    let known = server.calls().into_iter().filter(|call| call.agent.is_some());
    assert_eq!(known.map(|call| call.said.method()).collect::<Vec<_>>(), [Method::Auth]);
}

#[tokio::test(start_paused = true)]
async fn a_protocol_that_is_named_has_to_be_the_servers() {
    let server = server();
    let agent = Agent::connect(&server.network()).await;
    assert_eq!(agent.version().await.unwrap().grpc_version, 16);
    assert_eq!(agent.clone().with("proto-version", "16").version().await.unwrap().server_version, "3.17.0");
    for (version, code) in
        [("15", Code::FailedPrecondition), ("17", Code::FailedPrecondition), ("x", Code::InvalidArgument)]
    {
        let agent = agent.clone().with("proto-version", version);
        assert_eq!(agent.version().await.unwrap_err().code(), code, "{version}");
        assert_eq!(agent.extend(1).await.unwrap_err().code(), code, "{version}");
        let stranger = Agent { token: "wrong".to_owned(), ..agent };
        assert_eq!(stranger.version().await.unwrap_err().code(), Code::Unauthenticated, "the token comes first");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_is_good_for_an_hour() {
    let server = server();
    let network = server.network();
    let agent = Agent::connect(&network).await;
    pass(3599).await;
    agent.health("I am alive!").await.unwrap();
    pass(1).await;
    let text = "access token is invalid: token is expired";
    refused(agent.health("I am alive!").await, Code::Unauthenticated, text);
    Agent::come_in(&network, Config::TOKEN, agent.id).await.health("I am alive!").await.unwrap();
}
