//! Persistent volume claims: bound when a pod first needs them, or at once; kept while a pod uses them.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::admission::PROTECTION;
use crate::classes::Classes;
use crate::events::{Mood, Recorder};
use crate::kind::Kind;
use crate::object::{Key, Object, list};
use crate::store::Store;

/// Lets claims go that are to go and that no pod uses any more, and says what others wait for, for ever.
pub(crate) async fn run(store: Arc<Store>, classes: Arc<Classes>) {
    let recorder = Recorder::new(Arc::clone(&store), "persistentvolume-controller", "");
    let mut told = BTreeSet::new();
    let mut written = store.feed(&[Kind::Pod, Kind::PersistentVolumeClaim]);
    loop {
        written.mark();
        for claim in store.list(Kind::PersistentVolumeClaim, None) {
            let held = claim.finalizers().any(|one| one == PROTECTION);
            if claim.is_terminating() && held && !in_use(&store, &claim) {
                release(&store, &claim.key());
            }
            let is_pending = claim.text(&["status", "phase"]) == "Pending";
            if is_pending && classes.binds_at_once && is_provided(&classes, &claim) {
                bind(&store, &claim.key(), None);
            } else if is_pending && told.insert(claim.uid().to_owned()) {
                explain(&recorder, &classes, &claim);
            }
        }
        if !written.changed().await {
            return;
        }
    }
}

fn explain(recorder: &Recorder, classes: &Classes, claim: &Object) {
    let class = claim.text(&["spec", "storageClassName"]);
    if is_provided(classes, claim) {
        let message = "waiting for first consumer to be created before binding";
        recorder.record(claim, "", Mood::Normal, "WaitForFirstConsumer", message);
    } else if class.is_empty() {
        let message = "no persistent volumes available for this claim and no storage class is set";
        recorder.record(claim, "", Mood::Normal, "FailedBinding", message);
    } else {
        let message = format!("storageclass.storage.k8s.io {class:?} not found");
        recorder.record(claim, "", Mood::Warning, "ProvisioningFailed", &message);
    }
}

/// Whether somebody would make a volume for the claim.
fn is_provided(classes: &Classes, claim: &Object) -> bool {
    let class = claim.text(&["spec", "storageClassName"]);
    classes.storage.iter().any(|known| known == class)
}

fn release(store: &Store, key: &Key) {
    let released = store.update(key, false, |claim| {
        let mut next = claim.value().clone();
        if let Some(finalizers) = next["metadata"]["finalizers"].as_array_mut() {
            finalizers.retain(|one| one != PROTECTION);
        }
        Ok(next)
    });
    if let Err(failure) = released {
        tracing::debug!(%failure, "the claim is gone already");
    }
}

/// Whether a pod on some node, that has not ended, mounts the claim.
fn in_use(store: &Store, claim: &Object) -> bool {
    store.list(Kind::Pod, Some(claim.namespace())).iter().any(|pod| {
        let ended = matches!(pod.text(&["status", "phase"]), "Succeeded" | "Failed");
        !ended && !pod.text(&["spec", "nodeName"]).is_empty() && names(pod).any(|name| name == claim.name())
    })
}

/// The claims that a pod mounts.
fn names(pod: &Object) -> impl Iterator<Item = &str> {
    list(&pod.value()["spec"]["volumes"]).filter_map(|volume| volume["persistentVolumeClaim"]["claimName"].as_str())
}

/// Why a pod's claims keep it from being scheduled, in the scheduler's words.
pub(crate) fn check_all(store: &Store, classes: &Classes, pod: &Object) -> Result<(), String> {
    for name in names(pod) {
        let Some(claim) = store.get(&Key::new(Kind::PersistentVolumeClaim, pod.namespace(), name)) else {
            return Err(format!("persistentvolumeclaim {name:?} not found"));
        };
        if claim.is_terminating() {
            return Err(format!("persistentvolumeclaim {name:?} is being deleted"));
        }
        if claim.text(&["status", "phase"]) != "Bound" && (classes.binds_at_once || !is_provided(classes, &claim)) {
            return Err("pod has unbound immediate PersistentVolumeClaims".into());
        }
    }
    Ok(())
}

/// Binds the claims of a pod that goes to `node`.
pub(crate) fn bind_all(store: &Store, pod: &Object, node: &str) {
    for name in names(pod) {
        bind(store, &Key::new(Kind::PersistentVolumeClaim, pod.namespace(), name), Some(node));
    }
}

/// Gives a claim its volume, if it has none.
fn bind(store: &Store, key: &Key, node: Option<&str>) {
    let bound = store.update(key, false, |claim| {
        let mut next = claim.value().clone();
        if claim.text(&["status", "phase"]) != "Bound" {
            let annotations = &mut next["metadata"]["annotations"];
            if !annotations.is_object() {
                *annotations = json!({});
            }
            if let Some(node) = node {
                annotations["volume.kubernetes.io/selected-node"] = node.into();
            }
            annotations["pv.kubernetes.io/bind-completed"] = "yes".into();
            annotations["pv.kubernetes.io/bound-by-controller"] = "yes".into();
            next["spec"]["volumeName"] = format!("pvc-{}", claim.uid()).into();
            let capacity: Value = claim.value()["spec"]["resources"]["requests"].clone();
            let modes: Value = claim.value()["spec"]["accessModes"].clone();
            next["status"] = json!({"phase": "Bound", "accessModes": modes, "capacity": capacity});
        }
        Ok(next)
    });
    if let Err(failure) = bound {
        tracing::debug!(%failure, claim = key.name, "the claim is gone already");
    }
}
