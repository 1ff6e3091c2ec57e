//! The checks of one container of a pod.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{names, push, text};
use crate::failure::FieldError;
use crate::object::list;
use crate::quantity::millis;

/// Checks a container at `path`, whose pod has these volumes.
pub(super) fn check(container: &Value, path: &str, volumes: &BTreeSet<&str>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let image = text(container, "image");
    if image.is_empty() {
        errors.push(FieldError::required(format!("{path}.image"), ""));
    } else if image.trim() != image {
        let why = "must not have leading or trailing whitespace";
        errors.push(FieldError::invalid(format!("{path}.image"), image, why));
    }
    for (index, variable) in list(&container["env"]).enumerate() {
        check_variable(variable, &format!("{path}.env[{index}]"), &mut errors);
    }
    for (index, source) in list(&container["envFrom"]).enumerate() {
        let path = format!("{path}.envFrom[{index}]");
        let prefix = text(source, "prefix");
        if !prefix.is_empty() {
            push(&mut errors, format!("{path}.prefix"), prefix, names::env_name(prefix));
        }
        if source["configMapRef"].is_null() && source["secretRef"].is_null() {
            let why = "must specify one of: `configMapRef` or `secretRef`";
            errors.push(FieldError::invalid(path, "", why));
        }
    }
    let mut targets = BTreeSet::new();
    for (index, mount) in list(&container["volumeMounts"]).enumerate() {
        check_mount(mount, &format!("{path}.volumeMounts[{index}]"), volumes, &mut targets, &mut errors);
    }
    for (index, port) in list(&container["ports"]).enumerate() {
        let path = format!("{path}.ports[{index}]");
        let number = port["containerPort"].as_i64().unwrap_or_default();
        push(&mut errors, format!("{path}.containerPort"), number, names::port(number));
        let protocol = text(port, "protocol");
        let known = ["SCTP", "TCP", "UDP"];
        if !known.contains(&protocol) {
            errors.push(FieldError::not_supported(format!("{path}.protocol"), protocol, &known));
        }
    }
    let policy = text(container, "imagePullPolicy");
    let known = ["Always", "IfNotPresent", "Never"];
    if !known.contains(&policy) {
        errors.push(FieldError::not_supported(format!("{path}.imagePullPolicy"), policy, &known));
    }
    check_resources(&container["resources"], &format!("{path}.resources"), &mut errors);
    check_security(&container["securityContext"], &format!("{path}.securityContext"), &mut errors);
    errors
}

fn check_variable(variable: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let name = text(variable, "name");
    if name.is_empty() {
        errors.push(FieldError::required(format!("{path}.name"), ""));
    } else {
        push(errors, format!("{path}.name"), name, names::env_name(name));
    }
    let Some(sources) = variable["valueFrom"].as_object() else { return };
    let path = format!("{path}.valueFrom");
    if sources.is_empty() {
        let why = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or \
                   `fileKeyRef`";
        errors.push(FieldError::invalid(path, "", why));
        return;
    }
    if !text(variable, "value").is_empty() {
        errors.push(FieldError::invalid(path.as_str(), "", "may not be specified when `value` is not empty"));
    }
    if sources.len() > 1 {
        errors.push(FieldError::invalid(path.as_str(), "", "may not have more than one field specified at a time"));
    }
    for source in ["secretKeyRef", "configMapKeyRef"] {
        let reference = &variable["valueFrom"][source];
        if reference.is_object() {
            let key = text(reference, "key");
            let path = format!("{path}.{source}.key");
            if key.is_empty() {
                errors.push(FieldError::required(path, ""));
            } else {
                push(errors, path, key, names::data_key(key));
            }
        }
    }
}

fn check_mount<'a>(
    mount: &'a Value,
    path: &str,
    volumes: &BTreeSet<&str>,
    targets: &mut BTreeSet<&'a str>,
    errors: &mut Vec<FieldError>,
) {
    let name = text(mount, "name");
    if name.is_empty() {
        errors.push(FieldError::required(format!("{path}.name"), ""));
    } else if !volumes.contains(name) {
        errors.push(FieldError::not_found(format!("{path}.name"), name));
    }
    let target = text(mount, "mountPath");
    if target.is_empty() {
        errors.push(FieldError::required(format!("{path}.mountPath"), ""));
    } else if !targets.insert(target) {
        errors.push(FieldError::invalid(format!("{path}.mountPath"), target, "must be unique"));
    }
    let part = text(mount, "subPath");
    if part.starts_with('/') {
        errors.push(FieldError::invalid(format!("{path}.subPath"), part, "must be a relative path"));
    }
    if part.split('/').any(|step| step == "..") {
        errors.push(FieldError::invalid(format!("{path}.subPath"), part, "must not contain '..'"));
    }
}

fn check_resources(resources: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for (name, request) in resources["requests"].as_object().into_iter().flatten() {
        let (request, limit) = (request.as_str().unwrap_or_default(), resources["limits"][name].as_str());
        if let Some(limit) = limit
            && millis(request) > millis(limit)
        {
            let why = format!("must be less than or equal to {name} limit of {limit}");
            errors.push(FieldError::invalid(format!("{path}.requests"), request, why));
        }
    }
}

fn check_security(security: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if security["allowPrivilegeEscalation"] != false {
        return;
    }
    if security["privileged"] == true {
        let why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
        errors.push(FieldError::invalid(path, security.clone(), why));
    }
    if list(&security["capabilities"]["add"]).any(|one| one == "CAP_SYS_ADMIN") {
        let why = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
        errors.push(FieldError::invalid(path, security.clone(), why));
    }
}
