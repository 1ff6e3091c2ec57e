//! `Wait` and `Extend`, and what becomes of a workflow whose lease runs out.

use server_stub::woodpecker::{Config, Place, QueueKind, Server, State};
use tonic::Code;

use crate::agent::{Agent, at, one_step, pass, refused, server};

fn with_memory() -> Server {
    Server::start(Config { queue: QueueKind::Memory, ..Config::default() })
}

#[tokio::test(start_paused = true)]
async fn a_lease_holds_as_long_as_it_is_extended() {
    let server = server();
    let id = server.submit(one_step());
    let agent = Agent::connect(&server.network()).await;
    agent.begin(id).await;
    let wait = agent.waits(id);
    for _ in 0..60 {
        pass(50).await;
        agent.extend(id).await.unwrap();
    }
    assert!(!wait.is_finished());
    pass(61).await;
    refused(wait.await.unwrap(), Code::Unknown, "queue: task expired");
    refused(agent.extend(id).await, Code::Unknown, "queue: task not found");
}

#[tokio::test(start_paused = true)]
async fn after_a_lost_lease_a_persistent_queue_drops_the_task() {
    let server = server();
    let network = server.network();
    let id = server.submit(one_step());
    let agent = Agent::connect(&network).await;
    agent.begin(id).await;
    pass(61).await;
    assert_eq!(server.place(id), Some(Place::Pending));
    assert_eq!(Agent::connect(&network).await.next_with(&[]).await.unwrap(), None, "it is stale");
    assert_eq!((server.place(id), server.workflow(id).state), (None, State::Running));
    // Nobody but the first agent can end it any more.
    assert!(!agent.wait(id).await.unwrap());
    agent.done(id, at(100, 200)).await.unwrap();
    assert!(server.workflow(id).state.is_terminal());
}

#[tokio::test(start_paused = true)]
async fn after_a_lost_lease_a_queue_in_memory_hands_it_out_again() {
    let server = with_memory();
    let network = server.network();
    let id = server.submit(one_step());
    let (first, second) = (Agent::connect(&network).await, Agent::connect(&network).await);
    first.begin(id).await;
    pass(61).await;
    second.begin(id).await;
    let text = format!("agent is not allowed to interact with workflow: agentId={} workflowID={id}", first.id);
    refused(first.extend(id).await, Code::Unknown, &text);
    refused(first.wait(id).await, Code::Unknown, &text);
    refused(first.done(id, at(100, 200)).await, Code::Unknown, &text);
    second.done(id, at(100, 200)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_with_the_workflow() {
    let server = server();
    let id = server.submit(one_step());
    let agent = Agent::connect(&server.network()).await;
    agent.begin(id).await;
    let waits = [agent.waits(id), agent.waits(id)];
    server.wait_for("two waits", |_, journal| (journal.waits() == 2).then_some(())).await;
    // A failure of the workflow is no more than an end.
    let failed = piculet_proto::woodpecker::WorkflowState { error: "no volume".to_owned(), ..at(100, 200) };
    agent.done(id, failed).await.unwrap();
    for wait in waits {
        assert!(!wait.await.unwrap().unwrap());
    }
    assert!(!agent.wait(id).await.unwrap(), "and at once, when it is over");
    assert_eq!(server.look(|_, journal| (journal.waits(), journal.most_waits())), (0, 2));
    assert_eq!((server.workflow(id).state, server.workflow(id).error.as_str()), (State::Failure, "no volume"));
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_the_agent_gives_up_is_forgotten() {
    let server = server();
    let id = server.submit(one_step());
    let agent = Agent::connect(&server.network()).await;
    agent.begin(id).await;
    let wait = agent.waits(id);
    server.wait_for("a wait", |_, journal| (journal.waits() == 1).then_some(())).await;
    wait.abort();
    server.wait_for("its end", |_, journal| (journal.waits() == 0).then_some(())).await;
    assert!(matches!(server.place(id), Some(Place::Running { .. })));
}

#[tokio::test(start_paused = true)]
async fn who_has_the_agents_id_can_go_on_with_its_workflow() {
    // As it was tried with the real server: a successor comes in with the first one's id and the system token.
    let server = server();
    let network = server.network();
    let id = server.submit(one_step());
    let first = Agent::connect(&network).await;
    first.begin(id).await;
    let successor = Agent::come_in(&network, Config::TOKEN, first.id).await;
    pass(30).await;
    successor.extend(id).await.unwrap();
    let wait = successor.waits(id);
    pass(50).await;
    successor.done(id, at(100, 200)).await.unwrap();
    assert!(!wait.await.unwrap().unwrap());
}
