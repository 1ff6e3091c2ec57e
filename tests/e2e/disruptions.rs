//! Pods that somebody or something takes away while their step runs.

use std::time::Duration;

use piculet_core::id::WorkflowId;
use piculet_core::outcome::StepState::{Failure, Running};
use tokio::time::Instant;

use crate::acts::Acts;
use crate::told::told;
use crate::world::{World, ends, job, scenario};

/// A step that runs, and one that must not.
async fn begun(world: &World, acts: Acts) -> WorkflowId {
    let id = world.submit(vec![vec![job("long", acts.line("begins").forever())], vec![job("after", Acts::new())]]);
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
