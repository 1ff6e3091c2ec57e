//! The database: what outlives the server's process.
//!
//! One SQLite file beside its write-ahead log; or nothing but memory, for a server that may forget. One connection
//! writes, in the order in which things happened, and each batch is one transaction that is on the disk before anybody
//! is told of it. Readers of logs have connections of their own, so that they hold up no writing.

mod block;
mod failure;
mod load;
mod migrations;
mod pages;
mod upkeep;
mod write;

pub use failure::StoreError;
pub use load::{Loaded, LoadedWorkflow};
pub use pages::{LogPlace, Page};
pub(crate) use upkeep::Pace;

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;

use crate::record::Write;
use upkeep::Upkeep;
use write::Room;

/// How many read at the same time; others wait for their turn.
const READERS: usize = 4;
/// How long SQLite waits where another connection is in the way, which takes moments only.
const BUSY: Duration = Duration::from_secs(10);

/// An open database. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    writer: Mutex<Writer>,
    place: Place,
}

/// The one connection that changes anything.
#[derive(Debug)]
struct Writer {
    connection: Connection,
    upkeep: Upkeep,
}

#[derive(Debug)]
enum Place {
    /// Nothing outlives the store. There is nothing to wait for either: everything is done where it is asked for.
    Memory,
    /// As in memory, but each batch is taken a while after it was asked for: a disk, in a test with a clock of its own.
    Simulated(Duration),
    Disk {
        path: PathBuf,
        readers: Mutex<Vec<Connection>>,
        turns: Semaphore,
        /// Held as long as the store is open.
        _lock: Lock,
    },
}

/// Keeps other servers away as long as it is there.
#[derive(Debug)]
struct Lock {
    path: PathBuf,
    _file: File,
    /// The file was made for this one.
    is_new: bool,
}

impl Store {
    /// An empty one that is gone with its last clone.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn in_memory() -> Result<Self, StoreError> {
        Self::of_memory(Place::Memory)
    }

    /// An empty one that is gone with its last clone, and that takes as long as a disk to write, by tokio's clock. A
    /// server that is dropped meanwhile has written nothing, as if its process had been killed.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn simulated(latency: Duration) -> Result<Self, StoreError> {
        Self::of_memory(Place::Simulated(latency))
    }

    fn of_memory(place: Place) -> Result<Self, StoreError> {
        let path = Path::new(":memory:");
        let writer = Connection::open_in_memory().map_err(|error| StoreError::open(path, &error))?;
        Self::prepare(writer, path, place)
    }

    /// Opens the file, or makes it. Only its owner can read it, since it holds the secrets of workflows that wait: what
    /// others may do with a file that was there is taken away.
    ///
    /// # Errors
    /// If it can't be opened or made, or kept from others; if another server has it open; if it is no database of
    /// piculet, or one of a newer version, which isn't changed then, and gets no files beside it.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        // What is beside a database is beside the file that a link leads to.
        let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let lock = lock(path)?;
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
        let file = file.map_err(|source| StoreError::File { path: path.to_owned(), source });
        if let Err(error) = file.and_then(|_| look_at(path)) {
            lock.leave_nothing();
            return Err(error);
        }
        close_to_others(path, |file, mode| fs::set_permissions(file, mode))?;
        let writer = Connection::open(path).map_err(|error| StoreError::open(path, &error))?;
        let (readers, turns) = (Mutex::new(Vec::new()), Semaphore::new(READERS));
        Self::prepare(writer, path, Place::Disk { path: path.to_owned(), readers, turns, _lock: lock })
    }

    fn prepare(mut connection: Connection, path: &Path, place: Place) -> Result<Self, StoreError> {
        let configured = configure(&connection);
        configured.map_err(|error| StoreError::open(path, &error))?;
        migrations::run(&mut connection, path)?;
        let upkeep = Upkeep::found(&connection)?;
        Ok(Self { inner: Arc::new(Inner { writer: Mutex::new(Writer { connection, upkeep }), place }) })
    }

    /// Whether a batch is written before [`Store::write_now`] returns, without waiting for anything.
    pub(crate) fn is_immediate(&self) -> bool {
        matches!(self.inner.place, Place::Memory)
    }

    /// Everything that it holds but the logs.
    ///
    /// # Errors
    /// If it can't be read, or holds something that makes no sense.
    pub fn load(&self) -> Result<Loaded, StoreError> {
        load::all(&self.writer().connection)
    }

    /// Writes a batch, all of it or nothing.
    ///
    /// # Errors
    /// If it could not be written, for example because the disk is full.
    pub(crate) fn write_now(&self, batch: &[Write]) -> Result<(), StoreError> {
        let Writer { connection, upkeep } = &mut *self.writer();
        let mut written = write::batch(connection, batch, Room::Any);
        if let Err(StoreError::Full) = written {
            // What was forgotten gives room: earlier, or in this batch. If not even that can be done, the second failure
            // tells as much.
            upkeep.go_on(connection, Pace::Idle).ok();
            written = write::batch(connection, batch, Room::OfTheForgotten);
        }
        upkeep.add(written?);
        if self.is_immediate() {
            upkeep.go_on(connection, Pace::Busy)?;
        }
        Ok(())
    }

    /// Writes a batch, all of it or nothing, without holding up other tasks.
    ///
    /// # Errors
    /// As [`Store::write_now`].
    pub(crate) async fn write(&self, batch: &Arc<Vec<Write>>) -> Result<(), StoreError> {
        match &self.inner.place {
            Place::Memory => self.write_now(batch),
            Place::Simulated(latency) => {
                tokio::time::sleep(*latency).await;
                self.write_now(batch)
            }
            Place::Disk { .. } => {
                let (store, batch) = (self.clone(), Arc::clone(batch));
                on_a_thread(move || store.write_now(&batch)).await
            }
        }
    }

    /// Does a part of what batches left to do: forgotten logs go in slices. True if more is left.
    ///
    /// # Errors
    /// As [`Store::write_now`]. It is gone on with when it is called again.
    pub(crate) async fn tidy(&self, pace: Pace) -> Result<bool, StoreError> {
        let store = self.clone();
        match &self.inner.place {
            Place::Memory | Place::Simulated(_) => store.tidy_now(pace),
            Place::Disk { .. } => on_a_thread(move || store.tidy_now(pace)).await,
        }
    }

    fn tidy_now(&self, pace: Pace) -> Result<bool, StoreError> {
        let Writer { connection, upkeep } = &mut *self.writer();
        upkeep.go_on(connection, pace)
    }

    /// Reads lines of a log.
    ///
    /// # Errors
    /// If they can't be read.
    pub async fn lines(&self, log: LogPlace, page: Page) -> Result<Vec<piculet_core::report::LogLine>, StoreError> {
        match &self.inner.place {
            Place::Memory | Place::Simulated(_) => self.lines_now(log, page),
            Place::Disk { turns, .. } => {
                // The semaphore is never closed.
                let _turn = turns.acquire().await;
                let store = self.clone();
                on_a_thread(move || store.read(log, page)).await
            }
        }
    }

    /// Reads lines of a log of a store in memory.
    pub(crate) fn lines_now(
        &self,
        log: LogPlace,
        page: Page,
    ) -> Result<Vec<piculet_core::report::LogLine>, StoreError> {
        pages::read(&self.writer().connection, log, page)
    }

    fn read(&self, log: LogPlace, page: Page) -> Result<Vec<piculet_core::report::LogLine>, StoreError> {
        let Place::Disk { path, readers, .. } = &self.inner.place else { return self.lines_now(log, page) };
        let idle = readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let reader = match idle {
            Some(reader) => reader,
            None => open_reader(path).map_err(|error| StoreError::open(path, &error))?,
        };
        let lines = pages::read(&reader, log, page);
        if lines.is_ok() {
            readers.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
        }
        lines
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        // A transaction that a panic cut short is rolled back when it is dropped.
        self.inner.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(StoreError::Broken { reason: error.to_string() }),
    }
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    // What was acknowledged is there after a power cut, too.
    connection.pragma_update(None, "synchronous", "full")?;
    // Workloads carry secrets: what is deleted is overwritten. Lines of logs aren't, see `upkeep`.
    connection.pragma_update(None, "secure_delete", "on")?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)
}

