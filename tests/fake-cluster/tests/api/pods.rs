//! Pods that run a script.

use std::time::Duration;

use fake_cluster::{FakeCluster, Script, ScriptedRuntime};
use futures_util::{AsyncBufReadExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, LogParams, PostParams};
use kube::runtime::wait::await_condition;
use serde_json::json;

fn pod(name: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"step": name}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "step", "image": "alpine:3"}]},
    }))
    .expect("a pod")
}

fn phase(wanted: &'static str) -> impl Fn(Option<&Pod>) -> bool {
    move |pod| pod.and_then(|pod| pod.status.as_ref()?.phase.as_deref()) == Some(wanted)
}

#[tokio::test(start_paused = true)]
async fn a_pod_runs_its_script_and_ends_with_its_code() {
    let runtime = ScriptedRuntime::new();
    runtime.on_pod("a", Script::new().line("one").wait(Duration::from_secs(3900)).line("two").exit(7));
    let cluster = FakeCluster::scripted(&runtime);
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    pods.create(&PostParams::default(), &pod("a")).await.expect("created");
    await_condition(pods.clone(), "a", phase("Running")).await.expect("running");
    let params = LogParams { follow: true, timestamps: true, ..LogParams::default() };
    let lines: Vec<String> =
        pods.log_stream("a", &params).await.expect("a log").lines().try_collect().await.expect("lines");
    assert_eq!(lines, ["2026-01-01T00:00:00.000000000Z one", "2026-01-01T01:05:00.000000000Z two"]);
    await_condition(pods.clone(), "a", phase("Failed")).await.expect("failed");
    let status = pods.get("a").await.expect("there").status.expect("a status");
    let ended = status.container_statuses.expect("containers")[0].state.clone().expect("a state").terminated;
    assert_eq!(ended.map(|ended| (ended.exit_code, ended.reason)), Some((7, Some("Error".into()))));
}
