//! Whole pods: of the least that a step can be, of all that it can ask for, and of an image without a shell.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use piculet_core::secret::Secret;
use piculet_core::workload::{ExtraHost, Port, Protocol, RegistryAuth, StepKind, StepSpec, VolumeSpec};
use piculet_pods::{Settings, script};
use serde_json::{Value, json};

use super::{CLAIM, Difference, POD, compare, differs, in_workspace, key, made, of_every_pod, peers, pod_value};
use crate::world::{first, map, minimal, options, service};

const LITERAL: &str = "the text arrives as it is: nothing in it is taken for another variable";
const EVAL: &str =
    "the shell reads the script from a variable: no command can eat the rest of it, and a missing base64 fails";
const SHOWN: &str = "a command is shown as it is written, and the forge's password is in no argument";
/// In the place of the peer's own words, of which only the meaning counts.
const PIPED: &str = "decode CI_SCRIPT, and hand it to a shell by its standard input";
const THEIR_SCRIPT: &str = "the commands, each after a line that shows it";

/// The variables that both agents add when a step starts.
fn at_start(name: &str, kind: &str, own: &Value) -> Value {
    let mut variables = json!({
        "CI_MACHINE": {"value": "agent-0"},
        "CI_PIPELINE_STARTED": {"value": "1767225600"},
        "CI_PIPELINE_STATUS": {"value": "success"},
        "CI_STEP_NAME": {"value": name},
        "CI_STEP_STARTED": {"value": "1767225660"},
        "CI_STEP_TYPE": {"value": kind},
        "CI_SYSTEM_PLATFORM": {"value": "linux/amd64"},
    });
    for (name, value) in own.as_object().expect("a map") {
        variables[name] = value.clone();
    }
    variables
}

/// How a script travels.
fn scripted(working_dir: &str, commands: &[String]) -> Vec<Difference> {
    let variables = script::variables(working_dir, commands);
    let run = script::command(&variables)[2].replace("$(", "$$(");
    vec![
        differs("/spec/containers/0/command/2", run, EVAL),
        differs("/spec/containers/0/env/CI_SCRIPT/value", variables[0].1.as_str(), SHOWN),
    ]
}

#[test]
fn tiny() {
    let commands = vec!["cargo test --locked".to_owned(), "echo done".to_owned()];
    let step = StepSpec {
        commands: commands.clone(),
        environment: map(&[("CI", "woodpecker"), ("CI_STEP_NAME", "not this")]),
        ..in_workspace()
    };
    let workload = super::workflow_of(step, &[("woodpecker-ci.org/repo-full-name", "acme/shop"), ("mine", "x")]);
    let theirs = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": POD,
            "namespace": "woodpecker",
            "labels": {
                "woodpecker-ci.org/repo-full-name": "acme-shop",
                "woodpecker-ci.org/step": "build",
                "woodpecker-ci.org/task-uuid": "4711",
                "step": "build"
            }
        },
        "spec": {
            "restartPolicy": "Never",
            "hostname": "build",
            "subdomain": "wp-hsvc-4711",
            "dnsConfig": {"searches": ["wp-hsvc-4711.woodpecker.svc.cluster.local"]},
            "nodeSelector": {"kubernetes.io/arch": "amd64"},
            "securityContext": {"fsGroup": 1000},
            "volumes": [{"name": CLAIM, "persistentVolumeClaim": {"claimName": CLAIM}}],
            "containers": [{
                "name": POD,
                "image": "busybox:1.37",
                "command": ["/bin/sh", "-c", PIPED],
                "workingDir": "/woodpecker",
                "env": at_start("build", "commands", &json!({
                    "CI": {"value": "woodpecker"},
                    "CI_SCRIPT": {"value": STANDARD.encode(THEIR_SCRIPT)},
                    "SHELL": {"value": "/bin/sh"}
                })),
                "volumeMounts": [{"name": CLAIM, "mountPath": "/woodpecker"}]
            }]
        }
    });
    let mut differences = of_every_pod(&workload, "cluster.local");
    differences.extend(scripted("/woodpecker/src/shop", &commands));
    compare(&pod_value(&first(&workload, &peers(&json!({}))).pod), theirs, differences);
}

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

