//! Removing what a workflow made.

use std::time::Duration;

use piculet_cluster::{Anchor, Cluster, ObjectName};
use piculet_core::id::Epoch;
use piculet_core::retry::{Backoff, Growth};
use tokio_util::task::TaskTracker;

/// Between two tries at what the first one left: it is an outage that is in the way, or somebody's finalizer.
const PAUSES: Growth = Growth { initial: Duration::from_secs(10), factor: 2.0, cap: Duration::from_secs(5 * 60) };

/// How often it is tried: for about an hour.
const TRIES: usize = 15;

/// The objects of one run of a workflow.
#[derive(Debug)]
pub(crate) struct Removal {
    /// The label that they have.
    pub(crate) workflow: String,
    /// The epoch that they were made under.
    pub(crate) epoch: Epoch,
    /// What owns them, if that was made.
    pub(crate) anchor: Option<Anchor>,
    /// What was made, or may have been.
    pub(crate) made: Vec<ObjectName>,
    /// What pods get between SIGTERM and SIGKILL.
    pub(crate) grace: Duration,
}

impl Removal {
    /// Tries once. What is left is tried again by a task of `sweeps`, so that the workflow's slot waits for neither
    /// an outage nor a finalizer.
    pub(crate) async fn run(self, cluster: Cluster, sweeps: &TaskTracker) {
        if !self.try_once(&cluster).await {
            sweeps.spawn(self.try_again(cluster));
        }
    }

    async fn try_again(self, cluster: Cluster) {
        let mut pauses = Backoff::new(PAUSES, self.epoch.0);
        for _ in 1..TRIES {
            tokio::time::sleep(pauses.next()).await;
            if self.try_once(&cluster).await {
                tracing::info!(workflow = self.workflow, "the rest of a workflow's objects is gone");
                return;
            }
        }
        tracing::error!(
            workflow = self.workflow,
            "objects of a workflow could not be removed; they have this value of the label piculet.dev/workflow"
        );
    }

    /// Whether nothing is left.
    async fn try_once(&self, cluster: &Cluster) -> bool {
        let Self { workflow, epoch, anchor, made, grace } = self;
        let report = cluster.teardown(workflow, *epoch, anchor.as_ref(), made, *grace).await;
        for error in &report.errors {
            tracing::warn!(workflow, %error, code = error.code(), "while a workflow's objects were removed");
        }
        for left in &report.left {
            tracing::warn!(workflow, kind = left.kind, name = left.name, held_by = ?left.finalizers, "an object is left");
        }
        report.is_complete()
    }
}
