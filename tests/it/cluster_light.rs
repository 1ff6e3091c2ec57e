//! How little the API server hears of all this.

use std::time::Duration;

use fake_cluster::{Script, Verb};
use server_stub::dispatch::State;

use crate::world::{World, step, workflow};

/// The most pod watches that were open while `steps` ran at the same time, and the lists of pods that it took: one by
/// the watch, one or two by the removal, which looks again until nothing is left.
async fn watches(steps: usize) -> (usize, u64) {
    let mut world = World::new();
    world.agent();
    world.runtime.on_all(Script::new().wait(Duration::from_secs(60)).exit(0));
    let steps = (0..steps).map(|i| step(&format!("s{i}"))).collect();
    let workflow = world.run(workflow(vec![steps])).await;
    assert_eq!(workflow.state, State::Success);
    let counters = world.cluster.counters();
    (counters.watches("pods").most, counters.requests(Verb::List, "pods"))
}

#[tokio::test(start_paused = true)]
async fn one_pod_watch_serves_1_step_and_100() {
    let (one, hundred) = (watches(1).await, watches(100).await);
    assert_eq!((one.0, hundred.0), (1, 1), "watches");
    assert!(one.1 <= 3 && hundred.1 <= 3, "lists: {one:?}, {hundred:?}");
}
