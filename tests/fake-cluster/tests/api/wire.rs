//! The same over a socket, with the kubeconfig that the listener gives.

use std::time::Duration;

use fake_cluster::{FakeCluster, Fault, KubeletTiming, Script, ScriptedRuntime, Settings, Verb};
use futures_util::{AsyncReadExt as _, StreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, LogParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::watcher::{self, watcher};

use crate::fixture::{Fixture, pod};

/// A cluster behind a socket. Here time is real, so that little of it may pass.
async fn listening(script: Script) -> (Fixture, kube::Client) {
    let runtime = ScriptedRuntime::new();
    runtime.on_all(script);
    let kubelet = KubeletTiming { phase_lag: Duration::ZERO, ..KubeletTiming::default() };
    let cluster = FakeCluster::start(Settings { kubelet, ..Settings::default() }, runtime.clone());
    let (_, yaml) = cluster.listen(([127, 0, 0, 1], 0).into()).await.expect("it listens");
    let kubeconfig = Kubeconfig::from_yaml(&yaml).expect("a kubeconfig");
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    let client = kube::Client::try_from(config.expect("a configuration")).expect("a client");
    let pods = Api::default_namespaced(client.clone());
    (Fixture { runtime, cluster, pods }, client)
}

#[tokio::test]
async fn a_client_with_the_kubeconfig_runs_a_pod() {
    let (fixture, client) = listening(Script::new().line("hello").exit(7)).await;
    let version = client.apiserver_version().await.expect("a version");
    assert_eq!((version.major.as_str(), version.minor.as_str()), ("1", "34"));
    fixture.create(&pod("p")).await;
    fixture.until_phase("p", "Failed").await;
    let mut log = String::new();
    let params = LogParams { follow: true, ..LogParams::default() };
    Box::pin(fixture.pods.log_stream("p", &params).await.expect("a stream"))
        .read_to_string(&mut log)
        .await
        .expect("a log");
    assert_eq!(log, "hello\n");
}

#[tokio::test]
async fn a_dropped_connection_is_one_on_the_wire_too() {
    let (fixture, _) = listening(Script::new()).await;
    fixture.cluster.faults().inject(Fault::lose_response().on(Verb::Create));
    let lost = fixture.pods.create(&PostParams::default(), &pod("p")).await;
    assert!(!matches!(lost, Ok(_) | Err(kube::Error::Api(_))), "{lost:?}");
    assert!(fixture.pods.get_opt("p").await.expect("an answer").is_some());
}

#[tokio::test]
async fn a_watch_ends_on_the_server_when_the_client_leaves() {
    let (fixture, client) = listening(Script::new().forever()).await;
    let pods: Api<Pod> = Api::default_namespaced(client);
    let mut events = Box::pin(watcher(pods, watcher::Config::default()));
    fixture.create(&pod("p")).await;
    let running = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running");
    loop {
        match events.next().await.expect("it goes on").expect("no error") {
            watcher::Event::Apply(pod) | watcher::Event::InitApply(pod) if running(&pod) => break,
            _ => {}
        }
    }
    assert_eq!(fixture.cluster.counters().watches("pods").open, 1);
    drop(events);
    tokio::time::timeout(Duration::from_secs(10), async {
        while fixture.cluster.counters().watches("pods").open > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the server notices");
}

#[tokio::test]
async fn shutting_down_ends_every_container() {
    let (fixture, _) = listening(Script::new().forever()).await;
    fixture.create(&pod("p")).await;
    fixture.until_phase("p", "Running").await;
    fixture.cluster.lose_node("node-1");
    tokio::time::timeout(Duration::from_secs(10), fixture.cluster.shut_down()).await.expect("all containers end");
    assert!(fixture.pods.list(&Default::default()).await.is_err(), "nobody answers any more");
}
