//! Nodes: what becomes of the pods on a node that is silent, or gone.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::clock::{json_seconds, until};
use crate::disruption::{self, Disruption, set_condition};
use crate::events::{Mood, Recorder};
use crate::kind::Kind;
use crate::object::{Key, Object, list};
use crate::store::{DeleteOptions, Store};

const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

/// Deletes the pods of nodes that are silent for longer than the pods tolerate, and of nodes that are gone, for ever.
pub(crate) async fn run(store: Arc<Store>, collect_after: Duration) {
    let mut written = store.feed(&[Kind::Pod, Kind::Node]);
    loop {
        written.mark();
        let mut next: Option<Instant> = None;
        for pod in store.list(Kind::Pod, None) {
            let due = when_to_go(&store, &pod, collect_after);
            match due {
                Some((at, why)) if at <= store.clock().now() => remove(&store, &pod, why),
                Some((at, _)) => {
                    let at = store.clock().instant_of(at);
                    next = Some(next.map_or(at, |next| next.min(at)));
                }
                None => {}
            }
        }
        tokio::select! {
            biased;
            there = written.changed() => if !there { return },
            () = until(next) => {}
        }
    }
}

/// Marks a node as silent: its condition, its taint, and its pods, which are not ready any more.
pub(crate) fn mark_silent(store: &Arc<Store>, name: &str) {
    let now = store.clock().now();
    let key = Key::new(Kind::Node, "", name);
    let marked = store.update(&key, false, |node| {
        let mut next = node.value().clone();
        let condition = json!({
            "type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown",
            "message": "Kubelet stopped posting node status.", "lastTransitionTime": json_seconds(now),
        });
        set_condition(&mut next["status"], condition);
        next["spec"]["taints"] = json!([
            {"key": UNREACHABLE, "effect": "NoSchedule", "timeAdded": json_seconds(now)},
            {"key": UNREACHABLE, "effect": "NoExecute", "timeAdded": json_seconds(now)},
        ]);
        Ok(next)
    });
    let Ok(node) = marked else { return };
    let recorder = Recorder::new(Arc::clone(store), "node-controller", "");
    recorder.record(&node, "", Mood::Normal, "NodeNotReady", &format!("Node {name} status is now: NodeNotReady"));
    for pod in on_node(store, name) {
        let written = store.update(&pod.key(), false, |present| {
            let mut next = present.value().clone();
            let condition = json!({
                "type": "Ready", "status": "False", "lastProbeTime": Value::Null,
                "lastTransitionTime": json_seconds(now),
            });
            set_condition(&mut next["status"], condition);
            Ok(next)
        });
        if written.is_ok() {
            recorder.record(&pod, "", Mood::Warning, "NodeNotReady", "Node is not ready");
        }
    }
}

/// Marks a node as ready, as its kubelet does.
pub(crate) fn mark_ready(store: &Store, name: &str) {
    let now = store.clock().now();
    let marked = store.update(&Key::new(Kind::Node, "", name), false, |node| {
        let mut next = node.value().clone();
        let condition = json!({
            "type": "Ready", "status": "True", "reason": "KubeletReady",
            "message": "kubelet is posting ready status", "lastTransitionTime": json_seconds(now),
        });
        set_condition(&mut next["status"], condition);
        if let Value::Object(spec) = &mut next["spec"] {
            spec.remove("taints");
        }
        Ok(next)
    });
    if let Err(failure) = marked {
        tracing::debug!(%failure, "the node is gone");
    }
}

pub(crate) fn on_node(store: &Store, name: &str) -> Vec<Arc<Object>> {
    let pods = store.list(Kind::Pod, None).into_iter();
    pods.filter(|pod| pod.text(&["spec", "nodeName"]) == name).collect()
}

enum Why {
    Tainted,
    NodeGone,
}

/// When a pod has to go because of its node; `None` if the node is well.
fn when_to_go(store: &Store, pod: &Object, collect_after: Duration) -> Option<(Timestamp, Why)> {
    let name = pod.text(&["spec", "nodeName"]);
    if name.is_empty() {
        return None;
    }
    let Some(node) = store.get(&Key::new(Kind::Node, "", name)) else {
        let ready = list(&pod.value()["status"]["conditions"]).find(|one| one["type"] == "Ready");
        let since = ready.and_then(|one| one["lastTransitionTime"].as_str()?.parse().ok());
        let since: Timestamp = since.unwrap_or_else(|| store.clock().now());
        return Some((since.saturating_add(collect_after).unwrap_or(Timestamp::MAX), Why::NodeGone));
    };
    if pod.is_terminating() {
        return None;
    }
    let taint = list(&node.value()["spec"]["taints"]).find(|taint| taint["effect"] == "NoExecute")?;
    let added: Timestamp = taint["timeAdded"].as_str()?.parse().ok()?;
    let toleration = list(&pod.value()["spec"]["tolerations"]).find(|one| {
        let any = one["key"].is_null() && one["operator"] == "Exists";
        (any || one["key"] == taint["key"]) && (one["effect"].is_null() || one["effect"] == "NoExecute")
    });
    let seconds = match toleration {
        None => 0,
        Some(toleration) => toleration["tolerationSeconds"].as_u64()?,
    };
    Some((added.saturating_add(Duration::from_secs(seconds)).unwrap_or(Timestamp::MAX), Why::Tainted))
}

fn remove(store: &Store, pod: &Object, why: Why) {
    let (key, uid) = (pod.key(), Some(pod.uid().to_owned()));
    let removed = match why {
        Why::Tainted => disruption::announce(store, &key, Disruption::TAINT)
            .and_then(|_| store.delete(&key, &DeleteOptions { uid, ..DeleteOptions::default() })),
        Why::NodeGone => {
            let ended = matches!(pod.text(&["status", "phase"]), "Succeeded" | "Failed");
            let said = if ended { Ok(()) } else { fail(store, &key) };
            let options = DeleteOptions { grace: Some(0), uid, ..DeleteOptions::default() };
            said.and_then(|()| store.delete(&key, &options))
        }
    };
    if let Err(failure) = removed {
        tracing::debug!(%failure, "the pod is gone already");
    }
}

/// The pod of a node that is gone has failed; what its containers did at the end nobody knows.
fn fail(store: &Store, key: &Key) -> Result<(), crate::failure::Failure> {
    disruption::announce(store, key, Disruption::ORPHANED)?;
    store
        .update(key, false, |pod| {
            let mut next = pod.value().clone();
            next["status"]["phase"] = "Failed".into();
            Ok(next)
        })
        .map(|_| ())
}
