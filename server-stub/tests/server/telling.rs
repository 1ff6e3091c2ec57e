//! Who reads is told what is stored, and nothing else.

use std::time::Duration;

use axum::http::StatusCode;
use http_body_util::BodyExt;
use piculet_core::id::WorkflowId;
use piculet_proto::v1 as pb;
use piculet_proto::v1::agent_message::Message as Said;
use server_stub::dispatch::Limits;
use server_stub::follow::{FollowError, News};
use server_stub::mailbox::{Intake, Stop};
use server_stub::server::Config;
use server_stub::store::Store;
use server_stub::stub::Stub;
use tokio::time::Instant;

use crate::agent::{RawAgent, finished, hello, log, log_end, step, until, within, workload};
use crate::api::{call, get, json_of, post, text};

/// How long the disk of these tests takes.
const LATENCY: Duration = Duration::from_secs(2);
/// As good as broken.
const FOR_EVER: Duration = Duration::from_secs(3000);

/// A workflow that an agent runs, with everything stored.
async fn running() -> (Stub, RawAgent, pb::Assign, WorkflowId) {
    let stub = Stub::restart(Config::default(), Store::simulated(LATENCY).unwrap());
    let mut agent = RawAgent::ready(&stub.network(), hello("agent"), 1).await;
    let id = stub.submit(workload("w"));
    let assign = agent.take().await;
    stub.server().settled().await;
    (stub, agent, assign, id)
}

/// One line, which is being written; a moment later all the rest, which has to wait for that. Returns when the rest came.
async fn end(agent: &RawAgent, assign: &pb::Assign) -> Instant {
    agent.say(step(assign, 2, pb::StepState::Running, None)).await;
    agent.say(log(assign, 3, 0, &["one"])).await;
    tokio::time::sleep(LATENCY / 2).await;
    agent.say(log_end(assign, 4, 1, 3)).await;
    agent.say(step(assign, 5, pb::StepState::Success, Some(0))).await;
    agent.say(finished(assign, 6, pb::WorkflowState::Success)).await;
    Instant::now()
}

#[tokio::test(start_paused = true)]
async fn who_follows_is_woken_for_what_came_while_something_else_was_written() {
    let (stub, agent, assign, id) = running().await;
    let mut follow = stub.server().follow(id.as_str(), None, 0, true).unwrap();
    let told = tokio::spawn(async move {
        let mut lines = Vec::new();
        while let Some(news) = follow.next().await.unwrap() {
            if let News::Line { line, .. } = news {
                lines.push(line.bytes);
            }
        }
        lines
    });
    tokio::time::sleep(LATENCY).await;
    stub.submit(workload("other"));
    tokio::time::sleep(LATENCY / 4).await;
    agent.say(step(&assign, 2, pb::StepState::Running, None)).await;
    agent.say(log(&assign, 3, 0, &["one"])).await;
    agent.say(log_end(&assign, 4, 1, 3)).await;
    agent.say(step(&assign, 5, pb::StepState::Success, Some(0))).await;
    agent.say(finished(&assign, 6, pb::WorkflowState::Success)).await;
    assert_eq!(within(told).await.unwrap(), ["one"]);
}

#[tokio::test(start_paused = true)]
async fn a_follower_hears_of_an_end_when_it_is_stored() {
    let (stub, agent, assign, id) = running().await;
    let mut follow = stub.server().follow(id.as_str(), None, 0, true).unwrap();
    let told = tokio::spawn(async move {
        let mut told = Vec::new();
        while let Some(news) = follow.next().await.unwrap() {
            told.push((news, Instant::now()));
        }
        told
    });
    let came = end(&agent, &assign).await;
    let told = within(told).await.unwrap();
    let mut ends = 0;
    for (news, at) in told {
        let is_end = match news {
            News::End(_) => true,
            News::Step(step) => step.state.is_final(),
            News::Line { .. } | News::Anew { .. } => false,
        };
        if is_end {
            // The write before it takes one second more, and its own takes two.
            assert!(at - came >= Duration::from_secs(3), "told after {:?}", at - came);
            ends += 1;
        }
    }
    assert_eq!(ends, 2);
}

