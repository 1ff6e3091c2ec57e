//! The garbage collector: an object goes when all the objects that own it are gone.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::failure::Failure;
use crate::kind::Kind;
use crate::object::{Object, list};
use crate::store::{DeleteOptions, FOREGROUND, ORPHAN, Propagation, Store};

/// Collects garbage, for ever, each time `delay` after something was written.
pub(crate) async fn run(store: Arc<Store>, delay: Duration) {
    let mut written = store.feed(&Kind::ALL);
    loop {
        written.mark();
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let owned = store.owned();
        for object in &owned {
            if let Err(failure) = collect(&store, object) {
                tracing::debug!(%failure, object = object.name(), "garbage went another way");
            }
        }
        for owner in store.terminating() {
            finish_owner(&store, &owner, &owned);
        }
        if !written.changed().await {
            return;
        }
    }
}

/// Deletes an object without living owners; takes the dead ones off an object that has others.
fn collect(store: &Store, object: &Arc<Object>) -> Result<(), Failure> {
    let references = || list(&object.value()["metadata"]["ownerReferences"]);
    let owner = |reference: &Value| owner_of(store, object, reference);
    let dangling = references().filter(|reference| owner(reference).is_none()).count();
    if object.is_terminating() {
        return Ok(());
    }
    if dangling == references().count() {
        let options = DeleteOptions { uid: Some(object.uid().to_owned()), ..DeleteOptions::default() };
        return store.delete(&object.key(), &options).map(|_| ());
    }
    let alive = |reference: &Value| owner(reference).is_some_and(|owner| !is_waiting_for_dependents(&owner));
    if !references().any(alive) {
        // Its last owners are being deleted in the foreground: they wait for it.
        let uid = Some(object.uid().to_owned());
        let options = DeleteOptions { uid, propagation: Propagation::Foreground, ..DeleteOptions::default() };
        return store.delete(&object.key(), &options).map(|_| ());
    }
    if dangling > 0 {
        let dead: Vec<&Value> = references().filter(|reference| owner(reference).is_none()).collect();
        store.update(&object.key(), false, |present| {
            let mut next = present.value().clone();
            if let Some(references) = next["metadata"]["ownerReferences"].as_array_mut() {
                references.retain(|reference| !dead.contains(&reference));
            }
            Ok(next)
        })?;
    }
    Ok(())
}

fn is_waiting_for_dependents(owner: &Object) -> bool {
    owner.is_terminating() && owner.finalizers().any(|one| one == FOREGROUND)
}

/// The living object that a reference means: with its uid, and in the same namespace unless it has none.
fn owner_of(store: &Store, object: &Object, reference: &Value) -> Option<Arc<Object>> {
    let key = store.key_of_uid(reference["uid"].as_str().unwrap_or_default())?;
    let meant = key.name == reference["name"].as_str().unwrap_or_default()
        && key.kind.name() == reference["kind"].as_str().unwrap_or_default()
        && (key.namespace.is_empty() || key.namespace == object.namespace());
    if meant { store.get(&key) } else { None }
}

/// Takes the collector's own finalizers off an owner once its dependents are gone, or free.
fn finish_owner(store: &Store, owner: &Object, owned: &[Arc<Object>]) {
    let held = |name: &str| owner.finalizers().any(|one| one == name);
    let refers = |reference: &&Value| reference["uid"] == owner.uid();
    let dependents =
        || owned.iter().filter(|one| list(&one.value()["metadata"]["ownerReferences"]).any(|it| refers(&it)));
    let done = if held(ORPHAN) {
        for dependent in dependents() {
            let freed = store.update(&dependent.key(), false, |present| {
                let mut next = present.value().clone();
                if let Some(references) = next["metadata"]["ownerReferences"].as_array_mut() {
                    references.retain(|reference| reference["uid"] != owner.uid());
                }
                Ok(next)
            });
            if let Err(failure) = freed {
                tracing::debug!(%failure, "the dependent is gone already");
            }
        }
        ORPHAN
    } else if held(FOREGROUND) {
        let blocks = |one: &Arc<Object>| {
            let mut references = list(&one.value()["metadata"]["ownerReferences"]);
            let there = store.get(&one.key()).is_some_and(|present| present.uid() == one.uid());
            there && references.any(|it| refers(&it) && it["blockOwnerDeletion"] == true)
        };
        if dependents().any(blocks) {
            return;
        }
        FOREGROUND
    } else {
        return;
    };
    let released = store.update(&owner.key(), false, |present| {
        let mut next = present.value().clone();
        if let Some(finalizers) = next["metadata"]["finalizers"].as_array_mut() {
            finalizers.retain(|one| one != done);
        }
        Ok(next)
    });
    if let Err(failure) = released {
        tracing::debug!(%failure, "the owner is gone already");
    }
}
