//! The cluster in memory.

use std::sync::Arc;

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
        let settings = Settings { nodes: vec![node("node1")], logs, ..Settings::default() };
        Self { cluster: FakeCluster::start(settings, runtime.clone()), runtime }
    }
}
