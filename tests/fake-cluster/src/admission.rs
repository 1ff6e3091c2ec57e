//! What the API server adds to an object before it is stored: defaults, and the work of its admission plugins.

mod claim;
mod network_policy;
mod pod;
pub(crate) mod pod_security;
mod service;

pub(crate) use claim::PROTECTION;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::classes::Classes;
use crate::failure::Failure;
use crate::kind::Kind;
use crate::store::Store;

/// Completes a new object.
pub(crate) fn of_new(
    store: &Store,
    classes: &Classes,
    kind: Kind,
    namespace: &str,
    mut object: Value,
) -> Result<Value, Failure> {
    object["kind"] = kind.name().into();
    object["apiVersion"] = kind.api_version().into();
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    if kind.has_status() && kind != Kind::Node {
        object["status"] = json!({});
    }
    match kind {
        Kind::Pod => pod::complete(store, classes, namespace, &mut object)?,
        Kind::Secret => fold_string_data(&mut object),
        Kind::Service => service::complete(store, namespace, &mut object),
        Kind::PersistentVolumeClaim => claim::complete(classes, &mut object),
        Kind::Namespace => {
            object["spec"]["finalizers"] = json!(["kubernetes"]);
            object["status"]["phase"] = "Active".into();
            let name = object["metadata"]["name"].clone();
            object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
        }
        Kind::NetworkPolicy => network_policy::complete(&mut object["spec"]),
        Kind::ConfigMap | Kind::Event | Kind::Lease | Kind::Node | Kind::ServiceAccount => {}
    }
    Ok(object)
}

/// Completes the next version of an object.
pub(crate) fn of_update(kind: Kind, mut object: Value) -> Value {
    object["kind"] = kind.name().into();
    object["apiVersion"] = kind.api_version().into();
    if kind == Kind::Secret {
        fold_string_data(&mut object);
    }
    object
}

/// `stringData` is only for writing: it becomes part of `data`.
fn fold_string_data(secret: &mut Value) {
    let given = secret.as_object_mut().and_then(|secret| secret.remove("stringData"));
    if let Some(Value::Object(given)) = given {
        for (key, value) in given {
            secret["data"][key] = BASE64.encode(value.as_str().unwrap_or_default()).into();
        }
    }
    or(secret, "type", || "Opaque".into());
}

/// Sets a field that is not there.
fn or(object: &mut Value, field: &str, value: impl FnOnce() -> Value) {
    if object[field].is_null() {
        object[field] = value();
    }
}

/// The elements of an array for writing; nothing if it is none.
fn each<'a>(object: &'a mut Value, field: &str) -> impl Iterator<Item = &'a mut Value> {
    object.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten()
}
