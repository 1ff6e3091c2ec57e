//! `when`: the conditions of workflows, steps and services as they are written.

mod decide;
#[cfg(test)]
mod tests;

pub(super) use self::decide::{Decision, Facts};

use super::fields::{self, Fields, Text, nearest};
use super::file::unknown_status;
use crate::context::Event;
use crate::glob::Glob;
use crate::report::{Report, Span};
use crate::yaml::{Node, Value};

/// Keys of a condition.
const KEYS: [&str; 12] =
    ["branch", "cron", "evaluate", "event", "instance", "local", "matrix", "path", "platform", "ref", "repo", "status"];

/// Whose conditions they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    Workflow,
    /// Services and clone steps too.
    Step,
}

/// Holds if there is none, or if one of them holds.
#[derive(Debug, Default)]
pub(super) struct When {
    pub(super) conditions: Vec<Condition>,
}

/// Holds if all that it says holds.
#[derive(Debug, Default)]
pub(super) struct Condition {
    span: Span,
    /// `None`: every event.
    event: Option<Vec<Event>>,
    branch: Filter,
    cron: Filter,
    instance: Filter,
    platform: Filter,
    reference: Filter,
    repo: Filter,
    path: Option<PathFilter>,
    matrix: MatrixFilter,
    status: Vec<String>,
    evaluate: Option<Text>,
    local: Option<bool>,
}

/// Globs to match, and globs not to match.
#[derive(Debug, Default)]
struct Filter {
    include: Vec<Glob>,
    exclude: Vec<Glob>,
}

/// About the combination of the matrix, axis by axis.
#[derive(Debug, Default)]
struct MatrixFilter {
    /// Each of them has to match.
    include: Vec<(String, Glob)>,
    /// All of them together must not match.
    exclude: Vec<(String, Glob)>,
}

/// About the changed files.
#[derive(Debug)]
struct PathFilter {
    filter: Filter,
    /// If the commit's message holds it, whatever its case, the files don't matter.
    ignore_message: String,
    /// Whether it holds where no file changed.
    on_empty: bool,
}

impl When {
    /// One condition, or a list of them.
    pub(super) fn read(node: &Node, scope: Scope, report: &mut Report<'_>) -> Self {
        let conditions = match &node.value {
            Value::Sequence(items) => items.iter().filter_map(|item| Condition::read(item, scope, report)).collect(),
            _ => Condition::read(node, scope, report).into_iter().collect(),
        };
        Self { conditions }
    }

    /// Whether every condition says for which events it is.
    pub(super) fn filters_events(&self) -> bool {
        !self.conditions.is_empty() && self.conditions.iter().all(|condition| condition.event.is_some())
    }
}

impl Condition {
    fn read(node: &Node, scope: Scope, report: &mut Report<'_>) -> Option<Self> {
        if let Some(word) = node.text() {
            let error = report.error(
                "when-item",
                node.span,
                format!("a condition has to be a map, not {}", if node.is_null() { "nothing" } else { "a text" }),
            );
            if word.parse::<Event>().is_ok() {
                error.hint(format!("write `event: {word}`"));
            }
            return None;
        }
        let mut fields = Fields::of(node, "`when`", report)?;
        let mut condition = Self { span: node.span, ..Self::default() };
        condition.event = fields.take("event").map(|value| events(value, report));
        for (key, filter) in [
            ("branch", &mut condition.branch),
            ("cron", &mut condition.cron),
            ("instance", &mut condition.instance),
            ("platform", &mut condition.platform),
            ("ref", &mut condition.reference),
            ("repo", &mut condition.repo),
        ] {
            if let Some(value) = fields.take(key) {
                *filter = Filter::read(value, key, &[], report).0;
            }
        }
        condition.path = fields.take("path").map(|value| PathFilter::read(value, report));
        for status in fields.texts("status", report) {
            if !["success", "failure"].contains(&status.text.as_str()) {
                unknown_status(&status, report);
            }
            condition.status.push(status.text);
        }
        condition.evaluate = fields.take("evaluate").and_then(|value| {
            let text = fields::text(value, "`evaluate`", report)?;
            (!text.is_empty()).then_some(Text { text, span: value.span })
        });
        if let Some(entry) = fields.take_entry("matrix") {
            if scope == Scope::Workflow {
                report.warning("workflow-matrix", entry.key.span, "`matrix` is ignored in conditions of a workflow");
            } else {
                condition.matrix = MatrixFilter::read(&entry.value, report);
            }
        }
        condition.local = fields.take("local").and_then(|value| fields::boolean(value, "`local`", report));
        for (key, hint) in
            [("environment", "use `evaluate` with CI_PIPELINE_DEPLOY_TARGET"), ("tag", "use `ref: refs/tags/…`")]
        {
            if let Some(entry) = fields.take_entry(key) {
                let message = format!("'{key}' is no key of `when`; this filter is NOT applied");
                report.warning("legacy-key", entry.key.span, message).hint(hint);
            }
        }
        fields.warn_of_rest(&KEYS, report);
        Some(condition)
    }
}

