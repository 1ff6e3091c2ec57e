//! Objects go with their owners.

use std::time::Duration;

use fake_cluster::{Kind, Script};
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Secret};
use kube::api::{Api, DeleteParams, PostParams, PropagationPolicy};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::fixture::{Fixture, object, pod, settle};

async fn anchor(fixture: &Fixture, name: &str) -> Value {
    let maps: Api<ConfigMap> = Api::default_namespaced(fixture.cluster.client());
    let created =
        maps.create(&PostParams::default(), &object(json!({"metadata": {"name": name}}))).await.expect("created");
    json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": created.metadata.uid})
}

async fn owned_secret(fixture: &Fixture, name: &str, owners: &[&Value]) {
    let secrets: Api<Secret> = Api::default_namespaced(fixture.cluster.client());
    let new = object(json!({"metadata": {"name": name, "ownerReferences": owners}}));
    secrets.create(&PostParams::default(), &new).await.expect("created");
    settle().await;
}

async fn delete_anchor(fixture: &Fixture, name: &str, policy: PropagationPolicy) {
    let maps: Api<ConfigMap> = Api::default_namespaced(fixture.cluster.client());
    let params = DeleteParams { propagation_policy: Some(policy), ..DeleteParams::default() };
    maps.delete(name, &params).await.expect("accepted");
    settle().await;
}

fn secret(fixture: &Fixture, name: &str) -> Option<Value> {
    fixture.cluster.object(Kind::Secret, "ci", name)
}

#[tokio::test(start_paused = true)]
async fn what_lost_its_last_owner_goes() {
    let fixture = Fixture::new();
    let (a, b) = (anchor(&fixture, "a").await, anchor(&fixture, "b").await);
    owned_secret(&fixture, "of-a", &[&a]).await;
    owned_secret(&fixture, "of-both", &[&a, &b]).await;
    delete_anchor(&fixture, "a", PropagationPolicy::Background).await;
    assert_eq!(secret(&fixture, "of-a"), None);
    let left = secret(&fixture, "of-both").expect("its other owner lives");
    assert_eq!(left["metadata"]["ownerReferences"].as_array().map(Vec::len), Some(1), "the dead owner is taken off");
    delete_anchor(&fixture, "b", PropagationPolicy::Background).await;
    assert_eq!(secret(&fixture, "of-both"), None);
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_never_was_owns_nothing() {
    let fixture = Fixture::new();
    let real = anchor(&fixture, "a").await;
    let mut false_uid = real.clone();
    false_uid["uid"] = "00000000-0000-0000-0000-000000000000".into();
    owned_secret(&fixture, "s", &[&false_uid]).await;
    assert_eq!(secret(&fixture, "s"), None);
    fixture.cluster.create_namespace("other");
    let secrets: Api<Secret> = Api::namespaced(fixture.cluster.client(), "other");
    let new = object(json!({"metadata": {"name": "s", "ownerReferences": [real]}}));
    secrets.create(&PostParams::default(), &new).await.expect("created");
    settle().await;
    assert_eq!(fixture.cluster.object(Kind::Secret, "other", "s"), None, "owners do not reach across namespaces");
}

#[tokio::test(start_paused = true)]
async fn orphans_stay() {
    let fixture = Fixture::new();
    let a = anchor(&fixture, "a").await;
    owned_secret(&fixture, "s", &[&a]).await;
    delete_anchor(&fixture, "a", PropagationPolicy::Orphan).await;
    assert_eq!(fixture.cluster.object(Kind::ConfigMap, "ci", "a"), None);
    let free = secret(&fixture, "s").expect("it stays");
    assert_eq!(free["metadata"].get("ownerReferences"), Some(&json!([])));
}

#[tokio::test(start_paused = true)]
async fn in_the_foreground_the_owner_waits() {
    let fixture = Fixture::playing(Script::new().forever().ignores_sigterm());
    let mut a = anchor(&fixture, "a").await;
    a["blockOwnerDeletion"] = json!(true);
    let mut owned = pod("p");
    owned.metadata.owner_references = Some(vec![object(a)]);
    fixture.create(&owned).await;
    fixture.until_phase("p", "Running").await;
    delete_anchor(&fixture, "a", PropagationPolicy::Foreground).await;
    tokio::time::sleep(Duration::from_secs(29)).await;
    assert!(fixture.cluster.object(Kind::ConfigMap, "ci", "a").is_some());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(fixture.cluster.object(Kind::Pod, "ci", "p"), None);
    assert_eq!(fixture.cluster.object(Kind::ConfigMap, "ci", "a"), None);
}

#[tokio::test(start_paused = true)]
async fn collected_pods_get_their_own_grace_and_their_claims_wait_for_them() {
    let fixture = Fixture::playing(Script::new().forever().ignores_sigterm());
    let a = anchor(&fixture, "a").await;
    let claims: Api<PersistentVolumeClaim> = Api::default_namespaced(fixture.cluster.client());
    let claim = object(json!({
        "metadata": {"name": "w", "ownerReferences": [a]},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }));
    claims.create(&PostParams::default(), &claim).await.expect("created");
    let volumes = json!([{"name": "w", "persistentVolumeClaim": {"claimName": "w"}}]);
    let mut owned = crate::fixture::pod_with("p", json!({"terminationGracePeriodSeconds": 7, "volumes": volumes}));
    owned.metadata.owner_references = Some(vec![object(a)]);
    fixture.create(&owned).await;
    fixture.until_phase("p", "Running").await;
    assert_eq!(
        fixture.cluster.object(Kind::PersistentVolumeClaim, "ci", "w").expect("there")["status"]["phase"],
        "Bound"
    );
    let begun = Instant::now();
    delete_anchor(&fixture, "a", PropagationPolicy::Background).await;
    let held = fixture.cluster.object(Kind::PersistentVolumeClaim, "ci", "w").expect("the pod uses it");
    assert!(held["metadata"]["deletionTimestamp"].is_string());
    fixture.until_gone("p").await;
    assert_eq!(begun.elapsed().as_secs(), 7);
    settle().await;
    assert_eq!(fixture.cluster.object(Kind::PersistentVolumeClaim, "ci", "w"), None);
}
