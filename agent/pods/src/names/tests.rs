use piculet_core::id::{Attempt, ServerId, StepIndex, WorkflowId};
use piculet_core::workload::{StageSpec, StepKind, StepSpec, Workload, WorkloadSpec};

use super::{
    MAX_DNS_LABEL, MAX_DNS_NAME, MAX_LABEL_VALUE, Names, VolumeNames, WorkflowNames, dns_label, dns_name, host_name,
    is_data_key, is_dns_label, is_dns_name, is_label_key, is_label_value, is_variable_name, label_value, short_hash,
};

fn workload(id: &str, steps: &[(&str, &str, StepKind)]) -> Workload {
    let steps = steps
        .iter()
        .map(|&(id, name, kind)| StepSpec {
            id: id.to_owned(),
            name: name.to_owned(),
            kind,
            image: "busybox".to_owned(),
            ..StepSpec::default()
        })
        .collect();
    Workload::new(WorkflowId::new(id), WorkloadSpec { stages: vec![StageSpec { steps }], ..WorkloadSpec::default() })
        .expect("a good workload")
}

#[test]
fn dns_names_follow_the_peers_rule() {
    for (text, name) in [
        ("BUILD_AND_DEPLOY_0", Some("build-and-deploy-0")),
        ("ABC..DEF", Some("abc.def")),
        ("a.-.b", Some("a.b")),
        ("a--b", Some("a-b")),
        ("-.a.-", Some("a")),
        ("wp_01k3_0_default", Some("wp-01k3-0-default")),
        ("grün", Some("gr-n")),
        ("\u{212a}elvin", Some("kelvin")),
        ("a !. b", Some("a.b")),
        ("!!!", None),
        ("🚀", None),
        ("", None),
    ] {
        assert_eq!(dns_name(text).as_deref(), name, "{text:?}");
    }
}

#[test]
fn a_workspace_has_the_servers_name_if_it_has_one_and_ours_otherwise() {
    let named = |name: &str| {
        let mut workload = workload("4711", &[("a", "build", StepKind::Commands)]);
        workload.workspace = name.to_owned();
        WorkflowNames::new(&ServerId::new("ci"), &workload)
    };
    assert_eq!(named("wp_01K3CZ8VKQ7M5N3P1R9S8T6V4W_0_default").workspace, "wp-01k3cz8vkq7m5n3p1r9s8t6v4w-0-default");
    for nameless in ["", "///"] {
        assert_eq!(named(nameless).workspace, format!("wp-{}-default", named("x").key));
    }
}

#[test]
fn long_dns_names_keep_their_start_and_a_hash_of_the_original() {
    let text = "A".repeat(300);
    let name = dns_name(&text).expect("letters");
    assert_eq!(name, format!("{}-{}", "a".repeat(236), short_hash(&text)));
    assert_eq!(name.len(), MAX_DNS_NAME);
    let text = format!("{}.{}", "a".repeat(235), "b".repeat(30));
    assert_eq!(dns_name(&text), Some(format!("{}-{}", "a".repeat(235), short_hash(&text))), "no '.-' at the seam");
    assert_eq!(dns_name(&"a".repeat(253)), Some("a".repeat(253)));
}

#[test]
fn label_values_follow_the_peers_rule() {
    for (text, value) in [
        ("Deploy (production)", "deploy-production"),
        ("a__b", "a-b"),
        ("run_tests", "run_tests"),
        ("v1.2", "v1.2"),
        ("._x_.", "x"),
        ("owner/name", "owner-name"),
        ("🚀", ""),
    ] {
        assert_eq!(label_value(text), value, "{text:?}");
    }
    let text = "x".repeat(64);
    assert_eq!(label_value(&text), format!("{}-{}", "x".repeat(46), short_hash(&text)));
    assert_eq!(label_value(&text).len(), MAX_LABEL_VALUE);
}

#[test]
fn hash_is_the_start_of_sha_256() {
    assert_eq!(short_hash("abc"), "ba7816bf8f01cfea");
}

#[test]
fn host_names_have_no_dots_and_63_characters() {
    assert_eq!(host_name("Unit tests").as_deref(), Some("unit-tests"));
    assert_eq!(host_name("db.example").as_deref(), Some("db-example"));
    assert_eq!(host_name("🚀"), None);
    let name = host_name(&format!("{}-b", "a".repeat(62))).expect("letters");
    assert_eq!(name, "a".repeat(62), "cut to 63, and then without the dash at the end");
}

