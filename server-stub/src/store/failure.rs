//! What can go wrong with the database.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

/// The database can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file can't be opened or made.
    #[error("the database file {} can't be opened: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another server has it open.
    #[error("the database {} is in use by another piculet-server; each server needs one of its own", path.display())]
    InUse {
        /// Which.
        path: PathBuf,
    },
    /// SQLite doesn't take it.
    #[error("the database {} can't be used: {reason}", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// SQLite's words.
        reason: String,
    },
    /// It belongs to something else.
    #[error("{} is a database, but not one of piculet-server; give another path", path.display())]
    Foreign {
        /// Which.
        path: PathBuf,
    },
    /// A newer server made it.
    #[error(
        "the database {} has version {found} of the schema, and this server knows versions up to {known}; run the server \
         that made it, or a newer one",
        path.display()
    )]
    Newer {
        /// Which.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest that is known.
        known: u32,
    },
    /// Something in it makes no sense.
    #[error("the database holds {what} that can't be read: {reason}; restore it from a backup, or remove that row")]
    Corrupt {
        /// Which row of which table.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It belongs to a server of another identity.
    #[error(
        "the database is that of the server '{stored}', and not of '{wanted}'; object names are made from the identity, \
         so it can't change: leave it out"
    )]
    OtherServer {
        /// Whose it is.
        stored: String,
        /// What was asked for.
        wanted: String,
    },
    /// There is no room to write.
    #[error("the disk of the database is full")]
    Full,
    /// A request failed.
    #[error("the database failed: {reason}")]
    Broken {
        /// SQLite's words.
        reason: String,
    },
}

impl StoreError {
    pub(super) fn open(path: &Path, error: &rusqlite::Error) -> Self {
        Self::Open { path: path.to_owned(), reason: error.to_string() }
    }

    pub(super) fn corrupt(what: impl Into<String>, reason: impl ToString) -> Self {
        Self::Corrupt { what: what.into(), reason: reason.to_string() }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            _ => Self::Broken { reason: error.to_string() },
        }
    }
}
