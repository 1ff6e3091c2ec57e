//! The program.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, LogParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::await_condition;

use crate::fixture::pod;

/// The program, killed at the end of the test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        self.0.kill().expect("it can be killed");
        self.0.wait().expect("it ends");
    }
}

#[tokio::test]
async fn the_program_says_when_it_is_ready_and_serves() {
    let folder = tempfile::tempdir().expect("a folder");
    let kubeconfig = folder.path().join("kubeconfig");
    let child = Command::new(env!("CARGO_BIN_EXE_fake-cluster"))
        .args(["--namespace", "builds", "--script-lines", "3", "--script-exit", "7", "--write-kubeconfig"])
        .arg(&kubeconfig)
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut program = Program(child);
    let mut ready = String::new();
    BufReader::new(program.0.stdout.take().expect("its output")).read_line(&mut ready).expect("a line");
    assert!(ready.starts_with("ready: http://127.0.0.1:"), "{ready:?}");
    let kubeconfig = Kubeconfig::read_from(&kubeconfig).expect("a kubeconfig");
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    let config = config.expect("a configuration");
    assert_eq!(config.default_namespace, "builds");
    let pods: Api<Pod> = Api::default_namespaced(kube::Client::try_from(config).expect("a client"));
    pods.create(&PostParams::default(), &pod("p")).await.expect("created");
    let failed = |pod: Option<&Pod>| pod.and_then(|pod| pod.status.as_ref()?.phase.as_deref()) == Some("Failed");
    let ending = Box::pin(await_condition(pods.clone(), "p", failed));
    tokio::time::timeout(Duration::from_secs(30), ending).await.expect("in time").expect("the watch goes on");
    assert_eq!(pods.logs("p", &LogParams::default()).await.expect("a log"), "line 1\nline 2\nline 3\n");
}
