//! What is wrong with a pipeline file, for people and for programs.

mod render;

use std::fmt;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Severity {
    /// The file can't be run.
    Error,
    /// The file runs, maybe not as its author meant.
    Warning,
}

/// A place in a file, as it was written: before any variable was replaced.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Location {
    /// The first line is 1.
    pub line: usize,
    /// In characters; the first is 1.
    pub column: usize,
    /// How many characters of the line it takes; at least 1.
    pub width: usize,
    /// The line; of a very wide one the part around the place.
    pub text: String,
    /// How many characters of the line come before `text`.
    pub skipped: usize,
}

/// One thing to say about a pipeline file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Diagnostic {
    /// Stable over releases, for people who search and programs that branch.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, as a sentence without a capital and a full stop. Never holds a secret's value.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Where; absent if it is about the file as a whole.
    pub location: Option<Location>,
    /// Other places that explain it, each with what it is.
    pub related: Vec<(Location, String)>,
}

impl Diagnostic {
    /// Adds what to do about it.
    pub(crate) fn hint(&mut self, hint: impl Into<String>) -> &mut Self {
        self.hint = Some(hint.into());
        self
    }

    /// Replaces each of these values wherever it could be shown.
    fn hide(&mut self, values: &[&str]) {
        hide(&mut self.message, values);
        if let Some(hint) = &mut self.hint {
            hide(hint, values);
        }
        let places = self.location.iter_mut().chain(self.related.iter_mut().map(|(place, _)| place));
        for place in places {
            hide(&mut place.text, values);
        }
    }
}

/// All that is to say about a file, in the order of the file. As an error it holds at least one
/// [`Severity::Error`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Diagnostics {
    /// The file's name.
    pub file: String,
    /// What was found.
    pub list: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Sorts by place, drops what was said twice (a matrix says most things once per combination), and hides the
    /// values of secrets: a file may hold by mistake what a secret was meant to hide.
    pub(crate) fn new(file: &str, mut list: Vec<Diagnostic>, secrets: &[&str]) -> Self {
        let mut said = std::collections::HashSet::new();
        list.retain(|diagnostic| said.insert(diagnostic.clone()));
        list.sort_by_key(|diagnostic| diagnostic.location.as_ref().map(|place| (place.line, place.column)));
        for diagnostic in &mut list {
            diagnostic.hide(secrets);
        }
        Self { file: file.to_owned(), list }
    }

    /// Whether anything of it keeps the file from running.
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// One by one.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.list.iter()
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl std::error::Error for Diagnostics {}

impl fmt::Display for Diagnostics {
    /// Each with the lines that it is about, then a count. Several lines, without a line end at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        render::all(self, f)
    }
}

/// Values shorter than this occur in any text by chance.
const SHORTEST_HIDDEN: usize = 4;

fn hide(text: &mut String, values: &[&str]) {
    for value in values.iter().flat_map(|value| value.lines()) {
        let value = value.trim();
        if value.len() >= SHORTEST_HIDDEN && text.contains(value) {
            *text = text.replace(value, "********");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Diagnostic, Diagnostics, Location, Severity};

    fn at(line: usize, column: usize, width: usize, text: &str) -> Location {
        Location { line, column, width, text: text.to_owned(), skipped: 0 }
    }

    fn error(code: &'static str, message: &str, location: Option<Location>) -> Diagnostic {
        Diagnostic {
            code,
            severity: Severity::Error,
            message: message.to_owned(),
            hint: None,
            location,
            related: Vec::new(),
        }
    }

    #[test]
    fn they_look_like_a_compilers() {
        let mut twice =
            error("yaml-duplicate-key", "the key 'image' stands here twice", Some(at(12, 5, 5, "\timage: b")));
        twice.related.push((at(3, 1, 5, "image: a"), "the first one".to_owned()));
        twice.severity = Severity::Warning;
        let mut cut = error("a-code", "a wide line", Some(Location { skipped: 296, ..at(2, 301, 1, "a, b, c") }));
        cut.hint("make it shorter");
        let whole = error("not-utf8", "the file is UTF-16", None);
        let found = Diagnostics::new("ci/build.yaml", vec![twice, cut, whole], &[]);
        insta::assert_snapshot!(found, @r"
        error[not-utf8]: the file is UTF-16
         --> ci/build.yaml

        error[a-code]: a wide line
         --> ci/build.yaml:2:301
          |
        2 | …a, b, c
          |      ^
          = help: make it shorter

        warning[yaml-duplicate-key]: the key 'image' stands here twice
          --> ci/build.yaml:12:5
           |
        12 |  image: b
           |     ^^^^^
          ::: ci/build.yaml:3:1
           |
         3 | image: a
           | ^^^^^ the first one

        2 errors, 1 warning in ci/build.yaml
        ");
    }

    #[test]
    fn what_was_said_once_is_not_said_again() {
        let one = error("a", "m", Some(at(1, 1, 1, "x")));
        let other = error("a", "m", Some(at(1, 2, 1, "x")));
        let found = Diagnostics::new("f", vec![other.clone(), one.clone(), other.clone(), one.clone()], &[]);
        assert_eq!(found.list, [one, other]);
    }

    #[test]
    fn no_secret_is_shown() {
        let mut leak = error("a", "token 'hunter22' is bad", Some(at(1, 1, 1, "- hunter22 PIN 123")));
        leak.hint("not hunter22");
        leak.related.push((at(2, 1, 1, "line two of a key"), "r".to_owned()));
        let found = Diagnostics::new("f", vec![leak], &["hunter22", "line one\nline two of a key\n", "123"]);
        let shown = found.to_string();
        assert!(!shown.contains("hunter22") && !shown.contains("line two"), "{shown}");
        assert!(shown.contains("PIN 123"), "short values are no secrets: {shown}");
    }
}
