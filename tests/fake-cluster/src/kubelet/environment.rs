//! What a container is to see of secrets, config maps and its own pod: environment and files.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use k8s_openapi::api::core::v1::{Container, EnvVar, ObjectFieldSelector, Pod};
use serde_json::Value;

use crate::kind::Kind;
use crate::object::{Key, list};
use crate::runtime::VolumeFiles;
use crate::store::Store;

/// Resolves the environment of one container, and gives the values in it that come from secrets. The error is the
/// sentence of `CreateContainerConfigError`.
pub(super) fn resolve(store: &Store, pod: &Pod, container: &mut Container) -> Result<Vec<String>, String> {
    let mut secrets = Vec::new();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let mut found: Vec<(String, String)> = Vec::new();
    for source in container.env_from.take().into_iter().flatten() {
        let prefix = source.prefix.unwrap_or_default();
        let (kind, name, optional) = match (source.config_map_ref, source.secret_ref) {
            (Some(map), _) => (Kind::ConfigMap, map.name, map.optional),
            (_, Some(secret)) => (Kind::Secret, secret.name, secret.optional),
            _ => continue,
        };
        match data(store, kind, namespace, &name) {
            Some(data) => {
                for (key, value) in data {
                    let value = String::from_utf8_lossy(&value).into_owned();
                    if kind == Kind::Secret {
                        secrets.push(value.clone());
                    }
                    set(&mut found, format!("{prefix}{key}"), value);
                }
            }
            None if optional == Some(true) => {}
            None => return Err(format!("{} {name:?} not found", kind.singular())),
        }
    }
    for variable in container.env.take().into_iter().flatten() {
        let value = match variable.value_from {
            None => Some(expand(&variable.value.unwrap_or_default(), &found)),
            Some(from) => {
                if let Some(field) = from.field_ref {
                    Some(pod_field(pod, &field))
                } else if let Some(reference) = from.secret_key_ref {
                    let name = &reference.name;
                    let value = entry(store, Kind::Secret, namespace, name, &reference.key, reference.optional)?;
                    secrets.extend(value.clone());
                    value
                } else if let Some(reference) = from.config_map_key_ref {
                    let name = &reference.name;
                    entry(store, Kind::ConfigMap, namespace, name, &reference.key, reference.optional)?
                } else {
                    Some(String::new())
                }
            }
        };
        if let Some(value) = value {
            set(&mut found, variable.name, value);
        }
    }
    for words in [&mut container.command, &mut container.args] {
        for word in words.iter_mut().flatten() {
            *word = expand(word, &found);
        }
    }
    let plain = |(name, value)| EnvVar { name, value: Some(value), value_from: None };
    container.env = Some(found.into_iter().map(plain).collect());
    Ok(secrets)
}

/// The files of those volumes of a pod that are made of objects. The error names the volume and says what is missing.
pub(super) fn volume_files(store: &Store, pod: &Pod) -> Result<VolumeFiles, (String, String)> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let mut volumes = VolumeFiles::new();
    let all = pod.spec.iter().filter_map(|spec| spec.volumes.as_ref()).flatten();
    for volume in all.filter(|volume| is_mounted(pod, &volume.name)) {
        let Ok(source) = serde_json::to_value(volume) else { continue };
        let mut files = BTreeMap::new();
        let said = |why: String| (volume.name.clone(), why);
        let mut any = false;
        for (field, name_field) in [("secret", "secretName"), ("configMap", "name")] {
            if source[field].is_object() {
                any = true;
                project(store, namespace, &source[field], field, name_field, &mut files).map_err(said)?;
            }
        }
        let own = [&source["downwardAPI"]].into_iter().filter(|own| own.is_object());
        let projected = list(&source["projected"]["sources"]).map(|source| &source["downwardAPI"]);
        for items in own.chain(projected.filter(|items| items.is_object())) {
            any = true;
            for item in list(&items["items"]) {
                let field = item["fieldRef"]["fieldPath"].as_str().unwrap_or_default().to_owned();
                let value = pod_field(pod, &ObjectFieldSelector { api_version: None, field_path: field });
                files.insert(item["path"].as_str().unwrap_or_default().to_owned(), value.into());
            }
        }
        for part in list(&source["projected"]["sources"]) {
            any = true;
            for field in ["secret", "configMap"] {
                if part[field].is_object() {
                    project(store, namespace, &part[field], field, "name", &mut files).map_err(said)?;
                }
            }
            if let Some(path) = part["serviceAccountToken"]["path"].as_str() {
                // The fake knows a user by the token; nobody may be it by this one.
                let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref());
                let token = format!("system:serviceaccount:{namespace}:{}", account.unwrap_or("default"));
                files.insert(path.to_owned(), token.into());
            }
        }
        if any {
            volumes.insert(volume.name.clone(), files);
        }
    }
    Ok(volumes)
}

/// Whether a container uses the volume: a kubelet does not even look at others.
fn is_mounted(pod: &Pod, volume: &str) -> bool {
    let spec = pod.spec.as_ref();
    let containers = spec.map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
    let mounts = containers.into_iter().flatten().flat_map(|container| container.volume_mounts.iter().flatten());
    mounts.into_iter().any(|mount| mount.name == volume)
}

