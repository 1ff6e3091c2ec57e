//! The one owner of all objects: what etcd and the registry of an API server do.
//!
//! Everything happens under one lock, and nothing waits while it is held. Each write takes the next revision and is
//! kept in a bounded history, from which watches read.

mod delete;
mod entropy;
mod feed;
mod history;
mod write;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::clock::Clock;
use crate::failure::Failure;
use crate::kind::Kind;
use crate::latest;
use crate::object::{Key, Object, list};

pub(crate) use delete::{DeleteOptions, Deletion, FOREGROUND, ORPHAN, Propagation};
pub(crate) use feed::Feed;
pub(crate) use history::{Change, Expired, What};

use entropy::Entropy;
use feed::Revisions;
use history::History;

/// All objects of the cluster.
#[derive(Debug)]
pub(crate) struct Store {
    state: Mutex<State>,
    revisions: latest::Sender<Revisions>,
    clock: Clock,
}

/// What the lock protects.
#[derive(Debug)]
pub(crate) struct State {
    objects: BTreeMap<Key, Arc<Object>>,
    history: History,
    entropy: Entropy,
    /// Objects that name an owner; the garbage collector looks at no others.
    owned: BTreeSet<Key>,
    /// Objects whose deletion has begun.
    terminating: BTreeSet<Key>,
    uids: HashMap<String, Key>,
}

