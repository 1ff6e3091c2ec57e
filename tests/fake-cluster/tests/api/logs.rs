//! The logs of containers.

use std::time::Duration;

use fake_cluster::{FakeCluster, Fault, LogSettings, Script, Settings};
use futures_util::AsyncReadExt as _;
use http::Request;
use kube::api::{DeleteParams, LogParams, Patch, PatchParams};
use serde_json::json;

use crate::fixture::{Fixture, pod, pod_with, refusal};

async fn read(fixture: &Fixture, name: &str, params: &LogParams) -> std::io::Result<Vec<u8>> {
    let mut stream = Box::pin(fixture.pods.log_stream(name, params).await.expect("a stream"));
    let mut read = Vec::new();
    stream.read_to_end(&mut read).await.map(|_| read)
}

async fn text(fixture: &Fixture, name: &str, params: &LogParams) -> String {
    String::from_utf8_lossy(&read(fixture, name, params).await.expect("the log")).into_owned()
}

fn follow() -> LogParams {
    LogParams { follow: true, timestamps: true, ..LogParams::default() }
}

#[tokio::test(start_paused = true)]
async fn following_shows_each_line_with_its_time_until_the_end() {
    let script = Script::new().line("one").wait(Duration::from_secs(3900)).print("two\nno newline").exit(7);
    let fixture = Fixture::playing(script);
    fixture.create(&pod("p")).await;
    fixture.until_phase("p", "Running").await;
    assert_eq!(
        text(&fixture, "p", &follow()).await,
        "2026-01-01T00:00:00.000000000Z one\n2026-01-01T01:05:00.000000000Z two\n\
         2026-01-01T01:05:00.000000100Z no newline\n"
    );
    let ended = fixture.until_phase("p", "Failed").await;
    let terminated = &ended["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!((&terminated["exitCode"], &terminated["finishedAt"]), (&json!(7), &json!("2026-01-01T01:05:00Z")));
    let tail = LogParams { tail_lines: Some(1), ..LogParams::default() };
    assert_eq!(text(&fixture, "p", &tail).await, "no newline\n");
    let since = LogParams { since_seconds: Some(60), ..LogParams::default() };
    assert_eq!(text(&fixture, "p", &since).await, "two\nno newline\n");
    let limit = LogParams { limit_bytes: Some(5), ..LogParams::default() };
    assert_eq!(text(&fixture, "p", &limit).await, "one\nt");
}

#[tokio::test(start_paused = true)]
async fn the_client_rounds_the_time_from_which_it_reads() {
    let script =
        Script::new().wait(Duration::from_millis(600)).line("early").wait(Duration::from_millis(300)).line("late");
    let fixture = Fixture::playing(script);
    fixture.create(&pod("p")).await;
    fixture.until_phase("p", "Succeeded").await;
    let since = |time: &str| LogParams { since_time: time.parse().ok(), ..LogParams::default() };
    assert_eq!(text(&fixture, "p", &since("2026-01-01T00:00:00Z")).await, "early\nlate\n");
    let rounded = since("2026-01-01T00:00:00.6Z");
    assert_eq!(text(&fixture, "p", &rounded).await, "", "it asks from second 1 on");
}

#[tokio::test(start_paused = true)]
async fn bytes_come_back_as_they_were() {
    let bytes = [b"caf\xe9 \xff\x00\n".as_slice(), &vec![b'x'; 100_000], b"\r\n"].concat();
    let fixture = Fixture::playing(Script::new().print(bytes.clone()));
    fixture.create(&pod("p")).await;
    fixture.until_phase("p", "Succeeded").await;
    assert_eq!(read(&fixture, "p", &LogParams::default()).await.expect("the log"), bytes);
    let stamped = read(&fixture, "p", &follow()).await.expect("the log");
    assert_eq!(stamped.len(), bytes.len() + 2 * 31, "one time for each line, not for each record");
}

#[tokio::test(start_paused = true)]
async fn before_it_started_the_kubelet_says_why_there_is_no_log() {
    let fixture = Fixture::new();
    fixture.runtime.on_pod("slow", Script::new().pull_takes(Duration::from_secs(60)));
    fixture.runtime.on_pod("none", Script::new().pull_fails("not found"));
    fixture.create(&pod("slow")).await;
    fixture.until_waiting("slow", "ContainerCreating").await;
    let expect = |why: &str, name: &str| {
        (400, "BadRequest".to_owned(), format!("container \"step\" in pod \"{name}\" is waiting to start: {why}"))
    };
    assert_eq!(refusal(fixture.pods.logs("slow", &LogParams::default()).await), expect("ContainerCreating", "slow"));
    fixture.create(&pod("none")).await;
    fixture.until_waiting("none", "ErrImagePull").await;
    assert_eq!(
        refusal(fixture.pods.logs("none", &LogParams::default()).await),
        expect("image can't be pulled", "none")
    );
    fixture.until_waiting("none", "ImagePullBackOff").await;
    assert_eq!(
        refusal(fixture.pods.logs("none", &LogParams::default()).await),
        expect("trying and failing to pull image", "none")
    );
    assert_eq!(refusal(fixture.pods.logs("nobody", &LogParams::default()).await).0, 404);
}

#[tokio::test(start_paused = true)]
async fn a_pod_without_a_node_has_an_answer_without_content() {
    let fixture = Fixture::new();
    fixture.create(&pod_with("p", json!({"nodeSelector": {"no": "where"}}))).await;
    let request = Request::get("/api/v1/namespaces/ci/pods/p/log").body(Vec::new().into()).expect("a request");
    let answer = fixture.cluster.client().send(request).await.expect("an answer");
    assert_eq!(answer.status(), 204);
    assert_eq!(fixture.pods.logs("p", &LogParams::default()).await.expect("no error"), "");
}

#[tokio::test(start_paused = true)]
async fn the_container_must_be_named_where_there_are_several() {
    let fixture = Fixture::new();
    let containers = json!([{"name": "one", "image": "a:1"}, {"name": "two", "image": "a:1"}]);
    let inits = json!([{"name": "first", "image": "a:1"}]);
    fixture.create(&pod_with("p", json!({"containers": containers, "initContainers": inits}))).await;
    assert_eq!(
        refusal(fixture.pods.logs("p", &LogParams::default()).await).2,
        "a container name must be specified for pod p, choose one of: [first one two]"
    );
    let wrong = LogParams { container: Some("three".into()), ..LogParams::default() };
    assert_eq!(refusal(fixture.pods.logs("p", &wrong).await).2, "container three is not valid for pod p");
    fixture.until_phase("p", "Succeeded").await;
    let right = LogParams { container: Some("two".into()), ..LogParams::default() };
    assert_eq!(text(&fixture, "p", &right).await, "");
    let previous = LogParams { container: Some("two".into()), previous: true, ..LogParams::default() };
    assert_eq!(
        refusal(fixture.pods.logs("p", &previous).await).2,
        "previous terminated container \"two\" in pod \"p\" not found"
    );
}

#[tokio::test(start_paused = true)]
async fn the_run_before_has_a_log_of_its_own() {
    let fixture = Fixture::playing(Script::new().line("run").wait(Duration::from_secs(1)).exit(1));
    fixture.create(&pod_with("p", json!({"restartPolicy": "Always"}))).await;
    let message = fixture.until_waiting("p", "CrashLoopBackOff").await;
    assert!(message.starts_with("back-off 10s restarting failed container=step pod=p_ci("), "{message}");
    assert_eq!(fixture.cluster.now().to_string(), "2026-01-01T00:00:02Z", "the first restart came at once");
    tokio::time::sleep(Duration::from_millis(10_500)).await;
    let previous = LogParams { previous: true, ..LogParams::default() };
    assert_eq!(text(&fixture, "p", &previous).await, "run\n");
    assert_eq!(fixture.pod("p")["status"]["containerStatuses"][0]["restartCount"], 2);
}

#[tokio::test(start_paused = true)]
async fn the_log_goes_with_the_containers_though_a_finalizer_keeps_the_object() {
    let fixture = Fixture::playing(Script::new().line("words").forever().on_sigterm(Duration::ZERO, "last words\n", 0));
    fixture.create(&pod("p")).await;
    let held = Patch::Merge(json!({"metadata": {"finalizers": ["piculet.dev/outcome"]}}));
    fixture.pods.patch("p", &PatchParams::default(), &held).await.expect("held");
    fixture.until_phase("p", "Running").await;
    let open =
        fixture.pods.log_stream("p", &LogParams { follow: true, ..LogParams::default() }).await.expect("a stream");
    fixture.pods.delete("p", &DeleteParams::default()).await.expect("accepted");
    fixture.until_phase("p", "Succeeded").await;
    let mut read = String::new();
    Box::pin(open).read_to_string(&mut read).await.expect("the log");
    assert_eq!(read, "words\nlast words\n", "an open stream is read to its end");
    assert_eq!(text(&fixture, "p", &LogParams::default()).await, read, "for a while it can be read again");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let late = text(&fixture, "p", &LogParams::default()).await;
    assert!(late.starts_with("unable to retrieve container logs for containerd://"), "{late}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_can_be_cut_with_and_without_an_error() {
    let fixture = Fixture::playing(Script::new().line("one").wait(Duration::from_secs(60)).line("two"));
    fixture.create(&pod("p")).await;
    fixture.until_phase("p", "Running").await;
    let plain = LogParams { follow: true, ..LogParams::default() };
    fixture.cluster.faults().inject(Fault::cut_log_after_bytes(2));
    let error = read(&fixture, "p", &plain).await.expect_err("the connection breaks");
    assert!(error.to_string().contains("connection reset"), "{error}");
    fixture.cluster.faults().inject(Fault::cut_log_after(Duration::from_secs(5)).cleanly());
    assert_eq!(text(&fixture, "p", &plain).await, "one\n", "as if it were complete");
    assert_eq!(text(&fixture, "p", &plain).await, "one\ntwo\n");
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_loses_what_was_rotated_away() {
    let runtime = fake_cluster::ScriptedRuntime::new();
    let line = "x".repeat(99);
    let script =
        (0..4).fold(Script::new(), |script, _| script.lines(10, |_| line.clone()).wait(Duration::from_secs(10)));
    runtime.on_all(script.lines(10, |_| line.clone()).wait(Duration::from_secs(5)));
    let logs = LogSettings { rotate_at: Some(500), ..LogSettings::default() };
    let cluster = FakeCluster::start(Settings { logs, ..Settings::default() }, runtime.clone());
    let pods = kube::api::Api::default_namespaced(cluster.client());
    let fixture = Fixture { runtime, cluster, pods };
    fixture.create(&pod("p")).await;
    fixture.until_phase("p", "Running").await;
    let plain = LogParams { follow: true, ..LogParams::default() };
    let quick = read(&fixture, "p", &plain).await.expect("the log");
    assert_eq!(quick.len(), 5000, "who keeps up loses nothing");
    assert_eq!(read(&fixture, "p", &plain).await.expect("the log").len(), 1000, "only the newest file is there");
}

#[tokio::test(start_paused = true)]
async fn a_hundred_containers_print_two_hundred_thousand_lines_each() {
    let fixture = Fixture::playing(Script::new().lines(200_000, |number| format!("{number:079}")));
    for number in 0..100 {
        fixture.create(&pod(&format!("p{number}"))).await;
    }
    for number in 0..100 {
        fixture.until_phase(&format!("p{number}"), "Succeeded").await;
    }
    let mut chunks = fixture.pods.log_stream("p99", &follow()).await.map(Box::pin).expect("a stream");
    let (mut bytes, mut buffer) = (0, vec![0; 1 << 16]);
    loop {
        match chunks.read(&mut buffer).await.expect("the log") {
            0 => break,
            read => bytes += read,
        }
    }
    assert_eq!(bytes, 200_000 * (31 + 80));
}
