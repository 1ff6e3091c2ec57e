//! Namespaces: what each new one gets, and how one goes with everything in it.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::admission;
use crate::classes::Classes;
use crate::failure::Failure;
use crate::kind::Kind;
use crate::object::{Key, Object};
use crate::store::{DeleteOptions, Store};

/// Furnishes new namespaces and empties terminating ones, for ever.
pub(crate) async fn run(store: Arc<Store>) {
    let mut written = store.feed(&Kind::ALL);
    loop {
        written.mark();
        for namespace in store.list(Kind::Namespace, None) {
            if namespace.is_terminating() {
                empty(&store, &namespace);
            } else {
                furnish(&store, namespace.name());
            }
        }
        if !written.changed().await {
            return;
        }
    }
}

/// Creates a namespace with what every namespace has.
pub(crate) fn create(store: &Store, name: &str) -> Result<Arc<Object>, Failure> {
    let namespace =
        admission::of_new(store, &Classes::default(), Kind::Namespace, "", json!({"metadata": {"name": name}}))?;
    let created = store.create(Kind::Namespace, "", namespace, false)?;
    furnish(store, name);
    Ok(created)
}

/// The service account and the certificate that are in every namespace.
fn furnish(store: &Store, name: &str) {
    let account = json!({"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "default"}});
    let annotation = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints \
                      such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across \
                      distributions of Kubernetes clusters.";
    let certificate = json!({
        "kind": "ConfigMap", "apiVersion": "v1",
        "metadata": {"name": "kube-root-ca.crt", "annotations": {"kubernetes.io/description": annotation}},
        "data": {"ca.crt": ""},
    });
    for (kind, object) in [(Kind::ServiceAccount, account), (Kind::ConfigMap, certificate)] {
        let there = store.get(&Key::new(kind, name, object["metadata"]["name"].as_str().unwrap_or_default()));
        if there.is_some() {
            continue;
        }
        if let Err(failure) = store.create(kind, name, object, false) {
            tracing::debug!(%failure, namespace = name, "not furnished");
        }
    }
}

fn empty(store: &Store, namespace: &Object) {
    let contents = store.contents(namespace.name());
    for key in &contents {
        let terminating = store.get(key).is_none_or(|object| object.is_terminating());
        if !terminating && let Err(failure) = store.delete(key, &DeleteOptions::default()) {
            tracing::debug!(%failure, "gone already");
        }
    }
    if contents.is_empty() {
        let key = Key::new(Kind::Namespace, "", namespace.name());
        let finished = store.update(&key, false, |present| {
            let mut next = present.value().clone();
            next["spec"]["finalizers"] = Value::Array(Vec::new());
            Ok(next)
        });
        if let Err(failure) = finished {
            tracing::debug!(%failure, "the namespace is gone already");
        }
    }
}
