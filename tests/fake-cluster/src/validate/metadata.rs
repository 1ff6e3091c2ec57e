//! The checks that all kinds share: `metadata`.

use serde_json::Value;

use super::names;
use crate::failure::FieldError;
use crate::kind::Kind;
use crate::object::list;

/// All annotations together may not be larger.
const LARGEST_ANNOTATIONS: usize = 256 << 10;
/// Finalizers without a domain that the server itself knows.
const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];

pub(super) fn check(kind: Kind, metadata: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    check_name(kind, metadata, &mut errors);
    for (key, value) in metadata["labels"].as_object().into_iter().flatten() {
        if let Some(why) = names::qualified_name(key) {
            errors.push(FieldError::invalid("metadata.labels", key.as_str(), why));
        }
        if let Some(why) = names::label_value(value.as_str().unwrap_or_default()) {
            errors.push(FieldError::invalid("metadata.labels", value.clone(), why));
        }
    }
    let mut size = 0;
    for (key, value) in metadata["annotations"].as_object().into_iter().flatten() {
        if let Some(why) = names::qualified_name(&key.to_lowercase()) {
            errors.push(FieldError::invalid("metadata.annotations", key.as_str(), why));
        }
        size += key.len() + value.as_str().unwrap_or_default().len();
    }
    if size > LARGEST_ANNOTATIONS {
        errors.push(FieldError::too_long("metadata.annotations", LARGEST_ANNOTATIONS));
    }
    for finalizer in list(&metadata["finalizers"]).filter_map(Value::as_str) {
        if let Some(why) = names::qualified_name(finalizer) {
            errors.push(FieldError::invalid("metadata.finalizers", finalizer, why));
        } else if !finalizer.contains('/') && !STANDARD_FINALIZERS.contains(&finalizer) {
            let why = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(FieldError::invalid("metadata.finalizers", finalizer, why));
        }
    }
    for owner in list(&metadata["ownerReferences"]) {
        for field in ["apiVersion", "kind", "name", "uid"] {
            if owner[field].as_str().unwrap_or_default().is_empty() {
                let path = format!("metadata.ownerReferences.{field}");
                let why = if field == "apiVersion" { "version must not be empty" } else { "must not be empty" };
                errors.push(FieldError::invalid(path, "", why));
            }
        }
    }
    if list(&metadata["ownerReferences"]).filter(|owner| owner["controller"] == true).count() > 1 {
        let why = "Only one reference can have Controller set to true";
        errors.push(FieldError::invalid("metadata.ownerReferences", metadata["ownerReferences"].clone(), why));
    }
    errors
}

/// An object that is being deleted takes no new finalizers.
pub(super) fn check_update(before: &Value, next: &Value) -> Vec<FieldError> {
    let known = |finalizer: &&Value| !list(&before["finalizers"]).any(|old| old == *finalizer);
    let new: Vec<String> = list(&next["finalizers"]).filter(known).map(Value::to_string).collect();
    if before["deletionTimestamp"].is_null() || new.is_empty() {
        return Vec::new();
    }
    let why = format!(
        "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
        new.join(", ")
    );
    vec![FieldError::forbidden("metadata.finalizers", why)]
}

fn check_name(kind: Kind, metadata: &Value, errors: &mut Vec<FieldError>) {
    let name = metadata["name"].as_str().unwrap_or_default();
    let prefix = metadata["generateName"].as_str().unwrap_or_default();
    let form = match kind {
        Kind::Namespace => names::dns_label,
        Kind::Service => names::dns_1035_label,
        _ => names::dns_subdomain,
    };
    if name.is_empty() && prefix.is_empty() {
        errors.push(FieldError::required("metadata.name", "name or generateName is required"));
        return;
    }
    // A prefix may end in what a name may not: letters follow it.
    if name.is_empty()
        && let Some(why) = form(&format!("{}a", prefix.trim_end_matches(['-', '.'])))
    {
        errors.push(FieldError::invalid("metadata.generateName", prefix, why));
    }
    if !name.is_empty()
        && let Some(why) = form(name)
    {
        errors.push(FieldError::invalid("metadata.name", name, why));
    }
}
