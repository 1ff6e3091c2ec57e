//! What is left to do when a batch is written, a slice at a time: the lines of forgotten logs go, and deleted secrets
//! leave the write-ahead log.
//!
//! Lines may be many GiB, and nobody should wait until they are gone. So a batch only makes their log one that nothing
//! leads to, and that they are to go is written nowhere: a server that is killed finds such logs when it starts again.

use std::collections::VecDeque;
use std::time::Duration;

use rusqlite::{Connection, Transaction};

use super::{BUSY, StoreError};

/// Line data that goes at once, in bytes: as much as may come meanwhile, so that the file doesn't grow.
const SLICE_BYTES: u64 = 16 << 20;
/// Blocks of lines that go at once.
const SLICE_BLOCKS: u32 = 1024;
/// How long the write-ahead log is kept from being emptied by those who read a page of it; a batch may wait as long.
const READERS_PATIENCE: Duration = Duration::from_millis(100);
/// After so many batches that deleted secrets the write-ahead log is emptied, even if there is no quiet moment.
const BATCHES_WITH_SECRETS: u32 = 64;

/// How much else there is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// More is to be written.
    Busy,
    /// Nothing.
    Idle,
}

/// What a batch leaves behind.
#[derive(Debug, Default)]
pub(super) struct Leftovers {
    /// Logs that nothing leads to any more.
    pub(super) logs: Vec<i64>,
    /// Secrets were deleted.
    pub(super) secrets: bool,
}

/// What is left to do.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    logs: VecDeque<i64>,
    /// Batches that deleted secrets which the write-ahead log may still have.
    batches_with_secrets: u32,
}

impl Upkeep {
    /// What a server that was killed left behind.
    pub(super) fn found(connection: &Connection) -> Result<Self, StoreError> {
        // The index leads from each log to the next one.
        let mut query = connection.prepare(
            "WITH RECURSIVE logs (log) AS (
                 SELECT min(workflow) FROM log_blocks
                 UNION ALL
                 SELECT (SELECT min(workflow) FROM log_blocks WHERE workflow > log) FROM logs WHERE log IS NOT NULL
             )
             SELECT log FROM logs WHERE log IS NOT NULL AND log NOT IN (
                 SELECT coalesce(-renewed_logs.number, workflows.number)
                 FROM workflows LEFT JOIN renewed_logs ON renewed_logs.workflow = workflows.number
             )",
        )?;
        let logs = query.query_map((), |row| row.get(0))?.collect::<Result<_, _>>()?;
        // A server that was killed leaves its write-ahead log, with whatever was in it.
        Ok(Self { logs, batches_with_secrets: 1 })
    }

    /// A batch was written.
    pub(super) fn add(&mut self, leftovers: Leftovers) {
        self.logs.extend(leftovers.logs);
        self.batches_with_secrets += u32::from(leftovers.secrets);
    }

    /// Does a part of it; true if that was not all.
    pub(super) fn go_on(&mut self, connection: &mut Connection, pace: Pace) -> Result<bool, StoreError> {
        while let Some(log) = self.logs.front() {
            let transaction = connection.transaction()?;
            let slice = delete_slice(&transaction, *log)?;
            transaction.commit()?;
            if slice.is_last {
                self.logs.pop_front();
            }
            // One that made room for the batch that forgot it is empty already.
            if slice.bytes > 0 {
                return Ok(true);
            }
        }
        let is_due = self.batches_with_secrets > 0 && pace == Pace::Idle;
        if (is_due || self.batches_with_secrets >= BATCHES_WITH_SECRETS) && empty_write_ahead_log(connection)? {
            self.batches_with_secrets = 0;
        }
        Ok(false)
    }
}

/// Deletes lines that a batch forgets in its own transaction: as many as it may bring.
pub(super) fn make_room(transaction: &Transaction<'_>, leftovers: &Leftovers) -> Result<(), StoreError> {
    let mut bytes = 0;
    for log in &leftovers.logs {
        loop {
            let slice = delete_slice(transaction, *log)?;
            bytes += slice.bytes;
            if bytes >= SLICE_BYTES {
                return Ok(());
            }
            if slice.is_last {
                break;
            }
        }
    }
    Ok(())
}

/// What was deleted of a log.
struct Slice {
    bytes: u64,
    /// Nothing is left of it.
    is_last: bool,
}

fn delete_slice(transaction: &Transaction<'_>, log: i64) -> Result<Slice, StoreError> {
    // What is overwritten is written twice, to the write-ahead log first: as much room again as becomes free. Lines are
    // no payloads: their secrets were masked by the agent.
    transaction.pragma_update(None, "secure_delete", "off")?;
    let deleted = delete_blocks(transaction, log);
    transaction.pragma_update(None, "secure_delete", "on")?;
    deleted
}

fn delete_blocks(transaction: &Transaction<'_>, log: i64) -> Result<Slice, StoreError> {
    let blocks = "SELECT rowid, length(lines) FROM log_blocks WHERE workflow = ?1 ORDER BY step, first LIMIT ?2";
    let blocks: Vec<(i64, u64)> = transaction
        .prepare_cached(blocks)?
        .query_map((log, SLICE_BLOCKS), |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs())))?
        .collect::<Result<_, _>>()?;
    let mut is_last = u32::try_from(blocks.len()).is_ok_and(|count| count < SLICE_BLOCKS);
    let mut bytes = 0;
    let mut delete = transaction.prepare_cached("DELETE FROM log_blocks WHERE rowid = ?1")?;
    for (block, size) in blocks {
        if bytes >= SLICE_BYTES {
            is_last = false;
            break;
        }
        delete.execute([block])?;
        bytes += size;
    }
    Ok(Slice { bytes, is_last })
}

/// Moves what the write-ahead log has to the file, and leaves nothing of it. False if a reader needs it still.
fn empty_write_ahead_log(connection: &Connection) -> Result<bool, StoreError> {
    connection.busy_timeout(READERS_PATIENCE)?;
    let is_busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| row.get::<_, bool>(0));
    connection.busy_timeout(BUSY)?;
    Ok(!is_busy?)
}

#[cfg(test)]
mod tests;
