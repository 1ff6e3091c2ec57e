//! One watch of the namespace's pods for all runners.
//!
//! ```text
//! API server ──list, watch──▶ feed ──▶ Table ──▶ Subscription ──▶ runner
//!                                        ▲                └─────▶ runner
//!                        Cluster::ensure ┘
//! ```
//!
//! A subscriber gets the newest that there is to say of each pod, not each event. What it has not taken yet takes no
//! more room than its pods do, so a slow one holds up nobody.

mod feed;
mod table;
mod trim;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use piculet_core::id::PodUid;
use piculet_pods::label;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use self::table::{Table, Woken};
pub(crate) use self::trim::trim;
use crate::cluster::Cluster;

/// The watch of a namespace. It runs as long as anybody holds one of these, or a subscription. Cheap to clone.
#[derive(Clone)]
pub struct PodWatch {
    shared: Arc<Shared>,
}

/// The news of some pods.
#[derive(Debug)]
pub struct Subscription {
    shared: Arc<Shared>,
    id: u64,
    wake: Arc<Notify>,
}

/// The newest that there is to say of one pod. Two pods of the same name are two pods.
///
/// Pods are trimmed: they have what observations are made from, and no more.
#[derive(Debug, Clone, PartialEq)]
pub enum PodNews {
    /// It is there, like this.
    Present(Arc<Pod>),
    /// It is no longer shown. That is a hint, to be confirmed with [`Cluster::confirm_absent`].
    Absent {
        /// What was last seen of it. Its container may have ended in it.
        last: Arc<Pod>,
        /// The watch showed how it went, and `last` is how it stood then. Otherwise a list did not show it, and what
        /// became of it since `last` is not known.
        witnessed: bool,
    },
}

/// Which pods a subscriber wants to hear of.
#[derive(Debug, Clone)]
enum Interest {
    Label { key: &'static str, value: String },
    Pod(PodUid),
}

#[derive(Debug)]
pub(crate) struct Shared {
    state: Arc<State>,
    _feed: AbortOnDropHandle<()>,
}

/// What the feed writes and subscribers read.
#[derive(Debug)]
struct State {
    subscribed: Mutex<Subscribed>,
    synced: watch::Sender<bool>,
    failures: AtomicU32,
    /// There while the API server refuses to show pods to this account.
    refusal: watch::Sender<Option<Refusal>>,
}

/// The API server shows no pods to this account.
#[derive(Debug, Clone)]
struct Refusal {
    since: Instant,
    /// What it said last.
    words: String,
}

#[derive(Debug, Default)]
struct Subscribed {
    table: Table,
    wake: HashMap<u64, Arc<Notify>>,
}

impl Cluster {
    /// The watch of the namespace's pods: of those with the label that every pod of piculet has. There is only one;
    /// it starts with the first call.
    pub fn watch(&self) -> PodWatch {
        let mut slot = self.watch_slot().lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = slot.upgrade() {
            return PodWatch { shared };
        }
        let state = Arc::new(State {
            subscribed: Mutex::default(),
            synced: watch::Sender::new(false),
            failures: AtomicU32::new(0),
            refusal: watch::Sender::new(None),
        });
        let feed = feed::Feed::new(self, state.clone());
        let feed = AbortOnDropHandle::new(tokio::spawn(feed.run()));
        let shared = Arc::new(Shared { state, _feed: feed });
        *slot = Arc::downgrade(&shared);
        PodWatch { shared }
    }

    /// Lets the watch know of a pod that was created, or found there.
    pub(crate) fn tell_watch(&self, pod: Pod) {
        let slot = self.watch_slot().lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        let labels = pod.metadata.labels.as_ref();
        let watched = labels.and_then(|labels| labels.get(label::MANAGED_BY));
        if let (Some(shared), Some(label::MANAGED_BY_PICULET)) = (slot, watched.map(String::as_str)) {
            shared.state.change(|table| table.created(trim(pod)));
        }
    }
}

impl PodWatch {
    /// The news of a workflow's pods: of those whose label [`label::WORKFLOW`] has this value. It begins with all that
    /// are known.
    pub fn subscribe(&self, workflow: &str) -> Subscription {
        self.subscribe_to(Interest::Label { key: label::WORKFLOW, value: workflow.to_owned() })
    }

