//! Exit codes, signals, output, and that nothing outlives a container.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use fake_cluster::process::{ProcessRuntime, ProcessSettings};
use fake_cluster::runtime::{Exit, Runtime, VolumeFiles, Wish};
use serde_json::json;

use crate::machine::{Machine, is_running, long_time, pod, shell, until_gone, until_removed, until_running};

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_are_exact() {
    let Some(machine) = Machine::new().await else { return };
    for code in [0, 1, 7, 125, 126, 127, 137, 143, 255] {
        let ended = machine.shell(&format!("exit {code}")).await;
        assert_eq!(ended.exit, Ok(Exit::Code(code)), "{}", ended.output);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_is_no_exit_code() {
    let Some(machine) = Machine::new().await else { return };
    let mut live = machine.start(&shell("one", "echo up; while :; do sleep 1; done"), VolumeFiles::new());
    live.until("up").await;
    live.wish(Wish::Kill);
    assert_eq!(live.end().await.exit, Ok(Exit::Signal(9)));
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_can_be_trapped_while_the_shell_waits() {
    let Some(machine) = Machine::new().await else { return };
    // As a step's commands are run: a shell that waits for a program, which may be a shell that waits.
    for nested in [false, true] {
        let time = long_time();
        let script = format!("set -e; trap 'echo bye; exit 3' TERM; echo up; sleep {time}");
        let script = if nested { format!("echo \"{script}\" | /bin/sh -e") } else { script };
        let mut live = machine.start(&shell("one", &script), VolumeFiles::new());
        live.until("up").await;
        until_running(&time).await;
        live.wish(Wish::Terminate);
        let ended = live.end().await;
        assert_eq!(ended.exit, Ok(Exit::Code(3)), "{script}");
        // The shells say what became of the program that they waited for.
        assert_eq!(ended.output.replace("Terminated\n", ""), "up\nbye\n", "{script}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_what_does_not_care() {
    let Some(machine) = Machine::new().await else { return };
    // Alone and first in its namespace, it would be spared the signal.
    let alone = pod("one", json!({}), json!({ "command": ["sleep", "1000"] }));
    let live = machine.start(&alone, VolumeFiles::new());
    live.wish(Wish::Terminate);
    assert_eq!(live.end().await.exit, Ok(Exit::Signal(15)));
    let mut live = machine.start(&shell("one", "sleep 1000 & echo up; wait $!; exit $?"), VolumeFiles::new());
    live.until("up").await;
    live.wish(Wish::Terminate);
    assert_eq!(live.end().await.exit, Ok(Exit::Code(143)));
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_leaves_alone_what_ignores_it_until_it_is_killed() {
    let Some(machine) = Machine::new().await else { return };
    let script = "trap '' TERM; echo up; sleep 2; echo still here; sleep 1000";
    let mut live = machine.start(&shell("one", script), VolumeFiles::new());
    live.until("up").await;
    live.wish(Wish::Terminate);
    live.until("still here").await;
    live.wish(Wish::Kill);
    assert_eq!(live.end().await.exit, Ok(Exit::Signal(9)));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_outlives_the_command() {
    let Some(machine) = Machine::new().await else { return };
    let time = long_time();
    let script = format!(
        "setsid sleep {time} >/dev/null 2>&1 & (setsid sh -c 'sleep {time} & sleep {time}' &) ; (trap '' TERM HUP; sleep {time}) & \
         while ! pgrep -c sleep >/dev/null; do :; done; pgrep -c sleep; exit 7"
    );
    let ended = machine.shell(&script).await;
    assert_eq!(ended.exit, Ok(Exit::Code(7)), "{}", ended.output);
    assert!(!is_running(&time), "a daemonised process lives on");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_outlives_a_kill_or_a_forgotten_container() {
    let Some(machine) = Machine::new().await else { return };
    let time = long_time();
    let daemon = shell("one", &format!("setsid sleep {time} >/dev/null 2>&1 & echo up; sleep {time}"));
    let mut live = machine.start(&daemon, VolumeFiles::new());
    live.until("up").await;
    live.wish(Wish::Kill);
    assert_eq!(live.end().await.exit, Ok(Exit::Signal(9)));
    assert!(!is_running(&time), "the end was told before it was there");
    let mut live = machine.start(&daemon, VolumeFiles::new());
    live.until("up").await;
    live.abandon().await;
    until_gone(&time).await;
}

/// Runs this test once more, as a program that is killed. It is started with descriptors of the host's root open.
#[expect(clippy::disallowed_methods, reason = "this program starts itself, and tells itself so")]
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_runtime_takes_its_pods_along_and_the_next_one_tidies_up() {
    const TIME: &str = "PROCESS_TEST_TIME";
    const SCRATCH: &str = "PROCESS_TEST_SCRATCH";
    let scratch = std::env::var_os(SCRATCH);
    let change = |settings: &mut ProcessSettings| {
        if let Some(scratch) = scratch {
            settings.scratch = PathBuf::from(scratch);
        }
    };
    let Some(machine) = Machine::with(change).await else { return };
    if let Some(time) = std::env::var_os(TIME) {
        let time = time.into_string().unwrap();
        let script = format!("setsid sleep {time} & echo up; sleep {time}");
        let mut live = machine.start(&shell("one", &script), VolumeFiles::new());
        live.until("up").await;
        let ended = live.end().await;
        panic!("it was not killed: {ended:?}");
    }
    let time = long_time();
    let scratch = machine.base.path().join("of the killed");
    let name = "processes::a_killed_runtime_takes_its_pods_along_and_the_next_one_tidies_up";
    let mut program = Command::new("/bin/bash");
    program.args(["-c", "exec 9</ 77</; exec \"$0\" \"$@\""]).arg(std::env::current_exe().unwrap());
    program.args(["--exact", name, "--nocapture"]).env(TIME, &time).env(SCRATCH, &scratch);
    program.env("TMPDIR", machine.base.path());
    let mut program = tokio::process::Command::from(program);
    let mut program = program.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap();
    until_running(&time).await;
    // Whatever the program has open, its containers have but their own.
    let leaks: Vec<_> = descriptors_of(&time).into_iter().filter(|(number, _)| *number > 2).collect();
    program.kill().await.unwrap();
    until_gone(&time).await;
    assert!(leaks.is_empty(), "{leaks:?}");
    assert_eq!(std::fs::read_dir(&scratch).unwrap().count(), 1);
    let next = ProcessRuntime::new(ProcessSettings::new(&scratch)).await.unwrap();
    assert_eq!(std::fs::read_dir(&scratch).unwrap().count(), 1);
    drop(next);
    assert_eq!(std::fs::read_dir(&scratch).unwrap().count(), 0);
}

/// What the processes with this argument have open.
fn descriptors_of(argument: &str) -> Vec<(u32, String)> {
    let mut found = Vec::new();
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let is_it = line.starts_with(b"sleep") && line.split(|byte| *byte == 0).any(|word| word == argument.as_bytes());
        for descriptor in std::fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten().filter(|_| is_it)
        {
            let number = descriptor.file_name().to_string_lossy().parse().unwrap();
            let target = std::fs::read_link(descriptor.path()).unwrap_or_default();
            found.push((number, target.display().to_string()));
        }
    }
    assert!(!found.is_empty(), "there was nothing to look at");
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_thousand_lines_arrive_in_order() {
    let Some(machine) = Machine::new().await else { return };
    let output = machine.shell("seq 200000").await.good();
    let expected: String = (1..=200_000).map(|number| format!("{number}\n")).collect();
    assert!(output == expected, "{} of {} bytes", output.len(), expected.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn both_outputs_keep_their_common_order() {
    let Some(machine) = Machine::new().await else { return };
    let output = machine.shell("for i in $(seq 500); do echo out $i; echo err $i >&2; done").await.good();
    let expected: String = (1..=500).map(|number| format!("out {number}\nerr {number}\n")).collect();
    assert_eq!(output, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_program_is_said_and_a_missing_container_refused() {
    let Some(machine) = Machine::new().await else { return };
    let ended = machine.run(&pod("one", json!({}), json!({ "command": ["cowsay", "hello"] }))).await;
    assert_eq!(ended.exit, Ok(Exit::Code(127)));
    assert!(ended.output.starts_with("There is no program 'cowsay' here."), "{}", ended.output);
    let other = pod("one", json!({}), json!({ "name": "other", "command": ["true"] }));
    assert!(machine.run(&other).await.refused().contains("no container 'step'"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_pod_leaves_nothing() {
    let Some(machine) = Machine::new().await else { return };
    let time = long_time();
    let deep = "perl -e 'for (1 .. 500) { mkdir \"d\" x 50 or die; chdir \"d\" x 50 or die }'";
    let script = format!("cd /opt; mkdir locked && touch locked/x && chmod 0 locked; {deep}; echo up; sleep {time}");
    let pod = shell("one", &script);
    let mut live = machine.start(&pod, VolumeFiles::new());
    live.until("up").await;
    let own = std::fs::read_dir(machine.base.path()).unwrap().next().unwrap().unwrap().path();
    let folder = std::fs::read_dir(&own).unwrap().flatten().map(|entry| entry.path());
    let folder =
        folder.into_iter().find(|path| path.file_name().unwrap().to_string_lossy().starts_with("pod-")).unwrap();
    machine.runtime.removed(&pod);
    assert_eq!(live.end().await.exit, Ok(Exit::Signal(9)));
    assert!(!is_running(&time));
    until_removed(&folder).await;
    drop(machine.runtime);
    until_removed(&own).await;
}
