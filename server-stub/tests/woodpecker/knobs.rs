//! What goes wrong because the test wants it.

use std::time::Duration;

use piculet_proto::woodpecker as pb;
use server_stub::woodpecker::{Answer, Config, Loss, Method, Place, State};
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::agent::{Agent, at, auth, begins, channel, lines, named, one_step, pass, refused, server};

#[tokio::test(start_paused = true)]
async fn every_method_can_be_refused_so_many_times() {
    let server = server();
    let network = server.network();
    let compiled = one_step();
    let id = server.submit(&compiled);
    let agent = Agent::connect(&network).await;
    agent.begin(id).await;
    server.submit(named("another"));
    for method in Method::ALL {
        server.refuse(method, &Status::data_loss("the test says so"), 2);
    }
    let channel = channel(&network).await;
    for is_refused in [true, true, false] {
        let health = "I am alive!";
        let test = compiled.uuid("test");
        let results = [
            auth(&channel, Config::TOKEN, agent.id).await.map(|_| ()),
            agent.version().await.map(|_| ()),
            agent.register(pb::AgentInfo::default()).await.map(|_| ()),
            agent.health(health).await,
            agent.next_with(&[]).await.map(|_| ()),
            agent.init(id, at(100, 0)).await,
            agent.extend(id).await,
            agent.update(id, begins(&test)).await,
            agent.log(lines(&test, 0, &["x"])).await,
            agent.done(id, at(100, 200)).await,
            agent.wait(id).await.map(|_| ()),
            agent.unregister().await,
        ];
        for result in results {
            match result {
                Err(status) => {
                    assert_eq!((status.code(), status.message()), (Code::DataLoss, "the test says so"));
                    assert!(is_refused);
                }
                Ok(()) => assert!(!is_refused),
            }
        }
    }
    let refused = server.calls().into_iter().filter(|call| matches!(call.answer, Answer::Refused(..))).count();
    assert_eq!(refused, 24);
}

#[tokio::test(start_paused = true)]
async fn a_refused_call_does_nothing() {
    let server = server();
    let id = server.submit(one_step());
    let agent = Agent::connect(&server.network()).await;
    agent.begin(id).await;
    server.refuse(Method::Done, &Status::unavailable(""), 1);
    agent.done(id, at(100, 200)).await.unwrap_err();
    assert_eq!(server.workflow(id).state, State::Running);
}

#[tokio::test(start_paused = true)]
async fn an_answer_can_get_lost_by_a_status() {
    let server = server();
    let id = server.submit(one_step());
    let agent = Agent::connect(&server.network()).await;
    agent.begin(id).await;
    server.lose_answers(Method::Done, &Loss::Status(Status::deadline_exceeded("late")), 1);
    refused(agent.done(id, at(100, 200)).await, Code::DeadlineExceeded, "late");
    assert!(server.workflow(id).state.is_terminal());
    assert_eq!(server.calls().last().map(|call| call.answer.clone()), Some(Answer::Lost));
}

#[tokio::test(start_paused = true)]
async fn an_answer_can_get_lost_with_its_connection() {
    let server = server();
    let id = server.submit(one_step());
    let agent = Agent::connect(&server.network()).await;
    server.lose_answers(Method::Next, &Loss::Break, 1);
    agent.next_with(&[]).await.unwrap_err();
    // The row is gone, so that nobody ever gets it again.
    assert_eq!(server.workflow(id).agent, agent.id);
    assert!(matches!(server.place(id), Some(Place::Running { .. })));
    pass(61).await;
    assert_eq!(agent.next_with(&[]).await.unwrap(), None);
    assert_eq!(server.place(id), None);
}

