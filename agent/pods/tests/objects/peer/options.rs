//! `backend_options.kubernetes` as people write it, and how the working directory comes about for another user.

use piculet_core::id::{Attempt, StepIndex};
use piculet_core::workload::StepSpec;
use serde_json::{Value, json};

use super::{CLAIM, POD, compare, differs, in_workspace, made, peers, pod_spec, pod_value};
use crate::world::{context, minimal, options, start};

#[test]
fn options_mean_the_same_in_strict_and_in_sloppy_yaml() {
    let open = peers(&json!({"allow_from_step": {
        "labels": true, "annotations": true, "node_selector": true, "affinity": true, "runtime_class": true,
        "service_account": true, "native_secrets": true
    }}));
    let pod = |value: &Value| {
        let objects = made(StepSpec { kubernetes: options(value), ..in_workspace() }, &open);
        assert_eq!(objects.notes, [] as [&str; 0]);
        pod_value(&objects.pod)
    };
    let strict = pod(&json!({
        "resources": {"requests": {"cpu": "1", "memory": "128Mi"}, "limits": {"cpu": "1.5"}},
        "serviceAccountName": "7",
        "labels": {"port": "8080", "on": "1", "off": "0"},
        "annotations": {"ratio": "0.5"},
        "nodeSelector": {"generation": "3"},
        "tolerations": [{"key": "ci", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}],
        "securityContext": {
            "runAsUser": 1001, "runAsNonRoot": true, "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]}
        },
        "secrets": [{"name": "native", "key": "7"}],
        "hostUsers": false
    }));
    let sloppy = pod(&json!({
        "Resources": {"REQUESTS": {"cpu": 1, "memory": "128Mi"}, "limits": {"cpu": 1.5}},
        "serviceaccountname": 7,
        "labels": {"port": 8080, "on": true, "off": false},
        "annotations": {"ratio": 0.5},
        "nodeselector": {"generation": 3},
        "Tolerations": {"Key": "ci", "operator": "Exists", "effect": "NoExecute", "tolerationseconds": "5"},
        "securitycontext": {
            "runAsUser": "1001", "runasnonroot": "true", "allowPrivilegeEscalation": 0,
            "Capabilities": {"Drop": "ALL"}
        },
        "secrets": {"name": "native", "key": 7},
        "hostusers": "false",
        "affinity": null
    }));
    assert_eq!(strict, sloppy);
    assert_eq!(strict["spec"]["containers"][0]["resources"]["limits"]["cpu"], "1.5");
    assert_eq!(strict["metadata"]["labels"]["on"], "1");
}

/// There a step runs without what can't be read, here it doesn't run.
#[test]
fn what_can_not_be_read_runs_nothing() {
    for (asked, field) in [
        (json!({"resources": {"limits": {"memory": "lots"}}}), "resources.limits.memory"),
        (json!({"securityContext": {"runAsUser": "me"}}), "securityContext.runAsUser"),
        (json!({"securityContext": {"seccompProfile": {"type": "Strict"}}}), "securityContext.seccompProfile"),
        (json!({"securityContext": {"fsGroup": -1}}), "securityContext.fsGroup"),
    ] {
        let workload = super::workflow_of(StepSpec { kubernetes: options(&asked), ..minimal() }, &[]);
        let refused =
            piculet_pods::step(&workload, StepIndex(0), Attempt::FIRST, &start(), &peers(&json!({})), &context(), None);
        let words = refused.expect_err("it can't be built").to_string();
        assert!(words.contains(&format!("backend_options.kubernetes.{field}: ")), "{words}");
    }
}

#[test]
fn another_user_gets_its_folder_made_below_what_is_mounted() {
    const ARGUMENTS: &str =
        "an image with an entrypoint makes the folder, too, and so does a name that begins with '-'";
    let spec = |user: i64, step: StepSpec| {
        let step = StepSpec { kubernetes: options(&json!({"securityContext": {"runAsUser": user}})), ..step };
        pod_spec(step, &peers(&json!({})))["initContainers"].clone()
    };
    let little = json!({"cpu": "5m", "memory": "12Mi"});
    let theirs = json!([{
        "name": format!("init-{POD}"),
        "image": "busybox:stable-musl",
        "imagePullPolicy": "Always",
        "args": ["mkdir", "-p", "/woodpecker/src/shop"],
        "resources": {"requests": little, "limits": little},
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": CLAIM, "mountPath": "/woodpecker"}]
    }]);
    compare(
        &spec(1001, in_workspace()),
        theirs,
        vec![
            differs("/0/args", Value::Null, ARGUMENTS),
            differs("/0/command", json!(["mkdir", "-p", "--", "/woodpecker/src/shop"]), ARGUMENTS),
        ],
    );
    for (user, working_dir, commands) in [
        // The place of the mount itself, twice.
        (1001, "/woodpecker", &[][..]),
        (1001, "/woodpecker/", &[]),
        (1001, "/elsewhere/src", &[]),
        (1001, "/woodpeckers/src", &[]),
        // Its script makes the folder.
        (1001, "/woodpecker/src", &["true".to_owned()]),
        (0, "/woodpecker/src", &[]),
    ] {
        let step = StepSpec {
            working_dir: working_dir.to_owned(),
            commands: commands.to_vec(),
            privileged: user == 0,
            ..in_workspace()
        };
        assert_eq!(spec(user, step), Value::Null, "{user} in {working_dir}");
    }
}
