//! The kubelets: one worker for each pod that is bound to a node.

mod container;
mod environment;
mod image;
mod logs;
mod machines;
mod record;
mod worker;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::kind::Kind;
use crate::latest;
use crate::object::{Key, Object};
use crate::runtime::Runtime;
use crate::store::Store;

pub(crate) use logs::Containers;
pub(crate) use machines::Machines;
pub(crate) use record::Verdict;

use worker::Worker;

/// How long a kubelet takes for what it does.
#[derive(Debug, Clone, Copy)]
pub struct KubeletTiming {
    /// From the end of the last container to the pod's last phase. Real kubelets take 1.5 to 4 s.
    pub phase_lag: Duration,
    /// From the last status of a pod that was asked to go to the removal of its containers, logs and object. Real kubelets
    /// take about a second.
    pub removal_lag: Duration,
    /// From a failed image pull to the next; doubles each time.
    pub pull_backoff: Duration,
    /// The longest time between two image pulls.
    pub longest_backoff: Duration,
    /// From a container or volume that could not be set up to the next try.
    pub setup_retry: Duration,
}

impl Default for KubeletTiming {
    fn default() -> Self {
        Self {
            phase_lag: Duration::from_millis(1500),
            removal_lag: Duration::from_millis(500),
            pull_backoff: Duration::from_secs(10),
            longest_backoff: Duration::from_secs(300),
            setup_retry: Duration::from_secs(10),
        }
    }
}

/// The kubelets of all nodes.
#[derive(Debug)]
pub(crate) struct Kubelets {
    store: Arc<Store>,
    runtime: Arc<dyn Runtime>,
    containers: Arc<Containers>,
    machines: Arc<Machines>,
    timing: KubeletTiming,
    /// Evictions that wait for their worker, by pod uid.
    verdicts: latest::Sender<HashMap<String, Verdict>>,
    tasks: TaskTracker,
}

/// What a worker is told of its pod's object: its latest version, or `None` when it is gone.
type Seen = watch::Sender<Option<Arc<Object>>>;

impl Kubelets {
    pub(crate) fn new(
        store: Arc<Store>,
        runtime: Arc<dyn Runtime>,
        containers: Arc<Containers>,
        machines: Arc<Machines>,
        timing: KubeletTiming,
    ) -> Arc<Self> {
        let (verdicts, tasks) = (latest::Sender::default(), TaskTracker::new());
        Arc::new(Self { store, runtime, containers, machines, timing, verdicts, tasks })
    }

    /// Gives every bound pod a worker, and tells the workers what becomes of their pods.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut written = self.store.feed(&[Kind::Pod, Kind::PersistentVolumeClaim]);
        let mut claims: BTreeMap<String, Key> = BTreeMap::new();
        // In the order of uids: the same in every run with the same seed.
        let mut workers: BTreeMap<String, (Key, Seen)> = BTreeMap::new();
        loop {
            written.mark();
            for pod in self.store.list(Kind::Pod, None) {
                if pod.text(&["spec", "nodeName"]).is_empty() {
                    continue;
                }
                match workers.get(pod.uid()) {
                    Some((_, seen)) => {
                        seen.send_if_modified(|known| {
                            let newer = known.as_ref().is_none_or(|known| !Arc::ptr_eq(known, &pod));
                            if newer {
                                *known = Some(Arc::clone(&pod));
                            }
                            newer
                        });
                    }
                    None => {
                        if let Some(seen) = self.adopt(&pod) {
                            workers.insert(pod.uid().to_owned(), (pod.key(), seen));
                        }
                    }
                }
            }
            workers.retain(|uid, (key, seen)| {
                let there = self.store.get(key).is_some_and(|pod| pod.uid() == uid);
                if !there {
                    seen.send_replace(None);
                }
                there && !seen.is_closed()
            });
            self.follow_claims(&mut claims);
            if !written.changed().await {
                return;
            }
        }
    }

    /// Tells the runtime of claims that are gone. `known` are those that were there before, by uid.
    fn follow_claims(&self, known: &mut BTreeMap<String, Key>) {
        let there = self.store.list(Kind::PersistentVolumeClaim, None);
        let there: BTreeMap<String, Key> = there.iter().map(|claim| (claim.uid().to_owned(), claim.key())).collect();
        for (uid, key) in std::mem::take(known) {
            if !there.contains_key(&uid) {
                self.runtime.claim_removed(&key.namespace, &key.name);
            }
        }
        *known = there;
    }

    /// Starts the worker of a pod. A pod that has ended already gets none.
    fn adopt(self: &Arc<Self>, object: &Arc<Object>) -> Option<Seen> {
        if matches!(object.text(&["status", "phase"]), "Succeeded" | "Failed") {
            return None;
        }
        let pod: Pod = match serde_json::from_value(object.value().clone()) {
            Ok(pod) => pod,
            Err(error) => {
                tracing::error!(%error, pod = object.name(), "a stored pod cannot be read");
                return None;
            }
        };
        let (seen, seeing) = watch::channel(Some(Arc::clone(object)));
        let worker = Worker::new(Arc::clone(self), Arc::new(pod), object, seeing);
        self.tasks.spawn(worker.run());
        Some(seen)
    }

    /// Makes the kubelet end a pod, as it does when its node runs out of something.
    pub(crate) fn evict(&self, uid: &str, verdict: Verdict) {
        self.verdicts.send_modify(|waiting| {
            waiting.insert(uid.to_owned(), verdict);
        });
    }

    /// Waits until no pod has a worker any more.
    pub(crate) async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn take_verdict(&self, uid: &str) -> Option<Verdict> {
        let mut taken = None;
        self.verdicts.send_if_modified(|waiting| {
            taken = waiting.remove(uid);
            false
        });
        taken
    }
}