#[tokio::test(start_paused = true)]
async fn a_task_can_come_when_its_poll_is_gone() {
    let server = server();
    let id = server.submit(one_step());
    let agent = Agent::connect(&server.network()).await;
    server.lose_assignments(1);
    assert_eq!(agent.next_with(&[]).await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(server.workflow(id).agent, 0, "nobody has it");
    let lost = Instant::now();
    agent.take(id).await;
    assert_eq!(lost.elapsed().as_secs(), 60, "until the lease is over");
}

#[tokio::test(start_paused = true)]
async fn calls_can_take_their_time() {
    let server = server();
    let agent = Agent::connect(&server.network()).await;
    server.delay(Method::ReportHealth, Duration::from_secs(7));
    for (seconds, next) in [(7, 7), (7, 0), (0, 0)] {
        let asked = Instant::now();
        agent.health("I am alive!").await.unwrap();
        assert_eq!(asked.elapsed().as_secs(), seconds);
        server.delay(Method::ReportHealth, Duration::from_secs(next));
    }
}

#[tokio::test(start_paused = true)]
async fn next_can_be_answered_with_anything() {
    let server = server();
    let agent = Agent::connect(&server.network()).await;
    let strange = pb::Workflow { id: "not a number".to_owned(), timeout: -1, payload: "null".into() };
    // While it waits, and before it comes.
    let poll = agent.polls();
    server.wait_for("a poll", |_, journal| (journal.polls(agent.id) == 1).then_some(())).await;
    server.answer_next(Some(strange.clone()));
    assert_eq!(poll.await.unwrap().unwrap(), Some(strange.clone()));
    server.answer_next(None);
    server.answer_next(Some(strange.clone()));
    assert_eq!(agent.next_with(&[]).await.unwrap(), None);
    assert_eq!(agent.next_with(&[]).await.unwrap(), Some(strange));
    let poll = agent.polls();
    pass(60).await;
    assert!(!poll.is_finished());
    poll.abort();
}

#[tokio::test(start_paused = true)]
async fn tokens_can_become_invalid_while_calls_wait() {
    let server = server();
    let agent = Agent::connect(&server.network()).await;
    let poll = agent.polls();
    server.wait_for("a poll", |_, journal| (journal.polls(agent.id) == 1).then_some(())).await;
    server.invalidate_tokens();
    let id = server.submit(one_step());
    assert_eq!(poll.await.unwrap().unwrap().unwrap().id, id.to_string(), "what has begun goes on");
    assert_eq!(agent.health("I am alive!").await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test(start_paused = true)]
async fn what_runs_can_be_forgotten() {
    let server = server();
    let id = server.submit(one_step());
    let agent = Agent::connect(&server.network()).await;
    agent.begin(id).await;
    let wait = agent.waits(id);
    server.wait_for("a wait", |_, journal| (journal.waits() == 1).then_some(())).await;
    server.forget_running();
    assert!(!wait.await.unwrap().unwrap());
    refused(agent.extend(id).await, Code::Unknown, "queue: task not found");
    agent.health("I am alive!").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_workflow_can_be_handed_out_twice() {
    let server = server();
    let network = server.network();
    let id = server.submit(one_step());
    let (first, second) = (Agent::connect(&network).await, Agent::connect(&network).await);
    first.begin(id).await;
    server.hand_out_again(id);
    second.begin(id).await;
    assert_eq!(server.workflow(id).agent, second.id);
    let text = format!("agent is not allowed to interact with workflow: agentId={} workflowID={id}", first.id);
    refused(first.done(id, at(100, 200)).await, Code::Unknown, &text);
    // The same agent, too.
    server.hand_out_again(id);
    second.begin(id).await;
    second.extend(id).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_lease_can_end_at_once() {
    let server = server();
    let id = server.submit(one_step());
    let agent = Agent::connect(&server.network()).await;
    assert!(!server.expire_lease(id));
    agent.begin(id).await;
    let wait = agent.waits(id);
    server.wait_for("a wait", |_, journal| (journal.waits() == 1).then_some(())).await;
    assert!(server.expire_lease(id));
    refused(wait.await.unwrap(), Code::Unknown, "queue: task expired");
}

#[tokio::test(start_paused = true)]
async fn another_protocol_can_be_claimed() {
    let server = server();
    let agent = Agent::connect(&server.network()).await;
    server.claim_protocol(17);
    assert_eq!(agent.version().await.unwrap().grpc_version, 17);
    let named = agent.with("proto-version", "16");
    assert_eq!(named.version().await.unwrap_err().code(), Code::FailedPrecondition);
}

#[tokio::test(start_paused = true)]
async fn an_agent_can_be_deleted() {
    let server = server();
    let agent = Agent::connect(&server.network()).await;
    let poll = agent.polls();
    server.wait_for("a poll", |_, journal| (journal.polls(agent.id) == 1).then_some(())).await;
    server.delete_agent(agent.id);
    assert_eq!(poll.await.unwrap().unwrap(), None);
    refused(agent.next_with(&[]).await, Code::Unknown, "sql: no rows in result set");
    let known = auth(&agent.channel, Config::TOKEN, agent.id).await;
    refused(known, Code::Unknown, "agent could not auth: AgentID not found in database");
}

#[tokio::test(start_paused = true)]
async fn what_was_set_up_can_be_taken_back() {
    let server = server();
    let agent = Agent::connect(&server.network()).await;
    server.refuse(Method::ReportHealth, &Status::internal(""), 9);
    server.lose_answers(Method::ReportHealth, &Loss::Break, 9);
    server.delay(Method::ReportHealth, Duration::from_secs(9));
    server.behave();
    let asked = Instant::now();
    agent.health("I am alive!").await.unwrap();
    assert!(asked.elapsed() < Duration::from_secs(1));
}
