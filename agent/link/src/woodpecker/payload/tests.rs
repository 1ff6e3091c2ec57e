use std::collections::BTreeMap;

use piculet_core::id::WorkflowId;
use piculet_core::secret::Secret;
use piculet_core::workload::{
    ExtraHost, FailurePolicy, Port, Protocol, RegistryAuth, StepKind, StepSpec, VolumeSpec, Workload, WorkloadSpec,
};
use serde_json::{Value, json};

use super::decode;

fn read(payload: &Value) -> Result<WorkloadSpec, Vec<String>> {
    decode(payload.to_string().as_bytes(), 30).map_err(|error| {
        error.problems.iter().map(|problem| format!("{}: {}", problem.field, problem.message)).collect()
    })
}

/// A payload of one stage with one step.
fn with(step: Value) -> Value {
    json!({"pipeline": [{"steps": [step]}], "volume": "wp_01K3_0_default", "network": "wp_01K3_0_default"})
}

fn step(payload: &Value) -> StepSpec {
    read(payload).unwrap().stages[0].steps[0].clone()
}

fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn everything_that_means_something_here_arrives() {
    let step = step(&with(json!({
        "name": "unit tests", "org_id": 3, "uuid": "01K3CZ8W5TK4M6N8P0Q2R4S6T8", "type": "commands",
        "image": "rust:1.90", "pull": true, "detach": true, "privileged": true,
        "working_dir": "/woodpecker/src/shop", "workspace_base": "/woodpecker",
        "environment": {"CI": "woodpecker", "API_KEY": "s3cr3t"}, "secret_mapping": {"API_KEY": "s3cr3t"},
        "entrypoint": ["/bin/sh"], "commands": ["cargo test"],
        "extra_hosts": [{"name": "db", "ip": "fd00::1"}],
        "volumes": ["wp_01K3_0_default:/woodpecker", "cargo:/usr/local/cargo:ro", "/cache"],
        "tmpfs": ["/run"], "devices": ["/dev/kvm"], "network_mode": "host",
        "networks": [{"name": "wp_01K3_0_default", "aliases": null}],
        "dns": ["1.1.1.1"], "dns_search": ["corp.example.org"],
        "on_failure": true, "on_success": true, "failure": "ignore",
        "auth_config": {"username": "ci", "password": "pw"},
        "ports": [{"number": 5432}, {"number": 53, "protocol": "UDP"}],
        "backend_options": {"kubernetes": {"resources": {"limits": {"memory": "1Gi"}}}, "docker": 7},
        "workflow_labels": {"woodpecker-ci.org/repo-id": "17"}
    })));
    let expected = StepSpec {
        id: "01K3CZ8W5TK4M6N8P0Q2R4S6T8".into(),
        name: "unit tests".into(),
        kind: StepKind::Commands,
        image: "rust:1.90".into(),
        pull: true,
        entrypoint: vec!["/bin/sh".into()],
        commands: vec!["cargo test".into()],
        working_dir: "/woodpecker/src/shop".into(),
        workspace_base: "/woodpecker".into(),
        environment: texts(&[("CI", "woodpecker")]),
        secret_environment: [("API_KEY".to_owned(), Secret::new("s3cr3t"))].into(),
        on_failure: true,
        failure: FailurePolicy::Ignore,
        detached: true,
        privileged: true,
        volumes: vec![
            VolumeSpec { claim: "cargo".into(), path: "/usr/local/cargo".into(), read_only: true },
            VolumeSpec { claim: "cache".into(), path: "/cache".into(), read_only: false },
        ],
        ports: vec![Port { number: 5432, protocol: Protocol::Tcp }, Port { number: 53, protocol: Protocol::Udp }],
        dns: vec!["1.1.1.1".parse().unwrap()],
        dns_search: vec!["corp.example.org".into()],
        extra_hosts: vec![ExtraHost { name: "db".into(), ip: "fd00::1".parse().unwrap() }],
        registry_auth: Some(RegistryAuth { username: "ci".into(), password: Secret::new("pw") }),
        kubernetes: json!({"resources": {"limits": {"memory": "1Gi"}}}).as_object().unwrap().clone(),
        ..StepSpec::default()
    };
    assert_eq!(step, expected);
}

