//! `Next`: who gets which workflow, and when.

use std::collections::HashMap;
use std::time::Duration;

use server_stub::woodpecker::{Answer, Method, Owner, Submission};
use tokio::time::Instant;
use tonic::Code;

use crate::agent::{Agent, named, one_step, pass, refused, server};

#[tokio::test(start_paused = true)]
async fn a_poll_waits_for_hours() {
    let server = server();
    let agent = Agent::connect(&server.network()).await;
    let poll = agent.polls();
    pass(3 * 3600).await;
    assert!(!poll.is_finished());
    let submitted = Instant::now();
    let id = server.submit(one_step());
    assert_eq!(poll.await.unwrap().unwrap().unwrap().id, id.to_string());
    assert!(submitted.elapsed() <= Duration::from_millis(101), "the queue looks ten times a second");
}

#[tokio::test(start_paused = true)]
async fn workflows_are_given_out_in_order() {
    let server = server();
    let agent = Agent::connect(&server.network()).await;
    let ids = ["1", "2", "3"].map(|name| server.submit(named(name)));
    for id in ids {
        agent.take(id).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_agent_that_fits_best_gets_it() {
    let server = server();
    let network = server.network();
    let (any, exact) = (Agent::connect(&network).await, Agent::connect(&network).await);
    let (poll_any, poll_exact) = (any.polls_with(&[("gpu", "*")]), exact.polls_with(&[("gpu", "yes")]));
    server.wait_for("two polls", |_, journal| (journal.polls(1) + journal.polls(2) == 2).then_some(())).await;
    let id = server.submit(Submission::from(one_step()).label("gpu", "yes"));
    assert_eq!(poll_exact.await.unwrap().unwrap().unwrap().id, id.to_string());
    let id = server.submit(Submission::from(named("another")).label("gpu", "yes"));
    assert_eq!(poll_any.await.unwrap().unwrap().unwrap().id, id.to_string());
}

#[tokio::test(start_paused = true)]
async fn labels_that_do_not_fit_keep_a_workflow_in_the_queue() {
    let server = server();
    let agent = Agent::connect(&server.network()).await;
    let (poll, required) = (agent.polls_with(&[("gpu", "no")]), agent.polls_with(&[("!team", "x")]));
    server.submit(Submission::from(one_step()).label("gpu", "yes"));
    // Without any label that counts, nobody ever gets it.
    server.submit(Submission { repo: None, org: None, ..Submission::from(named("bare")) });
    server.submit(Submission {
        repo: None,
        org: None,
        ..Submission::from(named("internal").label("woodpecker-ci.org/x", "y"))
    });
    pass(600).await;
    assert!(!poll.is_finished() && !required.is_finished());
    let fits = server.submit(Submission::from(named("fits")).label("team", "x"));
    assert_eq!(required.await.unwrap().unwrap().unwrap().id, fits.to_string());
    poll.abort();
}

#[tokio::test(start_paused = true)]
async fn the_server_says_which_organisation_an_agent_is_for() {
    let server = server();
    let network = server.network();
    server.add_agent_token("of-org-4", Owner::Org(4));
    let other = Agent::come_in(&network, "of-org-4", -1).await;
    let poll = other.polls_with(&[("org-id", "3")]);
    let id = server.submit(one_step());
    pass(60).await;
    assert!(!poll.is_finished(), "what the agent says counts for nothing");
    Agent::connect(&network).await.take(id).await;
    poll.abort();
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_to_have_no_work_waits_a_second() {
    let server = server();
    let agent = Agent::connect(&server.network()).await;
    let waiting = agent.polls();
    server.wait_for("a poll", |_, journal| (journal.polls(agent.id) == 1).then_some(())).await;
    server.set_no_schedule(agent.id, true);
    assert_eq!(waiting.await.unwrap().unwrap(), None, "a poll that waits ends at once");
    let id = server.submit(one_step());
    let asked = Instant::now();
    assert_eq!(agent.next_with(&[]).await.unwrap(), None);
    assert_eq!(asked.elapsed().as_secs(), 1);
    server.set_no_schedule(agent.id, false);
    agent.take(id).await;
}

#[tokio::test(start_paused = true)]
async fn no_labels_at_all_are_written_down_as_a_fault() {
    let server = server();
    let agent = Agent::connect(&server.network()).await;
    refused(agent.next_exactly(HashMap::new()).await, Code::Internal, "panic: assignment to entry in nil map");
    assert_eq!(server.faults().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_the_agent_gives_up_gets_nothing() {
    let server = server();
    let agent = Agent::connect(&server.network()).await;
    let poll = agent.polls();
    server.wait_for("a poll", |_, journal| (journal.polls(agent.id) == 1).then_some(())).await;
    poll.abort();
    server.wait_for("its end", |_, journal| (journal.polls(agent.id) == 0).then_some(())).await;
    let ended = server.look(|_, journal| journal.of(Method::Next).next().map(|call| call.answer.clone()));
    assert_eq!(ended, Some(Answer::Abandoned));
    let id = server.submit(one_step());
    pass(1).await;
    agent.take(id).await;
}

#[tokio::test(start_paused = true)]
async fn polls_at_the_same_time_are_counted() {
    let server = server();
    let agent = Agent::connect(&server.network()).await;
    let polls = [agent.polls(), agent.polls(), agent.polls()];
    server.wait_for("three polls", |_, journal| (journal.polls(agent.id) == 3).then_some(())).await;
    for name in ["1", "2", "3"] {
        server.submit(named(name));
    }
    for poll in polls {
        poll.await.unwrap().unwrap().unwrap();
    }
    assert_eq!(server.look(|_, journal| (journal.polls(agent.id), journal.most_polls(agent.id))), (0, 3));
}
