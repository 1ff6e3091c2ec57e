//! Deleting: preconditions, grace, finalizers, namespaces.

use std::time::Duration;

use fake_cluster::{Kind, Script};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::json;
use tokio::time::Instant;

use crate::fixture::{Fixture, object, pod, pod_with, refusal, settle};

#[tokio::test(start_paused = true)]
async fn preconditions_guard_a_deletion() {
    let fixture = Fixture::new();
    let maps: Api<ConfigMap> = Api::default_namespaced(fixture.cluster.client());
    let created =
        maps.create(&PostParams::default(), &object(json!({"metadata": {"name": "a"}}))).await.expect("created");
    let only = |uid: Option<&str>, resource_version: Option<&str>| {
        let preconditions =
            Preconditions { uid: uid.map(str::to_owned), resource_version: resource_version.map(str::to_owned) };
        DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() }
    };
    let (code, reason, message) = refusal(maps.delete("a", &only(Some("x"), None)).await);
    assert_eq!((code, reason.as_str()), (409, "Conflict"));
    let uid = created.metadata.uid.expect("a uid");
    assert_eq!(
        message,
        format!(
            "Operation cannot be fulfilled on ConfigMap \"a\": the UID in the precondition (x) does not match the UID \
             in record ({uid}). The object might have been deleted and then recreated"
        )
    );
    assert_eq!(refusal(maps.delete("a", &only(Some(&uid), Some("1"))).await).0, 409);
    let version = created.metadata.resource_version.expect("a version");
    let deleted = maps.delete("a", &only(Some(&uid), Some(&version))).await.expect("deleted");
    let status = deleted.right().expect("a status, since config maps are not returned");
    assert_eq!(status.details.map(|details| (details.name, details.uid)), Some(("a".into(), uid)));
    assert_eq!(refusal(maps.delete("a", &DeleteParams::default()).await).0, 404);
}

#[tokio::test(start_paused = true)]
async fn a_running_pod_gets_its_grace() {
    let fixture = Fixture::playing(Script::new().forever().on_sigterm(Duration::from_secs(3), "bye\n", 5));
    fixture.create(&pod_with("p", json!({"terminationGracePeriodSeconds": 20}))).await;
    fixture.until_phase("p", "Running").await;
    let begun = Instant::now();
    let terminating =
        fixture.pods.delete("p", &DeleteParams::default()).await.expect("accepted").left().expect("the pod");
    assert_eq!(terminating.metadata.deletion_grace_period_seconds, Some(20));
    assert_eq!(
        terminating.metadata.deletion_timestamp.map(|time| time.0.to_string()),
        Some("2026-01-01T00:00:20Z".into())
    );
    fixture.until_gone("p").await;
    assert_eq!(begun.elapsed().as_secs(), 3, "it did not need all of it");
}

