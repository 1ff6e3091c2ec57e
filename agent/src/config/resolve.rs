//! From layers to a configuration that can be used.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use piculet_core::secret::is_token;
use serde_json::Value;

use super::layers::{ConfigError, Layers, Source, Values};
use super::settings::SETTINGS;
use super::{Config, Listen, LogFile, LogFormat, Protocol, Target, pods, protocol};

/// What the machine says, where the configuration says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Host {
    /// The host name: the agent's name.
    pub name: String,
    /// Whether standard error is a terminal, where somebody reads along.
    pub is_terminal: bool,
    /// Whether this is a pod with a service account's token.
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
    let Layers { mut values, proxies, traces, mut warnings, mut errors, is_broken } = layers;
    let protocol = protocol::choose(&values, &mut errors);
    if protocol == Protocol::Stream {
        protocol::leave_out(&mut values, &mut warnings);
    }
    protocol::one_token(&mut values);
    let mut values = winners(values);
    let sources: Sources = values.iter().map(|(key, (_, source))| (key.clone(), source.clone())).collect();
    let mut config = Config { traces, warnings, ..Config::of(protocol) };
    config.server.proxies = proxies;
    for setting in SETTINGS {
        let Some((value, source)) = values.remove(setting.key) else { continue };
        if let Err(message) = (setting.set)(&mut config, value) {
            errors.push(ConfigError { key: setting.key.to_owned(), source, message });
        }
    }
    config.pods = pods::read(&config.pods, values, &mut errors);
    if config.agent.hostname.is_empty() {
        config.agent.hostname.clone_from(&host.name);
    }
    if config.agent.name.is_empty() {
        config.agent.name.clone_from(&config.agent.hostname);
    }
    if config.agent.single_workflow {
        config.agent.max_workflows = 1;
    }
    if config.kubernetes.kubeconfig.is_none() && !host.in_cluster {
        config.kubernetes.kubeconfig.clone_from(&host.kubeconfig);
    }
    let is_terminal = host.is_terminal && config.log.file == LogFile::Stderr;
    if protocol == Protocol::Woodpecker && !is_terminal && !sources.contains_key("log.format") {
        config.log.format = LogFormat::Json;
    }
    config.limits.grace = Duration::from_secs(u64::from(config.pods.stop_timeout_seconds));
    trust(&mut config, &sources, &mut errors);
    // What stands in a file that can't be read is not missing.
    if !is_broken {
        whole(&config, &sources, &mut errors);
    }
    (config, errors)
}

/// What the pods look like, and nothing else: no server is needed to plan.
///
/// # Errors
/// Everything that is wrong with that, and keys that don't exist.
pub fn pod_settings(layers: Layers) -> Result<piculet_pods::Settings, Vec<ConfigError>> {
    let Layers { values, mut errors, .. } = layers;
    let base = Config::of(protocol::choose(&values, &mut Vec::new())).pods;
    let mut values = winners(values);
    values.retain(|key, _| key.starts_with("pods."));
    let settings = pods::read(&base, values, &mut errors);
    if errors.is_empty() { Ok(settings) } else { Err(errors) }
}

/// Where health is asked for, and nothing else: who asks needs neither server nor token.
///
/// # Errors
/// If that address is none.
pub fn admin_address(layers: Layers) -> Result<Option<Listen>, ConfigError> {
    const KEY: &str = "admin.address";
    let mut config = Config::default();
    let given = winners(layers.values).remove(KEY);
    if let Some((setting, (value, source))) = SETTINGS.iter().find(|setting| setting.key == KEY).zip(given) {
        let wrong = |message| ConfigError { key: KEY.to_owned(), source, message };
        (setting.set)(&mut config, value).map_err(wrong)?;
    }
    Ok(config.admin.address)
}

/// Who said the value of each key.
type Sources = BTreeMap<String, Source>;

fn winners(values: Values) -> BTreeMap<String, (Value, Source)> {
    values.into_iter().filter_map(|(key, mut given)| Some((key, given.pop()?))).collect()
}

/// Whether the server's certificate is looked at. Whoever switches that off is told so at each start.
fn trust(config: &mut Config, sources: &Sources, errors: &mut Vec<ConfigError>) {
    const KEY: &str = "server.skip_verify";
    if !config.server.skip_verify {
        return;
    }
    let source = sources.get(KEY).cloned().unwrap_or(Source::Nowhere);
    let say = |message: &str| ConfigError { key: KEY.to_owned(), source, message: message.to_owned() };
    match &config.server.address {
        Target::Stream(_) => errors.push(say("with the protocol `stream` the server's certificate is always verified")),
        Target::Woodpecker(address) if address.is_encrypted() => config.warnings.push(say(
            "the server's certificate is not verified, so whoever answers in its place gets the token and all secrets; \
             better give its authority as server.ca_file (PICULET_SERVER_CA_FILE)",
        )),
        Target::Woodpecker(_) => config
            .warnings
            .push(say("it has no effect: the connection is not encrypted (server.tls, WOODPECKER_GRPC_SECURE)")),
    }
}

/// What can only be judged when all is known.
fn whole(config: &Config, sources: &Sources, errors: &mut Vec<ConfigError>) {
    let source = |key: &str| sources.get(key).cloned().unwrap_or(Source::Nowhere);
    let mut error = |key: &str, message: &str| {
        errors.push(ConfigError { key: key.to_owned(), source: Source::Nowhere, message: message.to_owned() });
    };
    let server = &config.server;
    let protocol = server.address.protocol();
    let has_server = protocol == Protocol::Woodpecker || sources.contains_key("server.address");
    if !has_server {
        error("server.address", "it is required: the server's https://host:port");
    }
    let wants_tls = server.ca_file.is_some() || server.certificate_file.is_some() || server.tls_name.is_some();
    if has_server && !server.address.is_encrypted() && wants_tls {
        match protocol {
            Protocol::Stream => error(
                "server.address",
                "certificates or their name are given, but http:// doesn't use TLS; write https://",
            ),
            Protocol::Woodpecker => error(
                "server.tls",
                "certificates or their name are given, but the connection doesn't use TLS; set it, or \
                 WOODPECKER_GRPC_SECURE, to true",
            ),
        }
    }
    match (&server.token, &server.token_file) {
        (None, None) if protocol == Protocol::Woodpecker => error(
            "server.token_file",
            "it is required: a file with the agent's token; or set WOODPECKER_AGENT_SECRET, or \
             WOODPECKER_AGENT_SECRET_FILE",
        ),
        (None, None) => error("server.token_file", "it is required: a file with the agent's token"),
        (Some(_), Some(_)) => error("server.token_file", "the token is given twice, here and in PICULET_SERVER_TOKEN"),
        (Some(token), None) if !is_token(token.expose()) => {
            let variable = match source("server.token") {
                Source::Variable(name) => name,
                _ => "server.token".to_owned(),
            };
            error(&variable, "the token has to be one word of ASCII");
        }
        _ => {}
    }
    if server.certificate_file.is_some() != server.key_file.is_some() {
        error("server.key_file", "a client certificate needs both server.certificate_file and server.key_file");
    }
}