#[tokio::test(start_paused = true)]
async fn every_answer_of_the_api_waits_for_what_it_tells() {
    for path in ["", "/events?lines=false", "/events", "/log", "/steps/build/log?follow=false", "/steps/build/log", "?"]
    {
        let (stub, agent, assign, id) = running().await;
        let came = end(&agent, &assign).await;
        // The line is stored meanwhile, and what came after it isn't.
        tokio::time::sleep(LATENCY * 3 / 4).await;
        let path = if path == "?" { "/api/workflows".to_owned() } else { format!("/api/workflows/{id}{path}") };
        let (status, text) = within(text(call(&stub, get(&path)).await)).await;
        assert_eq!(status, StatusCode::OK, "{path}: {text}");
        let told = if path.ends_with("build/log") { "\"is_last\":true" } else { "success" };
        assert!(text.contains(told), "{path}: {text}");
        let waited = came.elapsed();
        assert!((Duration::from_secs(3)..Duration::from_secs(4)).contains(&waited), "{path}: told after {waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn that_a_cancel_came_too_late_is_told_when_the_end_is_stored() {
    let (stub, agent, assign, id) = running().await;
    let came = end(&agent, &assign).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    let (status, error) = json_of(call(&stub, post(&format!("/api/workflows/{id}/cancel"), "{}")).await).await;
    assert_eq!((status, error["code"].as_str()), (StatusCode::CONFLICT, Some("workflow-over")));
    assert!(came.elapsed() >= Duration::from_secs(3), "told after {:?}", came.elapsed());
}

#[tokio::test(start_paused = true)]
async fn with_a_broken_disk_readers_get_what_was_stored_last_or_a_sentence() {
    let stub = Stub::restart(Config::default(), Store::simulated(FOR_EVER).unwrap());
    let stored = stub.submit(workload("stored"));
    stub.server().settled().await;
    let lost = stub.submit(workload("lost"));
    let start = Instant::now();
    for path in ["", "/log", "/steps/build/log"] {
        let (status, _) = within(text(call(&stub, get(&format!("/api/workflows/{stored}{path}"))).await)).await;
        assert_eq!(status, StatusCode::OK, "{path}");
    }
    assert_eq!(start.elapsed().as_secs(), 0, "nothing has changed there");
    let path = format!("/api/workflows/{lost}");
    for path in [&path, &format!("{path}/log"), "/api/workflows"] {
        let start = Instant::now();
        let (status, error) = within(json_of(call(&stub, get(path)).await)).await;
        assert_eq!((status, error["code"].as_str()), (StatusCode::SERVICE_UNAVAILABLE, Some("not-stored")), "{path}");
        assert_eq!(start.elapsed().as_secs(), 20, "{path}");
    }
    // A stream says that it lives, and goes on when the disk does.
    let mut events = call(&stub, get(&format!("{path}/events"))).await;
    let frame = within(events.body_mut().frame()).await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), ": ping\n\n");
}

#[tokio::test(start_paused = true)]
async fn a_log_that_could_not_be_told_to_its_end_does_not_look_whole() {
    const LINES: usize = 1200;
    // Somebody who doesn't follow waits for less.
    let stub = Stub::restart(Config::default(), Store::simulated(Duration::from_secs(25)).unwrap());
    let mut agent = RawAgent::ready(&stub.network(), hello("agent"), 1).await;
    let id = stub.submit(workload("w"));
    let assign = agent.take().await;
    agent.say(step(&assign, 2, pb::StepState::Running, None)).await;
    agent.say(log(&assign, 3, 0, &["x"; LINES])).await;
    while agent.ack().await.2 < 3 {}
    let path = format!("/api/workflows/{id}/steps/build/log?follow=false");
    let mut body = call(&stub, get(&path)).await.into_body();
    let mut told = 0;
    let lines = |piece: &[u8]| piece.iter().filter(|&&byte| byte == b'\n').count();
    told += lines(&within(body.frame()).await.unwrap().unwrap().into_data().unwrap());
    // Between two pieces something happens.
    agent.say(log_end(&assign, 4, LINES as u64, LINES as u64)).await;
    agent.say(step(&assign, 5, pb::StepState::Success, Some(0))).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let error = loop {
        match within(body.frame()).await {
            Some(Ok(frame)) => told += lines(&frame.into_data().unwrap()),
            Some(Err(error)) => break error,
            None => panic!("it ended as if that were all"),
        }
    };
    assert!(told < LINES);
    let error = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(error, "what happened last is not stored yet, and is told when it is; the server tries again and again");
}

