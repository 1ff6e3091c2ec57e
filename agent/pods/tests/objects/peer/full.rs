//! The pod of a step that asks for all there is, of an operator who set and allowed everything.

use piculet_core::secret::Secret;
use piculet_core::workload::{ExtraHost, Port, Protocol, RegistryAuth, StepSpec, VolumeSpec};
use piculet_pods::Settings;
use serde_json::{Value, json};

use super::pods::at_start;
use super::{CLAIM, POD, compare, differs, in_workspace, key, of_every_pod, peers, pod_value};
use crate::world::{first, map, options};

const LITERAL: &str = "the text arrives as it is: nothing in it is taken for another variable";

/// Settings with every variable of the peer that reaches a pod.
fn everything_set() -> Settings {
    peers(&json!({
        "cluster_domain": "cluster.example",
        "pod_labels": {"team": "ci", "cost": "42"},
        "pod_annotations": {"example.org/by": "operator"},
        "node_selector": {"pool": "ci"},
        "tolerations": [{"key": "ci", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "security": {"run_as_non_root": true},
        "image_pull_secrets": ["pull-a", "pull-b"],
        "priority_class": "ci",
        "permission_init_image": "registry.example.org/busybox:1",
        "allow_from_step": {
            "labels": true, "annotations": true, "node_selector": true, "tolerations": true, "affinity": true,
            "runtime_class": true, "service_account": true, "native_secrets": true
        }
    }))
}

fn everything_asked() -> StepSpec {
    let address = |text: &str| text.parse().expect("an address");
    StepSpec {
        name: "Unit tests (🚀)".to_owned(),
        image: "registry.example.org/rust:1.90".to_owned(),
        pull: true,
        entrypoint: vec!["/entry".to_owned(), "$(HOME)".to_owned()],
        environment: map(&[("CI_COMMIT_MESSAGE", "see $(CI_REPO) and $HOME"), ("CI_NETRC_PASSWORD", "hunter2")]),
        secret_environment: [("API_KEY", "s3cr3t"), ("odd name!", "x")]
            .map(|(name, value)| (name.to_owned(), Secret::new(value)))
            .into(),
        volumes: vec![
            VolumeSpec { claim: "Cargo_Cache".to_owned(), path: "/cache".to_owned(), read_only: false },
            VolumeSpec { claim: "fixtures".to_owned(), path: "/fixtures".to_owned(), read_only: true },
        ],
        ports: vec![Port { number: 8080, protocol: Protocol::Tcp }, Port { number: 53, protocol: Protocol::Udp }],
        dns: vec![address("1.1.1.1")],
        dns_search: vec!["example.org".to_owned()],
        extra_hosts: vec![
            ExtraHost { name: "db.example".to_owned(), ip: address("10.0.0.1") },
            ExtraHost { name: "six".to_owned(), ip: address("fd00::1") },
            ExtraHost { name: "Cache.example".to_owned(), ip: address("10.0.0.1") },
        ],
        registry_auth: Some(RegistryAuth { username: "ci".to_owned(), password: Secret::new("pw") }),
        kubernetes: options(&json!({
            "resources": {"requests": {"cpu": 2}, "limits": {"cpu": "4", "memory": "64Mi"}},
            "runtimeClassName": "kata",
            "serviceAccountName": "deployer",
            "labels": {"team": "shop", "tier": "A_test"},
            "annotations": {"example.org/by": "step", "example.org/why": "because"},
            "nodeSelector": {"disk": "ssd", "kubernetes.io/arch": "riscv64"},
            "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}],
            "affinity": {"podAntiAffinity": {}},
            "securityContext": {
                "runAsUser": 1001, "runAsGroup": 1002, "fsGroup": 1003, "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "Localhost", "localhostProfile": "p.json"},
                "apparmorProfile": {"type": "RuntimeDefault"},
                "allowPrivilegeEscalation": false,
                "capabilities": {"drop": ["ALL"]}
            },
            "secrets": [
                {"name": "native"},
                {"name": "native", "key": "token", "target": {"env": "NATIVE_TOKEN"}},
                {"name": "keys", "key": "id", "target": {"file": "/root/.ssh/id"}}
            ],
            "hostUsers": false
        })),
        ..in_workspace()
    }
}

/// What the peer makes of [`everything_asked`] with [`everything_set`].
fn everything_there() -> Value {
    let step_secret = format!("{POD}-step-secret");
    let of_secret = |name: &str, key: &str| json!({"valueFrom": {"secretKeyRef": {"name": name, "key": key}}});
    let little = json!({"cpu": "5m", "memory": "12Mi"});
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": POD,
            "namespace": "woodpecker",
            "labels": {
                "woodpecker-ci.org/repo-name": "shop",
                "woodpecker-ci.org/step": "unit-tests",
                "woodpecker-ci.org/task-uuid": "4711",
                "platform": "linux-arm64",
                "mine": "is-mine",
                "team": "ci",
                "cost": "42",
                "tier": "A_test",
                "step": "unit-tests"
            },
            "annotations": {"example.org/by": "operator", "example.org/why": "because"}
        },
        "spec": {
            "restartPolicy": "Never",
            "priorityClassName": "ci",
            "runtimeClassName": "kata",
            "serviceAccountName": "deployer",
            "hostUsers": false,
            "hostname": "unit-tests",
            "subdomain": "wp-hsvc-4711",
            "dnsConfig": {"nameservers": ["1.1.1.1"], "searches": ["example.org"]},
            "hostAliases": [
                {"ip": "10.0.0.1", "hostnames": ["db.example"]},
                {"ip": "fd00::1", "hostnames": ["six"]},
                {"ip": "10.0.0.1", "hostnames": ["Cache.example"]}
            ],
            "nodeSelector": {"kubernetes.io/arch": "riscv64", "pool": "ci", "disk": "ssd"},
            "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}],
            "affinity": {"podAntiAffinity": {}},
            "imagePullSecrets": [{"name": "pull-a"}, {"name": "pull-b"}, {"name": POD}],
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 1001, "runAsGroup": 1002,
                "fsGroup": 1003, "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "Localhost", "localhostProfile": "p.json"},
                "appArmorProfile": {"type": "RuntimeDefault"}
            },
            "volumes": [
                {"name": CLAIM, "persistentVolumeClaim": {"claimName": CLAIM}},
                {"name": "cargo-cache", "persistentVolumeClaim": {"claimName": "cargo-cache"}},
                {"name": "fixtures", "persistentVolumeClaim": {"claimName": "fixtures"}},
                {"name": "keys", "secret": {"secretName": "keys"}}
            ],
            "initContainers": [{
                "name": format!("init-{POD}"),
                "image": "registry.example.org/busybox:1",
                "imagePullPolicy": "Always",
                "args": ["mkdir", "-p", "/woodpecker/src/shop"],
                "resources": {"requests": little, "limits": little},
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                "volumeMounts": [{"name": CLAIM, "mountPath": "/woodpecker"}]
            }],
            "containers": [{
                "name": POD,
                "image": "registry.example.org/rust:1.90",
                "imagePullPolicy": "Always",
                "command": ["/entry", "$(HOME)"],
                "workingDir": "/woodpecker/src/shop",
                "env": at_start("Unit tests (🚀)", "commands", &json!({
                    "CI_COMMIT_MESSAGE": {"value": "see $(CI_REPO) and $HOME"},
                    "CI_NETRC_PASSWORD": {"value": "hunter2"},
                    "API_KEY": of_secret(&step_secret, "API_KEY"),
                    "odd name!": of_secret(&step_secret, "odd name!"),
                    "NATIVE_TOKEN": of_secret("native", "token")
                })),
                "envFrom": [{"secretRef": {"name": "native"}}],
                "ports": [{"containerPort": 8080}, {"containerPort": 53, "protocol": "UDP"}],
                "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "4", "memory": "64Mi"}},
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                "volumeMounts": [
                    {"name": CLAIM, "mountPath": "/woodpecker"},
                    {"name": "cargo-cache", "mountPath": "/cache"},
                    {"name": "fixtures", "mountPath": "/fixtures"},
                    {"name": "keys", "mountPath": "/root/.ssh/id", "subPath": "id", "readOnly": true}
                ]
            }]
        }
    })
}

