//! Mounts as lines of an fstab: one `mount --all` makes them all, in order, in one process.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Lines for `mount --all --fstab`.
#[derive(Debug, Default)]
pub(super) struct Fstab(Vec<u8>);

impl Fstab {
    /// A file system of its own.
    pub(super) fn mount(&mut self, kind: &str, target: &Path, options: &str) {
        self.line(OsStr::new(kind), target, kind, options);
    }

    /// A file or folder that is to be seen at another place too.
    pub(super) fn bind(&mut self, source: &Path, target: &Path, read_only: bool) {
        self.line(source.as_os_str(), target, "none", if read_only { "bind,ro" } else { "bind" });
    }

    /// The file's contents.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn line(&mut self, source: &OsStr, target: &Path, kind: &str, options: &str) {
        for field in [source, target.as_os_str(), OsStr::new(kind), OsStr::new(options)] {
            escape(field.as_bytes(), &mut self.0);
            self.0.push(b' ');
        }
        self.0.extend_from_slice(b"0 0\n");
    }
}

/// Escapes what ends a field, as `mount` reads it: octal, after a backslash.
fn escape(field: &[u8], out: &mut Vec<u8>) {
    for &byte in field {
        if matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b'\\' | b'#') {
            out.extend_from_slice(format!("\\{byte:03o}").as_bytes());
        } else {
            out.push(byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Fstab;

    #[test]
    fn names_with_blanks_stay_one_field() {
        let mut fstab = Fstab::default();
        fstab.bind(Path::new("/a b/#c"), Path::new("/d\\e\nf"), true);
        fstab.mount("tmpfs", Path::new("/dev/shm"), "size=64m");
        let expected = "/a\\040b/\\043c /d\\134e\\012f none bind,ro 0 0\ntmpfs /dev/shm tmpfs size=64m 0 0\n";
        assert_eq!(String::from_utf8_lossy(fstab.as_bytes()), expected);
    }
}
