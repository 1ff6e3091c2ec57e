//! Which nodes a pod is drawn to: by what they are, and by the pods that run there. Only what is required counts.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::lives_on;
use crate::object::{Object, list};
use crate::selector::Rule;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";

/// Whether the node has what `nodeSelector` and the required node affinity ask for.
pub(super) fn selects(spec: &Value, node: &Object) -> bool {
    let mut wanted = spec["nodeSelector"].as_object().into_iter().flatten();
    if !wanted.all(|(key, value)| label(node, key) == value.as_str()) {
        return false;
    }
    let required = &spec["affinity"]["nodeAffinity"][REQUIRED];
    let mut terms = list(&required["nodeSelectorTerms"]).peekable();
    if terms.peek().is_none() {
        return true;
    }
    let by_name = |key: &str| if key == "metadata.name" { Some(node.name()) } else { None };
    terms.any(|term| {
        let (labels, fields) = (list(&term["matchExpressions"]), list(&term["matchFields"]));
        // A term that asks for nothing means no node.
        labels.len() + fields.len() > 0
            && labels.into_iter().all(|one| rule(one).allows(label(node, key(one))))
            && fields.into_iter().all(|one| rule(one).allows(by_name(key(one))))
    })
}

/// The company that a pod's required affinity to other pods asks for, and where it is.
pub(super) struct Company<'a> {
    terms: Vec<&'a Value>,
    /// The places of pods that match all terms: values of the labels of their nodes that the terms name.
    places: BTreeSet<(&'a str, String)>,
    /// The pod itself is what it asks for, and will do as the first of its kind.
    is_own: bool,
}

impl<'a> Company<'a> {
    pub(super) fn of(pod: &'a Object, pods: &[Arc<Object>], nodes: &[Arc<Object>]) -> Self {
        let terms: Vec<&Value> = list(&pod.value()["spec"]["affinity"]["podAffinity"][REQUIRED]).collect();
        let is_meant = |other: &Object| terms.iter().all(|term| means(term, pod.namespace(), other));
        let mut places = BTreeSet::new();
        for node in nodes {
            // Pods that are over don't count.
            if !pods.iter().any(|other| lives_on(other, node.name()) && is_meant(other)) {
                continue;
            }
            for topology in terms.iter().map(|term| topology(term)) {
                places.extend(label(node, topology).map(|place| (topology, place.to_owned())));
            }
        }
        Self { is_own: is_meant(pod), terms, places }
    }

    /// Whether it is on this node, or at the same place.
    pub(super) fn is_on(&self, node: &Object) -> bool {
        let has_place = |term: &&Value| label(node, topology(term)).is_some();
        let has_company = |term: &&Value| {
            let topology = topology(term);
            label(node, topology).is_some_and(|place| self.places.contains(&(topology, place.to_owned())))
        };
        self.terms.iter().all(has_place)
            && (self.terms.iter().all(has_company) || self.places.is_empty() && self.is_own)
    }
}

/// Whether a term means a pod. The namespaces are those that it names, or else that of the pod that asks;
/// `namespaceSelector` is not read.
fn means(term: &Value, own_namespace: &str, pod: &Object) -> bool {
    let mut namespaces = list(&term["namespaces"]).filter_map(Value::as_str).peekable();
    let is_near = match namespaces.peek() {
        None => pod.namespace() == own_namespace,
        Some(_) => namespaces.any(|namespace| namespace == pod.namespace()),
    };
    let selector = &term["labelSelector"];
    let mut labels = selector["matchLabels"].as_object().into_iter().flatten();
    // Without a selector no pod is meant, and with an empty one every pod.
    is_near
        && selector.is_object()
        && labels.all(|(key, value)| label(pod, key) == value.as_str())
        && list(&selector["matchExpressions"]).all(|one| rule(one).allows(label(pod, key(one))))
}

fn label<'a>(object: &'a Object, key: &str) -> Option<&'a str> {
    object.labels()?.get(key)?.as_str()
}

fn key(expression: &Value) -> &str {
    expression["key"].as_str().unwrap_or_default()
}

fn topology(term: &Value) -> &str {
    term["topologyKey"].as_str().unwrap_or_default()
}

fn rule(expression: &Value) -> Rule {
    let values = || list(&expression["values"]).filter_map(Value::as_str).map(str::to_owned);
    let bound = || values().next().and_then(|value| value.parse().ok()).unwrap_or_default();
    match expression["operator"].as_str().unwrap_or_default() {
        "In" => Rule::In(values().collect()),
        "NotIn" => Rule::NotIn(values().collect()),
        "Exists" => Rule::Exists,
        "DoesNotExist" => Rule::Absent,
        "Gt" => Rule::GreaterThan(bound()),
        _ => Rule::LessThan(bound()),
    }
}
