//! Whatever a workflow is called and asks for: what is built is what the API server takes.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use piculet_core::id::{Attempt, ServerId, StepIndex, WorkflowId};
use piculet_core::secret::Secret;
use piculet_core::workload::{RegistryAuth, StageSpec, StepKind, StepSpec, VolumeSpec, Workload, WorkloadSpec};
use piculet_pods::label::{self, Identity};
use piculet_pods::names::{
    dns_label, dns_name, host_name, is_data_key, is_dns_label, is_dns_name, is_label_key, is_label_value,
    is_variable_name, label_value,
};
use piculet_pods::{Context, Object, Settings, plan, step};
use proptest::prelude::*;
use serde_json::json;

use crate::world::{context, labelled, minimal, options, settings, start};

/// The API server's own checks, as far as names go.
fn check_metadata(metadata: &ObjectMeta) {
    let name = metadata.name.as_deref().expect("a name");
    assert!(is_dns_name(name), "{name:?}");
    for (key, value) in metadata.labels.iter().flatten() {
        assert!(is_label_key(key) && is_label_value(value), "{key:?}: {value:?}");
    }
    for key in metadata.annotations.iter().flatten().map(|(key, _)| key) {
        assert!(is_label_key(key), "{key:?}");
    }
    assert_eq!(
        metadata.labels.as_ref().and_then(|labels| labels.get(label::MANAGED_BY)).map(String::as_str),
        Some("piculet")
    );
    assert!(Identity::of(metadata).is_some());
}

fn check_container(container: &Container, volumes: &BTreeSet<&str>) {
    assert!(is_dns_label(&container.name), "{:?}", container.name);
    let mut paths = BTreeSet::new();
    for mount in container.volume_mounts.iter().flatten() {
        assert!(volumes.contains(mount.name.as_str()), "{:?}", mount.name);
        assert!(paths.insert(mount.mount_path.as_str()) && !mount.mount_path.contains(':'), "{:?}", mount.mount_path);
    }
    let names: Vec<_> = container.env.iter().flatten().map(|env| env.name.as_str()).collect();
    assert!(names.iter().copied().all(is_variable_name), "{names:?}");
    assert!(names.windows(2).all(|pair| pair[0] < pair[1]), "sorted, each once: {names:?}");
    for env in container.env.iter().flatten() {
        if let Some(source) = &env.value_from {
            assert!(is_data_key(&source.secret_key_ref.as_ref().expect("only Secrets are referred to").key));
        }
    }
}

fn check_pod(pod: &Pod, container: &str) {
    check_metadata(&pod.metadata);
    let spec = pod.spec.as_ref().expect("a spec");
    assert_eq!(spec.containers[0].name, container);
    let volumes: Vec<_> = spec.volumes.iter().flatten().map(|volume| volume.name.as_str()).collect();
    assert!(volumes.iter().copied().all(is_dns_label), "{volumes:?}");
    let distinct: BTreeSet<_> = volumes.iter().copied().collect();
    assert_eq!(distinct.len(), volumes.len(), "{volumes:?}");
    for container in spec.containers.iter().chain(spec.init_containers.iter().flatten()) {
        check_container(container, &distinct);
    }
    for name in spec.hostname.iter().chain(&spec.subdomain) {
        assert!(is_dns_label(name), "{name:?}");
    }
    for domain in spec.dns_config.iter().flat_map(|dns| dns.searches.iter().flatten()) {
        assert!(is_dns_name(domain), "{domain:?}");
    }
}

fn kind() -> impl Strategy<Value = StepKind> {
    prop_oneof![Just(StepKind::Commands), Just(StepKind::Service), Just(StepKind::Plugin), Just(StepKind::Clone),]
}

/// Names as people give them: words, dots, emoji, other scripts, and very long ones.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![".{1,20}", "[A-Za-z0-9._ -]{1,90}", "[🚀é日]{1,3}", "[a-z]{60,70}", "[a-z.]{250,260}"]
        .prop_filter("a name has more than blanks", |name| !name.trim().is_empty() && !name.contains('\0'))
}

