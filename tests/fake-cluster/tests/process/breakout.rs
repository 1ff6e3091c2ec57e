//! Attempts to get out of a container, as root inside.

use std::fs;
use std::path::Path;
use std::time::Duration;

use fake_cluster::process::ProcessSettings;
use fake_cluster::runtime::{Exit, VolumeFiles, Wish};
use serde_json::json;

use crate::environment::is_root;
use crate::machine::{Ended, Machine, pod, shell, skipped};

/// A folder of the host that containers see; `None`, said loudly, if nothing of the kind can be made. The checkout itself
/// may lie where containers see nothing: in a home, or in `/tmp`.
fn visible() -> Option<tempfile::TempDir> {
    let own = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let is_hidden = ["/home", "/root", "/tmp", "/var/tmp", "/run"].iter().any(|folder| own.starts_with(folder));
    let made = tempfile::tempdir_in(if is_hidden { Path::new("/srv") } else { own });
    made.inspect_err(|error| skipped(&format!("no folder can be made where containers see it: {error}"))).ok()
}

/// Runs each line of a script on its own, and gives those that succeeded.
async fn succeeded(machine: &Machine, attempts: &[&str]) -> Vec<String> {
    let mut good = Vec::new();
    for (number, attempt) in attempts.iter().enumerate() {
        let Ended { exit, output } =
            machine.run(&shell(&format!("try-{number}"), &format!("{{ {attempt}\n}} 2>&1"))).await;
        if exit == Ok(Exit::Code(0)) {
            good.push(format!("{attempt}: {output}"));
        }
    }
    good
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hosts_files_stay_as_they_are() {
    let Some(machine) = Machine::new().await else { return };
    let Some(folder) = visible() else { return };
    let canary = folder.path().join("canary");
    fs::write(&canary, "alive").unwrap();
    let passwd = fs::read("/etc/passwd").unwrap();
    let at = folder.path().display();
    let script = format!(
        "exec 2>/dev/null; cat {at}/canary; rm -rf {at}; [ -e {at}/canary ] || echo :gone; echo x >/etc/passwd; rm /etc/os-release; \
         touch /canary-in-root /usr/canary-in-usr; mkdir -p {at} && echo dead >{at}/canary; ls /canary-in-root"
    );
    let output = machine.shell(&script).await.good();
    // In a user namespace, the folder that it is in has an owner who isn't known there.
    let gone = if is_root() { ":gone\n" } else { "" };
    assert_eq!(output, format!("alive{gone}/canary-in-root\n"));
    assert_eq!(fs::read_to_string(&canary).unwrap(), "alive");
    assert_eq!(fs::read("/etc/passwd").unwrap(), passwd);
    assert!(Path::new("/etc/os-release").exists());
    assert!(!Path::new("/canary-in-root").exists() && !Path::new("/usr/canary-in-usr").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hosts_secrets_and_the_folders_of_other_pods_are_not_seen() {
    let Some(hidden) = visible() else { return };
    fs::write(hidden.path().join("secret"), "").unwrap();
    let hide = hidden.path().to_owned();
    let Some(scratch) = visible() else { return };
    let change = |settings: &mut ProcessSettings| {
        settings.hidden = vec![hide];
        settings.scratch = scratch.path().to_owned();
    };
    let Some(machine) = Machine::with(change).await else { return };
    let volumes = json!({ "volumes": [{ "name": "work", "persistentVolumeClaim": { "claimName": "work" } }] });
    let mounts = json!([{ "name": "work", "mountPath": "/w" }]);
    let write = json!({ "command": ["/bin/sh", "-c", "echo secret >/w/of-another; echo up; sleep 1000"], "volumeMounts": mounts });
    let mut neighbour = machine.start(&pod("neighbour", volumes, write), VolumeFiles::new());
    neighbour.until("up").await;
    let find = format!(
        "find {} {} -mindepth 1; find / -xdev -name of-another 2>/dev/null; find /root /home /run /boot /mnt -mindepth 1 -not -path '/run/source*'; \
         cut -d: -f2 /etc/shadow 2>/dev/null | sort -u; ps ax | grep -c '[s]leep'",
        hidden.path().display(),
        scratch.path().display()
    );
    let output = machine.shell(&find).await.output;
    assert!(output.lines().all(|line| ["*", "0"].contains(&line)), "{output}");
    neighbour.wish(Wish::Kill);
    neighbour.end().await.exit.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_the_machine_can_be_changed() {
    let Some(machine) = Machine::new().await else { return };
    let host_name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    // Each would do no harm if it succeeded.
    let attempts = [
        "p=$(cat /proc/sys/kernel/core_pattern) && echo \"$p\" >/proc/sys/kernel/core_pattern",
        "mount -t tmpfs none /mnt",
        "mount --bind /usr /mnt",
        "mount -o remount,bind,rw /proc/sys",
        "mount -o remount,bind,rw /sys",
        "umount /proc/sys",
        "umount -l /sys",
        "pivot_root / /mnt",
        "echo evil >/proc/sys/kernel/hostname",
        "find /proc/sys -type f -writable | grep .",
        "echo h >/proc/sysrq-trigger",
        "find /sys -type f -perm -200 | head -50 | while read -r f; do if ( : >>\"$f\" ) 2>/dev/null; then echo \"$f\"; fi; done | grep .",
        "mknod /disk b 254 0",
        "mknod /disk b 8 0",
        "mknod /mem c 1 1",
        "find /dev -type b | grep .",
        "ls /dev/kmsg /dev/mem /dev/kvm /dev/fuse /dev/console 2>/dev/null | grep .",
        "hostname evil",
        "date -s \"$(date)\"",
        "ip link set lo up",
        "chroot /proc/1/root/../../.. ls /proc/1/root/root/.ssh",
        "nsenter --target 1 --mount ls /",
        "renice -n -5 $$",
    ];
    let good = succeeded(&machine, &attempts).await;
    assert!(good.is_empty(), "{good:#?}");
    assert_eq!(fs::read_to_string("/proc/sys/kernel/hostname").unwrap(), host_name);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_namespace_of_its_own_does_not_help() {
    let Some(machine) = Machine::new().await else { return };
    let within = |(namespaces, attempt): &(&str, &str)| {
        format!("unshare --user --map-root-user --mount {namespaces} -- sh -c '{attempt}'")
    };
    let attempts = [
        ("", "umount /proc/sys"),
        ("", "umount -l /sys"),
        ("", "umount /etc/hosts"),
        ("", "mount -o remount,bind,rw /proc/sys"),
        ("", "mount -o remount,bind,rw /sys"),
        ("", "mount --bind / /mnt"),
        ("", "mount -t proc proc /mnt"),
        ("--pid --fork", "mount -t proc proc /mnt"),
        ("", "mount -t sysfs sysfs /mnt"),
        ("--net", "mount -t sysfs sysfs /mnt && touch /mnt/x"),
        ("--net", "mount -t sysfs sysfs /mnt && : >>/mnt/kernel/uevent_helper"),
        ("", "mount -t cgroup2 none /mnt"),
        ("", "mkdir /m && mount -t ext4 /dev/vda /m"),
        ("", "mount -t devtmpfs none /mnt"),
        ("", "mknod /disk b 254 0"),
        ("", "p=$(cat /proc/sys/kernel/core_pattern) && echo $p >/proc/sys/kernel/core_pattern"),
    ];
    let attempts: Vec<String> = attempts.iter().map(within).collect();
    let attempts: Vec<&str> = attempts.iter().map(String::as_str).collect();
    let good = succeeded(&machine, &attempts).await;
    assert!(good.is_empty(), "{good:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_no_way_to_the_hosts_root_and_processes() {
    let Some(machine) = Machine::new().await else { return };
    // Hidden, and so to be found only through the host's root.
    let marker = tempfile::tempdir().unwrap();
    fs::write(marker.path().join("marker"), "").unwrap();
    let marker = marker.path().join("marker");
    let marker = marker.strip_prefix("/").unwrap().display();
    let up = "../".repeat(40);
    let pid = std::process::id();
    let attempts = [
        format!("ls /proc/1/root/{marker}"),
        format!("ls /proc/1/cwd/{up}{marker}"),
        format!("ls {up}{marker}"),
        format!("for p in /proc/[0-9]*; do ls $p/root/{marker} $p/cwd/{up}{marker}; done 2>/dev/null | grep ."),
        format!("for f in /proc/[0-9]*/fd/*; do ls $f/{marker}; done 2>/dev/null | grep ."),
        format!(
            "perl -e 'mkdir \"/x\"; chdir \"/\"; chroot \"/x\" or die; chdir \"..\" for 1..99; chroot \".\" or die; -e \"/{marker}\" or die'"
        ),
        format!("kill -0 {pid}"),
        format!("ls /proc/{pid}/root/"),
        "sed -n 's/^PPid:.//p' /proc/1/status | grep -v '^0$'".to_owned(),
    ];
    let attempts: Vec<&str> = attempts.iter().map(String::as_str).collect();
    let good = succeeded(&machine, &attempts).await;
    assert!(good.is_empty(), "{good:#?}");
}

/// What brings SIGTERM comes from outside, with all rights and the host's root.
#[tokio::test(flavor = "multi_thread")]
async fn the_bringer_of_a_signal_is_no_way_out() {
    let Some(machine) = Machine::new().await else { return };
    let marker = tempfile::tempdir().unwrap();
    // It looks at every process while the signal is brought.
    let script = format!(
        "trap 'echo told; told=yes' TERM; echo up; i=0; while [ $i -lt 300 ]; do [ -z \"$told\" ] || i=$((i + 1)); \
         for p in /proc/[0-9]*; do [ ! -e $p/root{marker} ] || echo leak; [ ! -e $p/cwd/../../..{marker} ] || echo leak; done; done",
        marker = marker.path().display()
    );
    let mut live = machine.start(&shell("one", &script), VolumeFiles::new());
    live.until("up").await;
    live.wish(Wish::Terminate);
    assert_eq!(live.end().await.good(), "up\ntold\n");
}

/// The bringer of a signal that was stopped, and is reaped by nobody, would hold up the end of the namespace.
#[tokio::test(flavor = "multi_thread")]
async fn who_stops_every_process_that_comes_is_killed_nevertheless() {
    let Some(machine) = Machine::new().await else { return };
    let script = "trap '' TERM; echo up; while :; do for p in /proc/[0-9]*; do \
                  [ ${p#/proc/} = $$ ] || kill -STOP ${p#/proc/} 2>/dev/null; done; done";
    let mut live = machine.start(&shell("one", script), VolumeFiles::new());
    live.until("up").await;
    live.wish(Wish::Terminate);
    // Long enough for the bringer to come and to be stopped; if it is not, the test proves less, but fails for nothing.
    tokio::time::sleep(Duration::from_millis(500)).await;
    live.wish(Wish::Kill);
    let ended = tokio::time::timeout(Duration::from_secs(30), live.end()).await.expect("it is never over");
    assert_eq!(ended.exit, Ok(Exit::Signal(9)));
}

/// A socket of a daemon, in a folder that containers see.
#[tokio::test(flavor = "multi_thread")]
async fn a_hosts_socket_file_leads_to_nobody() {
    let Some(machine) = Machine::new().await else { return };
    let Some(folder) = visible() else { return };
    let path = folder.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let connect = format!(
        "perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Peer => \"{path}\") or die \"$!\"'",
        path = path.display()
    );
    let ended = machine.shell(&format!("test -S {} && {connect}", path.display())).await;
    assert!(ended.output.contains("refused"), "{ended:?}");
}

/// What signals everything that it can reaches nobody outside, and what it does inside is its own affair.
#[tokio::test(flavor = "multi_thread")]
async fn killing_everything_kills_only_the_container() {
    let Some(machine) = Machine::new().await else { return };
    let output = machine.shell("sleep 100 & kill -9 -1; wait; kill -9 0; kill -9 1; echo still here").await.good();
    assert!(output.ends_with("still here\n"), "{output}");
}
