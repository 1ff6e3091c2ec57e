//! Users and privileges: what a step gets that asks for them.

use piculet_core::workload::StepSpec;
use serde_json::{Value, json};

use super::{Difference, compare, differs, peers, pod_spec};
use crate::world::{minimal, options};

/// What a step asks for, and what the peer gives it.
struct Row {
    privileged: bool,
    options: Value,
    /// The operator lets no step run as root.
    non_root: bool,
    pod: Value,
    container: Value,
    differences: Vec<Difference>,
}

/// An unprivileged step of a lax operator that gets what every step gets.
fn asks(options: Value) -> Row {
    Row {
        privileged: false,
        options,
        non_root: false,
        pod: json!({"fsGroup": 1000}),
        container: Value::Null,
        differences: Vec::new(),
    }
}

fn context(value: &Value) -> Value {
    json!({ "securityContext": value })
}

fn check(rows: Vec<Row>) {
    for row in rows {
        let step = StepSpec { privileged: row.privileged, kubernetes: options(&row.options), ..minimal() };
        let spec = pod_spec(step, &peers(&json!({"security": {"run_as_non_root": row.non_root}})));
        let made = json!({
            "asked": row.options,
            "pod": spec["securityContext"],
            "container": spec["containers"][0]["securityContext"]
        });
        compare(&made, json!({"asked": row.options, "pod": row.pod, "container": row.container}), row.differences);
    }
}

#[test]
fn privileges_are_given_by_the_step_and_never_by_its_options() {
    const TOGETHER: &str = "the API server refuses the two together";
    let (yes, no) = (context(&json!({"privileged": true})), context(&json!({"privileged": false})));
    let privileged = |options: Value| Row { privileged: true, container: json!({"privileged": true}), ..asks(options) };
    let escalation = context(&json!({"allowPrivilegeEscalation": false}));
    check(vec![
        asks(json!({})),
        asks(yes.clone()),
        privileged(json!({})),
        privileged(yes),
        Row { container: Value::Null, ..privileged(no) },
        asks(context(&json!({"allowPrivilegeEscalation": true}))),
        Row { container: json!({"allowPrivilegeEscalation": false}), ..asks(escalation.clone()) },
        Row {
            container: json!({"privileged": true, "allowPrivilegeEscalation": false}),
            differences: vec![differs("/container/allowPrivilegeEscalation", Value::Null, TOGETHER)],
            ..privileged(escalation)
        },
        Row {
            container: json!({"capabilities": {"drop": ["ALL", "NET_RAW"]}}),
            ..asks(context(&json!({"capabilities": {"drop": ["ALL", "NET_RAW"], "add": ["SYS_ADMIN"]}})))
        },
    ]);
}

#[test]
fn root_is_for_privileged_steps_and_for_user_namespaces() {
    const GROUP: &str = "what needs a privileged step as a user needs one as a group";
    const STARTS: &str = "a kubelet starts no container that must not be root and is";
    let root = json!({"runAsUser": 0, "runAsGroup": 0});
    let given = json!({"runAsUser": 0, "runAsGroup": 0, "fsGroup": 1000});
    let in_namespace = json!({"hostUsers": false, "securityContext": root});
    let privileged = json!({"privileged": true});
    check(vec![
        asks(context(&root)),
        Row { pod: given.clone(), ..asks(in_namespace) },
        Row { privileged: true, pod: given, container: privileged.clone(), ..asks(context(&root)) },
        Row {
            pod: json!({"fsGroup": 0}),
            differences: vec![differs("/pod/fsGroup", 1000, GROUP)],
            ..asks(context(&json!({"fsGroup": 0})))
        },
        Row {
            privileged: true,
            pod: json!({"fsGroup": 0}),
            container: privileged.clone(),
            ..asks(context(&json!({"fsGroup": 0})))
        },
        Row {
            privileged: true,
            non_root: true,
            pod: json!({"runAsNonRoot": true, "runAsUser": 0, "fsGroup": 1000}),
            container: privileged,
            differences: vec![differs("/pod/runAsUser", Value::Null, STARTS)],
            ..asks(context(&json!({"runAsUser": 0})))
        },
    ]);
}

#[test]
fn users_groups_and_profiles_are_the_steps() {
    const ALONE: &str = "container runtimes take a group only with a user";
    let ids = json!({"runAsUser": 5, "runAsGroup": 6, "fsGroup": 7, "fsGroupChangePolicy": "Always"});
    let profiles = json!({
        "seccompProfile": {"type": "Unconfined"},
        "apparmorProfile": {"type": "Localhost", "localhostProfile": "p"}
    });
    check(vec![
        Row { pod: ids.clone(), ..asks(context(&ids)) },
        Row {
            pod: json!({"runAsGroup": 6, "fsGroup": 1000}),
            differences: vec![differs("/pod/runAsGroup", Value::Null, ALONE)],
            ..asks(context(&json!({"runAsGroup": 6})))
        },
        Row {
            pod: json!({
                "fsGroup": 1000,
                "seccompProfile": {"type": "Unconfined"},
                "appArmorProfile": {"type": "Localhost", "localhostProfile": "p"}
            }),
            ..asks(context(&profiles))
        },
        asks(context(&json!({"seccompProfile": {"type": ""}, "apparmorProfile": {}}))),
    ]);
}

#[test]
fn who_must_not_be_root_can_not_undo_it() {
    let pod = json!({"runAsNonRoot": true, "fsGroup": 1000});
    check(vec![
        Row { pod: pod.clone(), ..asks(context(&json!({"runAsNonRoot": true}))) },
        Row { pod: json!({"runAsNonRoot": false, "fsGroup": 1000}), ..asks(context(&json!({"runAsNonRoot": false}))) },
        Row { non_root: true, pod: pod.clone(), ..asks(json!({})) },
        Row { non_root: true, pod, ..asks(context(&json!({"runAsNonRoot": false}))) },
    ]);
}
