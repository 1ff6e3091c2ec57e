//! One `${…}`: its form, and the value that takes its place.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

use super::{MAX_TEXT, Problem, operators, too_large};
use crate::diagnostic::Severity;

/// `${a:-${b:-${c}}}` has depth 3.
const MAX_DEPTH: usize = 16;

/// Reads one expansion. `at` stands behind the `${` at first, behind the `}` at the end.
pub(super) struct Expansion<'t, 'l, 'v> {
    text: &'t str,
    start: usize,
    at: usize,
    lookup: &'l dyn Fn(&str) -> Option<&'v str>,
    /// What a variable without a value becomes.
    missing: &'l str,
    /// Names that stand alone and have no value.
    unknown: Vec<&'t str>,
    /// Operators that mean something else in a shell.
    unlike_shell: Vec<String>,
}

impl<'t, 'v> Expansion<'t, '_, 'v> {
    pub(super) fn new<'l>(
        text: &'t str,
        at: usize,
        lookup: &'l dyn Fn(&str) -> Option<&'v str>,
        missing: &'l str,
    ) -> Expansion<'t, 'l, 'v> {
        Expansion { text, start: at - 2, at, lookup, missing, unknown: Vec::new(), unlike_shell: Vec::new() }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// What takes the place of the expansion.
    pub(super) fn value(&mut self) -> Result<String, Problem> {
        self.expansion(1)
    }

    /// What its author should know. Each unknown name is told once in a text.
    pub(super) fn warnings(&self, place: Range<usize>, told: &mut BTreeSet<String>) -> Vec<Problem> {
        let warning =
            |code, message, hint| Problem { code, severity: Severity::Warning, place: place.clone(), message, hint };
        let mut warnings = Vec::new();
        for name in &self.unknown {
            if told.insert((*name).to_owned()) {
                warnings.push(warning(
                    "unknown-variable",
                    format!("`${{{name}}}` is replaced by nothing: no variable has this name before the steps start"),
                    format!("to leave it to the shell of the step, write `$${{{name}}}`"),
                ));
            }
        }
        for operator in &self.unlike_shell {
            warnings.push(warning(
                "unlike-shell",
                format!("here `{operator}` means `:-`, unlike in a shell"),
                "to leave it to the shell of the step, write `$${…}`".to_owned(),
            ));
        }
        warnings
    }

    fn expansion(&mut self, depth: usize) -> Result<String, Problem> {
        if depth > MAX_DEPTH {
            return Err(self.problem(format!("more than {MAX_DEPTH} `${{` inside each other")));
        }
        if self.skip("#") {
            let name = self.name();
            return if name.is_empty() {
                Err(self.not_a_form())
            } else {
                self.closed(self.get(name).len().to_string())
            };
        }
        let name = self.name();
        if name.is_empty() {
            return Err(self.not_a_form());
        }
        // A name may have dashes, for example that of a matrix axis; else the first dash is an operator.
        let dashed = self.dashed_name(name);
        if (self.lookup)(dashed).is_some() {
            self.at += dashed.len() - name.len();
            return self.operator(dashed, depth);
        }
        self.operator(name, depth)
    }

    fn operator(&mut self, name: &'t str, depth: usize) -> Result<String, Problem> {
        let value = self.get(name);
        if self.skip("}") {
            if (self.lookup)(name).is_some() {
                return Ok(value.into_owned());
            }
            if !is_built_in(name) {
                self.unknown.push(name);
            }
            return Ok(self.missing.to_owned());
        }
        for operator in [":-", ":=", ":?", ":+", "-", "=", "?", "+"] {
            if self.skip(operator) {
                if operator.ends_with(['?', '+']) {
                    self.unlike_shell.push(operator.to_owned());
                }
                let word = self.word(&['}'], false, depth)?;
                return self.closed(if value.is_empty() { word } else { value.into_owned() });
            }
        }
        for (operator, change) in operators::CASES {
            if self.skip(operator) {
                return self.closed(change(&value));
            }
        }
        for (operator, trim) in operators::TRIMS {
            if self.skip(operator) {
                let glob = self.word(&['}'], false, depth)?;
                return self.closed(trim(&value, &glob));
            }
        }
        for (operator, replace) in operators::REPLACEMENTS {
            if self.skip(operator) {
                let from = self.word(&['/', '}'], true, depth)?;
                let to = if self.skip("/") { self.word(&['}'], true, depth)? } else { String::new() };
                self.check_size(value.matches(&from).count().saturating_mul(to.len()))?;
                return self.closed(replace(&value, &from, &to));
            }
        }
        if self.skip(":") {
            let offset = self.word(&[':', '}'], false, depth)?;
            let length = if self.skip(":") { Some(self.word(&['}'], false, depth)?) } else { None };
            return self.closed(operators::part(&value, &offset, length.as_deref()));
        }
        Err(self.not_a_form())
    }

    /// A word up to one of `stop`, which stays unread. With `escapes`, `\/` and `\\` stand for `/` and `\`.
    fn word(&mut self, stop: &[char], escapes: bool, depth: usize) -> Result<String, Problem> {
        let mut word = String::new();
        loop {
            self.check_size(word.len())?;
            if self.skip("${") {
                let inner = self.expansion(depth + 1)?;
                word.push_str(&inner);
            } else if self.skip("$$") {
                word.push('$');
            } else if escapes && self.skip("\\/") {
                word.push('/');
            } else if escapes && self.skip("\\\\") {
                word.push('\\');
            } else {
                match self.rest().chars().next() {
                    None => return Err(self.problem("this `${` is never closed".to_owned())),
                    Some(next) if stop.contains(&next) => return Ok(word),
                    Some(next) => {
                        word.push(next);
                        self.at += next.len_utf8();
                    }
                }
            }
        }
    }

    fn check_size(&self, size: usize) -> Result<(), Problem> {
        if size > MAX_TEXT { Err(too_large(self.start..self.start + 2)) } else { Ok(()) }
    }

    fn closed(&mut self, value: String) -> Result<String, Problem> {
        if self.skip("}") { Ok(value) } else { Err(self.not_a_form()) }
    }

    fn get(&self, name: &str) -> Cow<'v, str> {
        let value = (self.lookup)(name).unwrap_or_default();
        if value.contains('\n') { Cow::Owned(quoted(value)) } else { Cow::Borrowed(value) }
    }

    fn name(&mut self) -> &'t str {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }

    /// The name just read, longer by what follows if dashes were part of it.
    fn dashed_name(&self, name: &str) -> &'t str {
        let from = self.at - name.len();
        let text = self.text.get(from..).unwrap_or_default();
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '-').unwrap_or(text.len());
        text.get(..end).unwrap_or_default()
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        self.at += if found { token.len() } else { 0 };
        found
    }

    fn not_a_form(&self) -> Problem {
        // Up to the closing brace if it is near, to show the whole thing.
        let text = self.text.get(self.start..).unwrap_or_default();
        let line = text.lines().next().unwrap_or_default();
        let shown = line.find('}').and_then(|end| line.get(..=end)).unwrap_or("${");
        let mut problem = self.problem(format!("`{shown}` is no form of substitution that pipeline files know"));
        problem.place.end = self.start + shown.len();
        problem
    }

    fn problem(&self, message: String) -> Problem {
        Problem {
            code: "bad-substitution",
            severity: Severity::Error,
            place: self.start..self.start + 2,
            message,
            hint: "to leave it to the shell of the step, write `$${`".to_owned(),
        }
    }
}

/// Names that the server owns: having no value is normal for them.
fn is_built_in(name: &str) -> bool {
    name == "CI" || name.starts_with("CI_")
}

/// As Go writes a string, which is also how YAML reads one between double quotes.
fn quoted(value: &str) -> String {
    let mut quoted = String::with_capacity(value.len() + 16);
    quoted.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_ascii_control() => quoted.push_str(&hex(c)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn hex(c: char) -> String {
    format!("\\x{:02x}", u32::from(c))
}
