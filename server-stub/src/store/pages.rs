//! Lines of a log, read back.

use piculet_core::report::LogLine;
use rusqlite::{Connection, OptionalExtension as _};

use super::{StoreError, block};

/// Names a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogPlace {
    /// The number of the workflow.
    pub workflow: u64,
    /// The place of the step in the workflow, from 0.
    pub step: usize,
}

/// Which lines of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// The lowest number.
    pub from: u64,
    /// How many lines at most.
    pub lines: usize,
    /// How many bytes at most; one line comes whatever its length.
    pub bytes: usize,
}

/// The lines of a page, in the order of their numbers. A number that lacks is missing, or was not stored yet.
pub(super) fn read(connection: &Connection, log: LogPlace, page: Page) -> Result<Vec<LogLine>, StoreError> {
    let (workflow, step, from) = (integer(log.workflow), log.step as i64, integer(page.from));
    // The log that is found is the one that is read: both see the database as it is now.
    let snapshot = connection.unchecked_transaction()?;
    let log = log_of(&snapshot, workflow)?;
    let mut blocks = snapshot.prepare_cached(
        "SELECT first, lines FROM log_blocks WHERE workflow = ?1 AND step = ?2 AND first >= coalesce(
             (SELECT max(first) FROM log_blocks WHERE workflow = ?1 AND step = ?2 AND first <= ?3), 0)
         ORDER BY first",
    )?;
    let mut rows = blocks.query((log, step, from))?;
    let mut lines = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        let first: i64 = row.get(0)?;
        let what = || format!("lines from {first} on of step {step} of workflow {workflow}");
        let block = row.get_ref(1)?.as_blob().map_err(|error| StoreError::corrupt(what(), error))?;
        let block = block::decode(first.unsigned_abs(), block).map_err(|error| StoreError::corrupt(what(), error))?;
        for line in block.filter(|line| line.number >= page.from) {
            bytes += line.bytes.len();
            if lines.len() == page.lines || (bytes > page.bytes && !lines.is_empty()) {
                return Ok(lines);
            }
            lines.push(line);
        }
    }
    Ok(lines)
}

/// The log that a workflow has now.
pub(super) fn log_of(connection: &Connection, workflow: i64) -> rusqlite::Result<i64> {
    let mut renewed = connection.prepare_cached("SELECT -number FROM renewed_logs WHERE workflow = ?1")?;
    Ok(renewed.query_row([workflow], |row| row.get(0)).optional()?.unwrap_or(workflow))
}

/// As SQLite counts. Numbers above its range don't occur: reports with such numbers of lines are refused.
pub(super) fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
