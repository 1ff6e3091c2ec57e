//! A folder for the log lines that memory is too small for. Each block of lines is a file, so that its space is given
//! back the moment it is read.
//!
//! ```text
//! <logs.directory>/piculet-logs-0/lock        held by the agent that the folder belongs to
//!                                /block-17    lines, masked
//! ```
//!
//! Agents may share a directory: each has a folder of its own, which it holds by a lock on a file in it. A folder whose
//! lock nobody holds was left by an agent that was killed; the next one that starts removes it.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use piculet_core::logs::spool::BlockId;
use rustix::fs::OFlags;

/// What the names of all folders begin with; a number follows.
const FOLDER: &str = "piculet-logs-";
/// What the names of all blocks begin with; a number follows.
const BLOCK: &str = "block-";
/// The file that is locked.
const LOCK: &str = "lock";
/// More agents than this don't share a directory.
const MOST_FOLDERS: u32 = 10_000;

/// A folder that belongs to this process. Dropping it removes it.
#[derive(Debug)]
pub struct LogFolder {
    path: PathBuf,
    /// Closing it gives the lock back.
    _lock: File,
}

/// A directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum LogFolderError {
    /// Its name depends on where the process was started.
    #[error("'{}' is not absolute; write the whole path, beginning with /", .0.display())]
    Relative(PathBuf),
    /// A file or a folder can't be made, or not be locked.
    #[error("'{}' can't be used: {error}; the agent's user has to be allowed to make it, and to write in it", path.display())]
    Unusable {
        /// What could not be made.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// All names are taken.
    #[error("'{}' has {MOST_FOLDERS} folders of other agents; give this one a directory of its own", .0.display())]
    Crowded(PathBuf),
}

impl LogFolder {
    /// Makes a folder in `directory`, which is made too if it does not exist, and removes those that killed agents left
    /// there. Only the user of this process can read what is in it.
    ///
    /// # Errors
    /// The directory can't be used.
    pub fn open(directory: &Path) -> Result<Self, LogFolderError> {
        if !directory.is_absolute() {
            return Err(LogFolderError::Relative(directory.to_owned()));
        }
        let unusable = |path: &Path, error| LogFolderError::Unusable { path: path.to_owned(), error };
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(directory).map_err(|error| unusable(directory, error))?;
        sweep(directory).map_err(|error| unusable(directory, error))?;
        for number in 0..MOST_FOLDERS {
            let path = directory.join(format!("{FOLDER}{number}"));
            match Self::claim(&path) {
                Ok(Some(folder)) => return Ok(folder),
                Ok(None) => {}
                Err(error) => return Err(unusable(&path, error)),
            }
        }
        Err(LogFolderError::Crowded(directory.to_owned()))
    }

    /// Makes this folder; `None` if somebody else has it, or takes it for one that was left.
    fn claim(path: &Path) -> io::Result<Option<Self>> {
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(None),
            made => made?,
        }
        let name = path.join(LOCK);
        let lock = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&name) {
            // Somebody swept here before there was a lock; then somebody else may have made the folder anew.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::AlreadyExists) => return Ok(None),
            opened => opened?,
        };
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
            Ok(()) => {}
        }
        // Or between the file and its lock.
        Ok(is_at(&lock, &name).then(|| Self { path: path.to_owned(), _lock: lock }))
    }

    /// Where a block is.
    pub(crate) fn block(&self, id: BlockId) -> PathBuf {
        self.path.join(format!("{BLOCK}{id}"))
    }

    /// Keeps a block.
    ///
    /// # Errors
    /// It can't be written; nothing is left of it then, if that is possible.
    pub(crate) fn write(&self, id: BlockId, bytes: &[u8]) -> io::Result<()> {
        let path = self.block(id);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(bytes).inspect_err(|_| _ = fs::remove_file(&path))
    }

    /// Gives a block back, which has this length; other bytes than were written if it was changed. It stays.
    ///
    /// # Errors
    /// It can't be read.
    pub(crate) fn fetch(&self, id: BlockId, length: usize) -> io::Result<Bytes> {
        let file = File::open(self.block(id))?;
        let mut bytes = Vec::with_capacity(length);
        file.take(length as u64).read_to_end(&mut bytes)?;
        Ok(bytes.into())
    }

    /// Keeps a block no longer.
    ///
    /// # Errors
    /// It can't be removed.
    pub(crate) fn remove(&self, id: BlockId) -> io::Result<()> {
        match fs::remove_file(self.block(id)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

impl Drop for LogFolder {
    fn drop(&mut self) {
        if let Err(error) = clear(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "the folder for logs was not removed");
        }
    }
}

/// Removes the folders that nobody holds.
fn sweep(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !is_folder || !is_numbered(&entry.file_name().to_string_lossy(), FOLDER) {
            continue;
        }
        // Other users' folders can't be removed, and those that somebody holds must not be.
        if let Err(error) = sweep_folder(&entry.path(), || {}) {
            tracing::debug!(path = %entry.path().display(), %error, "a folder for logs was left alone");
        }
    }
    Ok(())
}

