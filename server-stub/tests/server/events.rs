//! Server-sent events.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use axum::response::Response;
use http_body_util::BodyExt;
use piculet_core::id::WorkflowId;
use piculet_core::workload::{StageSpec, StepSpec, WorkloadSpec};
use piculet_proto::v1 as pb;
use serde_json::{Value, json};
use server_stub::server::Config;
use server_stub::stub::Stub;

use crate::agent::{RawAgent, finished, hello, log, log_end, step, wanting, within, workload};
use crate::api::{call, get, json_of, text};
use crate::storing::on_disk;

/// An event as a browser sees it.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    name: String,
    id: String,
    data: Value,
}

impl Seen {
    /// What is worth comparing.
    fn summary(&self) -> String {
        match self.name.as_str() {
            "line" => self.data["text"].as_str().unwrap().to_owned(),
            name => format!("{name} {}", self.data["state"].as_str().unwrap()),
        }
    }
}

fn parse(text: &str) -> Vec<Seen> {
    let blocks = text.split("\n\n").filter(|block| !block.is_empty() && !block.starts_with(':'));
    let field = |block: &str, key: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
        line.unwrap_or_else(|| panic!("no {key} in {block:?}")).to_owned()
    };
    let seen = |block: &str| Seen {
        name: field(block, "event"),
        id: field(block, "id"),
        data: serde_json::from_str(&field(block, "data")).unwrap(),
    };
    blocks.map(seen).collect()
}

fn after(path: &str, id: &str) -> Request<Body> {
    Request::get(path).header("last-event-id", id).body(Body::empty()).unwrap()
}

async fn whole(stub: &Stub, request: Request<Body>) -> Vec<Seen> {
    let response = call(stub, request).await;
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
    let (status, text) = within(text(response)).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    parse(&text)
}

fn summaries(events: &[Seen]) -> Vec<String> {
    events.iter().map(Seen::summary).collect()
}

/// The next piece of a stream that goes on.
async fn piece(response: &mut Response) -> String {
    let frame = within(response.body_mut().frame()).await.expect("the stream goes on").unwrap();
    String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()
}

/// A server with a workflow that printed, failed, and is over.
async fn ran() -> (Stub, Vec<Seen>) {
    let stub = Stub::start(Config::default());
    let mut agent = RawAgent::ready(&stub.network(), hello("agent"), 1).await;
    let id = stub.submit(workload("w"));
    let live = call(&stub, get("/api/workflows/w/events")).await;
    let live = tokio::spawn(text(live));
    let assign = agent.take().await;
    agent.say(step(&assign, 2, pb::StepState::Running, None)).await;
    agent.say(log(&assign, 3, 0, &["one", "two\rthree"])).await;
    while agent.ack().await.2 < 3 {}
    agent.hears_nothing().await;
    agent.say(log(&assign, 4, 2, &["four"])).await;
    agent.say(log_end(&assign, 5, 3, 16)).await;
    agent.say(step(&assign, 6, pb::StepState::Failure, Some(3))).await;
    agent.say(finished(&assign, 7, pb::WorkflowState::Failure)).await;
    stub.ended(&id).await;
    (stub, parse(&within(live).await.unwrap().1))
}

#[tokio::test(start_paused = true)]
async fn a_workflow_is_told_as_it_happens() {
    let (_stub, events) = ran().await;
    assert_eq!(events[0].summary(), "workflow pending", "where it stands comes first");
    // Later it is told beside the rest; the order of the two is open.
    let (standing, rest): (Vec<_>, Vec<_>) = events.iter().cloned().partition(|event| event.name == "workflow");
    assert_eq!(
        summaries(&rest),
        ["step pending", "step running", "one", "two\rthree", "four", "step failure", "end failure"]
    );
    let states: Vec<_> = standing.iter().map(|event| event.data["state"].as_str().unwrap()).collect();
    assert_eq!((states.first(), states.last()), (Some(&"pending"), Some(&"failure")), "{states:?}");
    assert!(states.contains(&"running"), "{states:?}");
    assert_eq!(events.last().map(|event| event.id.as_str()), Some("1:end"));
}

