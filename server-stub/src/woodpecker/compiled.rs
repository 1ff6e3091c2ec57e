//! Compiled workflows as the real server makes them, from a few words.
//!
//! ```
//! use server_stub::woodpecker::{Compiled, Job, Submission};
//!
//! let compiled = Compiled::new("build")
//!     .then([Job::clone_repo()])
//!     .then([Job::service("db", "postgres:16").env("POSTGRES_PASSWORD", "test")])
//!     .then([Job::commands("test", "rust:1.90", ["cargo test"]).secret("TOKEN", "token", "s3cr3t-value")]);
//! let test = compiled.uuid("test");
//! let submission = Submission::from(compiled).label("platform", "linux/amd64");
//! ```

mod job;

pub use job::Job;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The repository of all workflows.
pub const REPO: &str = "acme/shop";
/// The organisation of the repository.
pub const ORG: i64 = 3;

const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// What all ids begin with: their time, which is some day in 2025.
const ULID_TIME: &str = "01K3CZ8W5T";
const ULID_LENGTH: usize = 26;

/// A compiled workflow.
#[derive(Debug, Clone)]
pub struct Compiled {
    name: String,
    stages: Vec<Vec<Job>>,
    secrets: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
    extra: BTreeMap<String, Value>,
}

impl Compiled {
    /// One without steps. Everything that is random in the real server is made from the name.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            stages: Vec::new(),
            secrets: BTreeMap::new(),
            labels: BTreeMap::new(),
            extra: BTreeMap::new(),
        }
    }

    /// With one more stage, whose steps run side by side. Without steps it is an empty stage, which occurs.
    #[must_use]
    pub fn then(mut self, jobs: impl IntoIterator<Item = Job>) -> Self {
        self.stages.push(jobs.into_iter().collect());
        self
    }

    /// With a secret of the repository that no step uses.
    #[must_use]
    pub fn secret(mut self, name: &str, value: &str) -> Self {
        self.secrets.insert(name.to_owned(), value.to_owned());
        self
    }

    /// With a label of the workflow: agents are chosen by it, and the steps carry it.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    /// With another key at the top, or another value for a known one.
    #[must_use]
    pub fn with(mut self, key: &str, value: Value) -> Self {
        self.extra.insert(key.to_owned(), value);
        self
    }

    /// What every object of it is named after.
    pub fn prefix(&self) -> String {
        format!("wp_{}_0", self.ulid("prefix").to_lowercase())
    }

    /// The labels that were set.
    pub fn workflow_labels(&self) -> &BTreeMap<String, String> {
        &self.labels
    }

    /// The UUID of the first step with this name.
    ///
    /// # Panics
    /// If there is none.
    pub fn uuid(&self, step: &str) -> String {
        let mut found = self.numbered().filter(|(_, job)| job.name() == step);
        match found.next() {
            Some((number, job)) => self.uuid_of(number, job),
            None => panic!("the workflow '{}' has no step '{step}'", self.name),
        }
    }

    /// The payload.
    pub fn to_json(&self) -> Vec<u8> {
        let mut number = 0;
        let mut stages = Vec::new();
        for jobs in &self.stages {
            let mut steps = Vec::new();
            for job in jobs {
                steps.push(job.to_json(self, &self.uuid_of(number, job)));
                number += 1;
            }
            stages.push(if steps.is_empty() { json!({}) } else { json!({ "steps": steps }) });
        }
        let default = format!("{}_default", self.prefix());
        let mut secrets = self.secrets.clone();
        secrets.extend(self.numbered().flat_map(|(_, job)| job.secrets()));
        let secrets: Vec<Value> =
            secrets.into_iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
        let mut payload = json!({ "pipeline": stages, "network": default, "volume": default, "secrets": secrets });
        for (key, value) in &self.extra {
            payload[key] = value.clone();
        }
        payload.to_string().into_bytes()
    }

    /// All jobs with their places in the workflow.
    fn numbered(&self) -> impl Iterator<Item = (usize, &Job)> {
        self.stages.iter().flatten().enumerate()
    }

    fn uuid_of(&self, number: usize, job: &Job) -> String {
        job.own_uuid().map_or_else(|| self.ulid(&format!("{number} {}", job.name())), str::to_owned)
    }

    /// The same for the same workflow and purpose.
    fn ulid(&self, purpose: &str) -> String {
        let hash = Sha256::digest(format!("{}|{purpose}", self.name));
        let digits = hash.iter().map(|byte| char::from(CROCKFORD[usize::from(byte % 32)]));
        ULID_TIME.chars().chain(digits).take(ULID_LENGTH).collect()
    }
}

#[cfg(test)]
mod tests;