/// Removes a folder if nobody holds it. `opened` is called before its lock is taken.
fn sweep_folder(path: &Path, opened: impl FnOnce()) -> io::Result<()> {
    let name = path.join(LOCK);
    // A pipe would have us wait for a reader, and a link would lock something else.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let lock = match OpenOptions::new().write(true).custom_flags(flags).open(&name) {
        Ok(lock) => lock,
        // It was just made, or almost removed: only an empty folder goes.
        Err(error) if error.kind() == ErrorKind::NotFound => return fs::remove_dir(path),
        Err(error) => return Err(error),
    };
    opened();
    lock.try_lock()?;
    // Somebody else may have swept here since, and a third one have made the folder anew.
    if !is_at(&lock, &name) || !lock.metadata()?.is_file() {
        return Err(io::Error::other("it belongs to somebody else"));
    }
    clear(path)?;
    tracing::info!(path = %path.display(), "removed the log lines that an agent left which is gone");
    Ok(())
}

/// Removes a folder whose lock is held, the lock last. What is not ours stays, and the folder with it.
fn clear(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if is_numbered(&entry.file_name().to_string_lossy(), BLOCK) {
            fs::remove_file(entry.path())?;
        }
    }
    fs::remove_file(path.join(LOCK))?;
    fs::remove_dir(path)
}

/// Whether an open file is the one with this name.
fn is_at(file: &File, name: &Path) -> bool {
    let identity = |meta: Metadata| (meta.dev(), meta.ino());
    match (file.metadata(), fs::symlink_metadata(name)) {
        (Ok(own), Ok(named)) => identity(own) == identity(named),
        _ => false,
    }
}