/// A workflow that ended having printed many lines; the server keeps one that is over.
async fn over(store: Store, lines: usize) -> (Stub, WorkflowId) {
    let limits = Limits { finished_workflows: 1, ..Limits::default() };
    let stub = Stub::restart(Config { limits, ..Config::default() }, store);
    let mut agent = RawAgent::ready(&stub.network(), hello("agent"), 1).await;
    let id = stub.submit(workload("w"));
    let assign = agent.take().await;
    agent.say(step(&assign, 2, pb::StepState::Running, None)).await;
    agent.say(log(&assign, 3, 0, &vec!["x"; lines])).await;
    agent.say(log_end(&assign, 4, lines as u64, lines as u64)).await;
    agent.say(step(&assign, 5, pb::StepState::Success, Some(0))).await;
    agent.say(finished(&assign, 6, pb::WorkflowState::Success)).await;
    until(|| stub.workflow(&id).state.is_final()).await;
    (stub, id)
}

/// Another one ends, and the first makes room for it.
fn forget(stub: &Stub) {
    let other = stub.submit(workload("other"));
    stub.server().cancel(&other, Stop { reason: "asked".to_owned(), grace: None }).unwrap();
    assert_eq!(stub.server().workflows().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_log_that_begins_anew_while_it_is_downloaded_does_not_look_whole() {
    const LINES: usize = 1200;
    for lines_of_the_new_round in [0, LINES] {
        let stub = Stub::start(Config::default());
        let mut agent = RawAgent::ready(&stub.network(), hello("old"), 1).await;
        let id = stub.submit(workload("w"));
        let assign = agent.take().await;
        agent.say(log(&assign, 2, 0, &["old"; LINES])).await;
        while agent.ack().await.2 < 2 {}
        let mut body = call(&stub, get(&format!("/api/workflows/{id}/steps/build/log.txt"))).await.into_body();
        within(body.frame()).await.unwrap().unwrap();
        stub.server().lose_cluster("cluster-of-old").unwrap();
        let mut agent = RawAgent::ready(&stub.network(), hello("new"), 1).await;
        let assign = agent.take().await;
        agent.say(log(&assign, 2, 0, &vec!["new"; lines_of_the_new_round])).await;
        while agent.ack().await.2 < 2 {}
        let error = within(body.collect()).await.expect_err("it ended as if that were all");
        let error = std::error::Error::source(&error).unwrap().to_string();
        assert!(error.starts_with("the workflow began anew"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_is_downloaded_as_it_is_in_the_round_that_is_stored() {
    let (stub, agent, assign, id) = running().await;
    agent.say(log(&assign, 2, 0, &["old"; 1200])).await;
    tokio::time::sleep(LATENCY * 2).await;
    stub.server().lose_cluster("cluster-of-agent").unwrap();
    let start = Instant::now();
    let (status, text) =
        within(text(call(&stub, get(&format!("/api/workflows/{id}/steps/build/log.txt"))).await)).await;
    assert_eq!((status, text.as_str(), start.elapsed()), (StatusCode::OK, "", LATENCY));
}

#[tokio::test(start_paused = true)]
async fn a_workflow_that_is_forgotten_while_it_is_told_does_not_look_whole() {
    const LINES: usize = 1200;
    for follow in ["true", "false"] {
        let (stub, id) = over(Store::in_memory().unwrap(), LINES).await;
        let path = format!("/api/workflows/{id}/log?follow={follow}");
        let mut body = call(&stub, get(&path)).await.into_body();
        within(body.frame()).await.unwrap().unwrap();
        forget(&stub);
        let error = within(body.collect()).await.expect_err("it ended as if that were all");
        let error = std::error::Error::source(&error).unwrap().to_string();
        assert!(error.starts_with("the workflow was forgotten before all of it was told"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_workflow_that_is_forgotten_while_it_is_looked_up_does_not_look_whole() {
    let (stub, id) = over(Store::simulated(LATENCY).unwrap(), 1).await;
    let mut follow = stub.server().follow(id.as_str(), None, 0, true).unwrap();
    let told = tokio::spawn(async move { follow.next().await });
    // It waits until the end is stored.
    tokio::time::sleep(Duration::from_millis(1)).await;
    forget(&stub);
    let told = within(told).await.unwrap();
    assert!(matches!(told, Err(FollowError::Forgotten)), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_list_waits_for_what_it_tells_and_for_nothing_else() {
    let stub = Stub::restart(Config::default(), Store::simulated(Duration::from_secs(45)).unwrap());
    stub.submit(workload("stored"));
    let token = stub.server().create_token("a".to_owned(), String::new());
    let secret = token.token.expose().to_owned();
    // An agent of the cluster comes, and goes, so that the cluster is known.
    drop(crate::agent::call(&stub.network(), Some(&secret), vec![Said::Hello(hello("agent"))]).await.unwrap());
    stub.server().settled().await;
    let seconds = async |path: &str| {
        let start = Instant::now();
        let (status, error) = within(json_of(call(&stub, get(path)).await)).await;
        (start.elapsed().as_secs(), status, error["message"].as_str().unwrap_or_default().to_owned())
    };
    let told = (0, StatusCode::OK, String::new());
    let waited = (
        20,
        StatusCode::SERVICE_UNAVAILABLE,
        "what changed here last could not be stored for 20 s, and nobody is told of it before; the server goes on trying"
            .to_owned(),
    );
    // Another agent is waiting for the disk.
    let network = stub.network();
    let other = pb::Hello { cluster: hello("agent").cluster, ..hello("other") };
    tokio::spawn(async move { crate::agent::call(&network, Some(&secret), vec![Said::Hello(other)]).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!stub.server().is_settled());
    for path in ["/api/workflows", "/api/tokens", "/api/clusters"] {
        assert_eq!(seconds(path).await, told, "{path}: nothing changed there");
    }
    stub.submit(workload("lost"));
    for path in ["/api/workflows?name=stored", "/api/tokens", "/api/clusters"] {
        assert_eq!(seconds(path).await, told, "{path}: nothing changed there");
    }
    assert_eq!(seconds("/api/workflows").await, waited);
    stub.server().set_cluster_intake("a", Intake::Closed).unwrap();
    assert_eq!(seconds("/api/clusters").await, waited);
    stub.server().revoke_token(&token.id).unwrap();
    assert_eq!(seconds("/api/tokens").await, waited);
    assert_eq!(seconds("/api/agents").await, told, "agents are shown as they are at the moment");
}

#[tokio::test(start_paused = true)]
async fn that_a_workflow_left_the_state_that_is_asked_for_is_told_when_it_is_stored() {
    let stub = Stub::restart(Config::default(), Store::simulated(FOR_EVER).unwrap());
    let id = stub.submit(workload("cancelled"));
    stub.submit(workload("stored"));
    stub.server().settled().await;
    stub.server().cancel(&id, Stop { reason: "asked".to_owned(), grace: None }).unwrap();
    let not_stored = (20, StatusCode::SERVICE_UNAVAILABLE, None);
    for (query, expected) in [
        ("state=pending", not_stored),
        ("state=pending&limit=1", not_stored),
        ("state=pending&state=running&name=cancel", not_stored),
        ("state=pending&name=stored", (0, StatusCode::OK, Some(1))),
        ("state=pending&after=1", (0, StatusCode::OK, Some(1))),
    ] {
        let start = Instant::now();
        let (status, list) = within(json_of(call(&stub, get(&format!("/api/workflows?{query}"))).await)).await;
        let told = list["workflows"].as_array().map(Vec::len);
        assert_eq!((start.elapsed().as_secs(), status, told), expected, "{query}: {list}");
    }

    let (stub, agent, assign, _) = running().await;
    let came = end(&agent, &assign).await;
    tokio::time::sleep(LATENCY * 3 / 4).await;
    let (_, list) = within(json_of(call(&stub, get("/api/workflows?state=running")).await)).await;
    assert_eq!(list["workflows"], serde_json::json!([]));
    assert!(came.elapsed() >= Duration::from_secs(3), "told after {:?}", came.elapsed());
}
