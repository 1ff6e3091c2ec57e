//! Pods that have to go although they did nothing wrong.

use std::time::Duration;

use fake_cluster::{Kind, Script};
use kube::api::{EvictParams, LogParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::fixture::{Fixture, condition, pod, refusal};

fn state(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]["state"]
}

/// A running pod whose object is kept by a finalizer.
async fn running(script: Script) -> Fixture {
    let fixture = Fixture::playing(script);
    fixture.create(&pod("p")).await;
    let held = Patch::Merge(json!({"metadata": {"finalizers": ["piculet.dev/outcome"]}}));
    fixture.pods.patch("p", &PatchParams::default(), &held).await.expect("held");
    fixture.until_phase("p", "Running").await;
    fixture
}

#[tokio::test(start_paused = true)]
async fn the_eviction_api_says_why_and_deletes_with_grace() {
    let fixture = running(Script::new().forever().on_sigterm(Duration::from_secs(2), "bye\n", 3)).await;
    fixture.pods.evict("p", &EvictParams::default()).await.expect("evicted");
    let marked = fixture.pod("p");
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(condition(&marked, "DisruptionTarget")["reason"], "EvictionByEvictionAPI");
    let ended = fixture.until_phase("p", "Failed").await;
    assert_eq!(state(&ended)["terminated"]["exitCode"], 3);
    assert_eq!(condition(&ended, "DisruptionTarget")["status"], "True", "the kubelet leaves it there");
    assert_eq!(refusal(fixture.pods.evict("nobody", &EvictParams::default()).await).0, 404);
}

#[tokio::test(start_paused = true)]
async fn a_node_in_need_evicts_and_keeps_the_object() {
    let fixture = running(Script::new().line("words").forever().ignores_sigterm()).await;
    fixture.cluster.evict("ci", "p", "The node was low on resource: memory.").expect("there");
    let ended = fixture.until_phase("p", "Failed").await;
    assert_eq!(
        (&ended["status"]["reason"], &ended["status"]["message"]),
        (&json!("Evicted"), &json!("The node was low on resource: memory."))
    );
    assert_eq!(condition(&ended, "DisruptionTarget")["reason"], "TerminationByKubelet");
    assert_eq!(state(&ended)["terminated"]["exitCode"], 137);
    assert!(ended["metadata"]["deletionTimestamp"].is_null());
    assert_eq!(fixture.pods.logs("p", &LogParams::default()).await.expect("the log"), "words\n");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let log = fixture.pods.logs("p", &LogParams::default()).await.expect("an answer");
    assert!(log.starts_with("unable to retrieve container logs for "), "{log}");
}

#[tokio::test(start_paused = true)]
async fn preemption_says_why_and_deletes_with_grace() {
    let fixture = running(Script::new().forever()).await;
    fixture.cluster.preempt("ci", "p").expect("there");
    let ended = fixture.until_phase("p", "Failed").await;
    assert_eq!(condition(&ended, "DisruptionTarget")["reason"], "PreemptionByScheduler");
    assert!(ended["metadata"]["deletionTimestamp"].is_string());
    assert!(fixture.events("p").iter().any(|event| event.starts_with("Preempted: ")));
}

#[tokio::test(start_paused = true)]
async fn a_silent_node_keeps_its_containers_running_for_all_that_is_known() {
    let fixture = running(Script::new().line("words").wait(Duration::from_secs(100)).exit(9)).await;
    fixture.cluster.lose_node("node-1");
    let (code, _, message) = refusal(fixture.pods.logs("p", &LogParams::default()).await);
    assert_eq!(code, 500);
    assert!(message.contains("dial tcp 10.0.0.1:10250: connect: connection refused"), "{message}");
    tokio::time::sleep(Duration::from_secs(60)).await;
    let silent = fixture.pod("p");
    assert_eq!(
        (&silent["status"]["phase"], &condition(&silent, "Ready")["status"]),
        (&json!("Running"), &json!("False"))
    );
    let node = fixture.cluster.object(Kind::Node, "", "node-1").expect("there");
    assert_eq!(node["status"]["conditions"][0]["status"], "Unknown");
    tokio::time::sleep(Duration::from_secs(300)).await;
    let tainted = fixture.pod("p");
    assert_eq!(condition(&tainted, "DisruptionTarget")["reason"], "DeletionByTaintManager");
    assert!(tainted["metadata"]["deletionTimestamp"].is_string());
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(state(&fixture.pod("p"))["running"].is_object(), "nobody can tell what became of it");
    fixture.cluster.restore_node("node-1");
    let known = fixture.until_phase("p", "Failed").await;
    assert_eq!(state(&known)["terminated"]["exitCode"], 9, "it had ended by itself");
}

#[tokio::test(start_paused = true)]
async fn the_pods_of_a_removed_node_fail_and_are_collected() {
    let fixture = running(Script::new().forever()).await;
    fixture.cluster.remove_node("node-1");
    let refused = refusal(fixture.pods.logs("p", &LogParams::default()).await);
    assert_eq!(refused, (404, "NotFound".into(), "nodes \"node-1\" not found".into()), "not the pod");
    let failed = fixture.until_phase("p", "Failed").await;
    assert_eq!(condition(&failed, "DisruptionTarget")["reason"], "DeletionByPodGC");
    assert_eq!(condition(&failed, "DisruptionTarget")["message"], "PodGC: node no longer exists");
    assert!(state(&failed)["running"].is_object(), "its container never ended");
    let released = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    fixture.pods.patch("p", &PatchParams::default(), &released).await.expect("released");
    fixture.until_gone("p").await;
}
