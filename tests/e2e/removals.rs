//! Somebody takes away what workflows run by: the namespace of their steps, that of their agents, or the chart.
//!
//! The agent has to be in the cluster for that.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, PersistentVolumeClaim, Pod, Secret, Service};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use piculet::commands::{self, Wish};
use piculet_core::id::WorkflowId;
use piculet_core::outcome::StepState::{Running, Success};
use serde_json::json;
use tokio::time::Instant;

use crate::acts::Acts;
use crate::inside::Inside;
use crate::rights::{disown, service, with_secret};
use crate::told::{told, told_within};
use crate::world::{World, ends, job, scenario, skip};

/// Where the agents are.
fn inside(world: &World) -> &Inside {
    world.inside.as_ref().unwrap_or_else(|| skip("the agent has to be in the cluster: PICULET_E2E=inside"))
}

/// An agent that doesn't read the log for long of a pod that nobody ends.
async fn agent(world: &mut World) {
    inside(world);
    world.agent_set(json!({"limits": {"log": "10s"}})).await;
}

/// A step that runs, and one that must not.
async fn begun(world: &World) -> WorkflowId {
    let long = job("long", Acts::new().line("begins").forever());
    let id = world.submit(vec![vec![long], vec![job("after", Acts::new())]]);
    world.until_line(&id, "long", "begins").await;
    world.until(&id, "long", Running).await;
    id
}

/// How it ended: by this class, and the next step did not run.
async fn ended(world: &World, id: &WorkflowId, cause: &str, since: Instant, class: &str) {
    let ended = world.ended(id).await;
    told(world, cause, since, &world.step(&ended, "long"), &world.log(id, "long"), class);
    assert_eq!(world.log(id, "after").len(), 0);
}

async fn delete_namespace(world: &World, name: &str) {
    Api::<Namespace>::all(world.site.client()).delete(name, &DeleteParams::default()).await.unwrap();
}

async fn until_namespace_gone(world: &World, name: &str) {
    let namespaces = Api::<Namespace>::all(world.site.client());
    let is_gone = async || namespaces.get_opt(name).await.unwrap().is_none().then_some(());
    world.wait_for(&format!("the namespace {name} to go"), is_gone).await;
}

async fn until_agents_gone(world: &World) {
    let pods = inside(world).pods();
    let are_gone = async || pods.list(&ListParams::default()).await.unwrap().items.is_empty().then_some(());
    world.wait_for("the agents' pods to go", are_gone).await;
}

/// What a person does who has all rights.
async fn reap_all(world: &World) -> String {
    let mut said = Vec::new();
    let wish = Wish { dry_run: false, all: true, age: Duration::ZERO, retire: None };
    commands::reap(&world.site.config(), &wish, &mut said).await.unwrap();
    String::from_utf8(said).unwrap()
}

#[test]
fn the_namespace_of_the_steps() {
    scenario("steps-go", async |world| {
        agent(world).await;
        let id = begun(world).await;
        let since = Instant::now();
        delete_namespace(world, world.site.namespace()).await;
        ended(world, &id, "the steps' namespace deleted", since, "pod-deleted").await;
        until_namespace_gone(world, world.site.namespace()).await;
    });
}

/// The pods of a namespace go before the rights that they have (from Kubernetes 1.33 on), and an agent's pod has the time that
/// it drains for.
#[test]
fn the_namespace_of_the_agents() {
    scenario("agents-go", async |world| {
        inside(world);
        world.agent_set(json!({"shutdown": {"drain_timeout": "30s"}})).await;
        let works = job("long", Acts::new().line("begins").wait(Duration::from_secs(10)));
        let id = world.submit(vec![vec![works], vec![job("after", Acts::new())]]);
        world.until_line(&id, "long", "begins").await;
        let agents = inside(world).namespace.clone();
        delete_namespace(world, &agents).await;
        let ended = world.ended(&id).await;
        assert_eq!(ends(&ended)["long"], (Success, Some(0)), "{ended:#?}");
        assert_eq!(ends(&ended)["after"], (Success, Some(0)), "{ended:#?}");
        world.until_clean().await;
        until_namespace_gone(world, &agents).await;
    });
}

