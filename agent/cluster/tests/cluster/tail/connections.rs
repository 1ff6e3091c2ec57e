//! Connections that break, hang or end too early, and servers that are away.

use std::time::Duration;

use fake_cluster::{ADMIN, Fault, LogSettings, Script, Settings, Verb};
use jiff::SignedDuration;
use kube::Client;
use kube::api::DeleteParams;
use piculet_cluster::{Cluster, Limits, Opening, TailEnd, Tailed};
use tokio::time::{Instant, sleep, timeout};

use super::{all, is_log_of, log_of, pods, tail, target};
use crate::cut::{Cut, End};
use crate::setup::{NAMESPACE, Setup, soon};

/// Reads a log over connections that end after so many bytes each.
async fn over_cut_connections(after: usize, end: End, tick: Duration) {
    let logs = LogSettings { tick, ..LogSettings::default() };
    let setup = Setup::with(Settings { logs, ..Settings::default() });
    let client = Client::new(Cut::new(setup.fake.connect(ADMIN), after, end), NAMESPACE);
    let cluster = Cluster::new(client, NAMESPACE, Limits::default()).with_seed(7);
    let anchor = setup.anchor("1").await;

    // Some lines come together, equal ones and long ones among them; the last has no end.
    let mut script = Script::new();
    let mut text = String::new();
    for number in 0..200 {
        let part = match number % 10 {
            3 => "same\n".repeat(7),
            7 => format!("{number} {}\n", "y".repeat(20_000)),
            _ => format!("{number}\n{number} again\n"),
        };
        text.push_str(&part);
        script = script.print(part).wait(Duration::from_millis(700));
    }
    text.push_str("the end");
    let made = setup.run(&anchor, "wp-1", script.print("the end")).await;

    let log = all(cluster.tail(target(&made, "wp-1"), &cluster.watch(), Opening::default())).await;
    assert!(
        is_log_of(&log.bytes, text.as_bytes()),
        "after {after} bytes, {tick:?}: {} of {}",
        log.text().len(),
        text.len()
    );
    assert_eq!((log.end, log.gaps.len()), (Some(TailEnd::Complete), 0));
    assert!(setup.fake.counters().requests(Verb::Get, "pods/log") > 10);
}

