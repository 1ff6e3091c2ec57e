//! Every object in full, so that a change of one shows in a review.

use insta::assert_yaml_snapshot;
use piculet_core::id::{Attempt, StepIndex};
use piculet_core::secret::Secret;
use piculet_core::workload::{ExtraHost, Port, Protocol, RegistryAuth, StepKind, StepSpec, VolumeSpec};
use piculet_pods::{Settings, plan, step};
use serde_json::json;

use crate::world::{alone, context, first, labelled, map, minimal, options, owner, service, settings, start, workload};

fn everything_allowed() -> Settings {
    settings(json!({
        "namespace": "ci-steps",
        "cluster_domain": "cluster.example",
        "pod_labels": {"team": "ci", "cost": "42"},
        "pod_annotations": {"example.org/by": "operator"},
        "storage_class": "fast",
        "volume_size": "20Gi",
        "access_mode": "rwo",
        "node_selector": {"pool": "ci"},
        "tolerations": [{"key": "ci", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "default_resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}},
        "service_account": "steps",
        "security": {
            "run_as_non_root": true, "run_as_user": 1000, "run_as_group": 1000, "fs_group": 2000,
            "fs_group_change_policy": "OnRootMismatch", "seccomp_profile": "RuntimeDefault",
            "forbid_privilege_escalation": true, "drop_capabilities": ["NET_RAW"]
        },
        "image_pull_secrets": ["pull-a", "pull-b"],
        "priority_class": "ci",
        "runtime_class": "gvisor",
        "dns_policy": "ClusterFirst",
        "dns_config": {"nameservers": ["10.0.0.10"], "searches": ["corp.example"], "options": [{"name": "ndots", "value": "2"}]},
        "host_aliases": [{"ip": "10.0.0.1", "hostnames": ["cache.example"]}],
        "stop_timeout_seconds": 45,
        "permission_init_image": "registry.example.org/busybox:1",
        "allow_from_step": {
            "labels": true, "annotations": true, "node_selector": true, "tolerations": true, "affinity": true,
            "runtime_class": true, "service_account": true, "native_secrets": true
        }
    }))
}

fn everything_asked() -> StepSpec {
    StepSpec {
        name: "Unit tests (🚀)".to_owned(),
        image: " registry.example.org/rust:1.90 ".to_owned(),
        pull: true,
        entrypoint: vec!["/entry".to_owned(), "$(HOME)".to_owned(), "$$".to_owned()],
        working_dir: "/woodpecker/src/shop".to_owned(),
        workspace_base: "/woodpecker".to_owned(),
        environment: map(&[
            ("CI_COMMIT_MESSAGE", "see $(CI_REPO) and $HOME"),
            ("CI_NETRC_PASSWORD", "hunter2"),
            ("CI_STEP_NAME", "not this"),
        ]),
        secret_environment: [("API_KEY", "s3cr3t"), ("odd name!", "x")]
            .map(|(name, value)| (name.to_owned(), Secret::new(value)))
            .into(),
        volumes: vec![
            VolumeSpec { claim: "Cargo_Cache".to_owned(), path: "/cache".to_owned(), read_only: false },
            VolumeSpec { claim: "cargo-cache".to_owned(), path: "/cache-too".to_owned(), read_only: true },
            VolumeSpec { claim: "/var/run/docker.sock".to_owned(), path: "/sock".to_owned(), read_only: false },
        ],
        ports: vec![
            Port { number: 8080, protocol: Protocol::Tcp },
            Port { number: 53, protocol: Protocol::Udp },
            Port { number: 8080, protocol: Protocol::Tcp },
        ],
        dns: vec!["1.1.1.1".parse().expect("an address")],
        dns_search: vec!["example.org".to_owned()],
        extra_hosts: vec![
            ExtraHost { name: "DB.example".to_owned(), ip: "10.0.0.1".parse().expect("an address") },
            ExtraHost { name: "six".to_owned(), ip: "fd00::1".parse().expect("an address") },
        ],
        registry_auth: Some(RegistryAuth { username: "ci".to_owned(), password: Secret::new("pw") }),
        kubernetes: options(&json!({
            "resources": {"requests": {"cpu": 2}, "limits": {"cpu": "4", "memory": "64Mi"}},
            "runtimeClassName": "kata",
            "serviceAccountName": "deployer",
            "labels": {"team": "shop", "tier": "test"},
            "annotations": {"example.org/by": "step", "example.org/why": "because"},
            "nodeSelector": {"disk": "ssd"},
            "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
            "affinity": {"podAntiAffinity": {}},
            "securityContext": {
                "runAsUser": 1001, "runAsGroup": 1002, "fsGroup": 1003, "fsGroupChangePolicy": "Always",
                "seccompProfile": {"type": "Localhost", "localhostProfile": "p.json"},
                "apparmorProfile": {"type": "RuntimeDefault"},
                "allowPrivilegeEscalation": false,
                "capabilities": {"drop": ["ALL", "NET_RAW"]}
            },
            "secrets": [
                {"name": "native"},
                {"name": "native", "key": "token", "target": {"env": "NATIVE_TOKEN"}},
                {"name": "keys", "key": "id", "target": {"file": "/root/.ssh/id"}},
                {"name": "keys", "key": "id.pub", "target": {"file": "/root/.ssh/id.pub"}}
            ],
            "hostUsers": false,
            "volumes": []
        })),
        ..minimal()
    }
}

#[test]
fn a_minimal_step() {
    let objects = alone(minimal());
    assert!(objects.secrets.is_empty() && objects.notes.is_empty());
    assert_yaml_snapshot!("minimal_pod", objects.pod);
}

#[test]
fn a_maximal_step() {
    let labels = [
        ("woodpecker-ci.org/repo-full-name", "acme/shop"),
        ("platform", "linux/arm64"),
        ("mine", "Is Mine"),
        ("not a key", "x"),
    ];
    let workload = labelled(vec![everything_asked()], &labels);
    let objects = first(&workload, &everything_allowed());
    assert_yaml_snapshot!("maximal_pod", objects.pod);
    assert_yaml_snapshot!("maximal_secrets", objects.secrets);
    assert_yaml_snapshot!("maximal_notes", objects.notes);
}

#[test]
fn a_step_with_commands() {
    let spec = StepSpec {
        commands: vec!["cargo test --locked".to_owned(), "echo \"it's $HOME\"".to_owned()],
        working_dir: "/woodpecker/src/shop".to_owned(),
        workspace_base: "/woodpecker".to_owned(),
        ..minimal()
    };
    assert_yaml_snapshot!("commands_pod", alone(spec).pod);
}

#[test]
fn a_service_without_the_workspace() {
    let spec = StepSpec {
        environment: map(&[("POSTGRES_PASSWORD", "test")]),
        ports: vec![Port { number: 5432, protocol: Protocol::Tcp }],
        workspace_base: "/woodpecker".to_owned(),
        kubernetes: options(&json!({"workspaceVolume": false})),
        image: "postgres:16".to_owned(),
        ..service("postgres")
    };
    assert_yaml_snapshot!("service_pod", alone(spec).pod);
}

#[test]
fn a_plugin_with_credentials_and_secrets() {
    let spec = StepSpec {
        name: "publish".to_owned(),
        kind: StepKind::Plugin,
        image: "registry.example.org/plugins/upload:2".to_owned(),
        environment: map(&[("CI_COMMIT_BRANCH", "main"), ("PLUGIN_TARGET", "prod")]),
        secret_environment: [("PLUGIN_TOKEN".to_owned(), Secret::new("s3cr3t-value"))].into(),
        registry_auth: Some(RegistryAuth { username: "ci".to_owned(), password: Secret::new("pw") }),
        ..minimal()
    };
    let objects = alone(spec);
    assert_yaml_snapshot!("plugin_pod", objects.pod);
    assert_yaml_snapshot!("plugin_secrets", objects.secrets);
}

#[test]
fn a_second_attempt_shares_no_name_with_the_first() {
    let spec = StepSpec {
        secret_environment: [("TOKEN".to_owned(), Secret::new("s3cr3t"))].into(),
        registry_auth: Some(RegistryAuth { username: "ci".to_owned(), password: Secret::new("pw") }),
        ..minimal()
    };
    let workload = workload(vec![spec]);
    let names = |attempt| {
        let settings = Settings::default();
        let objects = step(&workload, StepIndex(0), Attempt(attempt), &start(), &settings, &context(), None);
        let objects = objects.expect("it can be built").into_objects();
        objects.map(|object| (object.kind(), object.name().to_owned())).collect::<Vec<_>>()
    };
    let base = "wp-01k3cz8w5t2q4r6s8v0x1y3z5a";
    assert_eq!(
        names(1),
        [("Secret", base.to_owned()), ("Secret", format!("{base}-step-secret")), ("Pod", base.to_owned())]
    );
    assert_eq!(
        names(2),
        [("Secret", format!("{base}-2")), ("Secret", format!("{base}-2-step-secret")), ("Pod", format!("{base}-2"))]
    );
}

#[test]
fn the_workflows_own_objects() {
    let spec = StepSpec { workspace_base: "/woodpecker".to_owned(), ..minimal() };
    let workload = labelled(vec![spec], &[("woodpecker-ci.org/repo-name", "shop"), ("mine", "x")]);
    let plan = plan(&workload, &Settings::default(), &context()).expect("it can be planned");
    assert_yaml_snapshot!("anchor", plan.anchor);
    let shared: Vec<_> = plan.shared.iter().map(piculet_pods::Object::to_value).collect();
    assert_yaml_snapshot!("shared", shared);
}

#[test]
fn a_workspace_exists_only_where_a_step_mounts_it() {
    let kinds = |steps| {
        let plan = plan(&workload(steps), &Settings::default(), &context()).expect("it can be planned");
        plan.shared.iter().map(piculet_pods::Object::kind).collect::<Vec<_>>()
    };
    assert_eq!(kinds(vec![minimal()]), ["Service"]);
    let declined = StepSpec {
        workspace_base: "/woodpecker".to_owned(),
        kubernetes: options(&json!({"workspaceVolume": false})),
        ..service("db")
    };
    assert_eq!(kinds(vec![declined.clone()]), ["Service"]);
    // Only a service can decline.
    let commands = StepSpec { kind: StepKind::Commands, detached: false, ..declined };
    assert_eq!(kinds(vec![commands]), ["PersistentVolumeClaim", "Service"]);
}

/// One line for each combination: what the pod and its container may do.
#[test]
fn privileges() {
    let mut rows = Vec::new();
    for (title, is_privileged, context) in [
        ("plain", false, json!({})),
        ("asks for privileges", false, json!({"securityContext": {"privileged": true}})),
        ("asks for root", false, json!({"securityContext": {"runAsUser": 0, "runAsGroup": 0, "fsGroup": 0}})),
        (
            "asks for root in a user namespace",
            false,
            json!({"hostUsers": false, "securityContext": {"runAsUser": 0, "runAsGroup": 0, "fsGroup": 0}}),
        ),
        ("another user", false, json!({"securityContext": {"runAsUser": 5, "runAsGroup": 6, "fsGroup": 7}})),
        ("a group alone", false, json!({"securityContext": {"runAsGroup": 6}})),
        ("not root", false, json!({"securityContext": {"runAsNonRoot": true}})),
        ("root after all", false, json!({"securityContext": {"runAsNonRoot": false}})),
        ("no escalation", false, json!({"securityContext": {"allowPrivilegeEscalation": false}})),
        ("escalation", false, json!({"securityContext": {"allowPrivilegeEscalation": true}})),
        ("fewer capabilities", false, json!({"securityContext": {"capabilities": {"drop": ["ALL"]}}})),
        ("unconfined", false, json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}}})),
        ("privileged", true, json!({})),
        ("privileged, and not", true, json!({"securityContext": {"privileged": false}})),
        ("privileged root", true, json!({"securityContext": {"runAsUser": 0}})),
        ("privileged, no escalation", true, json!({"securityContext": {"allowPrivilegeEscalation": false}})),
    ] {
        for (operator, security) in [
            ("lax", json!({})),
            (
                "strict",
                json!({"security": {"run_as_non_root": true, "seccomp_profile": "RuntimeDefault",
                    "forbid_privilege_escalation": true, "fs_group": null}}),
            ),
        ] {
            let spec = StepSpec { privileged: is_privileged, kubernetes: options(&context), ..minimal() };
            let objects = first(&workload(vec![spec]), &settings(security));
            let pod = objects.pod.spec.expect("a spec");
            rows.push(json!({
                "step": title,
                "operator": operator,
                "pod": pod.security_context,
                "container": pod.containers[0].security_context,
                "notes": objects.notes
            }));
        }
    }
    assert_yaml_snapshot!("privileges", rows);
}

