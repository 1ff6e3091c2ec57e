//! What a container sees of itself.

use fake_cluster::process::ProcessSettings;
use serde_json::json;

use crate::machine::{Machine, pod, shell};

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_is_what_the_pod_says_and_three_variables() {
    let Some(machine) = Machine::new().await else { return };
    let env = json!([
        { "name": "CI", "value": "woodpecker" },
        { "name": "TEXT", "value": "it's \"$HOME\" `id`\nnext line\n" },
        { "name": "LD_PRELOAD", "value": "" },
        { "name": "dotted.name-x", "value": "1" },
        { "name": "UID", "value": "77" },
        { "name": "BIG", "value": "x".repeat(120_000) },
    ]);
    let ended = machine.run(&pod("build", json!({}), json!({ "command": ["env", "-0"], "env": env }))).await;
    let output = ended.good();
    let mut found: Vec<&str> = output.trim_end_matches('\0').split('\0').collect();
    found.sort_unstable();
    let big = format!("BIG={}", "x".repeat(120_000));
    let expected = [
        &big,
        "CI=woodpecker",
        "HOME=/root",
        "HOSTNAME=build",
        "LD_PRELOAD=",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "TEXT=it's \"$HOME\" `id`\nnext line\n",
        "UID=77",
        "dotted.name-x=1",
    ];
    assert_eq!(found, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_is_a_machine_of_its_own() {
    let Some(machine) = Machine::new().await else { return };
    let script = "hostname; echo $$; pwd; id -u; id -G; ls -A /root /home /tmp /run | grep -v : | grep .; \
        ls /proc | grep -c '^[0-9]*$'; grep NoNewPrivs /proc/self/status; cat /proc/self/cgroup | cut -d: -f3 | sort -u; \
        ( : </dev/tty ); echo x >/dev/null; head -c 3 /dev/zero | wc -c; echo shm >/dev/shm/x; test -c /dev/ptmx && find /dev -type b";
    let container = json!({ "command": ["/bin/sh", "-c", script], "workingDir": "/made/for it" });
    let output = machine.run(&pod("build", json!({}), container)).await.good();
    let lines: Vec<&str> = output.lines().collect();
    // The processes: the shell, ls and grep.
    let expected = ["build", "1", "/made/for it", "0", "0", "3", "NoNewPrivs:\t1", "/"];
    assert_eq!(lines[..8], expected, "{output}");
    assert!(lines[8].contains("/dev/tty"), "it has a terminal: {output}");
    assert_eq!(lines[9..], ["3"], "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_runs_as_the_user_that_its_pod_says() {
    let Some(machine) = Machine::new().await else { return };
    let security = json!({ "runAsUser": 1234, "runAsGroup": 4321, "fsGroup": 999 });
    let volumes = json!([{ "name": "data", "persistentVolumeClaim": { "claimName": "data" } }]);
    let script = "id -u; id -g; id -G; echo $HOME; touch /data/x /tmp/y && echo written; touch /etc/z; \
        grep CapEff /proc/self/status; grep CapPrm /proc/self/status";
    let mounts = json!([{ "name": "data", "mountPath": "/data" }]);
    let container = json!({ "command": ["/bin/sh", "-c", script], "volumeMounts": mounts });
    let ended = machine.run(&pod("user", json!({ "securityContext": security, "volumes": volumes }), container)).await;
    if let Err(error) = &ended.exit {
        // In a user namespace of one user that can't be had.
        assert!(error.message.contains("no other user than root"), "{error:?}");
        assert_eq!(machine.shell("awk '{ print $3 }' /proc/self/uid_map").await.good(), "1\n");
        return;
    }
    let output = ended.output;
    let expected = "1234\n4321\n4321 999\n/\nwritten\ntouch: cannot touch '/etc/z': Permission denied\n\
        CapEff:\t0000000000000000\nCapPrm:\t0000000000000000\n";
    assert_eq!(output, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_container_has_a_fresh_root() {
    let Some(machine) = Machine::new().await else { return };
    assert_eq!(machine.shell("touch /opt/x /x; ls /opt/x /x").await.good(), "/opt/x\n/x\n");
    let ended = machine.run(&shell("two", "ls /opt/x /x >/dev/null 2>&1 || echo gone")).await;
    assert_eq!(ended.good(), "gone\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scratch_folder_may_have_any_name() {
    let change = |settings: &mut ProcessSettings| settings.scratch = settings.scratch.join("a b,c:d\"e'f\\g$h");
    let Some(machine) = Machine::with(change).await else { return };
    let volumes = json!({ "volumes": [{ "name": "data", "emptyDir": {} }] });
    let mounts = json!([{ "name": "data", "mountPath": "/x,y:\"z'\\ $w" }]);
    let container = json!({ "command": ["touch", "/opt/x", "/x,y:\"z'\\ $w/file"], "volumeMounts": mounts });
    machine.run(&pod("one", volumes, container)).await.good();
}

pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    // A folder of its own is the simplest thing that belongs to the user.
    tempfile::tempdir().unwrap().path().metadata().unwrap().uid() == 0
}
