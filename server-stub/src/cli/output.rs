//! What is printed: results on the standard output, everything else on the standard error.

use std::io::{self, Write};

use serde::Serialize;

use super::exit::Failure;

/// Where a command prints.
#[derive(Debug)]
pub(super) struct Output {
    is_json: bool,
}

impl Output {
    pub(super) fn new(is_json: bool) -> Self {
        Self { is_json }
    }

    /// Whether JSON is wanted.
    pub(super) fn is_json(&self) -> bool {
        self.is_json
    }

    /// Prints a line of the result.
    pub(super) fn line(&mut self, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        writeln!(out, "{text}").and_then(|()| out.flush()).map_err(Failure::Output)
    }

    /// Prints the result as JSON.
    pub(super) fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value).map_err(|error| Failure::Internal(error.to_string()))?;
        self.line(&text)
    }

    /// Prints a table with a head. The last column isn't padded.
    pub(super) fn table<const N: usize>(&mut self, head: [&str; N], rows: &[[String; N]]) -> Result<(), Failure> {
        let head = head.map(str::to_owned);
        let widths: [usize; N] = std::array::from_fn(|column| {
            rows.iter().chain([&head]).map(|row| row[column].chars().count()).max().unwrap_or_default()
        });
        for row in [&head].into_iter().chain(rows) {
            let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
            self.line(cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }

    /// Tells something beside the result.
    pub(super) fn note(&mut self, text: &str) {
        // Nothing can be done if even this can't be written.
        writeln!(io::stderr(), "{text}").ok();
    }

    /// Tells what went wrong.
    pub(super) fn failure(&mut self, failure: &Failure) {
        if matches!(failure, Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe) {
            return;
        }
        self.note(&format!("error[{}]: {failure}", failure.code()));
    }
}
