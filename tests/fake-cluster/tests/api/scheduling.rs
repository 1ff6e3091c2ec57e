//! Which pod goes where, and what the scheduler says of those that go nowhere.

use std::time::Duration;

use fake_cluster::{Kind, NodeSettings, Script};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{Api, PostParams};
use kube::runtime::wait::await_condition;
use serde_json::{Value, json};

use crate::fixture::{Fixture, condition, object, pod, pod_with, within};

async fn unschedulable(fixture: &Fixture, name: &str) -> String {
    let refused = |pod: Option<&Pod>| {
        pod.and_then(|pod| pod.status.as_ref()?.conditions.as_ref())
            .is_some_and(|all| all.iter().any(|one| one.reason.as_deref() == Some("Unschedulable")))
    };
    within(Box::pin(await_condition(fixture.pods.clone(), name, refused))).await.expect("the watch goes on");
    let pod = fixture.pod(name);
    assert_eq!(pod["status"]["phase"], "Pending");
    let scheduled = condition(&pod, "PodScheduled");
    assert_eq!(scheduled["status"], "False");
    scheduled["message"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_fits_nowhere_says_why_and_goes_when_it_can() {
    let fixture = Fixture::playing(Script::new().forever());
    fixture.create(&pod_with("p", json!({"nodeSelector": {"disk": "fast"}}))).await;
    let message = unschedulable(&fixture, "p").await;
    assert_eq!(
        message,
        "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. preemption: 0/1 nodes are \
         available: 1 Preemption is not helpful for scheduling."
    );
    assert_eq!(fixture.events("p"), [format!("FailedScheduling: {message}")]);
    let mut node = NodeSettings::new("fast-node");
    node.labels.push(("disk".into(), "fast".into()));
    fixture.cluster.add_node(&node);
    let running = fixture.until_phase("p", "Running").await;
    assert_eq!(running["spec"]["nodeName"], "fast-node");
    assert_eq!(condition(&running, "PodScheduled")["status"], "True");
}

#[tokio::test(start_paused = true)]
async fn requests_fill_a_node() {
    let fixture = Fixture::playing(Script::new().wait(Duration::from_secs(60)));
    let asking = |name: &str, cpu: &str| {
        let resources = json!({"requests": {"cpu": cpu}});
        pod_with(name, json!({"containers": [{"name": "step", "image": "alpine:3", "resources": resources}]}))
    };
    fixture.create(&asking("a", "6")).await;
    fixture.until_phase("a", "Running").await;
    fixture.create(&asking("b", "2500m")).await;
    assert!(unschedulable(&fixture, "b").await.starts_with("0/1 nodes are available: 1 Insufficient cpu. "));
    fixture.until_phase("a", "Succeeded").await;
    fixture.until_phase("b", "Running").await;
}

#[tokio::test(start_paused = true)]
async fn pods_spread_and_affinities_hold() {
    let fixture = Fixture::playing(Script::new().forever());
    fixture.cluster.add_node(&NodeSettings::new("node-2"));
    for name in ["a", "b"] {
        fixture.create(&pod(name)).await;
        fixture.until_phase(name, "Running").await;
    }
    assert_eq!(
        (&fixture.pod("a")["spec"]["nodeName"], &fixture.pod("b")["spec"]["nodeName"]),
        (&json!("node-1"), &json!("node-2"))
    );
    let required = |key: &str, operator: &str, values: Value| {
        let term = json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
        let terms = json!({"nodeSelectorTerms": [term]});
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}})
    };
    let host = "kubernetes.io/hostname";
    fixture.create(&pod_with("c", required(host, "In", json!(["node-2"])))).await;
    assert_eq!(fixture.until_phase("c", "Running").await["spec"]["nodeName"], "node-2");
    fixture.create(&pod_with("d", required(host, "NotIn", json!(["node-1", "node-2"])))).await;
    unschedulable(&fixture, "d").await;
}

/// A pod with one term of a required affinity.
fn drawn(name: &str, kind: &str, terms: &Value) -> Pod {
    let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": terms});
    pod_with(name, json!({"affinity": {kind: required}}))
}

#[tokio::test(start_paused = true)]
async fn a_node_can_be_meant_by_its_name() {
    let fixture = Fixture::playing(Script::new().forever());
    // Its name and its label for the host are two things.
    let mut node = NodeSettings::new("node-2");
    node.labels.push(("kubernetes.io/hostname".into(), "node-1".into()));
    fixture.cluster.add_node(&node);
    let to = |name: &str, term: Value| drawn(name, "nodeAffinity", &json!({"nodeSelectorTerms": [term]}));
    let named = |node: &str| json!({"key": "metadata.name", "operator": "In", "values": [node]});
    for name in ["a", "b", "c"] {
        fixture.create(&to(name, json!({"matchFields": [named("node-2")]}))).await;
        assert_eq!(fixture.until_phase(name, "Running").await["spec"]["nodeName"], "node-2");
    }
    let slow = json!({"key": "disk", "operator": "In", "values": ["slow"]});
    fixture.create(&to("d", json!({"matchFields": [named("node-2")], "matchExpressions": [slow]}))).await;
    unschedulable(&fixture, "d").await;
    fixture.create(&to("e", json!({}))).await;
    unschedulable(&fixture, "e").await;
}

