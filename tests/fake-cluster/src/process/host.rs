//! What a container sees of this machine's files.
//!
//! The host's root is the lower layer of an overlay, so that a step finds the programs that are installed and writes to
//! a layer of its own. Folders with a mount beneath them are taken apart, each part with an overlay: an overlay shows one
//! file system only, and an unprivileged user may not look beneath a mount.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Folders that hold what concerns the host alone: people's files, credentials, sockets of its daemons, data of its
/// container runtimes. A container has empty ones.
const PRIVATE: &[&str] = &[
    "/boot",
    "/etc/kubernetes",
    "/etc/rancher",
    "/etc/ssh",
    "/etc/ssl/private",
    "/home",
    "/lost+found",
    "/media",
    "/mnt",
    "/root",
    "/run",
    "/tmp",
    "/var/backups",
    "/var/lib/containerd",
    "/var/lib/containers",
    "/var/lib/docker",
    "/var/lib/kubelet",
    "/var/lib/rancher",
    "/var/spool/cron",
    "/var/tmp",
];

/// Folders of the root that a container gets from the kernel anew.
const KERNELS: &[&str] = &["/dev", "/proc", "/sys"];

/// File systems that have no files of their own, or only such as concern this boot of the host.
const VIRTUAL: &[&str] = &[
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nsfs",
    "proc",
    "pstore",
    "ramfs",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "sysfs",
    "tmpfs",
    "tracefs",
];

/// File systems that no overlay takes for a layer: their names don't tell capital letters from small ones.
const UNLAYERED: &[&str] = &["cifs", "exfat", "hfsplus", "msdos", "ntfs", "ntfs3", "smb3", "vfat"];

/// A mount of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostMount {
    at: PathBuf,
    /// Its files are not shown.
    is_left_out: bool,
}

/// Something of the host, or in its place, in a container's root. The root itself is the first, and parents come before
/// what is in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// The host's folder with a layer over it.
    Layered(PathBuf),
    /// A folder of the container's own.
    Fresh(PathBuf),
    /// An empty folder or file over one that an overlay shows.
    Masked(PathBuf),
    /// The host's file, read-only.
    File(PathBuf),
    /// A symbolic link like the host's.
    Link(PathBuf, PathBuf),
}

/// What is to be hidden and what can't be layered.
#[derive(Debug)]
pub(super) struct View {
    mounts: Vec<HostMount>,
    private: Vec<PathBuf>,
    /// True for a user who is not root: no mount may lie beneath a layered folder, not even one of a single file.
    apart: bool,
}

impl View {
    /// Looks at this machine.
    ///
    /// # Errors
    /// The machine has no `/proc/self/mountinfo`: it is not Linux.
    pub(super) fn of_this_machine(hidden: &[PathBuf], apart: bool) -> io::Result<Self> {
        let mounts = mounts(&fs::read("/proc/self/mountinfo")?);
        let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let private = PRIVATE.iter().map(PathBuf::from).chain(homes(&accounts)).chain(hidden.iter().cloned());
        Ok(Self { mounts, private: outermost(private), apart })
    }

    /// The pieces of a container's root.
    ///
    /// # Errors
    /// A folder that has to be taken apart can't be read.
    pub(super) fn pieces(&self) -> io::Result<Vec<Piece>> {
        let mut pieces = Vec::new();
        self.folder(PathBuf::from("/"), &mut pieces)?;
        Ok(pieces)
    }

    fn take_apart(&self, folder: &Path, pieces: &mut Vec<Piece>) -> io::Result<()> {
        let mut names: Vec<OsString> =
            fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>()?;
        names.sort_unstable();
        for path in names.iter().map(|name| folder.join(name)) {
            if KERNELS.iter().any(|kernels| path == Path::new(kernels)) {
                continue;
            }
            // What is gone in the meantime is left out.
            let Ok(found) = fs::symlink_metadata(&path) else { continue };
            if found.is_symlink() {
                if let Ok(target) = fs::read_link(&path) {
                    pieces.push(Piece::Link(path, target));
                }
            } else if found.is_dir() {
                self.folder(path, pieces)?;
            } else if found.is_file() && found.permissions().mode() & 0o444 != 0 {
                pieces.push(Piece::File(path));
            }
        }
        Ok(())
    }

