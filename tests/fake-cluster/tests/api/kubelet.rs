//! The life of a pod on its node, as its status tells it.

use std::pin::pin;
use std::time::Duration;

use fake_cluster::Script;
use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, DeleteParams, PostParams, WatchEvent, WatchParams};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::fixture::{Fixture, condition, object, pod, pod_with, within};

fn state(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]["state"]
}

#[tokio::test(start_paused = true)]
async fn the_container_ends_before_the_pod_does() {
    let fixture = Fixture::playing(Script::new().wait(Duration::from_secs(5)).exit(7));
    let mut events = pin!(fixture.pods.watch(&WatchParams::default(), "0").await.expect("a watch"));
    fixture.create(&pod("p")).await;
    let mut seen = Vec::new();
    while seen.last().map(String::as_str) != Some("Failed terminated") {
        let Some(Ok(WatchEvent::Added(pod) | WatchEvent::Modified(pod))) = within(events.next()).await else {
            panic!("the watch goes on");
        };
        let pod = serde_json::to_value(pod).expect("JSON");
        let states = state(&pod).as_object().map(|state| state.keys().cloned().collect::<Vec<_>>().join("+"));
        let line = format!("{} {}", pod["status"]["phase"].as_str().unwrap_or_default(), states.unwrap_or_default());
        if seen.last() != Some(&line) {
            seen.push(line);
        }
    }
    assert_eq!(seen, ["Pending ", "Pending waiting", "Running running", "Running terminated", "Failed terminated"]);
    let ended = fixture.pod("p");
    let terminated = &state(&ended)["terminated"];
    assert_eq!((&terminated["exitCode"], &terminated["reason"]), (&json!(7), &json!("Error")));
    assert_eq!(
        (&terminated["startedAt"], &terminated["finishedAt"]),
        (&json!("2026-01-01T00:00:00Z"), &json!("2026-01-01T00:00:05Z"))
    );
    assert!(terminated["containerID"].as_str().is_some_and(|id| id.starts_with("containerd://") && id.len() == 77));
    assert_eq!(condition(&ended, "Ready")["reason"], "PodFailed");
    assert_eq!(fixture.cluster.now().to_string(), "2026-01-01T00:00:06.5Z", "the phase came later");
    let events: Vec<String> = fixture
        .events("p")
        .iter()
        .filter_map(|event| event.split_once(':'))
        .map(|(reason, _)| reason.to_owned())
        .collect();
    assert_eq!(events, ["Scheduled", "Pulling", "Pulled", "Created", "Started"]);
}

#[tokio::test(start_paused = true)]
async fn a_running_pod_has_addresses_and_conditions() {
    let fixture = Fixture::playing(Script::new().forever());
    fixture.create(&pod("p")).await;
    let running = fixture.until_phase("p", "Running").await;
    for kind in ["PodScheduled", "PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready"] {
        assert_eq!(condition(&running, kind)["status"], "True", "{kind}");
    }
    assert_eq!(running["status"]["hostIP"], "10.0.0.1");
    assert!(running["status"]["podIP"].as_str().is_some_and(|ip| ip.starts_with("10.244.")));
    assert_eq!(running["status"]["startTime"], "2026-01-01T00:00:00Z");
    assert_eq!(running["spec"]["nodeName"], "node-1");
    assert_eq!((&running["metadata"]["generation"], &running["status"]["observedGeneration"]), (&json!(1), &json!(1)));
}

