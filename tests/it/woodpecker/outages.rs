//! Broken connections and restarted servers, in the middle of a workflow.

use std::time::Duration;

use fake_cluster::Script;
use server_stub::woodpecker::State::{Running, Success};

use super::world::{World, ends, job, workflow};

/// A step that says something every half second for this many seconds.
fn talks(seconds: usize) -> Script {
    (0..2 * seconds).fold(Script::new(), |script, n| script.line(&format!("line {n}")).wait(Duration::from_millis(500)))
}

async fn survives(what: &str, disturb: impl AsyncFnOnce(&World, &super::world::Running)) {
    let mut world = World::new();
    let agent = world.agent();
    world.step_does("talk", talks(400).exit(0));
    world.step_does("quick", Script::new().line("quick").exit(0));
    let id = world.server.submit(workflow(what, [vec![job("talk"), job("quick")], vec![job("after")]]));
    world.until(id, "talk", Running).await;
    // Longer than the retry timeout of the Woodpecker agent, whose budget would be used up by now.
    tokio::time::sleep(Duration::from_secs(150)).await;
    disturb(&world, &agent).await;
    let done = world.server.ended(id).await;
    assert_eq!((done.state, done.error.as_str()), (Success, ""), "{what}");
    assert_eq!(
        ends(&done),
        [("talk", (Success, 0)), ("quick", (Success, 0)), ("after", (Success, 0))].into(),
        "{what}"
    );
    let expected: Vec<_> = (0..800).map(|n| format!("line {n}")).collect();
    assert_eq!(world.log(&done, "talk"), expected, "{what}");
    assert_eq!(world.log(&done, "quick"), ["quick"], "{what}");
    assert!(!agent.task.is_finished());
    world.until_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_for_5_s_changes_nothing() {
    survives("5 s", async |_, agent| agent.network.cut_for(Duration::from_secs(5)).await).await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_for_3_min_changes_nothing() {
    survives("3 min", async |_, agent| agent.network.cut_for(Duration::from_secs(180)).await).await;
}

#[tokio::test(start_paused = true)]
async fn a_network_that_swallows_everything_for_3_min_changes_nothing() {
    survives("frozen", async |_, agent| {
        agent.network.freeze();
        tokio::time::sleep(Duration::from_secs(180)).await;
        agent.network.mend();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_restarts_with_another_secret_changes_nothing() {
    survives("restart", async |world, _| world.server.restart()).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_restarts_after_3_min_changes_nothing() {
    survives("restart after an outage", async |world, agent| {
        agent.network.cut();
        tokio::time::sleep(Duration::from_secs(180)).await;
        world.server.restart();
        agent.network.mend();
    })
    .await;
}
