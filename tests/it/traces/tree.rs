//! Spans as a tree that a person reads.

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use piculet_link::otlp::SpanData;
use serde_json::Value;

/// Spans, in the order of their starts.
#[derive(Debug, Clone, Default)]
pub(super) struct Tree {
    pub(super) rows: Vec<Row>,
}

/// A span. Ids are in hexadecimal; no parent is an empty one. Times are in nanoseconds.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) trace: String,
    pub(super) id: String,
    pub(super) parent: String,
    pub(super) name: String,
    pub(super) start: u128,
    pub(super) end: u128,
    pub(super) is_error: bool,
    pub(super) attributes: BTreeMap<String, String>,
}

impl Row {
    pub(super) fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }

    pub(super) fn seconds(&self) -> u128 {
        (self.end - self.start) / 1_000_000_000
    }
}

impl Tree {
    /// What an exporter was handed.
    pub(super) fn of_data(spans: &[SpanData]) -> Self {
        let nanoseconds = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
        let none = "0".repeat(16);
        let rows = spans.iter().map(|span| Row {
            trace: span.span_context.trace_id().to_string(),
            id: span.span_context.span_id().to_string(),
            parent: span.parent_span_id.to_string().replace(&none, ""),
            name: span.name.to_string(),
            start: nanoseconds(span.start_time),
            end: nanoseconds(span.end_time),
            is_error: format!("{:?}", span.status).starts_with("Error"),
            attributes: span.attributes.iter().map(|one| (one.key.to_string(), one.value.to_string())).collect(),
        });
        Self::new(rows.collect())
    }

    /// What a collector wrote: OTLP as JSON, one batch a line.
    pub(super) fn of_file(text: &str) -> Self {
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let scopes =
            lines.flat_map(|batch| list(&batch["resourceSpans"])).flat_map(move |one| list(&one["scopeSpans"]));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let rows = scopes.flat_map(|scope| list(&scope["spans"])).map(|span| Row {
            trace: text(&span["traceId"]),
            id: text(&span["spanId"]),
            parent: text(&span["parentSpanId"]),
            name: text(&span["name"]),
            start: text(&span["startTimeUnixNano"]).parse().unwrap(),
            end: text(&span["endTimeUnixNano"]).parse().unwrap(),
            is_error: span["status"]["code"] == 2,
            attributes: list(&span["attributes"])
                .iter()
                .map(|one| (text(&one["key"]), one["value"].as_object().unwrap().values().next().unwrap().to_string()))
                .map(|(key, value)| (key, value.trim_matches('"').to_owned()))
                .collect(),
        });
        Self::new(rows.collect())
    }

    fn new(mut rows: Vec<Row>) -> Self {
        // Of those that begin together, in the order of a run.
        let rank = |row: &Row| ["create", "schedule", "sandbox", "pull"].iter().position(|name| *name == row.name);
        rows.sort_by_key(|row| (row.start, rank(row).unwrap_or(usize::MAX), row.end));
        Self { rows }
    }

    /// The only span of this name.
    pub(super) fn one(&self, name: &str) -> &Row {
        let mut found = self.rows.iter().filter(|row| row.name == name);
        match (found.next(), found.next()) {
            (Some(row), None) => row,
            _ => panic!("there is not exactly one '{name}' in\n{self}"),
        }
    }

    /// What lies under a span, however deep.
    pub(super) fn below(&self, top: &Row) -> Self {
        let mut rows = Vec::new();
        for row in self.children(&top.id) {
            rows.push(row.clone());
            rows.extend(self.below(row).rows);
        }
        Self::new(rows)
    }

    /// The names alone: `a(b c(d))`.
    pub(super) fn shape(&self) -> String {
        self.roots().map(|root| self.shape_of(root)).collect::<Vec<_>>().join(" ")
    }

    fn shape_of(&self, row: &Row) -> String {
        let children: Vec<_> = self.children(&row.id).map(|child| self.shape_of(child)).collect();
        if children.is_empty() { row.name.clone() } else { format!("{}({})", row.name, children.join(" ")) }
    }

    fn roots(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| self.rows.iter().all(|other| other.id != row.parent))
    }

    fn children(&self, id: &str) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.parent == id)
    }

    fn write(&self, row: &Row, depth: usize, zero: u128, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = |time: u128| format!("{}.{:03}", time / 1_000_000_000, time / 1_000_000 % 1000);
        let name = format!("{}{}", "  ".repeat(depth), row.name);
        let (start, took) = (milliseconds(row.start.saturating_sub(zero)), milliseconds(row.end - row.start));
        let class = if row.is_error { row.attribute("error.type") } else { "" };
        writeln!(f, "{name:<28} {start:>9} {took:>9}  {} {:<16} {class}", row.id, row.parent)?;
        self.children(&row.id).try_for_each(|child| self.write(child, depth + 1, zero, f))
    }
}

impl fmt::Display for Tree {
    /// Name, start after the first span's and duration in seconds, id, parent, class of error.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let zero = self.rows.iter().map(|row| row.start).min().unwrap_or_default();
        if let Some(row) = self.rows.first() {
            writeln!(f, "trace {}", row.trace)?;
        }
        writeln!(f, "{:<28} {:>9} {:>9}  {:<16} {:<16} error", "span", "start s", "took s", "id", "parent")?;
        self.roots().try_for_each(|root| self.write(root, 0, zero, f))
    }
}
