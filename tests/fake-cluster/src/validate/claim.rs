//! The checks of persistent volume claims.

use serde_json::Value;

use crate::failure::FieldError;
use crate::object::list;
use crate::quantity::millis;

const MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

pub(super) fn check(spec: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if list(&spec["accessModes"]).next().is_none() {
        errors.push(FieldError::required("spec.accessModes", "at least 1 access mode is required"));
    }
    for mode in list(&spec["accessModes"]).filter_map(Value::as_str).filter(|mode| !MODES.contains(mode)) {
        errors.push(FieldError::not_supported("spec.accessModes", mode, &MODES));
    }
    match spec["resources"]["requests"]["storage"].as_str() {
        None => errors.push(FieldError::required("spec.resources[storage]", "")),
        Some(size) if millis(size) == Some(0) => {
            errors.push(FieldError::invalid("spec.resources[storage]", size, "must be greater than zero"));
        }
        Some(_) => {}
    }
    errors
}

/// Only the size of a bound claim may grow.
pub(super) fn check_update(before: &Value, next: &Value) -> Vec<FieldError> {
    let frozen = |claim: &Value| {
        let mut spec = claim["spec"].clone();
        spec["resources"] = Value::Null;
        spec["volumeAttributesClassName"] = Value::Null;
        spec
    };
    let bound = before["status"]["phase"] == "Bound";
    let resized = before["spec"]["resources"] != next["spec"]["resources"];
    if frozen(before) == frozen(next) && (bound || !resized) {
        return Vec::new();
    }
    let why =
        "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
    vec![FieldError::forbidden("spec", why)]
}
