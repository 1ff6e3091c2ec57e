//! From layers to a configuration that can be used.

use std::path::PathBuf;
use std::time::Duration;

use piculet_core::secret::is_token;

use super::layers::{ConfigError, Layers, Source};
use super::settings::SETTINGS;
use super::{Config, pods};

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
    let (config, errors) = settle(layers, host);
    if errors.is_empty() { Ok(config) } else { Err(errors) }
}

/// Resolves the layers as far as they make sense, and tells what doesn't.
pub fn settle(layers: Layers, host: &Host) -> (Config, Vec<ConfigError>) {
    let Layers { mut values, traces, warnings, mut errors, is_broken } = layers;
    let mut config = Config { traces, warnings, ..Config::default() };
    let has_server = values.contains_key("server.address");
    for setting in SETTINGS {
        let Some((value, source)) = values.remove(setting.key) else { continue };
        if let Err(message) = (setting.set)(&mut config, value) {
            errors.push(ConfigError { key: setting.key.to_owned(), source, message });
        }
    }
    config.pods = pods::read(values, &mut errors);
    if config.agent.name.is_empty() {
        config.agent.name.clone_from(&host.name);
    }
    if config.kubernetes.kubeconfig.is_none() && !host.in_cluster {
        config.kubernetes.kubeconfig.clone_from(&host.kubeconfig);
    }
    config.limits.grace = Duration::from_secs(u64::from(config.pods.stop_timeout_seconds));
    // What stands in a file that can't be read is not missing.
    if !is_broken {
        whole(&config, has_server, &mut errors);
    }
    (config, errors)
}

/// What the pods look like, and nothing else: no server is needed to plan.
///
/// # Errors
/// Everything that is wrong with that, and keys that don't exist.
pub fn pod_settings(layers: Layers) -> Result<piculet_pods::Settings, Vec<ConfigError>> {
    let Layers { mut values, mut errors, .. } = layers;
    values.retain(|key, _| key.starts_with("pods."));
    let settings = pods::read(values, &mut errors);
    if errors.is_empty() { Ok(settings) } else { Err(errors) }
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
    let wants_tls = server.ca_file.is_some() || server.certificate_file.is_some() || server.tls_name.is_some();
    if has_server && !server.address.is_encrypted() && wants_tls {
        error("server.address", "certificates or their name are given, but http:// doesn't use TLS; write https://");
    }
    match (&server.token, &server.token_file) {
        (None, None) => error("server.token_file", "it is required: a file with the agent's token"),
        (Some(_), Some(_)) => error("server.token_file", "the token is given twice, here and in PICULET_SERVER_TOKEN"),
        (Some(token), None) if !is_token(token.expose()) => {
            error("PICULET_SERVER_TOKEN", "the token has to be one word of ASCII");
        }
        _ => {}
    }
    if server.certificate_file.is_some() != server.key_file.is_some() {
        error("server.key_file", "a client certificate needs both server.certificate_file and server.key_file");
    }
}
