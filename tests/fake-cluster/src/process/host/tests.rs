use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::{HostMount, Piece, View, homes, mounts, outermost};

/// A folder like a machine's root: `plain/`, `apart/{mounted,beside,file}`, `with-private/private`, `link`.
fn machine() -> tempfile::TempDir {
    let machine = tempfile::tempdir().unwrap();
    for folder in ["apart/mounted", "apart/beside", "plain/deep", "virtual", "with-private/private", "with,comma"] {
        fs::create_dir_all(machine.path().join(folder)).unwrap();
    }
    fs::write(machine.path().join("apart/file"), "").unwrap();
    symlink("plain", machine.path().join("link")).unwrap();
    machine
}

fn pieces(root: &Path, mounts: &[(&str, bool)], private: &[&str], apart: bool) -> Vec<Piece> {
    let mounts =
        mounts.iter().map(|(at, is_left_out)| HostMount { at: root.join(at), is_left_out: *is_left_out }).collect();
    let private = private.iter().map(|path| root.join(path)).collect();
    let mut pieces = Vec::new();
    View { mounts, private, apart }.folder(root.to_owned(), &mut pieces).unwrap();
    pieces
}

#[test]
fn a_folder_is_taken_apart_only_where_something_is_mounted_beneath_it() {
    let machine = machine();
    let at = |path: &str| machine.path().join(path);
    let found =
        pieces(machine.path(), &[("apart/mounted", false), ("virtual", true)], &["with-private/private"], false);
    let expected = [
        Piece::Fresh(at("")),
        Piece::Fresh(at("apart")),
        Piece::Layered(at("apart/beside")),
        Piece::File(at("apart/file")),
        Piece::Layered(at("apart/mounted")),
        Piece::Link(at("link"), PathBuf::from("plain")),
        Piece::Layered(at("plain")),
        Piece::Fresh(at("virtual")),
        Piece::Fresh(at("with,comma")),
        Piece::Layered(at("with-private")),
        Piece::Masked(at("with-private/private")),
    ];
    assert_eq!(found, expected);
}

#[test]
fn without_being_root_every_mount_takes_its_folder_apart() {
    let machine = machine();
    let at = |path: &str| machine.path().join(path);
    let mounts = [("apart/file", false), ("with-private/private/secret", false)];
    let found = pieces(machine.path(), &mounts, &["with-private/private"], true);
    assert!(found.contains(&Piece::File(at("apart/file"))), "{found:?}");
    assert!(found.contains(&Piece::Fresh(at("with-private"))), "{found:?}");
    assert!(found.contains(&Piece::Fresh(at("with-private/private"))), "{found:?}");
}

#[test]
fn a_mount_that_is_not_seen_takes_nothing_apart() {
    let machine = machine();
    let mounts = [("with-private/private/data", false), ("virtual", true), ("apart/file", false)];
    let found = pieces(machine.path(), &mounts, &["with-private/private"], false);
    let at = |path: &str| machine.path().join(path);
    assert_eq!(found, [Piece::Layered(machine.path().to_owned()), Piece::Masked(at("with-private/private"))]);
}

#[test]
fn private_places_are_found_through_links_and_named_once() {
    let machine = tempfile::tempdir().unwrap();
    let machine = machine.path().canonicalize().unwrap();
    fs::create_dir_all(machine.join("var/home/ann")).unwrap();
    fs::create_dir_all(machine.join("var/home-2")).unwrap();
    symlink("var/home", machine.join("home")).unwrap();
    let paths = ["home/ann", "var/home-2", "home", "not-there", "var/home"].map(|path| machine.join(path));
    assert_eq!(outermost(paths.into_iter()), [machine.join("var/home"), machine.join("var/home-2")]);
}

#[test]
fn mountinfo_is_read_with_its_escapes() {
    let text = b"22 27 0:21 / /proc rw,relatime - proc proc rw\n\
        31 1 8:1 / /data\\040disk rw shared:1 master:2 - ext4 /dev/sda1 rw\nbroken line\n";
    let expected = [
        HostMount { at: PathBuf::from("/proc"), is_left_out: true },
        HostMount { at: PathBuf::from("/data disk"), is_left_out: false },
    ];
    assert_eq!(mounts(text), expected);
}

#[test]
fn homes_are_those_of_people() {
    let accounts = "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1::/usr/sbin:/bin/sh\n\
        ann:x:1000:1000::/srv/people/ann:/bin/sh\nodd:x:1001:1001::/:/bin/sh\nnobody:x:65534:65534::/nonexistent:/bin/sh\n";
    assert_eq!(homes(accounts).collect::<Vec<_>>(), [PathBuf::from("/root"), PathBuf::from("/srv/people/ann")]);
}
