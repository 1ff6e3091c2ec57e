//! How far a pod came on its way to the container's start, and when: its conditions, by the clocks of those who set them.

use jiff::Timestamp;
use piculet_core::id::PodUid;
use piculet_core::trace::PodTimes;

use super::Look;

impl Look<'_> {
    pub(super) fn times(&self) -> PodTimes {
        let metadata = &self.pod.metadata;
        PodTimes {
            uid: PodUid::new(metadata.uid.as_deref().unwrap_or_default()),
            name: metadata.name.clone().unwrap_or_default(),
            container: self.container.to_owned(),
            node: self.node().map(str::to_owned),
            created: metadata.creation_timestamp.as_ref().map(|time| time.0),
            scheduled: self.since("PodScheduled"),
            sandbox: self.since("PodReadyToStartContainers"),
            initialized: self.since("Initialized").filter(|_| self.has_init_containers()),
        }
    }

    /// Since when a condition holds. It says nothing any more once it was true and is not: a pod that is over loses its
    /// sandbox.
    fn since(&self, kind: &str) -> Option<Timestamp> {
        let condition = self.condition(kind).filter(|condition| condition.status == "True")?;
        condition.last_transition_time.as_ref().map(|time| time.0)
    }

    fn has_init_containers(&self) -> bool {
        let spec = self.pod.spec.as_ref();
        spec.and_then(|spec| spec.init_containers.as_ref()).is_some_and(|containers| !containers.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::{Value, json};

    use crate::status::times;

    fn pod(conditions: &Value, init: &Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": { "name": "wp-1", "uid": "u1", "creationTimestamp": "2026-08-22T10:00:00Z" },
            "spec": { "nodeName": "node-1", "containers": [{ "name": "step" }], "initContainers": init },
            "status": { "conditions": conditions },
        }))
        .unwrap()
    }

    fn condition(kind: &str, status: &str, second: u8) -> Value {
        json!({ "type": kind, "status": status, "lastTransitionTime": format!("2026-08-22T10:00:{second:02}Z") })
    }

    fn at(second: u8) -> Option<Timestamp> {
        Some(format!("2026-08-22T10:00:{second:02}Z").parse().unwrap())
    }

    #[test]
    fn conditions_have_their_own_times() {
        let conditions = json!([
            condition("Initialized", "True", 4),
            condition("PodScheduled", "True", 1),
            condition("PodReadyToStartContainers", "True", 3),
            condition("Ready", "False", 9),
        ]);
        let with_init = times(&pod(&conditions, &json!([{ "name": "first" }])), "step");
        assert_eq!((with_init.created, with_init.scheduled), (at(0), at(1)));
        assert_eq!((with_init.sandbox, with_init.initialized), (at(3), at(4)));
        assert_eq!((with_init.name.as_str(), with_init.node.as_deref()), ("wp-1", Some("node-1")));
        let without = times(&pod(&conditions, &Value::Null), "step");
        assert_eq!(without.initialized, None, "there was nothing to wait for");
    }

    #[test]
    fn what_does_not_hold_has_no_time() {
        let conditions =
            json!([condition("PodScheduled", "False", 1), condition("PodReadyToStartContainers", "False", 2)]);
        let times = times(&pod(&conditions, &Value::Null), "step");
        assert_eq!((times.scheduled, times.sandbox, times.initialized), (None, None, None));
    }
}
