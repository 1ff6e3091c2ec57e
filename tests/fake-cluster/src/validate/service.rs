//! The checks of services.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{names, push, text};
use crate::failure::FieldError;
use crate::object::list;

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];

pub(super) fn check(spec: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let kind = text(spec, "type");
    if !TYPES.contains(&kind) {
        errors.push(FieldError::not_supported("spec.type", kind, &TYPES));
    }
    let ports = list(&spec["ports"]).len();
    let headless = text(spec, "clusterIP") == "None";
    if ports == 0 && !headless && kind != "ExternalName" {
        errors.push(FieldError::required("spec.ports", ""));
    }
    let mut seen = BTreeSet::new();
    for (index, port) in list(&spec["ports"]).enumerate() {
        let path = format!("spec.ports[{index}]");
        let name = text(port, "name");
        if name.is_empty() && ports > 1 {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        } else if !name.is_empty() {
            push(&mut errors, format!("{path}.name"), name, names::dns_label(name));
            if !seen.insert(name) {
                errors.push(FieldError::duplicate(format!("{path}.name"), name));
            }
        }
        let number = port["port"].as_i64().unwrap_or_default();
        push(&mut errors, format!("{path}.port"), number, names::port(number));
    }
    for (key, value) in spec["selector"].as_object().into_iter().flatten() {
        push(&mut errors, "spec.selector", key.as_str(), names::qualified_name(key));
        push(&mut errors, "spec.selector", value.clone(), names::label_value(value.as_str().unwrap_or_default()));
    }
    errors
}
