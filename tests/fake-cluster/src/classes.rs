//! The classes of storage, priority and runtime that a cluster has. They are settings here, not objects.

/// The classes of a cluster.
#[derive(Debug, Clone)]
pub struct Classes {
    /// Storage classes. The first is the default; without any, a claim that names none stays unbound.
    pub storage: Vec<String>,
    /// Whether their volumes are made without a pod that needs them (`Immediate`).
    pub binds_at_once: bool,
    /// Priority classes and their values.
    pub priority: Vec<(String, i32)>,
    /// Runtime classes.
    pub runtime: Vec<String>,
}

impl Default for Classes {
    /// The storage class `standard`, whose volumes are made at once, and the priority classes that every cluster has.
    fn default() -> Self {
        let system = [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];
        Self {
            storage: vec!["standard".into()],
            binds_at_once: true,
            priority: system.map(|(name, value)| (name.to_owned(), value)).into(),
            runtime: Vec::new(),
        }
    }
}
