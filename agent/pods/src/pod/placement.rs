//! Which nodes a step may run on.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, PodAffinityTerm, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::label;
use crate::settings::AccessMode;
use crate::step::Draft;

/// The workflow's own placement label, in the server's words: `linux/arm64`.
const PLATFORM: &str = "platform";

/// The platform that the workflow asks for, if it does, then the operator's wishes, then the step's.
pub(super) fn node_selector(draft: &Draft<'_>) -> BTreeMap<String, String> {
    let mut selector = BTreeMap::new();
    let platform = draft.build.workload.labels.get(PLATFORM).and_then(|platform| platform.split_once('/'));
    if let Some((os, arch)) = platform {
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

/// The step's, or else the operator's; and with a volume for one node, the node of the workflow's other steps.
pub(super) fn affinity(draft: &Draft<'_>) -> Option<Affinity> {
    let affinity = draft.options.affinity.clone().or_else(|| draft.settings.affinity.clone());
    if draft.settings.access_mode != AccessMode::Rwo || !draft.mounts_workspace() {
        return affinity;
    }
    // A pod that matches its own term may go anywhere as long as no other matches: the first one chooses.
    let selector = BTreeMap::from([(label::WORKFLOW.to_owned(), draft.build.workflow.key.clone())]);
    let term = PodAffinityTerm {
        label_selector: Some(LabelSelector { match_labels: Some(selector), match_expressions: None }),
        topology_key: "kubernetes.io/hostname".to_owned(),
        ..PodAffinityTerm::default()
    };
    let mut affinity = affinity.unwrap_or_default();
    let pods = affinity.pod_affinity.get_or_insert_default();
    pods.required_during_scheduling_ignored_during_execution.get_or_insert_default().push(term);
    Some(affinity)
}