fn is_numbered(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix)
        .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::ErrorKind;
    use std::os::unix::fs::PermissionsExt;

    use piculet_core::logs::spool::BlockId;

    use super::{LogFolder, LogFolderError};

    #[test]
    fn a_block_comes_back_until_it_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let folder = LogFolder::open(&directory.path().join("new/one")).unwrap();
        folder.write(BlockId(1), b"hello").unwrap();
        let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder.path), mode(&folder.block(BlockId(1)))), (0o700, 0o600));
        assert!(folder.write(BlockId(1), b"again").is_err());
        assert_eq!(&folder.fetch(BlockId(1), 5).unwrap()[..], b"hello");
        assert_eq!(&folder.fetch(BlockId(1), 5).unwrap()[..], b"hello");
        assert_eq!(&folder.fetch(BlockId(1), 6).unwrap()[..], b"hello", "whoever asks looks at it");
        folder.remove(BlockId(1)).unwrap();
        assert_eq!(folder.fetch(BlockId(1), 5).unwrap_err().kind(), ErrorKind::NotFound);
        folder.remove(BlockId(1)).unwrap();
    }

    #[test]
    fn nothing_is_left_at_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let folder = LogFolder::open(directory.path()).unwrap();
        folder.write(BlockId(1), b"hello").unwrap();
        drop(folder);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn only_what_a_dead_agent_left_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let living = LogFolder::open(directory.path()).unwrap();
        living.write(BlockId(1), b"hello").unwrap();
        for name in ["piculet-logs-7", "piculet-logs-8", "piculet-logs-9", "piculet-logs-x", "other"] {
            fs::create_dir(path(name)).unwrap();
            fs::write(path(name).join("block-1"), "left").unwrap();
            if name != "piculet-logs-9" {
                fs::write(path(name).join("lock"), "").unwrap();
            }
        }
        fs::write(path("piculet-logs-8/mine"), "not ours").unwrap();
        fs::write(path("piculet-logs-5"), "a file").unwrap();
        fs::create_dir(path("piculet-logs-6")).unwrap();
        std::os::unix::fs::symlink(path("other"), path("piculet-logs-4")).unwrap();

        let second = LogFolder::open(directory.path()).unwrap();
        assert_eq!((&living.path, &second.path), (&path("piculet-logs-0"), &path("piculet-logs-1")));
        assert_eq!(&living.fetch(BlockId(1), 5).unwrap()[..], b"hello");
        for gone in ["piculet-logs-6", "piculet-logs-7", "piculet-logs-8/block-1"] {
            assert!(!path(gone).exists(), "{gone}");
        }
        for kept in [
            "piculet-logs-4/block-1",
            "piculet-logs-5",
            "piculet-logs-8/mine",
            "piculet-logs-9/block-1",
            "piculet-logs-x/block-1",
            "other/block-1",
        ] {
            assert!(path(kept).exists(), "{kept}");
        }
    }

    #[test]
    fn a_folder_that_was_swept_and_made_anew_meanwhile_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("piculet-logs-0");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("lock"), "").unwrap();
        let mut second = None;
        let swept = super::sweep_folder(&path, || {
            let folder = LogFolder::open(directory.path()).unwrap();
            folder.write(BlockId(1), b"hello").unwrap();
            second = Some(folder);
        });
        let second = second.unwrap();
        assert_eq!(second.path, path);
        assert!(swept.is_err());
        assert_eq!(&second.fetch(BlockId(1), 5).unwrap()[..], b"hello");
    }

    #[test]
    fn what_is_no_file_is_no_lock() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for name in ["piculet-logs-0", "piculet-logs-1"] {
            fs::create_dir(path(name)).unwrap();
            fs::write(path(name).join("block-1"), "left").unwrap();
        }
        let pipe = path("piculet-logs-0/lock");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        // With a reader, it can be opened.
        let _reader = fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
        fs::write(path("elsewhere"), "").unwrap();
        std::os::unix::fs::symlink(path("elsewhere"), path("piculet-logs-1/lock")).unwrap();
        let folder = LogFolder::open(directory.path()).unwrap();
        assert_eq!(folder.path, path("piculet-logs-2"));
        for kept in ["piculet-logs-0/block-1", "piculet-logs-1/block-1"] {
            assert!(path(kept).exists(), "{kept}");
        }
    }

    #[test]
    fn agents_that_start_at_the_same_time_do_not_disturb_each_other() {
        let directory = tempfile::tempdir().unwrap();
        for _ in 0..20 {
            std::thread::scope(|scope| {
                let starts: Vec<_> = (0..8)
                    .map(|number: u8| {
                        let path = directory.path();
                        scope.spawn(move || {
                            let folder = LogFolder::open(path).unwrap();
                            for id in 0..20 {
                                folder.write(BlockId(id), &[number; 10]).unwrap();
                            }
                            for id in 0..20 {
                                assert_eq!(&folder.fetch(BlockId(id), 10).unwrap()[..], [number; 10]);
                            }
                        })
                    })
                    .collect();
                starts.into_iter().for_each(|start| start.join().unwrap());
            });
        }
        let last = LogFolder::open(directory.path()).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "{last:?}");
    }

    #[test]
    fn a_directory_that_can_not_be_used_says_why() {
        let relative = LogFolder::open("logs".as_ref()).unwrap_err();
        assert!(matches!(relative, LogFolderError::Relative(_)), "{relative}");
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let error = LogFolder::open(&file.join("logs")).unwrap_err().to_string();
        assert!(error.contains("file/logs' can't be used: Not a directory"), "{error}");
    }
}
