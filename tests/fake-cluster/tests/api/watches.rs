//! Watches: what they show, how they end, how many there are.

use std::pin::pin;
use std::time::Duration;

use fake_cluster::{FakeCluster, Fault, Settings, Verb};
use futures_util::{AsyncBufReadExt as _, Stream, StreamExt as _, TryStreamExt as _};
use http::Request;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, Event, watcher};
use serde_json::{Value, json};

use crate::fixture::{Fixture, object, pod, settle, within};

fn map(name: &str, label: &str) -> ConfigMap {
    object(json!({"metadata": {"name": name, "labels": {"l": label}}}))
}

/// The lines of a watch, raw.
async fn watch(cluster: &FakeCluster, query: &str) -> impl Stream<Item = std::io::Result<Value>> + use<> {
    let uri = format!("/api/v1/namespaces/ci/configmaps?watch=true&{query}");
    let request = Request::get(uri).body(Vec::new()).expect("a request");
    let lines = cluster.client().request_stream(request).await.expect("a stream").lines();
    lines.map_ok(|line| serde_json::from_str(&line).expect("JSON"))
}

/// A line in short: type and name, or type and what it says.
fn short(line: std::io::Result<Value>) -> String {
    let line = match line {
        Ok(line) => line,
        Err(error) => return format!("broken: {}", error.kind()),
    };
    let object = &line["object"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match text(&line["type"]).as_str() {
        "ERROR" => format!("ERROR {} {}", object["code"], text(&object["message"])),
        "BOOKMARK" if object["metadata"]["annotations"]["k8s.io/initial-events-end"] == "true" => "BOOKMARK end".into(),
        "BOOKMARK" => "BOOKMARK".into(),
        other => format!("{other} {}", text(&object["metadata"]["name"])),
    }
}

async fn next(lines: &mut (impl Stream<Item = std::io::Result<Value>> + Unpin)) -> String {
    within(lines.next()).await.map_or_else(|| "end".into(), short)
}

#[tokio::test(start_paused = true)]
async fn a_selector_turns_changes_into_comings_and_goings() {
    let fixture = Fixture::new();
    let maps: Api<ConfigMap> = Api::default_namespaced(fixture.cluster.client());
    let first = maps.create(&PostParams::default(), &map("a", "x")).await.expect("created");
    let from = first.metadata.resource_version.expect("a version");
    let mut lines = pin!(watch(&fixture.cluster, &format!("labelSelector=l%3Dx&resourceVersion={from}")).await);
    maps.create(&PostParams::default(), &map("b", "y")).await.expect("created");
    let relabel = |name: &'static str, label: &'static str| {
        let maps = maps.clone();
        async move {
            let patch = Patch::Merge(json!({"metadata": {"labels": {"l": label}}}));
            maps.patch(name, &PatchParams::default(), &patch).await.expect("patched")
        }
    };
    relabel("b", "x").await;
    assert_eq!(next(&mut lines).await, "ADDED b");
    let patch = Patch::Merge(json!({"data": {"k": "v"}}));
    maps.patch("b", &PatchParams::default(), &patch).await.expect("patched");
    assert_eq!(next(&mut lines).await, "MODIFIED b");
    let stripped = relabel("a", "y").await;
    let gone = within(lines.next()).await.expect("a line").expect("a line");
    assert_eq!((&gone["type"], &gone["object"]["metadata"]["name"]), (&json!("DELETED"), &json!("a")));
    assert_eq!(gone["object"]["metadata"]["labels"]["l"], "x", "the last version that matched");
    assert_eq!(gone["object"]["metadata"]["resourceVersion"].as_str(), stripped.metadata.resource_version.as_deref());
    maps.delete("b", &DeleteParams::default()).await.expect("deleted");
    assert_eq!(next(&mut lines).await, "DELETED b");
}

#[tokio::test(start_paused = true)]
async fn bookmarks_come_each_minute_and_before_the_end() {
    let fixture = Fixture::new();
    let query = "allowWatchBookmarks=true&timeoutSeconds=90&resourceVersion=1&fieldSelector=metadata.name%3Dnone";
    let mut lines = pin!(watch(&fixture.cluster, query).await);
    let begun = tokio::time::Instant::now();
    let mut seen = Vec::new();
    while let Some(line) = within(lines.next()).await {
        seen.push((begun.elapsed().as_secs(), short(line)));
    }
    assert_eq!(seen, [(60, "BOOKMARK".to_owned()), (88, "BOOKMARK".to_owned())]);
    assert_eq!(begun.elapsed().as_secs(), 90);
}

#[tokio::test(start_paused = true)]
async fn initial_events_end_with_a_bookmark() {
    let fixture = Fixture::new();
    let query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut lines = pin!(watch(&fixture.cluster, query).await);
    assert_eq!(next(&mut lines).await, "ADDED kube-root-ca.crt");
    assert_eq!(next(&mut lines).await, "BOOKMARK end");
    let uri = "/api/v1/namespaces/ci/configmaps?watch=true&sendInitialEvents=true";
    let refused = fixture.cluster.client().request_text(Request::get(uri).body(Vec::new()).expect("a request")).await;
    assert_eq!(
        crate::fixture::refusal(refused),
        (
            422,
            "Invalid".into(),
            "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires \
             setting resourceVersionMatch to NotOlderThan"
                .into()
        )
    );
}

#[tokio::test(start_paused = true)]
async fn a_watch_from_a_forgotten_revision_says_so_in_the_stream() {
    let fixture = Fixture::new();
    fixture.cluster.expire_history();
    let mut lines = pin!(watch(&fixture.cluster, "resourceVersion=1").await);
    let said = next(&mut lines).await;
    assert!(said.starts_with("ERROR 410 too old resource version: 1 ("), "{said}");
    assert_eq!(next(&mut lines).await, "end");
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_keeps_up_survives_a_forgotten_history() {
    let fixture = Fixture::new();
    let maps: Api<ConfigMap> = Api::default_namespaced(fixture.cluster.client());
    let mut lines = pin!(watch(&fixture.cluster, "").await);
    assert_eq!(next(&mut lines).await, "ADDED kube-root-ca.crt");
    assert!(tokio::time::timeout(Duration::from_secs(1), lines.next()).await.is_err(), "it has read all");
    fixture.cluster.expire_history();
    maps.create(&PostParams::default(), &map("a", "x")).await.expect("created");
    assert_eq!(next(&mut lines).await, "ADDED a");
}

#[tokio::test(start_paused = true)]
async fn a_small_history_expires_slow_readers() {
    let runtime = fake_cluster::ScriptedRuntime::new();
    let cluster = FakeCluster::start(Settings { history: 5, ..Settings::default() }, runtime);
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    let first = maps.create(&PostParams::default(), &map("a", "x")).await.expect("created");
    let from = first.metadata.resource_version.expect("a version");
    for number in 0..6 {
        maps.create(&PostParams::default(), &map(&format!("m{number}"), "x")).await.expect("created");
    }
    let mut lines = pin!(watch(&cluster, &format!("resourceVersion={from}")).await);
    assert!(next(&mut lines).await.starts_with("ERROR 410"));
}

#[tokio::test(start_paused = true)]
async fn the_watcher_of_kube_comes_through_cuts_and_expiry() {
    let fixture = Fixture::new();
    fixture.cluster.faults().inject(Fault::cut_watch_after_events(2).of("pods"));
    let mut events = pin!(watcher(fixture.pods.clone(), watcher::Config::default()).filter_map(|event| async move {
        match event {
            Ok(Event::Apply(pod) | Event::InitApply(pod)) => pod.metadata.name,
            _ => None,
        }
    }));
    let mut seen = std::collections::BTreeSet::new();
    for name in ["a", "b", "c"] {
        fixture.create(&pod(name)).await;
        if name == "b" {
            fixture.cluster.expire_history();
            fixture.cluster.faults().cut_streams();
        }
        while !seen.contains(name) {
            seen.extend(within(events.next()).await);
        }
    }
    assert_eq!(fixture.cluster.faults().pending(), 0, "the watch was cut");
    assert!(fixture.cluster.counters().requests(Verb::List, "pods") >= 2, "it had to list again");
}

#[tokio::test(start_paused = true)]
async fn one_watch_is_counted_as_one_whatever_it_sees() {
    let fixture = Fixture::new();
    let watching = |fixture: &Fixture| fixture.cluster.counters().watches("pods");
    let mut events = Box::pin(watcher::<Pod>(fixture.pods.clone(), watcher::Config::default()));
    let drain = tokio::spawn(async move { while events.next().await.is_some() {} });
    settle().await;
    for number in 0..100 {
        fixture.create(&pod(&format!("p{number}"))).await;
    }
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!((watching(&fixture).open, watching(&fixture).most), (1, 1));
    drain.abort();
    settle().await;
    assert_eq!(watching(&fixture).open, 0, "dropping the stream closes the watch");
}
