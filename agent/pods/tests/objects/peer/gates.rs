//! What a step may only ask for where the operator lets it.

use piculet_core::workload::StepSpec;
use serde_json::{Value, json};

use super::{made, peers, pod_value};
use crate::world::{minimal, options};

/// One gated option: its gate, what a step asks for, what the operator has set, and what the pod gets with the gate shut
/// and open.
struct Gate {
    gate: &'static str,
    asked: Value,
    set: Value,
    at: &'static str,
    shut: Value,
    open: Value,
}

fn gates() -> Vec<Gate> {
    let exists = |key: &str| json!([{"key": key, "operator": "Exists"}]);
    let affinity = |kind: &str| json!({ kind: {} });
    vec![
        Gate {
            gate: "tolerations",
            asked: json!({"tolerations": exists("gpu")}),
            set: json!({"tolerations": exists("ci")}),
            at: "/spec/tolerations",
            shut: exists("ci"),
            open: exists("gpu"),
        },
        Gate {
            gate: "tolerations",
            asked: json!({"tolerations": []}),
            set: json!({"tolerations": exists("ci")}),
            at: "/spec/tolerations",
            shut: exists("ci"),
            open: exists("ci"),
        },
        Gate {
            gate: "affinity",
            asked: json!({"affinity": affinity("podAffinity")}),
            set: json!({"affinity": affinity("nodeAffinity")}),
            at: "/spec/affinity",
            shut: affinity("nodeAffinity"),
            open: affinity("podAffinity"),
        },
        Gate {
            gate: "affinity",
            asked: json!({"affinity": affinity("podAffinity")}),
            set: json!({}),
            at: "/spec/affinity",
            shut: Value::Null,
            open: affinity("podAffinity"),
        },
        Gate {
            gate: "node_selector",
            asked: json!({"nodeSelector": {"disk": "ssd", "pool": "mine"}}),
            set: json!({"node_selector": {"pool": "ci"}}),
            at: "/spec/nodeSelector",
            shut: json!({"kubernetes.io/arch": "amd64", "pool": "ci"}),
            open: json!({"kubernetes.io/arch": "amd64", "pool": "mine", "disk": "ssd"}),
        },
        Gate {
            gate: "service_account",
            asked: json!({"serviceAccountName": "deployer"}),
            set: json!({}),
            at: "/spec/serviceAccountName",
            shut: Value::Null,
            open: json!("deployer"),
        },
        Gate {
            gate: "runtime_class",
            asked: json!({"runtimeClassName": "kata"}),
            set: json!({}),
            at: "/spec/runtimeClassName",
            shut: Value::Null,
            open: json!("kata"),
        },
        Gate {
            gate: "native_secrets",
            asked: json!({"secrets": [{"name": "native"}]}),
            set: json!({}),
            at: "/spec/containers/0/envFrom",
            shut: Value::Null,
            open: json!([{"secretRef": {"name": "native"}}]),
        },
        Gate {
            gate: "labels",
            asked: json!({"labels": {"team": "shop"}}),
            set: json!({}),
            at: "/metadata/labels/team",
            shut: Value::Null,
            open: json!("shop"),
        },
        Gate {
            gate: "labels",
            asked: json!({"labels": {"team": "shop"}}),
            set: json!({"pod_labels": {"team": "ci"}}),
            at: "/metadata/labels/team",
            shut: json!("ci"),
            open: json!("ci"),
        },
        Gate {
            gate: "annotations",
            asked: json!({"annotations": {"example.org/by": "step"}}),
            set: json!({}),
            at: "/metadata/annotations/example.org~1by",
            shut: Value::Null,
            open: json!("step"),
        },
    ]
}

#[test]
fn each_gate_lets_its_option_through_and_nothing_else() {
    for Gate { gate, asked, set, at, shut, open } in gates() {
        for (is_open, expected) in [(false, shut), (true, open)] {
            let mut set = set.clone();
            set["allow_from_step"] = json!({ gate: is_open });
            let objects = made(StepSpec { kubernetes: options(&asked), ..minimal() }, &peers(&set));
            let found = pod_value(&objects.pod).pointer(at).cloned().unwrap_or_default();
            assert_eq!(found, expected, "{gate}, open: {is_open}, {asked}");
            // The peer says nothing of it in the step's log.
            let is_asked = asked.as_object().is_some_and(|asked| asked.values().all(|value| *value != json!([])));
            assert_eq!(objects.notes.is_empty(), is_open || !is_asked, "{gate}: {:?}", objects.notes);
        }
    }
}

#[test]
fn labels_of_the_workflow_pass_the_same_gate_as_those_of_the_step() {
    for (is_open, expected) in [(false, None), (true, Some("is-mine"))] {
        let workload = super::workflow_of(minimal(), &[("mine", "Is Mine"), ("woodpecker-ci.org/repo-id", "17")]);
        let settings = peers(&json!({"allow_from_step": {"labels": is_open}}));
        let labels = crate::world::first(&workload, &settings).pod.metadata.labels.expect("labels");
        assert_eq!(labels.get("mine").map(String::as_str), expected);
        assert_eq!(labels["woodpecker-ci.org/repo-id"], "17", "the server's own need no gate");
    }
}

#[test]
fn users_of_the_host_and_resources_have_no_gate() {
    for (asked, host_users) in [(json!({"hostUsers": false}), json!(false)), (json!({"hostUsers": true}), json!(true))]
    {
        let spec = super::pod_spec(StepSpec { kubernetes: options(&asked), ..minimal() }, &peers(&json!({})));
        assert_eq!(spec["hostUsers"], host_users);
    }
    let asked = json!({"resources": {"limits": {"nvidia.com/gpu": 1}}});
    let spec = super::pod_spec(StepSpec { kubernetes: options(&asked), ..minimal() }, &peers(&json!({})));
    assert_eq!(spec["containers"][0]["resources"], json!({"limits": {"nvidia.com/gpu": "1"}}));
}
