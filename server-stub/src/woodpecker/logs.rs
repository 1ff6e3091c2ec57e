//! The lines of all steps, with the database's unique key of step and line, and what it does to a batch that holds a known
//! line.

use std::collections::BTreeMap;

use bytes::Bytes;
use piculet_proto::woodpecker as pb;

/// Entries of one insert.
const CHUNK: usize = 1000;

/// A line of a step's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its number, from 0.
    pub line: i32,
    /// Seconds since the step's log began.
    pub time: i64,
    /// 0: standard output.
    pub kind: i32,
    /// What it says.
    pub data: Bytes,
}

/// The lines of all steps, by the step's UUID.
#[derive(Debug, Default)]
pub struct Logs {
    steps: BTreeMap<String, BTreeMap<i32, Line>>,
}

impl Logs {
    /// Takes lines of one step, a chunk at a time. A chunk with a line that is known, or twice in it, is dropped whole, and
    /// so is all that comes after it; nobody is told. Returns how many were stored.
    pub fn append(&mut self, step: &str, entries: &[pb::LogEntry]) -> usize {
        let lines = self.steps.entry(step.to_owned()).or_default();
        let mut stored = 0;
        for chunk in entries.chunks(CHUNK) {
            let new: BTreeMap<i32, Line> = chunk.iter().map(|entry| (entry.line, Line::from(entry))).collect();
            if new.len() < chunk.len() || new.keys().any(|line| lines.contains_key(line)) {
                break;
            }
            stored += new.len();
            lines.extend(new);
        }
        stored
    }

    /// The lines of a step, by their numbers.
    pub fn lines(&self, step: &str) -> Vec<Line> {
        self.steps.get(step).map(|lines| lines.values().cloned().collect()).unwrap_or_default()
    }
}

impl From<&pb::LogEntry> for Line {
    fn from(entry: &pb::LogEntry) -> Self {
        Self { line: entry.line, time: entry.time, kind: entry.r#type, data: entry.data.clone() }
    }
}

/// Consecutive entries of the same step.
pub(super) fn groups(entries: &[pb::LogEntry]) -> impl Iterator<Item = &[pb::LogEntry]> {
    entries.chunk_by(|one, next| one.step_uuid == next.step_uuid)
}

#[cfg(test)]
mod tests;
