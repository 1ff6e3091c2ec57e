//! Logs: every byte once, to the end, whatever becomes of connections and pods.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fake_cluster::{ADMIN, Fault, LogSettings, Script, Settings, Verb};
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use kube::{Api, Client};
use piculet_cluster::{Applied, Cluster, Gap, Limits, PodNews, Tail, TailEnd, TailTarget, Tailed};
use piculet_core::id::PodUid;
use piculet_core::observation::Seen;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use crate::cut::{Cut, End};
use crate::scripted::{self, Answer, server};
use crate::setup::{NAMESPACE, STEP, Setup, pod, soon};

/// What was read of a log.
#[derive(Debug, Default)]
struct Log {
    bytes: Vec<u8>,
    gaps: Vec<(usize, Gap)>,
    end: Option<TailEnd>,
}

impl Log {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).unwrap()
    }

    /// The text of a log that was read to its end without a gap.
    fn complete(&self) -> &str {
        assert_eq!((&self.end, self.gaps.len()), (&Some(TailEnd::Complete), 0), "{:?}", self.gaps);
        self.text()
    }

    /// Takes what comes next; `None` after the end.
    async fn read(&mut self, tail: &mut Tail) -> Option<()> {
        match tail.next().await? {
            Tailed::Pieces(pieces) => {
                for piece in pieces {
                    let feeds = piece.bytes.iter().filter(|byte| **byte == b'\n').count();
                    assert_eq!(feeds, usize::from(piece.bytes.ends_with(b"\n")), "a piece is of one line");
                    self.bytes.extend_from_slice(&piece.bytes);
                }
            }
            Tailed::Gap(gap) => self.gaps.push((self.bytes.len(), gap)),
            Tailed::End(end) => self.end = Some(end),
        }
        Some(())
    }
}

fn target(made: &Applied, name: &str) -> TailTarget {
    TailTarget { pod: name.to_owned(), uid: made.pod_uid(), container: STEP.to_owned() }
}

fn tail(setup: &Setup, made: &Applied, name: &str) -> Tail {
    setup.cluster.tail(target(made, name), &setup.cluster.watch())
}

/// Reads to the end.
async fn all(mut tail: Tail) -> Log {
    let mut log = Log::default();
    while log.read(&mut tail).await.is_some() {}
    assert!(log.end.is_some());
    log
}

fn pods(setup: &Setup) -> Api<Pod> {
    Api::namespaced(setup.fake.client(), NAMESPACE)
}

/// Makes a pod that plays a script, and reads its log.
async fn log_of(setup: &Setup, script: Script) -> Log {
    let anchor = setup.anchor("1").await;
    let made = setup.run(&anchor, "wp-1", script).await;
    timeout(Duration::from_secs(24 * 3600), all(tail(setup, &made, "wp-1"))).await.expect("it ends")
}

/// Whether a log is what was written. Container runtimes differ in whether they end an unfinished last line.
fn is_log_of(log: &[u8], written: &[u8]) -> bool {
    log == written || (!written.ends_with(b"\n") && log.strip_suffix(b"\n") == Some(written))
}

/// What a script's lines are as a log.
fn lines(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).map(|number| line(number) + "\n").collect()
}

