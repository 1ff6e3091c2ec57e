//! Reading the options from JSON.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Toleration;
use piculet_core::workload::Problem;
use serde_json::{Map, Value};

use super::{NativeSecret, SecretTarget, StepOptions, security, weak};
use crate::names::{is_data_key, is_dns_name, is_label_key, is_label_value, is_variable_name};
use crate::settings::{Resources, toleration_problem};
use crate::{label, quantity, strict};

/// Reads all options; the second value says what was not understood.
pub(super) fn options(field: &str, map: &Map<String, Value>) -> Result<(StepOptions, Vec<Problem>), Vec<Problem>> {
    let mut reader = Reader::default();
    let mut options = StepOptions::default();
    reader.entries(field, map, |reader, key, field, value| {
        match key {
            "resources" => options.resources = resources(reader, field, value),
            "runtimeclassname" => options.runtime_class = reader.name(field, value),
            "serviceaccountname" => options.service_account = reader.name(field, value),
            "labels" => options.labels = labels(reader, field, value),
            "annotations" => options.annotations = annotations(reader, field, value),
            "nodeselector" => options.node_selector = node_selector(reader, field, value),
            "tolerations" => options.tolerations = tolerations(reader, field, value),
            "affinity" => options.affinity = reader.kubernetes(field, value),
            "securitycontext" => options.security = security::read(reader, field, value),
            "secrets" => options.secrets = secrets(reader, field, value),
            "workspacevolume" => options.workspace_volume = reader.take(field, weak::boolean(value)),
            "hostusers" => options.host_users = reader.take(field, weak::boolean(value)),
            _ => return false,
        }
        true
    });
    if reader.problems.is_empty() { Ok((options, reader.notes)) } else { Err(reader.problems) }
}

/// Collects what is wrong while it reads.
#[derive(Debug, Default)]
pub(super) struct Reader {
    problems: Vec<Problem>,
    notes: Vec<Problem>,
}

impl Reader {
    /// A value that makes no sense.
    pub(super) fn problem(&mut self, field: &str, message: impl Into<String>) {
        self.problems.push(Problem { code: "option-invalid", field: field.to_owned(), message: message.into() });
    }

    fn note(&mut self, code: &'static str, field: &str, message: impl Into<String>) {
        self.notes.push(Problem { code, field: field.to_owned(), message: message.into() });
    }

    /// The value, or a problem.
    pub(super) fn take<T>(&mut self, field: &str, value: Result<T, String>) -> Option<T> {
        value.map_err(|message| self.problem(field, message)).ok()
    }

    /// Hands each entry of a map to `read`, with its key in lower case; those that it doesn't know are said.
    pub(super) fn object(
        &mut self,
        field: &str,
        value: &Value,
        read: impl FnMut(&mut Self, &str, &str, &Value) -> bool,
    ) {
        match value {
            Value::Null => {}
            Value::Object(map) => self.entries(field, map, read),
            other => self.problem(field, weak::expected("a map", other)),
        }
    }

    fn entries(
        &mut self,
        field: &str,
        map: &Map<String, Value>,
        mut read: impl FnMut(&mut Self, &str, &str, &Value) -> bool,
    ) {
        for (key, value) in map {
            let field = format!("{field}.{key}");
            if !value.is_null() && !read(self, &key.to_lowercase(), &field, value) {
                self.note("option-unknown", &field, "there is no such option, so it was left out");
            }
        }
    }

    /// A map from strings to strings.
    fn strings_by_key(&mut self, field: &str, value: &Value) -> BTreeMap<String, String> {
        let mut strings = BTreeMap::new();
        match value {
            Value::Null => {}
            Value::Object(map) => {
                for (key, value) in map {
                    if let Some(text) = self.take(&format!("{field}.{key}"), weak::string(value)) {
                        strings.insert(key.clone(), text);
                    }
                }
            }
            other => self.problem(field, weak::expected("a map", other)),
        }
        strings
    }

    /// A list of strings that aren't empty.
    pub(super) fn strings(&mut self, field: &str, value: &Value) -> Vec<String> {
        let strings = weak::list(value).iter().map(|value| match weak::string(value) {
            Ok(text) if text.is_empty() => Err(weak::expected("a word", value)),
            other => other,
        });
        strings.enumerate().filter_map(|(i, text)| self.take(&format!("{field}[{i}]"), text)).collect()
    }

    /// The name of an object; an empty one is none.
    fn name(&mut self, field: &str, value: &Value) -> Option<String> {
        let name = self.take(field, weak::string(value)).filter(|name| !name.is_empty())?;
        if !is_dns_name(&name) {
            self.problem(field, format!("{name:?} can't be the name of an object"));
            return None;
        }
        Some(name)
    }

    /// A value in Kubernetes' own form.
    fn kubernetes<T>(&mut self, field: &str, value: &Value) -> Option<T>
    where
        T: serde::Serialize + serde::de::DeserializeOwned,
    {
        match strict::read(value.clone()) {
            Ok((typed, unknown)) => {
                for path in unknown {
                    self.note("option-unknown", field, format!("it has no field {path}, so that was left out"));
                }
                Some(typed)
            }
            Err(error) => {
                self.problem(field, error.to_string());
                None
            }
        }
    }
}

fn resources(reader: &mut Reader, field: &str, value: &Value) -> Resources {
    let mut resources = Resources::default();
    reader.object(field, value, |reader, key, field, value| {
        match key {
            "requests" => resources.requests = quantities(reader, field, value),
            "limits" => resources.limits = quantities(reader, field, value),
            _ => return false,
        }
        true
    });
    for (name, request) in &resources.requests {
        let limit = resources.limits.get(name);
        if let (Some(a), Some(b)) = (quantity::parse(request), limit.and_then(|limit| quantity::parse(limit)))
            && a > b
        {
            reader.problem(&format!("{field}.requests.{name}"), "the request is greater than the limit");
        }
    }
    resources
}

