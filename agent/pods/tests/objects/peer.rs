//! What the Woodpecker agent would make of the same step with the same settings, and where this one differs on purpose.
//!
//! Each test writes the peer's object down and then every difference: the field, what stands there instead, and why. What
//! differs without a reason fails, and so does a reason without a difference.

mod full;
mod gates;
mod names;
mod options;
mod pods;
mod refused;
mod secrets;
mod security;
mod workflow;

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::{Pod, Secret};
use piculet_core::id::{StepIndex, WorkflowId};
use piculet_core::workload::{StageSpec, StepSpec, Workload, WorkloadSpec};
use piculet_pods::names::WorkflowNames;
use piculet_pods::{Settings, StepObjects};
use serde_json::{Value, json};

use crate::world::{context, first, map, minimal, owner, settings};

/// The name that the server gives the workspace, and the claim's.
const VOLUME: &str = "wp_01k3cz8vkq7m5n3p1r9s8t6v4w_0_default";
const CLAIM: &str = "wp-01k3cz8vkq7m5n3p1r9s8t6v4w-0-default";
/// The pod of a step of the id that [`minimal`] has.
const POD: &str = "wp-01k3cz8w5t2q4r6s8v0x1y3z5a";

const SELECTED: &str = "watches and sweeps select by it";
const IDENTITY: &str = "the exact ids, which need not fit into a label, and whose turn it was";
const OWNED: &str = "the cluster removes it with the anchor, even if no agent is left to do it";
const FOUND_BY: &str = "what is left of a workflow is found by its labels";
const TWO_SERVERS: &str = "two servers in one namespace may number their workflows alike";

/// A field that differs on purpose.
struct Difference {
    /// A JSON pointer. Variables stand under their names, since their order has no meaning.
    at: String,
    /// What stands there; null: nothing.
    ours: Value,
    why: &'static str,
}

fn differs(at: &str, ours: impl Into<Value>, why: &'static str) -> Difference {
    Difference { at: at.to_owned(), ours: ours.into(), why }
}

/// Compares what was made with what the peer would have made, but for these differences.
fn compare(made: &Value, theirs: Value, differences: Vec<Difference>) {
    let mut expected = theirs;
    for Difference { at, ours, why } in differences {
        let before = replace(&mut expected, &at, ours.clone());
        assert_ne!(before, ours, "{at} is the same there, although: {why}");
    }
    let (mut made_fields, mut expected_fields) = (BTreeMap::new(), BTreeMap::new());
    flatten(String::new(), made, &mut made_fields);
    flatten(String::new(), &expected, &mut expected_fields);
    let unexplained: Vec<_> = made_fields
        .keys()
        .chain(expected_fields.keys())
        .filter(|at| made_fields.get(*at) != expected_fields.get(*at))
        .map(|at| format!("{at}: made {:?}, expected {:?}", made_fields.get(at), expected_fields.get(at)))
        .collect();
    assert!(unexplained.is_empty(), "differs without a reason:\n{}", unexplained.join("\n"));
}

/// Puts a value at a pointer, and gives what was there; null is nothing.
fn replace(value: &mut Value, at: &str, new: Value) -> Value {
    let (parents, last) = at.rsplit_once('/').expect("a pointer begins with '/'");
    let key = |part: &str| part.replace("~1", "/").replace("~0", "~");
    let mut place = value;
    for parent in parents.split('/').skip(1) {
        place = match place {
            Value::Array(list) => &mut list[parent.parse::<usize>().expect("an index")],
            other => &mut other[key(parent)],
        };
    }
    match place {
        Value::Array(list) => std::mem::replace(&mut list[last.parse::<usize>().expect("an index")], new),
        other if new.is_null() => other.as_object_mut().and_then(|map| map.remove(&key(last))).unwrap_or_default(),
        other => std::mem::replace(&mut other[key(last)], new),
    }
}

/// Every value that has no parts, by its pointer. An empty map or list is a value, too.
fn flatten(at: String, value: &Value, fields: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            map.iter().for_each(|(key, value)| flatten(format!("{at}/{key}"), value, fields));
        }
        Value::Array(list) if !list.is_empty() => {
            list.iter().enumerate().for_each(|(i, value)| flatten(format!("{at}/{i}"), value, fields));
        }
        other => drop(fields.insert(at, other.clone())),
    }
}

/// A workflow of this step, as a Woodpecker server describes it.
fn workflow_of(step: StepSpec, labels: &[(&str, &str)]) -> Workload {
    let spec = WorkloadSpec {
        workspace: VOLUME.to_owned(),
        labels: map(labels),
        stages: vec![StageSpec { steps: vec![step] }],
        ..WorkloadSpec::default()
    };
    Workload::new(WorkflowId::new("4711"), spec).expect("a good workload")
}

/// The operator's settings: the peer's defaults, but for these.
fn peers(value: &Value) -> Settings {
    Settings { namespace: "woodpecker".to_owned(), ..settings(value.clone()) }
}