#[test]
fn scratch() {
    let step = StepSpec {
        kind: StepKind::Plugin,
        image: "registry.example.org/tool".to_owned(),
        entrypoint: vec!["/tool".to_owned(), "--check".to_owned()],
        ..minimal()
    };
    let workload = super::workflow_of(step, &[]);
    let theirs = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": POD,
            "namespace": "woodpecker",
            "labels": {"woodpecker-ci.org/step": "build", "woodpecker-ci.org/task-uuid": "4711", "step": "build"}
        },
        "spec": {
            "restartPolicy": "Never",
            "hostname": "build",
            "subdomain": "wp-hsvc-4711",
            "dnsConfig": {"searches": ["wp-hsvc-4711.woodpecker.svc.cluster.local"]},
            "nodeSelector": {"kubernetes.io/arch": "amd64"},
            "securityContext": {"fsGroup": 1000},
            "containers": [{
                "name": POD,
                "image": "registry.example.org/tool",
                "command": ["/tool", "--check"],
                "env": at_start("build", "plugin", &json!({
                    "DRONE_BUILD_STATUS": {"value": "success"},
                    "DRONE_REPO_SCM": {"value": "git"},
                    "PULLREQUEST_DRONE_PULL_REQUEST": {"value": "0"}
                }))
            }]
        }
    });
    compare(&pod_value(&first(&workload, &peers(&json!({}))).pod), theirs, of_every_pod(&workload, "cluster.local"));
}

#[test]
fn an_entrypoint_goes_before_commands_which_can_still_be_read() {
    let step = StepSpec {
        entrypoint: vec!["/entry".to_owned()],
        commands: vec!["echo hello world".to_owned()],
        ..in_workspace()
    };
    let container = super::pod_spec(step, &peers(&json!({})))["containers"][0].clone();
    assert_eq!(container["command"], json!(["/entry"]));
    assert_eq!(container["workingDir"], "/woodpecker");
    assert_eq!(container["env"]["SHELL"]["value"], "/bin/sh");
    let script = STANDARD.decode(container["env"]["CI_SCRIPT"]["value"].as_str().expect("text")).expect("base64");
    let script = String::from_utf8(script).expect("UTF-8");
    assert!(script.starts_with('\n') && script.ends_with("'echo hello world'\necho hello world\n"), "{script}");
}

#[test]
fn host_names_and_domains() {
    let clean = peers(&json!({"cluster_domain": "corp.internal"}));
    for (name, host) in [
        ("Unit tests", json!("unit-tests")),
        ("db.example", json!("db-example")),
        ("build_and/deploy", json!("build-and-deploy")),
        ("🚀", Value::Null),
    ] {
        let workload = super::workflow_of(StepSpec { name: name.to_owned(), ..minimal() }, &[]);
        let spec = pod_value(&first(&workload, &clean).pod)["spec"].clone();
        assert_eq!(spec["hostname"], host, "{name}");
        let theirs = "wp-hsvc-4711.woodpecker.svc.corp.internal";
        let ours = theirs.replace("4711", &key(&workload));
        compare(
            &spec["dnsConfig"],
            json!({"searches": [theirs]}),
            vec![differs("/searches/0", ours, super::TWO_SERVERS)],
        );
    }
}

#[test]
fn a_service_may_go_without_the_workspace_and_keeps_its_other_volumes() {
    let with = |value: &Value| {
        let step = StepSpec {
            workspace_base: "/woodpecker".to_owned(),
            volumes: vec![VolumeSpec { claim: "data".to_owned(), path: "/data".to_owned(), read_only: false }],
            kubernetes: options(value),
            ..service("postgres")
        };
        made(step, &peers(&json!({})))
    };
    let (workspace, data) =
        (json!({"name": CLAIM, "mountPath": "/woodpecker"}), json!({"name": "data", "mountPath": "/data"}));
    for (value, mounts) in [
        (json!({}), json!([workspace, data])),
        (json!({"workspaceVolume": true}), json!([workspace, data])),
        (json!({"workspaceVolume": false}), json!([data])),
    ] {
        let pod = pod_value(&with(&value).pod);
        assert_eq!(pod["spec"]["containers"][0]["volumeMounts"], mounts, "{value}");
        assert_eq!(pod["metadata"]["name"], "wp-svc-01k3cz8w5t2q4r6s8v0x1y3z5a-postgres");
        assert_eq!(pod["metadata"]["labels"]["service"], pod["metadata"]["name"]);
        assert_eq!(pod["spec"]["hostname"], "postgres");
    }
}
