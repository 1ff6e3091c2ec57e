//! Ends the agents of a Deployment, before what they made is removed.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

use crate::attempts::CallError;
use crate::cluster::Cluster;

/// Agents that were told to end.
#[derive(Debug, Clone)]
pub struct Retired {
    /// Where they are.
    namespace: String,
    /// Their labels.
    selector: String,
}

impl Cluster {
    /// Scales a Deployment of agents to none: each of them takes no more workflows, and ends when it has none. It is looked
    /// for in the namespace that the credentials name, which is that of the own pod. `None`: there is no such Deployment.
    ///
    /// # Errors
    /// If there was no answer, or if it may not be scaled.
    pub async fn retire(&self, deployment: &str) -> Result<Option<Retired>, CallError> {
        let namespace = self.client().default_namespace().to_owned();
        let api = Api::<Deployment>::namespaced(self.client().clone(), &namespace);
        let none = Patch::Merge(json!({"spec": {"replicas": 0}}));
        let params = PatchParams::default();
        let attempts = self.attempts(format!("scale the Deployment '{deployment}' in namespace '{namespace}'"));
        match attempts.ask(|| api.patch_scale(deployment, &params, &none)).await {
            Ok(scale) => {
                // A Deployment has one, always.
                let selector = scale.status.and_then(|status| status.selector).unwrap_or_default();
                Ok(Some(Retired { namespace, selector }))
            }
            Err(CallError::Refused { code: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// How many of them are still there.
    ///
    /// # Errors
    /// If there was no answer, or if the pods may not be listed.
    pub async fn still_there(&self, retired: &Retired) -> Result<usize, CallError> {
        let Retired { namespace, selector } = retired;
        let api = Api::<Pod>::namespaced(self.client().clone(), namespace);
        let params = ListParams::default().labels(selector);
        let attempts = self.attempts(format!("list the agents' pods in namespace '{namespace}'"));
        Ok(attempts.ask(|| api.list_metadata(&params)).await?.items.len())
    }
}
