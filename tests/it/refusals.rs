//! What can't be run is refused with a sentence, before anything is created.

use piculet_core::workload::{StageSpec, StepSpec};
use server_stub::dispatch::State;

use crate::world::{World, step, workflow};

async fn refused(spec: piculet_core::workload::WorkloadSpec) -> String {
    let mut world = World::new();
    world.agent();
    let workflow = world.run(spec).await;
    assert_eq!(workflow.state, State::Failure);
    assert_eq!(world.left(), Vec::<String>::new());
    assert_eq!(world.cluster.counters().requests(fake_cluster::Verb::Create, "configmaps"), 0);
    workflow.error
}

#[tokio::test(start_paused = true)]
async fn no_stages() {
    insta::assert_snapshot!(refused(workflow(vec![])).await);
}

#[tokio::test(start_paused = true)]
async fn an_empty_stage() {
    let mut spec = workflow(vec![vec![step("a")]]);
    spec.stages.push(StageSpec { steps: vec![] });
    insta::assert_snapshot!(refused(spec).await);
}

#[tokio::test(start_paused = true)]
async fn a_cycle() {
    let needs = |name: &str, need: &str| StepSpec { needs: Some(vec![need.to_owned()]), ..step(name) };
    insta::assert_snapshot!(refused(workflow(vec![vec![needs("a", "b"), needs("b", "a")]])).await);
}

#[tokio::test(start_paused = true)]
async fn an_environment_that_fits_into_no_pod() {
    let environment = (0..40).map(|i| (format!("V{i}"), "x".repeat(50_000))).collect();
    let big = StepSpec { environment, ..step("big") };
    let said = refused(workflow(vec![vec![big]])).await;
    // Some 50,000 × 40, and what a pod has beside its environment.
    let size = said.split_whitespace().find(|word| word.starts_with("20")).unwrap();
    insta::assert_snapshot!(said.replace(size, "SIZE"));
}

#[tokio::test(start_paused = true)]
async fn a_variable_that_no_process_can_get() {
    let environment = [("HUGE".to_owned(), "x".repeat(200_000))].into();
    let huge = StepSpec { environment, ..step("huge") };
    insta::assert_snapshot!(refused(workflow(vec![vec![huge]])).await);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_that_is_no_time() {
    let spec = workflow(vec![vec![step("a")]]);
    insta::assert_snapshot!(
        refused(piculet_core::workload::WorkloadSpec { timeout_seconds: Some(u64::MAX), ..spec }).await
    );
}

#[tokio::test(start_paused = true)]
async fn a_name_of_emoji_is_no_reason_to_refuse() {
    let mut world = World::new();
    world.agent();
    let workflow = world.run(workflow(vec![vec![StepSpec { id: "ID1".to_owned(), ..step("🦉 🚀") }]])).await;
    assert_eq!(workflow.state, State::Success, "{workflow:?}");
}
