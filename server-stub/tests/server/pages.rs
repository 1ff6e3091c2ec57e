//! Lists and logs, page by page; search; logs as bytes.

use axum::http::header;
use http_body_util::BodyExt;
use piculet_core::workload::WorkloadSpec;
use serde_json::{Value, json};
use server_stub::server::Config;
use server_stub::stub::Stub;

use crate::agent::{RawAgent, hello, log, log_bytes, log_end, wanting, workload};
use crate::api::{call, get, json_of, post, text};
use crate::storing::on_disk;

async fn names(stub: &Stub, query: &str) -> (Vec<String>, Value) {
    let (status, list) = json_of(call(stub, get(&format!("/api/workflows?{query}"))).await).await;
    assert_eq!(status.as_u16(), 200, "{list}");
    let names =
        list["workflows"].as_array().unwrap().iter().map(|workflow| workflow["name"].as_str().unwrap().to_owned());
    (names.collect(), list["next"].clone())
}

#[tokio::test(start_paused = true)]
async fn workflows_are_listed_page_by_page() {
    let stub = Stub::start(Config::default());
    for name in ["a", "b", "c", "d", "e"] {
        stub.submit(workload(name));
    }
    assert_eq!(names(&stub, "").await, (vec!["a".into(), "b".into(), "c".into(), "d".into(), "e".into()], Value::Null));
    assert_eq!(names(&stub, "limit=2").await, (vec!["a".into(), "b".into()], json!(2)));
    assert_eq!(names(&stub, "limit=2&after=2").await, (vec!["c".into(), "d".into()], json!(4)));
    assert_eq!(names(&stub, "limit=2&after=4").await, (vec!["e".into()], Value::Null));
    assert_eq!(names(&stub, "order=newest&limit=3").await, (vec!["e".into(), "d".into(), "c".into()], json!(3)));
    assert_eq!(names(&stub, "order=newest&limit=3&before=3").await, (vec!["b".into(), "a".into()], Value::Null));
    assert_eq!(names(&stub, "limit=5").await.1, Value::Null, "the page is full, and there is no other");
}

#[tokio::test(start_paused = true)]
async fn workflows_are_listed_by_what_they_are() {
    let stub = Stub::start(Config::default());
    let labels = |name: &str, labels: &[(&str, &str)]| -> WorkloadSpec { wanting(name, labels) };
    stub.submit(labels("Build web", &[("team", "web")]));
    stub.submit(labels("build api", &[("team", "api"), ("gpu", "yes")]));
    stub.submit(labels("deploy", &[("team", "web"), ("gpu", "yes")]));
    call(&stub, post("/api/workflows/deploy/cancel", "")).await;
    for (query, expected) in [
        ("name=BUILD", vec!["Build web", "build api"]),
        ("label=team%3Dweb", vec!["Build web", "deploy"]),
        ("label=team=web&label=gpu=yes", vec!["deploy"]),
        ("state=canceled", vec!["deploy"]),
        ("state=canceled&state=pending&label=team=web", vec!["Build web", "deploy"]),
        ("state=running", vec![]),
    ] {
        assert_eq!(names(&stub, query).await.0, expected, "{query}");
    }
    let (status, error) = json_of(call(&stub, get("/api/workflows?state=gone")).await).await;
    assert_eq!((status.as_u16(), &error["code"]), (400, &json!("query-invalid")));
}

/// A server with a workflow whose step printed these lines.
async fn printed(lines: &[&[u8]]) -> Stub {
    // A message has room for 32 KiB.
    let at_once = if lines.iter().any(|line| line.len() > 300) { 1 } else { 100 };
    let stub = Stub::start(Config::default());
    let mut agent = RawAgent::ready(&stub.network(), hello("agent"), 1).await;
    stub.submit(workload("w"));
    let assign = agent.take().await;
    let firsts = (0..).step_by(at_once);
    for (sequence, (first, lines)) in (2..).zip(firsts.zip(lines.chunks(at_once))) {
        agent.say(log_bytes(&assign, sequence, first, lines)).await;
        while agent.ack().await.2 < sequence {}
    }
    stub
}

