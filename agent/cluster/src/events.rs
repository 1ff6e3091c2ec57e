//! What the cluster's components say of pods that wait: one watch of the namespace's events, while anybody wants to know.
//!
//! Nothing is decided by it, so it may be late, and may miss what was said while it was away.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::{ListParams, WatchEvent, WatchParams};
use piculet_core::id::PodUid;
use piculet_core::observation::Said;
use piculet_core::retry::{Backoff, Growth};
use piculet_pods::said::{COMMONPLACE, said};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::attempts::describe;
use crate::cluster::Cluster;

/// Events in one answer.
const PAGE: u32 = 500;
/// How long one watch lasts, in seconds.
const WATCH: u32 = 60;
/// How much longer it may be quiet before its connection counts as dead.
const MARGIN: Duration = Duration::from_secs(10);
/// Of how many pods something is remembered. Events name no labels, so that those of all pods come.
const PODS: usize = 10_000;
const GROWTH: Growth = Growth { initial: Duration::from_secs(1), factor: 2.0, cap: Duration::from_secs(30) };

/// The newest words about each pod. The watch runs as long as anybody holds one of these.
#[derive(Debug, Clone)]
pub struct PodEvents {
    shared: Arc<Shared>,
    news: watch::Receiver<u64>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    words: Arc<Words>,
    _feed: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Words {
    of: Mutex<BTreeMap<PodUid, Said>>,
    news: watch::Sender<u64>,
}

impl Cluster {
    /// What is said of the namespace's pods. There is only one watch; it starts with the first call.
    pub fn pod_events(&self) -> PodEvents {
        let mut slot = self.events_slot().lock().unwrap_or_else(PoisonError::into_inner);
        let shared = slot.upgrade().unwrap_or_else(|| {
            let words = Arc::new(Words { of: Mutex::default(), news: watch::Sender::new(0) });
            let feed = Feed {
                api: self.api(),
                request: self.limits().request,
                backoff: Backoff::new(GROWTH, self.next_seed()),
                words: words.clone(),
            };
            let shared = Arc::new(Shared { words, _feed: AbortOnDropHandle::new(tokio::spawn(feed.run())) });
            *slot = Arc::downgrade(&shared);
            shared
        });
        let news = shared.words.news.subscribe();
        PodEvents { shared, news }
    }
}

impl PodEvents {
    /// The newest words about a pod.
    pub fn of(&self, pod: &PodUid) -> Option<Said> {
        self.shared.words.of.lock().unwrap_or_else(PoisonError::into_inner).get(pod).cloned()
    }

    /// Lets the next call of [`Self::changed`] return at once.
    pub fn look_again(&mut self) {
        self.news.mark_changed();
    }

    /// Waits until something was said since the last call. Nothing is lost if the future is dropped.
    pub async fn changed(&mut self) {
        // It ends with the watch, which lives as long as this.
        if self.news.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Words {
    fn hear(&self, event: &Event) {
        let Some((pod, said)) = said(event) else { return };
        let mut words = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        if words.len() >= PODS && !words.contains_key(&pod) {
            words.pop_first();
        }
        if words.insert(pod, said.clone()) != Some(said) {
            drop(words);
            self.news.send_modify(|news| *news += 1);
        }
    }
}

struct Feed {
    api: Api<Event>,
    request: Duration,
    backoff: Backoff,
    words: Arc<Words>,
}

impl Feed {
    /// Never ends.
    async fn run(mut self) {
        loop {
            let why = match self.list_and_watch().await {
                Ok(()) => continue,
                Err(why) => why,
            };
            let delay = self.backoff.next();
            tracing::debug!(error = why, again_in = ?delay, "what is said of pods can't be heard");
            sleep(delay).await;
        }
    }

    /// Ends well when the API server ends the watch.
    async fn list_and_watch(&mut self) -> Result<(), String> {
        let fields = COMMONPLACE
            .iter()
            .fold("involvedObject.kind=Pod".to_owned(), |fields, reason| fields + ",reason!=" + reason);
        let no_answer = |_| "no answer".to_owned();
        let mut params = ListParams::default().fields(&fields).limit(PAGE);
        let mut version = loop {
            let page =
                timeout(self.request, self.api.list(&params)).await.map_err(no_answer)?.map_err(|e| describe(&e))?;
            let mut events = page.items;
            // The newest words count, and a list has no order.
            events.sort_by_key(|event| event.last_timestamp.clone().map(|time| time.0));
            events.iter().for_each(|event| self.words.hear(event));
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                break page.metadata.resource_version.unwrap_or_default();
            }
        };
        loop {
            let params = WatchParams::default().fields(&fields).timeout(WATCH);
            let events = timeout(self.request, self.api.watch(&params, &version)).await.map_err(no_answer)?;
            let mut events = pin!(events.map_err(|error| describe(&error))?);
            let silence = Duration::from_secs(WATCH.into()) + MARGIN;
            let began = tokio::time::Instant::now();
            while let Some(event) =
                timeout(silence, events.try_next()).await.map_err(no_answer)?.map_err(|e| describe(&e))?
            {
                match event {
                    WatchEvent::Added(event) | WatchEvent::Modified(event) => {
                        self.words.hear(&event);
                        version = event.metadata.resource_version.unwrap_or_default();
                    }
                    WatchEvent::Deleted(event) => version = event.metadata.resource_version.unwrap_or_default(),
                    WatchEvent::Bookmark(bookmark) => version = bookmark.metadata.resource_version,
                    WatchEvent::Error(status) => return Err(status.message),
                }
            }
            if began.elapsed() < MARGIN {
                return Err("it ended at once".to_owned());
            }
            self.backoff.reset();
        }
    }
}
