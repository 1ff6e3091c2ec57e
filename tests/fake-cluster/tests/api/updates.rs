//! Replace and patch: conflicts, kinds of patches, what an update may not touch.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::fixture::{Fixture, object, pod, refusal};

async fn map(fixture: &Fixture) -> (Api<ConfigMap>, ConfigMap) {
    let maps: Api<ConfigMap> = Api::default_namespaced(fixture.cluster.client());
    let new = object(json!({"metadata": {"name": "a"}, "data": {"k": "1"}}));
    let created = maps.create(&PostParams::default(), &new).await.expect("created");
    (maps, created)
}

#[tokio::test(start_paused = true)]
async fn a_replace_of_an_old_version_is_a_conflict() {
    let fixture = Fixture::new();
    let (maps, first) = map(&fixture).await;
    let mut second = first.clone();
    second.data.get_or_insert_default().insert("k".into(), "2".into());
    let second = maps.replace("a", &PostParams::default(), &second).await.expect("replaced");
    assert_ne!(second.metadata.resource_version, first.metadata.resource_version);
    let (code, reason, message) = refusal(maps.replace("a", &PostParams::default(), &first).await);
    assert_eq!((code, reason.as_str()), (409, "Conflict"));
    assert_eq!(
        message,
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes \
         to the latest version and try again"
    );
    let same = maps.replace("a", &PostParams::default(), &second).await.expect("replaced");
    assert_eq!(same.metadata.resource_version, second.metadata.resource_version, "nothing changed, nothing is written");
    let mut other = second.clone();
    other.metadata.resource_version = None;
    other.metadata.uid = Some("another".into());
    let (code, reason, message) = refusal(maps.replace("a", &PostParams::default(), &other).await);
    assert_eq!((code, reason.as_str()), (409, "Conflict"));
    assert!(message.contains("Precondition failed: UID in precondition: another, UID in object meta: "), "{message}");
}

#[tokio::test(start_paused = true)]
async fn merge_patches_and_json_patches_are_applied_and_no_others() {
    let fixture = Fixture::new();
    let (maps, created) = map(&fixture).await;
    let patch = |patch: Patch<Value>| {
        let maps = maps.clone();
        async move { maps.patch("a", &PatchParams::default(), &patch).await }
    };
    let merged = patch(Patch::Merge(json!({"data": {"k": null, "l": "2"}}))).await.expect("merged");
    assert_eq!(serde_json::to_value(merged.data).expect("data"), json!({"l": "2"}));
    let stale = json!({"metadata": {"resourceVersion": created.metadata.resource_version}, "data": {"l": "3"}});
    let (code, reason, _) = refusal(patch(Patch::Merge(stale)).await);
    assert_eq!((code, reason.as_str()), (409, "Conflict"));
    let json_patch = |operations: Value| Patch::Json::<Value>(object(operations));
    let tested =
        json!([{"op": "test", "path": "/data/l", "value": "2"}, {"op": "add", "path": "/data/m", "value": "3"}]);
    assert!(patch(json_patch(tested)).await.is_ok());
    let failed = json!([{"op": "test", "path": "/data/l", "value": "9"}, {"op": "remove", "path": "/data/m"}]);
    assert_eq!(
        refusal(patch(json_patch(failed)).await),
        (422, "Invalid".into(), "the server rejected our request due to an error in our request".into())
    );
    assert!(maps.get("a").await.expect("there").data.is_some_and(|data| data.contains_key("m")));
    let apply = maps
        .patch("a", &PatchParams::apply("me"), &Patch::Apply(json!({"apiVersion": "v1", "kind": "ConfigMap"})))
        .await;
    assert_eq!(refusal(apply).0, 415);
    assert_eq!(refusal(patch(Patch::Strategic(json!({"data": {}}))).await).0, 415);
    assert_eq!(refusal(maps.patch("b", &PatchParams::default(), &Patch::Merge(json!({}))).await).0, 404);
}

