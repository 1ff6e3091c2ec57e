//! Who holds a workflow: what its anchor says.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use piculet_core::id::InstanceId;
use piculet_pods::anchor::{DEADLINE_KEY, HOLDER_KEY};
use serde_json::json;

use crate::apply::Anchor;
use crate::attempts::CallError;
use crate::cluster::Cluster;

/// How long to look for an anchor.
const LOOK: Duration = Duration::from_secs(10);

/// Who holds a workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holding {
    /// This instance does, as far as anybody wrote down.
    Ours,
    /// Another one does.
    Others,
}

impl Cluster {
    /// Writes down that the holder of `wanted` holds an anchor that was there already, until when. An agent that may not, or that
    /// comes too late, goes on without: then the one before it believes that it still does.
    pub(crate) async fn claim(&self, wanted: &ConfigMap, found: ConfigMap) -> ConfigMap {
        // With the holder the workflow's time begins anew.
        let said = |anchor: &ConfigMap| {
            let entry = |key: &str| anchor.data.as_ref()?.get(key).cloned();
            (entry(HOLDER_KEY), entry(DEADLINE_KEY))
        };
        let (holder, deadline) = said(wanted);
        if holder.is_none() || (&holder, &deadline) == (&said(&found).0, &said(&found).1) {
            return found;
        }
        let name = found.metadata.name.clone().unwrap_or_default();
        let version = &found.metadata.resource_version;
        let patch = Patch::Merge(
            json!({ "metadata": { "resourceVersion": version }, "data": { HOLDER_KEY: holder, DEADLINE_KEY: deadline } }),
        );
        let (api, what) = (self.api::<ConfigMap>(), self.here(format_args!("take over ConfigMap '{name}'")));
        let (params, attempts) = (PatchParams::default(), self.attempts_within(what, LOOK));
        match attempts.ask(|| api.patch(&name, &params, &patch)).await {
            Ok(claimed) => claimed,
            Err(error) => {
                tracing::warn!(%error, code = error.code(), "a workflow's anchor does not say who holds it now");
                found
            }
        }
    }

    /// Whether this instance still holds a workflow.
    ///
    /// # Errors
    /// If nobody says.
    pub async fn holding(&self, anchor: &Anchor, instance: &InstanceId) -> Result<Holding, CallError> {
        let (api, what) = (self.api::<ConfigMap>(), self.here(format_args!("look at ConfigMap '{}'", anchor.name)));
        let found = self.attempts_within(what, LOOK).ask(|| api.get_opt(&anchor.name)).await?;
        // One that is gone, or another of its name, was made by somebody else's hand.
        let same = found.filter(|found| found.metadata.uid.as_deref() == Some(anchor.uid.as_str()));
        let holder = same.and_then(|found| found.data?.remove(HOLDER_KEY));
        Ok(if holder.as_deref() == Some(instance.as_str()) { Holding::Ours } else { Holding::Others })
    }
}
