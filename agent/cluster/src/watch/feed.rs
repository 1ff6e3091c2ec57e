//! Lists the pods and watches what becomes of them.
//!
//! `kube::runtime::watcher` does the same, but knows no deadline for its list and for the start of a watch (a
//! connection that died without a word stops it until the kernel gives up, a quarter of an hour later), comes back
//! without a pause when a server ends its watches at once, and doesn't show bookmarks, so that nobody could tell a
//! quiet namespace from a watch that fails.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::TryStreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ListParams, WatchEvent, WatchParams};
use piculet_core::retry::{Backoff, Growth, Verdict};
use piculet_pods::label;
use tokio::time::{Instant, sleep, timeout};

use super::{Refusal, State, trim};
use crate::attempts::{describe, verdict};
use crate::cluster::Cluster;

/// Pods in one answer.
const PAGE: u32 = 500;

/// How long one watch lasts; the API server ends it then. In seconds. One whose connection died without a word is noticed
/// soon after, and until then nobody knows what becomes of the pods; a request a minute is little for that.
const WATCH: u32 = 60;

/// How much longer than [`WATCH`] a watch may be quiet before its connection counts as dead.
const MARGIN: Duration = Duration::from_secs(10);

/// A watch that ends earlier than this, and brought nothing, is a failure; one that lasts longer works.
const SHORT: Duration = Duration::from_secs(1);

/// After this many failures in a row the resource version itself may be what the API server can't serve (after a
/// restored backup it has never heard of it): list anew.
const STUBBORN: u32 = 3;

/// A pause that the API server asks for is not longer than this: without the watch nothing is seen.
const LONGEST: Duration = Duration::from_secs(60);

const GROWTH: Growth = Growth { initial: Duration::from_millis(200), factor: 2.0, cap: Duration::from_secs(20) };

/// Feeds the table of a watch.
pub(super) struct Feed {
    api: Api<Pod>,
    selector: String,
    request: Duration,
    backoff: Backoff,
    state: Arc<State>,
}

/// How a watch or a list ended that has to be begun anew.
#[derive(Debug)]
enum Broken {
    /// Go on from the last version.
    Connection { verdict: Verdict, why: String },
    /// This account may not see the pods, or is none.
    Refused { verdict: Verdict, why: String },
    /// The API server no longer knows what happened since that version.
    Expired,
}

impl Broken {
    fn connection(why: &str) -> Self {
        Self::Connection { verdict: Verdict::RETRY, why: why.to_owned() }
    }
}

impl From<kube::Error> for Broken {
    fn from(error: kube::Error) -> Self {
        match &error {
            kube::Error::Api(status) if status.code == 410 => Self::Expired,
            // An event that can't be read is lost for ever if the watch goes on behind it. The client makes an empty
            // status of most of them.
            kube::Error::Api(status) if status.code == 0 => Self::Expired,
            kube::Error::SerdeError(_) => Self::Expired,
            kube::Error::Api(status) if matches!(status.code, 401 | 403) => {
                Self::Refused { verdict: verdict(&error), why: describe(&error) }
            }
            _ => Self::Connection { verdict: verdict(&error), why: describe(&error) },
        }
    }
}

impl Feed {
    pub(super) fn new(cluster: &Cluster, state: Arc<State>) -> Self {
        Self {
            api: cluster.api(),
            selector: label::selector(),
            request: cluster.limits().request,
            backoff: Backoff::new(GROWTH, cluster.next_seed()),
            state,
        }
    }