#[tokio::test(start_paused = true)]
async fn a_deaf_pod_is_killed_after_its_grace_which_can_be_shortened() {
    let fixture = Fixture::playing(Script::new().forever().ignores_sigterm());
    for name in ["long", "short"] {
        fixture.create(&pod(name)).await;
        fixture.until_phase(name, "Running").await;
    }
    let begun = Instant::now();
    for name in ["long", "short"] {
        fixture.pods.delete(name, &DeleteParams::default().grace_period(30)).await.expect("accepted");
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    fixture.pods.delete("short", &DeleteParams::default().grace_period(5)).await.expect("accepted");
    fixture.until_gone("short").await;
    assert_eq!(begun.elapsed().as_secs(), 7);
    fixture.until_gone("long").await;
    assert_eq!(begun.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn the_last_status_of_a_deleted_pod_tells_how_it_ended() {
    let fixture = Fixture::playing(Script::new().forever());
    let held = json!({"metadata": {"finalizers": ["piculet.dev/outcome"]}});
    fixture.create(&pod("p")).await;
    fixture.pods.patch("p", &PatchParams::default(), &Patch::Merge(held)).await.expect("held");
    fixture.until_phase("p", "Running").await;
    fixture.pods.delete("p", &DeleteParams::default()).await.expect("accepted");
    let ended = fixture.until_phase("p", "Failed").await;
    let terminated = &ended["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!((terminated["exitCode"].clone(), terminated["reason"].clone()), (json!(143), json!("Error")));
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let kept = fixture.pod("p");
    assert_eq!(kept["metadata"]["deletionGracePeriodSeconds"], 0, "only the finalizer keeps it");
    let released = json!({"metadata": {"finalizers": null}});
    fixture.pods.patch("p", &PatchParams::default(), &Patch::Merge(released)).await.expect("released");
    assert_eq!(fixture.cluster.object(Kind::Pod, "ci", "p"), None);
}

#[tokio::test(start_paused = true)]
async fn a_terminating_object_takes_no_new_finalizers() {
    let fixture = Fixture::playing(Script::new().forever().ignores_sigterm());
    fixture.create(&pod("p")).await;
    fixture.until_phase("p", "Running").await;
    fixture.pods.delete("p", &DeleteParams::default()).await.expect("accepted");
    let late = json!({"metadata": {"finalizers": ["piculet.dev/outcome"]}});
    let (code, _, message) = refusal(fixture.pods.patch("p", &PatchParams::default(), &Patch::Merge(late)).await);
    assert_eq!(code, 422);
    assert!(message.contains("no new finalizers can be added if the object is being deleted"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn pods_that_need_no_grace_go_at_once() {
    let fixture = Fixture::new();
    fixture.create(&pod_with("pending", json!({"nodeSelector": {"no": "where"}}))).await;
    fixture.create(&pod("done")).await;
    fixture.until_phase("done", "Succeeded").await;
    for name in ["pending", "done"] {
        let last = fixture.pods.delete(name, &DeleteParams::default()).await.expect("deleted");
        assert!(last.left().is_some(), "pods are returned");
        assert_eq!(fixture.cluster.object(Kind::Pod, "ci", name), None, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_forced_deletion_takes_the_object_first() {
    let fixture = Fixture::playing(Script::new().forever().ignores_sigterm());
    fixture.create(&pod("p")).await;
    fixture.until_phase("p", "Running").await;
    fixture.pods.delete("p", &DeleteParams::default().grace_period(0)).await.expect("deleted");
    assert_eq!(fixture.cluster.object(Kind::Pod, "ci", "p"), None);
    let again = fixture.create(&pod("p")).await;
    assert!(again.metadata.uid.is_some(), "the name is free while the old container ends");
}

#[tokio::test(start_paused = true)]
async fn a_collection_is_deleted_by_selector() {
    let fixture = Fixture::new();
    let maps: Api<ConfigMap> = Api::default_namespaced(fixture.cluster.client());
    for (name, label) in [("a", "x"), ("b", "x"), ("c", "y")] {
        let new = object(json!({"metadata": {"name": name, "labels": {"l": label}}}));
        maps.create(&PostParams::default(), &new).await.expect("created");
    }
    let selected = kube::api::ListParams::default().labels("l in (x)");
    maps.delete_collection(&DeleteParams::default(), &selected).await.expect("deleted");
    let left: Vec<_> = fixture
        .cluster
        .objects(Kind::ConfigMap)
        .into_iter()
        .filter(|map| map["metadata"]["labels"]["l"].is_string())
        .collect();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0]["metadata"]["name"], "c");
}

#[tokio::test(start_paused = true)]
async fn a_namespace_goes_with_everything_in_it() {
    let fixture = Fixture::playing(Script::new().forever());
    let client = fixture.cluster.client();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    fixture.cluster.create_namespace("org");
    let pods: Api<Pod> = Api::namespaced(client.clone(), "org");
    let maps: Api<ConfigMap> = Api::namespaced(client, "org");
    pods.create(&PostParams::default(), &pod("p")).await.expect("created");
    let held = object(json!({"metadata": {"name": "held", "finalizers": ["piculet.dev/x"]}}));
    maps.create(&PostParams::default(), &held).await.expect("created");
    settle().await;
    namespaces.delete("org", &DeleteParams::default()).await.expect("accepted");
    let new = object(json!({"metadata": {"name": "late"}}));
    let (code, reason, message) = refusal(maps.create(&PostParams::default(), &new).await);
    assert_eq!((code, reason.as_str()), (403, "Forbidden"));
    assert_eq!(
        message,
        "configmaps \"late\" is forbidden: unable to create new content in namespace org because it is being terminated"
    );
    tokio::time::sleep(Duration::from_secs(60)).await;
    let waiting = fixture.cluster.object(Kind::Namespace, "", "org").expect("the finalizer of the map holds it");
    assert_eq!(waiting["status"]["phase"], "Terminating");
    assert!(fixture.cluster.objects(Kind::Pod).is_empty());
    let released = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    maps.patch("held", &PatchParams::default(), &released).await.expect("released");
    settle().await;
    assert_eq!(fixture.cluster.object(Kind::Namespace, "", "org"), None);
}
