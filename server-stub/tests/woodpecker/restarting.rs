//! The server's process starts anew.

use std::time::Duration;

use server_stub::woodpecker::{Config, Place, Server, State};
use tonic::Code;

use crate::agent::{Agent, at, begins, exits, lines, named, one_step, pass, refused, server};

#[tokio::test(start_paused = true)]
async fn connections_break_and_tokens_are_good_no_more() {
    let server = server();
    let agent = Agent::connect(&server.network()).await;
    let poll = agent.polls();
    server.wait_for("a poll", |_, journal| (journal.polls(agent.id) == 1).then_some(())).await;
    server.restart();
    poll.await.unwrap().unwrap_err();
    assert_eq!(server.look(|_, journal| journal.polls(agent.id)), 0);
    // The channel dials again by itself.
    let text = "access token is invalid: signature is invalid";
    refused(agent.health("I am alive!").await, Code::Unauthenticated, text);
    let again = Agent::come_in(&server.network(), Config::TOKEN, agent.id).await;
    again.health("I am alive!").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn with_a_fixed_secret_tokens_stay_good() {
    let server = Server::start(Config { secret: Some("fixed".to_owned()), ..Config::default() });
    let agent = Agent::connect(&server.network()).await;
    server.restart();
    let result = agent.health("I am alive!").await;
    if result.is_err() {
        // The call may have met the connection that breaks.
        agent.health("I am alive!").await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_ran_is_forgotten_and_can_be_ended_nevertheless() {
    let server = server();
    let network = server.network();
    let compiled = one_step();
    let test = compiled.uuid("test");
    let id = server.submit(&compiled);
    let agent = Agent::connect(&network).await;
    agent.begin(id).await;
    agent.update(id, begins(&test)).await.unwrap();
    agent.log(lines(&test, 0, &["before"])).await.unwrap();
    let wait = agent.waits(id);
    server.wait_for("a wait", |_, journal| (journal.waits() == 1).then_some(())).await;
    server.restart();
    wait.await.unwrap().unwrap_err();

    let agent = Agent::come_in(&network, Config::TOKEN, agent.id).await;
    assert!(!agent.wait(id).await.unwrap(), "there is nothing to wait for");
    refused(agent.extend(id).await, Code::Unknown, "queue: task not found");
    assert_eq!((server.place(id), server.workflow(id).state), (None, State::Running));
    assert!(server.cancel(id));
    assert!(!agent.wait(id).await.unwrap(), "and nobody hears of a cancel");
    agent.log(lines(&test, 1, &["after"])).await.unwrap();
    agent.update(id, exits(&test, 0)).await.unwrap();
    agent.done(id, at(100, 200)).await.unwrap();
    assert_eq!((server.workflow(id).state, server.log(id, "test").len()), (State::Success, 2));
}

#[tokio::test(start_paused = true)]
async fn what_was_pending_is_handed_out() {
    let server = server();
    let network = server.network();
    let ids = [server.submit(named("1")), server.submit(named("2"))];
    server.restart();
    let agent = Agent::connect(&network).await;
    for id in ids {
        agent.take(id).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_ran_out_before_is_lost_for_good() {
    let server = server();
    let network = server.network();
    let id = server.submit(one_step());
    let agent = Agent::connect(&network).await;
    agent.begin(id).await;
    pass(61).await;
    assert_eq!(server.place(id), Some(Place::Pending));
    server.restart();
    assert_eq!(server.place(id), None);
}

#[tokio::test(start_paused = true)]
async fn the_journal_goes_on() {
    let server = server();
    let agent = Agent::connect(&server.network()).await;
    server.restart();
    tokio::time::sleep(Duration::from_millis(1)).await;
    Agent::come_in(&server.network(), Config::TOKEN, agent.id).await;
    assert_eq!(server.calls().len(), 2);
}
