//! The scheduler: finds a node for each pod, or says why there is none.

mod affinity;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use self::affinity::Company;
use crate::classes::Classes;
use crate::clock::json_seconds;
use crate::controllers::claims;
use crate::disruption::set_condition;
use crate::events::{Mood, Recorder};
use crate::kind::Kind;
use crate::object::{Key, Object, list};
use crate::quantity::millis;
use crate::store::Store;

/// Binds pods to nodes, for ever. A pod waits `delay` before the scheduler looks at it.
pub(crate) async fn run(store: Arc<Store>, classes: Arc<Classes>, delay: Duration) {
    let recorder = Recorder::new(Arc::clone(&store), "default-scheduler", "");
    let mut written = store.feed(&[Kind::Pod, Kind::Node, Kind::PersistentVolumeClaim]);
    loop {
        written.mark();
        let waiting = || {
            let pods = store.list(Kind::Pod, None).into_iter();
            pods.filter(|pod| pod.text(&["spec", "nodeName"]).is_empty() && !pod.is_terminating())
        };
        if !delay.is_zero() && waiting().next().is_some() {
            tokio::time::sleep(delay).await;
        }
        for pod in waiting() {
            schedule(&store, &classes, &recorder, &pod);
        }
        if !written.changed().await {
            return;
        }
    }
}

fn schedule(store: &Arc<Store>, classes: &Classes, recorder: &Recorder, pod: &Arc<Object>) {
    let chosen = claims::check_all(store, classes, pod).and_then(|()| choose(store, pod));
    match chosen {
        Ok(node) => {
            claims::bind_all(store, pod, &node);
            let bound = bind(store, pod, &node);
            if bound {
                let message = format!("Successfully assigned {}/{} to {node}", pod.namespace(), pod.name());
                recorder.record(pod, "", Mood::Normal, "Scheduled", &message);
            }
        }
        Err(why) => {
            let nodes = store.list(Kind::Node, None).len();
            let message = if nodes == 0 {
                "no nodes available to schedule pods".to_owned()
            } else {
                format!(
                    "0/{nodes} nodes are available: {why}. preemption: 0/{nodes} nodes are available: {nodes} \
                     Preemption is not helpful for scheduling."
                )
            };
            if refuse(store, pod, &message) {
                recorder.record(pod, "", Mood::Warning, "FailedScheduling", &message);
            }
        }
    }
}

fn bind(store: &Store, pod: &Object, node: &str) -> bool {
    let now = store.clock().now();
    let bound = store.update(&pod.key(), false, |present| {
        let mut next = present.value().clone();
        if present.uid() == pod.uid() && !present.is_terminating() {
            next["spec"]["nodeName"] = node.into();
            let condition = json!({
                "type": "PodScheduled", "status": "True", "lastProbeTime": Value::Null,
                "lastTransitionTime": json_seconds(now),
            });
            set_condition(&mut next["status"], condition);
        }
        Ok(next)
    });
    bound.is_ok_and(|bound| bound.text(&["spec", "nodeName"]) == node)
}

/// Writes why the pod stays pending. Whether that is news.
fn refuse(store: &Store, pod: &Object, message: &str) -> bool {
    let now = store.clock().now();
    let mut news = false;
    let written = store.update(&pod.key(), false, |present| {
        let mut next = present.value().clone();
        let old = list(&next["status"]["conditions"]).find(|one| one["type"] == "PodScheduled");
        news = present.uid() == pod.uid() && old.is_none_or(|old| old["message"] != message);
        if news {
            let condition = json!({
                "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
                "lastProbeTime": Value::Null, "lastTransitionTime": json_seconds(now),
            });
            set_condition(&mut next["status"], condition);
        }
        Ok(next)
    });
    news && written.is_ok()
}