#[tokio::test(start_paused = true)]
async fn a_log_is_read_byte_by_byte() {
    let long = "x".repeat(5 << 20);
    for text in [
        "",
        "one\n",
        "one\ntwo\n\n\n",
        "no line feed",
        "\n",
        "carriage\rreturn\r\n",
        "2026-08-22T10:00:00Z a time of its own\n",
        &format!("short\n{long}\nshort\n"),
        &long,
    ] {
        let setup = Setup::new();
        let log = log_of(&setup, Script::new().print(text.to_owned())).await;
        let shown = text.get(..30).unwrap_or(text);
        assert!(is_log_of(&log.bytes, text.as_bytes()), "{shown:?}: {} of {} bytes", log.bytes.len(), text.len());
        assert_eq!((log.end, log.gaps.len()), (Some(TailEnd::Complete), 0), "{shown:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_need_not_be_text() {
    let setup = Setup::new();
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let log = log_of(&setup, Script::new().print(bytes.clone())).await;
    assert!(is_log_of(&log.bytes, &bytes));
}

#[tokio::test(start_paused = true)]
async fn two_hundred_thousand_lines_are_all_there() {
    let setup = Setup::new();
    let line = |number: usize| format!("{number:08} {}", "x".repeat(71));
    let log = log_of(&setup, Script::new().lines(200_000, line)).await;
    assert!(log.text() == lines(200_000, line));
    assert_eq!(log.end, Some(TailEnd::Complete));
}

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
async fn a_log_that_is_over_already_is_read_too() {
    let setup = Setup::new();
    let anchor = setup.anchor("1").await;
    setup.cluster.watch().synced().await;
    let made = setup.run(&anchor, "wp-1", Script::new().line("long ago")).await;
    sleep(Duration::from_secs(3600)).await;
    let log = all(tail(&setup, &made, "wp-1")).await;
    assert_eq!(log.complete(), "long ago\n");
}

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

    let log = all(cluster.tail(target(&made, "wp-1"), &cluster.watch())).await;
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
    let log = all(cluster.tail(target(&made, "wp-1"), &cluster.watch())).await;
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
    let log = tokio::spawn(all(cluster.tail(target(&made, "wp-1"), &cluster.watch())));
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
    let target = TailTarget { pod: "wp-1".to_owned(), uid: PodUid::new("wp-1"), container: STEP.to_owned() };
    let watch = cluster.watch();
    watch.synced().await;
    let log = soon(all(cluster.tail(target, &watch))).await;
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
    let log = tokio::spawn(all(setup.cluster.tail(target(&made, "wp-1"), &watch)));
    sleep(Duration::from_secs(10)).await;
    setup.fake.faults().inject(Fault::drop_connection().on(Verb::Watch).always());
    setup.fake.faults().inject(Fault::drop_connection().on(Verb::List).always());
    setup.fake.faults().cut_streams();
    let log = soon(log).await.unwrap();
    assert_eq!(log.complete(), "one\ntwo\n");
}

#[tokio::test(start_paused = true)]
async fn last_words_are_read() {
    let setup = Setup::new();
    let anchor = setup.anchor("1").await;
    let script = Script::new().line("working").forever().on_sigterm(Duration::from_secs(8), "cleaned up\n", 143);
    let made = setup.run(&anchor, "wp-1", script).await;
    let log = tokio::spawn(all(tail(&setup, &made, "wp-1")));
    sleep(Duration::from_secs(10)).await;
    setup.cluster.stop("wp-1", &made.pod_uid(), None).await.unwrap();
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
async fn what_is_rotated_away_unread_is_said() {
    let logs = LogSettings { rotate_at: Some(100_000), ..LogSettings::default() };
    let setup = Setup::with(Settings { logs, ..Settings::default() });
    let anchor = setup.anchor("1").await;
    let line = |number: usize| format!("{number:05} {}", "z".repeat(93));
    let mut script = Script::new();
    for second in 0..60 {
        let from = second * 100;
        script = script.lines(100, move |number| line(from + number)).wait(Duration::from_secs(1));
    }
    let made = setup.run(&anchor, "wp-1", script).await;
    let log = tokio::spawn(all(tail(&setup, &made, "wp-1")));
    sleep(Duration::from_millis(4500)).await;
    setup.fake.faults().inject(Fault::drop_connection().on(Verb::Get).of("pods/log").times(6));
    setup.fake.faults().cut_streams();
    let log = log.await.unwrap();

    assert_eq!((log.gaps.len(), &log.end), (1, &Some(TailEnd::Complete)));
    let (border, gap) = log.gaps[0];
    assert!(gap.after < gap.until);
    let (before, behind) = log.text().split_at(border);
    assert_eq!(before, lines(500, line), "five seconds before");
    let all = lines(6000, line);
    assert!(all.ends_with(behind) && behind.len() < all.len() - before.len() && !behind.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_rotated_under_a_reader_at_full_speed_loses_nothing() {
    let logs = LogSettings { rotate_at: Some(100_000), ..LogSettings::default() };
    let setup = Setup::with(Settings { logs, ..Settings::default() });
    let line = |number: usize| format!("{number:05} {}", "z".repeat(93));
    let mut script = Script::new();
    for second in 0..60 {
        let from = second * 100;
        script = script.lines(100, move |number| line(from + number)).wait(Duration::from_secs(1));
    }
    let log = log_of(&setup, script).await;
    assert!(log.text() == lines(6000, line), "{} bytes", log.text().len());
    assert_eq!((log.gaps.len(), log.end), (0, Some(TailEnd::Complete)));
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
    pods(&setup).patch("wp-1", &kube::api::PatchParams::default(), &kube::api::Patch::Merge(without)).await.unwrap();
    let log = timeout(Duration::from_secs(300), log).await.unwrap().unwrap();
    assert_eq!(log.complete(), "one\ntwo\n");
}
