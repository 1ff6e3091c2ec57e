//! Pods that somebody or something takes away while their step runs.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use piculet_core::id::WorkflowId;
use piculet_core::outcome::StepState::{Failure, Running};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::acts::Acts;
use crate::told::told;
use crate::world::{World, ends, job, scenario, scenario_alone};

/// A step that runs, and one that must not.
async fn begun(world: &World, acts: Acts) -> WorkflowId {
    begun_with(world, acts, json!({})).await
}

/// The same with these options.
async fn begun_with(world: &World, acts: Acts, options: Value) -> WorkflowId {
    let long = job("long", acts.line("begins").forever()).kubernetes(options);
    let id = world.submit(vec![vec![long], vec![job("after", Acts::new())]]);
    world.until_line(&id, "long", "begins").await;
    world.until(&id, "long", Running).await;
    id
}

/// How it ended: failed, by this class, and the next step did not run.
async fn ended(world: &World, id: &WorkflowId, cause: &str, since: Instant, class: &str) {
    let ended = world.ended(id).await;
    told(world, cause, since, &world.step(&ended, "long"), &world.log(id, "long"), class);
    assert_eq!(ends(&ended)["long"].0, Failure);
    assert_eq!(world.step(&ended, "after").state.as_str(), "skipped");
    assert_eq!(world.log(id, "after").len(), 0);
}

#[test]
fn a_pod_that_somebody_deletes_is_no_success() {
    scenario("deleted", async |world| {
        world.agent().await;
        for (cause, acts, grace) in [
            ("deleted gently", Acts::new(), None),
            ("deleted gently, exits with 0", Acts::new().on_sigterm(Duration::from_secs(1), "last words", 0), None),
            ("deleted by force", Acts::new(), Some(Duration::ZERO)),
        ] {
            let id = begun(world, acts).await;
            let since = Instant::now();
            world.site.delete_pod("long", grace).await;
            ended(world, &id, cause, since, "pod-deleted").await;
            if cause.ends_with("with 0") {
                assert!(world.log(&id, "long").iter().any(|line| line == "last words"));
            }
        }
    });
}

#[test]
fn a_pod_that_is_evicted_is_no_success() {
    scenario("evicted", async |world| {
        world.agent().await;
        for (cause, acts) in [
            ("evicted by the API", Acts::new()),
            ("evicted by the API, exits with 0", Acts::new().on_sigterm(Duration::from_secs(1), "last words", 0)),
        ] {
            let id = begun(world, acts).await;
            let since = Instant::now();
            world.site.evict_pod("long").await;
            ended(world, &id, cause, since, "evicted").await;
        }
    });
}

#[test]
fn a_pod_that_makes_room_for_another_is_no_success() {
    scenario("preempted", async |world| {
        let Some(mut options) = world.site.on_breaking_node().await else { return };
        let cpu = world.site.more_than_half().await;
        options["resources"] = json!({"requests": {"cpu": cpu}});
        world.agent().await;
        for (cause, acts) in [
            ("preempted", Acts::new()),
            ("preempted, exits with 0", Acts::new().on_sigterm(Duration::from_secs(1), "last words", 0)),
        ] {
            let id = begun_with(world, acts, options.clone()).await;
            let since = Instant::now();
            world.site.preempt("long", &cpu).await;
            ended(world, &id, cause, since, "preempted").await;
            world.site.take_away_what_preempted().await;
        }
    });
}

#[test]
fn a_pod_that_writes_more_than_it_may_is_no_success() {
    scenario("disk", async |world| {
        world.agent().await;
        let limit = json!({"resources": {"limits": {"ephemeral-storage": "4Mi"}}});
        let id = begun_with(world, Acts::new().fill(40), limit).await;
        let since = Instant::now();
        let says = "Pod ephemeral local storage usage exceeds the total limit of containers 4Mi. ";
        world.site.evict_by_kubelet("long", says).await;
        ended(world, &id, "evicted by the kubelet", since, "evicted").await;
        let log = world.log(&id, "long");
        assert!(log.iter().any(|line| line.contains("exceeds the total limit of containers 4Mi")), "{log:#?}");
    });
}

#[test]
fn a_pod_whose_node_is_silent_is_no_success() {
    scenario_alone("node-lost", async |world| {
        let Some(mut options) = world.site.on_breaking_node().await else { return };
        if !world.site.may_break() {
            return;
        }
        let soon = json!({
            "key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5,
        });
        options["tolerations"] =
            options["tolerations"].as_array().into_iter().flatten().cloned().chain([soon]).collect();
        world.agent().await;
        let id = begun_with(world, Acts::new(), options).await;
        let since = Instant::now();
        world.site.lose_node().await;
        let ended = AssertUnwindSafe(ended(world, &id, "node gone", since, "node-lost")).catch_unwind().await;
        world.site.restore_node().await;
        if let Err(panic) = ended {
            std::panic::resume_unwind(panic);
        }
    });
}
