//! What breaks on the way, and what must not be lost by it.

use std::collections::BTreeSet;
use std::time::Duration;

use fake_cluster::{Fault, Kind, NodeSettings, Script, Verb};
use piculet_cluster::{Cluster, Limits, Places, Which};
use piculet_core::outcome::StepState::{Failure, Success};
use piculet_core::workload::{StepSpec, WorkloadSpec};
use server_stub::dispatch::State;

use crate::world::{NAMESPACE, World, ends, expected, step, workflow};

/// Prints a numbered line every tenth of a second.
fn talkative(lines: usize) -> Script {
    (0..lines).fold(Script::new(), |script, i| script.line(&format!("line {i}")).wait(Duration::from_millis(100)))
}

fn numbered(lines: usize) -> Vec<String> {
    (0..lines).map(|i| format!("line {i}")).collect()
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_cut_for_30_s_loses_and_doubles_nothing() {
    let mut world = World::new();
    let agent = world.agent();
    world.step_does("talk", talkative(900).exit(7));
    let id = world.stub.submit(workflow(vec![vec![step("talk")], vec![step("later")]]));
    tokio::time::sleep(Duration::from_secs(20)).await;
    agent.network.cut_for(Duration::from_secs(30)).await;
    let workflow = world.stub.ended(&id).await;
    assert_eq!(world.log(&workflow, "talk"), numbered(900));
    assert_eq!(workflow.steps[0].log_complaint, None);
    assert_eq!(workflow.epoch, 1, "the same instance went on with it");
    assert_eq!(workflow.steps[0].exit_code, Some(7));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_falls_silent_is_noticed_and_loses_nothing() {
    let mut world = World::new();
    let agent = world.agent();
    world.step_does("talk", talkative(1200).exit(0));
    let id = world.stub.submit(workflow(vec![vec![step("talk")]]));
    tokio::time::sleep(Duration::from_secs(20)).await;
    agent.network.freeze();
    tokio::time::sleep(Duration::from_secs(60)).await;
    agent.network.mend();
    let workflow = world.stub.ended(&id).await;
    assert_eq!(world.log(&workflow, "talk"), numbered(1200));
    assert_eq!(ends(&workflow), expected(&[("talk", Success, Some(0))]));
}

#[tokio::test(start_paused = true)]
async fn log_streams_and_watches_that_are_cut_lose_nothing() {
    let mut world = World::new();
    world.agent();
    world.step_does("talk", talkative(600).exit(0));
    let id = world.stub.submit(workflow(vec![vec![step("talk")]]));
    for _ in 0..11 {
        tokio::time::sleep(Duration::from_secs(5)).await;
        world.cluster.faults().cut_streams();
    }
    world.cluster.expire_history();
    let workflow = world.stub.ended(&id).await;
    assert_eq!(world.log(&workflow, "talk"), numbered(600));
    assert_eq!(workflow.state, State::Success);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_pod_fails_its_step_and_says_so() {
    let mut world = World::new();
    world.agent();
    world.step_does("long", Script::new().line("begins").forever());
    let id = world.stub.submit(workflow(vec![vec![step("long")], vec![step("later")]]));
    tokio::time::sleep(Duration::from_secs(10)).await;
    let pod = &world.cluster.objects(Kind::Pod)[0];
    let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
    world.cluster.evict(NAMESPACE, &name, "The node was low on resource: memory.").unwrap();
    let workflow = world.stub.ended(&id).await;
    assert_eq!(workflow.state, State::Failure);
    assert_eq!(workflow.steps[0].state, Failure);
    assert!(workflow.steps[0].error.contains("evicted"), "{:?}", workflow.steps[0]);
    let log = world.log(&workflow, "long");
    assert_eq!(log.last().map(|line| line.contains("evicted")), Some(true), "{log:?}");
    world.until_clean().await;
}

#[tokio::test(start_paused = true)]
async fn lost_answers_and_a_busy_api_server_create_nothing_twice() {
    let mut world = World::new();
    world.agent();
    world.cluster.faults().inject(Fault::lose_response().on(Verb::Create).of("pods").times(1));
    world.cluster.faults().inject(Fault::too_many_requests(2).on(Verb::Create).of("configmaps").times(2));
    world.cluster.faults().inject(Fault::fail(503).on(Verb::Create).of("persistentvolumeclaims").times(2));
    world.step_does("a", Script::new().line("once").exit(0));
    let workflow = world.run(workflow(vec![vec![step("a")]])).await;
    assert_eq!(workflow.state, State::Success, "{workflow:?}");
    assert_eq!(world.log(&workflow, "a"), ["once"]);
    world.until_clean().await;
}

#[tokio::test(start_paused = true)]
async fn what_the_cluster_refuses_is_told_in_its_words() {
    let mut world = World::new();
    world.agent();
    world.step_does("pull", Script::new().pull_fails("manifest unknown"));
    let workflow = world.run(workflow(vec![vec![step("pull")], vec![step("later")]])).await;
    assert_eq!(workflow.state, State::Failure);
    assert!(workflow.steps[0].error.contains("manifest unknown"), "{:?}", workflow.steps[0].error);
    world.until_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_step_that_is_tried_again_after_its_node_was_lost_has_a_log_of_both_attempts() {
    let mut world = World::new();
    world.agent();
    world.cluster.add_node(&NodeSettings::new("node-2"));
    world.step_does("again", Script::new().line("first").forever());
    let spec = StepSpec { max_attempts: 2, ..step("again") };
    let id = world.stub.submit(workflow(vec![vec![spec]]));
    tokio::time::sleep(Duration::from_secs(20)).await;
    let node = world.cluster.objects(Kind::Pod)[0]["spec"]["nodeName"].as_str().unwrap().to_owned();
    world.step_does("again", Script::new().line("second").exit(0));
    world.cluster.lose_node(&node);
    let workflow = world.stub.ended(&id).await;
    assert_eq!(workflow.state, State::Success, "{workflow:?}");
    let log = world.log(&workflow, "again");
    assert_eq!((log[0].as_str(), log.last().map(String::as_str)), ("first", Some("second")), "{log:#?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_killed_agent_left_is_removed_by_another_one_when_its_time_is_over() {
    const HOUR: Duration = Duration::from_secs(60 * 60);
    let mut world = World::of_today();
    let first = world.agent();
    world.step_does("long", Script::new().forever());
    let spec = WorkloadSpec { timeout_seconds: Some(600), ..workflow(vec![vec![step("long")]]) };
    world.stub.submit(spec);
    tokio::time::sleep(Duration::from_secs(30)).await;
    first.task.abort();
    first.network.cut();
    world.agent();
    tokio::time::sleep(HOUR / 2).await;
    assert!(!world.left().is_empty(), "its time may be over, but an hour of grace is not");
    tokio::time::sleep(HOUR * 4).await;
    assert_eq!(world.left(), [""; 0]);
}

#[expect(clippy::disallowed_methods, reason = "the agent's clock starts with the machine's time, too")]
#[tokio::test(start_paused = true)]
async fn a_workflow_that_had_to_wait_for_its_server_has_its_whole_time() {
    let before = jiff::Timestamp::now();
    let mut world = World::with(server_stub::stub::Stub::by_hand());
    world.agent();
    world.step_does("a", Script::new().forever());
    let session = world.stub.expect_session().await;
    session.stop_acking();
    let spec = WorkloadSpec { timeout_seconds: Some(600), ..workflow(vec![vec![step("a")]]) };
    session.assign(spec).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    session.resume_acking();
    while world.left().is_empty() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let anchors = world.cluster.objects(Kind::ConfigMap);
    let written = anchors.iter().find_map(|anchor| anchor["data"]["deadline"].as_str()).unwrap();
    let written: jiff::Timestamp = written.parse().unwrap();
    let time = written.duration_since(before).as_secs();
    assert!(time >= 4200 + 20, "ten minutes and an hour after it began, not after it was accepted: {time}");
}

#[tokio::test(start_paused = true)]
async fn what_an_agent_left_that_was_killed_at_any_moment_is_found_and_removed() {
    let mut seen = BTreeSet::new();
    for moment in 0..60 {
        let mut world = World::new();
        let agent = world.agent();
        world.step_does("a", Script::new().wait(Duration::from_millis(300)).exit(0));
        world.stub.submit(workflow(vec![vec![step("a")], vec![step("b")]]));
        // From before the anchor to after the last object.
        tokio::time::sleep(Duration::from_millis(50) * moment).await;
        agent.task.abort();
        seen.insert(world.left().len());
        let cluster = Cluster::new(world.cluster.client(), NAMESPACE, Limits::default());
        let later = Which::Over { now: "2199-01-01T00:00:00Z".parse().unwrap(), age: Duration::ZERO };
        for remains in cluster.remains(Places::OneNamespace, later).await.unwrap() {
            cluster.reap(&remains, Duration::from_secs(5)).await;
        }
        assert_eq!(world.left(), [""; 0], "killed after {} ms", 50 * moment);
    }
    assert!(seen.len() >= 3, "objects at the moments of death: {seen:?}");
}
