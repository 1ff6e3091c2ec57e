use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use k8s_openapi::api::core::v1::{Container, Pod};
use serde_json::{Value, json};

use super::{Folders, Mount, Node, make, target};
use crate::runtime::VolumeFiles;

/// What becomes of a pod with these volumes, mounted like this by its container.
fn mounts(base: &Path, volumes: Value, mounts: Value, files: &VolumeFiles) -> Result<Vec<Mount>, String> {
    let pod: Pod = serde_json::from_value(json!({ "spec": { "containers": [], "volumes": volumes } })).unwrap();
    let container: Container = serde_json::from_value(json!({ "name": "step", "volumeMounts": mounts })).unwrap();
    let claim = base.join("claim");
    fs::create_dir_all(&claim).unwrap();
    let of_claims = BTreeMap::from([("data".to_owned(), claim)]);
    let folders = Folders { of_pod: &base.join("pod"), of_claims: &of_claims };
    make(&pod, &container, files, &folders).map_err(|error| error.message)
}

#[test]
fn each_kind_of_volume_becomes_a_folder() {
    let base = tempfile::tempdir().unwrap();
    let volumes = json!([
        { "name": "work", "persistentVolumeClaim": { "claimName": "data" } },
        { "name": "scratch", "emptyDir": {} },
        { "name": "keys", "secret": { "secretName": "keys", "defaultMode": 0o400, "items": [
            { "key": "a", "path": "ssh/id", "mode": 0o600 }, { "key": "b", "path": "b" },
        ] } },
    ]);
    let wanted = json!([
        { "name": "scratch", "mountPath": "/woodpecker/cache" },
        { "name": "work", "mountPath": "/woodpecker//./x/../" },
        { "name": "keys", "mountPath": "/etc/key", "subPath": "ssh/id" },
        { "name": "work", "mountPath": "/again", "subPath": "new/part", "readOnly": true },
    ]);
    let files: BTreeMap<String, Bytes> =
        [("ssh/id", "private"), ("b", "other")].map(|(path, text)| (path.to_owned(), Bytes::from(text))).into();
    let found = mounts(base.path(), volumes, wanted, &[("keys".to_owned(), files)].into()).unwrap();
    let mount = |source: &str, part: &str, target: &str, read_only, node| Mount {
        source: base.path().join(source),
        part: PathBuf::from(part),
        target: PathBuf::from(target),
        read_only,
        node,
    };
    let expected = [
        mount("claim", "new/part", "/again", true, Node::Folder),
        mount("pod/2", "ssh/id", "/etc/key", true, Node::File),
        mount("claim", "", "/woodpecker", false, Node::Folder),
        mount("pod/1", "", "/woodpecker/cache", false, Node::Folder),
    ];
    assert_eq!(found, expected);
    let mode = |path: &str| fs::metadata(base.path().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("pod/2/ssh/id"), mode("pod/2/b"), mode("pod/1")), (0o600, 0o400, 0o777));
    assert!(base.path().join("claim/new/part").is_dir());
}

#[test]
fn what_cannot_be_mounted_is_said() {
    let base = tempfile::tempdir().unwrap();
    let volumes = json!([
        { "name": "host", "hostPath": { "path": "/" } },
        { "name": "gone", "persistentVolumeClaim": { "claimName": "gone" } },
        { "name": "scratch", "emptyDir": {} },
    ]);
    for (mount, expected) in [
        (json!([{ "name": "host", "mountPath": "/host" }]), "kind"),
        (json!([{ "name": "none", "mountPath": "/x" }]), "does not have"),
        (json!([{ "name": "gone", "mountPath": "/x" }]), "no folder"),
        (json!([{ "name": "scratch", "mountPath": "/x", "subPath": "../../etc" }]), "leaves its volume"),
        (json!([{ "name": "scratch", "mountPath": "/x" }, { "name": "scratch", "mountPath": "/x/" }]), "two volumes"),
    ] {
        let error = mounts(base.path(), volumes.clone(), mount, &VolumeFiles::new()).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn the_kernels_folders_and_the_root_are_no_mount_points() {
    for path in ["/", "relative", "/proc", "/proc/sys", "/sys/fs", "/dev", "/x/../proc", ""] {
        assert!(target(path).is_err(), "{path:?}");
    }
    assert_eq!(target("/dev/shm").unwrap(), Path::new("/dev/shm"));
    assert_eq!(target("/process").unwrap(), Path::new("/process"));
}
