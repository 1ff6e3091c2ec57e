//! The checks of a pod's specification.

use std::collections::BTreeSet;

use serde_json::Value;

use super::names;
use crate::failure::FieldError;
use crate::object::list;

pub(super) fn check(pod: &Value) -> Vec<FieldError> {
    let spec = &pod["spec"];
    let mut errors = Vec::new();
    if list(&spec["containers"]).next().is_none() {
        errors.push(FieldError::required("spec.containers", ""));
    }
    let mut seen = BTreeSet::new();
    for kind in ["initContainers", "containers"] {
        for (index, container) in list(&spec[kind]).enumerate() {
            let name = container["name"].as_str().unwrap_or_default();
            let path = format!("spec.{kind}[{index}]");
            if name.is_empty() {
                errors.push(FieldError::required(format!("{path}.name"), ""));
            } else if let Some(why) = names::dns_label(name) {
                errors.push(FieldError::invalid(format!("{path}.name"), name, why));
            } else if !seen.insert(name) {
                errors.push(FieldError::duplicate(format!("{path}.name"), name));
            }
        }
    }
    errors
}

pub(super) fn check_update(_before: &Value, _next: &Value) -> Vec<FieldError> {
    Vec::new()
}
