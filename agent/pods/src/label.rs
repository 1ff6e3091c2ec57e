//! Labels and annotations that every object of a workflow carries, and what can be read back from them.
//!
//! Watches and sweeps select by [`MANAGED_BY`] and [`WORKFLOW`]. A label holds what fits into one; the exact ids stand
//! in annotations.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use piculet_core::id::{Attempt, Epoch, ServerId, StepId, WorkflowId};
use piculet_core::workload::Workload;

use crate::names::{is_label_key, is_label_value, label_value};

/// Who made the object: [`MANAGED_BY_PICULET`].
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY`].
pub const MANAGED_BY_PICULET: &str = "piculet";
/// The workflow's key: [`WorkflowNames::key`](crate::names::WorkflowNames::key).
pub const WORKFLOW: &str = "piculet.dev/workflow";
/// The step's name, as Woodpecker labels it.
pub const STEP: &str = "woodpecker-ci.org/step";
/// The step's name, under the key that older policies select by.
pub const STEP_LEGACY: &str = "step";
/// The server's id of the workflow, as Woodpecker labels it. Two servers may use the same.
pub const TASK: &str = "woodpecker-ci.org/task-uuid";
/// On pods that share a volume for one node: [`NODE_VOLUME_SHARED`].
pub const NODE_VOLUME: &str = "piculet.dev/node-volume";
/// The value of [`NODE_VOLUME`].
pub const NODE_VOLUME_SHARED: &str = "shared";
/// The pod's name, on pods of services.
pub const SERVICE: &str = "service";

/// Annotation: the server's identity.
pub const SERVER_ID: &str = "piculet.dev/server-id";
/// Annotation: the server's id of the workflow.
pub const WORKFLOW_ID: &str = "piculet.dev/workflow-id";
/// Annotation: the step's id.
pub const STEP_ID: &str = "piculet.dev/step-id";
/// Annotation: the number of the attempt at the step.
pub const ATTEMPT: &str = "piculet.dev/attempt";
/// Annotation: the epoch under which the object was made.
pub const EPOCH: &str = "piculet.dev/epoch";

/// Label keys with this start are the server's own.
pub const WOODPECKER_PREFIX: &str = "woodpecker-ci.org";
/// Label and annotation keys with this start are ours.
pub const PICULET_PREFIX: &str = "piculet.dev/";

/// The label selector of everything that any piculet made.
pub fn selector() -> String {
    format!("{MANAGED_BY}={MANAGED_BY_PICULET}")
}

/// The label selector of everything of one workflow.
pub fn workflow_selector(key: &str) -> String {
    format!("{MANAGED_BY}={MANAGED_BY_PICULET},{WORKFLOW}={key}")
}

/// Whether a label or annotation is set by the agent, and by nobody else.
pub fn is_reserved(key: &str) -> bool {
    key.starts_with(WOODPECKER_PREFIX)
        || key.starts_with(PICULET_PREFIX)
        || matches!(key, MANAGED_BY | STEP_LEGACY | SERVICE)
}

/// The labels that every object of a workflow has: whose it is, and the server's own ones. Those that the workflow's
/// author chose come with them if `with_users`.
pub(crate) fn of_workflow(workload: &Workload, key: &str, with_users: bool) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    for (name, value) in &workload.labels {
        let is_servers = name.starts_with(WOODPECKER_PREFIX);
        if is_label_key(name) && (is_servers || with_users && !is_reserved(name)) {
            labels.insert(name.clone(), label_value(value));
        }
    }
    let id = workload.id.as_str();
    let task = if is_label_value(id) { id.to_owned() } else { label_value(id) };
    labels.insert(TASK.to_owned(), task);
    labels.insert(MANAGED_BY.to_owned(), MANAGED_BY_PICULET.to_owned());
    labels.insert(WORKFLOW.to_owned(), key.to_owned());
    labels
}

/// What an object belongs to, read from its annotations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The server.
    pub server: ServerId,
    /// The workflow.
    pub workflow: WorkflowId,
    /// The epoch under which the object was made.
    pub epoch: Epoch,
    /// The step and the attempt at it, on pods and their Secrets.
    pub step: Option<(StepId, Attempt)>,
}

impl Identity {
    /// Reads it; `None` if the object isn't piculet's, or somebody changed it.
    pub fn of(metadata: &ObjectMeta) -> Option<Self> {
        let annotations = metadata.annotations.as_ref()?;
        let text = |key| annotations.get(key).map(String::as_str);
        let step = match (text(STEP_ID), text(ATTEMPT)) {
            (Some(step), Some(attempt)) => Some((StepId::new(step), Attempt(attempt.parse().ok()?))),
            _ => None,
        };
        Some(Self {
            server: ServerId::new(text(SERVER_ID)?),
            workflow: WorkflowId::new(text(WORKFLOW_ID)?),
            epoch: Epoch(text(EPOCH)?.parse().ok()?),
            step,
        })
    }

    /// As annotations.
    pub fn annotations(&self) -> BTreeMap<String, String> {
        let mut annotations = BTreeMap::from([
            (SERVER_ID.to_owned(), self.server.to_string()),
            (WORKFLOW_ID.to_owned(), self.workflow.to_string()),
            (EPOCH.to_owned(), self.epoch.0.to_string()),
        ]);
        if let Some((step, attempt)) = &self.step {
            annotations.insert(STEP_ID.to_owned(), step.to_string());
            annotations.insert(ATTEMPT.to_owned(), attempt.0.to_string());
        }
        annotations
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
    use piculet_core::id::{Attempt, Epoch, ServerId, StepId, WorkflowId};

    use super::{ATTEMPT, Identity, is_reserved, selector, workflow_selector};

    #[test]
    fn an_identity_survives_its_annotations() {
        let mut identity = Identity {
            server: ServerId::new("ci.example.org"),
            workflow: WorkflowId::new("grün/4711"),
            epoch: Epoch(3),
            step: Some((StepId::new("01K3"), Attempt(2))),
        };
        let mut metadata = ObjectMeta { annotations: Some(identity.annotations()), ..ObjectMeta::default() };
        assert_eq!(Identity::of(&metadata), Some(identity.clone()));
        metadata.annotations.as_mut().unwrap().insert(ATTEMPT.to_owned(), "two".to_owned());
        assert_eq!(Identity::of(&metadata), None);
        identity.step = None;
        metadata.annotations = Some(identity.annotations());
        assert_eq!(Identity::of(&metadata), Some(identity));
        assert_eq!(Identity::of(&ObjectMeta::default()), None);
    }

    #[test]
    fn selectors_name_the_agent_and_the_workflow() {
        assert_eq!(selector(), "app.kubernetes.io/managed-by=piculet");
        assert_eq!(workflow_selector("4711-ab"), "app.kubernetes.io/managed-by=piculet,piculet.dev/workflow=4711-ab");
    }

    #[test]
    fn nobody_else_sets_what_the_agent_reads() {
        assert!(["step", "service", "woodpecker-ci.org/x", "piculet.dev/workflow"].into_iter().all(is_reserved));
        assert!(!is_reserved("team") && !is_reserved("app.kubernetes.io/name"));
    }
}
