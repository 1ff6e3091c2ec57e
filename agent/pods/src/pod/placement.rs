//! Which nodes a step may run on.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, NodeSelectorRequirement, NodeSelectorTerm, PodAffinityTerm, PreferredSchedulingTerm, Toleration,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::label;
use crate::step::Draft;

/// The workflow's own placement label, in the server's words: `linux/arm64`.
const PLATFORM: &str = "platform";

/// The platform that the workflow asks for, or else the agent's architecture; then the operator's wishes, then the
/// step's.
///
/// The agent's operating system is nothing that a node must have: an agent may run outside of the cluster.
pub(super) fn node_selector(draft: &Draft<'_>) -> BTreeMap<String, String> {
    let mut selector = BTreeMap::new();
    let asked = draft.build.workload.labels.get(PLATFORM).and_then(|platform| platform.split_once('/'));
    let own = draft.build.context.platform.split_once('/').map(|(_, arch)| ("", arch));
    if let Some((os, arch)) = asked.or(own) {
        // `linux/arm/v7`: nodes are labelled without the variant.
        let arch = arch.split_once('/').map_or(arch, |(arch, _)| arch);
        for (key, value) in [("kubernetes.io/os", os), ("kubernetes.io/arch", arch)] {
            if !value.is_empty() && value.bytes().all(|b| b.is_ascii_alphanumeric()) {
                selector.insert(key.to_owned(), value.to_owned());
            }
        }
    }
    selector.extend(draft.settings.node_selector.clone());
    selector.extend(draft.options.node_selector.clone());
    selector
}

/// The step's, if it names any; else the operator's.
pub(super) fn tolerations(draft: &Draft<'_>) -> Vec<Toleration> {
    let own = &draft.options.tolerations;
    if own.is_empty() { draft.settings.tolerations.clone() } else { own.clone() }
}

/// The step's, or else the operator's; and with a volume for one node, the node of those that share it.
pub(super) fn affinity(draft: &Draft<'_>) -> Option<Affinity> {
    let affinity = draft.options.affinity.clone().or_else(|| draft.settings.affinity.clone());
    if !draft.shares_node_volume() {
        return affinity;
    }
    let mut affinity = beside_each_other(affinity.unwrap_or_default(), &draft.build.workflow.key);
    if let Some(node) = &draft.build.start.node {
        affinity = rather_on(affinity, node);
    }
    Some(affinity)
}

/// On the node of the pods that share the volume, as long as they run.
fn beside_each_other(mut affinity: Affinity, workflow: &str) -> Affinity {
    // A pod that matches its own term may go anywhere as long as no other matches: the first one chooses.
    let selector = BTreeMap::from([
        (label::WORKFLOW.to_owned(), workflow.to_owned()),
        (label::NODE_VOLUME.to_owned(), label::NODE_VOLUME_SHARED.to_owned()),
    ]);
    let term = PodAffinityTerm {
        label_selector: Some(LabelSelector { match_labels: Some(selector), match_expressions: None }),
        topology_key: "kubernetes.io/hostname".to_owned(),
        ..PodAffinityTerm::default()
    };
    let pods = affinity.pod_affinity.get_or_insert_default();
    pods.required_during_scheduling_ignored_during_execution.get_or_insert_default().push(term);
    affinity
}

/// Where the earlier steps were, if that node takes it: the volume needn't move then.
///
/// The scheduler takes no notice of pods that are over, so a step after others isn't drawn to them. It is a wish only:
/// the node may be gone, and nobody else uses the volume now.
fn rather_on(mut affinity: Affinity, node: &str) -> Affinity {
    // By its name: its label `kubernetes.io/hostname` may be another.
    let its_name = NodeSelectorRequirement {
        key: "metadata.name".to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let term = PreferredSchedulingTerm {
        preference: NodeSelectorTerm { match_fields: Some(vec![its_name]), match_expressions: None },
        weight: 100,
    };
    let nodes = affinity.node_affinity.get_or_insert_default();
    nodes.preferred_during_scheduling_ignored_during_execution.get_or_insert_default().push(term);
    affinity
}
