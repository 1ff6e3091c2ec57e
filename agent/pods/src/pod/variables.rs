//! The environment of a step. What is secret stands in a Secret, and the pod only refers to it.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{EnvFromSource, EnvVar, EnvVarSource, SecretEnvSource, SecretKeySelector};

use crate::expansion::literal;
use crate::names::{is_data_key, is_variable_name, short_hash};
use crate::options::SecretTarget;
use crate::step::Draft;
use crate::{environment, limits, script};

/// A step's environment.
#[derive(Debug)]
pub(super) struct Variables {
    /// In the order of their names.
    pub(super) env: Vec<EnvVar>,
    pub(super) env_from: Vec<EnvFromSource>,
    /// For the step's own Secret.
    pub(super) secret_values: BTreeMap<String, ByteString>,
}

/// Where a variable's value comes from.
#[derive(Debug, Clone)]
enum Source<'a> {
    Plain(String),
    Secret(&'a str),
    Native { secret: String, key: String },
}

/// Puts the environment together. Later sources win: the trace and the home, the server's plain and secret variables, the
/// agent's own, Secrets of the namespace, and the script.
pub(super) fn of(draft: &mut Draft<'_>, home: Option<&str>) -> Variables {
    let spec = &draft.step.spec;
    let mut sources = BTreeMap::<String, Source<'_>>::new();
    if let Some(home) = home {
        sources.insert("HOME".to_owned(), Source::Plain(home.to_owned()));
    }
    for (name, value) in environment::of_trace(draft.step, draft.build.start) {
        sources.insert(name, Source::Plain(value));
    }
    for (name, value) in &spec.environment {
        sources.insert(name.clone(), Source::Plain(value.clone()));
    }
    for (name, value) in &spec.secret_environment {
        sources.insert(name.clone(), Source::Secret(value.expose()));
    }
    for (name, value) in environment::at_start(draft.step, draft.build.start) {
        sources.insert(name, Source::Plain(value));
    }
    let mut env_from = Vec::new();
    for secret in &draft.options.secrets {
        match &secret.target {
            SecretTarget::Everything => env_from.push(EnvFromSource {
                secret_ref: Some(SecretEnvSource { name: secret.name.clone(), optional: None }),
                ..EnvFromSource::default()
            }),
            SecretTarget::Variable { key, variable } => {
                let native = Source::Native { secret: secret.name.clone(), key: key.clone() };
                sources.insert(variable.clone(), native);
            }
            SecretTarget::File { .. } => {}
        }
    }
    if !spec.commands.is_empty() {
        let script = script::variables(&spec.working_dir, &spec.commands);
        check_script(draft, &script);
        for (name, part) in script {
            sources.insert(name, Source::Plain(part));
        }
        sources.insert("SHELL".to_owned(), Source::Plain(script::SHELL.to_owned()));
    }
    check(draft, &sources);
    let mut secret_values = BTreeMap::new();
    let env = sources
        .into_iter()
        .map(|(name, source)| {
            let reference = |secret: String, key: String| EnvVarSource {
                secret_key_ref: Some(SecretKeySelector { name: secret, key, optional: None }),
                ..EnvVarSource::default()
            };
            let (value, value_from) = match source {
                Source::Plain(value) => (Some(literal(&value)), None),
                Source::Secret(value) => {
                    let key = secret_key(&name);
                    secret_values.insert(key.clone(), ByteString(value.as_bytes().to_vec()));
                    (None, Some(reference(draft.names.step_secret.clone(), key)))
                }
                Source::Native { secret, key } => (None, Some(reference(secret, key))),
            };
            EnvVar { name, value, value_from }
        })
        .collect();
    Variables { env, env_from, secret_values }
}

fn check(draft: &mut Draft<'_>, sources: &BTreeMap<String, Source<'_>>) {
    for (name, source) in sources {
        let (map, size) = match source {
            Source::Plain(value) => ("environment", value.len()),
            Source::Secret(value) => ("secret_environment", value.len()),
            Source::Native { .. } => ("backend_options.kubernetes.secrets", 0),
        };
        let field = format!("{map}.{name}");
        if !is_variable_name(name) {
            let message =
                format!("{name:?} can't be the name of a variable on Kubernetes: it takes printable ASCII without '='");
            draft.problem("variable-name", &field, message);
        }
        draft.problems.extend(limits::variable(&field, name, size));
    }
}

fn check_script(draft: &mut Draft<'_>, script: &[(String, String)]) {
    let bytes: usize = script.iter().map(|(_, part)| part.len()).sum();
    if bytes > limits::SCRIPT {
        let message = format!(
            "as a script they need {bytes} bytes, and at most {} fit into a pod; put them into a file of the repository",
            limits::SCRIPT
        );
        draft.problem("script-too-large", "commands", message);
    }
}

/// The entry of the step's Secret for a variable. Secrets take fewer characters than variables do.
fn secret_key(name: &str) -> String {
    if is_data_key(name) { name.to_owned() } else { format!("variable-{}", short_hash(name)) }
}