/// Finds out whether a database is one of ours, and leaves it as it is.
fn look_at(path: &Path) -> Result<(), StoreError> {
    let failed = |error: rusqlite::Error| StoreError::open(path, &error);
    let is_there = |suffix| beside(path, suffix).exists();
    if !is_there("-wal") {
        // All is in the file itself, and SQLite is told that it need not make any beside it.
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        let looker = Connection::open_with_flags(uri(path, "immutable=1"), flags).map_err(failed)?;
        return migrations::missing(&looker, path).map(|_| ());
    }
    let looker = Connection::open(path).map_err(failed)?;
    looker.busy_timeout(BUSY).map_err(failed)?;
    // Who closes a database last writes what is in its log to the file itself.
    looker.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(failed)?;
    if !is_there("-shm") {
        // Nobody else has it open. Who has it alone needs no index of the log that others could see.
        looker.pragma_update(None, "locking_mode", "exclusive").map_err(failed)?;
    }
    migrations::missing(&looker, path).map(|_| ())
}

/// What means something in a URI, or is no ASCII.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.');

/// A path as SQLite takes it with a parameter.
fn uri(path: &Path, parameter: &str) -> String {
    let bytes = path.as_os_str().as_bytes();
    // Between the first two slashes and the third would be the name of a machine.
    let start = if bytes.starts_with(b"/") { "file://" } else { "file:" };
    format!("{start}{}?{parameter}", percent_encode(bytes, ENCODED))
}

/// Lets only the owner read the database, and the files that SQLite keeps beside it.
fn close_to_others(path: &Path, change: impl Fn(&Path, Permissions) -> io::Result<()>) -> Result<(), StoreError> {
    for suffix in ["", "-wal", "-shm"] {
        let file = beside(path, suffix);
        let mode = || fs::metadata(&file).map(|found| found.permissions().mode() & 0o777);
        let close = |open: u32| {
            change(&file, Permissions::from_mode(open & 0o700))?;
            // Some file systems take any mode, and keep their own.
            match mode()? {
                left if left & 0o077 == 0 => Ok(()),
                left => Err(io::Error::other(format!("the file system keeps it at {left:o}"))),
            }
        };
        let closed = mode().and_then(|found| if found & 0o077 == 0 { Ok(()) } else { close(found) });
        match closed {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(StoreError::Exposed { path: file, source }),
            Ok(()) => {}
        }
    }
    Ok(())
}

/// The path of a file beside the database.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let reader = Connection::open_with_flags(path, flags)?;
    reader.busy_timeout(BUSY)?;
    Ok(reader)
}

/// Keeps other servers away. The lock is on a file beside the database: SQLite's own locks come and go.
fn lock(path: &Path) -> Result<Lock, StoreError> {
    let beside = beside(path, ".lock");
    let is_new = !beside.exists();
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&beside);
    let file = file.map_err(|source| StoreError::File { path: beside.clone(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(Lock { path: beside, _file: file, is_new }),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(StoreError::File { path: beside, source }),
    }
}

impl Lock {
    /// The database is not one of ours: what was made beside it goes.
    fn leave_nothing(self) {
        if self.is_new {
            fs::remove_file(&self.path).ok();
        }
    }
}

#[cfg(test)]
mod tests;
