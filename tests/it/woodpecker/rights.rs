//! With exactly the rights that the Woodpecker agent's manifest gives: verdicts and logs are the same, nothing is left,
//! and what the agent goes without is said at its start.

use std::time::Duration;

use fake_cluster::{Fault, Kind, Rule, Script, Verb};
use piculet_cluster::{Cluster, Limits, Places};
use piculet_pods::settings::Isolation;
use server_stub::woodpecker::State::{Failure, Killed, Running, Skipped, Success};
use server_stub::woodpecker::{Config, FailureMode, Job, QueueKind};

use super::world::{NAMESPACE, World, ends, job, workflow};

const USER: &str = "system:serviceaccount:woodpecker:woodpecker-agent";

/// A world whose agents have the Role of the Woodpecker agent, and what everybody has.
fn peers_world() -> World {
    peers_world_with(Config::default())
}

fn peers_world_with(config: Config) -> World {
    let mut world = World::with(config);
    let role = |resources: &[&str], verbs: &[&str]| Rule::new(resources, verbs).in_namespace(NAMESPACE);
    world.cluster.access().restrict(
        USER,
        vec![
            role(&["persistentvolumeclaims", "services", "secrets"], &["create", "delete"]),
            role(&["pods"], &["create", "delete", "get", "list", "watch"]),
            role(&["pods/log"], &["get"]),
            Rule::new(&["selfsubjectaccessreviews"], &["create"]).of_group("authorization.k8s.io"),
        ],
    );
    USER.clone_into(&mut world.user);
    world
}

/// A workflow with everything that needs a right: a workspace, a service, secrets, credentials for a registry.
fn everything(name: &str) -> server_stub::woodpecker::Compiled {
    let stages = [
        vec![Job::clone_repo()],
        vec![Job::service("db", "postgres").failure(FailureMode::Ignore)],
        vec![job("build").secret("TOKEN", "token", "s3cr3t-value").registry("ci", "password"), job("lint")],
        vec![job("test")],
        vec![job("after")],
    ];
    workflow(name, stages)
}

#[tokio::test(start_paused = true)]
async fn verdicts_and_logs_are_right_and_nothing_is_left() {
    let mut world = peers_world();
    world.agent();
    world.step_does("db", Script::new().line("up").forever().on_sigterm(Duration::ZERO, "bye\n", 0));
    world.step_does("build", Script::new().line("built").wait(Duration::from_secs(3)).line("done").exit(0));
    world.step_does("lint", Script::new().line("linted").exit(0));
    world.step_does("test", Script::new().line("tested").exit(7));
    let done = world.run(everything("peer")).await;
    assert_eq!((done.state, done.error.as_str()), (Failure, ""));
    assert_eq!(
        ends(&done),
        [
            ("clone", (Success, 0)),
            ("db", (Success, 0)),
            ("build", (Success, 0)),
            ("lint", (Success, 0)),
            ("test", (Failure, 7)),
            ("after", (Skipped, 0))
        ]
        .into()
    );
    assert_eq!(world.log(&done, "build"), ["built", "done"]);
    assert_eq!(world.log(&done, "db"), ["up", "bye"]);
    world.until_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_cancel_and_an_eviction_are_what_they_are() {
    let mut world = peers_world();
    world.agent();
    world.step_does("build", Script::new().line("begins").forever().on_sigterm(Duration::ZERO, "bye\n", 0));
    let id = world.server.submit(everything("cancel"));
    world.until(id, "build", Running).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.server.cancel(id);
    let done = world.server.ended(id).await;
    assert_eq!((done.state, ends(&done)["build"].0), (Killed, Killed));
    world.until_clean().await;

    let id = world.server.submit(everything("evicted"));
    world.until(id, "build", Running).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let pod = format!("wp-{}", world.server.workflow(id).step("build").unwrap().uuid.to_lowercase());
    world.cluster.evict(NAMESPACE, &pod, "low on disk").unwrap();
    let done = world.server.ended(id).await;
    assert_eq!((done.state, ends(&done)["build"].0), (Failure, Failure), "{done:?}");
    assert!(
        done.step("build").unwrap().error.contains("evicted") || done.step("build").unwrap().error.contains("deleted"),
        "{done:?}"
    );
    world.until_clean().await;
}

#[tokio::test(start_paused = true)]
async fn answers_that_get_lost_double_nothing_and_leave_nothing() {
    let mut world = peers_world();
    world.agent();
    // Created, and the answer never comes: what is there is taken for the workflow's own.
    for resource in ["persistentvolumeclaims", "services", "secrets", "pods"] {
        world.cluster.faults().inject(Fault::lose_response().on(Verb::Create).of(resource).times(1));
        world.cluster.faults().inject(Fault::fail(500).on(Verb::Delete).of(resource).times(2));
    }
    world.step_does("build", Script::new().line("built").exit(0));
    world.step_does("db", Script::new().forever());
    let done = world.run(everything("lost")).await;
    assert_eq!(done.state, Success, "{done:?}");
    assert_eq!(world.log(&done, "build"), ["built"]);
    world.until_clean().await;
    assert_eq!(world.cluster.objects(Kind::ConfigMap).len(), world.cluster.objects(Kind::Namespace).len());
}

#[tokio::test(start_paused = true)]
async fn what_another_agent_may_have_is_left_to_it() {
    let mut world = peers_world_with(Config { queue: QueueKind::Memory, ..Config::default() });
    let first = world.agent_with(|config| config.agent.max_workflows = 1);
    world.step_does("long", Script::new().wait(Duration::from_secs(300)).line("done").exit(0));
    let id = world.server.submit(workflow("other", [vec![job("long")]]));
    world.until(id, "long", Running).await;
    world.agent();
    // It can't be asked who has it: nobody could write that down.
    first.network.cut();
    world.server.expire_lease(id);
    tokio::time::sleep(Duration::from_secs(90)).await;
    first.network.mend();
    let done = world.server.ended(id).await;
    assert_eq!((done.agent, done.state), (2, Success), "{done:?}");
    assert_eq!(world.log(&done, "long"), ["done"]);
    world.until_clean().await;
}

#[tokio::test(start_paused = true)]
async fn what_the_agent_goes_without_is_said() {
    let world = peers_world();
    let cluster = Cluster::new(world.cluster.client_as(USER, NAMESPACE), NAMESPACE, Limits::default());
    let preflight = cluster.preflight(Places::OneNamespace, Isolation::Off).await.unwrap();
    assert!(preflight.is_sufficient(), "{:?} {:?}", preflight.missing().collect::<Vec<_>>(), preflight.obstacle);
    let said: Vec<_> = preflight.reduced().map(ToString::to_string).collect();
    insta::assert_snapshot!(said.join("\n"));
}
