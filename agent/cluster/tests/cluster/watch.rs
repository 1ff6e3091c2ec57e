//! One watch for all; nothing is lost by a list, a 410 or a broken connection.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fake_cluster::{Fault, Script, Verb};
use http::{Request, Response};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::client::Body;
use kube::{Api, Client};
use piculet_cluster::{Cluster, Limits, PodNews, Presence, Subscription};
use piculet_core::observation::{Ended, Seen};
use piculet_core::outcome::Outcome;
use serde_json::json;
use tokio::time::sleep;

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

/// Hears until a pod is absent, and gives what was last seen of it.
async fn absent(news: &mut Subscription, name: &str) -> Pod {
    loop {
        if let PodNews::Absent { last } = soon(news.next()).await
            && last.metadata.name.as_deref() == Some(name)
        {
            return (*last).clone();
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

    absent(&mut news, "goes").await;
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

    let last = absent(&mut news, "wp-1").await;
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
    let last = absent(&mut news, "wp-1").await;
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
async fn watches_that_end_at_once_are_not_asked_for_without_a_pause() {
    let setup = Setup::new();
    setup.fake.faults().inject(Fault::cut_watch_after(Duration::ZERO).always());
    let watch = setup.cluster.watch();
    sleep(Duration::from_secs(120)).await;
    let asked = setup.fake.counters().requests(Verb::Watch, "pods");
    assert!((3..40).contains(&asked), "{asked}");
    setup.fake.faults().clear();
    sleep(Duration::from_secs(30)).await;
    assert!(watch.is_synced());
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
async fn a_quiet_namespace_costs_a_request_every_few_minutes() {
    let setup = Setup::new();
    let watch = setup.cluster.watch();
    watch.synced().await;
    sleep(Duration::from_secs(3600)).await;
    let asked = setup.fake.counters().requests(Verb::Watch, "pods");
    assert!((10..=14).contains(&asked), "{asked}");
    assert_eq!(setup.fake.counters().requests(Verb::List, "pods"), 1);
    assert_eq!(watch.failures(), 0);
}

/// A server with a pod on each of two pages. The first time it no longer knows the second one.
fn pages(asked: Arc<Mutex<Vec<String>>>) -> Client {
    let page = |name: &str, go_on: &str| {
        let labels = json!({ "app.kubernetes.io/managed-by": "piculet", "piculet.dev/workflow": "1" });
        json!({
            "metadata": { "resourceVersion": "10", "continue": go_on },
            "items": [{ "metadata": { "name": name, "uid": name, "resourceVersion": "9", "labels": labels } }],
        })
    };
    let answer = move |request: Request<Body>| {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let asked = asked.clone();
        async move {
            let first_time = {
                let mut asked = asked.lock().unwrap();
                asked.push(query.clone());
                asked.len() == 2
            };
            let (code, answer) = match query.as_str() {
                query if query.contains("watch=true") => std::future::pending().await,
                query if query.contains("continue=") && first_time => {
                    (410, json!({ "kind": "Status", "status": "Failure", "code": 410, "reason": "Expired" }))
                }
                query if query.contains("continue=more") => (200, page("second", "")),
                _ => (200, page("first", "more")),
            };
            let answer = Body::from(answer.to_string().into_bytes());
            Ok::<_, Infallible>(Response::builder().status(code).body(answer).unwrap())
        }
    };
    Client::new(tower::service_fn(answer), NAMESPACE)
}

#[tokio::test(start_paused = true)]
async fn many_pods_come_in_pages() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let cluster = Cluster::new(pages(asked.clone()), NAMESPACE, Limits::default());
    let watch = cluster.watch();
    let mut news = watch.subscribe("1");
    soon(watch.synced()).await;
    assert_eq!((soon(news.next()).await.name(), soon(news.next()).await.name()), ("first", "second"));
    sleep(Duration::from_secs(1)).await;

    let asked = asked.lock().unwrap();
    let kinds: Vec<_> =
        asked.iter().map(|query| ["continue=", "watch=true"].map(|word| query.contains(word))).collect();
    let [first, further, watch] = [[false, false], [true, false], [false, true]];
    assert_eq!(kinds, [first, further, first, further, watch]);
    // A list from version 0 may be as old as it likes.
    assert!(
        asked[..4].iter().all(|query| query.contains("limit=500") && !query.contains("resourceVersion")),
        "{asked:?}"
    );
    assert!(asked[4].contains("resourceVersion=10") && asked[4].contains("allowWatchBookmarks=true"), "{asked:?}");
}
