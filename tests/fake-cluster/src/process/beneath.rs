//! Makes files and folders inside a folder that other people's code writes to.
//!
//! A step may put a symbolic link where a later pod wants a mount point, and may swap it in at any moment. So each
//! part of a path is opened on its own, relative to the one before, and never through a link.

use std::io;
use std::path::{Component, Path};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, mkdirat, openat, statat};
use rustix::io::Errno;

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    Folder,
    File,
}

/// Makes sure that something stands at `path` beneath `base`: what `wanted` says, unless there is something already.
/// Tells what it is.
///
/// # Errors
/// A part of the path is a symbolic link, or no folder; `path` is absolute or has `..` in it; anything of the file
/// system's own.
pub(super) fn ensure(base: &Path, path: &Path, wanted: Node) -> io::Result<Node> {
    let folder = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at = openat(CWD, base, folder, Mode::empty())?;
    let mut parts = path.components().filter(|part| *part != Component::CurDir).peekable();
    while let Some(part) = parts.next() {
        let Component::Normal(name) = part else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("'{}' leaves its volume", path.display())));
        };
        if parts.peek().is_none() && wanted == Node::File {
            let new = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            made(openat(&at, name, new, Mode::from_raw_mode(0o644)).map(drop))?;
        } else {
            made(mkdirat(&at, name, Mode::from_raw_mode(0o777)))?;
        }
        if parts.peek().is_none() {
            let found = statat(&at, name, AtFlags::SYMLINK_NOFOLLOW)?;
            return match FileType::from_raw_mode(found.st_mode) {
                FileType::Directory => Ok(Node::Folder),
                FileType::RegularFile => Ok(Node::File),
                _ => Err(io::Error::other(format!("'{}' is neither a file nor a folder", path.display()))),
            };
        }
        at = openat(&at, name, folder, Mode::empty())?;
    }
    Ok(Node::Folder)
}

fn made(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::EXIST) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::{Node, ensure};

    #[test]
    fn folders_and_files_are_made_and_kept() {
        let base = tempfile::tempdir().unwrap();
        assert_eq!(ensure(base.path(), Path::new("a/b"), Node::Folder).unwrap(), Node::Folder);
        assert_eq!(ensure(base.path(), Path::new("a/b/c"), Node::File).unwrap(), Node::File);
        fs::write(base.path().join("a/b/c"), "kept").unwrap();
        assert_eq!(ensure(base.path(), Path::new("./a/b/c"), Node::Folder).unwrap(), Node::File);
        assert_eq!(fs::read_to_string(base.path().join("a/b/c")).unwrap(), "kept");
        assert_eq!(ensure(base.path(), Path::new(""), Node::Folder).unwrap(), Node::Folder);
    }

    #[test]
    fn links_are_not_followed() {
        let outside = tempfile::tempdir().unwrap();
        let base = tempfile::tempdir().unwrap();
        symlink(outside.path(), base.path().join("link")).unwrap();
        symlink(outside.path().join("new"), base.path().join("dangling")).unwrap();
        for (path, node) in
            [("link/x", Node::Folder), ("link", Node::Folder), ("dangling", Node::File), ("../x", Node::File)]
        {
            assert!(ensure(base.path(), Path::new(path), node).is_err(), "{path}");
        }
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}