#[test]
fn the_workflow_has_its_volume_its_labels_and_its_organisation() {
    let mut payload = with(json!({"name": "a", "uuid": "A", "image": "i", "org_id": 3, "workflow_labels": {"a": "b"},
        "environment": {"CI_WORKFLOW_NAME": "test"}}));
    payload["secrets"] = json!([{"name": "key", "value": "s3cr3t"}, {"name": "empty"}, null]);
    let spec = read(&payload).unwrap();
    assert_eq!(spec.workspace, "wp_01K3_0_default");
    assert_eq!(spec.labels, texts(&[("a", "b")]));
    assert_eq!(spec.organization, Some(3));
    assert_eq!((spec.name.as_str(), spec.timeout_seconds), ("test", Some(1800)));
    assert_eq!(spec.secrets, [Secret::new("s3cr3t"), Secret::new("")]);
    for (minutes, seconds) in [(0, 3600), (-5, 3600), (1, 60)] {
        assert_eq!(decode(payload.to_string().as_bytes(), minutes).unwrap().timeout_seconds, Some(seconds));
    }
}

#[test]
fn what_is_missing_or_null_is_empty_and_what_nobody_knows_is_skipped() {
    let bare = step(&with(json!({"name": "a", "uuid": "A", "image": "i"})));
    let nulls = step(&with(json!({
        "name": "a", "uuid": "A", "image": "i", "type": null, "pull": null, "environment": null, "commands": [null],
        "volumes": null, "ports": null, "auth_config": null, "backend_options": {"kubernetes": null}, "dns": null,
        "extra_hosts": null, "workflow_labels": null, "org_id": null, "on_success": null, "a new key": {"x": [1]}
    })));
    assert_eq!(bare, nulls);
    assert_eq!((bare.kind, bare.failure, bare.on_success), (StepKind::Commands, FailurePolicy::Fail, false));
    assert_eq!(bare.environment, texts(&[]));
    let spec =
        read(&json!({"pipeline": [{"steps": [{"name": "a", "uuid": "A", "image": "i"}]}], "new": 1, "secrets": null}));
    assert_eq!(spec.unwrap().workspace, "");
}

#[test]
fn stages_without_steps_are_left_out_and_a_workflow_without_any_is_an_error() {
    let step = json!({"name": "a", "uuid": "A", "image": "i"});
    let spec = read(&json!({"pipeline": [{}, {"steps": null}, {"steps": [step]}, {"steps": []}]})).unwrap();
    assert_eq!(spec.stages.len(), 1);
    for empty in
        [json!({}), json!({"pipeline": null}), json!({"pipeline": []}), json!({"pipeline": [{}, {"steps": []}]})]
    {
        assert_eq!(
            read(&empty),
            Err(vec!["pipeline: it has no steps: nothing can run, and nothing can have succeeded".to_owned()]),
            "{empty}"
        );
    }
}