#[tokio::test(start_paused = true)]
async fn who_comes_again_misses_nothing_and_hears_nothing_twice() {
    let (stub, events) = ran().await;
    for (at, event) in events.iter().enumerate().filter(|(_, event)| event.name != "end") {
        let again = whole(&stub, after("/api/workflows/w/events", &event.id)).await;
        let ends = |events: &[Seen]| -> Vec<String> {
            // What was true only for a while is not told afterwards.
            let lasting = |event: &&Seen| !matches!(event.summary().as_str(), "step pending" | "step running");
            summaries(
                &events.iter().filter(|event| event.name != "workflow").filter(lasting).cloned().collect::<Vec<_>>(),
            )
        };
        assert_eq!(ends(&again), ends(&events[at + 1..]), "after {event:?}");
    }
    let nothing = call(&stub, after("/api/workflows/w/events", "1:end")).await;
    assert_eq!(nothing.status(), StatusCode::NO_CONTENT);
    // What another version of the server, or another stream, made of it says nothing: all is told.
    let all = of_steps(&events);
    for id in ["elsewhere", "0s1.120", "end", "7:9r1.0"] {
        assert_eq!(of_steps(&whole(&stub, after("/api/workflows/w/events", id)).await), all, "{id}");
    }
    let again = whole(&stub, after("/api/workflows/w/steps/build/events?from=2", "0s1.120")).await;
    assert_eq!(of_steps(&again), ["four", "step failure", "end failure"]);
}

/// A server with a workflow whose step succeeded, and whose cluster is given up when that is asked for.
struct GivenUp {
    stub: Stub,
    old: RawAgent,
    id: WorkflowId,
}

impl GivenUp {
    async fn ready() -> Self {
        let stub = Stub::start(Config::default());
        let mut old = RawAgent::ready(&stub.network(), hello("old"), 1).await;
        let id = stub.submit(workload("w"));
        let assign = old.take().await;
        old.say(step(&assign, 2, pb::StepState::Running, None)).await;
        old.say(log(&assign, 3, 0, &["old 0", "old 1"])).await;
        old.say(log_end(&assign, 4, 2, 10)).await;
        old.say(step(&assign, 5, pb::StepState::Success, Some(0))).await;
        while old.ack().await.2 < 5 {}
        Self { stub, old, id }
    }

    /// Gives the cluster up. Elsewhere the step fails.
    async fn give_up(&mut self) {
        // Those who follow have told what there was.
        self.old.hears_nothing().await;
        self.stub.server().lose_cluster("cluster-of-old").unwrap();
        let mut new = RawAgent::ready(&self.stub.network(), hello("new"), 1).await;
        let assign = new.take().await;
        new.say(step(&assign, 2, pb::StepState::Running, None)).await;
        new.say(log(&assign, 3, 0, &["new 0", "new 1", "new 2"])).await;
        new.say(log_end(&assign, 4, 3, 15)).await;
        new.say(step(&assign, 5, pb::StepState::Failure, Some(1))).await;
        new.say(finished(&assign, 6, pb::WorkflowState::Failure)).await;
        self.stub.ended(&self.id).await;
    }
}

/// What is told of the steps, without what was true only for a while.
fn of_steps(events: &[Seen]) -> Vec<String> {
    let is_wanted = |event: &&Seen| event.name != "workflow" && event.data["state"] != "pending";
    let told = events.iter().filter(is_wanted).map(|event| match event.name.as_str() {
        "anew" => format!("anew {}", event.data["round"]),
        _ => event.summary(),
    });
    told.filter(|told| told != "step running").collect()
}

