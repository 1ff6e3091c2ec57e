//! The schema, and the way to it from each older one.

use std::path::Path;

use rusqlite::Connection;

use super::StoreError;

/// Marks the file as a database of piculet-server ("pclt"), so that no other program's is overwritten.
const APPLICATION: i32 = 0x7063_6c74;

/// Each step leads from the version of its place in the list to the next one. Those that were released never change.
///
/// What is only ever read as a whole is a JSON document: fields come and go without a step here. Numbers of nanoseconds
/// count from the Unix epoch.
const STEPS: &[&str] = &["
    CREATE TABLE server (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE workflows (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        document TEXT NOT NULL
    ) STRICT;
    -- What is to be run, with its secrets; gone as soon as the workflow is over.
    CREATE TABLE payloads (workflow INTEGER PRIMARY KEY, workload BLOB NOT NULL) STRICT;
    CREATE TABLE steps (
        workflow INTEGER NOT NULL,
        position INTEGER NOT NULL,
        document TEXT NOT NULL,
        -- A line of which only the beginning has come.
        part_number INTEGER,
        part_time INTEGER,
        part BLOB,
        PRIMARY KEY (workflow, position)
    ) STRICT;
    -- Lines in a row; the number of the first one counts from 0.
    CREATE TABLE log_blocks (
        workflow INTEGER NOT NULL,
        step INTEGER NOT NULL,
        first INTEGER NOT NULL,
        lines BLOB NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX log_blocks_by_line ON log_blocks (workflow, step, first);
    CREATE TABLE agents (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        instance TEXT NOT NULL UNIQUE,
        document TEXT NOT NULL
    ) STRICT;
    CREATE TABLE clusters (name TEXT PRIMARY KEY, document TEXT NOT NULL) STRICT, WITHOUT ROWID;
    -- Of a token itself only its SHA-256 is kept.
    CREATE TABLE tokens (id TEXT PRIMARY KEY, document TEXT NOT NULL) STRICT, WITHOUT ROWID;
    -- The `workflow` of `log_blocks` names a log: that of the workflow with this number, unless it started anew. Then its
    -- log is the negative of this one, and the lines of the former one go by and by.
    CREATE TABLE renewed_logs (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        workflow INTEGER NOT NULL UNIQUE
    ) STRICT;
"];

/// The newest version of the schema.
fn newest() -> u32 {
    u32::try_from(STEPS.len()).unwrap_or(u32::MAX)
}

/// Which steps a database lacks. Changes nothing.
///
/// # Errors
/// If it is another program's, or a newer version's.
pub(super) fn missing(connection: &Connection, path: &Path) -> Result<&'static [&'static str], StoreError> {
    let failed = |error: rusqlite::Error| StoreError::open(path, &error);
    let application: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(failed)?;
    let found: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
    let tables: u32 = connection
        .query_row("SELECT count(*) FROM sqlite_schema WHERE type = 'table'", (), |row| row.get(0))
        .map_err(failed)?;
    if application != APPLICATION && (application != 0 || found != 0 || tables != 0) {
        return Err(StoreError::Foreign { path: path.to_owned() });
    }
    let steps = usize::try_from(found).ok().and_then(|found| STEPS.get(found..));
    steps.ok_or_else(|| StoreError::Newer { path: path.to_owned(), found, known: newest() })
}

/// Brings the schema up to date, all steps or none.
pub(super) fn run(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let failed = |error: rusqlite::Error| StoreError::open(path, &error);
    let transaction = connection.transaction().map_err(failed)?;
    for step in missing(&transaction, path)? {
        transaction.execute_batch(step).map_err(failed)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION).map_err(failed)?;
    transaction.pragma_update(None, "user_version", newest()).map_err(failed)?;
    transaction.commit().map_err(failed)
}
