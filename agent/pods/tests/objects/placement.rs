//! Which nodes a step may run on.

use k8s_openapi::api::core::v1::PodSpec;
use piculet_core::id::{Attempt, StepIndex};
use piculet_core::workload::{StepSpec, Workload};
use piculet_pods::{Context, Settings, StepStart, step};
use serde_json::{Value, json};

use crate::world::{context, labelled, map, minimal, options, service, settings, start, workload};

const ARCH: &str = "kubernetes.io/arch";
const OS: &str = "kubernetes.io/os";

/// The pod of the first step, by an agent of this platform, after steps on this node.
fn pod(workload: &Workload, settings: &Settings, platform: &str, node: Option<&str>) -> PodSpec {
    let context = Context { platform: platform.to_owned(), ..context() };
    let start = StepStart { node: node.map(str::to_owned), ..start() };
    let objects = step(workload, StepIndex(0), Attempt::FIRST, &start, settings, &context, None);
    objects.expect("it can be built").pod.spec.expect("a spec")
}

#[test]
fn an_architecture_is_always_chosen() {
    let by_operator = settings(json!({"node_selector": {ARCH: "riscv64"}}));
    let by_step = settings(json!({"node_selector": {ARCH: "riscv64"}, "allow_from_step": {"node_selector": true}}));
    let lax = Settings::default();
    let choosy = StepSpec { kubernetes: options(&json!({"nodeSelector": {ARCH: "s390x"}})), ..minimal() };
    let arm = [("platform", "linux/arm64")];
    for (spec, labels, settings, platform, expected) in [
        (minimal(), &[][..], &lax, "linux/amd64", &[(ARCH, "amd64")][..]),
        (minimal(), &[], &lax, "linux/arm/v7", &[(ARCH, "arm")]),
        // An agent on a laptop, and one whose platform nobody knows.
        (minimal(), &[], &lax, "darwin/arm64", &[(ARCH, "arm64")]),
        (minimal(), &[], &lax, "", &[]),
        (minimal(), &arm, &lax, "linux/amd64", &[(ARCH, "arm64"), (OS, "linux")]),
        // Whoever does not care runs where the agent does, and whoever names no architecture on any.
        (minimal(), &[("platform", "*")], &lax, "linux/amd64", &[(ARCH, "amd64")]),
        (minimal(), &[("platform", "linux/*")], &lax, "linux/amd64", &[(OS, "linux")]),
        (minimal(), &[], &by_operator, "linux/amd64", &[(ARCH, "riscv64")]),
        (minimal(), &arm, &by_operator, "linux/amd64", &[(ARCH, "riscv64"), (OS, "linux")]),
        (choosy, &[], &by_step, "linux/amd64", &[(ARCH, "s390x")]),
    ] {
        let found = pod(&labelled(vec![spec], labels), settings, platform, None).node_selector.unwrap_or_default();
        assert_eq!(found, map(expected), "{labels:?} by {platform:?}");
    }
}

/// The affinities to nodes and to pods.
fn affinities(pod: PodSpec) -> [Value; 2] {
    let affinity = serde_json::to_value(pod.affinity).expect("JSON");
    ["nodeAffinity", "podAffinity"].map(|kind| affinity[kind].clone())
}

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

fn with_workspace() -> StepSpec {
    StepSpec { workspace_base: "/woodpecker".to_owned(), ..minimal() }
}

#[test]
fn with_a_volume_for_one_node_a_step_goes_where_the_others_are_and_rather_where_they_were() {
    let ssd =
        json!({"nodeSelectorTerms": [{"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}]});
    let rwo = settings(json!({"access_mode": "rwo", "affinity": {"nodeAffinity": {REQUIRED: ssd}}}));
    let first = workload(vec![with_workspace()]);

    let [nodes, pods] = affinities(pod(&first, &rwo, "linux/amd64", None));
    assert_eq!(nodes, json!({REQUIRED: ssd}), "no node is known yet: the first one chooses");
    assert_eq!(pods[REQUIRED][0]["topologyKey"], "kubernetes.io/hostname");
    let those = pods[REQUIRED][0]["labelSelector"]["matchLabels"].clone();
    assert_eq!(those["piculet.dev/node-volume"], "shared", "a service without the volume may be elsewhere");

    let by_name = json!({"key": "metadata.name", "operator": "In", "values": ["node-7"]});
    let wish = json!([{"preference": {"matchFields": [by_name]}, "weight": 100}]);
    let [nodes, later] = affinities(pod(&first, &rwo, "linux/amd64", Some("node-7")));
    assert_eq!(nodes, json!({REQUIRED: ssd, PREFERRED: wish}), "a node that is gone holds nothing up");
    assert_eq!(later, pods);
}

#[test]
fn only_what_shares_a_volume_for_one_node_has_to_go_there() {
    let rwo = settings(json!({"access_mode": "rwo"}));
    let declined = StepSpec {
        workspace_base: "/woodpecker".to_owned(),
        kubernetes: options(&json!({"workspaceVolume": false})),
        ..service("db")
    };
    for (spec, settings) in [(with_workspace(), &Settings::default()), (minimal(), &rwo), (declined, &rwo)] {
        assert_eq!(pod(&workload(vec![spec]), settings, "linux/amd64", Some("node-7")).affinity, None);
    }
}