#[tokio::test(start_paused = true)]
async fn who_was_away_while_a_workflow_began_anew_hears_all_of_it() {
    for (path, anew) in [
        ("/api/workflows/w/events", vec!["anew 2", "new 0", "new 1", "new 2", "step failure", "end failure"]),
        ("/api/workflows/w/events?lines=false", vec!["anew 2", "step failure", "end failure"]),
        (
            "/api/workflows/w/steps/build/events?from=2",
            vec!["anew 2", "new 0", "new 1", "new 2", "step failure", "end failure"],
        ),
    ] {
        let mut there = GivenUp::ready().await;
        let mut response = call(&there.stub, get(path)).await;
        let mut seen = Vec::new();
        while !seen.iter().any(|event: &Seen| event.summary() == "step success") {
            seen.extend(parse(&piece(&mut response).await));
        }
        drop(response);
        let last = &seen.last().unwrap().id;
        there.give_up().await;
        assert_eq!(of_steps(&whole(&there.stub, after(path, last)).await), anew, "{path} after {last}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_line_of_a_round_that_is_gone_is_no_place_to_begin_at() {
    let path = "/api/workflows/w/steps/build/events?from=2&round=1";
    let mut there = GivenUp::ready().await;
    assert_eq!(of_steps(&whole(&there.stub, get(path)).await), ["step success", "end running"]);
    there.give_up().await;
    let all = ["anew 2", "new 0", "new 1", "new 2", "step failure", "end failure"];
    let events = whole(&there.stub, get(path)).await;
    assert_eq!(of_steps(&events), all);
    // Nor is it for who heard of the new round, and no more.
    let anew = events.iter().find(|event| event.name == "anew").unwrap();
    assert_eq!(of_steps(&whole(&there.stub, after(path, &anew.id)).await), all[1..]);
    let current = path.replace("round=1", "round=2");
    assert_eq!(of_steps(&whole(&there.stub, get(&current)).await), ["new 2", "step failure", "end failure"]);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_step_is_not_that_of_its_next_round() {
    let path = "/api/workflows/w/steps/build/events";
    let mut there = GivenUp::ready().await;
    let events = whole(&there.stub, get(path)).await;
    assert_eq!(of_steps(&events), ["old 0", "old 1", "step success", "end running"]);
    let end = &events.last().unwrap().id;
    assert_eq!(call(&there.stub, after(path, end)).await.status(), StatusCode::NO_CONTENT);
    there.give_up().await;
    let stub = Stub::restart(Config::default(), there.stub.kill());
    let anew = whole(&stub, after(path, end)).await;
    assert_eq!(of_steps(&anew), ["anew 2", "new 0", "new 1", "new 2", "step failure", "end failure"]);
    assert_eq!(call(&stub, after(path, &anew.last().unwrap().id)).await.status(), StatusCode::NO_CONTENT);
}

#[tokio::test(start_paused = true)]
async fn who_listens_while_a_workflow_begins_anew_hears_all_of_it() {
    let mut there = GivenUp::ready().await;
    let before = ["old 0", "old 1", "step success"];
    let anew = ["anew 2", "new 0", "new 1", "new 2", "step failure", "end failure"];
    let first = call(&there.stub, get("/api/workflows/w/events")).await;
    // This one has heard the end of the step already.
    let again = call(&there.stub, after("/api/workflows/w/events", "1:0e1.e")).await;
    let log = call(&there.stub, get("/api/workflows/w/log?follow=true")).await;
    let told = [first, again, log].map(|response| tokio::spawn(text(response)));
    there.give_up().await;
    let [first, again, log] = told;
    assert_eq!(of_steps(&parse(&within(first).await.unwrap().1)), [&before[..], &anew].concat());
    assert_eq!(of_steps(&parse(&within(again).await.unwrap().1)), anew);
    let (_, log) = within(log).await.unwrap();
    let log: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let at = log.iter().position(|event| *event == json!({"anew": {"round": 2}})).expect("it is told");
    let numbers =
        |events: &[Value]| -> Vec<u64> { events.iter().filter_map(|event| event["line"]["number"].as_u64()).collect() };
    assert_eq!((numbers(&log[..at]), numbers(&log[at..])), (vec![0, 1], vec![0, 1, 2]));
    // Who comes afterwards hears which round it is, and nothing of the first.
    let (_, late) = text(call(&there.stub, get("/api/workflows/w/log")).await).await;
    assert!(late.starts_with("{\"anew\":{\"round\":2}}\n") && !late.contains("old"), "{late}");
}

#[tokio::test(start_paused = true)]
async fn states_come_without_lines_on_request() {
    let (stub, _) = ran().await;
    let events = whole(&stub, get("/api/workflows/w/events?lines=false")).await;
    assert_eq!(summaries(&events), ["workflow failure", "step failure", "end failure"]);
    let again = whole(&stub, after("/api/workflows/w/events?lines=false", &events[1].id)).await;
    assert_eq!(summaries(&again), ["workflow failure", "end failure"]);
}

#[tokio::test(start_paused = true)]
async fn a_step_has_a_stream_of_its_own() {
    let stub = Stub::start(Config::default());
    let mut agent = RawAgent::ready(&stub.network(), hello("agent"), 1).await;
    let second = StepSpec { id: "second".into(), name: "second".into(), image: "x".into(), ..StepSpec::default() };
    let stages = [workload("").stages, vec![StageSpec { steps: vec![second] }]].concat();
    stub.submit(WorkloadSpec { name: "w".into(), stages, ..WorkloadSpec::default() });
    let assign = agent.take().await;
    agent.say(step(&assign, 2, pb::StepState::Running, None)).await;
    agent.say(log(&assign, 3, 0, &["one", "two"])).await;
    while agent.ack().await.2 < 3 {}
    let live = call(&stub, get("/api/workflows/w/steps/build/events?from=1")).await;
    let live = tokio::spawn(text(live));
    agent.hears_nothing().await;
    agent.say(log_end(&assign, 4, 2, 6)).await;
    agent.say(step(&assign, 5, pb::StepState::Success, Some(0))).await;
    let events = parse(&within(live).await.unwrap().1);
    // The step is over, and the workflow goes on.
    assert_eq!(summaries(&events), ["step running", "two", "step success", "end running"]);
    let again = whole(&stub, after("/api/workflows/w/steps/build%20it/events", &events[0].id)).await;
    assert_eq!(summaries(&again), ["two", "step success", "end running"], "the id knows where the first call began");
    let again = whole(&stub, after("/api/workflows/w/steps/build/events?from=1", &events[1].id)).await;
    assert_eq!(summaries(&again), ["step success", "end running"]);
    let (status, error) = json_of(call(&stub, get("/api/workflows/w/steps/third/events")).await).await;
    assert_eq!((status.as_u16(), &error["code"]), (404, &json!("step-unknown")));
}

#[tokio::test(start_paused = true)]
async fn why_a_workflow_waits_is_told_anew_when_it_changes() {
    let stub = Stub::start(Config::default());
    stub.submit(wanting("w", &[("gpu", "yes")]));
    let mut response = call(&stub, get("/api/workflows/w/events?lines=false")).await;
    let waiting = |text: &str| parse(text)[0].data["waiting"].clone();
    assert_eq!(waiting(&piece(&mut response).await), json!([]));
    let step = parse(&piece(&mut response).await);
    assert_eq!(summaries(&step), ["step pending"]);
    let _agent = RawAgent::ready(&stub.network(), hello("agent"), 1).await;
    let told = waiting(&piece(&mut response).await);
    assert!(told[0].as_str().unwrap().contains("agent 'agent'"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_quiet_stream_says_that_it_lives() {
    let stub = Stub::start(Config::default());
    stub.submit(workload("w"));
    let mut response = call(&stub, get("/api/workflows/w/steps/build/events")).await;
    assert!(piece(&mut response).await.starts_with("event: step\n"));
    let start = tokio::time::Instant::now();
    assert_eq!(piece(&mut response).await, ": ping\n\n");
    assert_eq!(start.elapsed().as_secs(), 15);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_server_is_the_end_of_its_streams() {
    let stub = Stub::start(Config::default());
    stub.submit(workload("w"));
    for path in
        ["/api/workflows/w/events", "/api/workflows/w/steps/build/events", "/api/workflows/w/events?lines=false"]
    {
        let stub = Stub::start(Config::default());
        stub.submit(workload("w"));
        let response = call(&stub, get(path)).await;
        let reading = tokio::spawn(text(response));
        tokio::time::sleep(Duration::from_secs(1)).await;
        stub.server().shut_down(Duration::from_secs(1)).await;
        let (_, seen) = within(reading).await.unwrap();
        assert!(parse(&seen).iter().all(|event| event.name != "end"), "the workflow is not over: {seen}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_holds_up_nobody() {
    const LINES: u64 = 5000;
    let stub = Stub::start(Config::default());
    let mut agent = RawAgent::ready(&stub.network(), hello("agent"), 1).await;
    let id = stub.submit(workload("w"));
    // It reads nothing until all is over.
    let slow = call(&stub, get("/api/workflows/w/steps/build/events")).await;
    let assign = agent.take().await;
    for (sequence, first) in (2..).zip((0..LINES).step_by(500)) {
        let lines: Vec<_> = (first..first + 500).map(|number| format!("line {number}")).collect();
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        agent.say(log(&assign, sequence, first, &lines)).await;
        while agent.ack().await.2 < sequence {}
    }
    agent.say(finished(&assign, 2 + LINES / 500, pb::WorkflowState::Failure)).await;
    stub.server().ended(&WorkflowId::new(id.as_str())).await;
    let events = parse(&within(text(slow)).await.1);
    let numbers =
        events.iter().filter(|event| event.name == "line").map(|event| event.data["number"].as_u64().unwrap());
    assert!(numbers.eq(0..LINES), "every line once, in order");
    assert_eq!(events.last().map(Seen::summary).as_deref(), Some("end failure"));
}

#[tokio::test(start_paused = true)]
async fn a_log_that_can_not_be_read_is_not_the_end_of_its_step() {
    let folder = tempfile::TempDir::new().unwrap();
    let (stub, other) = on_disk(&folder);
    let mut agent = RawAgent::ready(&stub.network(), hello("agent"), 1).await;
    stub.submit(workload("w"));
    let assign = agent.take().await;
    agent.say(step(&assign, 2, pb::StepState::Running, None)).await;
    agent.say(log(&assign, 3, 0, &["one", "two"])).await;
    while agent.ack().await.2 < 3 {}
    let stored: Vec<u8> = other.query_row("SELECT lines FROM log_blocks", (), |row| row.get(0)).unwrap();
    other.execute("UPDATE log_blocks SET lines = x'ff'", ()).unwrap();
    let build = "/api/workflows/w/steps/build";
    for path in [
        "/api/workflows/w/events",
        "/api/workflows/w/log?follow=true",
        &format!("{build}/events"),
        &format!("{build}/log?follow=true"),
        &format!("{build}/log?follow=false"),
    ] {
        let mut body = call(&stub, get(path)).await.into_body();
        let mut told = String::new();
        let error = loop {
            match within(body.frame()).await {
                Some(Ok(frame)) => told.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap()),
                Some(Err(error)) => break error,
                None => panic!("{path} ended as if it were whole: {told}"),
            }
        };
        let error = std::error::Error::source(&error).unwrap().to_string();
        assert!(error.starts_with("the database holds lines from 0 on of step 0 of workflow 1"), "{path}: {error}");
        assert!(!told.contains("end"), "{path}: {told}");
    }
    // Whoever comes again when it can be read hears it.
    other.execute("UPDATE log_blocks SET lines = ?1", [stored]).unwrap();
    let mut events = call(&stub, get(&format!("{build}/events"))).await;
    let mut told = String::new();
    while !told.contains("\"two\"") {
        told.push_str(&piece(&mut events).await);
    }
}
