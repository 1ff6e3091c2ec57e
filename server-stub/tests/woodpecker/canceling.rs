//! Somebody cancels, or a step does.

use piculet_proto::woodpecker as pb;
use server_stub::woodpecker::{Compiled, FailureMode, Job, State};
use tonic::Code;

use crate::agent::{Agent, at, begins, exits, one_step, pass, refused, server, two_steps};

fn canceled(state: pb::WorkflowState) -> pb::WorkflowState {
    pb::WorkflowState { canceled: true, ..state }
}

#[tokio::test(start_paused = true)]
async fn what_waits_in_the_queue_is_over_at_once() {
    let server = server();
    let id = server.submit(one_step());
    assert!(server.cancel(id));
    let workflow = server.ended(id).await;
    assert_eq!((workflow.state, workflow.pipeline), (State::Skipped, State::Canceled));
    assert_eq!(workflow.step("test").unwrap().state, State::Canceled);
    let poll = Agent::connect(&server.network()).await.polls();
    pass(60).await;
    assert!(!poll.is_finished());
    assert!(!server.cancel(id));
    poll.abort();
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_told_and_ends_the_workflow() {
    let server = server();
    let compiled = two_steps();
    let build = compiled.uuid("build");
    let id = server.submit(&compiled);
    let agent = Agent::connect(&server.network()).await;
    agent.begin(id).await;
    agent.update(id, begins(&build)).await.unwrap();
    let wait = agent.waits(id);
    server.wait_for("a wait", |_, journal| (journal.waits() == 1).then_some(())).await;
    assert!(server.cancel(id));
    assert!(wait.await.unwrap().unwrap());
    let workflow = server.workflow(id);
    assert_eq!((workflow.state, workflow.pipeline), (State::Running, State::Killed), "the agent has the last word");
    assert_eq!(workflow.step("test").unwrap().state, State::Canceled);
    let stopped = pb::StepState { started: 100, error: "Canceled".to_owned(), canceled: true, ..begins(&build) };
    agent.update(id, stopped).await.unwrap();
    agent.done(id, canceled(at(100, 200))).await.unwrap();
    let workflow = server.ended(id).await;
    assert_eq!((workflow.state, workflow.step("build").unwrap().state), (State::Killed, State::Killed));
}

#[tokio::test(start_paused = true)]
async fn a_step_that_nobody_ended_is_shown_as_a_success() {
    let server = server();
    let compiled = one_step();
    let id = server.submit(&compiled);
    let agent = Agent::connect(&server.network()).await;
    agent.begin(id).await;
    agent.update(id, begins(&compiled.uuid("test"))).await.unwrap();
    agent.done(id, canceled(at(100, 200))).await.unwrap();
    let workflow = server.ended(id).await;
    let step = workflow.step("test").unwrap();
    assert_eq!((workflow.state, step.state, step.finished), (State::Killed, State::Success, 200));
}

#[tokio::test(start_paused = true)]
async fn a_cancel_that_nobody_waited_for_can_not_be_learnt() {
    let server = server();
    let id = server.submit(one_step());
    let agent = Agent::connect(&server.network()).await;
    agent.begin(id).await;
    server.cancel(id);
    assert!(!agent.wait(id).await.unwrap());
    refused(agent.extend(id).await, Code::Unknown, "queue: task not found");
    agent.init(id, at(100, 0)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_was_handed_out_and_not_begun_can_not_begin_any_more() {
    let server = server();
    let id = server.submit(one_step());
    let agent = Agent::connect(&server.network()).await;
    agent.take(id).await;
    let wait = agent.waits(id);
    server.wait_for("a wait", |_, journal| (journal.waits() == 1).then_some(())).await;
    server.cancel(id);
    assert!(wait.await.unwrap().unwrap());
    refused(agent.init(id, at(100, 0)).await, Code::Unknown, "workflow was already marked as finished");
}

#[tokio::test(start_paused = true)]
async fn a_failing_step_may_cancel_everything() {
    let server = server();
    let job = |name| Job::commands(name, "alpine", ["true"]);
    let compiled =
        Compiled::new("x").then([job("guard").failure(FailureMode::Cancel), job("beside")]).then([job("after")]);
    let id = server.submit(&compiled);
    let agent = Agent::connect(&server.network()).await;
    agent.begin(id).await;
    let wait = agent.waits(id);
    agent.update(id, begins(&compiled.uuid("guard"))).await.unwrap();
    agent.update(id, begins(&compiled.uuid("beside"))).await.unwrap();
    agent.update(id, exits(&compiled.uuid("guard"), 1)).await.unwrap();
    assert!(wait.await.unwrap().unwrap());
    let workflow = server.workflow(id);
    let states: Vec<_> = workflow.steps.iter().map(|step| step.state).collect();
    assert_eq!(states, [State::Failure, State::Running, State::Canceled]);
    assert_eq!((workflow.state, workflow.pipeline), (State::Running, State::Killed));
}