prop_compose! {
    fn specs()(
        steps in proptest::collection::vec(
            ("[A-Za-z0-9-]{1,40}", text(), kind(), any::<bool>(), "[A-Za-z0-9 _.-]{1,30}", 0_i64..3, text()),
            1..6,
        ),
    ) -> Vec<StepSpec> {
        steps
            .into_iter()
            .enumerate()
            .map(|(i, (id, name, kind, has_auth, variable, user, claim))| {
                let password = || Secret::new("pw");
                let volumes = ["a", "b"].map(|path| VolumeSpec {
                    claim: format!("c{claim}"),
                    path: format!("/mnt/{path}"),
                    read_only: false,
                });
                StepSpec {
                    // Ids and names are unique, which the workload checks.
                    id: format!("{}{i}", id.split_at(id.len().min(38)).0),
                    name: format!("{name}{i}"),
                    kind,
                    commands: if kind == StepKind::Plugin { Vec::new() } else { vec!["true".to_owned()] },
                    workspace_base: "/woodpecker".to_owned(),
                    working_dir: "/woodpecker/src".to_owned(),
                    environment: [("PLAIN".to_owned(), name)].into(),
                    secret_environment: [(variable.trim().to_owned() + "_", password())].into(),
                    registry_auth: has_auth.then(|| RegistryAuth { username: "ci".to_owned(), password: password() }),
                    volumes: volumes.to_vec(),
                    kubernetes: options(&json!({
                        "securityContext": {"runAsUser": user},
                        "secrets": [
                            {"name": "files", "key": "a", "target": {"file": "/s/a"}},
                            {"name": "files", "key": "b", "target": {"file": "/s/b"}}
                        ]
                    })),
                    ..minimal()
                }
            })
            .collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_workflow_gives_legal_objects(
        steps in specs(),
        id in text(),
        server in text(),
        label in (text(), text()),
        attempt in 1_u32..4,
    ) {
        let settings = settings(json!({"allow_from_step": {"native_secrets": true, "labels": true}, "access_mode": "rwo"}));
        let labels = [(label.0, label.1), ("woodpecker-ci.org/repo-name".to_owned(), server.clone())].into();
        let spec = WorkloadSpec { labels, stages: vec![StageSpec { steps }], ..WorkloadSpec::default() };
        let workload = Workload::new(WorkflowId::new(id), spec).expect("a good workload");
        let context = Context { server: ServerId::new(server), ..context() };
        let plan = plan(&workload, &settings, &context).expect("it can be planned");
        let mut seen = BTreeSet::new();
        for object in [Object::from(plan.anchor)].iter().chain(&plan.shared) {
            check_metadata(object.metadata());
            prop_assert!(seen.insert((object.kind(), object.name().to_owned())));
        }
        for (index, expected) in workload.indexed() {
            let objects = step(&workload, index, Attempt(attempt), &start(), &settings, &context, None).expect("it was planned");
            check_pod(&objects.pod, &objects.container);
            let identity = Identity::of(&objects.pod.metadata).expect("it was stamped");
            prop_assert_eq!(&identity.workflow, &workload.id);
            prop_assert_eq!(identity.step, Some((expected.id.clone(), Attempt(attempt))));
            for object in objects.into_objects() {
                check_metadata(object.metadata());
                prop_assert!(seen.insert((object.kind(), object.name().to_owned())), "{:?} twice", object);
            }
        }
    }

    #[test]
    fn names_are_legal_or_none(text in ".{0,300}") {
        if let Some(name) = dns_name(&text) {
            prop_assert!(is_dns_name(&name), "{name:?}");
            prop_assert_eq!(dns_name(&name), Some(name.clone()), "a legal name stays what it is");
            let label = dns_label(&name);
            prop_assert!(is_dns_label(&label), "{label:?}");
        }
        prop_assert!(is_label_value(&label_value(&text)), "{:?}", label_value(&text));
        if let Some(name) = host_name(&text) {
            prop_assert!(is_dns_label(&name), "{name:?}");
        }
    }

    #[test]
    fn no_secret_is_seen_outside_a_secret(canary in "canary-[a-z]{20}") {
        let spec = StepSpec {
            environment: [("CI_NETRC_PASSWORD".to_owned(), canary.clone())].into(),
            secret_environment: [("TOKEN".to_owned(), Secret::new(canary.clone()))].into(),
            registry_auth: Some(RegistryAuth { username: "ci".to_owned(), password: Secret::new(canary.clone()) }),
            commands: vec!["true".to_owned()],
            ..minimal()
        };
        let workload = labelled(vec![spec], &[]);
        let plan = plan(&workload, &Settings::default(), &context()).expect("it can be planned");
        let objects = step(&workload, StepIndex(0), Attempt::FIRST, &start(), &Settings::default(), &context(), None)
            .expect("it was planned");
        let shown = format!("{plan:?}{objects:?}");
        prop_assert!(!shown.contains(&canary), "{}", shown);
        let public: Vec<_> = objects.clone().into_objects().map(|object| object.to_public_value().to_string()).collect();
        prop_assert!(!public.concat().contains(&canary));
        prop_assert!(!serde_json::to_string(&objects.pod).expect("JSON").contains(&canary));
        prop_assert!(!serde_json::to_string(&plan.anchor).expect("JSON").contains(&canary));
        let data = |i: usize| objects.secrets[i].data.clone().expect("data");
        prop_assert_eq!(&data(1)["TOKEN"].0, canary.as_bytes());
        prop_assert_eq!(&data(1)["CI_NETRC_PASSWORD"].0, canary.as_bytes());
        prop_assert!(String::from_utf8_lossy(&data(0)[".dockerconfigjson"].0).contains(&canary));
    }
}
