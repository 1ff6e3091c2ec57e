//! Workloads that come back, and fields that can't be read.

use piculet_core::secret::Secret;
use piculet_core::workload::{
    ExtraHost, FailurePolicy, Port, Protocol, RegistryAuth, StageSpec, StepKind, StepSpec, VolumeSpec, WorkloadSpec,
};
use piculet_proto::v1;
use serde_json::json;

use super::{decode, encode};

fn text(map: [(&str, &str); 1]) -> std::collections::BTreeMap<String, String> {
    map.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

/// Every field has a value that is not its default.
fn full() -> WorkloadSpec {
    let step = StepSpec {
        id: "s-1".into(),
        name: "Bauen".into(),
        kind: StepKind::Service,
        image: "rust:1".into(),
        pull: true,
        entrypoint: vec!["/bin/sh".into()],
        commands: vec!["make".into(), "make test".into()],
        working_dir: "/w/src".into(),
        workspace_base: "/w".into(),
        environment: text([("A", "1")]),
        secret_environment: [("T".to_owned(), Secret::new("hunter2"))].into(),
        needs: Some(vec!["clone".into()]),
        on_success: false,
        on_failure: true,
        failure: FailurePolicy::Cancel,
        detached: true,
        privileged: true,
        timeout_seconds: Some(60),
        max_attempts: 3,
        volumes: vec![VolumeSpec { claim: "cache".into(), path: "/cache".into(), read_only: true }],
        ports: vec![Port { number: 65535, protocol: Protocol::Udp }, Port { number: 1, protocol: Protocol::Sctp }],
        dns: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
        dns_search: vec!["example.org".into()],
        extra_hosts: vec![ExtraHost { name: "db".into(), ip: "10.0.0.2".parse().unwrap() }],
        registry_auth: Some(RegistryAuth { username: "u".into(), password: Secret::new("p") }),
        kubernetes: json!({"nodeSelector": {"disk": "ssd"}}).as_object().unwrap().clone(),
    };
    let waits_for_nothing = StepSpec { needs: Some(Vec::new()), ..StepSpec::default() };
    WorkloadSpec {
        name: "test".into(),
        labels: text([("team", "core")]),
        timeout_seconds: Some(3600),
        secrets: vec![Secret::new("s3cret")],
        organization: Some(3),
        workspace: "wp_01k3_0_default".into(),
        stages: vec![StageSpec { steps: vec![step, waits_for_nothing] }, StageSpec::default()],
    }
}

#[test]
fn everything_comes_back() {
    assert_eq!(decode(encode(&full())), Ok(full()));
    assert_eq!(decode(encode(&WorkloadSpec::default())), Ok(WorkloadSpec::default()));
}

#[test]
fn every_field_that_cannot_be_read_is_named() {
    let mut message = encode(&full());
    let step = &mut message.stages[0].steps[0];
    step.kind = 0;
    step.failure = 99;
    step.ports = [(0, ""), (70_000, "TCP"), (1, "quic")]
        .map(|(number, protocol)| v1::Port { number, protocol: protocol.into() })
        .into();
    step.dns = vec!["10.0.0.1".into(), "10.0.0.256".into()];
    step.extra_hosts[0].ip = "db".into();
    step.kubernetes_options = "\"hunter2\"".into();
    message.stages[0].steps[1].kubernetes_options = "{\"hunter2\": ".into();
    let error = decode(message).unwrap_err();
    let told: Vec<_> = error.problems.iter().map(|p| format!("{} [{}]", p.field, p.code)).collect();
    assert_eq!(
        told,
        [
            "stages[0].steps[0].kind [wire-enum]",
            "stages[0].steps[0].failure [wire-enum]",
            "stages[0].steps[0].ports[0].number [wire-port]",
            "stages[0].steps[0].ports[1].number [wire-port]",
            "stages[0].steps[0].ports[1].protocol [wire-protocol]",
            "stages[0].steps[0].ports[2].protocol [wire-protocol]",
            "stages[0].steps[0].dns[1] [wire-address]",
            "stages[0].steps[0].extra_hosts[0].ip [wire-address]",
            "stages[0].steps[0].kubernetes_options [wire-json]",
            "stages[0].steps[1].kubernetes_options [wire-json]",
        ]
    );
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

#[test]
fn a_printed_message_shows_no_secret() {
    let shown = format!("{:?}", v1::Assign { workload: Some(encode(&full())), ..v1::Assign::default() });
    assert!(shown.contains("Bauen"), "{shown}");
    for secret in ["hunter2", "s3cret", "password", "make test"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

#[test]
fn zero_attempts_mean_one() {
    let mut message = encode(&full());
    message.stages[0].steps[0].max_attempts = 0;
    assert_eq!(decode(message).unwrap().stages[0].steps[0].max_attempts, 1);
}
