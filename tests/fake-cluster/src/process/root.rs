//! Lays out a container's root: folders to mount onto, the tables of what is mounted, the few files that are its own.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;

use super::beneath::{self, Node};
use super::fstab::Fstab;
use super::host::{Piece, View};
use super::hosts;
use super::script::quote;
use super::volumes::Mount;

/// The devices that a container has.
const DEVICES: &[&str] = &["full", "null", "random", "tty", "urandom", "zero"];

/// What of `/proc` concerns the whole machine and can be written to.
const PROC_READ_ONLY: &[&str] = &["bus", "fs", "irq", "sys", "sysrq-trigger"];

/// What of `/proc` tells about the whole machine what is none of a container's business.
const PROC_HIDDEN: &[&str] = &[
    "acpi",
    "asound",
    "interrupts",
    "kallsyms",
    "kcore",
    "key-users",
    "keys",
    "kmsg",
    "kpagecgroup",
    "kpagecount",
    "kpageflags",
    "latency_stats",
    "sched_debug",
    "scsi",
    "timer_list",
    "timer_stats",
    "vmallocinfo",
];

/// What a root is made from.
#[derive(Debug)]
pub(super) struct Root<'a> {
    /// A new folder of this container.
    pub(super) folder: &'a Path,
    pub(super) view: &'a View,
    pub(super) pod: &'a Pod,
    pub(super) mounts: &'a [Mount],
    /// Where the command starts.
    pub(super) work_folder: &'a str,
    /// There is no network to resolve names in.
    pub(super) offline: bool,
    /// The mounts are made in a user namespace.
    pub(super) user_namespace: bool,
}