#[test]
fn the_namespace_of_agents_that_have_more_to_do_than_time() {
    scenario("too-late", async |world| {
        inside(world);
        world.forget_agents_after(Duration::from_secs(20));
        world.agent_set(json!({"shutdown": {"drain_timeout": "5s"}})).await;
        let id = begun(world).await;
        let agents = inside(world).namespace.clone();
        delete_namespace(world, &agents).await;
        let ended = world.ended(&id).await;
        println!(
            "| {} | the agents' namespace deleted, and no time left | {:?} | {} |",
            world.site.kind(),
            ended.state,
            ended.error
        );
        assert!(ended.error.contains("went away with the workflow"), "{ended:#?}");
        assert_ne!(world.step(&ended, "long").state, Success);
        until_namespace_gone(world, &agents).await;
        // Nobody was there any more to take it away.
        assert!(world.site.left().await.iter().any(|object| object.starts_with("Pod/")));
        assert!(reap_all(world).await.contains("Pod '"));
    });
}

#[test]
fn the_chart() {
    scenario("chart-goes", async |world| {
        agent(world).await;
        let id = begun(world).await;
        let since = Instant::now();
        let release = inside(world).release();
        inside(world).helm(&["uninstall", &release]).await.unwrap();
        ended(world, &id, "the chart uninstalled", since, "pod-deleted").await;
        until_agents_gone(world).await;
        assert_eq!(world.site.left().await, [""; 0], "the hook has removed it all");
    });
}

#[test]
fn a_release_without_its_hook() {
    scenario("no-hook", async |world| {
        agent(world).await;
        let id = begun(world).await;
        let since = Instant::now();
        let release = inside(world).release();
        inside(world).helm(&["uninstall", &release, "--no-hooks"]).await.unwrap();
        // The watch that is open lasts a minute; who is refused a new one waits for 30 s more.
        let ended = world.ended(&id).await;
        let step = world.step(&ended, "long");
        let (most, cause) = (Duration::from_secs(150), "the chart uninstalled, without hooks");
        told_within(most, world, cause, since, &step, &world.log(&id, "long"), "cancelled");
        until_agents_gone(world).await;
        reap_all(world).await;
    });
}

#[test]
fn what_a_killed_agent_left_goes_by_the_cron_job() {
    scenario("cron-job", async |world| {
        inside(world);
        // It has a second to end, and so is killed.
        let values = json!({"reap": {"schedule": "0 0 1 1 *"}, "terminationGracePeriodSeconds": 1});
        world.agent_of(json!({}), values).await;
        let long = with_secret(job("long", Acts::new().line("begins").forever()));
        let id = world.submit(vec![vec![service("db"), long]]);
        world.until_line(&id, "long", "begins").await;
        world.until(&id, "db", Running).await;
        let (client, agents) = (world.site.client(), inside(world).namespace.clone());
        let name = format!("{}-piculet", inside(world).release());
        let none = Patch::Merge(json!({"spec": {"replicas": 0}}));
        let deployments = Api::<Deployment>::namespaced(client.clone(), &agents);
        deployments.patch(&name, &PatchParams::default(), &none).await.unwrap();
        until_agents_gone(world).await;

        // Its time would be over in hours.
        let anchors = world.site.api::<ConfigMap>();
        let anchor = anchors.list(&ListParams::default().labels(&piculet_pods::label::selector())).await.unwrap();
        let [anchor] = &anchor.items[..] else { panic!("{} anchors", anchor.items.len()) };
        let over = Patch::Merge(json!({"data": {"deadline": "2001-01-01T00:00:00Z"}}));
        anchors.patch(&anchor.name_any(), &PatchParams::default(), &over).await.unwrap();

        // With the anchor everything else would go by itself.
        disown::<Pod>(world).await;
        disown::<Secret>(world).await;
        disown::<Service>(world).await;
        disown::<PersistentVolumeClaim>(world).await;
        let crons = Api::<CronJob>::namespaced(client.clone(), &agents);
        let template = crons.get(&format!("{name}-reap")).await.unwrap().spec.unwrap().job_template.spec;
        let now = serde_json::from_value(json!({"metadata": {"name": "now"}, "spec": template})).unwrap();
        let jobs = Api::<Job>::namespaced(client, &agents);
        jobs.create(&PostParams::default(), &now).await.unwrap();
        let succeeded = async || {
            let status = jobs.get("now").await.unwrap().status.unwrap_or_default();
            assert_eq!(status.failed.unwrap_or_default(), 0, "the Job failed");
            status.succeeded.filter(|count| *count > 0)
        };
        world.wait_for("the Job of the CronJob", succeeded).await;
        assert_eq!(world.site.left().await, [""; 0]);
    });
}
