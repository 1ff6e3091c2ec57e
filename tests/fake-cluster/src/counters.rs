//! How much the API was used.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::api::Verb;

/// Requests per verb and resource, and watches that are open.
#[derive(Debug, Default)]
pub struct Counters {
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    requests: BTreeMap<(Verb, String), u64>,
    watches: BTreeMap<String, Watches>,
}

/// Open watches of one resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Watches {
    /// Open now.
    pub open: usize,
    /// The most that were open at the same time.
    pub most: usize,
}

/// A watch that is counted as open until this is dropped.
#[derive(Debug)]
pub(crate) struct OpenWatch {
    counters: Arc<Counters>,
    resource: String,
}

impl Counters {
    /// How many requests came for a verb and a resource, for example `pods` or `pods/log`.
    #[must_use]
    pub fn requests(&self, verb: Verb, resource: &str) -> u64 {
        self.lock().requests.get(&(verb, resource.to_owned())).copied().unwrap_or_default()
    }

    /// Every count that is not zero.
    #[must_use]
    pub fn all_requests(&self) -> BTreeMap<(Verb, String), u64> {
        self.lock().requests.clone()
    }

    /// The watches of a resource, for example `pods`.
    #[must_use]
    pub fn watches(&self, resource: &str) -> Watches {
        self.lock().watches.get(resource).copied().unwrap_or_default()
    }

    /// Begins to count anew. Watches that are open stay counted.
    pub fn reset(&self) {
        let mut counts = self.lock();
        counts.requests.clear();
        for watches in counts.watches.values_mut() {
            watches.most = watches.open;
        }
    }

    pub(crate) fn count(&self, verb: Verb, resource: &str) {
        *self.lock().requests.entry((verb, resource.to_owned())).or_default() += 1;
    }

    pub(crate) fn open_watch(self: &Arc<Self>, resource: &str) -> OpenWatch {
        let mut counts = self.lock();
        let watches = counts.watches.entry(resource.to_owned()).or_default();
        watches.open += 1;
        watches.most = watches.most.max(watches.open);
        OpenWatch { counters: Arc::clone(self), resource: resource.to_owned() }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OpenWatch {
    fn drop(&mut self) {
        if let Some(watches) = self.counters.lock().watches.get_mut(&self.resource) {
            watches.open -= 1;
        }
    }
}
