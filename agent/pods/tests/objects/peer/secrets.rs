//! Secrets that the agent makes, and those of the namespace.

use piculet_core::id::{Attempt, StepIndex};
use piculet_core::secret::Secret;
use piculet_core::workload::{RegistryAuth, StepSpec};
use serde_json::{Value, json};

use super::{Difference, FOUND_BY, POD, compare, differs, made, peers, pod_spec, secret_value, stamped, workflow_of};
use crate::world::{context, first, map, minimal, options, service, start};

const FIXED: &str = "nobody changes it under a step that runs, and the kubelet needs no watch for it";

fn credentials(username: &str, password: &str) -> Option<RegistryAuth> {
    Some(RegistryAuth { username: username.to_owned(), password: Secret::new(password) })
}

/// The labels of a workflow that the peer leaves away.
fn labelled(missing: &[(&str, &str)]) -> Vec<Difference> {
    let label = |(key, value): &(&str, &str)| {
        differs(&format!("/metadata/labels/{}", key.replace('/', "~1")), *value, FOUND_BY)
    };
    missing.iter().map(label).collect()
}

#[test]
fn a_steps_secret() {
    let step = StepSpec { secret_environment: [("API_KEY".to_owned(), Secret::new("s3cr3t"))].into(), ..minimal() };
    let workload = workflow_of(step, &[("woodpecker-ci.org/repo-name", "shop")]);
    let theirs = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": format!("{POD}-step-secret"), "namespace": "woodpecker"},
        "type": "Opaque",
        "stringData": {"API_KEY": "s3cr3t"}
    });
    let mut differences = stamped(&workload);
    differences.push(differs("/immutable", true, FIXED));
    differences.extend(labelled(&[
        ("woodpecker-ci.org/repo-name", "shop"),
        ("woodpecker-ci.org/step", "build"),
        ("woodpecker-ci.org/task-uuid", "4711"),
        ("step", "build"),
    ]));
    let secrets = first(&workload, &peers(&json!({}))).secrets;
    assert_eq!(secrets.len(), 1);
    compare(&secret_value(&secrets[0]), theirs, differences);
}

#[test]
fn credentials_for_a_registry() {
    let step = StepSpec {
        image: "registry.example.org:5000/rust:1.90".to_owned(),
        registry_auth: credentials("ci", "pw\"\\"),
        ..service("postgres")
    };
    let workload = workflow_of(step, &[("woodpecker-ci.org/repo-name", "shop")]);
    let service_pod = format!("wp-svc-{}-postgres", POD.trim_start_matches("wp-"));
    let theirs = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": POD,
            "namespace": "woodpecker",
            "labels": {
                "woodpecker-ci.org/repo-name": "shop",
                "woodpecker-ci.org/step": "postgres",
                "service": service_pod,
                "step": "postgres"
            }
        },
        "type": "kubernetes.io/dockerconfigjson",
        "stringData": {".dockerconfigjson": {
            "auths": {"registry.example.org:5000": {"username": "ci", "password": "pw\"\\"}}
        }}
    });
    let mut differences = stamped(&workload);
    differences.push(differs("/immutable", true, FIXED));
    differences.extend(labelled(&[("woodpecker-ci.org/task-uuid", "4711")]));
    let objects = first(&workload, &peers(&json!({"image_pull_secrets": ["pull"]})));
    let mut secret = secret_value(&objects.secrets[0]);
    let file = &mut secret["stringData"][".dockerconfigjson"];
    *file = serde_json::from_str(file.as_str().expect("text")).expect("JSON");
    compare(&secret, theirs, differences);
    let pull: Vec<_> = objects.pod.spec.expect("a spec").image_pull_secrets.into_iter().flatten().collect();
    assert_eq!(pull.iter().map(|secret| secret.name.as_str()).collect::<Vec<_>>(), ["pull", POD]);
}