#[tokio::test(start_paused = true)]
async fn memory_and_signals_show_as_they_do_in_a_cluster() {
    let fixture = Fixture::new();
    fixture.runtime.on_pod("oom", Script::new().out_of_memory());
    fixture.runtime.on_pod("segv", Script::new().signal(11));
    fixture.runtime.on_pod("fine", Script::new());
    for (name, phase, code, reason) in
        [("oom", "Failed", 137, "OOMKilled"), ("segv", "Failed", 139, "Error"), ("fine", "Succeeded", 0, "Completed")]
    {
        fixture.create(&pod(name)).await;
        let ended = fixture.until_phase(name, phase).await;
        let terminated = &state(&ended)["terminated"];
        assert_eq!((&terminated["exitCode"], &terminated["reason"]), (&json!(code), &json!(reason)), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn init_containers_run_one_after_the_other() {
    let fixture = Fixture::new();
    fixture.runtime.on_container("first", Script::new().wait(Duration::from_secs(5)));
    fixture.runtime.on_container("second", Script::new().wait(Duration::from_secs(5)));
    let inits = json!([{"name": "first", "image": "a:1"}, {"name": "second", "image": "a:1"}]);
    fixture.create(&pod_with("p", json!({"initContainers": inits}))).await;
    assert_eq!(fixture.until_waiting("p", "PodInitializing").await, "");
    tokio::time::sleep(Duration::from_secs(7)).await;
    let between = fixture.pod("p");
    assert_eq!(between["status"]["phase"], "Pending");
    assert_eq!(condition(&between, "Initialized")["message"], "containers with incomplete status: [second]");
    let inits = &between["status"]["initContainerStatuses"];
    assert_eq!(
        (&inits[0]["state"]["terminated"]["exitCode"], &inits[1]["state"]["running"]["startedAt"]),
        (&json!(0), &json!("2026-01-01T00:00:05Z"))
    );
    fixture.until_phase("p", "Succeeded").await;
    fixture.runtime.on_container("second", Script::new().exit(3));
    let again = json!([{"name": "second", "image": "a:1"}]);
    fixture.create(&pod_with("q", json!({"initContainers": again}))).await;
    let failed = fixture.until_phase("q", "Failed").await;
    assert_eq!(state(&failed)["waiting"]["reason"], "PodInitializing", "the step never began");
}

#[tokio::test(start_paused = true)]
async fn images_that_cannot_be_pulled_are_tried_again_and_again() {
    let fixture = Fixture::playing(Script::new().pull_fails_times(2, "failed to pull and unpack image: not found"));
    fixture.create(&pod("p")).await;
    assert_eq!(fixture.until_waiting("p", "ErrImagePull").await, "failed to pull and unpack image: not found");
    let message = fixture.until_waiting("p", "ImagePullBackOff").await;
    assert_eq!(
        message,
        "Back-off pulling image \"alpine:3\": ErrImagePull: failed to pull and unpack image: not found"
    );
    assert_eq!(fixture.pod("p")["status"]["phase"], "Pending");
    fixture.until_phase("p", "Succeeded").await;
    let events = fixture.events("p");
    for wanted in [
        "Failed: Failed to pull image \"alpine:3\": ",
        "Failed: Error: ErrImagePull",
        "BackOff: Back-off pulling image",
    ] {
        assert!(events.iter().any(|event| event.starts_with(wanted)), "{wanted:?} in {events:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_image_that_has_no_name_is_not_even_tried() {
    let fixture = Fixture::new();
    let containers = json!([{"name": "step", "image": "Not An Image"}]);
    fixture.create(&pod_with("p", json!({"containers": containers}))).await;
    let message = fixture.until_waiting("p", "InvalidImageName").await;
    assert!(message.ends_with("couldn't parse image name \"Not An Image\": invalid reference format"), "{message}");
    assert!(fixture.events("p").iter().any(|event| event.starts_with("InspectFailed: ")));
}

#[tokio::test(start_paused = true)]
async fn a_missing_secret_or_key_is_waited_for() {
    let fixture = Fixture::new();
    let environment = json!([
        {"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "a"}}},
        {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "b"}}},
    ]);
    let containers = json!([{"name": "step", "image": "alpine:3", "env": environment}]);
    fixture.create(&pod_with("p", json!({"containers": containers}))).await;
    assert_eq!(fixture.until_waiting("p", "CreateContainerConfigError").await, "secret \"s\" not found");
    let secrets: Api<Secret> = Api::default_namespaced(fixture.cluster.client());
    let secret = object(json!({"metadata": {"name": "s"}, "stringData": {"other": "x"}}));
    secrets.create(&PostParams::default(), &secret).await.expect("created");
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert_eq!(fixture.until_waiting("p", "CreateContainerConfigError").await, "couldn't find key a in Secret ci/s");
    secrets.delete("s", &DeleteParams::default()).await.expect("deleted");
    let secret = object(json!({"metadata": {"name": "s"}, "stringData": {"a": "x"}}));
    secrets.create(&PostParams::default(), &secret).await.expect("created");
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert_eq!(fixture.until_waiting("p", "CreateContainerConfigError").await, "configmap \"m\" not found");
    let maps: Api<ConfigMap> = Api::default_namespaced(fixture.cluster.client());
    let map = object(json!({"metadata": {"name": "m"}, "data": {"b": "y"}}));
    maps.create(&PostParams::default(), &map).await.expect("created");
    fixture.until_phase("p", "Succeeded").await;
}

#[tokio::test(start_paused = true)]
async fn a_volume_of_a_missing_secret_keeps_the_container_creating() {
    let fixture = Fixture::new();
    let volumes = json!([{"name": "v", "secret": {"secretName": "s"}}]);
    // What nobody mounts is not even looked at.
    fixture.create(&pod_with("unused", json!({"volumes": volumes}))).await;
    fixture.until_phase("unused", "Succeeded").await;
    let containers = json!([{"name": "step", "image": "alpine:3", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]);
    fixture.create(&pod_with("p", json!({"volumes": volumes, "containers": containers}))).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(state(&fixture.pod("p"))["waiting"]["reason"], "ContainerCreating");
    let events = fixture.events("p");
    let wanted = "FailedMount: MountVolume.SetUp failed for volume \"v\" : secret \"s\" not found";
    assert!(events.iter().any(|event| event == wanted), "{events:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_program_that_can_not_be_executed_ends_the_container() {
    let fixture = Fixture::playing(Script::new().cannot_be_created("StartError", "exec: not found"));
    fixture.create(&pod("p")).await;
    let ended = fixture.until_phase("p", "Failed").await;
    let terminated = &state(&ended)["terminated"];
    assert_eq!((&terminated["reason"], &terminated["exitCode"]), (&json!("StartError"), &json!(128)));
    assert_eq!(terminated["message"], "exec: not found");
    assert_eq!(terminated["startedAt"], "1970-01-01T00:00:00Z");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_lives_too_long_is_ended() {
    let fixture = Fixture::playing(Script::new().forever());
    fixture.create(&pod_with("p", json!({"activeDeadlineSeconds": 100}))).await;
    let begun = Instant::now();
    let ended = fixture.until_phase("p", "Failed").await;
    assert_eq!(begun.elapsed().as_secs(), 100);
    assert_eq!(ended["status"]["reason"], "DeadlineExceeded");
    assert_eq!(ended["status"]["message"], "Pod was active on the node longer than the specified deadline");
    assert_eq!(state(&ended)["terminated"]["exitCode"], 143);
}

#[tokio::test(start_paused = true)]
async fn a_pod_in_the_middle_of_a_pull_is_gone_only_after_it() {
    let fixture = Fixture::playing(Script::new().pull_takes(Duration::from_secs(300)));
    fixture.create(&pod("p")).await;
    fixture.until_waiting("p", "ContainerCreating").await;
    let begun = Instant::now();
    fixture.pods.delete("p", &DeleteParams::default().grace_period(5)).await.expect("accepted");
    fixture.until_gone("p").await;
    assert_eq!(begun.elapsed().as_secs(), 300);
}