/// The values of secrets in the files of those volumes that are made of secrets.
pub(super) fn secrets_in(pod: &Pod, volumes: &VolumeFiles) -> Vec<String> {
    let all = pod.spec.iter().filter_map(|spec| spec.volumes.as_ref()).flatten();
    let secret = all.filter(|volume| volume.secret.is_some()).filter_map(|volume| volumes.get(&volume.name));
    secret.flat_map(BTreeMap::values).map(|value| String::from_utf8_lossy(value).into_owned()).collect()
}

/// Puts a secret or a config map, or some of its keys, into files.
fn project(
    store: &Store,
    namespace: &str,
    source: &Value,
    field: &str,
    name_field: &str,
    files: &mut BTreeMap<String, Bytes>,
) -> Result<(), String> {
    let kind = if field == "secret" { Kind::Secret } else { Kind::ConfigMap };
    let name = source[name_field].as_str().unwrap_or_default();
    let optional = source["optional"].as_bool() == Some(true);
    let Some(data) = data(store, kind, namespace, name) else {
        return if optional { Ok(()) } else { Err(format!("{} {name:?} not found", kind.singular())) };
    };
    if !source["items"].is_array() {
        files.extend(data);
        return Ok(());
    }
    for item in list(&source["items"]) {
        let key = item["key"].as_str().unwrap_or_default();
        match data.get(key) {
            Some(value) => {
                files.insert(item["path"].as_str().unwrap_or_default().to_owned(), value.clone());
            }
            None if optional => {}
            None => return Err(format!("references non-existent {} key: {key}", kind.singular())),
        }
    }
    Ok(())
}

fn entry(
    store: &Store,
    kind: Kind,
    namespace: &str,
    name: &str,
    key: &str,
    optional: Option<bool>,
) -> Result<Option<String>, String> {
    let optional = optional == Some(true);
    let Some(data) = data(store, kind, namespace, name) else {
        return if optional { Ok(None) } else { Err(format!("{} {name:?} not found", kind.singular())) };
    };
    match data.get(key) {
        Some(value) => Ok(Some(String::from_utf8_lossy(value).into_owned())),
        None if optional => Ok(None),
        None => Err(format!("couldn't find key {key} in {} {namespace}/{name}", kind.name())),
    }
}

/// The decoded contents of a secret or a config map.
fn data(store: &Store, kind: Kind, namespace: &str, name: &str) -> Option<BTreeMap<String, Bytes>> {
    let object = store.get(&Key::new(kind, namespace, name))?;
    let mut found = BTreeMap::new();
    let encoded = if kind == Kind::Secret { "data" } else { "binaryData" };
    for (key, value) in object.value()[encoded].as_object().into_iter().flatten() {
        let bytes = BASE64.decode(value.as_str().unwrap_or_default()).unwrap_or_default();
        found.insert(key.clone(), bytes.into());
    }
    if kind == Kind::ConfigMap {
        for (key, value) in object.value()["data"].as_object().into_iter().flatten() {
            found.insert(key.clone(), Bytes::from(value.as_str().unwrap_or_default().to_owned()));
        }
    }
    Some(found)
}

fn set(found: &mut Vec<(String, String)>, name: String, value: String) {
    match found.iter_mut().find(|(known, _)| *known == name) {
        Some((_, old)) => *old = value,
        None => found.push((name, value)),
    }
}

/// A field of the pod, as the downward API gives it.
fn pod_field(pod: &Pod, selector: &ObjectFieldSelector) -> String {
    let Ok(value) = serde_json::to_value(pod) else { return String::new() };
    let path = selector.field_path.as_str();
    if let Some((map, key)) = path.strip_suffix("']").and_then(|path| path.split_once("['")) {
        let found = map.split('.').fold(&value, |value, field| &value[field]);
        return found[key].as_str().unwrap_or_default().to_owned();
    }
    match path.split('.').fold(&value, |value, field| &value[field]) {
        Value::String(text) => text.clone(),
        Value::Object(map) => {
            let line = |(key, value): (&String, &Value)| format!("{key}={value}");
            map.iter().map(line).collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    }
}

/// Replaces `$(NAME)` by the value of a variable that is known; `$$` is a dollar sign.
fn expand(text: &str, known: &[(String, String)]) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        if let Some(escaped) = after.strip_prefix('$') {
            expanded.push('$');
            rest = escaped;
        } else if let Some((name, behind)) = after.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match known.iter().find(|(known, _)| known == name) {
                Some((_, value)) => expanded.push_str(value),
                None => {
                    expanded.push_str("$(");
                    expanded.push_str(name);
                    expanded.push(')');
                }
            }
            rest = behind;
        } else {
            expanded.push('$');
            rest = after;
        }
    }
    expanded.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests {
    use super::expand;

    #[test]
    fn variables_are_expanded_as_a_kubelet_does() {
        let known = [("A".to_owned(), "1".to_owned()), ("EMPTY".to_owned(), String::new())];
        for (text, expected) in [
            ("$(A)", "1"),
            ("x$(A)y$(EMPTY)z", "x1yz"),
            ("$$(A)", "$(A)"),
            ("$$$$", "$$"),
            ("$(UNKNOWN)", "$(UNKNOWN)"),
            ("$A ${A} $", "$A ${A} $"),
            ("$(A", "$(A"),
        ] {
            assert_eq!(expand(text, &known), expected, "{text:?}");
        }
    }
}
