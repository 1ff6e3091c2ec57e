//! Diagnostics as text, in the manner of rustc.

use std::fmt;

use super::{Diagnostic, Diagnostics, Location, Severity};

pub(super) fn all(found: &Diagnostics, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for diagnostic in &found.list {
        one(&found.file, diagnostic, f)?;
        writeln!(f)?;
    }
    let count = |severity| found.list.iter().filter(|diagnostic| diagnostic.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    match (errors, warnings) {
        (0, w) => write!(f, "{w} warning{} in {}", plural(w), found.file),
        (e, 0) => write!(f, "{e} error{} in {}", plural(e), found.file),
        (e, w) => write!(f, "{e} error{}, {w} warning{} in {}", plural(e), plural(w), found.file),
    }
}

fn one(file: &str, diagnostic: &Diagnostic, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let severity = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    writeln!(f, "{severity}[{}]: {}", diagnostic.code, diagnostic.message)?;
    let lines = diagnostic.location.iter().chain(diagnostic.related.iter().map(|(place, _)| place));
    let margin = lines.map(|place| place.line.to_string().len()).max().unwrap_or(1);
    match &diagnostic.location {
        None => writeln!(f, "{:margin$}--> {file}", "")?,
        Some(place) => {
            writeln!(f, "{:margin$}--> {file}:{}:{}", "", place.line, place.column)?;
            snippet(place, "", margin, f)?;
        }
    }
    for (place, label) in &diagnostic.related {
        writeln!(f, "{:margin$}::: {file}:{}:{}", "", place.line, place.column)?;
        snippet(place, label, margin, f)?;
    }
    if let Some(hint) = &diagnostic.hint {
        writeln!(f, "{:margin$} = help: {hint}", "")?;
    }
    Ok(())
}

fn snippet(place: &Location, label: &str, margin: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let shown = place.text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let cut = if place.skipped > 0 { "…" } else { "" };
    let indent = (place.column - 1).saturating_sub(place.skipped) + cut.chars().count();
    writeln!(f, "{:margin$} |", "")?;
    let text = format!("{cut}{}", shown.collect::<String>());
    writeln!(f, "{:>margin$} | {}", place.line, text.trim_end())?;
    let mark = format!("{:indent$}{} {label}", "", "^".repeat(place.width));
    writeln!(f, "{:margin$} | {}", "", mark.trim_end())
}
