use piculet_core::workload::Problem;
use serde_json::{Value, json};

use super::{Decoded, NativeSecret, Profile, SecretTarget, StepOptions};
use crate::settings::{AllowFromStep, FsGroupChangePolicy};

const ALL: AllowFromStep = AllowFromStep {
    labels: true,
    annotations: true,
    node_selector: true,
    tolerations: true,
    affinity: true,
    runtime_class: true,
    service_account: true,
    native_secrets: true,
    root: true,
    privileged: true,
};

fn decode(value: Value, allow: &AllowFromStep) -> Result<Decoded, Vec<Problem>> {
    StepOptions::decode("kubernetes", value.as_object().expect("a map"), allow)
}

fn good(value: Value) -> StepOptions {
    let decoded = decode(value, &ALL).expect("good options");
    assert_eq!(decoded.notes, []);
    decoded.options
}

fn fields(problems: &[Problem]) -> Vec<(&str, &str)> {
    problems.iter().map(|problem| (problem.field.as_str(), problem.code)).collect()
}

#[test]
fn every_field_is_read() {
    let options = good(json!({
        "resources": {"requests": {"cpu": 1, "memory": "512Mi"}, "limits": {"memory": "2Gi"}},
        "runtimeClassName": "gvisor",
        "serviceAccountName": "builder",
        "labels": {"team": "A_b"},
        "annotations": {"example.org/note": "any text: even this"},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "ci", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": "5"}],
        "affinity": {"nodeAffinity": {}},
        "securityContext": {
            "privileged": false, "runAsNonRoot": true, "runAsUser": 1001, "runAsGroup": "1002", "fsGroup": 0,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "Localhost", "localhostProfile": "p.json"},
            "apparmorProfile": {"type": "RuntimeDefault"},
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": "ALL"}
        },
        "secrets": [
            {"name": "all"},
            {"name": "one", "key": "token"},
            {"name": "one", "key": "token", "target": {"env": "MY_TOKEN"}},
            {"name": "files", "key": "id", "target": {"file": "/root/.ssh/id"}},
            {"name": "files", "target": {"file": "/keys"}}
        ],
        "workspaceVolume": "false",
        "hostUsers": false
    }));
    assert_eq!(options.resources.requests["cpu"], "1");
    assert_eq!(options.runtime_class.as_deref(), Some("gvisor"));
    assert_eq!(options.labels["team"], "A_b");
    assert_eq!(options.annotations.len(), 1);
    assert_eq!(options.tolerations[0].toleration_seconds, Some(5));
    assert!(options.affinity.is_some_and(|affinity| affinity.node_affinity.is_some()));
    assert_eq!(options.security.run_as_group, Some(1002));
    assert_eq!(options.security.fs_group, Some(0));
    assert_eq!(options.security.fs_group_change_policy, Some(FsGroupChangePolicy::OnRootMismatch));
    assert_eq!(options.security.seccomp_profile, Some(Profile::Localhost("p.json".to_owned())));
    assert_eq!(options.security.drop_capabilities, ["ALL"]);
    let secret = |name: &str, target| NativeSecret { name: name.to_owned(), target };
    assert_eq!(
        options.secrets,
        [
            secret("all", SecretTarget::Everything),
            secret("one", SecretTarget::Variable { key: "token".to_owned(), variable: "TOKEN".to_owned() }),
            secret("one", SecretTarget::Variable { key: "token".to_owned(), variable: "MY_TOKEN".to_owned() }),
            secret("files", SecretTarget::File { key: Some("id".to_owned()), path: "/root/.ssh/id".to_owned() }),
            secret("files", SecretTarget::File { key: None, path: "/keys".to_owned() }),
        ]
    );
    assert_eq!((options.workspace_volume, options.host_users), (Some(false), Some(false)));
}

#[test]
fn keys_are_taken_in_any_case_and_nulls_as_absent() {
    let options = good(json!({"NODESELECTOR": {"Disk": "ssd"}, "resources": null, "labels": {}, "secrets": []}));
    assert_eq!(options.node_selector["Disk"], "ssd", "the keys of a map are the user's own");
    assert_eq!(good(json!({})), StepOptions::default());
    assert_eq!(good(json!({"runtimeClassName": ""})), StepOptions::default());
}

