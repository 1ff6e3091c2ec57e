//! What can go wrong with the database.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;
use rusqlite::ffi::SQLITE_CONSTRAINT_TRIGGER;

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
    /// Others may read it, and that can't be changed.
    #[error(
        "others may read {}, which holds secrets, and its mode can't be changed: {source}; make it the file of the user \
         that the server runs as, on a file system that knows modes",
        path.display()
    )]
    Exposed {
        /// The database, or a file that belongs to it.
        path: PathBuf,
        /// Why.
        source: io::Error,
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
    /// What was to be written contradicts what is there, or the schema. That is a fault of the server, and doesn't pass
    /// by itself.
    #[error("the database refused to store {what}: {reason}")]
    Contradiction {
        /// Which object.
        what: String,
        /// SQLite's words.
        reason: String,
    },
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

    /// The same, about this object.
    pub(super) fn about(self, what: impl FnOnce() -> String) -> Self {
        match self {
            Self::Contradiction { reason, .. } => Self::Contradiction { what: what(), reason },
            other => other,
        }
    }

    pub(super) fn corrupt(what: impl Into<String>, reason: impl ToString) -> Self {
        Self::Corrupt { what: what.into(), reason: reason.to_string() }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let reason = error.to_string();
        match error.sqlite_error().map(|error| (error.code, error.extended_code)) {
            Some((ErrorCode::DiskFull, _)) => Self::Full,
            // The schema has no triggers: somebody else's may go as it came.
            Some((ErrorCode::ConstraintViolation, SQLITE_CONSTRAINT_TRIGGER)) => Self::Broken { reason },
            Some((ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig, _)) => {
                Self::Contradiction { what: "a change".to_owned(), reason }
            }
            _ => Self::Broken { reason },
        }
    }
}
