//! Where a value comes from: the file, the environment, a flag. Later ones win, and the earlier ones are remembered.

use std::collections::BTreeMap;
use std::fmt;

use piculet_link::otlp;
use piculet_link::woodpecker::Proxies;
use serde_json::Value;

use super::settings::{Place, SETTINGS, Setting};
use super::{pods, woodpecker};

/// Something that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The setting, or the key that is none.
    pub key: String,
    /// Where it stands.
    pub source: Source,
    /// What is wrong with it, as a sentence; never holds a secret.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.key.as_str(), &self.source) {
            ("", Source::Nowhere) => f.write_str(&self.message),
            ("", source) => write!(f, "{source}: {}", self.message),
            (key, Source::Nowhere) => write!(f, "{key}: {}", self.message),
            (key, source) => write!(f, "{key} ({source}): {}", self.message),
        }
    }
}

/// Where a value was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The configuration file.
    File(String),
    /// An environment variable.
    Variable(String),
    /// A flag.
    Flag(String),
    /// Nobody gave it.
    Nowhere,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(name) => write!(f, "in {name}"),
            Self::Variable(name) => write!(f, "from {name}"),
            Self::Flag(name) => write!(f, "from {name}"),
            Self::Nowhere => f.write_str("not given"),
        }
    }
}

impl Source {
    /// Whether it is a variable of the Woodpecker agent.
    pub(super) fn is_woodpecker(&self) -> bool {
        matches!(self, Self::Variable(name) if name.starts_with(woodpecker::PREFIX))
    }

    /// The order in which sources win.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::Nowhere => 0,
            Self::File(_) => 1,
            Self::Variable(_) if self.is_woodpecker() => 2,
            Self::Variable(_) => 3,
            Self::Flag(_) => 4,
        }
    }
}

/// What was given for each key, each with its source, the one that wins last.
pub(super) type Values = BTreeMap<String, Vec<(Value, Source)>>;

/// Values by key; and what was wrong on the way.
#[derive(Debug, Default)]
pub struct Layers {
    pub(super) values: Values,
    /// What the machine says of proxies.
    pub(super) proxies: Proxies,
    /// What the standard variables say of traces.
    pub(super) traces: Option<otlp::Settings>,
    pub(super) warnings: Vec<ConfigError>,
    pub(super) errors: Vec<ConfigError>,
    /// The file can't be understood, so nobody knows what is missing in it.
    pub(super) is_broken: bool,
}

/// The block of the file that `piculet-pods` reads.
pub(super) const PODS: &str = "pods";

/// Variables of `piculet-server`, which may run beside the agent in the same environment.
const OF_THE_SERVER: [&str; 7] = [
    "SERVER_LISTEN",
    "SERVER_HTTP",
    "SERVER_DATABASE",
    "SERVER_API",
    "SERVER_API_CA_FILE",
    "SERVER_API_TOKEN_FILE",
    "SERVER_LOG",
];

impl Layers {
    /// Adds a configuration file.
    pub fn file(&mut self, name: &str, text: &str) {
        let source = Source::File(name.to_owned());
        match serde_saphyr::from_str::<Value>(text) {
            Ok(Value::Null) => {}
            Ok(Value::Object(map)) => self.block("", map, &source),
            Ok(_) => self.error("", &source, "the file must be a map of settings"),
            // Without the lines around it: one of them may hold a secret that should not be there.
            Err(error) => {
                self.is_broken = true;
                self.error("", &source, &for_people(&error.without_snippet().to_string()));
            }
        }
    }

