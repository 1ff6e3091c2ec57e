//! What the tests share.

use std::sync::Arc;
use std::time::Duration;

use fake_cluster::{FakeCluster, Kind, Script, ScriptedRuntime};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, PostParams};
use kube::runtime::wait::await_condition;
use serde_json::{Value, json};

/// A cluster, its runtime, and the pods of its namespace `ci`.
pub(crate) struct Fixture {
    pub(crate) runtime: Arc<ScriptedRuntime>,
    pub(crate) cluster: FakeCluster,
    pub(crate) pods: Api<Pod>,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let runtime = ScriptedRuntime::new();
        let cluster = FakeCluster::scripted(&runtime);
        Self { pods: Api::default_namespaced(cluster.client()), runtime, cluster }
    }

    /// A cluster whose containers all play `script`.
    pub(crate) fn playing(script: Script) -> Self {
        let fixture = Self::new();
        fixture.runtime.on_all(script);
        fixture
    }

    pub(crate) async fn create(&self, pod: &Pod) -> Pod {
        self.pods.create(&PostParams::default(), pod).await.expect("the pod is created")
    }

    /// Waits until the pod is in a phase.
    pub(crate) async fn until_phase(&self, name: &str, phase: &'static str) -> Value {
        let reached = |pod: Option<&Pod>| pod.and_then(|pod| pod.status.as_ref()?.phase.as_deref()) == Some(phase);
        within(Box::pin(await_condition(self.pods.clone(), name, reached))).await.expect("the watch goes on");
        self.pod(name)
    }

    /// Waits until the pod's object is gone.
    pub(crate) async fn until_gone(&self, name: &str) {
        let gone = |pod: Option<&Pod>| pod.is_none();
        within(Box::pin(await_condition(self.pods.clone(), name, gone))).await.expect("the watch goes on");
    }

    /// Waits until the first container waits for this reason; gives the message.
    pub(crate) async fn until_waiting(&self, name: &str, reason: &'static str) -> String {
        let waiting = |pod: Option<&Pod>| first_waiting(pod).is_some_and(|(found, _)| found == reason);
        let pod = within(Box::pin(await_condition(self.pods.clone(), name, waiting))).await.expect("the watch goes on");
        first_waiting(pod.as_ref()).map(|(_, message)| message).unwrap_or_default()
    }

    /// The pod as it is stored.
    pub(crate) fn pod(&self, name: &str) -> Value {
        self.cluster.object(Kind::Pod, "ci", name).expect("the pod is there")
    }

    /// The events about an object, as `reason: message`.
    pub(crate) fn events(&self, name: &str) -> Vec<String> {
        let mut events = self.cluster.objects(Kind::Event);
        events.retain(|event| event["involvedObject"]["name"] == name);
        let number = |event: &Value| event["metadata"]["resourceVersion"].as_str().map(|text| text.parse::<u64>().ok());
        events.sort_by_key(number);
        let text = |event: &Value, field: &str| event[field].as_str().unwrap_or_default().to_owned();
        events.iter().map(|event| format!("{}: {}", text(event, "reason"), text(event, "message"))).collect()
    }
}

fn first_waiting(pod: Option<&Pod>) -> Option<(String, String)> {
    let statuses = pod?.status.as_ref()?.container_statuses.as_ref()?;
    let waiting = statuses.first()?.state.as_ref()?.waiting.clone()?;
    Some((waiting.reason.unwrap_or_default(), waiting.message.unwrap_or_default()))
}

/// No test waits longer than a day of its own time.
pub(crate) async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(86_400), work).await.expect("it happens within a day")
}

/// A pod of one container named `step`, with more in its specification.
pub(crate) fn pod_with(name: &str, more: Value) -> Pod {
    let mut pod = json!({
        "metadata": {"name": name, "labels": {"step": name}},
        "spec": {
            "restartPolicy": "Never", "automountServiceAccountToken": false,
            "containers": [{"name": "step", "image": "alpine:3"}],
        },
    });
    json_patch::merge(&mut pod["spec"], &more);
    serde_json::from_value(pod).expect("a pod")
}

pub(crate) fn pod(name: &str) -> Pod {
    pod_with(name, json!({}))
}

/// A typed object out of JSON.
pub(crate) fn object<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("an object")
}

/// The code, the reason and the message of a refusal.
pub(crate) fn refusal<T: std::fmt::Debug>(result: kube::Result<T>) -> (u16, String, String) {
    match result {
        Err(kube::Error::Api(status)) => (status.code, status.reason, status.message),
        other => panic!("a refusal was expected, not {other:?}"),
    }
}

/// The condition of this type.
pub(crate) fn condition<'a>(pod: &'a Value, kind: &str) -> &'a Value {
    let conditions = pod["status"]["conditions"].as_array().expect("conditions");
    conditions.iter().find(|one| one["type"] == kind).unwrap_or(&Value::Null)
}

/// Lets everything run that is due now.
pub(crate) async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}
