//! Whole pods: of the least that a step can be, and of an image without a shell.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use piculet_core::workload::{StepKind, StepSpec, VolumeSpec};
use piculet_pods::script;
use serde_json::{Value, json};

use super::{CLAIM, Difference, POD, compare, differs, in_workspace, key, made, of_every_pod, peers, pod_value};
use crate::world::{first, map, minimal, options, service};

const EVAL: &str =
    "the shell reads the script from a variable: no command can eat the rest of it, and a missing base64 fails";
const SHOWN: &str = "a command is shown as it is written, and the forge's password is in no argument";
/// In the place of the peer's own words, of which only the meaning counts.
const PIPED: &str = "decode CI_SCRIPT, and hand it to a shell by its standard input";
const THEIR_SCRIPT: &str = "the commands, each after a line that shows it";

/// The variables that both agents add when a step starts.
pub(super) fn at_start(name: &str, kind: &str, own: &Value) -> Value {
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
