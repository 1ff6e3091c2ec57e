//! What the API server refuses: the checks that matter for the objects that an agent creates, in the server's words.

mod metadata;
mod names;
mod pod;

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
    errors.extend(match kind {
        Kind::Pod => pod::check_update(before, next),
        Kind::Secret | Kind::ConfigMap => check_immutable(before, next),
        _ => Vec::new(),
    });
    if kind != Kind::Pod {
        errors.extend(contents(kind, next));
    }
    refuse(kind, next, &errors)
}

fn contents(kind: Kind, object: &Value) -> Vec<FieldError> {
    match kind {
        Kind::Pod => pod::check(object),
        _ => Vec::new(),
    }
}

fn check_immutable(_before: &Value, _next: &Value) -> Vec<FieldError> {
    Vec::new()
}

fn refuse(kind: Kind, object: &Value, errors: &[FieldError]) -> Result<(), Failure> {
    if errors.is_empty() {
        return Ok(());
    }
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    Err(Failure::invalid(kind.name(), kind.group(), name, errors))
}
