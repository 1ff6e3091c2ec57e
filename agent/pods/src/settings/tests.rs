use serde_json::json;

use super::{AccessMode, AllowFromStep, Profile, ProfileKind, Security, Settings};

fn settings(value: serde_json::Value) -> Settings {
    serde_json::from_value(value).expect("well-formed settings")
}

fn problems(value: serde_json::Value) -> Vec<(String, &'static str)> {
    settings(value).check().into_iter().map(|problem| (problem.field, problem.code)).collect()
}

#[test]
fn the_defaults_are_the_peers_and_good() {
    let defaults = settings(json!({}));
    assert_eq!(defaults, Settings::default());
    assert_eq!(defaults.check(), []);
    assert_eq!(defaults.volume_size, "10G");
    assert_eq!(defaults.access_mode, AccessMode::Rwx);
    assert_eq!(defaults.security.fs_group, Some(1000));
    assert_eq!(defaults.stop_timeout_seconds, 20);
    let only_tolerations = AllowFromStep {
        labels: false,
        annotations: false,
        node_selector: false,
        tolerations: true,
        affinity: false,
        runtime_class: false,
        service_account: false,
        native_secrets: false,
        root: false,
        privileged: true,
    };
    assert_eq!(defaults.allow_from_step, only_tolerations);
}

#[test]
fn a_profile_says_all_that_holds_for_users_and_privileges() {
    let written = settings(json!({
        "namespace": "ci",
        "security": {"run_as_user": 7, "fs_group": null},
        "allow_from_step": {"labels": true}
    }));
    let hardened = written.under(Profile::Hardened);
    assert_eq!(hardened.check(), []);
    assert_eq!((hardened.namespace.as_str(), hardened.allow_from_step.labels), ("ci", true));
    assert!(!hardened.allow_from_step.privileged);
    let restricted = Security {
        run_as_non_root: true,
        run_as_user: Some(1000),
        run_as_group: Some(1000),
        fs_group: Some(1000),
        fs_group_change_policy: None,
        seccomp_profile: Some(ProfileKind::RuntimeDefault),
        forbid_privilege_escalation: true,
        drop_capabilities: vec!["ALL".to_owned()],
    };
    assert_eq!(hardened.security, restricted);
    let back = hardened.under(Profile::Compat);
    assert_eq!((back.security, back.allow_from_step.privileged), (Security::default(), true));
}