#[tokio::test(start_paused = true)]
async fn what_is_immutable_stays() {
    let fixture = Fixture::new();
    let secrets: Api<Secret> = Api::default_namespaced(fixture.cluster.client());
    let new: Secret = object(json!({"metadata": {"name": "s"}, "immutable": true, "stringData": {"k": "v"}}));
    secrets.create(&PostParams::default(), &new).await.expect("created");
    let patch = |patch: Value| {
        let secrets = secrets.clone();
        async move { secrets.patch("s", &PatchParams::default(), &Patch::Merge(patch)).await }
    };
    let (code, _, message) = refusal(patch(json!({"stringData": {"k": "w"}})).await);
    assert_eq!(code, 422);
    assert_eq!(message, "Secret \"s\" is invalid: data: Forbidden: field is immutable when `immutable` is set");
    let (_, _, message) = refusal(patch(json!({"type": "other"})).await);
    assert_eq!(message, "Secret \"s\" is invalid: type: Invalid value: \"other\": field is immutable");
    assert!(patch(json!({"metadata": {"labels": {"a": "b"}}})).await.is_ok(), "its labels are free");
    fixture.create(&pod("p")).await;
    let moved = json!({"spec": {"containers": [{"name": "step", "image": "alpine:3", "command": ["x"]}]}});
    let (code, _, message) = refusal(fixture.pods.patch("p", &PatchParams::default(), &Patch::Merge(moved)).await);
    assert_eq!(code, 422);
    assert!(
        message.starts_with("Pod \"p\" is invalid: spec: Forbidden: pod updates may not change fields"),
        "{message}"
    );
    let finalizer = json!({"metadata": {"finalizers": ["piculet.dev/outcome"]}});
    let patched = fixture.pods.patch("p", &PatchParams::default(), &Patch::Merge(finalizer)).await.expect("patched");
    assert_eq!(patched.metadata.generation, Some(1));
    let deadline = json!({"spec": {"activeDeadlineSeconds": 9}, "metadata": {"generation": 7}});
    let patched = fixture.pods.patch("p", &PatchParams::default(), &Patch::Merge(deadline)).await.expect("patched");
    assert_eq!(patched.metadata.generation, Some(2), "the server counts");
}

#[tokio::test(start_paused = true)]
async fn the_status_has_a_door_of_its_own() {
    let fixture = Fixture::new();
    fixture.cluster.lose_node("node-1");
    fixture.create(&pod("p")).await;
    let patch = Patch::Merge(json!({"status": {"message": "hello"}}));
    let main = fixture.pods.patch("p", &PatchParams::default(), &patch).await.expect("patched");
    assert_eq!(main.status.and_then(|status| status.message), None, "the main door does not touch the status");
    let mixed = Patch::Merge(json!({"spec": {"hostname": "x"}, "status": {"message": "hello"}}));
    let status = fixture.pods.patch_status("p", &PatchParams::default(), &mixed).await.expect("patched");
    assert_eq!(status.status.and_then(|status| status.message).as_deref(), Some("hello"));
    assert_eq!(status.spec.and_then(|spec| spec.hostname), None, "the status door touches nothing else");
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_created_by_a_replace_and_never_overwritten_blindly() {
    let fixture = Fixture::new();
    let leases: Api<Lease> = Api::default_namespaced(fixture.cluster.client());
    let lease: Lease = object(json!({
        "metadata": {"name": "l"},
        "spec": {"holderIdentity": "a", "leaseDurationSeconds": 15, "renewTime": "2026-01-01T00:00:00.123456Z"},
    }));
    let created = leases.replace("l", &PostParams::default(), &lease).await.expect("created");
    let time = serde_json::to_value(created.spec.and_then(|spec| spec.renew_time)).expect("a time");
    assert_eq!(time, "2026-01-01T00:00:00.123456Z");
    let mut blind = lease.clone();
    blind.spec.get_or_insert_default().holder_identity = Some("b".into());
    assert_eq!(
        refusal(leases.replace("l", &PostParams::default(), &blind).await),
        (
            422,
            "Invalid".into(),
            "leases.coordination.k8s.io \"l\" is invalid: metadata.resourceVersion: Invalid value: 0: must be \
             specified for an update"
                .into()
        )
    );
}
