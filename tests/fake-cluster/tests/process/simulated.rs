//! What only an image could do.

use std::fs;

use fake_cluster::process::{ProcessRuntime, ProcessSettings};
use fake_cluster::runtime::{Exit, VolumeFiles, Wish};
use serde_json::json;

use crate::machine::{Machine, SECRET, pod};

fn plugin(kind: &str) -> k8s_openapi::api::core::v1::Pod {
    let env = json!([
        { "name": "CI_STEP_TYPE", "value": kind },
        { "name": "PLUGIN_REPO", "value": "octo/app" },
        { "name": "PLUGIN_PASSWORD", "value": SECRET },
        { "name": "PLUGIN_URL", "value": format!("https://ann:{SECRET}@host/from-the-command-line") },
        { "name": "OTHER", "value": "not shown" },
    ]);
    pod("publish", json!({}), json!({ "env": env }))
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_image_a_step_fails_and_says_what_to_do() {
    let Some(machine) = Machine::new().await else { return };
    for (kind, advice) in
        [("plugin", "--simulate-plugins"), ("clone", "--source DIR"), ("service", "--simulate-plugins")]
    {
        let ended = machine.run(&plugin(kind)).await;
        assert_eq!(ended.exit, Ok(Exit::Code(1)));
        assert!(
            ended.output.contains(advice) && ended.output.contains("docker.io/library/example:1"),
            "{}",
            ended.output
        );
        assert!(!ended.output.contains(SECRET));
    }
    assert!(machine.runtime.simulated().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_simulated_plugin_shows_its_settings_without_secrets() {
    let change = |settings: &mut ProcessSettings| {
        settings.simulate_plugins = true;
        settings.masked = vec!["from-the-command-line".to_owned()];
        assert!(!format!("{settings:?}").contains("from-the-command-line"));
    };
    let Some(machine) = Machine::with(change).await else { return };
    let expected = "[simulated] The plugin docker.io/library/example:1 did not run. It would get:\n\
        [simulated]   PLUGIN_PASSWORD=********\n\
        [simulated]   PLUGIN_REPO=octo/app\n\
        [simulated]   PLUGIN_URL=https://ann:********@host/********\n";
    assert_eq!(machine.run(&plugin("plugin")).await.good(), expected);
    assert_eq!(machine.runtime.simulated(), ["wp-publish".to_owned()].into());
    machine.run(&pod("real", json!({}), json!({ "command": ["true"] }))).await.good();
    assert_eq!(machine.runtime.simulated().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_simulated_service_stays_until_it_is_told_to_go() {
    let Some(machine) = Machine::with(|settings| settings.simulate_plugins = true).await else { return };
    for (wish, exit) in [(Wish::Terminate, Exit::Code(0)), (Wish::Kill, Exit::Signal(9))] {
        let mut service = machine.start(&plugin("service"), VolumeFiles::new());
        service.until("[simulated]").await;
        service.wish(wish);
        assert_eq!(service.end().await.exit, Ok(exit));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_folder_takes_the_place_of_the_clone() {
    let source = tempfile::tempdir().unwrap();
    fs::create_dir_all(source.path().join(".git/refs")).unwrap();
    fs::write(source.path().join(".git/HEAD"), "ref: refs/heads/main\n").unwrap();
    std::os::unix::fs::symlink(".git/HEAD", source.path().join("link")).unwrap();
    let Some(machine) = Machine::with(|settings| settings.source = Some(source.path().to_owned())).await else {
        return;
    };
    let env = json!([
        { "name": "CI_STEP_TYPE", "value": "clone" },
        { "name": "CI_WORKSPACE", "value": "/woodpecker/src/host/octo/app" },
    ]);
    let volumes = json!({ "volumes": [{ "name": "work", "persistentVolumeClaim": { "claimName": "work" } }] });
    let mounts = json!([{ "name": "work", "mountPath": "/woodpecker" }]);
    let clone = json!({ "env": env, "volumeMounts": mounts, "workingDir": "/woodpecker/src/host/octo/app" });
    let output = machine.run(&pod("clone", volumes.clone(), clone)).await.good();
    assert!(output.starts_with("[simulated] The clone is a copy of "), "{output}");
    assert_eq!(machine.runtime.simulated(), ["wp-clone".to_owned()].into());
    let script = "cd /woodpecker/src/host/octo/app && cat link && readlink link && stat -c %u . link .git/HEAD && ls -d /run/source";
    let build = json!({ "command": ["/bin/sh", "-c", script], "volumeMounts": mounts });
    let ended = machine.run(&pod("build", volumes, build)).await;
    assert!(ended.output.starts_with("ref: refs/heads/main\n.git/HEAD\n0\n0\n0\n"), "{}", ended.output);
    assert_eq!(fs::read_dir(source.path()).unwrap().count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_folder_that_is_not_there_is_refused() {
    let mut settings = ProcessSettings::new(tempfile::tempdir().unwrap().path());
    settings.source = Some("/no/such/folder".into());
    let error = ProcessRuntime::new(settings).await.unwrap_err();
    assert!(error.to_string().starts_with("the source folder '/no/such/folder' can't be used"), "{error}");
}
