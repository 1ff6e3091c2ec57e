//! The checks of a pod's specification.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::Value;

use super::{container, names, push, text};
use crate::failure::FieldError;
use crate::object::list;

pub(super) fn check(spec: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let volumes = check_volumes(spec, &mut errors);
    if list(&spec["containers"]).next().is_none() {
        errors.push(FieldError::required("spec.containers", ""));
    }
    let mut seen = BTreeSet::new();
    for kind in ["containers", "initContainers"] {
        for (index, one) in list(&spec[kind]).enumerate() {
            let path = format!("spec.{kind}[{index}]");
            let name = text(one, "name");
            if name.is_empty() {
                errors.push(FieldError::required(format!("{path}.name"), ""));
            } else if let Some(why) = names::dns_label(name) {
                errors.push(FieldError::invalid(format!("{path}.name"), name, why));
            } else if !seen.insert(name) {
                errors.push(FieldError::duplicate(format!("{path}.name"), name));
            }
            errors.extend(container::check(one, &path, &volumes));
        }
    }
    check_life(spec, &mut errors);
    check_place(spec, &mut errors);
    check_network(spec, &mut errors);
    errors
}

fn check_volumes<'a>(spec: &'a Value, errors: &mut Vec<FieldError>) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    for (index, volume) in list(&spec["volumes"]).enumerate() {
        let path = format!("spec.volumes[{index}]");
        let name = text(volume, "name");
        if name.is_empty() {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        } else if let Some(why) = names::dns_label(name) {
            errors.push(FieldError::invalid(format!("{path}.name"), name, why));
        } else if !seen.insert(name) {
            errors.push(FieldError::duplicate(format!("{path}.name"), name));
        }
        let sources = volume.as_object().map_or(0, |volume| volume.len().saturating_sub(1));
        if sources > 1 {
            errors.push(FieldError::forbidden(path.as_str(), "may not specify more than 1 volume type"));
        }
        if let Some(claim) = volume.get("persistentVolumeClaim")
            && text(claim, "claimName").is_empty()
        {
            errors.push(FieldError::required(format!("{path}.persistentVolumeClaim.claimName"), ""));
        }
    }
    seen
}

fn check_life(spec: &Value, errors: &mut Vec<FieldError>) {
    let policy = text(spec, "restartPolicy");
    let known = ["Always", "Never", "OnFailure"];
    if !known.contains(&policy) {
        errors.push(FieldError::not_supported("spec.restartPolicy", policy, &known));
    }
    let possible = 1..=i64::from(i32::MAX);
    if let Some(seconds) = spec["activeDeadlineSeconds"].as_i64().filter(|seconds| !possible.contains(seconds)) {
        let why = "must be between 1 and 2147483647, inclusive";
        errors.push(FieldError::invalid("spec.activeDeadlineSeconds", seconds, why));
    }
    if let Some(seconds) = spec["terminationGracePeriodSeconds"].as_i64().filter(|seconds| *seconds < 0) {
        let why = "must be greater than or equal to 0";
        errors.push(FieldError::invalid("spec.terminationGracePeriodSeconds", seconds, why));
    }
}

fn check_place(spec: &Value, errors: &mut Vec<FieldError>) {
    for (key, value) in spec["nodeSelector"].as_object().into_iter().flatten() {
        push(errors, "spec.nodeSelector", key.as_str(), names::qualified_name(key));
        push(errors, "spec.nodeSelector", value.clone(), names::label_value(value.as_str().unwrap_or_default()));
    }
    for (index, toleration) in list(&spec["tolerations"]).enumerate() {
        if text(toleration, "key").is_empty() && text(toleration, "operator") != "Exists" {
            let why = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            let path = format!("spec.tolerations[{index}].operator");
            errors.push(FieldError::invalid(path, text(toleration, "operator"), why));
        }
    }
    let account = text(spec, "serviceAccountName");
    push(errors, "spec.serviceAccountName", account, names::dns_subdomain(account));
    if let Some(node) = spec["nodeName"].as_str() {
        push(errors, "spec.nodeName", node, names::dns_subdomain(node));
    }
}

fn check_network(spec: &Value, errors: &mut Vec<FieldError>) {
    for field in ["hostname", "subdomain"] {
        let name = text(spec, field);
        if !name.is_empty() {
            push(errors, format!("spec.{field}"), name, names::dns_label(name));
        }
    }
    let address = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
    for (index, alias) in list(&spec["hostAliases"]).enumerate() {
        let path = format!("spec.hostAliases[{index}]");
        if text(alias, "ip").parse::<IpAddr>().is_err() {
            errors.push(FieldError::invalid(format!("{path}.ip"), text(alias, "ip"), address));
        }
        for name in list(&alias["hostnames"]).filter_map(Value::as_str) {
            push(errors, format!("{path}.hostnames"), name, names::dns_subdomain(name));
        }
    }
    let servers = list(&spec["dnsConfig"]["nameservers"]);
    if servers.len() > 3 {
        let value = spec["dnsConfig"]["nameservers"].clone();
        let why = "must not have more than 3 nameservers";
        errors.push(FieldError::invalid("spec.dnsConfig.nameservers", value, why));
    }
    for (index, server) in servers.filter_map(Value::as_str).enumerate() {
        if server.parse::<IpAddr>().is_err() {
            errors.push(FieldError::invalid(format!("spec.dnsConfig.nameservers[{index}]"), server, address));
        }
    }
}

/// Only images, the deadline and further tolerations may be changed in a pod that exists.
pub(super) fn check_update(before: &Value, next: &Value) -> Vec<FieldError> {
    let frozen = |spec: &Value| {
        let mut spec = spec.clone();
        for kind in ["containers", "initContainers"] {
            for container in spec.get_mut(kind).and_then(Value::as_array_mut).into_iter().flatten() {
                container["image"] = Value::Null;
            }
        }
        spec["activeDeadlineSeconds"] = Value::Null;
        spec["tolerations"] = Value::Null;
        spec
    };
    let mut errors = Vec::new();
    let kept = list(&before["tolerations"]).all(|old| list(&next["tolerations"]).any(|new| new == old));
    if frozen(before) != frozen(next) || !kept {
        errors.push(FieldError::forbidden(
            "spec",
            "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,\
             `spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),\
             `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
        ));
    }
    let (old, new) = (before["activeDeadlineSeconds"].as_i64(), next["activeDeadlineSeconds"].as_i64());
    if let Some(old) = old {
        let field = "spec.activeDeadlineSeconds";
        match new {
            None => errors.push(FieldError::invalid(
                field,
                Value::Null,
                "must not update from a positive integer to nil value",
            )),
            Some(new) if new > old => {
                errors.push(FieldError::invalid(
                    field,
                    new,
                    format!("must be less than or equal to previous value: {old}"),
                ));
            }
            Some(_) => {}
        }
    }
    errors
}