#[test]
fn a_refused_option_is_said_in_the_steps_log() {
    let spec = StepSpec {
        kubernetes: options(&json!({"nodeSelector": {"disk": "ssd"}, "serviceAccountName": "root", "replicas": 3})),
        ..minimal()
    };
    let workload = workload(vec![spec]);
    let objects = first(&workload, &Settings::default());
    assert_yaml_snapshot!("refused_notes", objects.notes);
    let plan = plan(&workload, &Settings::default(), &context()).expect("it can be planned");
    assert_eq!(plan.notes[&StepIndex(0)], objects.notes);
    let pod = objects.pod.spec.expect("a spec");
    assert_eq!((pod.node_selector.expect("a default").get("disk"), pod.service_account_name), (None, None));
    assert_eq!(pod.automount_service_account_token, Some(false));
}

#[test]
fn steps_with_one_host_name_are_told() {
    let second = StepSpec { id: "01K3CZ8W5T7B9C1D3E5F7G9H2J".to_owned(), name: "DB".to_owned(), ..minimal() };
    let workload = workload(vec![service("db"), second]);
    let plan = plan(&workload, &Settings::default(), &context()).expect("it can be planned");
    assert_yaml_snapshot!("twin_notes", plan.notes.into_values().collect::<Vec<_>>());
}

#[test]
fn nobody_takes_a_label_that_the_agent_reads() {
    // Settings that nobody checked.
    let settings = Settings {
        pod_labels: map(&[("piculet.dev/workflow", "another"), ("step", "another")]),
        ..Settings::default()
    };
    let labels = first(&workload(vec![minimal()]), &settings).pod.metadata.labels.expect("labels");
    assert_ne!(labels["piculet.dev/workflow"], "another");
    assert_eq!(labels["step"], "build");
}

#[test]
fn owners_are_stamped_on_what_is_made_for_a_step() {
    let spec = StepSpec { secret_environment: [("A".to_owned(), Secret::new("x"))].into(), ..minimal() };
    for object in alone(spec).into_objects() {
        assert_eq!(object.metadata().owner_references, Some(vec![owner()]), "{object:?}");
    }
}