/// An event or a list of them.
fn events(node: &Node, report: &mut Report<'_>) -> Vec<Event> {
    if node.entries().is_some() {
        report
            .error(
                "legacy-event",
                node.span,
                "`event` is a map; since Woodpecker 3 it has to be an event or a list of them",
            )
            .hint("list the events that are meant");
        return Vec::new();
    }
    fields::texts(node, "`event`", report).iter().filter_map(|text| event(text, report)).collect()
}

fn event(text: &Text, report: &mut Report<'_>) -> Option<Event> {
    let event = text.text.parse().ok();
    if event.is_none() {
        let known = Event::ALL.map(Event::as_str);
        let warning = report.warning("unknown-event", text.span, format!("there is no event '{}'", text.text));
        warning.hint(match nearest(&text.text, &known) {
            Some(near) => format!("did you mean '{near}'?"),
            None => format!("there are {}", known.join(", ")),
        });
    }
    event
}

impl Filter {
    /// A glob, a list, or `{include, exclude}`. Of a map, the keys `others` are left to the caller.
    fn read<'n>(node: &'n Node, key: &str, others: &[&str], report: &mut Report<'_>) -> (Self, Option<Fields<'n>>) {
        let what = format!("`{key}`");
        let globs = |node: &Node, report: &mut Report<'_>| -> Vec<Glob> {
            fields::texts(node, &what, report).iter().filter_map(|text| glob(text, report)).collect()
        };
        if node.entries().is_none() {
            return (Self { include: globs(node, report), exclude: Vec::new() }, None);
        }
        let Some(mut keys) = Fields::of(node, what.clone(), report) else { return (Self::default(), None) };
        let include = keys.take("include").map(|value| globs(value, report)).unwrap_or_default();
        let exclude = keys.take("exclude").map(|value| globs(value, report)).unwrap_or_default();
        if others.is_empty() {
            keys.warn_of_rest(&["exclude", "include"], report);
        }
        (Self { include, exclude }, Some(keys))
    }
}

fn glob(text: &Text, report: &mut Report<'_>) -> Option<Glob> {
    match Glob::new(&text.text) {
        Ok(glob) => Some(glob),
        Err(message) => {
            report.error("bad-pattern", text.span, message);
            None
        }
    }
}

impl PathFilter {
    fn read(node: &Node, report: &mut Report<'_>) -> Self {
        let others = ["ignore_message", "on_empty"];
        let (filter, keys) = Filter::read(node, "path", &others, report);
        let mut path = Self { filter, ignore_message: String::new(), on_empty: true };
        if let Some(mut keys) = keys {
            path.ignore_message = keys.text("ignore_message", report).unwrap_or_default();
            if let Some(value) = keys.take("on_empty") {
                path.on_empty = fields::boolean(value, "`on_empty`", report).unwrap_or(true);
            }
            keys.warn_of_rest(&["exclude", "ignore_message", "include", "on_empty"], report);
        }
        path
    }
}

impl MatrixFilter {
    /// Axis to glob, directly or under `include` and `exclude`.
    fn read(node: &Node, report: &mut Report<'_>) -> Self {
        let mut filter = Self::default();
        let Some(entries) = node.entries() else {
            report.error("wrong-type", node.span, format!("`matrix` has to be a map, not {}", node.kind()));
            return filter;
        };
        for entry in entries {
            let (axes, globs) = match (entry.name(), entry.value.entries()) {
                ("include", Some(inner)) => (inner, &mut filter.include),
                ("exclude", Some(inner)) => (inner, &mut filter.exclude),
                _ => (std::slice::from_ref(entry), &mut filter.include),
            };
            for axis in axes {
                let what = format!("`{}` of `matrix`", axis.name());
                let text = fields::text(&axis.value, &what, report);
                let glob = text.and_then(|text| glob(&Text { text, span: axis.value.span }, report));
                globs.extend(glob.map(|glob| (axis.name().to_owned(), glob)));
            }
        }
        filter
    }
}
