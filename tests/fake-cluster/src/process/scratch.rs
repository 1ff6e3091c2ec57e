//! The runtime's folder: nobody else gets into it, and nothing of it stays.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::sandbox::TOOLS;
use super::volumes::open_folder;

/// How the folders of runtimes are called.
const PREFIX: &str = "piculet-processes-";

/// A folder of one runtime, that goes when this is dropped.
#[derive(Debug)]
pub(super) struct Scratch {
    folder: PathBuf,
    /// Locked as long as the runtime lives. A folder whose lock is free was left by one that was killed.
    _lock: File,
    claims: Mutex<BTreeMap<(String, String), PathBuf>>,
    numbers: AtomicU64,
}

impl Scratch {
    /// Makes a new folder in `base`, and removes those whose runtimes were killed.
    ///
    /// # Errors
    /// What the file system says.
    pub(super) fn new(base: &Path) -> io::Result<Self> {
        fs::create_dir_all(base)?;
        // Mount points have to be absolute, and overlays must not be found through links.
        let base = fs::canonicalize(base)?;
        if base.to_str().is_none() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "its name is not UTF-8"));
        }
        sweep(&base);
        let folder = base.join(format!("{PREFIX}{}", uuid::Uuid::new_v4().simple()));
        // What is in it belongs to root, may be set-user-id, and must not be reached by other users of the machine.
        fs::DirBuilder::new().mode(0o700).create(&folder)?;
        let lock = File::create(folder.join("lock"))?;
        lock.try_lock().map_err(io::Error::from)?;
        Ok(Self { folder, _lock: lock, claims: Mutex::default(), numbers: AtomicU64::new(0) })
    }

    /// The folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A path that nothing stands at yet. Names from outside are never part of a path: they can be of any length.
    pub(super) fn fresh(&self, kind: &str) -> PathBuf {
        self.folder.join(format!("{kind}-{}", self.numbers.fetch_add(1, Ordering::Relaxed)))
    }

    /// The folder of a claim, which is made where there is none.
    ///
    /// # Errors
    /// What the file system says.
    pub(super) fn claim(&self, namespace: &str, name: &str) -> io::Result<PathBuf> {
        let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (namespace.to_owned(), name.to_owned());
        if let Some(folder) = claims.get(&key) {
            return Ok(folder.clone());
        }
        let folder = self.fresh("claim");
        open_folder(&folder)?;
        claims.insert(key, folder.clone());
        Ok(folder)
    }

    /// Forgets a claim. Gives its folder, which is to be removed.
    pub(super) fn forget_claim(&self, namespace: &str, name: &str) -> Option<PathBuf> {
        let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        claims.remove(&(namespace.to_owned(), name.to_owned()))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove(&self.folder);
    }
}

/// Removes what killed runtimes of this user have left.
fn sweep(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    let user = rustix::process::geteuid().as_raw();
    for entry in entries.flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX)
            && fs::symlink_metadata(entry.path()).is_ok_and(|found| found.is_dir() && found.uid() == user);
        if is_ours
            && let Ok(lock) = File::open(entry.path().join("lock"))
            && lock.try_lock().is_ok()
        {
            remove(&entry.path());
        }
    }
}

/// Removes a folder, whatever steps have made of it: folders without rights, a depth beyond every path's length. `rm`
/// does that without recursion.
pub(super) fn remove(folder: &Path) {
    for attempt in 0..3 {
        if attempt > 0 {
            // Without being root, a folder has to be opened before it can be emptied.
            run(Command::new("chmod").args(["-R", "u+rwX", "--"]).arg(folder));
        }
        run(Command::new("rm").args(["-rf", "--one-file-system", "--"]).arg(folder));
        if fs::symlink_metadata(folder).is_err() {
            return;
        }
    }
    tracing::warn!(folder = %folder.display(), "a folder of the process runtime could not be removed");
}

fn run(command: &mut Command) {
    let command = command.env_clear().env("PATH", TOOLS);
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if let Err(error) = status {
        tracing::warn!(%error, "a tool for removing folders can't be run");
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::{PREFIX, Scratch, remove};

    #[test]
    fn a_claim_keeps_its_folder_until_it_is_forgotten() {
        let base = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(base.path()).unwrap();
        let mode = fs::metadata(scratch.folder()).unwrap().mode() & 0o777;
        assert_eq!(format!("{mode:o}"), "700");
        let first = scratch.claim("ci", "data").unwrap();
        assert_eq!(scratch.claim("ci", "data").unwrap(), first);
        assert_ne!(scratch.claim("other", "data").unwrap(), first);
        let weird = scratch.claim("ci", &"../".repeat(2000)).unwrap();
        assert!(weird.is_dir() && weird.parent() == Some(scratch.folder()));
        assert_eq!(scratch.forget_claim("ci", "data"), Some(first.clone()));
        assert_eq!(scratch.forget_claim("ci", "data"), None);
        assert_ne!(scratch.claim("ci", "data").unwrap(), first);
        drop(scratch);
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_killed_runtime_left_is_swept_and_a_living_ones_is_kept() {
        let base = tempfile::tempdir().unwrap();
        let living = Scratch::new(base.path()).unwrap();
        let left = base.path().join(format!("{PREFIX}left"));
        fs::create_dir_all(left.join("deep")).unwrap();
        fs::write(left.join("lock"), "").unwrap();
        fs::create_dir(base.path().join("something-else")).unwrap();
        let _second = Scratch::new(base.path()).unwrap();
        assert!(living.folder().exists());
        assert!(!left.exists());
        assert!(base.path().join("something-else").exists());
    }

    #[test]
    fn everything_can_be_removed_and_links_are_not_followed() {
        let base = tempfile::tempdir().unwrap();
        let kept = base.path().join("kept");
        fs::create_dir(&kept).unwrap();
        fs::write(kept.join("file"), "").unwrap();
        let folder = base.path().join("folder");
        fs::create_dir_all(folder.join("locked/inner")).unwrap();
        symlink(&kept, folder.join("locked/link")).unwrap();
        fs::set_permissions(folder.join("locked/inner"), fs::Permissions::from_mode(0o000)).unwrap();
        fs::set_permissions(folder.join("locked"), fs::Permissions::from_mode(0o500)).unwrap();
        remove(&folder);
        assert!(!folder.exists() && kept.join("file").exists());
    }
}
