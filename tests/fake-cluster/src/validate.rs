//! What the API server refuses: the checks that matter for the objects that an agent creates, in the server's words.

mod claim;
mod container;
mod data;
mod lease;
mod metadata;
mod names;
mod network_policy;
mod pod;
mod service;

use serde_json::Value;

use crate::failure::{Failure, FieldError};
use crate::kind::Kind;

/// Checks a new object.
pub(crate) fn new_object(kind: Kind, object: &Value) -> Result<(), Failure> {
    let mut errors = metadata::check(kind, &object["metadata"]);
    errors.extend(contents(kind, object));
    refuse(kind, object, &errors)
}

/// Checks the next version of an object against the one before.
pub(crate) fn update(kind: Kind, before: &Value, next: &Value) -> Result<(), Failure> {
    let mut errors = metadata::check(kind, &next["metadata"]);
    errors.extend(metadata::check_update(&before["metadata"], &next["metadata"]));
    // What makes an object valid cannot get lost where an update may not touch it.
    errors.extend(match kind {
        Kind::Pod => pod::check_update(&before["spec"], &next["spec"]),
        Kind::PersistentVolumeClaim => claim::check_update(before, next),
        _ => contents(kind, next),
    });
    errors.extend(match kind {
        Kind::ConfigMap | Kind::Secret => data::check_update(kind, before, next),
        _ => Vec::new(),
    });
    refuse(kind, next, &errors)
}

fn contents(kind: Kind, object: &Value) -> Vec<FieldError> {
    match kind {
        Kind::Pod => pod::check(&object["spec"]),
        Kind::ConfigMap | Kind::Secret => data::check(kind, object),
        Kind::PersistentVolumeClaim => claim::check(&object["spec"]),
        Kind::Service => service::check(&object["spec"]),
        Kind::Lease => lease::check(&object["spec"]),
        Kind::NetworkPolicy => network_policy::check(&object["spec"]),
        Kind::Event | Kind::Namespace | Kind::Node | Kind::ServiceAccount => Vec::new(),
    }
}

fn refuse(kind: Kind, object: &Value, errors: &[FieldError]) -> Result<(), Failure> {
    if errors.is_empty() {
        return Ok(());
    }
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    Err(Failure::invalid(kind.name(), kind.group(), name, errors))
}

/// A text field; empty if it is not there.
fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// Adds an error if `why` says that a value is wrong.
fn push(errors: &mut Vec<FieldError>, field: impl Into<String>, value: impl Into<Value>, why: Option<String>) {
    if let Some(why) = why {
        errors.push(FieldError::invalid(field, value, why));
    }
}