#[tokio::test(start_paused = true)]
async fn pods_go_where_their_company_runs() {
    let fixture = Fixture::new();
    for name in ["node-2", "node-3"] {
        fixture.cluster.add_node(&NodeSettings::new(name));
    }
    let host = "kubernetes.io/hostname";
    let beside = |name: &str, other: &str, topology: &str| {
        let selector = json!({"matchLabels": {"step": other}});
        drawn(name, "podAffinity", &json!([{"labelSelector": selector, "topologyKey": topology}]))
    };
    fixture.runtime.on_all(Script::new().forever());
    fixture.runtime.on_pod("short", Script::new().wait(Duration::from_secs(60)));
    for name in ["one", "short"] {
        fixture.create(&pod(name)).await;
        fixture.until_phase(name, "Running").await;
    }
    assert_eq!(fixture.pod("short")["spec"]["nodeName"], "node-2");
    fixture.create(&beside("with-short", "short", host)).await;
    assert_eq!(fixture.until_phase("with-short", "Running").await["spec"]["nodeName"], "node-2");

    // Company that is over is none, wherever its object is.
    fixture.until_phase("short", "Succeeded").await;
    fixture.create(&beside("too-late", "short", host)).await;
    let message = unschedulable(&fixture, "too-late").await;
    assert!(message.starts_with("0/3 nodes are available: 3 node(s) didn't match pod affinity rules. "), "{message}");

    // Who is its own company may go anywhere as long as there is no other, and no node is without a host.
    fixture.create(&beside("alone", "alone", host)).await;
    assert_eq!(fixture.until_phase("alone", "Running").await["spec"]["nodeName"], "node-3");
    fixture.create(&beside("in-a-zone", "in-a-zone", "zone")).await;
    unschedulable(&fixture, "in-a-zone").await;
    let mut second = beside("alone-2", "alone", host);
    second.metadata.labels = Some([("step".to_owned(), "alone".to_owned())].into());
    fixture.create(&second).await;
    assert_eq!(fixture.until_phase("alone-2", "Running").await["spec"]["nodeName"], "node-3");
}

#[tokio::test(start_paused = true)]
async fn company_is_in_the_same_namespace_unless_said_otherwise() {
    let fixture = Fixture::playing(Script::new().forever());
    fixture.cluster.create_namespace("elsewhere");
    let elsewhere: Api<Pod> = Api::namespaced(fixture.cluster.client(), "elsewhere");
    elsewhere.create(&PostParams::default(), &pod("one")).await.expect("created");
    let selector = json!({"matchExpressions": [{"key": "step", "operator": "In", "values": ["one"]}]});
    let mut term = json!({"labelSelector": selector, "topologyKey": "kubernetes.io/hostname"});
    fixture.create(&drawn("here", "podAffinity", &json!([term]))).await;
    unschedulable(&fixture, "here").await;
    term["namespaces"] = json!(["elsewhere"]);
    fixture.create(&drawn("there", "podAffinity", &json!([term]))).await;
    fixture.until_phase("there", "Running").await;
}

#[tokio::test(start_paused = true)]
async fn nodes_have_the_architecture_of_this_machine() {
    let fixture = Fixture::new();
    let node = fixture.cluster.object(Kind::Node, "", "node-1").expect("the node is there");
    let found = node["metadata"]["labels"]["kubernetes.io/arch"].as_str().expect("a label");
    assert_eq!(node["status"]["nodeInfo"]["architecture"], found);
    let expected = match std::env::consts::ARCH {
        "x86_64" => Some("amd64"),
        "aarch64" => Some("arm64"),
        _ => None,
    };
    assert!(expected.is_none_or(|expected| expected == found), "{found}");
}

#[tokio::test(start_paused = true)]
async fn a_claim_is_bound_when_a_pod_needs_it() {
    let fixture = Fixture::new();
    let volumes = json!([{"name": "w", "persistentVolumeClaim": {"claimName": "w"}}]);
    fixture.create(&pod_with("p", json!({"volumes": volumes}))).await;
    let message = unschedulable(&fixture, "p").await;
    assert!(message.starts_with("0/1 nodes are available: persistentvolumeclaim \"w\" not found. "), "{message}");
    let claims: Api<PersistentVolumeClaim> = Api::default_namespaced(fixture.cluster.client());
    let claim = |name: &str, class: &str| {
        let spec = json!({
            "storageClassName": class, "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "2Gi"}},
        });
        object::<PersistentVolumeClaim>(json!({"metadata": {"name": name}, "spec": spec}))
    };
    claims.create(&PostParams::default(), &claim("w", "standard")).await.expect("created");
    fixture.until_phase("p", "Succeeded").await;
    let bound = claims.get("w").await.expect("there").status.expect("a status");
    assert_eq!(bound.phase.as_deref(), Some("Bound"));
    assert_eq!(serde_json::to_value(bound.capacity).expect("JSON"), json!({"storage": "2Gi"}));
    claims.create(&PostParams::default(), &claim("x", "exotic")).await.expect("created");
    let volumes = json!([{"name": "w", "persistentVolumeClaim": {"claimName": "x"}}]);
    fixture.create(&pod_with("q", json!({"volumes": volumes}))).await;
    assert!(unschedulable(&fixture, "q").await.contains("pod has unbound immediate PersistentVolumeClaims"));
    assert_eq!(fixture.events("x"), ["ProvisioningFailed: storageclass.storage.k8s.io \"exotic\" not found"]);
}
