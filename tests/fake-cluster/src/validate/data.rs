//! The checks of config maps and secrets.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

use super::{names, push, text};
use crate::failure::FieldError;
use crate::kind::Kind;

/// All contents together may not be larger.
const LARGEST: usize = 1 << 20;
const DOCKER_CONFIG: &str = ".dockerconfigjson";

pub(super) fn check(kind: Kind, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut size = 0;
    for field in ["data", "binaryData"] {
        let encoded = kind == Kind::Secret || field == "binaryData";
        for (key, value) in object[field].as_object().into_iter().flatten() {
            push(&mut errors, format!("{field}[{key}]"), key.as_str(), names::data_key(key));
            let value = value.as_str().unwrap_or_default();
            size += if encoded { decoded_length(value) } else { value.len() };
        }
    }
    if size > LARGEST {
        // The path of a whole config map has no name, and is printed like this.
        errors.push(FieldError::too_long(if kind == Kind::Secret { "data" } else { "[]" }, LARGEST));
    }
    if kind == Kind::Secret && text(object, "type") == "kubernetes.io/dockerconfigjson" {
        check_docker_config(&object["data"], &mut errors);
    }
    errors
}

fn check_docker_config(data: &Value, errors: &mut Vec<FieldError>) {
    let field = format!("data[{DOCKER_CONFIG}]");
    match data[DOCKER_CONFIG].as_str() {
        None => errors.push(FieldError::required(field, "")),
        Some(encoded) => {
            let decoded = BASE64.decode(encoded).unwrap_or_default();
            if let Err(error) = serde_json::from_slice::<Value>(&decoded) {
                errors.push(FieldError::invalid(field, "<secret contents redacted>", error.to_string()));
            }
        }
    }
}

fn decoded_length(encoded: &str) -> usize {
    encoded.len() / 4 * 3 - encoded.bytes().rev().take_while(|byte| *byte == b'=').count()
}

pub(super) fn check_update(kind: Kind, before: &Value, next: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if before["immutable"] == true {
        let frozen: &[&str] = if kind == Kind::Secret { &["data"] } else { &["data", "binaryData"] };
        let why = "field is immutable when `immutable` is set";
        if next["immutable"] != true {
            errors.push(FieldError::forbidden("immutable", why));
        }
        for field in frozen.iter().filter(|field| next[**field] != before[**field]) {
            errors.push(FieldError::forbidden(*field, why));
        }
    }
    if kind == Kind::Secret && next["type"] != before["type"] {
        errors.push(FieldError::invalid("type", next["type"].clone(), "field is immutable"));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_what_base64_means() {
        for plain in ["", "a", "ab", "abc", "abcd"] {
            assert_eq!(decoded_length(&BASE64.encode(plain)), plain.len(), "{plain:?}");
        }
    }
}
