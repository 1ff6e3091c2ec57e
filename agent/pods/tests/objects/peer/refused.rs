//! What the API server refuses of the peer's, and takes here.

use fake_cluster::{FakeCluster, ScriptedRuntime};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, PostParams};
use piculet_core::workload::{StepSpec, VolumeSpec};
use piculet_pods::Settings;
use serde_json::{Value, json};

use super::{made, replace};
use crate::world::{minimal, options, service};

/// A cluster's answer to a new pod: its words if it refuses.
async fn answer(pod: Value) -> Result<(), String> {
    let cluster = FakeCluster::scripted(&ScriptedRuntime::new());
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    let pod: Pod = serde_json::from_value(pod).expect("a pod");
    pods.create(&PostParams::default(), &pod).await.map(drop).map_err(|error| error.to_string())
}

fn settings(value: Value) -> Settings {
    Settings { namespace: "ci".to_owned(), ..crate::world::settings(value) }
}

fn pod(step: StepSpec, settings: &Settings) -> Value {
    serde_json::to_value(made(step, settings).pod).expect("JSON")
}

/// Our pod is taken; with the peer's value at this place it is not.
async fn is_taken_but_not_so(pod: Value, theirs: &[(&str, Value)], words: &str) {
    answer(pod.clone()).await.expect("it is taken");
    let mut other = pod;
    for (at, value) in theirs {
        let ours = replace(&mut other, at, value.clone());
        assert_ne!(ours, *value, "{at}");
    }
    let refused = answer(other).await.expect_err("it is not taken");
    assert!(refused.contains(words), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_service_with_a_long_or_dotted_name() {
    let lax = settings(json!({}));
    for (name, words) in [
        ("a-database-with-a-name-that-is-a-little-longer", "spec.containers[0].name"),
        ("db.example", "must not contain dots"),
    ] {
        let pod = pod(service(name), &lax);
        let theirs = pod["metadata"]["name"].clone();
        is_taken_but_not_so(pod, &[("/spec/containers/0/name", theirs)], words).await;
    }
    let long = pod(service(&"x".repeat(40)), &lax);
    let theirs = long["metadata"]["name"].clone();
    is_taken_but_not_so(long, &[("/metadata/labels/service", theirs)], "metadata.labels").await;
}

#[tokio::test(start_paused = true)]
async fn a_volume_with_a_long_or_dotted_name() {
    let long = "x".repeat(64);
    for claim in ["cache.v2", long.as_str()] {
        let volume = VolumeSpec { claim: claim.to_owned(), path: "/cache".to_owned(), read_only: false };
        let pod = pod(StepSpec { volumes: vec![volume], ..minimal() }, &settings(json!({})));
        assert_eq!(pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"], claim, "the claim keeps its name");
        let theirs = ["/spec/volumes/0/name", "/spec/containers/0/volumeMounts/0/name"].map(|at| (at, json!(claim)));
        is_taken_but_not_so(pod, &theirs, "spec.volumes[0].name").await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_claim_at_two_places_and_two_keys_of_one_secret() {
    let volumes =
        ["/a", "/b"].map(|path| VolumeSpec { claim: "cache".to_owned(), path: path.to_owned(), read_only: false });
    let pod = pod(
        StepSpec {
            volumes: volumes.to_vec(),
            kubernetes: options(&json!({"secrets": [
                {"name": "keys", "key": "id", "target": {"file": "/s/id"}},
                {"name": "keys", "key": "pub", "target": {"file": "/s/pub"}}
            ]})),
            ..minimal()
        },
        &settings(json!({"allow_from_step": {"native_secrets": true}})),
    );
    let volumes = pod["spec"]["volumes"].as_array().expect("a list").clone();
    assert_eq!(volumes.len(), 2);
    let mounted: Vec<_> = pod["spec"]["containers"][0]["volumeMounts"].as_array().expect("a list").iter().collect();
    assert_eq!(
        mounted.iter().map(|mount| mount["mountPath"].as_str()).collect::<Vec<_>>(),
        [Some("/a"), Some("/b"), Some("/s/id"), Some("/s/pub")]
    );
    for (twice, words) in [(0, "spec.volumes[2].name: Duplicate value: \"cache\""), (1, "Duplicate value: \"keys\"")] {
        let theirs = volumes.iter().chain([&volumes[twice]]).cloned().collect::<Vec<_>>();
        is_taken_but_not_so(pod.clone(), &[("/spec/volumes", json!(theirs))], words).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_privileged_step_that_forbids_escalation() {
    let asked = json!({"securityContext": {"allowPrivilegeEscalation": false}});
    let step = StepSpec { privileged: true, kubernetes: options(&asked), ..minimal() };
    let at = "/spec/containers/0/securityContext/allowPrivilegeEscalation";
    is_taken_but_not_so(pod(step, &settings(json!({}))), &[(at, json!(false))], "cannot set").await;
}

/// Both are valid there, too, and do harm.
#[tokio::test(start_paused = true)]
async fn name_servers_of_a_steps_own_and_a_group_of_root() {
    let step = StepSpec {
        dns: vec!["1.1.1.1".parse().expect("an address")],
        dns_search: vec!["example.org".to_owned()],
        kubernetes: options(&json!({"securityContext": {"fsGroup": 0}})),
        ..minimal()
    };
    let settings = settings(json!({}));
    let objects = made(step.clone(), &settings);
    let pod = serde_json::to_value(&objects.pod).expect("JSON");
    answer(pod.clone()).await.expect("it is taken");
    let service = pod["spec"]["subdomain"].as_str().expect("a name");
    assert_eq!(
        pod["spec"]["dnsConfig"],
        json!({"nameservers": ["1.1.1.1"], "searches": [format!("{service}.ci.svc.cluster.local"), "example.org"]})
    );
    assert_eq!(pod["spec"]["securityContext"], json!({"fsGroup": 1000}));
    assert!(objects.notes.iter().any(|note| note.contains("securityContext.fsGroup")), "{:?}", objects.notes);

    let privileged = self::pod(StepSpec { privileged: true, ..step }, &settings);
    assert_eq!(privileged["spec"]["securityContext"], json!({"fsGroup": 0}));
    answer(privileged).await.expect("it is taken");
}
