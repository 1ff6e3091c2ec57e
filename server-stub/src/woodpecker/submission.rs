//! What a test puts into the queue.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;

use super::compiled::Compiled;
use super::step::{FailureMode, Step};

/// A workflow for the queue.
#[derive(Debug, Clone)]
pub struct Submission {
    /// What agents get: JSON, if it is good.
    pub payload: Bytes,
    /// Minutes; 0: the agent takes an hour.
    pub timeout: i64,
    /// What an agent has to fit to, besides the repository and its organisation.
    pub labels: BTreeMap<String, String>,
    /// The repository's name, which becomes the label `repo`; `None`: no such label.
    pub repo: Option<String>,
    /// The repository's organisation, which becomes the label `org-id`; `None`: no such label.
    pub org: Option<i64>,
    /// The steps' rows; `None`: as the payload has them.
    pub steps: Option<Vec<Step>>,
}

impl Submission {
    /// Bytes that need not be a workflow. The steps' rows are what can be read of them.
    pub fn raw(payload: impl Into<Bytes>) -> Self {
        Self {
            payload: payload.into(),
            timeout: 60,
            labels: BTreeMap::new(),
            repo: Some(super::compiled::REPO.to_owned()),
            org: Some(super::compiled::ORG),
            steps: None,
        }
    }

    /// With a label that an agent has to have.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    /// With another timeout. Minutes.
    #[must_use]
    pub fn timeout(mut self, minutes: i64) -> Self {
        self.timeout = minutes;
        self
    }

    /// With these rows, whatever the payload has.
    #[must_use]
    pub fn steps(mut self, steps: impl IntoIterator<Item = Step>) -> Self {
        self.steps = Some(steps.into_iter().collect());
        self
    }

    /// What the queue matches.
    pub(super) fn all_labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.labels.clone();
        let repo = self.repo.iter().map(|repo| ("repo".to_owned(), repo.clone()));
        labels.extend(repo);
        labels.extend(self.org.map(|org| ("org-id".to_owned(), org.to_string())));
        labels
    }

    /// The steps' rows.
    pub(super) fn rows(&self) -> Vec<Step> {
        self.steps.clone().unwrap_or_else(|| read_rows(&self.payload))
    }
}

impl From<&Compiled> for Submission {
    fn from(compiled: &Compiled) -> Self {
        Self { labels: compiled.workflow_labels().clone(), ..Self::raw(compiled.to_json()) }
    }
}

impl From<Compiled> for Submission {
    fn from(compiled: Compiled) -> Self {
        Self::from(&compiled)
    }
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    pipeline: Option<Vec<Stage>>,
}

#[derive(Deserialize)]
struct Stage {
    #[serde(default)]
    steps: Option<Vec<Row>>,
}

#[derive(Deserialize)]
struct Row {
    #[serde(default)]
    name: String,
    #[serde(default)]
    uuid: String,
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    failure: String,
}

/// The rows of a payload's steps; none if it can't be read.
fn read_rows(payload: &[u8]) -> Vec<Step> {
    let Ok(config) = serde_json::from_slice::<Config>(payload) else { return Vec::new() };
    let stages = config.pipeline.unwrap_or_default();
    let rows = stages.into_iter().flat_map(|stage| stage.steps.unwrap_or_default());
    rows.map(|row| Step { kind: row.kind, failure: FailureMode::parse(&row.failure), ..Step::new(row.uuid, row.name) })
        .collect()
}

#[cfg(test)]
mod tests;
