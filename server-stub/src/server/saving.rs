//! What changed is stored, and who waits for that goes on.

use std::sync::Arc;
use std::time::Duration;

use piculet_core::id::WorkflowId;
use piculet_core::trace::Span;

use super::{Server, State};
use crate::dispatch::Dispatcher;
use crate::store::{Pace, StoreError};

/// How long after a failure the store is tried again.
const STORE_RETRY: Duration = Duration::from_secs(2);
/// How long somebody waits at most who asked for something that has to be stored before it can be told.
pub(crate) const STORE_PATIENCE: Duration = Duration::from_secs(20);

impl Server {
    /// Whether all changes so far are stored.
    pub fn is_settled(&self) -> bool {
        let state = self.lock();
        let versions = &state.versions;
        versions.stored() == versions.newest()
    }

    /// Waits until all changes so far are stored.
    pub async fn settled(&self) {
        let version = self.version();
        self.stored(version).await;
    }

    /// Waits until a workflow is stored as it is now. Whoever looked at it may tell of it then.
    pub async fn settled_for(&self, id: &WorkflowId) {
        let version = self.lock().versions.of(id);
        self.stored(version).await;
    }

    /// The same for several workflows. Only those are looked at that aren't stored as they are.
    pub async fn settled_for_those(&self, is_one: impl Fn(&Dispatcher, &WorkflowId) -> bool) {
        let version = {
            let State { versions, dispatcher, .. } = &*self.lock();
            let wanted = versions.unstored().filter(|(id, _)| is_one(dispatcher, id));
            wanted.map(|(_, version)| version).max().unwrap_or_default()
        };
        self.stored(version).await;
    }

    /// Waits until all that operators said of clusters and tokens so far is stored.
    pub async fn settled_for_operators(&self) {
        let version = self.lock().versions.of_operators();
        self.stored(version).await;
    }

    /// How many changes there were.
    pub(crate) fn version(&self) -> u64 {
        self.lock().versions.newest()
    }

    /// Waits until so many changes are stored.
    pub(crate) async fn stored(&self, version: u64) {
        self.lives().await;
        loop {
            let more = self.shared.stored.notified();
            tokio::pin!(more);
            more.as_mut().enable();
            if self.lock().versions.stored() >= version {
                return;
            }
            more.await;
        }
    }

    /// Waits; for ever, if the server is killed meanwhile.
    pub(crate) async fn later(&self, time: Duration) {
        tokio::time::sleep(time).await;
        self.lives().await;
    }

    /// Goes on only if the server was not killed.
    async fn lives(&self) {
        if self.shared.killed.is_cancelled() {
            std::future::pending::<()>().await;
        }
    }

    /// Stores what changed, as long as something does. What could not be stored is tried again, and until then nobody
    /// is told of it.
    pub(super) async fn keep_saved(&self) {
        loop {
            let begun = {
                let mut state = self.lock();
                let batch = state.dispatcher.take_unsaved();
                (!batch.is_empty()).then(|| {
                    state.versions.begin_to_write();
                    (Arc::new(batch), state.dispatcher.take_spans())
                })
            };
            let Some((batch, spans)) = begun else {
                // A server that goes leaves it to the next one.
                if !self.shared.over.is_cancelled() && self.tidy(Pace::Idle).await {
                    continue;
                }
                tokio::select! {
                    biased;
                    () = self.shared.unsaved.notified() => continue,
                    () = self.shared.over.cancelled() => return,
                }
            };
            while let Err(error) = self.shared.store.write(&batch).await {
                // What comes later may build on it, so that nothing can be left out.
                if matches!(error, StoreError::Contradiction { .. }) {
                    tracing::error!(%error, "nothing more can be stored, and trying again is of no use");
                    self.shared.failed.send_replace(Some(error.to_string()));
                    return;
                }
                let seconds = STORE_RETRY.as_secs();
                tracing::error!(%error, "nothing can be stored; nobody is told of what happens until it is: trying again in {seconds} s");
                tokio::time::sleep(STORE_RETRY).await;
            }
            self.is_stored(&mut self.lock(), spans);
            self.tidy(Pace::Busy).await;
        }
    }

    /// Does a part of what the store has left to do; true if more is left. Nobody waits for it.
    async fn tidy(&self, pace: Pace) -> bool {
        self.shared.store.tidy(pace).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "what was forgotten could not be deleted; it is tried again with the next change");
            false
        })
    }

    /// What went to the store is there: those are told who wait for that, the collector of traces among them.
    pub(super) fn is_stored(&self, state: &mut State, spans: Vec<Span>) {
        if let Some(outlet) = self.config().traces.as_ref().filter(|_| !spans.is_empty()) {
            outlet.give(spans);
        }
        for id in state.versions.written() {
            if let Some(sender) = state.followers.get(&id) {
                sender.send_replace(());
            }
        }
        self.shared.stored.notify_waiters();
    }
}
