//! What becomes of a log when its pod, its node or its label goes.

use std::time::Duration;

use fake_cluster::{Fault, Script, Verb};
use kube::api::{DeleteParams, Patch, PatchParams};
use piculet_cluster::TailEnd;
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::{Log, all, pods, tail};
use crate::setup::{NAMESPACE, Setup, pod, soon};

#[tokio::test(start_paused = true)]
async fn a_node_that_is_silent_for_a_while_keeps_the_log() {
    let setup = Setup::new();
    let anchor = setup.anchor("1").await;
    let script =
        Script::new().line("one").wait(Duration::from_secs(20)).line("two").wait(Duration::from_secs(40)).line("three");
    let made = setup.run(&anchor, "wp-1", script).await;
    let log = tokio::spawn(all(tail(&setup, &made, "wp-1")));
    sleep(Duration::from_secs(10)).await;
    setup.fake.lose_node("node-1");
    sleep(Duration::from_secs(30)).await;
    setup.fake.restore_node("node-1");
    let log = log.await.unwrap();
    assert_eq!(log.complete(), "one\ntwo\nthree\n");
}

#[tokio::test(start_paused = true)]
async fn last_words_are_read() {
    let setup = Setup::new();
    let anchor = setup.anchor("1").await;
    let script = Script::new().line("working").forever().on_sigterm(Duration::from_secs(8), "cleaned up\n", 143);
    let made = setup.run(&anchor, "wp-1", script).await;
    let log = tokio::spawn(all(tail(&setup, &made, "wp-1")));
    sleep(Duration::from_secs(10)).await;
    setup.cluster.stop("wp-1", &made.pod_uid(), None, None).await.unwrap();
    let log = soon(log).await.unwrap();
    assert_eq!(log.text(), "working\ncleaned up\n");
    assert!(matches!(log.end, Some(TailEnd::Complete | TailEnd::Unconfirmed { .. })), "{:?}", log.end);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_gone_leaves_a_word_about_it() {
    let setup = Setup::new();
    let anchor = setup.anchor("1").await;
    let made = setup.run(&anchor, "wp-1", Script::new().line("working").forever()).await;
    let mut tail = tail(&setup, &made, "wp-1");
    let mut log = Log::default();
    log.read(&mut tail).await;
    setup.fake.faults().inject(Fault::drop_connection().on(Verb::Get).of("pods/log").always());
    setup.fake.faults().cut_streams();
    sleep(Duration::from_secs(1)).await;
    pods(&setup).delete("wp-1", &DeleteParams::default().grace_period(0)).await.unwrap();
    while soon(log.read(&mut tail)).await.is_some() {}
    assert_eq!(log.text(), "working\n");
    let Some(TailEnd::Lost { since: Some(since) }) = log.end else { panic!("{:?}", log.end) };
    assert!(since < setup.fake.now());
}

#[tokio::test(start_paused = true)]
async fn another_pod_of_the_same_name_has_another_log() {
    let setup = Setup::new();
    let anchor = setup.anchor("1").await;
    let made = setup.run(&anchor, "wp-1", Script::new().line("ours").forever()).await;
    let mut tail = tail(&setup, &made, "wp-1");
    let mut log = Log::default();
    log.read(&mut tail).await;
    setup.script.on_pod("wp-1", Script::new().line("theirs").forever());
    pods(&setup).delete("wp-1", &DeleteParams::default().grace_period(0)).await.unwrap();
    setup.cluster.ensure(&pod(&anchor, "wp-1").into()).await.unwrap();
    while soon(log.read(&mut tail)).await.is_some() {}
    assert_eq!(log.text(), "ours\n");
    assert!(matches!(log.end, Some(TailEnd::Lost { .. } | TailEnd::Unconfirmed { .. })), "{:?}", log.end);
}

#[tokio::test(start_paused = true)]
async fn a_log_that_the_node_no_longer_has_is_not_complete() {
    let setup = Setup::new();
    let anchor = setup.anchor("1").await;
    let made = setup.run(&anchor, "wp-1", Script::new().line("working").forever()).await;
    sleep(Duration::from_secs(10)).await;
    setup.fake.evict(NAMESPACE, "wp-1", "The node was low on resource: memory.").unwrap();
    sleep(Duration::from_secs(60)).await;
    let log = all(tail(&setup, &made, "wp-1")).await;
    assert_eq!(log.text(), "");
    let Some(TailEnd::Unconfirmed { since: None, why }) = log.end else { panic!("{:?}", log.end) };
    assert!(why.contains("container"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_lost_its_label_is_still_read() {
    let setup = Setup::new();
    let anchor = setup.anchor("1").await;
    let script =
        Script::new().pull_takes(Duration::from_secs(60)).line("one").wait(Duration::from_secs(60)).line("two");
    let made = setup.run(&anchor, "wp-1", script).await;
    let log = tokio::spawn(all(tail(&setup, &made, "wp-1")));
    sleep(Duration::from_secs(5)).await;
    let without = json!({ "metadata": { "labels": { "app.kubernetes.io/managed-by": null } } });
    pods(&setup).patch("wp-1", &PatchParams::default(), &Patch::Merge(without)).await.unwrap();
    let log = timeout(Duration::from_secs(300), log).await.unwrap().unwrap();
    assert_eq!(log.complete(), "one\ntwo\n");
}
