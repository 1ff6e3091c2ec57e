//! One step of a compiled workflow.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Compiled, ORG, REPO};
use crate::woodpecker::step::FailureMode;

const BASE: &str = "/woodpecker";
const WORKSPACE: &str = "/woodpecker/src/git.example.org/acme/shop";

/// One step of a compiled workflow.
#[derive(Debug, Clone)]
pub struct Job {
    name: String,
    kind: &'static str,
    image: String,
    uuid: Option<String>,
    environment: BTreeMap<String, String>,
    /// By the variable: the secret's name, and its value.
    secrets: BTreeMap<String, (String, String)>,
    failure: FailureMode,
    on_success: bool,
    on_failure: bool,
    extra: BTreeMap<String, Value>,
}

impl Job {
    fn new(name: &str, kind: &'static str, image: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            image: image.to_owned(),
            uuid: None,
            environment: BTreeMap::new(),
            secrets: BTreeMap::new(),
            failure: FailureMode::Fail,
            on_success: true,
            on_failure: false,
            extra: BTreeMap::new(),
        }
    }

    /// The step that fetches the repository.
    pub fn clone_repo() -> Self {
        let job = Self::new("clone", "clone", "docker.io/woodpeckerci/plugin-git:2.10.0").env("PLUGIN_DEPTH", "0");
        let job = job.env("CI_NETRC_MACHINE", "git.example.org").env("CI_NETRC_USERNAME", "bot");
        job.env("CI_NETRC_PASSWORD", "tok-123")
    }

    /// A step that runs a script.
    pub fn commands<'a>(name: &str, image: &str, commands: impl IntoIterator<Item = &'a str>) -> Self {
        let commands: Vec<&str> = commands.into_iter().collect();
        Self::new(name, "commands", image).with("commands", json!(commands))
    }

    /// A step that runs what its image is for.
    pub fn plugin(name: &str, image: &str) -> Self {
        Self::new(name, "plugin", image)
    }

    /// A service: it runs beside what comes after it, and may fail.
    pub fn service(name: &str, image: &str) -> Self {
        Self::new(name, "service", image).detach().failure(FailureMode::Ignore)
    }

    /// With an id of its own; otherwise it is made from the names.
    #[must_use]
    pub fn uuid(mut self, uuid: &str) -> Self {
        self.uuid = Some(uuid.to_owned());
        self
    }

    /// With a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// With a variable that has a secret's value.
    #[must_use]
    pub fn secret(mut self, variable: &str, name: &str, value: &str) -> Self {
        self.secrets.insert(variable.to_owned(), (name.to_owned(), value.to_owned()));
        self.env(variable, value)
    }

    /// What its failure means.
    #[must_use]
    pub fn failure(mut self, mode: FailureMode) -> Self {
        self.failure = mode;
        self
    }

    /// It runs while nothing has failed, or after something has, or both.
    #[must_use]
    pub fn when(mut self, on_success: bool, on_failure: bool) -> Self {
        (self.on_success, self.on_failure) = (on_success, on_failure);
        self
    }

    /// What comes after it doesn't wait for its end.
    #[must_use]
    pub fn detach(self) -> Self {
        self.with("detach", json!(true))
    }

    /// With options for agents on Kubernetes.
    #[must_use]
    pub fn kubernetes(self, options: &Value) -> Self {
        self.with("backend_options", json!({ "kubernetes": options }))
    }

    /// With what its image's registry asks for.
    #[must_use]
    pub fn registry(self, username: &str, password: &str) -> Self {
        self.with("auth_config", json!({ "username": username, "password": password }))
    }

    /// With another key, or another value for a known one.
    #[must_use]
    pub fn with(mut self, key: &str, value: Value) -> Self {
        self.extra.insert(key.to_owned(), value);
        self
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn own_uuid(&self) -> Option<&str> {
        self.uuid.as_deref()
    }

    /// Names and values.
    pub(super) fn secrets(&self) -> impl Iterator<Item = (String, String)> {
        self.secrets.values().cloned()
    }

    pub(super) fn to_json(&self, workflow: &Compiled, uuid: &str) -> Value {
        let volume = format!("{}_default", workflow.prefix());
        let mut environment: BTreeMap<&str, &str> = BTreeMap::from([
            ("CI", "woodpecker"),
            ("CI_REPO", REPO),
            ("CI_PIPELINE_NUMBER", "42"),
            ("CI_WORKFLOW_NAME", &workflow.name),
            ("CI_COMMIT_SHA", "9f2c0d6e8b1a4c7f"),
            ("CI_COMMIT_REF", "refs/heads/main"),
            ("CI_COMMIT_BRANCH", "main"),
            ("CI_PIPELINE_EVENT", "push"),
            ("CI_REPO_CLONE_URL", "https://git.example.org/acme/shop.git"),
            ("CI_WORKSPACE", WORKSPACE),
        ]);
        environment.extend(self.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let mut labels: BTreeMap<&str, &str> = BTreeMap::from([
            ("woodpecker-ci.org/repo-id", "17"),
            ("woodpecker-ci.org/repo-full-name", REPO),
            ("woodpecker-ci.org/repo-name", "shop"),
            ("woodpecker-ci.org/org-id", "3"),
            ("woodpecker-ci.org/forge-id", "gitea"),
            ("woodpecker-ci.org/repo-forge-id", "88"),
            ("woodpecker-ci.org/branch", "main"),
            ("woodpecker-ci.org/commit-branch", "main"),
            ("woodpecker-ci.org/event", "push"),
        ]);
        labels.extend(workflow.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        let mut step = json!({
            "name": self.name,
            "org_id": ORG,
            "uuid": uuid,
            "type": self.kind,
            "image": self.image,
            "working_dir": WORKSPACE,
            "workspace_base": BASE,
            "environment": environment,
            "volumes": [format!("{volume}:{BASE}")],
            "networks": [{ "name": volume, "aliases": [self.name] }],
            "failure": self.failure.as_str(),
            "auth_config": {},
            "workflow_labels": labels,
        });
        // The real server leaves out what is false or empty.
        if self.on_success {
            step["on_success"] = json!(true);
        }
        if self.on_failure {
            step["on_failure"] = json!(true);
        }
        if !self.secrets.is_empty() {
            let mapping: BTreeMap<&String, &String> =
                self.secrets.iter().map(|(variable, (_, value))| (variable, value)).collect();
            step["secret_mapping"] = json!(mapping);
        }
        for (key, value) in &self.extra {
            step[key] = value.clone();
        }
        step
    }
}
