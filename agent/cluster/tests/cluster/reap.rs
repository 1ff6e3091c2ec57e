//! What may go when its time is over, and what may not.

use std::time::Duration;

use fake_cluster::{ADMIN, Kind, Rule, Script};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicySpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use piculet_cluster::{Anchor, Places, Reaped, Which};
use piculet_core::id::{Epoch, InstanceId, ServerId, WorkflowId};
use piculet_pods::{Object, anchor};
use serde_json::json;

use crate::setup::{NAMESPACE, Setup, anchor_object, others, owned, pod};

const GRACE: Duration = Duration::from_secs(5);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A workflow whose time is over at [`deadline`].
async fn workflow(setup: &Setup, key: &str) -> Anchor {
    let anchor = setup.cluster.ensure_anchor(&object(key, deadline())).await.unwrap();
    for object in others(&anchor) {
        setup.cluster.ensure(&object).await.unwrap();
    }
    setup.run(&anchor, &format!("wp-{key}"), Script::new().forever()).await;
    anchor
}

/// An anchor to be.
fn object(key: &str, deadline: Timestamp) -> ConfigMap {
    let says = anchor::Anchor {
        server: ServerId::new("server"),
        workflow: WorkflowId::new(key),
        holder: InstanceId::new("killed"),
        epoch: Epoch(1),
        digest: String::new(),
        deadline,
        version: "1.0.0".to_owned(),
    };
    ConfigMap { data: Some(says.data()), ..anchor_object(key, "server") }
}

fn deadline() -> Timestamp {
    "2026-01-01T02:00:00Z".parse().unwrap()
}

fn anchors(setup: &Setup) -> Api<ConfigMap> {
    Api::namespaced(setup.fake.client(), NAMESPACE)
}

fn assert_removed(reaped: Reaped) {
    assert!(matches!(&reaped, Reaped::Removed(report) if report.is_complete()), "{reaped:?}");
}

fn just_after(deadline: Timestamp) -> Which {
    // The cluster began at midnight, and what was made then has its time twice.
    let midnight: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    Which::Over { now: deadline + deadline.duration_since(midnight) + SignedDuration::from_secs(1), age: DAY }
}

