//! What is added to a persistent volume claim.

use serde_json::{Value, json};

use super::or;
use crate::classes::Classes;

/// Keeps a claim for as long as a pod uses it.
pub(crate) const PROTECTION: &str = "kubernetes.io/pvc-protection";

pub(super) fn complete(classes: &Classes, claim: &mut Value) {
    if let Some(default) = classes.storage.first() {
        or(&mut claim["spec"], "storageClassName", || default.as_str().into());
    }
    or(&mut claim["spec"], "volumeMode", || "Filesystem".into());
    let finalizers = &mut claim["metadata"]["finalizers"];
    match finalizers.as_array_mut() {
        Some(held) if held.iter().any(|one| one == PROTECTION) => {}
        Some(held) => held.push(PROTECTION.into()),
        None => *finalizers = json!([PROTECTION]),
    }
    claim["status"]["phase"] = "Pending".into();
}
