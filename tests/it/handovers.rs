//! Whose a workflow is: what an agent may do before it is, and after it no longer is.

use std::time::Duration;

use fake_cluster::{Kind, Script, Verb};
use piculet::exit::Failure;
use server_stub::dispatch::State;
use server_stub::mailbox::Intake;
use server_stub::stub::Stub;

use crate::world::{World, step, workflow};

fn world_by_hand() -> World {
    World::with(Stub::by_hand())
}

#[tokio::test(start_paused = true)]
async fn nothing_is_created_before_the_server_knows_that_the_workflow_was_accepted() {
    let mut world = world_by_hand();
    world.step_does("a", Script::new().wait(Duration::from_secs(60)).exit(0));
    world.agent();
    let session = world.stub.expect_session().await;
    session.stop_acking();
    let id = session.assign(workflow(vec![vec![step("a")]])).await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(world.left(), [""; 0]);
    session.resume_acking();
    assert_eq!(world.stub.ended(&id).await.state, State::Success);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_of_what_is_not_ours_yet_creates_nothing_and_removes_nothing() {
    let mut world = world_by_hand();
    world.agent();
    let session = world.stub.expect_session().await;
    session.stop_acking();
    let id = session.assign(workflow(vec![vec![step("a")]])).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    session.cancel(&id, "a test", None);
    tokio::time::sleep(Duration::from_secs(1)).await;
    session.resume_acking();
    let workflow = world.stub.ended(&id).await;
    assert_eq!(workflow.state, State::Killed, "{workflow:?}");
    let requests = world.cluster.counters();
    let trial = 1;
    assert_eq!(requests.requests(Verb::Create, "secrets"), trial);
    let made = ["configmaps", "pods"].map(|resource| requests.requests(Verb::Create, resource));
    assert_eq!((made, requests.requests(Verb::Delete, "configmaps")), ([0, 0], 0));
}

#[tokio::test(start_paused = true)]
async fn who_was_never_confirmed_leaves_the_objects_of_the_next_one_alone() {
    let mut world = world_by_hand();
    world.step_does("long", Script::new().line("begins").wait(Duration::from_secs(200)).exit(0));
    let first = world.agent();
    let session = world.stub.expect_session().await;
    session.stop_acking();
    let id = session.assign(workflow(vec![vec![step("long")]])).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    first.network.cut();
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.stub.place_by_itself(true);
    world.agent();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.stub.workflow(&id).epoch, 2, "the second agent has it now");
    assert_eq!(world.cluster.objects(Kind::Pod).len(), 1);
    first.network.mend();
    let workflow = world.stub.ended(&id).await;
    assert_eq!(workflow.state, State::Success, "{workflow:?}");
    assert_eq!(world.log(&workflow, "long"), ["begins"]);
    world.until_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_with_the_server_that_asked_for_it() {
    let mut world = world_by_hand();
    let agent = world.agent();
    let session = world.stub.expect_session().await;
    session.drain();
    tokio::time::sleep(Duration::from_secs(2)).await;
    agent.network.cut();
    tokio::time::sleep(Duration::from_secs(2)).await;
    // As a server does that was started anew: nobody is there to be told.
    world.stub.server().set_intake("instance-1", Intake::Open);
    agent.network.mend();
    let session = world.stub.expect_session().await;
    let id = session.assign(workflow(vec![vec![step("a")]])).await;
    assert_eq!(world.stub.ended(&id).await.state, State::Success);
}

#[tokio::test(start_paused = true)]
async fn who_has_no_more_time_to_drain_says_how_many_workflows_are_left() {
    let mut world = World::new();
    world.step_does("long", Script::new().line("begins").forever());
    let agent = world.agent_with(|config| config.shutdown.drain_timeout = Duration::from_secs(30));
    let id = world.stub.submit(workflow(vec![vec![step("long")]]));
    tokio::time::sleep(Duration::from_secs(10)).await;
    agent.shutdown.drain.cancel();
    let ended = agent.task.await.unwrap();
    assert!(matches!(ended, Err(Failure::Unfinished(1))), "{ended:?}");
    assert_eq!(world.log(&world.stub.workflow(&id), "long"), ["begins"]);
}