#[tokio::test(start_paused = true)]
async fn what_is_left_after_its_time_goes_and_nothing_before() {
    let setup = Setup::new();
    workflow(&setup, "1").await;
    workflow(&setup, "2").await;
    let early = Which::Over { now: deadline() + SignedDuration::from_mins(119), age: DAY };
    assert!(setup.cluster.remains(Places::OneNamespace, early).await.unwrap().is_empty());

    let remains = setup.cluster.remains(Places::OneNamespace, just_after(deadline())).await.unwrap();
    assert_eq!(remains.len(), 2);
    assert_eq!(remains[0].objects.len(), 5, "{:?}", remains[0]);
    assert!(remains[0].holder.is_some());
    assert_removed(setup.cluster.reap(&remains[0], GRACE).await);
    assert_eq!((setup.count(Kind::Pod), setup.count(Kind::ConfigMap)), (1, 1), "the other one is there");
    let everywhere = setup.cluster.remains(Places::ManyNamespaces, Which::All).await.unwrap();
    assert_eq!(everywhere.len(), 1);
    setup.cluster.reap(&everywhere[0], GRACE).await;
    assert!(setup.cluster.remains(Places::OneNamespace, Which::All).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_network_policy_goes_too_also_where_nothing_owns_it() {
    let setup = Setup::new();
    let anchor = workflow(&setup, "1").await;
    let orphan = NetworkPolicy {
        metadata: ObjectMeta { owner_references: None, ..owned(&anchor, "wp-1") },
        spec: Some(NetworkPolicySpec::default()),
    };
    setup.cluster.ensure(&Object::from(orphan)).await.unwrap();
    let remains = setup.cluster.remains(Places::OneNamespace, just_after(deadline())).await.unwrap();
    assert!(remains[0].objects.contains(&"NetworkPolicy 'wp-1'".to_owned()), "{:?}", remains[0]);
    let reaped = setup.cluster.reap(&remains[0], GRACE).await;
    assert!(matches!(&reaped, Reaped::Removed(report) if report.is_complete()), "{reaped:?}");
    assert_eq!(setup.count(Kind::NetworkPolicy), 0);
}

#[tokio::test(start_paused = true)]
async fn who_goes_on_with_a_workflow_has_its_whole_time() {
    let setup = Setup::new();
    workflow(&setup, "1").await;
    let later = deadline() + SignedDuration::from_hours(1);
    let anchor = setup.cluster.ensure_anchor(&object("1", later)).await.unwrap();
    assert!(anchor.adopted);
    assert!(setup.cluster.remains(Places::OneNamespace, just_after(deadline())).await.unwrap().is_empty());
    assert_eq!(setup.cluster.remains(Places::OneNamespace, just_after(later)).await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_has_no_anchor_goes_by_its_age() {
    let setup = Setup::new();
    let anchor = workflow(&setup, "1").await;
    // As if there had never been one.
    anchors(&setup).delete(&anchor.name, &DeleteParams::orphan()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let after = |time: Duration| Which::Over { now: setup.fake.now() + time, age: DAY };
    assert!(setup.cluster.remains(Places::OneNamespace, after(DAY / 2)).await.unwrap().is_empty());
    let remains = setup.cluster.remains(Places::OneNamespace, after(DAY * 2)).await.unwrap();
    assert_eq!((remains.len(), remains[0].objects.len()), (1, 4), "{remains:?}");
    assert_removed(setup.cluster.reap(&remains[0], GRACE).await);
    assert_eq!((setup.count(Kind::Pod), setup.count(Kind::Secret)), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_pod_without_an_anchor_stays_as_long_as_it_may_run() {
    let setup = Setup::new();
    let anchor = setup.anchor("1").await;
    let mut pod = pod(&anchor, "wp-1");
    pod.spec.as_mut().unwrap().active_deadline_seconds = Some(3 * 24 * 3600);
    setup.script.on_pod("wp-1", Script::new().forever());
    setup.cluster.ensure(&pod.into()).await.unwrap();
    anchors(&setup).delete(&anchor.name, &DeleteParams::orphan()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let after = |time: Duration| Which::Over { now: setup.fake.now() + time, age: DAY };
    assert!(setup.cluster.remains(Places::OneNamespace, after(DAY * 2)).await.unwrap().is_empty());
    assert_eq!(setup.cluster.remains(Places::OneNamespace, after(DAY * 4)).await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_somebody_goes_on_with_meanwhile_stays() {
    let setup = Setup::new();
    workflow(&setup, "1").await;
    let remains = setup.cluster.remains(Places::OneNamespace, just_after(deadline())).await.unwrap();
    let later = deadline() + SignedDuration::from_hours(1);
    assert!(setup.cluster.ensure_anchor(&object("1", later)).await.unwrap().adopted);
    assert_eq!(setup.cluster.reap(&remains[0], GRACE).await, Reaped::Wanted);
    assert_eq!((setup.count(Kind::Pod), setup.count(Kind::ConfigMap)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn namespaces_of_others_are_left_alone() {
    let setup = Setup::new();
    workflow(&setup, "1").await;
    for (namespace, is_ours) in [("ci-7", true), ("ci-tools", false), ("other", false)] {
        setup.fake.create_namespace(namespace);
        let there = setup.cluster.in_namespace(namespace);
        there.ensure_anchor(&object("2", deadline())).await.unwrap();
        let remains = setup.cluster.remains(Places::ManyNamespaces, Which::All).await.unwrap();
        let found = remains.iter().any(|one| one.namespace == namespace);
        assert_eq!(found, is_ours, "{namespace}: {remains:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_anchor_that_another_version_wrote_is_left_alone() {
    let setup = Setup::new();
    let anchor = workflow(&setup, "1").await;
    let newer = Patch::Merge(json!({"data": {anchor::SCHEMA_KEY: "piculet.dev/anchor/v9"}}));
    anchors(&setup).patch(&anchor.name, &PatchParams::default(), &newer).await.unwrap();
    assert!(setup.cluster.remains(Places::OneNamespace, just_after(deadline())).await.unwrap().is_empty());
    assert_eq!(setup.cluster.remains(Places::OneNamespace, Which::All).await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_may_not_list_anchors_is_told() {
    let setup = Setup::new();
    setup.fake.access().restrict(ADMIN, vec![Rule::new(&["pods"], &["*"])]);
    let error = setup.cluster.remains(Places::OneNamespace, Which::All).await.unwrap_err();
    assert!(error.is_forbidden(), "{error}");
}
