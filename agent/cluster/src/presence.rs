//! Whether a pod is really gone.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use piculet_core::id::PodUid;

use crate::attempts::CallError;
use crate::cluster::Cluster;
use crate::watch::trim;

/// What a consistent read by name said about a pod.
#[derive(Debug, Clone, PartialEq)]
pub enum Presence {
    /// It is there. Should the watch not show it (somebody took its label away), ask again after a while.
    Present(Arc<Pod>),
    /// There is no pod of this name.
    Gone,
    /// Another pod has its name, so ours is gone.
    Replaced(Arc<Pod>),
}

impl Cluster {
    /// Looks whether a pod is there. Absence from the watch is only a hint: a list may come from a cache, and a label
    /// that somebody takes away looks like a deletion.
    ///
    /// # Errors
    /// If there was no answer: nothing is known then.
    pub async fn confirm_absent(&self, name: &str, uid: &PodUid) -> Result<Presence, CallError> {
        let api = self.api::<Pod>();
        let attempts = self.attempts(self.here(format_args!("read Pod '{name}'")));
        // Without a resource version a read is consistent.
        let found = attempts.ask(|| api.get_opt(name)).await?;
        Ok(match found.map(|pod| Arc::new(trim(pod))) {
            None => Presence::Gone,
            Some(pod) if pod.metadata.uid.as_deref() == Some(uid.as_str()) => Presence::Present(pod),
            Some(pod) => Presence::Replaced(pod),
        })
    }
}
