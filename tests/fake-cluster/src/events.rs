//! Events (`core/v1`), as components of a cluster record them about objects.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use crate::clock::json_seconds;
use crate::kind::Kind;
use crate::object::{Key, Object};
use crate::store::Store;

/// Records events for one component, on one node or none.
#[derive(Debug, Clone)]
pub(crate) struct Recorder {
    store: Arc<Store>,
    component: &'static str,
    host: String,
    /// Events that may come again, by what they say: the next one only raises their count.
    known: Arc<Mutex<HashMap<String, Key>>>,
}

/// Whether an event is good news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Normal,
    Warning,
}

impl Recorder {
    pub(crate) fn new(store: Arc<Store>, component: &'static str, host: &str) -> Self {
        Self { store, component, host: host.to_owned(), known: Arc::default() }
    }

    /// Records an event about an object, or about a part of it (`field`, for example `spec.containers{step}`).
    pub(crate) fn record(&self, about: &Object, field: &str, mood: Mood, reason: &str, message: &str) {
        let now = self.store.clock().now();
        let uid = about.uid();
        let fingerprint = format!("{uid}/{field}/{reason}/{message}");
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&fingerprint).cloned();
        if let Some(key) = known {
            let again = self.store.update(&key, false, |event| {
                let mut next = event.value().clone();
                next["count"] = (next["count"].as_i64().unwrap_or(1) + 1).into();
                next["lastTimestamp"] = json_seconds(now);
                Ok(next)
            });
            if again.is_ok() {
                return;
            }
        }
        // Named as the real recorder does: after the object and the time.
        let name = format!("{}.{:x}{}", about.name(), now.as_nanosecond(), self.store.suffix());
        let namespace = if about.namespace().is_empty() { "default" } else { about.namespace() };
        let mut involved = json!({
            "kind": about.kind().name(), "apiVersion": about.kind().api_version(), "name": about.name(), "uid": uid,
            "resourceVersion": about.resource_version(),
        });
        if !about.namespace().is_empty() {
            involved["namespace"] = about.namespace().into();
        }
        if !field.is_empty() {
            involved["fieldPath"] = field.into();
        }
        let mut source = json!({"component": self.component});
        if !self.host.is_empty() {
            source["host"] = self.host.clone().into();
        }
        let event = json!({
            "kind": "Event", "apiVersion": "v1", "metadata": {"name": name, "namespace": namespace},
            "involvedObject": involved, "reason": reason, "message": message, "source": source,
            "firstTimestamp": json_seconds(now), "lastTimestamp": json_seconds(now), "eventTime": Value::Null,
            "count": 1, "type": if mood == Mood::Normal { "Normal" } else { "Warning" },
            "reportingComponent": self.component, "reportingInstance": self.host,
        });
        match self.store.create(Kind::Event, namespace, event, false) {
            Ok(stored) => {
                self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(fingerprint, stored.key());
            }
            // The namespace goes away: nobody will miss the event.
            Err(failure) => tracing::debug!(%failure, reason, "an event was not recorded"),
        }
    }
}
