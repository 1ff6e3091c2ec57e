//! Volumes: shared, kept apart, and no way out.

use std::collections::BTreeMap;

use bytes::Bytes;
use fake_cluster::runtime::{Runtime, VolumeFiles};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::machine::{Machine, pod, until_removed};

/// A pod with volumes, whose container runs a script.
fn with_volumes(name: &str, volumes: Value, mounts: Value, script: &str) -> Pod {
    let container = json!({ "command": ["/bin/sh", "-c", script], "volumeMounts": mounts });
    pod(name, json!({ "volumes": volumes }), container)
}

fn claim(name: &str) -> Value {
    json!({ "name": name, "persistentVolumeClaim": { "claimName": name } })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_is_shared_by_its_pods_and_goes_with_it() {
    let Some(machine) = Machine::new().await else { return };
    let mount = |path: &str| json!([{ "name": "work", "mountPath": path }]);
    let write = with_volumes("a", json!([claim("work")]), mount("/woodpecker"), "echo data >/woodpecker/file");
    machine.run(&write).await.good();
    machine.runtime.removed(&write);
    let read = with_volumes("b", json!([claim("work")]), mount("/any where/else"), "cat '/any where/else/file'");
    assert_eq!(machine.run(&read).await.good(), "data\n");
    let other = with_volumes("c", json!([claim("other")]), json!([{ "name": "other", "mountPath": "/w" }]), "ls -A /w");
    assert_eq!(machine.run(&other).await.good(), "");
    let own = std::fs::read_dir(machine.base.path()).unwrap().next().unwrap().unwrap().path();
    let holds_it = |path: &std::path::Path| path.join("file").exists();
    let folder =
        std::fs::read_dir(own).unwrap().flatten().map(|entry| entry.path()).find(|path| holds_it(path)).unwrap();
    machine.runtime.claim_removed("ci", "work");
    until_removed(&folder).await;
    let again = with_volumes("d", json!([claim("work")]), mount("/w"), "ls -A /w");
    assert_eq!(machine.run(&again).await.good(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_volume_is_where_the_pod_wants_it() {
    let Some(machine) = Machine::new().await else { return };
    let volumes = json!([
        claim("work"),
        { "name": "scratch", "emptyDir": {} },
        { "name": "keys", "secret": { "secretName": "keys", "defaultMode": 0o400 } },
        { "name": "config", "configMap": { "name": "config" } },
    ]);
    let mounts = json!([
        { "name": "work", "mountPath": "/work space" },
        { "name": "scratch", "mountPath": "/work space/a/cache" },
        { "name": "keys", "mountPath": "/work space/id", "subPath": "id" },
        { "name": "config", "mountPath": "/config" },
        { "name": "work", "mountPath": "/part", "subPath": "sub/part" },
        { "name": "work", "mountPath": "/read-only", "readOnly": true },
        { "name": "scratch", "mountPath": "/dev/shm" },
    ]);
    let script = "cat '/work space/id' /config/dir/file; echo in part >/part/x; cat '/work space/sub/part/x'; \
        echo cached >'/work space/a/cache/x'; cat /dev/shm/x; ls '/read-only/a/cache'; stat -c %a '/work space/id'; \
        touch /read-only/x '/work space/id' /config/x 2>&1 | grep -c 'Read-only'; \
        ls /sys/volumes /sys/fstab 2>/dev/null; cd '/work space' && pwd";
    let files: VolumeFiles = [
        ("keys".to_owned(), BTreeMap::from([("id".to_owned(), Bytes::from("key\n"))])),
        ("config".to_owned(), BTreeMap::from([("dir/file".to_owned(), Bytes::from("text\n"))])),
    ]
    .into();
    let ended = machine.start(&with_volumes("a", volumes, mounts, script), files).end().await;
    assert_eq!(ended.good(), "key\ntext\nin part\ncached\n400\n3\n/work space\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_cannot_be_made_is_refused() {
    let Some(machine) = Machine::new().await else { return };
    let volumes = json!([{ "name": "scratch", "emptyDir": {} }]);
    let mounts = json!([{ "name": "scratch", "mountPath": "/etc/passwd" }]);
    let refused = machine.run(&with_volumes("a", volumes, mounts, "true")).await.refused();
    assert!(refused.contains("/etc/passwd") && refused.contains("File exists"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_in_a_volume_is_no_mount_point() {
    let Some(machine) = Machine::new().await else { return };
    let work = json!([{ "name": "work", "mountPath": "/w" }]);
    let script = "ln -s /etc /w/cache; ln -s /root /w/sub";
    machine.run(&with_volumes("a", json!([claim("work")]), work, script)).await.good();
    let volumes = json!([claim("work"), { "name": "scratch", "emptyDir": {} }]);
    let nested = json!([{ "name": "work", "mountPath": "/w" }, { "name": "scratch", "mountPath": "/w/cache" }]);
    let refused = machine.run(&with_volumes("b", volumes, nested, "ls /etc")).await.refused();
    assert!(refused.contains("neither a file nor a folder"), "{refused}");
    let part = json!([{ "name": "work", "mountPath": "/w", "subPath": "sub/x" }]);
    let refused = machine.run(&with_volumes("c", json!([claim("work")]), part, "ls /w")).await.refused();
    assert!(refused.contains("sub/x"), "{refused}");
}

/// A volume in the place of the programs that set up a container: those that it holds must not run with its rights.
#[tokio::test(flavor = "multi_thread")]
async fn programs_in_a_volume_never_have_more_rights_than_a_step() {
    let Some(machine) = Machine::new().await else { return };
    let tools = "mount umount nsenter unshare setpriv setsid env mkdir rm cat hostname pivot_root";
    let body = "#!/usr/bin/sh\nwhile read -r l; do case $l in CapEff*) echo \"$0 $l\" >>/usr/bin/marks;; esac; done </proc/self/status\n";
    let lay = format!(
        "cp /bin/sh /w/sh; for t in {tools}; do printf %s '{}' >/w/$t; done; chmod 755 /w/*",
        body.replace('\'', "'\\''")
    );
    let work = |path: &str| json!({ "name": "work", "mountPath": path });
    machine.run(&with_volumes("a", json!([claim("work")]), json!([work("/w")]), &lay)).await.good();
    let volumes = json!([claim("work"), { "name": "later", "emptyDir": {} }]);
    let mounts = json!([work("/usr/bin"), work("/usr/sbin"), { "name": "later", "mountPath": "/zzz" }]);
    let evil =
        pod("b", json!({ "volumes": volumes }), json!({ "command": ["/usr/bin/mount"], "volumeMounts": mounts }));
    machine.run(&evil).await.good();
    let read = with_volumes("c", json!([claim("work")]), json!([work("/w")]), "cat /w/marks");
    let marks = machine.run(&read).await.good();
    let rights: Vec<u64> =
        marks.lines().map(|line| u64::from_str_radix(line.rsplit('\t').next().unwrap(), 16).unwrap()).collect();
    // The step's own command, and nothing else.
    assert_eq!(rights.len(), 1, "{marks}");
    const SYS_ADMIN: u64 = 1 << 21;
    assert_eq!(rights[0] & SYS_ADMIN, 0, "{marks}");
}
