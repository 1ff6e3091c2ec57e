//! What can happen to the cluster beneath a step. Where it takes the machine itself, it is `tests/cluster` that does it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use fake_cluster::Fault;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::scheduling::v1::PriorityClass;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;
use tokio::process::Command;

use crate::site::{RealSite, Site, kubeconfig};
use crate::world::skipped;

/// How long the API server, and a node, are away in memory.
const AWAY: Duration = Duration::from_secs(5);

impl Site {
    /// The options of a step for the node whose log files are small and whose kubelet may be stopped, if there is one: see
    /// `tests/cluster`. In memory every node is like that.
    pub(crate) async fn on_breaking_node(&self) -> Option<serde_json::Value> {
        let Self::Real(site) = self else { return Some(json!({})) };
        let Some(node) = site.breaking_node().await else {
            skipped("this cluster has no node with the taint piculet.test/breaks");
            return None;
        };
        Some(json!({
            "nodeSelector": {"kubernetes.io/hostname": node.name_any()},
            "tolerations": [{"key": "piculet.test/breaks", "operator": "Exists"}],
        }))
    }

    /// More than half of the processors of that node, so that no two pods with it have room there.
    pub(crate) async fn more_than_half(&self) -> String {
        match self {
            Self::Fake(_) => "1200m".to_owned(),
            Self::Real(site) => {
                let node = site.breaking_node().await.unwrap();
                let cpu = node.status.and_then(|status| status.allocatable?.remove("cpu")).unwrap().0;
                let millis: u64 = cpu.parse::<u64>().unwrap() * 600;
                format!("{millis}m")
            }
        }
    }

    /// A pod of a higher priority needs the room of the step's.
    pub(crate) async fn preempt(&self, step: &str, cpu: &str) {
        match self {
            Self::Fake(site) => {
                site.cluster.preempt(self.namespace(), &self.pod(step).await.name_any()).unwrap();
            }
            Self::Real(site) => {
                self.enforce("privileged").await;
                let class = json!({"metadata": {"name": site.namespace}, "value": 1000});
                site.everywhere::<PriorityClass>(class).await;
                let mut spec = self.on_breaking_node().await.unwrap();
                spec["priorityClassName"] = site.namespace.clone().into();
                spec["restartPolicy"] = "Never".into();
                spec["terminationGracePeriodSeconds"] = 0.into();
                spec["containers"] = json!([{
                    "name": "important", "image": "busybox:stable", "command": ["sleep", "600"],
                    "resources": {"requests": {"cpu": cpu}},
                }]);
                self.create::<Pod>(json!({"metadata": {"name": "important"}, "spec": spec})).await;
            }
        }
    }

    /// Takes away the pod for which it made room.
    pub(crate) async fn take_away_what_preempted(&self) {
        if let Self::Real(site) = self {
            let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
            self.api::<Pod>().delete("important", &now).await.unwrap();
            site.nowhere::<PriorityClass>().await;
        }
    }

    /// The kubelet ends the step's pod for what it wrote. A real one sees that itself.
    pub(crate) async fn evict_by_kubelet(&self, step: &str, says: &str) {
        if let Self::Fake(site) = self {
            site.cluster.evict(self.namespace(), &self.pod(step).await.name_any(), says).unwrap();
        }
    }

    /// The breaking node says nothing any more.
    pub(crate) async fn lose_node(&self) {
        match self {
            Self::Fake(site) => site.cluster.lose_node("node1"),
            Self::Real(site) => {
                process("pause", &site.breaking_kubelet().await).await;
            }
        }
    }

    /// It is there again.
    pub(crate) async fn restore_node(&self) {
        match self {
            Self::Fake(site) => site.cluster.restore_node("node1"),
            Self::Real(site) => process("resume", &site.breaking_kubelet().await).await,
        }
    }

    /// The kubelet of the breaking node ends and starts again; containers run on.
    pub(crate) async fn restart_kubelet(&self) {
        match self {
            Self::Fake(site) => {
                site.cluster.lose_node("node1");
                tokio::time::sleep(AWAY).await;
                site.cluster.restore_node("node1");
            }
            Self::Real(site) => process("restart", &site.breaking_kubelet().await).await,
        }
    }

    /// The API server ends and starts again.
    pub(crate) async fn restart_api_server(&self) {
        match self {
            Self::Fake(site) => {
                site.cluster.faults().inject(Fault::drop_connection().always());
                site.cluster.faults().cut_streams();
                tokio::time::sleep(AWAY).await;
                site.cluster.faults().clear();
            }
            Self::Real(_) => process("restart", "kube-apiserver").await,
        }
    }

    /// Whether this test may stop the cluster's own processes.
    pub(crate) fn may_break(&self) -> bool {
        match self {
            Self::Fake(_) => true,
            Self::Real(_) => {
                let is_ours = kubeconfig().with_file_name("pids").join("kube-apiserver").exists();
                if !is_ours {
                    skipped("this cluster's own processes can't be stopped");
                }
                is_ours
            }
        }
    }
}

impl RealSite {
    async fn breaking_node(&self) -> Option<Node> {
        let nodes = Api::<Node>::all(self.client.clone()).list(&ListParams::default()).await.unwrap();
        let breaks = |node: &Node| {
            let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
            taints.into_iter().any(|taint| taint.key == "piculet.test/breaks")
        };
        nodes.items.into_iter().find(breaks)
    }

    async fn breaking_kubelet(&self) -> String {
        format!("kubelet-{}", self.breaking_node().await.unwrap().name_any())
    }
}

/// Does this to one of the cluster's processes.
async fn process(what: &str, name: &str) {
    let script: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/process");
    let state = kubeconfig().parent().unwrap().to_owned();
    let mut command = Command::new(script);
    command.args([what, name]).env("PICULET_CLUSTER_STATE", state);
    // What it starts outlives it, and would hold these open.
    let done = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().await.unwrap();
    assert!(done.success(), "tests/cluster/process {what} {name}: {done}");
}
