//! Collects what is wrong while a file is read.

use std::ops::Range;

use crate::diagnostic::{Diagnostic, Severity};
use crate::source::Lines;
use crate::substitute::Substituted;

/// Bytes of the text after substitution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// What was found so far in one reading of a file. Places are given in the text after substitution and kept as those
/// of the file as it was written.
#[derive(Debug)]
pub(crate) struct Report<'t> {
    text: &'t Substituted<'t>,
    lines: Lines<'t>,
    found: Vec<Diagnostic>,
    /// Where one too many goes.
    excess: Option<Diagnostic>,
}

/// Longer lines are not shown as they read after substitution.
const MAX_LINE: usize = 160;

/// Of each severity. More than this helps nobody, and a hostile file could ask for millions.
const MAX_FOUND: usize = 50;

impl<'t> Report<'t> {
    pub(crate) fn new(text: &'t Substituted<'t>) -> Self {
        let mut report = Self { text, lines: Lines::new(text.original), found: Vec::new(), excess: None };
        for problem in &text.problems {
            let location = report.lines.locate(&problem.place);
            report.found.push(Diagnostic {
                code: problem.code,
                severity: problem.severity,
                message: problem.message.clone(),
                hint: Some(problem.hint.clone()),
                location: Some(location),
                related: Vec::new(),
            });
        }
        report
    }

    pub(crate) fn error(&mut self, code: &'static str, span: Span, message: impl Into<String>) -> &mut Diagnostic {
        self.add(Severity::Error, code, span, message.into())
    }

    pub(crate) fn warning(&mut self, code: &'static str, span: Span, message: impl Into<String>) -> &mut Diagnostic {
        self.add(Severity::Warning, code, span, message.into())
    }

    /// A warning that is said once, however often its reason comes up.
    pub(crate) fn warning_once(&mut self, code: &'static str, span: Span, message: String) {
        if !self.found.iter().any(|other| other.code == code && other.message == message) {
            self.add(Severity::Warning, code, span, message);
        }
    }

    /// How the line of a place reads after substitution, if that changed it.
    pub(crate) fn replaced_line(&self, span: Span) -> Option<&'t str> {
        let text: &'t str = &self.text.text;
        let start = text.get(..span.start)?.rfind('\n').map_or(0, |at| at + 1);
        let line = text.get(start..)?.lines().next()?;
        let original = self.lines.locate(&self.original(Span { start, end: start }));
        (original.text != line && original.skipped == 0 && line.len() <= MAX_LINE).then_some(line)
    }

    /// Adds another place to what was said last.
    pub(crate) fn related(&mut self, span: Span, label: impl Into<String>) {
        let location = self.lines.locate(&self.original(span));
        if let Some(last) = self.found.last_mut().filter(|_| self.excess.is_none()) {
            last.related.push((location, label.into()));
        }
    }

    pub(crate) fn into_found(self) -> Vec<Diagnostic> {
        self.found
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.found.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    fn add(&mut self, severity: Severity, code: &'static str, span: Span, message: String) -> &mut Diagnostic {
        let mut found = Diagnostic { code, severity, message, hint: None, location: None, related: Vec::new() };
        if self.found.iter().filter(|other| other.severity == severity).count() >= MAX_FOUND {
            return self.excess.insert(found);
        }
        found.location = Some(self.lines.locate(&self.original(span)));
        self.excess = None;
        self.found.push(found);
        let last = self.found.len() - 1;
        &mut self.found[last]
    }

    fn original(&self, span: Span) -> Range<usize> {
        self.text.original_range(span.start..span.end)
    }
}
