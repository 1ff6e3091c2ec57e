//! A workflow file as it is written: the keys of its top level.

use std::collections::BTreeMap;

use super::depends_on::{self, Dependency};
use super::fields::{self, Fields, nearest};
use super::step::{Section, Step};
use super::when::{Scope, When};
use crate::compiled::Concurrency;
use crate::context::Trusted;
use crate::report::{Report, Span};
use crate::yaml::{Node, Value};

/// Keys of the top level.
const KEYS: [&str; 13] = [
    "$schema",
    "clone",
    "concurrency",
    "depends_on",
    "labels",
    "matrix",
    "runs_on",
    "services",
    "skip_clone",
    "steps",
    "variables",
    "when",
    "workspace",
];

/// As many as a workload may have.
const MAX_STEPS: usize = 2_000;

/// Labels that only the server may set.
const RESERVED_LABELS: &str = "woodpecker-ci.org";

/// A workflow file.
#[derive(Debug, Default)]
pub(super) struct File {
    pub(super) when: When,
    pub(super) steps: Vec<Step>,
    pub(super) services: Vec<Step>,
    pub(super) clone: Vec<Step>,
    pub(super) skip_clone: bool,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) depends_on: Vec<Dependency>,
    pub(super) runs_on: Vec<String>,
    pub(super) workspace_base: Option<String>,
    pub(super) workspace_path: Option<String>,
    pub(super) concurrency: Option<Concurrency>,
}

impl File {
    /// Reads the tree; what is wrong with it is reported.
    pub(super) fn read(root: &Node, trusted: Trusted, report: &mut Report<'_>) -> Self {
        let mut file = Self::default();
        let Some(mut fields) = Fields::of(root, "the workflow", report) else { return file };
        for ignored in ["$schema", "variables", "matrix"] {
            fields.take(ignored);
        }
        if let Some(when) = fields.take("when") {
            file.when = When::read(when, Scope::Workflow, report);
        }
        file.read_steps(root, &mut fields, trusted, report);
        file.services = list(&mut fields, Section::Service, trusted, report);
        file.clone = list(&mut fields, Section::Clone, trusted, report);
        file.skip_clone = fields.boolean("skip_clone", report);
        file.read_labels(&mut fields, report);
        file.depends_on = fields
            .take("depends_on")
            .map(|value| depends_on::read(value, "`depends_on` of the workflow", report))
            .unwrap_or_default();
        file.read_runs_on(&mut fields, report);
        file.read_workspace(&mut fields, report);
        file.concurrency = concurrency(&mut fields, report);
        fields.warn_of_rest(&KEYS, report);
        file
    }

    fn read_steps(&mut self, root: &Node, fields: &mut Fields<'_>, trusted: Trusted, report: &mut Report<'_>) {
        self.steps = list(fields, Section::Step, trusted, report);
        if root.get("steps").is_some_and(|steps| !steps.is_null()) {
            if self.steps.is_empty() && !report.has_errors() {
                let span = root.get("steps").map_or(root.span, |steps| steps.span);
                report.error("missing-steps", span, "the workflow has no steps");
            }
            return;
        }
        match fields.take_entry("pipeline") {
            Some(legacy) => report
                .error("legacy-pipeline", legacy.key.span, "the key 'pipeline' is called 'steps' today")
                .hint("rename it to `steps`"),
            None => report
                .error(
                    "missing-steps",
                    Span { start: root.span.start, end: root.span.start },
                    "the workflow has no steps",
                )
                .hint("add `steps:` with at least one step that has an `image`"),
        };
    }

