//! One watch for all; nothing is lost by a list, a 410 or a broken connection.

use std::sync::Mutex;
use std::time::Duration;

use fake_cluster::{Fault, Script, Verb};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use piculet_cluster::{Cluster, Limits, PodNews, Presence, Subscription};
use piculet_core::observation::{Ended, Seen};
use piculet_core::outcome::Outcome;
use serde_json::json;
use tokio::time::sleep;

use crate::scripted::{self, Answer, Asked, count, server};
use crate::setup::{NAMESPACE, STEP, Setup, pod, soon};

fn pods(setup: &Setup) -> Api<Pod> {
    Api::namespaced(setup.fake.client(), NAMESPACE)
}

/// Hears until the container of a pod is over, and gives its exit code.
async fn exit_code(news: &mut Subscription, name: &str) -> Option<i32> {
    loop {
        let PodNews::Present(pod) = soon(news.next()).await else { continue };
        let seen = piculet_pods::observe(&pod, STEP).seen;
        if let (true, Seen::Ended(Ended { outcome, .. })) = (pod.metadata.name.as_deref() == Some(name), seen) {
            return outcome.exit_code();
        }
    }
}

/// Hears until a pod is absent, and gives what was last seen of it, and whether the watch showed how it went.
async fn absent(news: &mut Subscription, name: &str) -> (Pod, bool) {
    loop {
        if let PodNews::Absent { last, witnessed } = soon(news.next()).await
            && last.metadata.name.as_deref() == Some(name)
        {
            return ((*last).clone(), witnessed);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_hundred_runners_share_one_watch() {
    let setup = Setup::new();
    let mut runners = Vec::new();
    for number in 0..100 {
        let key = number.to_string();
        let anchor = setup.anchor(&key).await;
        // Each asks for itself, and gets the same.
        let mut news = setup.cluster.watch().subscribe(&key);
        let name = format!("wp-{number}");
        setup.run(&anchor, &name, Script::new().wait(Duration::from_secs(30)).exit(number % 7)).await;
        runners.push(tokio::spawn(async move { (exit_code(&mut news, &name).await, number % 7) }));
    }
    for runner in runners {
        let (seen, expected) = runner.await.unwrap();
        assert_eq!(seen, Some(expected));
    }
    assert_eq!(setup.fake.counters().watches("pods").most, 1);
    assert_eq!(setup.fake.counters().requests(Verb::List, "pods"), 1);
    assert_eq!(setup.fake.counters().requests(Verb::Get, "pods"), 0);
}

#[tokio::test(start_paused = true)]
async fn the_watch_ends_with_the_last_that_uses_it() {
    let setup = Setup::new();
    let watch = setup.cluster.watch();
    let news = watch.subscribe("1");
    watch.synced().await;
    assert!(format!("{watch:?}").contains("subscriptions: 1"), "{watch:?}");
    drop(watch.subscribe("2"));
    assert!(format!("{watch:?}").contains("subscriptions: 1"), "{watch:?}");
    drop(watch);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(setup.fake.counters().watches("pods").open, 1);
    drop(news);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(setup.fake.counters().watches("pods").open, 0);
    setup.cluster.watch().synced().await;
}

#[tokio::test(start_paused = true)]
async fn a_broken_watch_loses_nothing() {
    let setup = Setup::new();
    let anchor = setup.anchor("1").await;
    let watch = setup.cluster.watch();
    let mut news = watch.subscribe("1");
    for name in ["ends", "goes"] {
        setup.run(&anchor, name, Script::new().wait(Duration::from_secs(5)).exit(3)).await;
    }
    watch.synced().await;
    setup.fake.faults().inject(Fault::drop_connection().on(Verb::Watch).of("pods").times(6));
    setup.fake.faults().cut_streams();
    sleep(Duration::from_secs(6)).await;
    assert!(watch.failures() > 0);
    pods(&setup).delete("goes", &DeleteParams::default().grace_period(0)).await.unwrap();

    assert_eq!(exit_code(&mut news, "ends").await, Some(3));
    absent(&mut news, "goes").await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(watch.failures(), 0);

    // The next break is the first of another outage.
    setup.fake.faults().cut_streams();
    sleep(Duration::from_millis(1)).await;
    pods(&setup).delete("ends", &DeleteParams::default().grace_period(0)).await.unwrap();
    tokio::time::timeout(Duration::from_secs(1), absent(&mut news, "ends")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_too_old_costs_a_list_and_nothing_else() {
    let setup = Setup::new();
    let anchor = setup.anchor("1").await;
    let watch = setup.cluster.watch();
    let mut news = watch.subscribe("1");
    for name in ["ends", "goes", "stays"] {
        setup.run(&anchor, name, Script::new().wait(Duration::from_secs(60)).exit(4)).await;
    }
    watch.synced().await;
    sleep(Duration::from_secs(30)).await;
    setup.fake.faults().inject(Fault::delay(Duration::from_secs(20)).on(Verb::Watch));
    setup.fake.faults().cut_streams();
    pods(&setup).delete("goes", &DeleteParams::default().grace_period(0)).await.unwrap();
    sleep(Duration::from_secs(10)).await;
    setup.fake.expire_history();

    let (_, witnessed) = absent(&mut news, "goes").await;
    assert!(!witnessed, "a list missed it");
    assert_eq!(setup.fake.counters().requests(Verb::List, "pods"), 2);
    assert_eq!(exit_code(&mut news, "ends").await, Some(4));
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_comes_and_goes_unseen_is_missed() {
    let setup = Setup::new();
    let anchor = setup.anchor("1").await;
    let watch = setup.cluster.watch();
    let mut news = watch.subscribe("1");
    watch.synced().await;
    setup.fake.faults().inject(Fault::fail(503).on(Verb::Watch).of("pods").times(2));
    setup.fake.faults().cut_streams();
    sleep(Duration::from_millis(1)).await;
    let made = setup.run(&anchor, "wp-1", Script::new().forever()).await;
    pods(&setup).delete("wp-1", &DeleteParams::default().grace_period(0)).await.unwrap();
    setup.fake.expire_history();

    let (last, witnessed) = absent(&mut news, "wp-1").await;
    assert!(!witnessed, "a list missed it");
    assert_eq!(last.metadata.uid, Some(made.uid.clone()));
    let presence = setup.cluster.confirm_absent("wp-1", &made.pod_uid()).await.unwrap();
    assert_eq!(presence, Presence::Gone);
}

#[tokio::test(start_paused = true)]
async fn how_a_container_ended_outlives_its_pod() {
    let setup = Setup::new();
    let anchor = setup.anchor("1").await;
    let mut news = setup.cluster.watch().subscribe("1");
    setup.run(&anchor, "wp-1", Script::new().exit(7)).await;
    sleep(Duration::from_secs(10)).await;
    pods(&setup).delete("wp-1", &DeleteParams::default().grace_period(0)).await.unwrap();
    sleep(Duration::from_secs(10)).await;

    // A slow subscriber hears of the end only: what it didn't hear of is in there.
    let (last, witnessed) = absent(&mut news, "wp-1").await;
    assert!(witnessed);
    let Seen::Ended(ended) = piculet_pods::observe(&last, STEP).seen else { panic!("{last:?}") };
    assert_eq!(ended.outcome, Outcome::Exited { code: 7 });
}

#[tokio::test(start_paused = true)]
async fn absence_is_a_hint() {
    let setup = Setup::new();
    let anchor = setup.anchor("1").await;
    let mut news = setup.cluster.watch().subscribe("1");
    let made = setup.run(&anchor, "wp-1", Script::new().forever()).await;
    sleep(Duration::from_secs(5)).await;
    let without = json!({ "metadata": { "labels": { "app.kubernetes.io/managed-by": null } } });
    pods(&setup).patch("wp-1", &PatchParams::default(), &Patch::Merge(without)).await.unwrap();
    absent(&mut news, "wp-1").await;
    let presence = setup.cluster.confirm_absent("wp-1", &made.pod_uid()).await.unwrap();
    assert!(matches!(presence, Presence::Present(_)), "{presence:?}");

    pods(&setup).delete("wp-1", &DeleteParams::default().grace_period(0)).await.unwrap();
    let other = setup.cluster.ensure(&pod(&anchor, "wp-1").into()).await.unwrap();
    let presence = setup.cluster.confirm_absent("wp-1", &made.pod_uid()).await.unwrap();
    let Presence::Replaced(found) = presence else { panic!("{presence:?}") };
    assert_eq!(found.metadata.uid, Some(other.uid));
}

#[tokio::test(start_paused = true)]
async fn a_start_without_a_server_is_not_the_end() {
    let setup = Setup::new();
    setup.fake.faults().inject(Fault::too_many_requests(2).on(Verb::List).of("pods"));
    setup.fake.faults().inject(Fault::drop_connection().on(Verb::List).of("pods").times(3));
    setup.fake.faults().inject(Fault::delay(Duration::from_secs(3600)).on(Verb::List).of("pods"));
    let watch = setup.cluster.watch();
    sleep(Duration::from_secs(1)).await;
    assert!(!watch.is_synced());
    soon(watch.synced()).await;
    sleep(Duration::from_secs(2)).await;
    assert_eq!((watch.is_synced(), watch.failures()), (true, 0));
}

#[tokio::test(start_paused = true)]
async fn a_server_may_not_ask_for_patience_without_end() {
    let setup = Setup::new();
    setup.fake.faults().inject(Fault::too_many_requests(3600).on(Verb::List).of("pods"));
    soon(setup.cluster.watch().synced()).await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_the_watch_would_not_show_is_not_told_of() {
    let setup = Setup::new();
    let anchor = setup.anchor("1").await;
    let watch = setup.cluster.watch();
    watch.synced().await;
    let mut unlabelled = pod(&anchor, "wp-1");
    unlabelled.metadata.labels = None;
    setup.cluster.ensure(&unlabelled.into()).await.unwrap();
    assert_eq!(watch.pods(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_hangs_is_begun_again() {
    let setup = Setup::new();
    let anchor = setup.anchor("1").await;
    setup.fake.faults().inject(Fault::delay(Duration::from_secs(3600)).on(Verb::Watch));
    let mut news = setup.cluster.watch().subscribe("1");
    setup.run(&anchor, "wp-1", Script::new().exit(2)).await;
    assert_eq!(exit_code(&mut news, "wp-1").await, Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_quiet_namespace_costs_a_request_a_minute() {
    let setup = Setup::new();
    let watch = setup.cluster.watch();
    watch.synced().await;
    sleep(Duration::from_secs(3600)).await;
    let asked = setup.fake.counters().requests(Verb::Watch, "pods");
    assert!((55..=61).contains(&asked), "{asked}");
    assert_eq!(setup.fake.counters().requests(Verb::List, "pods"), 1);
    assert_eq!(watch.failures(), 0);
}

/// Whether a request is for a list, a further page of one, or a watch.
fn kind(uri: &str) -> &'static str {
    match uri {
        uri if uri.contains("watch=true") => "watch",
        uri if uri.contains("continue=") => "page",
        _ => "list",
    }
}

fn kinds(asked: &Asked) -> Vec<&'static str> {
    asked.lock().unwrap().iter().map(|uri| kind(uri)).collect()
}

#[tokio::test(start_paused = true)]
async fn many_pods_come_in_pages() {
    let expired = Mutex::new(true);
    let (client, asked) = server(move |uri| match kind(uri) {
        "watch" => Answer::Open(String::new()),
        // The first time it no longer knows the second page.
        "page" if std::mem::take(&mut *expired.lock().unwrap()) => {
            let status = json!({ "kind": "Status", "status": "Failure", "code": 410, "reason": "Expired" });
            Answer::Whole(410, status.to_string())
        }
        "page" => Answer::page(&[scripted::pod("second", 2, &json!({}))], ""),
        _ => Answer::page(&[scripted::pod("first", 1, &json!({}))], "more"),
    });
    let cluster = Cluster::new(client, NAMESPACE, Limits::default());
    let watch = cluster.watch();
    let mut news = watch.subscribe("1");
    soon(watch.synced()).await;
    assert_eq!((soon(news.next()).await.name(), soon(news.next()).await.name()), ("first", "second"));
    sleep(Duration::from_secs(1)).await;

    assert_eq!(kinds(&asked), ["list", "page", "list", "page", "watch"]);
    let asked = asked.lock().unwrap();
    // A list from version 0 may be as old as it likes.
    assert!(asked[..4].iter().all(|uri| uri.contains("limit=500") && !uri.contains("resourceVersion")), "{asked:?}");
    assert!(asked[1].contains("continue=more"), "{asked:?}");
    assert!(asked[4].contains("resourceVersion=10") && asked[4].contains("allowWatchBookmarks=true"), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_watch_can_no_longer_tell_is_listed() {
    let expired = json!({ "type": "ERROR", "object": { "kind": "Status", "code": 410, "reason": "Expired" } });
    let unreadable = json!({ "type": "MODIFIED", "object": { "metadata": { "name": 7 } } });
    for event in [expired.to_string(), unreadable.to_string(), "<html>".to_owned()] {
        let first_watch = Mutex::new(true);
        let said = event.clone();
        let (client, asked) = server(move |uri| match kind(uri) {
            "watch" if std::mem::take(&mut *first_watch.lock().unwrap()) => Answer::Open(format!("{said}\n")),
            "watch" => Answer::Open(String::new()),
            _ => Answer::page(&[], ""),
        });
        let cluster = Cluster::new(client, NAMESPACE, Limits::default());
        let watch = cluster.watch();
        sleep(Duration::from_secs(5)).await;
        assert_eq!(kinds(&asked), ["list", "watch", "list", "watch"], "{event}");
        assert_eq!(watch.failures(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_goes_on_from_the_last_bookmark() {
    let bookmark = json!({ "type": "BOOKMARK", "object": { "kind": "Pod", "apiVersion": "v1", "metadata": { "resourceVersion": "77" } } });
    let (client, asked) = server(move |uri| match kind(uri) {
        "watch" => Answer::Whole(200, format!("{bookmark}\n")),
        _ => Answer::page(&[], ""),
    });
    let cluster = Cluster::new(client, NAMESPACE, Limits::default());
    let watch = cluster.watch();
    watch.synced().await;
    while kinds(&asked).len() < 3 {
        sleep(Duration::from_millis(10)).await;
    }
    assert!(asked.lock().unwrap()[2].contains("resourceVersion=77"));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_ends_every_watch_is_given_pauses() {
    let (client, asked) = server(|uri| match kind(uri) {
        "watch" => Answer::Whole(200, String::new()),
        _ => Answer::page(&[], ""),
    });
    let cluster = Cluster::new(client, NAMESPACE, Limits::default());
    let watch = cluster.watch();
    sleep(Duration::from_secs(600)).await;
    let watches = count(&asked, "watch=true");
    assert!((10..60).contains(&watches), "{watches}");
    assert!(watch.failures() > 0);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_died_without_a_word_is_given_up() {
    let (client, asked) = server(|uri| match kind(uri) {
        "watch" => Answer::Open(String::new()),
        _ => Answer::page(&[], ""),
    });
    let cluster = Cluster::new(client, NAMESPACE, Limits::default());
    let watch = cluster.watch();
    sleep(Duration::from_secs(3600)).await;
    assert!((50..=53).contains(&count(&asked, "watch=true")), "{:?}", kinds(&asked));
    assert_eq!((count(&asked, "watch=true") + 1, watch.failures()), (kinds(&asked).len(), 0));
}

#[tokio::test(start_paused = true)]
async fn who_is_refused_for_long_is_told_the_last_words_and_who_is_let_in_between_is_not() {
    const LONG: Duration = Duration::from_secs(30);
    let setup = Setup::new();
    let watch = setup.cluster.watch();
    watch.synced().await;
    let refuse = || {
        setup.fake.faults().inject(Fault::fail(403).of("pods").always());
        setup.fake.faults().cut_streams();
    };
    let refused = tokio::spawn({
        let watch = watch.clone();
        async move { watch.refused_for(LONG).await }
    });
    refuse();
    // Soon enough that it is asked again soon.
    sleep(Duration::from_secs(5)).await;
    setup.fake.faults().clear();
    sleep(4 * LONG).await;
    assert!(!refused.is_finished());
    // A server that is away refuses nothing.
    setup.fake.faults().inject(Fault::fail(503).of("pods").always());
    setup.fake.faults().cut_streams();
    sleep(4 * LONG).await;
    assert!(!refused.is_finished());
    setup.fake.faults().clear();
    refuse();
    let since = tokio::time::Instant::now();
    assert_eq!(refused.await.unwrap(), "forbidden by the fault plan");
    assert!(since.elapsed() >= LONG, "{:?}", since.elapsed());
    // Whoever asks later is told at once.
    let since = tokio::time::Instant::now();
    watch.refused_for(LONG).await;
    assert_eq!(since.elapsed(), Duration::ZERO);
}