impl Store {
    pub(crate) fn new(clock: Clock, history: usize, seed: u64) -> Self {
        let state = State {
            objects: BTreeMap::new(),
            history: History::new(history),
            entropy: Entropy::new(seed),
            owned: BTreeSet::new(),
            terminating: BTreeSet::new(),
            uids: HashMap::new(),
        };
        Self { state: Mutex::new(state), revisions: latest::Sender::default(), clock }
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    /// Tells of every write to objects of these kinds.
    pub(crate) fn feed(&self, kinds: &[Kind]) -> Feed {
        Feed::new(self.revisions.subscribe(), kinds)
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Arc<Object>> {
        self.lock().objects.get(key).cloned()
    }

    /// The objects of a kind, of one namespace or of all, as they are now.
    pub(crate) fn list(&self, kind: Kind, namespace: Option<&str>) -> Vec<Arc<Object>> {
        self.lock().range(kind, namespace).cloned().collect()
    }

    /// The objects that name an owner.
    pub(crate) fn owned(&self) -> Vec<Arc<Object>> {
        let state = self.lock();
        state.owned.iter().filter_map(|key| state.objects.get(key)).cloned().collect()
    }

    /// The objects whose deletion has begun.
    pub(crate) fn terminating(&self) -> Vec<Arc<Object>> {
        let state = self.lock();
        state.terminating.iter().filter_map(|key| state.objects.get(key)).cloned().collect()
    }

    /// Every object in a namespace, whatever its kind.
    pub(crate) fn contents(&self, namespace: &str) -> Vec<Key> {
        self.lock().objects.keys().filter(|key| key.namespace == namespace).cloned().collect()
    }

    pub(crate) fn key_of_uid(&self, uid: &str) -> Option<Key> {
        self.lock().uids.get(uid).cloned()
    }

    /// Five random letters, as generated names end in them.
    pub(crate) fn suffix(&self) -> String {
        self.lock().entropy.suffix()
    }

    /// The revision of the latest write.
    pub(crate) fn current_revision(&self) -> u64 {
        self.lock().history.current()
    }

    /// The objects of a kind as they are, and the revision at which they are so.
    pub(crate) fn list_now(&self, kind: Kind, namespace: Option<&str>) -> (u64, Vec<Arc<Object>>) {
        let state = self.lock();
        (state.history.current(), state.range(kind, namespace).cloned().collect())
    }

    /// The objects of a kind as they were at `revision`.
    pub(crate) fn list_at(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        revision: u64,
    ) -> Result<Vec<Arc<Object>>, Expired> {
        let state = self.lock();
        let mut then: BTreeMap<Key, Arc<Object>> =
            state.range(kind, namespace).map(|object| (object.key(), Arc::clone(object))).collect();
        for change in state.history.since(revision)?.rev() {
            if change.object.kind() == kind && namespace.is_none_or(|wanted| wanted == change.object.namespace()) {
                match &change.before {
                    Some(before) => then.insert(change.object.key(), Arc::clone(before)),
                    None => then.remove(&change.object.key()),
                };
            }
        }
        Ok(then.into_values().collect())
    }

    /// Up to `limit` changes after `revision` that `wanted` keeps, and the revision up to which the history was read.
    pub(crate) fn changes(
        &self,
        revision: u64,
        limit: usize,
        wanted: impl Fn(&Change) -> bool,
    ) -> Result<(u64, Vec<Change>), Expired> {
        let state = self.lock();
        let mut read = revision.max(state.history.current());
        let mut found = Vec::new();
        for change in state.history.since(revision)? {
            if wanted(change) {
                found.push(change.clone());
                if found.len() == limit {
                    read = change.revision;
                    break;
                }
            }
        }
        Ok((read, found))
    }

    /// Forgets the whole history: every watch and every paged list that has not read it gets `410 Expired`.
    pub(crate) fn expire_history(&self) {
        self.lock().history.clear();
        self.revisions.send_modify(Revisions::expire);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `change` under the lock, and tells the subscribers if it wrote.
    fn write<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let before = state.history.current();
        let outcome = change(&mut state);
        if let Ok(written) = state.history.since(before) {
            self.revisions.send_if_modified(|revisions| {
                let mut any = false;
                for change in written {
                    revisions.set(change.object.kind(), change.revision);
                    any = true;
                }
                any
            });
        }
        outcome
    }
}

impl State {
    fn range(&self, kind: Kind, namespace: Option<&str>) -> impl Iterator<Item = &Arc<Object>> {
        let first = Key::new(kind, namespace.unwrap_or_default(), "");
        self.objects
            .range(first..)
            .take_while(move |(key, _)| key.kind == kind && namespace.is_none_or(|wanted| wanted == key.namespace))
            .map(|(_, object)| object)
    }

    fn require(&self, key: &Key) -> Result<&Arc<Object>, Failure> {
        self.objects.get(key).ok_or_else(|| Failure::not_found(key.kind, &key.name))
    }

    /// Stores the next version of an object.
    fn put(&mut self, kind: Kind, mut value: Value) -> Arc<Object> {
        let revision = self.history.current() + 1;
        value["metadata"]["resourceVersion"] = revision.to_string().into();
        let object = Arc::new(Object::new(kind, value));
        let key = object.key();
        let has_owner = list(&object.value()["metadata"]["ownerReferences"]).next().is_some();
        for (index, belongs) in [(&mut self.owned, has_owner), (&mut self.terminating, object.is_terminating())] {
            if belongs {
                index.insert(key.clone());
            } else {
                index.remove(&key);
            }
        }
        self.uids.insert(object.uid().to_owned(), key.clone());
        let before = self.objects.insert(key, Arc::clone(&object));
        let what = if before.is_some() { What::Modified } else { What::Added };
        self.history.push(Change { revision, what, object: Arc::clone(&object), before });
        object
    }

    /// Removes an object. The result is its last version, with the revision of its removal.
    fn remove(&mut self, object: &Arc<Object>) -> Arc<Object> {
        let revision = self.history.current() + 1;
        let mut value = object.value().clone();
        value["metadata"]["resourceVersion"] = revision.to_string().into();
        let last = Arc::new(Object::new(object.kind(), value));
        let key = last.key();
        self.owned.remove(&key);
        self.terminating.remove(&key);
        self.uids.remove(last.uid());
        let before = self.objects.remove(&key);
        self.history.push(Change { revision, what: What::Deleted, object: Arc::clone(&last), before });
        last
    }
}