#[test]
fn settings_survive_serde() {
    let written = settings(json!({
        "access_mode": "rwo",
        "tolerations": [{"key": "ci", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {"nodeAffinity": {}},
        "dns_policy": "None",
        "dns_config": {"nameservers": ["10.0.0.1"]},
        "security": {"fs_group": null, "seccomp_profile": "RuntimeDefault"},
        "allow_from_step": {"labels": true}
    }));
    assert_eq!(written.security.fs_group, None);
    assert!(written.allow_from_step.labels && written.allow_from_step.tolerations);
    assert_eq!(written.check(), []);
    assert_eq!(settings(serde_json::to_value(&written).unwrap()), written);
}

#[test]
fn unknown_keys_are_refused_however_deep() {
    for value in [
        json!({"name_space": "x"}),
        json!({"security": {"runAsNonRoot": true}}),
        json!({"allow_from_step": {"label": true}}),
        json!({"default_resources": {"request": {}}}),
        json!({"tolerations": [{"key": "a", "tolerationSecond": 5}]}),
        json!({"affinity": {"nodeAfinity": {}}}),
        json!({"host_aliases": [{"ip": "10.0.0.1", "names": []}]}),
        json!({"access_mode": "rox"}),
    ] {
        assert!(serde_json::from_value::<Settings>(value.clone()).is_err(), "{value}");
    }
}

#[test]
fn every_problem_is_told_at_once_with_its_field() {
    let value = json!({
        "namespace": "Wrong",
        "cluster_domain": "",
        "pod_labels": {"a b": "x", "ok": "-x", "step": "mine"},
        "pod_annotations": {"a b": "x", "piculet.dev/epoch": "9"},
        "storage_class": "Fast",
        "volume_size": "10 GB",
        "node_selector": {"kubernetes.io/os": "lin ux", "/": ""},
        "tolerations": [{"operator": "Equal"}],
        "default_resources": {"requests": {"cpu": "2", "memory": "much"}, "limits": {"cpu": "1500m"}},
        "service_account": "CI",
        "security": {"run_as_non_root": true, "run_as_user": 0, "fs_group": -1},
        "image_pull_secrets": ["a_b"],
        "dns_policy": "None",
        "dns_config": {"searches": ["a..b"]},
        "host_aliases": [{"ip": "localhost", "hostnames": ["A"]}],
        "permission_init_image": " ",
        "root_images": ["docker:dind", ""]
    });
    assert_eq!(
        problems(value),
        [
            ("namespace", "setting-name"),
            ("cluster_domain", "setting-name"),
            ("pod_labels.a b", "setting-label"),
            ("pod_labels.ok", "setting-label"),
            ("pod_labels.step", "setting-label-reserved"),
            ("pod_annotations.a b", "setting-label"),
            ("pod_annotations.piculet.dev/epoch", "setting-label-reserved"),
            ("storage_class", "setting-name"),
            ("service_account", "setting-name"),
            ("volume_size", "setting-quantity"),
            ("node_selector./", "setting-label"),
            ("node_selector.kubernetes.io/os", "setting-label"),
            ("tolerations[0]", "setting-toleration"),
            ("default_resources.requests.memory", "setting-quantity"),
            ("default_resources.requests.cpu", "setting-resource"),
            ("image_pull_secrets[0]", "setting-name"),
            ("security.fs_group", "setting-id"),
            ("root_images[1]", "setting-image"),
            ("security.run_as_user", "setting-root"),
            ("host_aliases[0].ip", "setting-address"),
            ("host_aliases[0].hostnames[0]", "setting-name"),
            ("dns_config.nameservers", "setting-dns"),
            ("dns_config.searches[0]", "setting-dns"),
            ("permission_init_image", "setting-image"),
        ]
        .map(|(field, code)| (field.to_owned(), code))
    );
}

#[test]
fn what_only_fails_in_a_pod_is_refused_at_start() {
    let value = json!({"dns_config": {"nameservers": ["10.0.0.1", "10.0.0.2", "10.0.0.3", "::1"]}});
    assert_eq!(problems(value), [("dns_config.nameservers".to_owned(), "setting-dns")]);
    assert_eq!(problems(json!({"dns_config": {"nameservers": ["dns"]}})).len(), 1);
    assert_eq!(
        problems(json!({"security": {"run_as_group": 5}})),
        [("security.run_as_group".to_owned(), "setting-group")]
    );
    assert_eq!(problems(json!({"volume_size": "0"})), [("volume_size".to_owned(), "setting-quantity")]);
}

#[test]
fn tolerations_are_checked_as_the_api_server_does() {
    for (toleration, good) in [
        (json!({"operator": "Exists"}), true),
        (json!({"key": "ci"}), true),
        (json!({"key": "ci", "value": "a", "effect": "NoExecute", "tolerationSeconds": 5}), true),
        (json!({"key": "ci", "operator": "Exists", "value": "a"}), false),
        (json!({"key": "ci", "effect": "Sometimes"}), false),
        (json!({"key": "ci", "effect": "NoSchedule", "tolerationSeconds": 5}), false),
        (json!({"key": "c i"}), false),
        (json!({"key": "ci", "operator": "In"}), false),
        (json!({"key": "ci", "value": "a b"}), false),
    ] {
        assert_eq!(problems(json!({"tolerations": [toleration]})).is_empty(), good, "{toleration}");
    }
}