fn quantities(reader: &mut Reader, field: &str, value: &Value) -> BTreeMap<String, String> {
    let mut quantities = reader.strings_by_key(field, value);
    quantities.retain(|name, text| {
        let field = format!("{field}.{name}");
        if !quantity::is_resource(name) {
            let message =
                format!("{name:?} is no resource; use cpu, memory, ephemeral-storage, or one like nvidia.com/gpu");
            reader.problem(&field, message);
        } else if !quantity::is_quantity(text) {
            reader.problem(&field, format!("{text:?} is no quantity; write it as '500m', '2' or '10Gi'"));
        } else {
            return true;
        }
        false
    });
    quantities
}

/// Drops what the agent keeps for itself, and refuses what can't be a key.
fn retain_keys(reader: &mut Reader, field: &str, map: &mut BTreeMap<String, String>) {
    map.retain(|key, _| {
        let field = format!("{field}.{key}");
        if !is_label_key(key) {
            reader.problem(&field, format!("{key:?} is no key for a label or annotation"));
            return false;
        }
        if label::is_reserved(key) {
            reader.note("option-reserved", &field, "the agent sets it itself, so it was left out");
            return false;
        }
        true
    });
}

fn check_values(reader: &mut Reader, field: &str, map: &BTreeMap<String, String>) {
    for (key, value) in map {
        if !is_label_value(value) {
            reader.problem(&format!("{field}.{key}"), format!("{value:?} is no label value"));
        }
    }
}

fn labels(reader: &mut Reader, field: &str, value: &Value) -> BTreeMap<String, String> {
    let mut labels = reader.strings_by_key(field, value);
    retain_keys(reader, field, &mut labels);
    check_values(reader, field, &labels);
    labels
}

fn annotations(reader: &mut Reader, field: &str, value: &Value) -> BTreeMap<String, String> {
    let mut annotations = reader.strings_by_key(field, value);
    retain_keys(reader, field, &mut annotations);
    annotations
}

fn node_selector(reader: &mut Reader, field: &str, value: &Value) -> BTreeMap<String, String> {
    let selector = reader.strings_by_key(field, value);
    for key in selector.keys() {
        if !is_label_key(key) {
            reader.problem(&format!("{field}.{key}"), format!("{key:?} is no label key"));
        }
    }
    check_values(reader, field, &selector);
    selector
}

fn tolerations(reader: &mut Reader, field: &str, value: &Value) -> Vec<Toleration> {
    let mut tolerations = Vec::new();
    for (i, value) in weak::list(value).iter().enumerate() {
        let field = format!("{field}[{i}]");
        let mut toleration = Toleration::default();
        let problems = reader.problems.len();
        reader.object(&field, value, |reader, key, field, value| {
            let text = |reader: &mut Reader| reader.take(field, weak::string(value)).filter(|text| !text.is_empty());
            match key {
                "key" => toleration.key = text(reader),
                "operator" => toleration.operator = text(reader),
                "value" => toleration.value = text(reader),
                "effect" => toleration.effect = text(reader),
                "tolerationseconds" => toleration.toleration_seconds = reader.take(field, weak::integer(value)),
                _ => return false,
            }
            true
        });
        if problems == reader.problems.len()
            && let Some(message) = toleration_problem(&toleration)
        {
            reader.problem(&field, message);
        }
        tolerations.push(toleration);
    }
    tolerations
}

fn secrets(reader: &mut Reader, field: &str, value: &Value) -> Vec<NativeSecret> {
    let values = weak::list(value).iter().enumerate();
    values.filter_map(|(i, value)| secret(reader, &format!("{field}[{i}]"), value)).collect()
}

fn secret(reader: &mut Reader, field: &str, value: &Value) -> Option<NativeSecret> {
    let (mut name, mut key, mut variable, mut file) = (None, String::new(), String::new(), String::new());
    let problems = reader.problems.len();
    reader.object(field, value, |reader, entry, field, value| {
        match entry {
            "name" => name = reader.name(field, value),
            "key" => key = reader.take(field, weak::string(value)).unwrap_or_default(),
            "target" => reader.object(field, value, |reader, entry, field, value| {
                match entry {
                    "env" => variable = reader.take(field, weak::string(value)).unwrap_or_default(),
                    "file" => file = reader.take(field, weak::string(value)).unwrap_or_default(),
                    _ => return false,
                }
                true
            }),
            _ => return false,
        }
        true
    });
    if name.is_none() && reader.problems.len() == problems {
        reader.problem(&format!("{field}.name"), "it doesn't say which Secret");
    }
    let name = name?;
    if !key.is_empty() && !is_data_key(&key) {
        reader.problem(&format!("{field}.key"), format!("{key:?} can't be the key of a Secret"));
        return None;
    }
    let target = if !file.is_empty() {
        if !file.starts_with('/') || file.contains(':') {
            reader.problem(&format!("{field}.target.file"), format!("{file:?} is not an absolute path without ':'"));
            return None;
        }
        SecretTarget::File { key: Some(key).filter(|key| !key.is_empty()), path: file }
    } else if !key.is_empty() {
        let variable = if variable.is_empty() { key.to_uppercase() } else { variable };
        if !is_variable_name(&variable) {
            reader.problem(&format!("{field}.target.env"), format!("{variable:?} can't be the name of a variable"));
            return None;
        }
        SecretTarget::Variable { key, variable }
    } else if !variable.is_empty() {
        reader.problem(&format!("{field}.key"), "a variable takes one key of the Secret, and none is named");
        return None;
    } else {
        SecretTarget::Everything
    };
    Some(NativeSecret { name, target })
}
