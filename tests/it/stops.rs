//! What a step does until the moment when its pod is asked to go counts, and arrives.

use std::time::Duration;

use fake_cluster::{Fault, Kind, Script, Verb};
use piculet::exit::Failure;
use piculet_core::id::WorkflowId;
use piculet_core::outcome::StepState::{Killed, Running, Success};
use server_stub::dispatch::State;
use server_stub::mailbox::Stop;
use tokio::time::Instant;

use crate::world::{World, ends, expected, step, workflow};

async fn until_running(world: &World, id: &WorkflowId) {
    while world.stub.workflow(id).steps.iter().all(|step| step.state != Running) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn cancel(world: &World, id: &WorkflowId) {
    let stop = Stop { reason: "a test".to_owned(), grace: None };
    world.stub.server().cancel(id, stop).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_pod_whose_log_could_not_be_opened_yet_is_asked_to_go_when_it_is() {
    let mut world = World::new();
    world.agent();
    world.cluster.faults().inject(Fault::fail(500).on(Verb::Get).of("pods/log").times(3));
    world.step_does("long", Script::new().line("begins").forever().on_sigterm(Duration::ZERO, "bye\n", 143));
    let id = world.stub.submit(workflow(vec![vec![step("long")]]));
    until_running(&world, &id).await;
    cancel(&world, &id);
    let workflow = world.stub.ended(&id).await;
    assert_eq!(ends(&workflow), expected(&[("long", Killed, None)]));
    let log = world.log(&workflow, "long");
    assert_eq!(log[..2], ["begins", "bye"], "{log:?}");
    world.until_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_step_that_ended_before_it_was_asked_keeps_its_pod_until_its_log_was_read() {
    let mut world = World::new();
    world.agent();
    world.cluster.faults().inject(Fault::fail(500).on(Verb::Get).of("pods/log").times(4));
    world.step_does("short", Script::new().line("all").wait(Duration::from_millis(200)).exit(0));
    let id = world.stub.submit(workflow(vec![vec![step("short")], vec![step("later")]]));
    until_running(&world, &id).await;
    // From now on the agent sees nothing by itself.
    world.cluster.faults().inject(Fault::fail(500).on(Verb::Watch).always());
    world.cluster.faults().cut_streams();
    tokio::time::sleep(Duration::from_secs(1)).await;
    cancel(&world, &id);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let workflow = world.stub.ended(&id).await;
    assert_eq!(world.log(&workflow, "short"), ["all"]);
    assert_eq!((workflow.steps[0].state, workflow.steps[0].exit_code), (Success, Some(0)), "{workflow:?}");
    assert_eq!(workflow.state, State::Killed);
    world.cluster.faults().clear();
    world.until_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_step_that_ended_while_the_cluster_was_away_is_not_stopped_unseen() {
    let mut world = World::new();
    world.agent();
    world.step_does("short", Script::new().pull_takes(Duration::from_secs(3)).line("all").exit(0));
    let id = world.stub.submit(workflow(vec![vec![step("short")], vec![step("later")]]));
    while world.cluster.objects(Kind::Pod).is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.cluster.faults().inject(Fault::drop_connection().always());
    world.cluster.faults().cut_streams();
    tokio::time::sleep(Duration::from_secs(10)).await;
    cancel(&world, &id);
    tokio::time::sleep(Duration::from_secs(15)).await;
    // The watch stays away: only who looks finds out.
    world.cluster.faults().clear();
    world.cluster.faults().inject(Fault::fail(500).on(Verb::Watch).always());
    let workflow = world.stub.ended(&id).await;
    assert_eq!((workflow.steps[0].state, workflow.steps[0].exit_code), (Success, Some(0)), "{workflow:?}");
    assert_eq!(world.log(&workflow, "short").last().map(String::as_str), Some("all"));
    world.cluster.faults().clear();
    world.until_clean().await;
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_answers_late_delays_a_stop_by_2_s_at_most() {
    let mut world = World::new();
    world.agent();
    world.step_does("long", Script::new().line("begins").forever().on_sigterm(Duration::ZERO, "bye\n", 143));
    let id = world.stub.submit(workflow(vec![vec![step("long")]]));
    until_running(&world, &id).await;
    world.cluster.faults().inject(Fault::delay(Duration::from_secs(8)).on(Verb::Get).of("pods").always());
    let began = Instant::now();
    cancel(&world, &id);
    while world.cluster.objects(Kind::Pod).iter().any(|pod| pod["metadata"]["deletionTimestamp"].is_null()) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(3), "{took:?}");
    let workflow = world.stub.ended(&id).await;
    assert_eq!(ends(&workflow), expected(&[("long", Killed, None)]));
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_shuts_down_waits_for_nothing_that_it_may_not_see_any_more() {
    let mut world = World::new();
    let agent = world.agent_with(|config| config.limits.log = Duration::from_secs(10));
    world.step_does("long", Script::new().line("begins").forever());
    let id = world.stub.submit(workflow(vec![vec![step("long")]]));
    until_running(&world, &id).await;
    // Its account was taken away.
    world.cluster.faults().inject(Fault::fail(401).always());
    world.cluster.faults().cut_streams();
    let since = Instant::now();
    agent.shutdown.drain.cancel();
    let workflow = world.stub.ended(&id).await;
    assert!(since.elapsed() < Duration::from_secs(5 * 60), "{:?}", since.elapsed());
    assert_eq!(workflow.state, State::Killed);
    assert_eq!(workflow.steps[0].error, "Stopped: the agent that ran it was shut down.");
    let ended = agent.task.await.unwrap();
    assert!(matches!(ended, Err(Failure::Unfinished(1))), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_stays_waits_for_its_rights_to_come_back() {
    let mut world = World::new();
    world.agent();
    world.step_does("long", Script::new().line("begins").wait(Duration::from_secs(900)).exit(0));
    let id = world.stub.submit(workflow(vec![vec![step("long")]]));
    until_running(&world, &id).await;
    world.cluster.faults().inject(Fault::fail(403).of("pods").always());
    world.cluster.faults().cut_streams();
    tokio::time::sleep(Duration::from_secs(600)).await;
    world.cluster.faults().clear();
    assert_eq!(ends(&world.stub.ended(&id).await), expected(&[("long", Success, Some(0))]));
    world.until_clean().await;
}
