//! The objects of a workflow as a whole.

use piculet_pods::{Object, Settings, plan};
use serde_json::{Value, json};

use super::{CLAIM, Difference, FOUND_BY, IDENTITY, SELECTED, TWO_SERVERS, compare, differs, in_workspace, key, peers};
use crate::world::context;

/// What a workflow of one step gets besides its anchor.
fn shared(settings: &Settings) -> (Vec<Value>, String) {
    let workload = super::workflow_of(in_workspace(), &[("woodpecker-ci.org/repo-name", "shop"), ("mine", "x")]);
    let plan = plan(&workload, settings, &context()).expect("it can be planned");
    (plan.shared.iter().map(Object::to_value).collect(), key(&workload))
}

/// The peer's have no labels and no annotations at all.
fn stamped(key: &str) -> Vec<Difference> {
    vec![
        differs("/metadata/labels/app.kubernetes.io~1managed-by", "piculet", SELECTED),
        differs("/metadata/labels/piculet.dev~1workflow", key, SELECTED),
        differs("/metadata/labels/woodpecker-ci.org~1repo-name", "shop", FOUND_BY),
        differs("/metadata/labels/woodpecker-ci.org~1task-uuid", "4711", FOUND_BY),
        differs("/metadata/annotations/piculet.dev~1server-id", "ci.example.org", IDENTITY),
        differs("/metadata/annotations/piculet.dev~1workflow-id", "4711", IDENTITY),
        differs("/metadata/annotations/piculet.dev~1epoch", "1", IDENTITY),
    ]
}

#[test]
fn a_workspace() {
    for (set, spec) in [
        (json!({}), json!({"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "10G"}}})),
        (
            json!({"access_mode": "rwo", "volume_size": "1Gi", "storage_class": "fast"}),
            json!({
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}},
                "storageClassName": "fast"
            }),
        ),
    ] {
        let theirs = json!({
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": CLAIM, "namespace": "woodpecker"},
            "spec": spec
        });
        let (objects, key) = shared(&peers(&set));
        compare(&objects[0], theirs, stamped(&key));
    }
}

#[test]
fn a_service_that_gives_steps_their_names() {
    let theirs = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "wp-hsvc-4711", "namespace": "woodpecker"},
        "spec": {"type": "ClusterIP", "clusterIP": "None", "selector": {"woodpecker-ci.org/task-uuid": "4711"}}
    });
    let (objects, key) = shared(&peers(&json!({})));
    let mut differences = stamped(&key);
    differences.extend([
        differs("/metadata/name", format!("wp-hsvc-{key}"), TWO_SERVERS),
        differs("/spec/selector/woodpecker-ci.org~1task-uuid", Value::Null, TWO_SERVERS),
        differs("/spec/selector/piculet.dev~1workflow", key, TWO_SERVERS),
        differs("/spec/publishNotReadyAddresses", true, "a service is found as soon as it has an address"),
    ]);
    compare(&objects[1], theirs, differences);
}

#[test]
fn an_organisation_has_the_namespace_of_its_id() {
    let each = peers(&json!({"namespace_per_organization": true}));
    assert_eq!(each.namespace_of(Some(3)).as_deref(), Some("woodpecker-3"));
    assert_eq!(each.namespace_of(Some(0)).as_deref(), Some("woodpecker-0"));
    assert_eq!(each.namespace_of(None), None);
    assert_eq!(peers(&json!({})).namespace_of(Some(3)), None);
}