#[tokio::test(start_paused = true)]
async fn a_log_is_handed_out_as_its_bytes() {
    let many: Vec<_> = (0..2500).map(|number| format!("line {number}").into_bytes()).collect();
    let mut lines: Vec<&[u8]> = vec![b"\x1b[31mred\x1b[0m", b"", b"t\xffwo\r3"];
    lines.extend(many.iter().map(Vec::as_slice));
    let stub = printed(&lines).await;
    let response = call(&stub, get("/api/workflows/1/steps/build/log.txt")).await;
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/plain; charset=utf-8");
    assert_eq!(response.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    assert_eq!(response.headers()[header::CONTENT_DISPOSITION], "attachment; filename=\"1-build-it.log\"");
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    assert_eq!(body, [lines.join(&b'\n'), b"\n".to_vec()].concat());
    let (status, error) = json_of(call(&stub, get("/api/workflows/1/steps/none/log.txt")).await).await;
    assert_eq!((status.as_u16(), &error["code"]), (404, &json!("step-unknown")));
}

#[tokio::test(start_paused = true)]
async fn a_log_of_which_the_rest_can_not_be_read_is_no_whole_file() {
    let folder = tempfile::TempDir::new().unwrap();
    let (stub, other) = on_disk(&folder);
    let mut agent = RawAgent::ready(&stub.network(), hello("agent"), 1).await;
    stub.submit(workload("w"));
    let assign = agent.take().await;
    for (sequence, first) in [(2, 0), (3, 500), (4, 1000)] {
        agent.say(log(&assign, sequence, first, &["x"; 500])).await;
        while agent.ack().await.2 < sequence {}
    }
    other.execute("UPDATE log_blocks SET lines = x'ff' WHERE first = 1000", ()).unwrap();
    let response = call(&stub, get("/api/workflows/1/steps/build/log.txt")).await;
    assert_eq!(response.status().as_u16(), 200, "the beginning is there");
    let error = response.into_body().collect().await.unwrap_err();
    let error = std::error::Error::source(&error).unwrap().to_string();
    assert!(error.starts_with("the database holds lines from 1000 on"), "{error}");
}

#[test]
fn a_page_whose_lines_were_read_while_a_workflow_began_anew_is_read_again() {
    // Who has the only thread for the disk decides when a page is read.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let folder = tempfile::TempDir::new().unwrap();
        let (stub, _other) = on_disk(&folder);
        let mut agent = RawAgent::ready(&stub.network(), hello("agent"), 1).await;
        stub.submit(workload("w"));
        let assign = agent.take().await;
        agent.say(log(&assign, 2, 0, &["old 0", "old 1"])).await;
        while agent.ack().await.2 < 2 {}
        let (release, held) = tokio::sync::oneshot::channel::<()>();
        tokio::task::spawn_blocking(move || held.blocking_recv());
        let mut page = std::pin::pin!(stub.server().log_page("w", "build", 0, 10));
        assert!(futures_util::poll!(&mut page).is_pending(), "it has looked, and waits for the thread");
        stub.server().lose_cluster("cluster-of-agent").unwrap();
        drop(release);
        assert_eq!(page.await.unwrap().round, 2);
    });
}

#[tokio::test(start_paused = true)]
async fn a_log_is_searched() {
    let mut lines: Vec<Vec<u8>> = (0..2500).map(|number| format!("line {number}").into_bytes()).collect();
    lines[7] = b"an \x1b[31mErr\x1b[1mor\x1b[0m".to_vec();
    lines[2400] = b"ERROR again".to_vec();
    let lines: Vec<_> = lines.iter().map(Vec::as_slice).collect();
    let stub = printed(&lines).await;
    let search = async |query: &str| {
        json_of(call(&stub, get(&format!("/api/workflows/1/steps/build/log/search?{query}"))).await).await
    };
    let (_, found) = search("text=error").await;
    let both = json!([{ "number": 7, "excerpt": "an Error" }, { "number": 2400, "excerpt": "ERROR again" }]);
    assert_eq!((&found["matches"], &found["next"], &found["is_last"]), (&both, &json!(2500), &json!(true)));
    let (_, found) = search("text=error&count=1").await;
    assert_eq!(
        (&found["matches"][0]["number"], &found["next"], &found["is_last"]),
        (&json!(7), &json!(8), &json!(false))
    );
    let (_, found) = search("text=error&from=8").await;
    assert_eq!((&found["matches"][0]["number"], found["matches"].as_array().unwrap().len()), (&json!(2400), 1));
    let (_, found) = search("text=31m").await;
    assert_eq!(found["matches"], json!([]), "nobody sees escape sequences");
    let (status, error) = search("text=").await;
    assert_eq!((status.as_u16(), &error["code"]), (400, &json!("query-invalid")));
}

#[tokio::test(start_paused = true)]
async fn a_page_has_a_bound_in_bytes_too() {
    let line = vec![b'x'; 30_000];
    let stub = printed(&[line.as_slice(); 300]).await;
    let (mut from, mut pages) = (0, Vec::new());
    loop {
        let (_, page) = json_of(call(&stub, get(&format!("/api/workflows/1/steps/build/log?from={from}"))).await).await;
        let count = page["lines"].as_array().unwrap().len();
        if count == 0 {
            break;
        }
        assert_eq!(page["lines"][0]["number"], json!(from));
        pages.push(count);
        from = page["next"].as_u64().unwrap();
    }
    assert_eq!((from, pages), (300, vec![139, 139, 22]));
}

#[tokio::test(start_paused = true)]
async fn a_stream_and_a_page_of_one_log_agree() {
    let stub = Stub::start(Config::default());
    let mut agent = RawAgent::ready(&stub.network(), hello("agent"), 1).await;
    stub.submit(workload("w"));
    let assign = agent.take().await;
    agent.say(log(&assign, 2, 0, &["a", "b"])).await;
    agent.say(log_end(&assign, 3, 2, 2)).await;
    while agent.ack().await.2 < 3 {}
    let (_, page) = json_of(call(&stub, get("/api/workflows/w/steps/build/log")).await).await;
    let (_, stream) = text(call(&stub, get("/api/workflows/w/steps/build/log?follow=false")).await).await;
    let lines = stream.lines().filter_map(|line| serde_json::from_str::<Value>(line).unwrap().get("line").cloned());
    assert_eq!(json!(lines.collect::<Vec<_>>()), page["lines"]);
}