    fn folder(&self, path: PathBuf, pieces: &mut Vec<Piece>) -> io::Result<()> {
        // The last mount at a path is the one that is seen. A root may be of any kind.
        let mount = self.mounts.iter().rfind(|mount| mount.at == path);
        let is_left_out = path != Path::new("/") && mount.is_some_and(|mount| mount.is_left_out);
        if self.private.contains(&path) || is_left_out || !fits_an_option(&path) {
            pieces.push(Piece::Fresh(path));
        } else if self.mounts.iter().any(|mount| self.parts(mount, &path)) {
            pieces.push(Piece::Fresh(path.clone()));
            // Who may not read it can't see what is in it either.
            match self.take_apart(&path, pieces) {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                other => other?,
            }
        } else {
            let beneath = self.private.iter().filter(|hidden| hidden.starts_with(&path));
            let mut masked: Vec<Piece> = beneath.cloned().map(Piece::Masked).collect();
            pieces.push(Piece::Layered(path));
            pieces.append(&mut masked);
        }
        Ok(())
    }

    /// Whether a mount forces a folder to be taken apart.
    fn parts(&self, mount: &HostMount, folder: &Path) -> bool {
        let is_hidden = || self.private.iter().any(|hidden| mount.at.starts_with(hidden));
        let is_shown = || !mount.is_left_out && mount.at.is_dir() && !is_hidden();
        mount.at != folder && mount.at.starts_with(folder) && (self.apart || is_shown())
    }
}

/// The places that paths lead to, as /home may lead to /var/home; without those that don't exist or lie in another one.
fn outermost(paths: impl Iterator<Item = PathBuf>) -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> = paths.filter_map(|path| fs::canonicalize(path).ok()).collect();
    places.sort_unstable();
    places.dedup_by(|inner, outer| inner.starts_with(outer));
    places
}

/// Whether a path can stand in an option of an overlay, where `,` and `:` part the options and the layers.
fn fits_an_option(path: &Path) -> bool {
    !path.as_os_str().as_bytes().iter().any(|byte| matches!(byte, b',' | b':' | b'\\' | b'"'))
}

/// The home folders of root and of people.
fn homes(accounts: &str) -> impl Iterator<Item = PathBuf> {
    accounts.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let user: u32 = fields.get(2)?.parse().ok()?;
        let home = Path::new(fields.get(5)?);
        let is_person = user == 0 || (1000..65534).contains(&user);
        // Some accounts live in a folder of the system.
        let is_own = home.components().count() > 2 || home == Path::new("/root");
        (is_person && is_own && home.is_absolute()).then(|| home.to_owned())
    })
}

fn mounts(mountinfo: &[u8]) -> Vec<HostMount> {
    let parse = |line: &[u8]| {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let optional_end = fields.iter().position(|field| *field == b"-")?;
        let kind = fields.get(optional_end + 1)?;
        let at = PathBuf::from(unescape(fields.get(4)?));
        Some(HostMount { at, is_left_out: VIRTUAL.iter().chain(UNLAYERED).any(|known| known.as_bytes() == *kind) })
    };
    mountinfo.split(|byte| *byte == b'\n').filter_map(parse).collect()
}

/// The kernel writes a blank, a tab, a line end and a backslash as three octal digits.
fn unescape(field: &[u8]) -> OsString {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if let (b'\\', Some((digits, behind))) = (byte, after.split_at_checked(3)) {
            let digits = OsStr::from_bytes(digits).to_str().and_then(|digits| u8::from_str_radix(digits, 8).ok());
            if let Some(plain) = digits {
                out.push(plain);
                rest = behind;
                continue;
            }
        }
        out.push(byte);
    }
    OsString::from_vec(out)
}

#[cfg(test)]
mod tests;
