//! What is asked for, how often, and what is believed of the answers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fake_cluster::{Script, Verb};
use piculet_cluster::{Cluster, Limits, Opening, PodNews, TailEnd, TailTarget};
use piculet_core::id::PodUid;
use piculet_core::observation::Seen;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{Log, all, log_of, tail};
use crate::scripted::{self, Answer, server};
use crate::setup::{NAMESPACE, STEP, Setup, soon};

#[tokio::test(start_paused = true)]
async fn an_end_is_known_soon_and_with_few_requests() {
    let setup = Setup::new();
    let anchor = setup.anchor("1").await;
    let watch = setup.cluster.watch();
    let mut news = watch.subscribe("1");
    let script = Script::new().line("first").wait(Duration::from_secs(60)).line("last");
    let made = setup.run(&anchor, "wp-1", script).await;
    let log = tokio::spawn(all(tail(&setup, &made, "wp-1")));
    loop {
        let PodNews::Present(pod) = soon(news.next()).await else { panic!() };
        if matches!(piculet_pods::observe(&pod, STEP).seen, Seen::Ended(_)) {
            break;
        }
    }
    let ended = Instant::now();
    let log = log.await.unwrap();
    assert!(ended.elapsed() <= Duration::from_secs(1), "{:?}", ended.elapsed());
    assert_eq!(log.complete(), "first\nlast\n");
    let counters = setup.fake.counters();
    assert!(counters.requests(Verb::Get, "pods/log") <= 3, "{:?}", counters.all_requests());
    assert!(counters.requests(Verb::Get, "pods") <= 2, "{:?}", counters.all_requests());
    assert_eq!(counters.watches("pods").most, 1);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_after_the_news_of_its_containers_end_is_waited_for_no_longer() {
    const RUNS: Duration = Duration::from_secs(10);
    let container =
        |state| json!({ "name": STEP, "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state });
    let pod = |version, state| {
        scripted::pod("wp-1", version, &json!({ "phase": "Running", "containerStatuses": [container(state)] }))
    };
    let running = pod(10, json!({ "running": {} }));
    let over = pod(11, json!({ "terminated": { "exitCode": 0, "reason": "Completed" } }));
    let (began, line) = (Instant::now(), "2026-08-22T10:00:07Z one\n".to_owned());
    let (client, _) = server(move |uri| match uri.split('?').next().and_then(|path| path.rsplit('/').next()) {
        Some("log") if uri.contains("follow=true") => Answer::Ends(line.clone(), RUNS + Duration::from_millis(20)),
        Some("log") => Answer::Whole(200, line.clone()),
        Some("pods") if uri.contains("watch=true") => {
            let event = json!({ "type": "MODIFIED", "object": &over });
            Answer::Tells(String::new(), RUNS, format!("{event}\n"))
        }
        Some("pods") => Answer::page(std::slice::from_ref(&running), ""),
        _ => Answer::json(if began.elapsed() < RUNS { &running } else { &over }),
    });
    let cluster = Cluster::new(client, NAMESPACE, Limits::default());
    let target =
        TailTarget { pod: "wp-1".to_owned(), uid: PodUid::new("wp-1"), container: STEP.to_owned(), first_line: None };
    let watch = cluster.watch();
    watch.synced().await;
    assert_eq!(soon(all(cluster.tail(target, &watch, Opening::default()))).await.complete(), "one\n");
    assert!(began.elapsed() < RUNS + Duration::from_millis(100), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_container_that_waits_is_not_asked() {
    let setup = Setup::new();
    let script = Script::new().pull_takes(Duration::from_secs(600)).line("here");
    let log = log_of(&setup, script).await;
    assert_eq!(log.complete(), "here\n");
    assert!(setup.fake.counters().requests(Verb::Get, "pods/log") <= 3);
    assert!(setup.fake.counters().requests(Verb::Get, "pods") <= 3);
}

#[tokio::test(start_paused = true)]
async fn one_empty_answer_is_not_believed() {
    let setup = Setup::new();
    let anchor = setup.anchor("1").await;
    setup.cluster.watch().synced().await;
    let made = setup.run(&anchor, "wp-1", Script::new()).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(all(tail(&setup, &made, "wp-1")).await.complete(), "");
    assert_eq!(setup.fake.counters().requests(Verb::Get, "pods/log"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_log_goes_on() {
    let setup = Setup::new();
    let script = Script::new().line("before").wait(Duration::from_secs(5 * 3600)).line("after");
    let log = log_of(&setup, script).await;
    assert_eq!(log.complete(), "before\nafter\n");
    let asked = setup.fake.counters().requests(Verb::Get, "pods/log");
    assert!((50..=65).contains(&asked), "a new stream every five minutes: {asked}");
}

#[tokio::test(start_paused = true)]
async fn a_tail_that_is_dropped_reads_no_more() {
    let setup = Setup::new();
    let anchor = setup.anchor("1").await;
    let made = setup.run(&anchor, "wp-1", Script::new().line("one").forever()).await;
    let mut tail = tail(&setup, &made, "wp-1");
    tail.next().await;
    drop(tail);
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(setup.fake.counters().requests(Verb::Get, "pods/log"), 1);
    assert_eq!(setup.fake.counters().watches("pods").open, 0);
}

/// The log of a container that is over, as a server shows it: request by request, and the last text for ever.
async fn shown(texts: &[&str]) -> (Log, Vec<String>) {
    let state = json!({ "terminated": { "exitCode": 0, "reason": "Completed" } });
    let container =
        json!({ "name": STEP, "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state });
    let pod = scripted::pod("wp-1", 1, &json!({ "phase": "Succeeded", "containerStatuses": [container] }));
    let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
    let next = AtomicUsize::new(0);
    let (client, asked) = server(move |uri| match uri.split('?').next().and_then(|path| path.rsplit('/').next()) {
        Some("log") => {
            let number = next.fetch_add(1, Ordering::Relaxed).min(texts.len() - 1);
            Answer::Whole(200, texts[number].clone())
        }
        Some("pods") if uri.contains("watch=true") => Answer::Open(String::new()),
        Some("pods") => Answer::page(std::slice::from_ref(&pod), ""),
        _ => Answer::json(&pod),
    });
    let cluster = Cluster::new(client, NAMESPACE, Limits::default());
    let target =
        TailTarget { pod: "wp-1".to_owned(), uid: PodUid::new("wp-1"), container: STEP.to_owned(), first_line: None };
    let watch = cluster.watch();
    watch.synced().await;
    let log = soon(all(cluster.tail(target, &watch, Opening::default()))).await;
    let asked = asked.lock().unwrap().iter().filter(|uri| uri.contains("/log?")).cloned().collect();
    (log, asked)
}

#[tokio::test(start_paused = true)]
async fn a_log_is_asked_for_from_a_whole_second_before_its_last_line() {
    let text = "2026-08-22T10:00:07.999999999Z one\n2026-08-22T12:00:08.5+02:00 two\n";
    let (log, asked) = shown(&[text]).await;
    assert_eq!(log.complete(), "one\ntwo\n");
    let since: Vec<_> = asked.iter().map(|query| query.split('&').find(|part| part.starts_with("sinceTime"))).collect();
    assert_eq!(since, [None, Some("sinceTime=2026-08-22T10%3A00%3A07Z")]);
    assert!(
        asked.iter().all(|query| query.contains("timestamps=true") && query.contains("container=step")),
        "{asked:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_stands_behind_our_last_line_is_read_even_if_nothing_else_shows_that_it_is_new() {
    // The file was rotated, and then the clock went back over a second's border.
    let stamped = |lines: &[(&str, &str)]| -> String {
        lines.iter().map(|(time, line)| format!("2026-08-22T10:00:{time}Z {line}\n")).collect()
    };
    let [a, b, c, d, e] = [("19", "a"), ("20", "b"), ("20.1", "c"), ("19.9", "d"), ("19.85", "e")];
    let texts = [stamped(&[a, b]), stamped(&[b, c, d]), stamped(&[b, c, d, e])];
    let (log, _) = shown(&[&texts[0], &texts[1], &texts[2]]).await;
    assert_eq!(log.complete(), "a\nb\nc\nd\ne\n");
}

#[tokio::test(start_paused = true)]
async fn a_log_that_becomes_shorter_is_not_believed() {
    let [one, two] = ["2026-08-22T10:00:07Z one\n", "2026-08-22T10:00:07Z one\n2026-08-22T10:00:08Z two\n"];
    let (log, asked) = shown(&[two, one, two]).await;
    assert_eq!((log.complete(), asked.len()), ("one\ntwo\n", 3));

    let (log, _) = shown(&[two, one]).await;
    assert_eq!(log.text(), "one\ntwo\n");
    let Some(TailEnd::Unconfirmed { since, why }) = log.end else { panic!("{:?}", log.end) };
    assert_eq!(since, "2026-08-22T10:00:08Z".parse().ok());
    assert_eq!(why, "the cluster shows less of the log than before");
}