#[test]
fn secrets_are_made_only_where_there_is_something_to_hide() {
    let kinds = |step: StepSpec| {
        let secrets = made(step, &peers(&json!({}))).secrets;
        secrets.into_iter().map(|secret| secret.type_.expect("a type")).collect::<Vec<_>>()
    };
    let secret_environment = || [("A".to_owned(), Secret::new("x"))].into();
    for (step, expected) in [
        (minimal(), &[][..]),
        (StepSpec { environment: map(&[("A", "x")]), ..minimal() }, &[]),
        (StepSpec { registry_auth: credentials("ci", ""), ..minimal() }, &[]),
        (StepSpec { registry_auth: credentials("", "pw"), ..minimal() }, &[]),
        (StepSpec { secret_environment: secret_environment(), ..minimal() }, &["Opaque"]),
        (StepSpec { registry_auth: credentials("ci", "pw"), ..minimal() }, &["kubernetes.io/dockerconfigjson"]),
        (
            StepSpec { registry_auth: credentials("ci", "pw"), secret_environment: secret_environment(), ..minimal() },
            &["kubernetes.io/dockerconfigjson", "Opaque"],
        ),
    ] {
        assert_eq!(kinds(step), expected);
    }
}

/// What a step has of the namespace's Secrets: variables, whole Secrets, volumes and mounts.
fn native(asked: &Value) -> Value {
    let settings = peers(&json!({"allow_from_step": {"native_secrets": true}}));
    let spec = pod_spec(StepSpec { kubernetes: options(&json!({ "secrets": asked })), ..minimal() }, &settings);
    let container = &spec["containers"][0];
    let variables = container["env"].as_object().expect("a map").iter();
    let native: serde_json::Map<_, _> = variables
        .filter_map(|(name, variable)| Some((name.clone(), variable.pointer("/valueFrom/secretKeyRef")?.clone())))
        .collect();
    json!({
        "env": native,
        "envFrom": container["envFrom"],
        "volumes": spec["volumes"],
        "mounts": container["volumeMounts"]
    })
}

#[test]
fn secrets_of_the_namespace() {
    let nothing = json!({"env": {}, "envFrom": null, "volumes": null, "mounts": null});
    let with = |fields: Value| {
        let mut all = nothing.clone();
        fields.as_object().expect("a map").iter().for_each(|(field, value)| all[field] = value.clone());
        all
    };
    let volume = json!([{"name": "ssh-keys", "secret": {"secretName": "ssh.keys"}}]);
    for (asked, theirs, differences) in [
        (json!([]), nothing.clone(), vec![]),
        (json!([{"name": "all"}]), with(json!({"envFrom": [{"secretRef": {"name": "all"}}]})), vec![]),
        (
            json!([{"name": "one", "key": "api-token"}]),
            with(json!({"env": {"API-TOKEN": {"name": "one", "key": "api-token"}}})),
            vec![],
        ),
        (
            json!([{"name": "one", "key": "token", "target": {"env": "MY_TOKEN"}}]),
            with(json!({"env": {"MY_TOKEN": {"name": "one", "key": "token"}}})),
            vec![],
        ),
        (
            json!([{"name": "keys", "key": "id", "target": {"file": "/root/.ssh/id"}}]),
            with(json!({
                "volumes": [{"name": "keys", "secret": {"secretName": "keys"}}],
                "mounts": [{"name": "keys", "mountPath": "/root/.ssh/id", "subPath": "id", "readOnly": true}]
            })),
            vec![],
        ),
        (
            json!([{"name": "ssh.keys", "target": {"file": "/keys", "env": "not this"}}]),
            with(json!({
                "volumes": [{"name": "ssh.keys", "secret": {"secretName": "ssh.keys"}}],
                "mounts": [{"name": "ssh.keys", "mountPath": "/keys", "readOnly": true}]
            })),
            vec![
                differs("/volumes", volume, "a volume's name has no dots"),
                differs("/mounts/0/name", "ssh-keys", "a volume's name has no dots"),
            ],
        ),
    ] {
        compare(&native(&asked), theirs, differences);
    }
}

/// There the pod is refused by the API server.
#[test]
fn a_variable_without_a_key_is_refused_with_its_field() {
    let asked = json!({"secrets": [{"name": "one", "target": {"env": "TOKEN"}}]});
    let workload = workflow_of(StepSpec { kubernetes: options(&asked), ..minimal() }, &[]);
    let settings = peers(&json!({"allow_from_step": {"native_secrets": true}}));
    let refused = piculet_pods::step(&workload, StepIndex(0), Attempt::FIRST, &start(), &settings, &context(), None);
    let words = refused.expect_err("it can't be built").to_string();
    assert!(words.contains("backend_options.kubernetes.secrets[0].key"), "{words}");
}
