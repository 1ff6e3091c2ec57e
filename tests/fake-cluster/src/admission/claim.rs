//! What is added to a persistent volume claim.

use serde_json::{Value, json};

use super::or;

/// The class that a claim gets if it names none.
pub(crate) const DEFAULT_CLASS: &str = "standard";
/// Keeps a claim for as long as a pod uses it.
pub(crate) const PROTECTION: &str = "kubernetes.io/pvc-protection";

pub(super) fn complete(claim: &mut Value) {
    or(&mut claim["spec"], "storageClassName", || DEFAULT_CLASS.into());
    or(&mut claim["spec"], "volumeMode", || "Filesystem".into());
    let finalizers = &mut claim["metadata"]["finalizers"];
    match finalizers.as_array_mut() {
        Some(held) if held.iter().any(|one| one == PROTECTION) => {}
        Some(held) => held.push(PROTECTION.into()),
        None => *finalizers = json!([PROTECTION]),
    }
    claim["status"]["phase"] = "Pending".into();
}