    /// Adds the environment: variables that start with `PICULET_`, `WOODPECKER_` or `OTEL_`, and those of proxies. Those
    /// that Kubernetes sets for a Service of such a name are left alone.
    pub fn environment<'a>(&mut self, variables: impl IntoIterator<Item = (&'a str, &'a str)>) {
        let variables: Vec<_> = variables.into_iter().collect();
        match otlp::Settings::read(variables.iter().copied()) {
            Ok(otlp::Wanted::On(settings)) => self.traces = Some(*settings),
            Ok(otlp::Wanted::Off) => {}
            Ok(otlp::Wanted::Foreign(problem)) => {
                let source = Source::Variable(problem.variable);
                self.warn(source, format!("{}; traces stay off", problem.message));
            }
            Err(problems) => {
                for problem in problems {
                    self.error("", &Source::Variable(problem.variable), &problem.message);
                }
            }
        }
        self.proxies(&variables);
        woodpecker::read(&variables, self);
        for (name, text) in variables {
            let Some(rest) = name.strip_prefix("PICULET_") else { continue };
            let source = Source::Variable(name.to_owned());
            if let Some(setting) = SETTINGS.iter().find(|setting| setting.variable() == name) {
                self.put(setting, Value::String(text.to_owned()), source);
            } else if let Some(field) = rest.strip_prefix("PODS_") {
                self.pod_field(&pods::key_of_variable(field), text, source);
            } else if rest != "CONFIG" && !is_service_link(rest, text) && !OF_THE_SERVER.contains(&rest) {
                self.error("", &source, "there is no such setting");
            }
        }
    }

    /// Proxies, by the names that Go looks for. One that can't be used is left out, for the environment is others' too.
    fn proxies(&mut self, variables: &[(&str, &str)]) {
        let get = |wanted: &[&str]| {
            let found = wanted
                .iter()
                .find_map(|wanted| variables.iter().find(|(name, text)| name == wanted && !text.is_empty()));
            found.copied().unwrap_or_default()
        };
        let ((name, https), (_, exceptions)) = (get(&["HTTPS_PROXY", "https_proxy"]), get(&["NO_PROXY", "no_proxy"]));
        match Proxies::new(https, exceptions) {
            Ok(proxies) => self.proxies = proxies,
            Err(error) => {
                self.warn(Source::Variable(name.to_owned()), format!("the proxy is not used: {error}"));
            }
        }
    }

    /// Adds a flag: `key` as in the file.
    pub fn flag(&mut self, flag: &str, key: &str, text: &str) {
        let source = Source::Flag(flag.to_owned());
        if let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) {
            self.put(setting, Value::String(text.to_owned()), source);
        } else if let Some(field) = key.strip_prefix("pods.") {
            self.pod_field(field, text, source);
        } else {
            self.error(key, &source, &unknown(key));
        }
    }

    fn block(&mut self, prefix: &str, map: serde_json::Map<String, Value>, source: &Source) {
        for (name, value) in map {
            let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
            let inner = format!("{key}.");
            match (SETTINGS.iter().find(|setting| setting.key == key), value) {
                (Some(setting), value) => self.put(setting, value, source.clone()),
                (None, Value::Object(map)) if key == PODS => {
                    for (field, value) in map {
                        self.give(format!("{PODS}.{field}"), value, source.clone());
                    }
                }
                (None, Value::Object(map)) if SETTINGS.iter().any(|setting| setting.key.starts_with(&inner)) => {
                    self.block(&key, map, source);
                }
                (None, Value::Null) if SETTINGS.iter().any(|setting| setting.key.starts_with(&inner)) => {}
                (None, _) if key == PODS || SETTINGS.iter().any(|setting| setting.key.starts_with(&inner)) => {
                    self.error(&key, source, "it holds settings, so it has to be a map");
                }
                (None, _) => self.error(&key, source, &unknown(&key)),
            }
        }
    }

    fn put(&mut self, setting: &Setting, value: Value, source: Source) {
        if setting.place == Place::Environment && !matches!(source, Source::Variable(_)) {
            let message = format!("a secret has no place here; use {} or {}_file", setting.variable(), setting.key);
            self.error(setting.key, &source, &message);
            return;
        }
        if value.is_null() {
            return;
        }
        self.give(setting.key.to_owned(), value, source);
    }

    fn pod_field(&mut self, field: &str, text: &str, source: Source) {
        let value = serde_saphyr::from_str::<Value>(text).unwrap_or_else(|_| Value::String(text.to_owned()));
        self.give(format!("{PODS}.{field}"), value, source);
    }

    /// Takes a value as it is.
    pub(super) fn give(&mut self, key: String, value: Value, source: Source) {
        self.values.entry(key).or_default().push((value, source));
    }

    pub(super) fn warn(&mut self, source: Source, message: String) {
        self.warnings.push(ConfigError { key: String::new(), source, message });
    }

    pub(super) fn error(&mut self, key: &str, source: &Source, message: &str) {
        self.errors.push(ConfigError { key: key.to_owned(), source: source.clone(), message: message.to_owned() });
    }
}

/// What the kubelet sets for a Service named `piculet` (or `woodpecker`), or one whose name begins so.
pub(super) fn is_service_link(rest: &str, value: &str) -> bool {
    let is_url = ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    rest.ends_with("SERVICE_HOST")
        || rest.contains("SERVICE_PORT")
        || rest.starts_with("PORT_")
        || rest.contains("_PORT_")
        || (is_url && (rest == "PORT" || rest.ends_with("_PORT")))
}

/// Without the words that tell a programmer what to do.
fn for_people(message: &str) -> String {
    message.replace(", set DuplicateKeyPolicy in Options if acceptable", "")
}

fn unknown(key: &str) -> String {
    let known = SETTINGS.iter().map(|setting| (strsim::levenshtein(setting.key, key), setting.key));
    match known.min() {
        Some((distance, near)) if distance <= 3 => format!("there is no such setting; did you mean {near}?"),
        _ => "there is no such setting".to_owned(),
    }
}