#[test]
fn a_bad_value_is_an_error_that_names_its_field() {
    for (value, field) in [
        (json!({"resources": {"limits": {"memory": "4 GB"}}}), "kubernetes.resources.limits.memory"),
        (json!({"resources": {"limits": {"me mory": "4G"}}}), "kubernetes.resources.limits.me mory"),
        (
            json!({"resources": {"requests": {"cpu": 2}, "limits": {"cpu": "1500m"}}}),
            "kubernetes.resources.requests.cpu",
        ),
        (json!({"resources": {"limits": {"gpu": 1}}}), "kubernetes.resources.limits.gpu"),
        (json!({"resources": "lots"}), "kubernetes.resources"),
        (
            json!({"securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": "/p"}}}),
            "kubernetes.securityContext.seccompProfile",
        ),
        (
            json!({"securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": "a/../p"}}}),
            "kubernetes.securityContext.seccompProfile",
        ),
        (json!({"runtimeClassName": "Big"}), "kubernetes.runtimeClassName"),
        (json!({"serviceAccountName": ["a"]}), "kubernetes.serviceAccountName"),
        (json!({"labels": {"a b": "c"}}), "kubernetes.labels.a b"),
        (json!({"labels": {"a": "b c"}}), "kubernetes.labels.a"),
        (json!({"annotations": [1]}), "kubernetes.annotations"),
        (json!({"nodeSelector": {"a": "/"}}), "kubernetes.nodeSelector.a"),
        (json!({"tolerations": [{"operator": "Equal"}]}), "kubernetes.tolerations[0]"),
        (json!({"tolerations": {"key": "a", "tolerationSeconds": "x"}}), "kubernetes.tolerations[0].tolerationSeconds"),
        (json!({"affinity": {"nodeAffinity": 5}}), "kubernetes.affinity"),
        (json!({"securityContext": {"runAsUser": -1}}), "kubernetes.securityContext.runAsUser"),
        (json!({"securityContext": {"privileged": "maybe"}}), "kubernetes.securityContext.privileged"),
        (
            json!({"securityContext": {"fsGroupChangePolicy": "Never"}}),
            "kubernetes.securityContext.fsGroupChangePolicy",
        ),
        (json!({"securityContext": {"seccompProfile": {"type": "x"}}}), "kubernetes.securityContext.seccompProfile"),
        (
            json!({"securityContext": {"seccompProfile": {"type": "Localhost"}}}),
            "kubernetes.securityContext.seccompProfile",
        ),
        (
            json!({"securityContext": {"apparmorProfile": {"type": "Unconfined", "localhostProfile": "a"}}}),
            "kubernetes.securityContext.apparmorProfile",
        ),
        (
            json!({"securityContext": {"capabilities": {"drop": [""]}}}),
            "kubernetes.securityContext.capabilities.drop[0]",
        ),
        (json!({"secrets": [{"key": "a"}]}), "kubernetes.secrets[0].name"),
        (json!({"secrets": [{"name": "a", "key": "b c"}]}), "kubernetes.secrets[0].key"),
        (json!({"secrets": [{"name": "a", "target": {"env": "A"}}]}), "kubernetes.secrets[0].key"),
        (json!({"secrets": [{"name": "a", "key": "k", "target": {"env": "A=B"}}]}), "kubernetes.secrets[0].target.env"),
        (json!({"secrets": [{"name": "a", "target": {"file": "x"}}]}), "kubernetes.secrets[0].target.file"),
        (json!({"hostUsers": {}}), "kubernetes.hostUsers"),
    ] {
        let problems = decode(value.clone(), &ALL).expect_err(&value.to_string());
        assert_eq!(fields(&problems), [(field, "option-invalid")], "{value}");
    }
}

#[test]
fn unknown_keys_are_said() {
    let value = json!({
        "volumes": [],
        "securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}},
        "affinity": {"nodeAfinity": {}},
        "labels": {"service": "mine", "woodpecker-ci.org/x": "y"}
    });
    let decoded = decode(value, &ALL).expect("nothing is wrong");
    let mut said = fields(&decoded.notes);
    said.sort_unstable();
    assert_eq!(
        said,
        [
            ("kubernetes.affinity", "option-unknown"),
            ("kubernetes.labels.service", "option-reserved"),
            ("kubernetes.labels.woodpecker-ci.org/x", "option-reserved"),
            ("kubernetes.securityContext.capabilities.add", "option-unknown"),
            ("kubernetes.volumes", "option-unknown"),
        ]
    );
    assert!(decoded.options.labels.is_empty());
}

#[test]
fn what_the_operator_does_not_allow_is_left_out_and_said() {
    let value = json!({
        "labels": {"a": "b"}, "annotations": {"a": "b"}, "nodeSelector": {"a": "b"},
        "tolerations": [{"operator": "Exists"}], "affinity": {}, "runtimeClassName": "a", "serviceAccountName": "a",
        "secrets": [{"name": "a"}], "hostUsers": false
    });
    let decoded = decode(value.clone(), &AllowFromStep::default()).expect("nothing is wrong");
    assert_eq!(
        fields(&decoded.notes),
        [
            ("kubernetes.labels", "option-not-allowed"),
            ("kubernetes.annotations", "option-not-allowed"),
            ("kubernetes.nodeSelector", "option-not-allowed"),
            ("kubernetes.affinity", "option-not-allowed"),
            ("kubernetes.runtimeClassName", "option-not-allowed"),
            ("kubernetes.serviceAccountName", "option-not-allowed"),
            ("kubernetes.secrets", "option-not-allowed"),
        ]
    );
    let tolerations = decoded.options.tolerations.clone();
    assert_eq!(tolerations.len(), 1, "tolerations are allowed by default");
    let rest = StepOptions { tolerations, host_users: Some(false), ..StepOptions::default() };
    assert_eq!(decoded.options, rest);

    let none = AllowFromStep { tolerations: false, ..AllowFromStep::default() };
    let decoded = decode(value.clone(), &none).expect("nothing is wrong");
    assert!(decoded.options.tolerations.is_empty());
    assert_eq!(decode(value, &ALL).expect("nothing is wrong").notes, []);
}