    /// The news of one pod.
    pub(crate) fn subscribe_pod(&self, uid: &PodUid) -> Subscription {
        self.subscribe_to(Interest::Pod(uid.clone()))
    }

    fn subscribe_to(&self, interest: Interest) -> Subscription {
        let mut subscribed = self.shared.state.lock();
        let id = subscribed.table.subscribe(interest);
        let wake = Arc::new(Notify::new());
        subscribed.wake.insert(id, wake.clone());
        drop(subscribed);
        Subscription { shared: self.shared.clone(), id, wake }
    }

    /// Waits until the namespace was listed for the first time.
    pub async fn synced(&self) {
        let mut synced = self.shared.state.synced.subscribe();
        // It ends with the watch, which lives as long as this.
        if synced.wait_for(|synced| *synced).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether the namespace was listed.
    pub fn is_synced(&self) -> bool {
        *self.shared.state.synced.borrow()
    }

    /// How often it failed since it last heard from the API server; 0: all is well. News may be late while it fails,
    /// but none are lost.
    pub fn failures(&self) -> u32 {
        self.shared.state.failures.load(Ordering::Relaxed)
    }

    /// Waits until the API server has refused to show pods to this account for so long, without a break: the account is gone,
    /// or its rights are. Gives its last words.
    pub async fn refused_for(&self, time: Duration) -> String {
        let mut refusal = self.shared.state.refusal.subscribe();
        loop {
            let refused = refusal.wait_for(Option::is_some).await;
            let since = refused.ok().and_then(|refusal| Some(refusal.as_ref()?.since));
            // It ends with the watch, which lives as long as this.
            let Some(since) = since else { return std::future::pending().await };
            if timeout_at(since + time, refusal.wait_for(Option::is_none)).await.is_err() {
                return refusal.borrow().as_ref().map(|refusal| refusal.words.clone()).unwrap_or_default();
            }
        }
    }

    /// How many pods it knows.
    pub fn pods(&self) -> usize {
        self.shared.state.lock().table.len()
    }
}

impl Subscription {
    /// The next news. Nothing is lost if the future is dropped.
    pub async fn next(&mut self) -> PodNews {
        loop {
            let news = self.shared.state.lock().table.take(self.id);
            if let Some(news) = news {
                return news;
            }
            self.wake.notified().await;
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut subscribed = self.shared.state.lock();
        subscribed.table.unsubscribe(self.id);
        subscribed.wake.remove(&self.id);
    }
}

impl PodNews {
    /// The pod, as last seen.
    pub fn pod(&self) -> &Arc<Pod> {
        match self {
            Self::Present(pod) | Self::Absent { last: pod, .. } => pod,
        }
    }

    /// The pod's name.
    pub fn name(&self) -> &str {
        self.pod().metadata.name.as_deref().unwrap_or_default()
    }

    /// The pod's UID.
    pub fn uid(&self) -> PodUid {
        PodUid::new(self.pod().metadata.uid.as_deref().unwrap_or_default())
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Subscribed> {
        self.subscribed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Table) -> Woken) {
        let mut subscribed = self.lock();
        for id in change(&mut subscribed.table) {
            if let Some(wake) = subscribed.wake.get(&id) {
                wake.notify_one();
            }
        }
    }
}

impl fmt::Debug for PodWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PodWatch")
            .field("pods", &self.pods())
            .field("subscriptions", &self.shared.state.lock().table.subscriptions())
            .field("synced", &self.is_synced())
            .field("failures", &self.failures())
            .finish()
    }
}
