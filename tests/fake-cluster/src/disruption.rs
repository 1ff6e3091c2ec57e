//! Why a pod has to go although it did nothing wrong, as its `DisruptionTarget` condition says.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::clock::json_seconds;
use crate::failure::Failure;
use crate::object::{Key, Object, list};
use crate::store::Store;

/// A reason and a message for a pod's `DisruptionTarget` condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Disruption {
    pub(crate) reason: &'static str,
    pub(crate) message: &'static str,
}

impl Disruption {
    pub(crate) const EVICTION_API: Self = Self { reason: "EvictionByEvictionAPI", message: "Eviction API: evicting" };
    pub(crate) const PREEMPTION: Self = Self {
        reason: "PreemptionByScheduler",
        message: "default-scheduler: preempting to accommodate a higher priority pod",
    };
    pub(crate) const TAINT: Self =
        Self { reason: "DeletionByTaintManager", message: "Taint manager: deleting due to NoExecute taint" };
    pub(crate) const ORPHANED: Self = Self { reason: "DeletionByPodGC", message: "PodGC: node no longer exists" };
}

/// Writes the condition into the pod's status.
pub(crate) fn announce(store: &Store, key: &Key, disruption: Disruption) -> Result<Arc<Object>, Failure> {
    let now = store.clock().now();
    store.update(key, false, |pod| {
        let mut next = pod.value().clone();
        let condition = json!({
            "type": "DisruptionTarget", "status": "True", "reason": disruption.reason,
            "message": disruption.message, "lastProbeTime": Value::Null, "lastTransitionTime": json_seconds(now),
        });
        set_condition(&mut next["status"], condition);
        Ok(next)
    })
}

/// Puts a condition into a status, in the place of an older one of its type. One that says the same as before keeps
/// the time of its last transition.
pub(crate) fn set_condition(status: &mut Value, mut condition: Value) {
    let mut conditions: Vec<Value> = list(&status["conditions"]).cloned().collect();
    match conditions.iter_mut().find(|one| one["type"] == condition["type"]) {
        Some(old) => {
            if old["status"] == condition["status"] {
                condition["lastTransitionTime"] = old["lastTransitionTime"].clone();
            }
            *old = condition;
        }
        None => conditions.push(condition),
    }
    status["conditions"] = conditions.into();
}
