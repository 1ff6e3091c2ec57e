//! Keeps of a pod what observations are made from.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Drops the rest: who manages which field, annotations, and of the spec all but the node, the names of the
/// containers, their resources and the time limits. Environments and scripts are most of a pod, and a watch holds
/// every pod of the namespace.
pub(crate) fn trim(pod: Pod) -> Pod {
    let Pod { metadata, spec, status } = pod;
    Pod {
        metadata: ObjectMeta {
            name: metadata.name,
            namespace: metadata.namespace,
            uid: metadata.uid,
            resource_version: metadata.resource_version,
            labels: metadata.labels,
            creation_timestamp: metadata.creation_timestamp,
            deletion_timestamp: metadata.deletion_timestamp,
            deletion_grace_period_seconds: metadata.deletion_grace_period_seconds,
            ..ObjectMeta::default()
        },
        spec: spec.map(|spec| PodSpec {
            node_name: spec.node_name,
            active_deadline_seconds: spec.active_deadline_seconds,
            termination_grace_period_seconds: spec.termination_grace_period_seconds,
            containers: spec.containers.into_iter().map(container).collect(),
            init_containers: spec.init_containers.map(|containers| containers.into_iter().map(container).collect()),
            ..PodSpec::default()
        }),
        status,
    }
}

fn container(container: Container) -> Container {
    Container {
        name: container.name,
        image: container.image,
        resources: container.resources,
        restart_policy: container.restart_policy,
        ..Container::default()
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    use super::trim;

    /// A pod with everything that an observation is made from, and much besides.
    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {
                "name": "wp-1", "namespace": "ci", "uid": "u1", "resourceVersion": "7",
                "labels": { "piculet.dev/workflow": "w" },
                "annotations": { "piculet.dev/step-id": "1" },
                "managedFields": [{ "manager": "kubelet", "operation": "Update" }],
                "creationTimestamp": "2026-08-22T10:00:00Z",
                "deletionTimestamp": "2026-08-22T10:05:00Z", "deletionGracePeriodSeconds": 30,
            },
            "spec": {
                "nodeName": "node-1", "activeDeadlineSeconds": 60, "hostname": "build",
                "initContainers": [{ "name": "proxy", "restartPolicy": "Always", "env": [{ "name": "A", "value": "long" }] }],
                "containers": [{
                    "name": "wp-1", "image": "alpine", "command": ["sh"],
                    "env": [{ "name": "CI_SCRIPT", "value": "long" }],
                    "resources": { "limits": { "memory": "64Mi" } },
                }],
            },
            "status": {
                "phase": "Failed",
                "containerStatuses": [{
                    "name": "wp-1", "image": "alpine", "imageID": "", "ready": false, "restartCount": 0,
                    "state": { "terminated": { "exitCode": 137, "reason": "OOMKilled" } },
                }],
            },
        }))
        .unwrap()
    }

    #[test]
    fn observations_are_the_same() {
        let mut waiting = pod();
        waiting.status = serde_json::from_value(json!({
            "phase": "Pending",
            "initContainerStatuses": [{
                "name": "proxy", "image": "proxy", "imageID": "", "ready": false, "restartCount": 1,
                "state": { "terminated": { "exitCode": 1 } },
            }],
        }))
        .unwrap();
        for pod in [pod(), waiting] {
            assert_eq!(piculet_pods::observe(&trim(pod.clone()), "wp-1"), piculet_pods::observe(&pod, "wp-1"));
            assert_eq!(piculet_pods::times(&trim(pod.clone()), "wp-1"), piculet_pods::times(&pod, "wp-1"));
        }
    }

    #[test]
    fn the_bulk_is_dropped() {
        let text = serde_json::to_string(&trim(pod())).unwrap();
        for dropped in ["managedFields", "annotations", "CI_SCRIPT", "command", "hostname"] {
            assert!(!text.contains(dropped), "{dropped}");
        }
    }
}
