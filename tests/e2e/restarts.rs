//! Parts of the cluster end and come back while a step runs. Nothing else may run then.

use std::time::Duration;

use piculet_core::outcome::StepState::{Running, Success};

use crate::acts::{Acts, numbered};
use crate::logs::has_all;
use crate::world::{World, ends, job, scenario_alone};

/// A step that prints all the time, for half a minute, and less than what one file of its log holds.
fn steady() -> Acts {
    (0..60).fold(Acts::new(), |acts, burst| {
        acts.lines(burst * 100..(burst + 1) * 100, 80).wait(Duration::from_millis(500))
    })
}

/// Lets something happen while a step prints, and looks that its log is whole and nothing else is told of it.
async fn survives(world: &mut World, what: &str, happens: impl AsyncFnOnce(&World)) {
    let Some(options) = world.site.on_breaking_node().await else { return };
    if !world.site.may_break() {
        return;
    }
    world.agent().await;
    let id = world.submit(vec![vec![job("steady", steady()).kubernetes(options)], vec![job("after", Acts::new())]]);
    world.until(&id, "steady", Running).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    happens(world).await;
    let ended = world.ended(&id).await;
    let expected: Vec<_> = (0..6_000).map(|number| numbered(number, 80)).collect();
    has_all(world, what, &id, "steady", &expected);
    assert_eq!(ends(&ended)["steady"], (Success, Some(0)));
    assert_eq!(ends(&ended)["after"], (Success, Some(0)));
}

#[test]
fn an_api_server_that_restarts_ends_nothing_and_loses_no_line() {
    scenario_alone("api-server-restarts", async |world| {
        survives(world, "the API server restarts", async |world| world.site.restart_api_server().await).await;
    });
}

#[test]
fn a_kubelet_that_restarts_ends_nothing_and_loses_no_line() {
    scenario_alone("kubelet-restarts", async |world| {
        survives(world, "the kubelet restarts", async |world| world.site.restart_kubelet().await).await;
    });
}
