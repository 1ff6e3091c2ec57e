//! The cluster in memory.

use std::sync::Arc;
use std::time::Duration;

use fake_cluster::{FakeCluster, LogSettings, NodeSettings, ScriptedRuntime, Settings};

pub(super) const NAMESPACE: &str = "ci";

/// A cluster of its own, with one node.
pub(crate) struct FakeSite {
    pub(crate) cluster: FakeCluster,
    pub(crate) runtime: Arc<ScriptedRuntime>,
}

impl FakeSite {
    pub(super) fn open() -> Self {
        let runtime = ScriptedRuntime::new();
        let node = |name| NodeSettings { cpu: "2".to_owned(), ..NodeSettings::new(name) };
        let logs = LogSettings { rotate_at: Some(1 << 20), ..LogSettings::default() };
        let (nodes, node_grace) = (vec![node("node1")], Duration::from_secs(12));
        let settings = Settings { nodes, node_grace, logs, ..Settings::default() };
        Self { cluster: FakeCluster::start(settings, runtime.clone()), runtime }
    }
}
