//! The block `pods`: what `piculet-pods` reads, in whatever layer and however deep a part of it was given.

use std::collections::BTreeMap;

use piculet_pods::Settings;
use piculet_pods::settings::Profile;
use serde_json::Value;

use super::layers::{ConfigError, PODS, Source};

const PROFILE: &str = "pods.profile";

/// Reads the block from values by key. Each is read by itself, so that one that is wrong hides no other; and what is
/// said of a part (`pods.security.fs_group`) wins over what is said of the whole (`pods.security`).
///
/// `base` is what holds where nobody says anything; a profile that is given says for itself what does.
pub(super) fn read(
    base: &Settings,
    values: BTreeMap<String, (Value, Source)>,
    errors: &mut Vec<ConfigError>,
) -> Settings {
    let defaults = defaults();
    let profile = values.get(PROFILE).and_then(|(value, _)| serde_json::from_value::<Profile>(value.clone()).ok());
    let base = profile.map_or_else(|| base.clone(), |profile| base.clone().under(profile));
    let mut good = serde_json::to_value(base).unwrap_or_default();
    let sources: Vec<_> = values.iter().map(|(key, (_, source))| (key.clone(), source.clone())).collect();
    for (key, (value, source)) in values {
        let path = path(key.strip_prefix("pods.").unwrap_or(&key), &defaults);
        let alone = |value: Value| path.iter().rev().fold(value, |inner, name| Value::from_iter([(*name, inner)]));
        let is_good = |value: &Value| serde_json::from_value::<Settings>(alone(value.clone())).map(drop);
        // A text that looks like a number (`volume_size: 0`) is a text where one is asked for.
        let text = || {
            Some(Value::String(value.to_string()))
                .filter(|text| (value.is_number() || value.is_boolean()) && is_good(text).is_ok())
        };
        match is_good(&value) {
            Ok(()) => merge(&mut good, alone(value)),
            Err(error) => match text() {
                Some(text) => merge(&mut good, alone(text)),
                None => errors.push(ConfigError { key, source, message: error.to_string() }),
            },
        }
    }
    let settings: Settings = serde_json::from_value(good).unwrap_or_default();
    for problem in settings.check() {
        let key = format!("{PODS}.{}", problem.field);
        let source = said_by(&key, &sources).unwrap_or(Source::Nowhere);
        errors.push(ConfigError { key, source, message: problem.message });
    }
    settings
}

/// Who said the field that a problem is about, or the whole that it is a part of.
fn said_by(key: &str, sources: &[(String, Source)]) -> Option<Source> {
    let is_above =
        |above: &str| key.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
    let (_, source) = sources.iter().filter(|(above, _)| is_above(above)).max_by_key(|(above, _)| above.len())?;
    Some(source.clone())
}

/// The key of a variable: `SECURITY_RUN_AS_USER` (what follows `PICULET_PODS_`) is `security.run_as_user`.
pub(super) fn key_of_variable(rest: &str) -> String {
    let mut keys = Vec::new();
    collect(&defaults(), "", &mut keys);
    let known = keys.into_iter().find(|key| key.replace('.', "_").eq_ignore_ascii_case(rest));
    known.unwrap_or_else(|| rest.to_lowercase())
}

/// All fields as they are by default; those that hold others stand there with these.
fn defaults() -> Value {
    serde_json::to_value(Settings::default()).unwrap_or_default()
}

fn collect(value: &Value, prefix: &str, keys: &mut Vec<String>) {
    let Value::Object(fields) = value else { return };
    for (name, inner) in fields {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        collect(inner, &key, keys);
        keys.push(key);
    }
}

/// The names from the block to the value. What follows the name of a map is one key of it, dots included:
/// `node_selector.kubernetes.io/arch`.
fn path<'a>(key: &'a str, defaults: &Value) -> Vec<&'a str> {
    match key.split_once('.') {
        None => vec![key],
        Some((name, rest)) => match &defaults[name] {
            Value::Object(fields) if fields.is_empty() => vec![name, rest],
            inner => [vec![name], path(rest, inner)].concat(),
        },
    }
}

fn merge(into: &mut Value, new: Value) {
    match (into, new) {
        (Value::Object(into), Value::Object(new)) => {
            for (name, value) in new {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, new) => *into = new,
    }
}