    fn read_labels(&mut self, fields: &mut Fields<'_>, report: &mut Report<'_>) {
        let Some(labels) = fields.take("labels") else { return };
        let pairs: Vec<(String, String, Span)> = match &labels.value {
            Value::Mapping(entries) => entries
                .iter()
                .filter_map(|entry| {
                    let value = fields::text(&entry.value, &format!("the label '{}'", entry.name()), report)?;
                    let value = if entry.value.is_null() { String::new() } else { value };
                    Some((entry.name().to_owned(), value, entry.key.span))
                })
                .collect(),
            _ => fields::texts(labels, "`labels` of the workflow", report)
                .into_iter()
                .map(|item| {
                    let (name, value) = item.text.split_once('=').unwrap_or((&item.text, ""));
                    (name.trim().to_owned(), value.trim().to_owned(), item.span)
                })
                .collect(),
        };
        for (name, value, span) in pairs {
            if name.starts_with(RESERVED_LABELS) {
                report.warning(
                    "reserved-label",
                    span,
                    format!("the label '{name}' is left out: those that start with {RESERVED_LABELS} are the server's"),
                );
            } else if !value.is_empty() {
                self.labels.insert(name, value);
            }
        }
    }

    fn read_runs_on(&mut self, fields: &mut Fields<'_>, report: &mut Report<'_>) {
        for status in fields.texts("runs_on", report) {
            if ["success", "failure"].contains(&status.text.as_str()) {
                self.runs_on.push(status.text);
            } else {
                unknown_status(&status, report);
            }
        }
    }

    fn read_workspace(&mut self, fields: &mut Fields<'_>, report: &mut Report<'_>) {
        let Some(workspace) = fields.take("workspace") else { return };
        let Some(mut keys) = Fields::of(workspace, "`workspace`", report) else { return };
        if let Some(base) = keys.take("base") {
            match fields::text(base, "`base` of the workspace", report) {
                Some(text) if text.starts_with('/') => self.workspace_base = Some(text),
                Some(text) => {
                    report.error("workspace-base", base.span, format!("'{text}' is not an absolute path"));
                }
                None => {}
            }
        }
        self.workspace_path = keys.text("path", report);
        keys.warn_of_rest(&["base", "path"], report);
    }
}

/// Says that a word is no outcome.
pub(super) fn unknown_status(status: &fields::Text, report: &mut Report<'_>) {
    let warning = report.warning(
        "unknown-status",
        status.span,
        format!("'{}' is no outcome; there are success and failure", status.text),
    );
    if let Some(near) = nearest(&status.text, &["success", "failure"]) {
        warning.hint(format!("did you mean '{near}'?"));
    }
}

/// The steps of a section, written as a map or as a list.
fn list(fields: &mut Fields<'_>, section: Section, trusted: Trusted, report: &mut Report<'_>) -> Vec<Step> {
    let key = section.key();
    let Some(value) = fields.take(key) else { return Vec::new() };
    let count = value.items().map_or(0, <[_]>::len).max(value.entries().map_or(0, <[_]>::len));
    if count > MAX_STEPS {
        let message = format!("`{key}` has {count} entries; the limit is {MAX_STEPS}");
        report.error("too-many-steps", value.span, message);
        return Vec::new();
    }
    match &value.value {
        Value::Mapping(entries) => {
            let mut steps = Vec::new();
            for entry in entries {
                steps.extend(Step::read(&entry.value, Some(&entry.key), steps.len(), section, trusted, report));
            }
            steps
        }
        Value::Sequence(items) => items
            .iter()
            .enumerate()
            .filter_map(|(position, item)| Step::read(item, None, position, section, trusted, report))
            .collect(),
        Value::Scalar(_) => {
            report.error("wrong-type", value.span, format!("`{key}` has to be a map or a list, not {}", value.kind()));
            Vec::new()
        }
    }
}

fn concurrency(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Option<Concurrency> {
    let value = fields.take("concurrency")?;
    let (limit, group) = if value.entries().is_some() {
        let mut keys = Fields::of(value, "`concurrency`", report)?;
        let limit = keys.take("limit").map(|limit| fields::integer(limit, "`limit` of `concurrency`", report));
        let group = keys.text("group", report).filter(|group| !group.is_empty());
        keys.warn_of_rest(&["limit", "group"], report);
        (limit.unwrap_or(Some(0)), group)
    } else {
        (fields::integer(value, "`concurrency`", report), None)
    };
    // No limit, and a limit of nothing, both mean that there is none.
    let limit = u32::try_from(limit?.clamp(0, i128::from(u32::MAX))).ok().filter(|&limit| limit > 0)?;
    Some(Concurrency { limit, group })
}