#[test]
fn what_cannot_be_read_is_named_without_its_value() {
    for (payload, told) in [
        ("", "payload: the server's description of the workflow ends too early (line 1, column 0)"),
        ("{\"pipeline\": [", "payload: the server's description of the workflow ends too early (line 1, column 14)"),
        ("no hunter2", "payload: the server's description of the workflow is no JSON (line 1, column 2)"),
        ("\u{1f}", "payload: the server's description of the workflow is no JSON (line 1, column 1)"),
        ("[]", "pipeline: it has no steps: nothing can run, and nothing can have succeeded"),
        (
            r#"{"pipeline": [{"steps": [{"environment": {"KEY": ["hunter2"]}}]}]}"#,
            "pipeline[0].steps[0].environment.KEY: the value has a type that no such field has",
        ),
        (r#"{"pipeline": [{"steps": "hunter2"}]}"#, "pipeline[0].steps: the value has a type that no such field has"),
    ] {
        let error = decode(payload.as_bytes(), 1).unwrap_err();
        let shown: Vec<_> = error.problems.iter().map(|p| format!("{}: {}", p.field, p.message)).collect();
        assert_eq!(shown, [told]);
        assert!(!error.to_string().contains("hunter2"));
    }
    assert!(decode(b"\xff\xfe", 1).is_err());
}

#[test]
fn every_field_that_makes_no_sense_is_told_at_once() {
    let told = read(&with(json!({
        "name": "a", "uuid": "A", "image": "i", "dns": ["1.1.1.1", "dns.example.org"],
        "extra_hosts": [{"name": "db", "ip": "host-gateway"}], "ports": [{"number": 0}, {"number": 70000}, {"number": 1, "protocol": "icmp"}],
        "backend_options": {"kubernetes": ["x"]}
    })));
    let fields: Vec<_> =
        told.unwrap_err().iter().map(|problem| problem.split(": ").next().unwrap().to_owned()).collect();
    let at = |field: &str| format!("pipeline[0].steps[0].{field}");
    assert_eq!(
        fields,
        [
            "ports[0].number",
            "ports[1].number",
            "ports[2].protocol",
            "dns[1]",
            "extra_hosts[0].ip",
            "backend_options.kubernetes"
        ]
        .map(at)
    );
}

#[test]
fn the_forges_password_and_secret_variables_are_masked() {
    let payload = with(json!({"name": "clone", "uuid": "A", "image": "git", "type": "clone",
        "environment": {"CI_NETRC_PASSWORD": "tok-123", "PLUGIN_TOKEN": "s3cr3t"}, "secret_mapping": {"PLUGIN_TOKEN": "s3cr3t"}}));
    let workload = Workload::new(WorkflowId::new("7"), read(&payload).unwrap()).unwrap();
    let mut masked: Vec<_> = workload.masked_values().map(Secret::expose).collect();
    masked.sort_unstable();
    assert_eq!(masked, ["s3cr3t", "tok-123"]);
    assert!(workload.steps()[0].spec.environment.is_empty(), "no secret is left among the plain ones");
}

#[test]
fn services_and_plugins_are_known() {
    for (text, kind) in [
        ("service", StepKind::Service),
        ("clone", StepKind::Clone),
        ("plugin", StepKind::Plugin),
        ("commands", StepKind::Commands),
        ("cache", StepKind::Commands),
    ] {
        assert_eq!(step(&with(json!({"name": "a", "uuid": "A", "image": "i", "type": text}))).kind, kind);
    }
    for (text, failure) in
        [("fail", FailurePolicy::Fail), ("ignore", FailurePolicy::Ignore), ("cancel", FailurePolicy::Cancel)]
    {
        assert_eq!(step(&with(json!({"name": "a", "uuid": "A", "image": "i", "failure": text}))).failure, failure);
    }
}

#[test]
fn the_workspace_is_where_its_volume_is_mounted() {
    let mounts = |volumes: Value| {
        let step = step(&with(
            json!({"name": "a", "uuid": "A", "image": "i", "workspace_base": "/woodpecker", "volumes": volumes}),
        ));
        (step.workspace_base, step.volumes.len())
    };
    assert_eq!(mounts(json!(["wp_01K3_0_default:/woodpecker"])), ("/woodpecker".to_owned(), 0));
    assert_eq!(mounts(json!(["wp_01K3_0_default:/a", "wp_01K3_0_default:/b"])), ("/a".to_owned(), 1));
    assert_eq!(mounts(json!(["other:/a"])), (String::new(), 1), "not mounted, so there is none");
}