#[tokio::test(start_paused = true)]
async fn connections_that_break_lose_and_double_nothing() {
    for after in [23_000, 24_001, 31_337] {
        over_cut_connections(after, End::Broken, Duration::from_nanos(100)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn nor_do_streams_that_end_too_early() {
    for after in [23_000, 24_001, 31_337] {
        over_cut_connections(after, End::Early, Duration::from_nanos(100)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn nor_if_many_lines_have_the_same_time() {
    for after in [23_000, 24_001, 31_337] {
        over_cut_connections(after, End::Broken, Duration::ZERO).await;
    }
}

/// A cluster whose streams of logs never end.
fn lingering(setup: &Setup) -> Cluster {
    let client = Client::new(Cut::new(setup.fake.connect(ADMIN), usize::MAX, End::Never), NAMESPACE);
    Cluster::new(client, NAMESPACE, Limits::default()).with_seed(7)
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_does_not_end_with_its_container_is_left() {
    let setup = Setup::new();
    let cluster = lingering(&setup);
    let anchor = setup.anchor("1").await;
    let made = setup.run(&anchor, "wp-1", Script::new().line("one").wait(Duration::from_secs(60)).line("two")).await;
    let started = Instant::now();
    let log = all(cluster.tail(target(&made, "wp-1"), &cluster.watch(), Opening::default())).await;
    assert_eq!(log.complete(), "one\ntwo\n");
    // The kubelet itself would end it five seconds later.
    assert!(started.elapsed() < Duration::from_secs(61), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_does_not_end_with_its_pod_is_left() {
    let setup = Setup::new();
    let cluster = lingering(&setup);
    let anchor = setup.anchor("1").await;
    let made = setup.run(&anchor, "wp-1", Script::new().line("one").forever()).await;
    let log = tokio::spawn(all(cluster.tail(target(&made, "wp-1"), &cluster.watch(), Opening::default())));
    sleep(Duration::from_secs(5)).await;
    pods(&setup).delete("wp-1", &DeleteParams::default().grace_period(0)).await.unwrap();
    let log = timeout(Duration::from_secs(10), log).await.unwrap().unwrap();
    assert_eq!(log.text(), "one\n");
    assert!(matches!(log.end, Some(TailEnd::Lost { since: Some(_) })), "{:?}", log.end);
}

#[tokio::test(start_paused = true)]
async fn lines_stay_fresh_however_often_connections_break() {
    let setup = Setup::new();
    let anchor = setup.anchor("1").await;
    let script =
        (0..120).fold(Script::new(), |script, number| script.line(&number.to_string()).wait(Duration::from_secs(1)));
    let made = setup.run(&anchor, "wp-1", script).await;
    let mut tail = tail(&setup, &made, "wp-1");
    let mut breaks = tokio::time::interval(Duration::from_millis(5500));
    loop {
        let tailed = tokio::select! {
            _ = breaks.tick() => {
                setup.fake.faults().cut_streams();
                continue;
            }
            tailed = tail.next() => tailed,
        };
        match tailed {
            Some(Tailed::Pieces(pieces)) => {
                let age = setup.fake.now().duration_since(pieces[0].time);
                assert!(age <= SignedDuration::from_secs(1), "{age}");
            }
            Some(Tailed::End(end)) => break assert_eq!(end, TailEnd::Complete),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn errors_of_the_api_server_are_waited_out() {
    let setup = Setup::new();
    for fault in [
        Fault::fail(500).on(Verb::Get).of("pods/log").times(4),
        Fault::too_many_requests(3).on(Verb::Get).of("pods/log"),
        Fault::drop_connection().on(Verb::Get).of("pods/log").times(3),
        Fault::drop_connection().on(Verb::Get).of("pods").times(3),
    ] {
        setup.fake.faults().inject(fault);
    }
    let log = log_of(&setup, Script::new().line("one").wait(Duration::from_secs(90)).line("two")).await;
    assert_eq!(log.complete(), "one\ntwo\n");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_away_for_long_does_not_end_a_log() {
    let setup = Setup::new();
    let anchor = setup.anchor("1").await;
    let script = Script::new()
        .line("one")
        .wait(Duration::from_secs(600))
        .line("two")
        .wait(Duration::from_secs(600))
        .line("three");
    let made = setup.run(&anchor, "wp-1", script).await;
    let log = tokio::spawn(all(tail(&setup, &made, "wp-1")));
    sleep(Duration::from_secs(60)).await;
    setup.fake.faults().inject(Fault::drop_connection().always());
    setup.fake.faults().cut_streams();
    sleep(Duration::from_secs(900)).await;
    setup.fake.faults().clear();
    let log = timeout(Duration::from_secs(600), log).await.unwrap().unwrap();
    assert_eq!(log.complete(), "one\ntwo\nthree\n");
}

#[tokio::test(start_paused = true)]
async fn it_ends_without_the_watch_too() {
    let setup = Setup::new();
    let anchor = setup.anchor("1").await;
    let made = setup.run(&anchor, "wp-1", Script::new().line("one").wait(Duration::from_secs(30)).line("two")).await;
    let watch = setup.cluster.watch();
    watch.synced().await;
    let log = tokio::spawn(all(setup.cluster.tail(target(&made, "wp-1"), &watch, Opening::default())));
    sleep(Duration::from_secs(10)).await;
    setup.fake.faults().inject(Fault::drop_connection().on(Verb::Watch).always());
    setup.fake.faults().inject(Fault::drop_connection().on(Verb::List).always());
    setup.fake.faults().cut_streams();
    let log = soon(log).await.unwrap();
    assert_eq!(log.complete(), "one\ntwo\n");
}