/// A step in a workspace.
fn in_workspace() -> StepSpec {
    StepSpec { working_dir: "/woodpecker/src/shop".to_owned(), workspace_base: "/woodpecker".to_owned(), ..minimal() }
}

/// What is made of the step.
fn made(step: StepSpec, settings: &Settings) -> StepObjects {
    first(&workflow_of(step, &[]), settings)
}

/// The pod's specification that is made of the step.
fn pod_spec(step: StepSpec, settings: &Settings) -> Value {
    pod_value(&made(step, settings).pod)["spec"].clone()
}

/// The pod, with its variables by their names.
fn pod_value(pod: &Pod) -> Value {
    let mut value = serde_json::to_value(pod).expect("JSON");
    if let Some(list) = value.pointer_mut("/spec/containers/0/env") {
        let by_name = list.as_array_mut().expect("a list").iter_mut().map(|variable| {
            let name = variable["name"].take();
            variable.as_object_mut().expect("a map").remove("name");
            (name.as_str().expect("a name").to_owned(), variable.take())
        });
        *list = by_name.collect();
    }
    value
}

/// The Secret, with its values as text: the API server keeps both forms as one.
fn secret_value(secret: &Secret) -> Value {
    let mut value = serde_json::to_value(secret).expect("JSON");
    let data = value.as_object_mut().and_then(|fields| fields.remove("data")).expect("data");
    value["stringData"] = data
        .as_object()
        .expect("a map")
        .iter()
        .map(|(key, value)| {
            let bytes = STANDARD.decode(value.as_str().expect("text")).expect("base64");
            (key.clone(), Value::from(String::from_utf8(bytes).expect("UTF-8")))
        })
        .collect();
    value
}

/// The workflow's own part of names.
fn key(workload: &Workload) -> String {
    WorkflowNames::new(&context().server, workload).key
}

/// What every object of a step carries beside what the peer gives it.
fn stamped(workload: &Workload) -> Vec<Difference> {
    let step = workload.step(StepIndex(0)).id.as_str();
    let owner = serde_json::to_value(owner()).expect("JSON");
    vec![
        differs("/metadata/labels/app.kubernetes.io~1managed-by", "piculet", SELECTED),
        differs("/metadata/labels/piculet.dev~1workflow", key(workload), SELECTED),
        differs("/metadata/annotations/piculet.dev~1server-id", "ci.example.org", IDENTITY),
        differs("/metadata/annotations/piculet.dev~1workflow-id", "4711", IDENTITY),
        differs("/metadata/annotations/piculet.dev~1step-id", step, IDENTITY),
        differs("/metadata/annotations/piculet.dev~1attempt", "1", IDENTITY),
        differs("/metadata/annotations/piculet.dev~1epoch", "1", IDENTITY),
        differs("/metadata/ownerReferences", json!([owner]), OWNED),
    ]
}

/// What every pod has otherwise than the peer's.
fn of_every_pod(workload: &Workload, domain: &str) -> Vec<Difference> {
    let service = format!("wp-hsvc-{}", key(workload));
    let mut differences = stamped(workload);
    differences.extend([
        differs("/spec/subdomain", service.as_str(), TWO_SERVERS),
        differs("/spec/activeDeadlineSeconds", 3680, "no pod runs for ever, whatever becomes of its agent"),
        differs("/spec/automountServiceAccountToken", false, "a step has no business at the API server"),
        differs("/spec/enableServiceLinks", false, "variables of services of the namespace are none of the step's"),
        differs("/spec/terminationGracePeriodSeconds", 20, "whoever deletes the pod gives it the same time"),
    ]);
    if !domain.is_empty() {
        let own = format!("{service}.woodpecker.svc.{domain}");
        differences.push(differs("/spec/dnsConfig/searches/0", own, TWO_SERVERS));
    }
    differences
}

#[test]
fn a_difference_without_a_reason_and_a_reason_without_a_difference_fail() {
    let theirs = || json!({"a": {"b/c": 1}, "list": [1, 2]});
    let fails = |made: Value, differences: Vec<Difference>| {
        std::panic::catch_unwind(|| compare(&made, theirs(), differences)).is_err()
    };
    compare(
        &json!({"a": {}, "list": [1, 3], "new": {"x": 5}}),
        theirs(),
        vec![differs("/a/b~1c", Value::Null, "gone"), differs("/list/1", 3, "changed"), differs("/new/x", 5, "new")],
    );
    assert!(fails(json!({"a": {"b/c": 2}, "list": [1, 2]}), vec![]), "another value");
    assert!(fails(json!({"a": {"b/c": 1}}), vec![]), "a value less");
    assert!(fails(json!({"a": {"b/c": 1}, "list": [1, 2, 3]}), vec![]), "a value more");
    assert!(fails(theirs(), vec![differs("/a/b~1c", 1, "no reason")]), "the same value");
    assert!(fails(theirs(), vec![differs("/a/x", Value::Null, "no reason")]), "nothing, here as there");
}