/// The node with the fewest pods among those that fit; else the reasons, counted.
fn choose(store: &Store, pod: &Object) -> Result<String, String> {
    let (pods, nodes) = (store.list(Kind::Pod, None), store.list(Kind::Node, None));
    let company = Company::of(pod, &pods, &nodes);
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let mut fitting = Vec::new();
    for node in &nodes {
        let there: Vec<&Arc<Object>> = pods.iter().filter(|other| lives_on(other, node.name())).collect();
        match misfit(pod, node, &there, &company) {
            Some(reason) => *reasons.entry(reason).or_default() += 1,
            None => fitting.push((there.len(), node.name().to_owned())),
        }
    }
    if let Some((_, node)) = fitting.into_iter().min() {
        return Ok(node);
    }
    let counted: Vec<String> = reasons.into_iter().map(|(reason, nodes)| format!("{nodes} {reason}")).collect();
    Err(counted.join(", "))
}

fn lives_on(pod: &Object, node: &str) -> bool {
    pod.text(&["spec", "nodeName"]) == node && !matches!(pod.text(&["status", "phase"]), "Succeeded" | "Failed")
}

/// Why a pod cannot go to a node.
fn misfit(pod: &Object, node: &Object, there: &[&Arc<Object>], company: &Company<'_>) -> Option<String> {
    let spec = &pod.value()["spec"];
    if node.value()["spec"]["unschedulable"] == true {
        return Some("node(s) were unschedulable".into());
    }
    let tolerated = |taint: &Value| list(&spec["tolerations"]).any(|toleration| tolerates(toleration, taint));
    let hard = |taint: &&Value| taint["effect"] != "PreferNoSchedule";
    if let Some(taint) = list(&node.value()["spec"]["taints"]).filter(hard).find(|taint| !tolerated(taint)) {
        let text = |field: &str| taint[field].as_str().unwrap_or_default();
        return Some(format!("node(s) had untolerated taint {{{}: {}}}", text("key"), text("value")));
    }
    if !affinity::selects(spec, node) {
        return Some("node(s) didn't match Pod's node affinity/selector".into());
    }
    for resource in ["cpu", "memory"] {
        let Some(room) = node.value()["status"]["allocatable"][resource].as_str().and_then(millis) else { continue };
        let used: u128 = there.iter().map(|other| requested(&other.value()["spec"], resource)).sum();
        if used + requested(spec, resource) > room {
            return Some(format!("Insufficient {resource}"));
        }
    }
    (!company.is_on(node)).then(|| "node(s) didn't match pod affinity rules".into())
}

fn tolerates(toleration: &Value, taint: &Value) -> bool {
    let text = |value: &Value, field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let effect = text(toleration, "effect");
    let key = text(toleration, "key");
    let exists = toleration["operator"] == "Exists";
    (effect.is_empty() || effect == text(taint, "effect"))
        && (key == text(taint, "key") || key.is_empty() && exists)
        && (exists || text(toleration, "value") == text(taint, "value"))
}

/// What a pod asks for: the sum over its containers, or its largest init container, whichever is more.
fn requested(spec: &Value, resource: &str) -> u128 {
    let of = |container: &Value| container["resources"]["requests"][resource].as_str().and_then(millis).unwrap_or(0);
    let together: u128 = list(&spec["containers"]).map(of).sum();
    together.max(list(&spec["initContainers"]).map(of).max().unwrap_or(0))
}

/// Makes room for a more important pod: the victim learns why, and is deleted with its own grace.
pub(crate) fn preempt(store: &Arc<Store>, key: &Key) -> Result<(), crate::failure::Failure> {
    let victim = crate::disruption::announce(store, key, crate::disruption::Disruption::PREEMPTION)?;
    let node = victim.text(&["spec", "nodeName"]);
    let message = format!("Preempted by pod {} on node {node}", store.suffix());
    Recorder::new(Arc::clone(store), "default-scheduler", "").record(&victim, "", Mood::Normal, "Preempted", &message);
    store.delete(key, &crate::store::DeleteOptions::default()).map(|_| ())
}