#[test]
fn full() {
    const KEPT: &str = "a step with name servers of its own still finds its services";
    const MERGED: &str = "the API keeps one entry for an address, and host names have no capitals";
    const PLATFORM: &str = "a workflow for a platform runs there, wherever its agent does";
    const ARGUMENTS: &str =
        "an image with an entrypoint makes the folder, too, and so does a name that begins with '-'";
    let labels = [("woodpecker-ci.org/repo-name", "shop"), ("platform", "linux/arm64"), ("mine", "Is Mine")];
    let workload = super::workflow_of(everything_asked(), &labels);
    let own = format!("wp-hsvc-{}.woodpecker.svc.cluster.example", key(&workload));
    let hosts = json!([
        {"ip": "10.0.0.1", "hostnames": ["db.example", "cache.example"]},
        {"ip": "fd00::1", "hostnames": ["six"]}
    ]);
    let mkdir = json!(["mkdir", "-p", "--", "/woodpecker/src/shop"]);
    let password =
        json!({"valueFrom": {"secretKeyRef": {"name": format!("{POD}-step-secret"), "key": "CI_NETRC_PASSWORD"}}});
    let odd_key = "/spec/containers/0/env/odd name!/valueFrom/secretKeyRef/key";
    let message = "see $$(CI_REPO) and $HOME";
    let mut differences = of_every_pod(&workload, "");
    differences.retain(|difference| difference.at != "/spec/automountServiceAccountToken");
    differences.extend([
        differs(
            "/spec/automountServiceAccountToken",
            true,
            "who names an account wants its token, whatever it says itself",
        ),
        differs("/spec/dnsConfig/searches", json!([own, "example.org"]), KEPT),
        differs("/spec/hostAliases", hosts, MERGED),
        differs("/spec/nodeSelector/kubernetes.io~1os", "linux", PLATFORM),
        differs("/spec/initContainers/0/args", Value::Null, ARGUMENTS),
        differs("/spec/initContainers/0/command", mkdir, ARGUMENTS),
        differs("/spec/containers/0/command/1", "$$(HOME)", LITERAL),
        differs("/spec/containers/0/env/CI_COMMIT_MESSAGE/value", message, LITERAL),
        differs("/spec/containers/0/env/CI_NETRC_PASSWORD", password, "the forge's password is a secret"),
        differs(odd_key, "variable-ddabd19121e62d51", "a Secret takes no such key"),
        differs("/spec/containers/0/ports/0/protocol", "TCP", "the same, in full"),
        differs("/spec/containers/0/volumeMounts/2/readOnly", true, "who says 'ro' means it"),
    ]);
    compare(&pod_value(&first(&workload, &everything_set()).pod), everything_there(), differences);
}