impl Root<'_> {
    /// Writes everything into the folder. Gives the commands that make the mount points of the volumes; they have to be
    /// run inside the new root, where no symbolic link leads out of it.
    ///
    /// # Errors
    /// What the file system says.
    pub(super) fn lay_out(&self) -> io::Result<String> {
        let root = self.root();
        let mut outer = Fstab::default();
        let mut inner = Fstab::default();
        self.files_of_the_host(&mut outer)?;
        for folder in ["dev", "proc", "sys"] {
            fs::create_dir_all(root.join(folder))?;
        }
        self.devices(&mut outer)?;
        outer.bind(&self.hosts(), &root.join("etc/hosts"), false);
        proc(&mut inner);
        self.stage(&mut outer, &mut inner)?;
        fs::write(self.folder.join("outer.fstab"), outer.as_bytes())?;
        fs::write(self.folder.join("sys/fstab"), inner.as_bytes())?;
        self.mount_points()
    }

    /// Lays out a folder that is at `/sys` until the real one covers it: the host's root ends there for a moment, and
    /// the volumes wait there to be mounted from inside.
    fn stage(&self, outer: &mut Fstab, inner: &mut Fstab) -> io::Result<()> {
        let (stage, sys) = (self.folder.join("sys"), self.root().join("sys"));
        for folder in ["host", "volumes", "empty", "sysfs"] {
            fs::create_dir_all(stage.join(folder))?;
        }
        outer.bind(&stage, &sys, false);
        for (number, mount) in self.mounts.iter().enumerate() {
            let place = Path::new("volumes").join(number.to_string());
            fs::create_dir_all(stage.join(&place))?;
            outer.bind(&mount.source, &sys.join(&place), false);
            inner.bind(&Path::new("/sys").join(&place).join(&mount.part), &mount.target, mount.read_only);
        }
        // In a user namespace, the host's has mounts in it that may not be looked beneath.
        if !self.user_namespace {
            outer.bind(Path::new("/sys"), &sys.join("sysfs"), false);
        }
        inner.bind(Path::new("/sys/sysfs"), Path::new("/sys"), true);
        Ok(())
    }

    /// The file that is the container's `/etc/hosts`, for whoever writes it.
    pub(super) fn hosts(&self) -> PathBuf {
        self.folder.join("hosts")
    }

    fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    fn files_of_the_host(&self, fstab: &mut Fstab) -> io::Result<()> {
        let root = self.root();
        let etc = Path::new("/etc");
        let inside = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
        for (number, piece) in self.view.pieces()?.iter().enumerate() {
            match piece {
                Piece::Layered(path) => {
                    fs::create_dir_all(inside(path))?;
                    let layer = Path::new("layers").join(number.to_string());
                    let upper = self.folder.join(&layer).join("upper");
                    fs::create_dir_all(self.folder.join(&layer).join("work"))?;
                    alike(path, &upper)?;
                    // Only a root may store what overlays note about files in the way that they do by themselves.
                    let attributes = if self.user_namespace { "userxattr," } else { "" };
                    // The layers' paths are relative to where `mount` runs: it could not tell a comma in them.
                    let options = format!(
                        "{attributes}nodev,lowerdir={},upperdir={layer}/upper,workdir={layer}/work",
                        path.display(),
                        layer = layer.display()
                    );
                    fstab.mount("overlay", &inside(path), &options);
                    if let Ok(rest) = etc.strip_prefix(path) {
                        alike(etc, &upper.join(rest))?;
                        self.settings(&upper.join(rest))?;
                    }
                }
                Piece::Fresh(path) => {
                    alike(path, &inside(path))?;
                    if path == Path::new("/") {
                        // A root has to be a mount.
                        fstab.bind(&root, &root, false);
                    }
                    if path == etc {
                        self.settings(&inside(path))?;
                    }
                }
                Piece::Masked(path) => {
                    let empty = self.folder.join("masks").join(number.to_string());
                    if path.is_dir() {
                        alike(path, &empty)?;
                    } else {
                        fs::create_dir_all(self.folder.join("masks"))?;
                        fs::write(&empty, "")?;
                    }
                    fstab.bind(&empty, &inside(path), false);
                }
                // The files of the container's own that stand in the way of a host's were written before it.
                Piece::File(path) if inside(path).exists() => {}
                Piece::File(path) => {
                    fs::write(inside(path), "")?;
                    fstab.bind(path, &inside(path), true);
                }
                Piece::Link(path, target) => symlink(target, inside(path))?,
            }
        }
        Ok(())
    }

    /// The container's own files in `/etc`.
    fn settings(&self, etc: &Path) -> io::Result<()> {
        // A host's may be a link to what a container doesn't have, and a daemon of the host may be behind it.
        let resolver = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        let resolver = if self.offline { String::new() } else { hosts::resolver(self.pod, &resolver) };
        fs::write(etc.join("resolv.conf"), resolver)?;
        fs::write(etc.join("hostname"), format!("{}\n", hosts::host_name(self.pod)))?;
        fs::write(etc.join("hosts"), "")?;
        for name in ["shadow", "gshadow", "shadow-", "gshadow-"] {
            // Who isn't root could not read it anyway.
            if let Ok(accounts) = fs::read_to_string(Path::new("/etc").join(name)) {
                let file = etc.join(name);
                fs::write(&file, "")?;
                fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
                fs::write(&file, without_passwords(&accounts))?;
            }
        }
        Ok(())
    }

    fn devices(&self, fstab: &mut Fstab) -> io::Result<()> {
        let (made, dev) = (self.folder.join("dev"), self.root().join("dev"));
        for folder in ["pts", "shm"] {
            fs::create_dir_all(made.join(folder))?;
        }
        fstab.bind(&made, &dev, false);
        for name in DEVICES {
            let device = Path::new("/dev").join(name);
            if device.exists() {
                fs::write(made.join(name), "")?;
                fstab.bind(&device, &dev.join(name), false);
            }
        }
        fstab.mount("devpts", &dev.join("pts"), "newinstance,ptmxmode=0666,mode=0620,nosuid,noexec");
        fstab.mount("tmpfs", &dev.join("shm"), "size=64m,mode=1777,nosuid,nodev,noexec");
        for (name, target) in [
            ("ptmx", "pts/ptmx"),
            ("fd", "/proc/self/fd"),
            ("stdin", "/proc/self/fd/0"),
            ("stdout", "/proc/self/fd/1"),
            ("stderr", "/proc/self/fd/2"),
        ] {
            symlink(target, made.join(name))?;
        }
        Ok(())
    }

    fn mount_points(&self) -> io::Result<String> {
        let work = Path::new(self.work_folder);
        let targets = self.mounts.iter().map(|mount| (mount.target.as_path(), mount.node));
        let mut commands = String::new();
        for (number, (target, node)) in targets.chain([(work, Node::Folder)]).enumerate() {
            // They are sorted: the last one that it lies in is the innermost.
            match self.mounts.iter().take(number).rfind(|mount| target.starts_with(&mount.target)) {
                Some(outer) => {
                    let rest = target.strip_prefix(&outer.target).unwrap_or(target);
                    if outer.node == Node::Folder && !rest.as_os_str().is_empty() {
                        beneath::ensure(&outer.source, &outer.part.join(rest), node)?;
                    }
                }
                None => commands.push_str(&make(target, node)),
            }
        }
        Ok(commands)
    }
}

