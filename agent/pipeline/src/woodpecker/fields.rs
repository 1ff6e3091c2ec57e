//! Reading a map by its keys, and values by the types that are expected of them.

use std::rc::Rc;

use super::legacy;
use crate::report::{Report, Span};
use crate::yaml::{Entry, Node, Resolved, Value};

/// So many unknown keys of one map are named.
const MAX_UNKNOWN: usize = 20;

/// The keys of a map, ticked off as they are read, so that what is left is unknown.
pub(super) struct Fields<'n> {
    /// What the map is, for messages: `the workflow`, `step 'build'`.
    pub(super) owner: String,
    entries: &'n [Entry],
    taken: Vec<bool>,
}

impl<'n> Fields<'n> {
    /// The keys of a map; anything else is reported.
    pub(super) fn of(node: &'n Node, owner: impl Into<String>, report: &mut Report<'_>) -> Option<Self> {
        let owner = owner.into();
        match node.entries() {
            Some(entries) => Some(Self { owner, entries, taken: vec![false; entries.len()] }),
            None => {
                report.error("wrong-type", node.span, format!("{owner} has to be a map, not {}", node.kind()));
                None
            }
        }
    }

    /// The value of a key, if it is there and not null.
    pub(super) fn take(&mut self, name: &str) -> Option<&'n Rc<Node>> {
        self.take_entry(name).map(|entry| &entry.value)
    }

    /// Key and value, if the value is not null.
    pub(super) fn take_entry(&mut self, name: &str) -> Option<&'n Entry> {
        let at = self.entries.iter().position(|entry| entry.name() == name)?;
        self.taken[at] = true;
        self.entries.get(at).filter(|entry| !entry.value.is_null())
    }

    /// The value of a key as text.
    pub(super) fn text(&mut self, name: &str, report: &mut Report<'_>) -> Option<String> {
        let value = self.take(name)?;
        text(value, &self.what(name), report)
    }

    /// The value of a key as texts: one, or a list.
    pub(super) fn texts(&mut self, name: &str, report: &mut Report<'_>) -> Vec<Text> {
        let what = self.what(name);
        self.take(name).map(|value| texts(value, &what, report)).unwrap_or_default()
    }

    /// The value of a key as a boolean; false if it is absent.
    pub(super) fn boolean(&mut self, name: &str, report: &mut Report<'_>) -> bool {
        let what = self.what(name);
        self.take(name).and_then(|value| boolean(value, &what, report)).unwrap_or(false)
    }

    /// Names a key in a message.
    pub(super) fn what(&self, name: &str) -> String {
        format!("`{name}` of {}", self.owner)
    }

    /// Warns of the keys that nobody asked for.
    pub(super) fn warn_of_rest(&self, known: &[&str], report: &mut Report<'_>) {
        let rest = || self.entries.iter().zip(&self.taken).filter(|(_, taken)| !**taken).map(|(entry, _)| entry);
        if let Some(entry) = rest().nth(MAX_UNKNOWN) {
            let message = format!("{} has {} more keys that are ignored", self.owner, rest().count() - MAX_UNKNOWN);
            report.warning("unknown-key", entry.key.span, message);
        }
        for entry in rest().take(MAX_UNKNOWN) {
            let name = entry.name();
            if let Some((message, hint)) = legacy::explain(&self.owner, name) {
                report.warning("legacy-key", entry.key.span, message).hint(hint);
                continue;
            }
            let warning = report.warning(
                "unknown-key",
                entry.key.span,
                format!("'{name}' is no key of {}; it is ignored", self.owner),
            );
            if let Some(near) = nearest(name, known) {
                warning.hint(format!("did you mean '{near}'?"));
            }
        }
    }
}

/// A text with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) text: String,
    pub(super) span: Span,
}

/// Any scalar but null counts as the text that is written.
pub(super) fn text(node: &Node, what: &str, report: &mut Report<'_>) -> Option<String> {
    let text = node.text();
    if text.is_none() {
        report.error("wrong-type", node.span, format!("{what} has to be a text, not {}", node.kind()));
    }
    text.map(str::to_owned)
}

/// One text, or a list of them.
pub(super) fn texts(node: &Node, what: &str, report: &mut Report<'_>) -> Vec<Text> {
    let items = match &node.value {
        Value::Sequence(items) => items.iter().map(Rc::as_ref).collect(),
        Value::Scalar(_) => vec![node],
        Value::Mapping(_) => {
            report.error("wrong-type", node.span, format!("{what} has to be a text or a list of texts, not a map"));
            return Vec::new();
        }
    };
    let mut texts = Vec::with_capacity(items.len());
    for item in items {
        match item.text() {
            Some(_) if item.is_null() => {
                report.warning("empty-item", item.span, format!("{what} has an item without a value; it is left out"));
            }
            Some(text) => texts.push(Text { text: text.to_owned(), span: item.span }),
            None => {
                let error = report.error(
                    "wrong-type",
                    item.span,
                    format!("each item of {what} has to be a text, but this is {}", item.kind()),
                );
                if item.entries().is_some() {
                    error.hint("a text with a colon and a space in it has to stand between quotes");
                }
            }
        }
    }
    texts
}

/// `true` and `false`, and the words of YAML 1.1.
pub(super) fn boolean(node: &Node, what: &str, report: &mut Report<'_>) -> Option<bool> {
    let value = match &node.value {
        Value::Scalar(scalar) => scalar.boolean(),
        _ => None,
    };
    if value.is_none() {
        report
            .error("wrong-type", node.span, format!("{what} has to be true or false, not {}", node.kind()))
            .hint("write true or false, without quotes");
    }
    value
}

/// A whole number.
pub(super) fn integer(node: &Node, what: &str, report: &mut Report<'_>) -> Option<i128> {
    if let Value::Scalar(scalar) = &node.value
        && let Resolved::Integer(value) = scalar.resolve()
    {
        return Some(value);
    }
    report.error("wrong-type", node.span, format!("{what} has to be a whole number, not {}", node.kind()));
    None
}

/// The known word that was probably meant.
pub(super) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let allowed = (word.chars().count() / 3).clamp(1, 3);
    known
        .iter()
        .map(|candidate| (distance(word, candidate), *candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

/// How many characters have to be put in, taken out, changed, or swapped with the next one.
fn distance(from: &str, to: &str) -> usize {
    // A word this long is no slip of the finger.
    if from.len() > 64 {
        return from.len();
    }
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=to.len()).collect()];
    for i in 1..=from.len() {
        let mut row = vec![i];
        for j in 1..=to.len() {
            let changed = rows[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let mut best = changed.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn the_nearest_word_is_found_if_it_is_near() {
        let known = ["matrix", "steps", "services", "when"];
        for (word, expected) in [
            ("matri", Some("matrix")),
            ("step", Some("steps")),
            ("serivces", Some("services")),
            ("wen", Some("when")),
            ("wehn", Some("when")),
            ("notify", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, &known), expected, "{word}");
        }
        assert_eq!(nearest(&"s".repeat(100_000), &known), None);
    }
}
