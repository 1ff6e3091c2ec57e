//! Writes down what a real cluster showed of a scenario's pods and said of them: fixtures for tests that replay it.
//!
//! `PICULET_RECORD` names the folder. What is different each time, and what the agent doesn't look at, is left out or
//! replaced.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex};

use futures_util::TryStreamExt as _;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// A recording that goes on.
pub(super) struct Recording {
    file: PathBuf,
    lines: Arc<Mutex<Vec<Value>>>,
    watches: [JoinHandle<()>; 2],
}

impl Recording {
    /// Begins, if somebody wants it.
    #[expect(clippy::disallowed_methods, reason = "it is wanted from outside")]
    pub(super) fn begin(client: &Client, namespace: &str, scenario: &str) -> Option<Self> {
        let folder = PathBuf::from(std::env::var_os("PICULET_RECORD")?);
        let (lines, began) = (Arc::new(Mutex::new(Vec::new())), Instant::now());
        let pods = watch::<Pod>(Api::namespaced(client.clone(), namespace), lines.clone(), began);
        let events = watch::<Event>(Api::namespaced(client.clone(), namespace), lines.clone(), began);
        let watches = [tokio::spawn(pods), tokio::spawn(events)];
        Some(Self { file: folder.join(format!("{scenario}.jsonl")), lines, watches })
    }

    /// Writes it.
    pub(super) fn end(self) {
        for watch in &self.watches {
            assert!(!watch.is_finished(), "the recording is not whole");
        }
        let mut uids = BTreeMap::new();
        let mut lines = self.lines.lock().unwrap();
        // The agent hears of pods alone.
        lines.retain(|line| line["kind"] == "Pod" || line["object"]["involvedObject"]["kind"] == "Pod");
        let scrubbed = lines.iter_mut().map(|line| {
            scrub(line, &mut uids);
            format!("{line}\n")
        });
        let scrubbed: String = scrubbed.collect();
        // Pods that were refused are not there.
        if !scrubbed.is_empty() {
            std::fs::write(self.file, scrubbed).unwrap();
        }
    }
}

/// From the namespace's beginning to the end of the test.
async fn watch<K>(api: Api<K>, lines: Arc<Mutex<Vec<Value>>>, began: Instant)
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Serialize,
{
    let list = api.list_metadata(&ListParams::default().limit(1)).await.unwrap();
    let mut version = list.metadata.resource_version.unwrap();
    loop {
        let mut events = pin!(api.watch(&WatchParams::default(), &version).await.unwrap());
        while let Some(event) = events.try_next().await.unwrap() {
            let (what, object) = match event {
                WatchEvent::Added(object) => ("ADDED", object),
                WatchEvent::Modified(object) => ("MODIFIED", object),
                WatchEvent::Deleted(object) => ("DELETED", object),
                WatchEvent::Bookmark(_) => continue,
                WatchEvent::Error(status) => panic!("the recording breaks: {status:?}"),
            };
            version = object.meta().resource_version.clone().unwrap_or_default();
            let at = u64::try_from(began.elapsed().as_millis()).unwrap();
            let object = serde_json::to_value(object).unwrap();
            lines.lock().unwrap().push(json!({"at": at, "type": what, "kind": K::kind(&()), "object": object}));
        }
    }
}

/// Keeps what the agent looks at, under names that are the same each time.
fn scrub(line: &mut Value, names: &mut BTreeMap<String, String>) {
    let is_pod = line["kind"] == "Pod";
    let object = &mut line["object"];
    if is_pod {
        *object = pick(object, &["metadata", "spec", "status"]);
        object["metadata"] = pick(
            &object["metadata"],
            &["name", "uid", "labels", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"],
        );
        object["metadata"]["labels"] = pick(&object["metadata"]["labels"], &["step"]);
        object["spec"] = pick(&object["spec"], &["nodeName", "activeDeadlineSeconds", "containers", "initContainers"]);
        object["status"] = pick(
            &object["status"],
            &["phase", "reason", "message", "conditions", "containerStatuses", "initContainerStatuses", "startTime"],
        );
        for kind in ["containers", "initContainers"] {
            for container in object["spec"][kind].as_array_mut().into_iter().flatten() {
                *container = pick(container, &["name", "image", "resources", "restartPolicy"]);
            }
        }
        for kind in ["containerStatuses", "initContainerStatuses"] {
            for status in object["status"][kind].as_array_mut().into_iter().flatten() {
                *status = pick(
                    status,
                    &[
                        "name",
                        "image",
                        "imageID",
                        "ready",
                        "restartCount",
                        "started",
                        "state",
                        "lastState",
                        "containerID",
                    ],
                );
            }
        }
    } else {
        *object = pick(object, &["metadata", "involvedObject", "reason", "message", "type"]);
        object["metadata"] = json!({});
    }
    rename(object, names);
}

/// Those of an object's fields that say something.
fn pick(object: &Value, fields: &[&str]) -> Value {
    let says_something = |value: &&Value| !value.is_null();
    let found = fields.iter().filter_map(|field| Some((*field, object.get(field).filter(says_something)?)));
    found.map(|(field, value)| (field.to_owned(), value.clone())).collect()
}

/// Gives every identifier a short name.
fn rename(value: &mut Value, names: &mut BTreeMap<String, String>) {
    match value {
        Value::String(text) => *text = renamed(text, names),
        Value::Array(list) => list.iter_mut().for_each(|value| rename(value, names)),
        Value::Object(map) => map.values_mut().for_each(|value| rename(value, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn renamed(text: &str, names: &mut BTreeMap<String, String>) -> String {
    let is_inside = |c: char| c.is_ascii_alphanumeric() || c == '-';
    text.split_inclusive(|c| !is_inside(c))
        .map(|word| {
            let end = word.trim_end_matches(|c| !is_inside(c)).len();
            let (word, rest) = word.split_at(end);
            let hex = word.chars().filter(char::is_ascii_hexdigit).count();
            let is_id = hex >= 32 && word.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
            let word = if word.starts_with("piculet-e2e-") {
                "ci".to_owned()
            } else if is_id {
                let next = format!("id-{}", names.len() + 1);
                names.entry(word.to_owned()).or_insert(next).clone()
            } else {
                word.to_owned()
            };
            word + rest
        })
        .collect()
}
