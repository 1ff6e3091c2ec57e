//! Whole workflows, from the server to the cluster and back.

use std::collections::BTreeSet;
use std::time::Duration;

use fake_cluster::{Fault, Kind, Script, Verb};
use piculet_core::outcome::StepState::{Canceled, Failure, Killed, Skipped, Success};
use piculet_core::workload::{FailurePolicy, StepKind, StepSpec, WorkloadSpec};
use server_stub::dispatch::State;
use server_stub::mailbox::Stop;

use crate::world::{World, ends, expected, step, workflow};

#[tokio::test(start_paused = true)]
async fn a_workflow_of_everything_ends_as_it_should() {
    let mut world = World::new();
    world.agent();
    world.step_does("flaky", Script::new().line("this time it fails").exit(7));
    world.step_does("db", Script::new().line("ready").forever().on_sigterm(Duration::from_millis(100), "bye\n", 0));
    world.step_does("broken", Script::new().exit(3));
    let db = StepSpec { kind: StepKind::Service, failure: FailurePolicy::Ignore, ..step("db") };
    let flaky = StepSpec { failure: FailurePolicy::Ignore, ..step("flaky") };
    let notify = StepSpec { on_success: false, on_failure: true, ..step("notify") };
    let stages = vec![
        vec![db],
        vec![step("unit"), step("lint"), flaky],
        vec![step("after")],
        vec![step("broken")],
        vec![step("never")],
        vec![notify],
    ];
    let workflow = world.run(workflow(stages)).await;
    let steps = [
        ("db", Success, None),
        ("unit", Success, Some(0)),
        ("lint", Success, Some(0)),
        ("flaky", Failure, Some(7)),
        ("after", Success, Some(0)),
        ("broken", Failure, Some(3)),
        ("never", Skipped, None),
        ("notify", Success, Some(0)),
    ];
    assert_eq!(ends(&workflow), expected(&steps));
    assert_eq!(workflow.state, State::Failure);
    assert_eq!(world.log(&workflow, "flaky"), ["this time it fails"]);
    assert_eq!(world.log(&workflow, "db"), ["ready", "bye"], "the service's last words arrive");
    world.until_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_workflow_stops_its_steps_and_keeps_their_last_words() {
    let mut world = World::new();
    world.agent();
    let long = Script::new().line("begins").forever().on_sigterm(Duration::from_secs(2), "cleaning up\n", 143);
    world.step_does("long", long);
    let id = world.stub.submit(workflow(vec![vec![step("long")], vec![step("later")]]));
    tokio::time::sleep(Duration::from_secs(30)).await;
    let stop = Stop { reason: "alice does not want it".to_owned(), grace: None };
    world.stub.server().cancel(&id, stop).unwrap();
    let workflow = world.stub.ended(&id).await;
    assert_eq!(workflow.state, State::Killed);
    assert_eq!(ends(&workflow), expected(&[("long", Killed, None), ("later", Canceled, None)]));
    let log = world.log(&workflow, "long");
    assert_eq!(log[..2], ["begins", "cleaning up"], "{log:?}");
    assert!(workflow.steps[0].error.contains("alice does not want it"), "{:?}", workflow.steps[0]);
    world.until_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_workflow_that_takes_too_long_is_killed_and_says_so() {
    let mut world = World::new();
    world.agent();
    world.step_does("long", Script::new().forever());
    let spec = WorkloadSpec { timeout_seconds: Some(90), ..workflow(vec![vec![step("long")]]) };
    let workflow = world.run(spec).await;
    assert_eq!(workflow.state, State::Killed);
    assert_eq!(workflow.error, "The workflow took longer than its time limit of 90 s.");
    assert_eq!(ends(&workflow), expected(&[("long", Killed, None)]));
}

#[tokio::test(start_paused = true)]
async fn placement_follows_labels() {
    let mut world = World::new();
    world.agent_with(|config| config.agent.labels = [("team".to_owned(), "web".to_owned())].into());
    world.agent_with(|config| config.agent.labels = [("team".to_owned(), "db".to_owned())].into());
    let labelled = |team: &str| WorkloadSpec {
        labels: [("team".to_owned(), team.to_owned())].into(),
        ..workflow(vec![vec![step("a")]])
    };
    for (team, agent) in [("web", "agent-1"), ("db", "agent-2"), ("web", "agent-1")] {
        let workflow = world.run(labelled(team)).await;
        assert_eq!(workflow.agent.as_deref(), Some(agent), "a workflow with team={team}");
    }
    let nobody = world.stub.submit(labelled("ops"));
    tokio::time::sleep(Duration::from_secs(60)).await;
    let waiting = world.stub.workflow(&nobody);
    assert_eq!(waiting.state, State::Pending);
    assert_eq!(waiting.waiting.len(), 2, "it says for each agent why: {:?}", waiting.waiting);
}

#[tokio::test(start_paused = true)]
async fn a_drained_agent_finishes_what_it_has_and_takes_no_more() {
    let mut world = World::new();
    let agent = world.agent();
    world.step_does("slow", Script::new().wait(Duration::from_secs(300)).line("done").exit(0));
    let running = world.stub.submit(workflow(vec![vec![step("slow")]]));
    tokio::time::sleep(Duration::from_secs(10)).await;
    agent.shutdown.drain.cancel();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let waiting = world.stub.submit(workflow(vec![vec![step("other")]]));
    assert_eq!(world.stub.ended(&running).await.state, State::Success);
    agent.task.await.unwrap().unwrap();
    assert_eq!(world.stub.workflow(&waiting).state, State::Pending);
    assert_eq!(world.left(), Vec::<String>::new(), "the agent ended only after it had cleaned up");
}

#[tokio::test(start_paused = true)]
async fn a_cancel_at_any_moment_ends_the_workflow_and_leaves_nothing() {
    let mut stages = BTreeSet::new();
    for moment in 0..60 {
        let mut world = World::new();
        world.agent();
        // Or all creation would fall into one moment.
        world.cluster.faults().inject(Fault::delay(Duration::from_millis(25)).on(Verb::Create).always());
        world
            .runtime
            .on_all(Script::new().starts_after(Duration::from_millis(20)).wait(Duration::from_millis(70)).exit(0));
        let db = StepSpec { kind: StepKind::Service, ..step("db") };
        let id = world.stub.submit(workflow(vec![vec![db], vec![step("a"), step("b")], vec![step("c")]]));
        tokio::time::sleep(Duration::from_millis(moment * 10)).await;
        let stop = Stop { reason: "a test".to_owned(), grace: Some(Duration::from_secs(1)) };
        // Late ones come when the workflow is over, which is said.
        let over = world.stub.server().cancel(&id, stop).is_err();
        let pods = world.cluster.objects(Kind::Pod).len();
        stages.insert((world.left().len() - pods, pods));
        let workflow = world.stub.ended(&id).await;
        assert_eq!(workflow.state == State::Success, over, "at {} ms: {workflow:?}", moment * 10);
        assert!(workflow.steps.iter().all(|step| step.state.is_final()), "at {} ms: {workflow:?}", moment * 10);
        world.until_clean().await;
    }
    // Nothing yet; the anchor; what it owns, one after the other; and then from pod to pod.
    let expected = [(0, 0), (1, 0), (2, 0), (3, 0), (3, 1), (3, 3), (3, 4)];
    assert!(expected.iter().all(|stage| stages.contains(stage)), "{stages:?}");
}
