//! What webhooks and policies of the cluster change in pods that are created.

use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use crate::failure::Failure;
use crate::kind::Kind;

/// The changes, in the order in which they are made.
#[derive(Debug, Default)]
pub(crate) struct Mutations(Mutex<Vec<json_patch::Patch>>);

impl Mutations {
    pub(crate) fn add(&self, patch: json_patch::Patch) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(patch);
    }

    /// Changes a new object, if it is a pod.
    pub(crate) fn apply(&self, kind: Kind, mut object: Value) -> Result<Value, Failure> {
        if kind == Kind::Pod {
            for patch in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                let refused = |error: json_patch::PatchError| Failure::internal(format!("a mutation failed: {error}"));
                json_patch::patch(&mut object, patch).map_err(refused)?;
            }
        }
        Ok(object)
    }
}
