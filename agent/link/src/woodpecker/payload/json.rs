//! The JSON itself: what is missing or null is empty, and what nobody knows is skipped.
//!
//! Nothing here implements `Debug`: most of it is, or may hold, secrets.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// A compiled workflow.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Config {
    pub(super) pipeline: Vec<Stage>,
    pub(super) volume: String,
    /// Every secret that the repository may see; for masking only.
    pub(super) secrets: Vec<SecretValue>,
}

/// Steps that may run together.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Stage {
    pub(super) steps: Vec<Step>,
}

/// One step.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Step {
    pub(super) name: String,
    pub(super) org_id: i64,
    pub(super) uuid: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) image: String,
    pub(super) pull: bool,
    pub(super) detach: bool,
    pub(super) privileged: bool,
    pub(super) working_dir: String,
    pub(super) environment: BTreeMap<String, String>,
    /// Those of `environment` that hold secrets.
    pub(super) secret_mapping: BTreeMap<String, String>,
    pub(super) entrypoint: Vec<String>,
    pub(super) commands: Vec<String>,
    pub(super) extra_hosts: Vec<Host>,
    /// `source:path[:mode]`; the first is the workspace.
    pub(super) volumes: Vec<String>,
    pub(super) dns: Vec<String>,
    pub(super) dns_search: Vec<String>,
    pub(super) on_failure: bool,
    pub(super) on_success: bool,
    pub(super) failure: String,
    pub(super) auth_config: Auth,
    pub(super) ports: Vec<Port>,
    /// By backend.
    pub(super) backend_options: BTreeMap<String, Value>,
    pub(super) workflow_labels: BTreeMap<String, String>,
}

/// A line of the hosts file.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) ip: String,
}

/// Credentials for the image's registry.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Auth {
    pub(super) username: String,
    pub(super) password: String,
}

/// A port of a service.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Port {
    pub(super) number: i64,
    pub(super) protocol: String,
}

/// A value to mask.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct SecretValue {
    pub(super) value: String,
}

/// Takes every null out: it says what a missing value says.
pub(super) fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name, without_nulls(value)))
            .collect(),
        Value::Array(values) => values.into_iter().filter(|value| !value.is_null()).map(without_nulls).collect(),
        other => other,
    }
}