    /// Never ends.
    pub(super) async fn run(mut self) {
        // The version to go on from; `None`: list.
        let mut version = None;
        loop {
            let ended = match version.as_mut() {
                None => self.list().await.map(|listed| version = Some(listed)),
                Some(version) => self.watch(version).await,
            };
            // A connection that breaks says nothing of rights.
            match &ended {
                Err(Broken::Refused { why, .. }) => self.is_shut_out(why),
                Ok(()) | Err(Broken::Expired) => self.is_let_in(),
                Err(Broken::Connection { .. }) => {}
            }
            let (delay, why) = match ended {
                Ok(()) => continue,
                Err(Broken::Expired) => {
                    version = None;
                    (self.backoff.next(), "the API server no longer knows the version".to_owned())
                }
                Err(Broken::Connection { verdict, why } | Broken::Refused { verdict, why }) => {
                    // Even a missing right may be given later.
                    let delay = verdict.delay(&mut self.backoff).unwrap_or_else(|| self.backoff.next());
                    (delay.min(LONGEST), why)
                }
            };
            let failures = self.state.failures.fetch_add(1, Ordering::Relaxed) + 1;
            if failures >= STUBBORN {
                version = None;
            }
            tracing::warn!(failures, error = why, again_in = ?delay, "the watch of the pods broke");
            sleep(delay).await;
        }
    }

    /// Lists all pods and gives the version that the list shows.
    async fn list(&mut self) -> Result<String, Broken> {
        // Without a version a list is a consistent read.
        let mut params = ListParams::default().labels(&self.selector).limit(PAGE);
        self.state.lock().table.list_begins();
        loop {
            let page = timeout(self.request, self.api.list(&params));
            let page = page.await.map_err(|_| Broken::connection("no answer"))??;
            for pod in page.items {
                self.state.change(|table| table.applied(trim(pod)));
            }
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                let version = page.metadata.resource_version.filter(|version| !version.is_empty());
                let version = version.ok_or_else(|| Broken::connection("a list without a version"))?;
                self.state.change(|table| table.list_ends());
                self.state.synced.send_replace(true);
                return Ok(version);
            }
        }
    }

    /// Watches from `version` on and moves it along. Ends well when the API server ends the watch.
    async fn watch(&mut self, version: &mut String) -> Result<(), Broken> {
        let params = WatchParams::default().labels(&self.selector).timeout(WATCH);
        let events = timeout(self.request, self.api.watch(&params, version));
        let mut events = pin!(events.await.map_err(|_| Broken::connection("no answer"))??);
        let mut works = false;
        loop {
            let silence = if works { Duration::from_secs(WATCH.into()) + MARGIN } else { SHORT };
            let event = match timeout(silence, events.try_next()).await {
                Ok(event) => event?,
                Err(_) if works => return Err(Broken::connection("no sign of life")),
                Err(_) => {
                    works = true;
                    self.works();
                    continue;
                }
            };
            let newest = match event {
                None if works => return Ok(()),
                None => return Err(Broken::connection("it ended at once")),
                Some(WatchEvent::Error(status)) => return Err(kube::Error::Api(status).into()),
                Some(WatchEvent::Bookmark(bookmark)) => Some(bookmark.metadata.resource_version),
                Some(WatchEvent::Added(pod) | WatchEvent::Modified(pod)) => {
                    let newest = pod.metadata.resource_version.clone();
                    self.state.change(|table| table.applied(trim(pod)));
                    newest
                }
                Some(WatchEvent::Deleted(pod)) => {
                    let newest = pod.metadata.resource_version.clone();
                    self.state.change(|table| table.deleted(trim(pod)));
                    newest
                }
            };
            *version = newest.filter(|version| !version.is_empty()).ok_or(Broken::Expired)?;
            works = true;
            self.works();
        }
    }

    fn is_shut_out(&self, words: &str) {
        self.state.refusal.send_modify(|refusal| {
            let since = refusal.as_ref().map_or_else(Instant::now, |refusal| refusal.since);
            *refusal = Some(Refusal { since, words: words.to_owned() });
        });
    }

    /// The API server shows pods.
    fn is_let_in(&self) {
        self.state.refusal.send_if_modified(|refusal| refusal.take().is_some());
    }

    /// The watch works. A list that works says nothing of it.
    fn works(&mut self) {
        self.is_let_in();
        if self.state.failures.swap(0, Ordering::Relaxed) > 0 {
            tracing::info!("the watch of the pods goes on");
            self.backoff.reset();
        }
    }
}
