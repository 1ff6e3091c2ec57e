//! Waits for a claim's volume before a pod needs it.
//!
//! A scheduler that finds a claim without its volume puts the pod aside, for longer each time: ten workflows at once then
//! take four times as long as their pods need. So the first pod comes when the volume is there; unless the storage class
//! makes volumes only for pods that wait (`WaitForFirstConsumer`), which shows after the first claim of it.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use piculet_core::retry::{Backoff, Growth};
use tokio::time::{Instant, sleep, timeout};

use crate::cluster::Cluster;

/// How long the first claim of a class is waited for. Most provisioners need less, and a class that waits for pods must not
/// cost more.
const FIRST: Duration = Duration::from_secs(1);
/// How long the claim of a class is waited for that makes volumes by itself.
const KNOWN: Duration = Duration::from_secs(3);
const GROWTH: Growth = Growth { initial: Duration::from_millis(30), factor: 1.5, cap: Duration::from_millis(500) };

/// When a storage class makes its volumes, as far as was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binding {
    /// Without a pod.
    Immediate,
    /// For a pod, or so slowly that it makes no difference.
    ForPods,
}

/// What is known of storage classes, by name.
pub(crate) type Bindings = BTreeMap<String, Binding>;

impl Cluster {
    /// Waits until a claim has its volume, if that can be expected without a pod. Nothing depends on it but speed: an agent
    /// that may not look, or whose API server doesn't answer, doesn't wait.
    pub async fn until_bound(&self, claim: &str) {
        // No answer is no reason to wait for longer.
        let _late = timeout(KNOWN, self.look_until_bound(claim)).await;
    }

    async fn look_until_bound(&self, claim: &str) {
        let api = self.api::<PersistentVolumeClaim>();
        let mut pauses = Backoff::new(GROWTH, self.next_seed());
        let began = Instant::now();
        loop {
            let Ok(Some(found)) = api.get_opt(claim).await else { return };
            let class = found.spec.and_then(|spec| spec.storage_class_name).unwrap_or_default();
            let is_bound = found.status.and_then(|status| status.phase).as_deref() == Some("Bound");
            let known = self.bindings(|bindings| bindings.get(&class).copied());
            let patience = match known {
                None => FIRST,
                Some(Binding::Immediate) => KNOWN,
                Some(Binding::ForPods) => Duration::ZERO,
            };
            if is_bound {
                self.bindings(|bindings| bindings.insert(class, Binding::Immediate));
                return;
            }
            if began.elapsed() >= patience {
                // A slow volume of a known class changes nothing.
                self.bindings(|bindings| *bindings.entry(class).or_insert(Binding::ForPods));
                return;
            }
            sleep(pauses.next()).await;
        }
    }
}
