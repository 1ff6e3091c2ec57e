//! Connections and servers that break while a workflow runs.

use std::time::Duration;

use piculet_core::outcome::{StepState, WorkflowState};
use piculet_link::supervisor::Directive;

use crate::agent::{Agent, Work};
use crate::side::Side;

/// Talks for a while, and lets something happen in the middle of it.
async fn survives<S: Side>(disturb: impl AsyncFnOnce(&mut S)) {
    let mut side = S::start();
    let mut agent = Agent::start(&side, 2);
    let id = side.submit("survives");
    let mut work = agent.accepted().await;
    work.begin("build").await;
    talk(&mut work, "build", 300).await;
    work.begin("test").await;
    let disturbing = disturb(&mut side);
    let talking = async {
        talk(&mut work, "build", 300).await;
        talk(&mut work, "test", 300).await;
        work.exit("test", 3).await;
        talk(&mut work, "build", 300).await;
        work.exit("build", 0).await;
        work.finish(WorkflowState::Failure, "").await;
    };
    tokio::join!(disturbing, talking);
    assert_eq!(agent.directive().await, Directive::Concluded(work.key.clone()), "nothing else was asked for");
    let shown = side.ended(&id).await;
    assert_eq!(shown.state, Some(WorkflowState::Failure));
    assert_eq!(shown.steps, [(StepState::Success, Some(0)), (StepState::Failure, Some(3))]);
    for step in ["build", "test"] {
        assert_eq!(side.log(&id, step), work.said(step));
    }
    // And there is work again.
    side.submit("next");
    agent.accepted().await;
}

/// So many lines, one each tenth of a second.
async fn talk(work: &mut Work, step: &str, lines: usize) {
    for n in 0..lines {
        work.say(step, &format!("{step} {n}")).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

pub(crate) async fn a_connection_that_breaks_for_5_s_loses_and_doubles_nothing<S: Side>() {
    survives(async |side: &mut S| side.wire().network().cut_for(Duration::from_secs(5)).await).await;
}

pub(crate) async fn a_connection_that_breaks_for_3_min_loses_and_doubles_nothing<S: Side>() {
    survives(async |side: &mut S| side.wire().network().cut_for(Duration::from_secs(180)).await).await;
}

pub(crate) async fn a_connection_that_breaks_again_and_again_loses_and_doubles_nothing<S: Side>() {
    survives(async |side: &mut S| {
        for n in 0..40_u64 {
            side.wire().network().cut_for(Duration::from_millis(37 * n)).await;
            tokio::time::sleep(Duration::from_millis(1009)).await;
        }
    })
    .await;
}

pub(crate) async fn a_network_that_swallows_everything_is_noticed<S: Side>() {
    survives(async |side: &mut S| {
        let network = side.wire().network();
        network.freeze();
        tokio::time::sleep(Duration::from_secs(75)).await;
        network.mend();
    })
    .await;
}

pub(crate) async fn a_server_that_restarts_goes_on_where_it_was<S: Side>() {
    survives(async |side: &mut S| {
        tokio::time::sleep(Duration::from_secs(7)).await;
        side.restart();
    })
    .await;
}

pub(crate) async fn what_is_reported_without_a_server_arrives_when_there_is_one<S: Side>() {
    survives(async |side: &mut S| {
        let network = side.wire().network();
        network.cut();
        // Longer than everything that is reported takes.
        tokio::time::sleep(Duration::from_secs(200)).await;
        network.mend();
    })
    .await;
}

pub(crate) async fn credentials_that_turn_wrong_are_waited_for<S: Side>() {
    survives(async |side: &mut S| {
        side.refuse_everybody();
        tokio::time::sleep(Duration::from_secs(100)).await;
        side.restart();
    })
    .await;
}
