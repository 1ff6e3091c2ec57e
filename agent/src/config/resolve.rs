//! From layers to a configuration that can be used.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};

use super::Config;
use super::layers::{ConfigError, Layers, PODS, Source};
use super::settings::SETTINGS;

/// What the machine says, where the configuration says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Host {
    /// The host name: the agent's name.
    pub name: String,
    /// Whether this is a pod with a service account.
    pub in_cluster: bool,
    /// The user's kubeconfig: `KUBECONFIG`, else `~/.kube/config`. Used outside a cluster.
    pub kubeconfig: Option<PathBuf>,
}

/// Resolves the layers.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn resolve(layers: Layers, host: &Host) -> Result<Config, Vec<ConfigError>> {
    let Layers { mut values, mut errors } = layers;
    let mut config = Config::default();
    let has_server = values.contains_key("server.address");
    for setting in SETTINGS {
        let Some((value, source)) = values.remove(setting.key) else { continue };
        if let Err(message) = (setting.set)(&mut config, value) {
            errors.push(ConfigError { key: setting.key.to_owned(), source, message });
        }
    }
    pods(&mut config, values.into_iter().collect(), &mut errors);
    if config.agent.name.is_empty() {
        config.agent.name.clone_from(&host.name);
    }
    if config.kubernetes.kubeconfig.is_none() && !host.in_cluster {
        config.kubernetes.kubeconfig.clone_from(&host.kubeconfig);
    }
    config.limits.grace = Duration::from_secs(u64::from(config.pods.stop_timeout_seconds));
    whole(&config, has_server, &mut errors);
    if errors.is_empty() { Ok(config) } else { Err(errors) }
}

/// What the pods look like, and nothing else: no server is needed to plan.
///
/// # Errors
/// Everything that is wrong with that, and keys that don't exist.
pub fn pod_settings(layers: Layers) -> Result<piculet_pods::Settings, Vec<ConfigError>> {
    let Layers { values, mut errors } = layers;
    let prefix = format!("{PODS}.");
    let mut config = Config::default();
    pods(&mut config, values.into_iter().filter(|(key, _)| key.starts_with(&prefix)).collect(), &mut errors);
    if errors.is_empty() { Ok(config.pods) } else { Err(errors) }
}

/// The block that `piculet-pods` reads: each field by itself, so that one wrong field doesn't hide another.
fn pods(config: &mut Config, fields: Vec<(String, (Value, Source))>, errors: &mut Vec<ConfigError>) {
    let mut good = Map::new();
    for (key, (value, source)) in fields {
        let field = key.strip_prefix("pods.").unwrap_or(&key).to_owned();
        let alone = Map::from_iter([(field.clone(), value.clone())]);
        match serde_json::from_value::<piculet_pods::Settings>(Value::Object(alone)) {
            Ok(_) => {
                good.insert(field, value);
            }
            Err(error) => errors.push(ConfigError { key, source, message: error.to_string() }),
        }
    }
    if let Ok(settings) = serde_json::from_value(Value::Object(good)) {
        config.pods = settings;
    }
    for problem in config.pods.check() {
        let key = format!("{PODS}.{}", problem.field);
        errors.push(ConfigError { key, source: Source::Nowhere, message: problem.message });
    }
}

/// What can only be judged when all is known.
fn whole(config: &Config, has_server: bool, errors: &mut Vec<ConfigError>) {
    let mut error = |key: &str, message: &str| {
        errors.push(ConfigError { key: key.to_owned(), source: Source::Nowhere, message: message.to_owned() });
    };
    let server = &config.server;
    if !has_server {
        error("server.address", "it is required: the server's https://host:port");
    }
    let tls_files = server.ca_file.is_some() || server.certificate_file.is_some();
    if has_server && !server.address.is_encrypted() && tls_files {
        error("server.address", "certificates are given, but http:// doesn't use TLS; write https://");
    }
    match (&server.token, &server.token_file) {
        (None, None) => error("server.token_file", "it is required: a file with the agent's token"),
        (Some(_), Some(_)) => error("server.token_file", "the token is given twice, here and in PICULET_SERVER_TOKEN"),
        _ => {}
    }
    if server.certificate_file.is_some() != server.key_file.is_some() {
        error("server.key_file", "a client certificate needs both server.certificate_file and server.key_file");
    }
}