fn make(target: &Path, node: Node) -> String {
    let name = |path: &Path| quote(&String::from_utf8_lossy(path.as_os_str().as_bytes()));
    match node {
        Node::Folder => format!("mkdir -p -- {}\n", name(target)),
        Node::File => {
            let folder = name(target.parent().unwrap_or(target));
            let target = name(target);
            format!("mkdir -p -- {folder}\n[ -e {target} ] || : >{target}\n")
        }
    }
}

fn proc(fstab: &mut Fstab) {
    let there = |name: &&&str| Path::new("/proc").join(name).exists();
    for name in PROC_READ_ONLY.iter().filter(there) {
        let path = Path::new("/proc").join(name);
        fstab.bind(&path, &path, true);
    }
    for name in PROC_HIDDEN.iter().filter(there) {
        let path = Path::new("/proc").join(name);
        let nothing = if path.is_dir() { "/sys/empty" } else { "/dev/null" };
        fstab.bind(Path::new(nothing), &path, true);
    }
}

/// Makes a folder with the owner and the mode of another.
fn alike(model: &Path, folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let model = fs::metadata(model)?;
    // Who isn't root owns what is made, and can't do otherwise.
    if chown(folder, Some(model.uid()), Some(model.gid())).is_ok() {
        fs::set_permissions(folder, model.permissions())
    } else {
        fs::set_permissions(folder, fs::Permissions::from_mode(model.mode() | 0o700))
    }
}

/// The lines of a shadow file, with nothing to guess passwords from.
fn without_passwords(accounts: &str) -> String {
    let line = |line: &str| {
        let mut fields: Vec<&str> = line.split(':').collect();
        if let Some(password) = fields.get_mut(1) {
            *password = "*";
        }
        fields.join(":") + "\n"
    };
    accounts.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Node, make, without_passwords};

    #[test]
    fn no_password_is_left() {
        let accounts = "root:$6$salt$hash:19000:0:99999:7:::\nann:!:1::::::\nodd\n";
        assert_eq!(without_passwords(accounts), "root:*:19000:0:99999:7:::\nann:*:1::::::\nodd\n");
    }

    #[test]
    fn mount_points_may_have_any_name() {
        assert_eq!(make(Path::new("/a b/$(c)"), Node::Folder), "mkdir -p -- '/a b/$(c)'\n");
        let file = "mkdir -p -- '/it'\\''s'\n[ -e '/it'\\''s/x' ] || : >'/it'\\''s/x'\n";
        assert_eq!(make(Path::new("/it's/x"), Node::File), file);
    }
}
