//! Plain processes, where the user asked for them.

use fake_cluster::runtime::{Exit, VolumeFiles, Wish};
use serde_json::json;

use crate::machine::{Machine, is_running, long_time, pod, shell, until_running};

async fn machine() -> Machine {
    Machine::with(|settings| settings.unsafe_host = true).await.expect("nothing can forbid it")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_workspace_is_shared_under_another_path() {
    let machine = machine().await;
    let volumes = json!({ "volumes": [{ "name": "work", "persistentVolumeClaim": { "claimName": "work" } }] });
    let step = |script: &str| {
        json!({
            "command": ["/bin/sh", "-c", script],
            "workingDir": "/woodpecker",
            "env": [{ "name": "CI_WORKSPACE", "value": "/woodpecker/src" }],
            "volumeMounts": [{ "name": "work", "mountPath": "/woodpecker" }],
        })
    };
    let write = "mkdir -p /woodpecker/src && cd /woodpecker/src && echo data >file && echo $PWD $CI_WORKSPACE";
    let output = machine.run(&pod("a", volumes.clone(), step(write))).await.good();
    let places: Vec<&str> = output.split_whitespace().collect();
    assert!(places[0] == places[1] && places[0].starts_with(machine.base.path().to_str().unwrap()), "{output}");
    assert!(!std::path::Path::new("/woodpecker").exists());
    assert_eq!(machine.run(&pod("b", volumes, step("cat src/file; exit 7"))).await.output, "data\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_processes_ends_together() {
    let machine = machine().await;
    let time = long_time();
    let mut live = machine
        .start(&shell("one", &format!("trap 'echo bye; exit 3' TERM; echo up; sleep {time}")), VolumeFiles::new());
    live.until("up").await;
    until_running(&time).await;
    live.wish(Wish::Terminate);
    let ended = live.end().await;
    assert_eq!(ended.exit, Ok(Exit::Code(3)));
    assert_eq!(ended.output.replace("Terminated\n", ""), "up\nbye\n");
    let mut live = machine.start(&shell("one", &format!("sleep {time} & echo up; wait")), VolumeFiles::new());
    live.until("up").await;
    live.wish(Wish::Kill);
    assert_eq!(live.end().await.exit, Ok(Exit::Signal(9)));
    assert!(!is_running(&time));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_holds_the_output_does_not_hold_up_the_end() {
    let machine = machine().await;
    let time = long_time();
    let ended = machine.run(&shell("one", &format!("setsid sleep {time} & echo $!; exit 7"))).await;
    assert_eq!(ended.exit, Ok(Exit::Code(7)));
    // Nobody else ends it, which is what this mode is documented for.
    let daemon = std::process::Command::new("kill").arg(ended.output.trim()).status().unwrap();
    assert!(daemon.success());
}
