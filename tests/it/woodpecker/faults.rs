//! What other agents get wrong, and this one must not: pods that vanish, calls that fail, servers that forget.

use std::time::Duration;

use fake_cluster::{Fault, Kind, Script, Verb};
use serde_json::json;
use server_stub::woodpecker::State::{Failure, Killed, Pending, Running, Success};
use server_stub::woodpecker::{Config, FailureMode, Job, Method, QueueKind};
use tonic::Status;

use super::world::{NAMESPACE, World, ends, job, workflow};

fn pod(world: &World, id: i64, step: &str) -> String {
    format!("wp-{}", world.server.workflow(id).step(step).unwrap().uuid.to_lowercase())
}

async fn delete(world: &World, pod: &str, grace: u32) {
    use kube::api::{Api, DeleteParams};
    let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(world.cluster.client(), NAMESPACE);
    pods.delete(pod, &DeleteParams::default().grace_period(grace)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_vanishes_is_no_success() {
    for grace in [0, 20] {
        let mut world = World::new();
        world.agent();
        world.step_does("build", Script::new().line("begins").forever().on_sigterm(Duration::ZERO, "", 0));
        let id = world.server.submit(workflow("vanish", [vec![job("build")], vec![job("after")]]));
        world.until(id, "build", Running).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        delete(&world, &pod(&world, id, "build"), grace).await;
        let done = world.server.ended(id).await;
        assert_eq!((done.state, ends(&done)["build"].0), (Failure, Failure), "{done:?}");
        assert!(done.step("build").unwrap().error.contains("deleted"), "{done:?}");
        assert_eq!(world.log(&done, "build")[0], "begins");
        world.until_clean().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_no_node_takes_ends_within_its_own_limit_and_says_why() {
    let mut world = World::new();
    world.agent_with(|config| config.limits.schedule = Duration::from_secs(120));
    let large = job("build").kubernetes(&json!({"resources": {"requests": {"memory": "900Gi"}}}));
    let id = world.server.submit(workflow("large", [vec![large]]));
    let done = world.server.ended(id).await;
    assert_eq!(done.state, Failure);
    assert!(done.finished - done.started < 300, "{done:?}");
    let build = done.step("build").unwrap();
    assert!(build.error.contains("no node takes its pod"), "{build:?}");
    assert!(world.log(&done, "build").iter().any(|line| line.contains("memory")), "the scheduler's words");
}

#[tokio::test(start_paused = true)]
async fn a_bad_option_fails_the_workflow_with_its_field() {
    let mut world = World::new();
    world.agent();
    let bad = job("build")
        .kubernetes(&json!({"resources": {"limits": {"memory": "lots"}}, "securityContext": {"runAsUser": "me"}}));
    let done = world.run(workflow("options", [vec![bad]])).await;
    assert_eq!(done.state, Failure);
    for words in ["step 'build'", "backend_options.kubernetes.resources.limits.memory", "securityContext.runAsUser"] {
        assert!(done.error.contains(words), "{words}: {}", done.error);
    }
    assert_eq!(world.cluster.objects(Kind::Pod).len(), 0, "it does not run without its options");
}

#[tokio::test(start_paused = true)]
async fn an_ignored_step_that_cannot_start_is_ignored() {
    let mut world = World::new();
    world.agent();
    world.step_does("lint", Script::new().pull_fails("no such image"));
    let done =
        world.run(workflow("ignored", [vec![job("lint").failure(FailureMode::Ignore)], vec![job("after")]])).await;
    assert_eq!(done.state, Success, "{done:?}");
    assert_eq!((ends(&done)["lint"].0, ends(&done)["after"].0), (Failure, Success));
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_fails_hides_no_exit_code_and_stops_no_other() {
    let mut world = World::new();
    world.agent();
    world.step_does("build", Script::new().exit(7));
    for resource in ["pods", "secrets", "services", "persistentvolumeclaims", "configmaps"] {
        world.cluster.faults().inject(Fault::fail(500).on(Verb::Delete).of(resource).times(6));
    }
    let stages = [vec![job("build").secret("TOKEN", "token", "s3cr3t-value").registry("ci", "password"), job("lint")]];
    let done = world.run(workflow("delete", stages)).await;
    assert_eq!(ends(&done), [("build", (Failure, 7)), ("lint", (Success, 0))].into());
    world.until_clean().await;
}

#[tokio::test(start_paused = true)]
async fn secrets_go_also_when_a_step_never_started() {
    let mut world = World::new();
    world.agent();
    let build = || job("build").secret("TOKEN", "token", "s3cr3t-value").registry("ci", "password");
    world.cluster.faults().inject(Fault::fail(403).on(Verb::Create).of("pods").times(1));
    assert_eq!(world.run(workflow("refused", [vec![build()]])).await.state, Failure);
    world.until_clean().await;
    world.step_does("build", Script::new().pull_fails("no such image"));
    assert_eq!(world.run(workflow("pull", [vec![build()]])).await.state, Failure);
    world.until_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_workflow_whose_own_objects_cannot_be_made_says_why() {
    let mut world = World::new();
    world.agent();
    world.cluster.faults().inject(Fault::fail(403).on(Verb::Create).of("persistentvolumeclaims").always());
    let done = world.run(workflow("setup", [vec![job("build")]])).await;
    assert_eq!(done.state, Failure);
    assert!(done.error.contains("could not be made"), "{done:?}");
    world.cluster.faults().clear();
    world.until_clean().await;
}

#[tokio::test(start_paused = true)]
async fn steps_go_on_while_the_server_is_away() {
    let mut world = World::new();
    let agent = world.agent();
    for name in ["a", "b", "c"] {
        world.step_does(name, Script::new().wait(Duration::from_secs(10)).line(name).exit(0));
    }
    let id = world.server.submit(workflow("away", [vec![job("a")], vec![job("b")], vec![job("c")]]));
    world.until(id, "a", Running).await;
    agent.network.cut_for(Duration::from_secs(120)).await;
    let done = world.server.ended(id).await;
    assert_eq!(done.state, Success);
    assert!(done.finished - done.started < 60, "three steps of ten seconds, whatever the server did: {done:?}");
    let c = done.step("c").unwrap();
    assert!((9..=12).contains(&(c.finished - c.started)), "times are those of the containers: {c:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_forgot_what_runs_takes_it_nevertheless_and_a_lease_that_ended_ends_nothing() {
    let mut world = World::new();
    world.agent();
    world.step_does("long", Script::new().wait(Duration::from_secs(200)).line("done").exit(0));
    let id = world.server.submit(workflow("forgotten", [vec![job("long")]]));
    world.until(id, "long", Running).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    world.server.forget_running();
    let done = world.server.ended(id).await;
    assert_eq!((done.state, world.log(&done, "long")), (Success, vec!["done".to_owned()]));

    let id = world.server.submit(workflow("expired", [vec![job("long")]]));
    world.until(id, "long", Running).await;
    assert!(world.server.expire_lease(id));
    assert_eq!(world.server.ended(id).await.state, Success);
}

#[tokio::test(start_paused = true)]
async fn a_workflow_that_is_handed_out_twice_runs_once_and_can_still_be_cancelled() {
    let mut world = World::with(Config { queue: QueueKind::Memory, ..Config::default() });
    world.agent();
    world.step_does("long", Script::new().wait(Duration::from_secs(100)).line("done").exit(0));
    let id = world.server.submit(workflow("twice", [vec![job("long")]]));
    world.until(id, "long", Running).await;
    assert!(world.server.expire_lease(id));
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(world.count(Method::Init), 1);
    let done = world.server.ended(id).await;
    assert_eq!((done.state, world.log(&done, "long")), (Success, vec!["done".to_owned()]));

    let id = world.server.submit(workflow("again", [vec![job("long")]]));
    world.until(id, "long", Running).await;
    assert!(world.server.expire_lease(id));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(world.server.cancel(id));
    assert_eq!(world.server.ended(id).await.state, Killed);
    world.until_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_workflow_that_another_agent_got_is_let_go() {
    let mut world = World::with(Config { queue: QueueKind::Memory, ..Config::default() });
    let first = world.agent_with(|config| config.agent.max_workflows = 1);
    world.step_does("long", Script::new().wait(Duration::from_secs(300)).line("done").exit(0));
    let id = world.server.submit(workflow("other", [vec![job("long")]]));
    world.until(id, "long", Running).await;
    // Its lease runs out while nobody hears of it, and somebody else is there.
    first.network.cut();
    world.agent_with(|config| config.pods.namespace = "elsewhere".to_owned());
    world.cluster.create_namespace("elsewhere");
    tokio::time::sleep(Duration::from_secs(90)).await;
    first.network.mend();
    let done = world.server.ended(id).await;
    assert_eq!(done.agent, 2);
    assert_eq!((done.state, world.log(&done, "long")), (Success, vec!["done".to_owned()]));
    world.until_clean().await;
}

#[tokio::test(start_paused = true)]
async fn what_another_agent_took_over_is_left_to_it() {
    let mut world = World::with(Config { queue: QueueKind::Memory, ..Config::default() });
    let first = world.agent_with(|config| config.agent.max_workflows = 1);
    world.step_does("long", Script::new().wait(Duration::from_secs(300)).line("done").exit(0));
    let id = world.server.submit(workflow("other", [vec![job("long")]]));
    world.until(id, "long", Running).await;
    first.network.cut();
    world.agent();
    tokio::time::sleep(Duration::from_secs(90)).await;
    first.network.mend();
    let done = world.server.ended(id).await;
    assert_eq!((done.agent, done.state), (2, Success), "{done:?}");
    assert_eq!(world.log(&done, "long"), ["done"]);
    world.until_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_workflow_that_goes_to_and_fro_is_gone_on_with_each_time() {
    let mut world = World::with(Config { queue: QueueKind::Memory, ..Config::default() });
    let first = world.agent_with(|config| config.agent.max_workflows = 1);
    world.step_does("long", Script::new().wait(Duration::from_secs(600)).line("done").exit(0));
    let id = world.server.submit(workflow("ball", [vec![job("long")]]));
    world.until(id, "long", Running).await;
    first.network.cut();
    let second = world.agent();
    for (on_the_way, comes_back) in [(&second, &first), (&first, &second), (&second, &first)] {
        tokio::time::sleep(Duration::from_secs(90)).await;
        assert_eq!(world.left().iter().filter(|object| object.starts_with("Pod/")).count(), 1, "{:?}", world.left());
        comes_back.network.mend();
        tokio::time::sleep(Duration::from_secs(30)).await;
        on_the_way.network.cut();
    }
    second.network.mend();
    let done = world.server.ended(id).await;
    assert_eq!((done.state, ends(&done)["long"]), (Success, (Success, 0)), "{done:?}");
    world.until_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_workflow_that_comes_back_while_it_is_being_stopped_can_be_cancelled() {
    let mut world = World::new();
    world.agent();
    world.step_does("long", Script::new().forever().on_sigterm(Duration::from_secs(15), "bye\n", 0));
    let id = world.server.submit(workflow("back", [vec![job("long")]]));
    world.until(id, "long", Running).await;
    world.server.refuse(Method::Extend, &Status::unknown("task assigned to different agent"), 1);
    // It is let go with the next renewal, and takes its time to end.
    tokio::time::sleep(Duration::from_secs(25)).await;
    world.server.hand_out_again(id);
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(world.count(Method::Init), 2);
    assert_eq!(world.left().iter().filter(|object| object.starts_with("Pod/")).count(), 1, "{:?}", world.left());
    assert!(world.server.cancel(id));
    assert_eq!(world.server.ended(id).await.state, Killed);
    world.until_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_workflow_that_is_let_go_before_its_objects_are_there_leaves_none() {
    let mut world = World::new();
    world.agent();
    world.cluster.faults().inject(Fault::delay(Duration::from_secs(25)).on(Verb::Create).of("persistentvolumeclaims"));
    world.server.refuse(Method::Extend, &Status::unknown("task assigned to different agent"), 1);
    let id = world.server.submit(workflow("early", [vec![job("build")]]));
    world.until_workflow(id, Running).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    world.until_clean().await;
    assert_eq!(world.server.workflow(id).step("build").unwrap().state, Pending);
}

#[tokio::test(start_paused = true)]
async fn a_workflow_that_is_let_go_while_its_objects_are_refused_leaves_none() {
    let mut world = World::new();
    world.agent();
    world.cluster.faults().inject(Fault::delay(Duration::from_secs(25)).on(Verb::Create).of("configmaps"));
    world.cluster.faults().inject(Fault::fail(422).on(Verb::Create).of("persistentvolumeclaims").always());
    world.server.refuse(Method::Extend, &Status::unknown("task assigned to different agent"), 1);
    let id = world.server.submit(workflow("early", [vec![job("build")]]));
    world.until_workflow(id, Running).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    world.until_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_step_that_never_ran_is_no_success_whatever_ends_it() {
    let waits = || job("build").kubernetes(&json!({"resources": {"requests": {"memory": "900Gi"}}}));
    for end in ["a cancel", "a time limit", "a shutdown", "another step"] {
        let mut world = World::new();
        let agent = world.agent();
        world.step_does("bad", Script::new().wait(Duration::from_secs(60)).exit(3));
        let mut jobs = vec![waits()];
        if end == "another step" {
            jobs.push(job("bad").failure(FailureMode::Cancel));
        }
        let submission = server_stub::woodpecker::Submission::from(workflow("waits", [jobs])).timeout(2);
        let id = world.server.submit(submission);
        tokio::time::sleep(Duration::from_secs(50)).await;
        match end {
            "a cancel" => assert!(world.server.cancel(id)),
            "a shutdown" => agent.shutdown.drain.cancel(),
            _ => {}
        }
        let done = world.server.ended(id).await;
        let build = done.step("build").unwrap();
        assert_eq!((done.state, build.state), (Killed, Killed), "{end}: {done:?}");
        assert!(!build.error.is_empty(), "{end}: {done:?}");
        assert!(!world.log(&done, "build").is_empty(), "its log says for what it waited");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_stops_everything_is_a_cancel() {
    let mut world = World::new();
    world.agent();
    world.step_does("bad", Script::new().wait(Duration::from_secs(10)).exit(3));
    world.step_does("long", Script::new().forever());
    let bad = || job("bad").failure(FailureMode::Cancel);
    for (name, stages) in [
        ("alone", vec![vec![bad()]]),
        ("beside", vec![vec![bad(), job("long")], vec![job("after")]]),
        ("before", vec![vec![bad()], vec![job("after")]]),
    ] {
        let compiled =
            stages.into_iter().fold(server_stub::woodpecker::Compiled::new(name), |all, stage| all.then(stage));
        let done = world.run(compiled).await;
        assert_eq!((done.state, ends(&done)["bad"]), (Killed, (Failure, 3)), "{name}: {done:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_server_costs_no_step_its_end() {
    let mut world = World::new();
    world.agent();
    world.step_does("build", Script::new().line("x").exit(7));
    for method in [Method::Init, Method::Update, Method::Log, Method::Done] {
        world.server.refuse(method, &Status::unknown("database is locked"), 2);
        world.server.refuse(method, &Status::unavailable("bad gateway"), 2);
    }
    let done = world.run(workflow("locked", [vec![job("build")], vec![job("after")]])).await;
    assert_eq!((done.state, ends(&done)["build"]), (Failure, (Failure, 7)));
    assert_eq!(world.log(&done, "build"), ["x"]);
}

#[tokio::test(start_paused = true)]
async fn a_step_whose_end_the_server_never_takes_makes_no_success() {
    let mut world = World::new();
    world.agent();
    world.step_does("build", Script::new().exit(7));
    let id = world.server.submit(workflow("never", [vec![job("build")]]));
    world.until(id, "build", Running).await;
    world.server.refuse(Method::Update, &Status::unknown("disk full"), 1000);
    let done = world.server.ended(id).await;
    assert_eq!(done.state, Failure, "{done:?}");
    assert!(done.error.contains("did not take"), "{done:?}");
}

#[tokio::test(start_paused = true)]
async fn a_large_workflow_arrives() {
    let mut world = World::new();
    world.agent();
    let stages = (0..60).map(|n| {
        let env = format!("{n}");
        vec![(0..9).fold(job(&format!("step-{n}")), |job, m| job.env(&format!("LARGE_{m}"), &env.repeat(10_000)))]
    });
    let compiled = stages.fold(server_stub::woodpecker::Compiled::new("large"), |compiled, jobs| compiled.then(jobs));
    assert!(compiled.to_json().len() > 5 << 20);
    let done = world.run(compiled).await;
    assert_eq!(done.state, Success, "{}", done.error);
}

#[tokio::test(start_paused = true)]
async fn organisations_have_namespaces_of_their_own() {
    let mut world = World::new();
    world.agent_with(|config| config.pods.namespace_per_organization = true);
    world.step_does("build", Script::new().wait(Duration::from_secs(30)).line("built").exit(0));
    let ids = ["a", "b"].map(|name| {
        let stages = [vec![Job::service("db", "postgres").failure(FailureMode::Ignore)], vec![job("build")]];
        world.server.submit(workflow(name, stages))
    });
    world.step_does("db", Script::new().forever());
    world.until(ids[0], "build", Running).await;
    let pods = world.cluster.objects(Kind::Pod);
    assert!(!pods.is_empty());
    for pod in &pods {
        assert_eq!(pod["metadata"]["namespace"], "woodpecker-3");
        let search = pod["spec"]["dnsConfig"]["searches"][0].as_str().unwrap();
        assert!(search.ends_with(".woodpecker-3.svc.cluster.local"), "{search}");
    }
    for id in ids {
        let done = world.server.ended(id).await;
        assert_eq!((done.state, world.log(&done, "build")), (Success, vec!["built".to_owned()]));
    }
    world.until_clean().await;
    assert!(world.cluster.object(Kind::Namespace, "", "woodpecker-3").is_some(), "it is never deleted");
}