#[test]
fn a_step_has_the_peers_names_on_its_first_attempt() {
    let workload = workload(
        "4711",
        &[
            ("01K3CZ8W5T2Q4R6S8V0X1Y3Z5A", "build", StepKind::Commands),
            ("01K3CZ8W5T7B9C1D3E5F7G9H2J", "postgres", StepKind::Service),
        ],
    );
    let names = Names::new(&workload);
    let step = names.of(StepIndex(0), Attempt::FIRST);
    assert_eq!(step.pod, "wp-01k3cz8w5t2q4r6s8v0x1y3z5a");
    assert_eq!(step.container, step.pod);
    assert_eq!(step.init_container, "init-wp-01k3cz8w5t2q4r6s8v0x1y3z5a");
    assert_eq!(step.registry_secret, "wp-01k3cz8w5t2q4r6s8v0x1y3z5a");
    assert_eq!(step.step_secret, "wp-01k3cz8w5t2q4r6s8v0x1y3z5a-step-secret");
    assert_eq!(names.of(StepIndex(0), Attempt(2)).pod, "wp-01k3cz8w5t2q4r6s8v0x1y3z5a-2");
    assert_eq!(names.of(StepIndex(0), Attempt(2)).registry_secret, "wp-01k3cz8w5t2q4r6s8v0x1y3z5a-2");

    let service = names.of(StepIndex(1), Attempt::FIRST);
    assert_eq!(service.pod, "wp-svc-01k3cz8w5t7b9c1d3e5f7g9h2j-postgres");
    assert_eq!(service.registry_secret, "wp-01k3cz8w5t7b9c1d3e5f7g9h2j");
    assert_eq!(names.of(StepIndex(1), Attempt(3)).pod, "wp-svc-01k3cz8w5t7b9c1d3e5f7g9h2j-postgres-3");
}

#[test]
fn a_container_of_a_service_with_a_long_dotted_name_is_legal() {
    let name = format!("db.{}", "x".repeat(80));
    let workload = workload("1", &[("01K3CZ8W5T7B9C1D3E5F7G9H2J", &name, StepKind::Service)]);
    let names = Names::new(&workload).of(StepIndex(0), Attempt::FIRST);
    assert!(names.pod.contains('.') && names.pod.len() > MAX_DNS_LABEL);
    assert!(is_dns_label(&names.container), "{}", names.container);
    assert!(is_dns_label(&names.init_container), "{}", names.init_container);
    assert_ne!(names.container, names.init_container);
}

#[test]
fn steps_never_share_a_pod_name_whatever_their_ids_and_attempts() {
    let commands = ["build", "build-2", "BUILD", "build-2-2", "svc-x", "build--2", "y"];
    let mut steps: Vec<_> = commands.iter().map(|&id| (id, id, StepKind::Commands)).collect();
    steps.extend([("x", "!", StepKind::Service), ("Y", "?", StepKind::Service)]);
    let workload = workload("1", &steps);
    let names = Names::new(&workload);
    let mut seen = std::collections::BTreeSet::new();
    for (index, _) in workload.indexed() {
        for attempt in 1..=30 {
            let names = names.of(index, Attempt(attempt));
            assert!(seen.insert(("pod", names.pod.clone())), "{} twice", names.pod);
            for secret in [names.registry_secret, names.step_secret] {
                assert!(seen.insert(("secret", secret.clone())), "{secret} twice");
            }
        }
    }
}

#[test]
fn workflows_of_two_servers_never_share_a_name() {
    let steps = [("s1", "build", StepKind::Commands)];
    let a = WorkflowNames::new(&ServerId::new("a"), &workload("4711", &steps));
    assert_eq!(a, WorkflowNames::new(&ServerId::new("a"), &workload("4711", &steps)));
    assert!(a.key.starts_with("4711-") && a.key.len() == 21, "{}", a.key);
    assert_eq!(a.workspace, format!("wp-{}-default", a.key));
    for other in [
        WorkflowNames::new(&ServerId::new("b"), &workload("4711", &steps)),
        WorkflowNames::new(&ServerId::new("a"), &workload("4712", &steps)),
        WorkflowNames::new(&ServerId::new("a"), &workload("4711", &[("s2", "build", StepKind::Commands)])),
    ] {
        assert_ne!(a.key, other.key);
        assert_ne!(a.service, other.service);
    }
    let odd = WorkflowNames::new(&ServerId::new("🚀"), &workload(&"é.".repeat(80), &steps));
    assert!(is_dns_label(&odd.service) && is_label_value(&odd.key) && is_dns_name(&odd.workspace), "{odd:?}");
}

#[test]
fn volumes_get_a_name_each() {
    let mut names = VolumeNames::default();
    assert_eq!(names.give("cache"), "cache");
    assert_eq!(names.give("a.b"), "a-b");
    let second = names.give("a-b");
    assert!(second.starts_with("a-b-") && is_dns_label(&second));
    assert!(is_dns_label(&names.give(&"x".repeat(200))));
}

#[test]
fn a_label_made_from_a_name_keeps_its_start() {
    assert_eq!(dns_label("a.b"), "a-b");
    let long = "a".repeat(64);
    assert_eq!(dns_label(&long), format!("{}-{}", "a".repeat(46), short_hash(&long)));
}

#[test]
fn the_api_servers_rules() {
    assert!(is_dns_name("a.b-c.d") && !is_dns_name("a..b") && !is_dns_name("A") && !is_dns_name(""));
    assert!(!is_dns_name("a-.b") && !is_dns_name(&"a".repeat(254)));
    assert!(is_label_value("") && is_label_value("A_b.c-D") && !is_label_value("-a") && !is_label_value("a/b"));
    assert!(is_label_key("step") && is_label_key("example.org/A_b") && !is_label_key("") && !is_label_key("/a"));
    assert!(!is_label_key("Example.org/a") && !is_label_key("a/") && !is_label_key("a/b/c"));
    assert!(is_data_key(".dockerconfigjson") && !is_data_key("..x") && !is_data_key(".") && !is_data_key("a b"));
    assert!(is_variable_name("A B") && !is_variable_name("A=B") && !is_variable_name("") && !is_variable_name("Ä"));
}
