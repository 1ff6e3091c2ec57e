//! The HTTP API.

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use axum::response::Response;
use http_body_util::BodyExt;
use piculet_core::secret::Secret;
use piculet_proto::v1 as pb;
use serde_json::{Value, json};
use server_stub::server::Config;
use server_stub::stub::Stub;
use tower::ServiceExt;

use crate::agent::{RawAgent, finished, hello, labelled, log, log_bytes, log_end, step, workload};

const SEC_FETCH_SITE: header::HeaderName = header::HeaderName::from_static("sec-fetch-site");

/// Calls the API without a socket.
pub(crate) async fn call(stub: &Stub, request: Request<Body>) -> Response {
    stub.server().api().oneshot(request).await.expect("the API always answers")
}

pub(crate) async fn text(response: Response) -> (StatusCode, String) {
    let status = response.status();
    let body = response.into_body().collect().await.expect("the body is whole").to_bytes();
    (status, String::from_utf8(body.to_vec()).expect("the body is UTF-8"))
}

pub(crate) async fn json_of(response: Response) -> (StatusCode, Value) {
    let (status, text) = text(response).await;
    (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}")))
}

pub(crate) fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

pub(crate) fn post(path: &str, body: impl ToString) -> Request<Body> {
    let request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
    request.body(Body::from(body.to_string())).unwrap()
}

fn pipeline(text: &str) -> Value {
    json!({ "files": [{ "name": ".woodpecker/test.yaml", "text": text }] })
}

const FILE: &str = "labels: {region: eu}\nskip_clone: true\nsteps:\n  - name: build it\n    image: alpine\n    commands: [make]\n    environment: {TOKEN: {from_secret: token}}\n";

#[tokio::test(start_paused = true)]
async fn a_pipeline_is_submitted_run_and_shown_without_its_secrets() {
    let stub = Stub::start(Config::default());
    let mut body = pipeline(FILE);
    body["context"] = json!({ "event": "push", "branch": "main", "secrets": { "token": "canary-1234" } });
    let mut spec = serde_json::to_value(workload("raw")).unwrap();
    spec["secrets"] = json!(["canary-1234"]);
    spec["stages"][0]["steps"][0]["secret_environment"] = json!({ "PASSWORD": "canary-1234" });
    spec["stages"][0]["steps"][0]["commands"] = json!(["echo canary-1234"]);
    body["workloads"] = json!([spec]);
    let (status, submitted) = json_of(call(&stub, post("/api/workflows", &body)).await).await;
    assert_eq!(status, StatusCode::CREATED, "{submitted}");
    assert_eq!(
        (&submitted["workflows"][0]["name"], &submitted["workflows"][1]["name"]),
        (&json!("test"), &json!("raw"))
    );
    assert_eq!((&submitted["workflows"][0]["number"], &submitted["workflows"][1]["number"]), (&json!(1), &json!(2)));

    let mut agent = RawAgent::ready(&stub.network(), labelled(hello("agent"), &[("region", "*")]), 1).await;
    let assign = agent.assign().await;
    let sent = &assign.workload.as_ref().unwrap().stages[0].steps[0];
    assert_eq!(sent.secret_environment["TOKEN"], "canary-1234", "the agent gets it");
    agent.accept(&assign).await;
    agent.say(step(&assign, 2, pb::StepState::Failure, Some(7))).await;
    agent.say(finished(&assign, 3, pb::WorkflowState::Failure)).await;
    stub.server().ended(&piculet_core::id::WorkflowId::new(assign.workflow_id.as_str())).await;

    let mut seen = submitted.to_string();
    for path in ["/api/workflows", "/api/workflows/1", "/api/workflows/raw", "/api/agents", "/api/workflows/1/log"] {
        let (status, text) = text(call(&stub, get(path)).await).await;
        assert_eq!(status, StatusCode::OK, "{path}: {text}");
        seen.push_str(&text);
    }
    assert!(!seen.contains("canary-1234"), "{seen}");
    let (_, shown) = json_of(call(&stub, get("/api/workflows/test")).await).await;
    assert_eq!((&shown["state"], &shown["steps"][0]["exit_code"]), (&json!("failure"), &json!(7)));
    assert_eq!((&shown["steps"][0]["name"], &shown["agent"]), (&json!("build it"), &json!("agent")));
}

#[tokio::test(start_paused = true)]
async fn errors_have_a_status_a_code_and_a_sentence() {
    let stub = Stub::start(Config::default());
    stub.submit(workload("w"));
    let form = Request::post("/api/workflows").body(Body::from("a=b")).unwrap();
    let no_stage = json!({ "workloads": [{ "name": "w", "stages": [] }] });
    let large = format!("{{\"files\": \"{}\"}}", "x".repeat(33 << 20));
    for (request, status, code, words) in [
        (get("/api/nothing"), 404, "no-such-call", "there is nothing at /api/nothing"),
        (post("/api/agents", "{}"), 405, "wrong-method", "/api/agents can't be called with POST"),
        (get("/api/workflows/nobody"), 404, "workflow-unknown", "there is no workflow 'nobody'"),
        (get("/api/workflows/1/steps/x/log"), 404, "step-unknown", "the workflow 'w' has no step 'x'"),
        (get("/api/workflows/1/log?from=1"), 400, "query-invalid", "unknown field `from`"),
        (get("/api/workflows/1/steps/build/log?form=1"), 400, "query-invalid", "unknown field `form`"),
        (post("/api/workflows/nobody/cancel", ""), 404, "workflow-unknown", "there is no workflow"),
        (post("/api/agents/nobody/drain", ""), 404, "agent-unknown", "there is no agent 'nobody'"),
        (form, 415, "not-json", "content-type: application/json"),
        (post("/api/workflows", "{"), 400, "body-invalid", "the body is no JSON: it breaks at line 1 column 1"),
        (post("/api/workflows", json!({ "fils": [] })), 400, "body-invalid", "unknown field `fils`"),
        (post("/api/workflows", json!({ "context": "hunter2" })), 400, "body-invalid", "wrong type at line 1 column"),
        (post("/api/workflows", large), 413, "body-too-large", "limit"),
        (post("/api/workflows", json!({})), 400, "nothing-to-run", "there is nothing to run"),
        (post("/api/workflows", no_stage), 400, "workload-invalid", "workload-no-stages"),
        (post("/api/workflows", pipeline("steps: [")), 400, "pipeline-invalid", ".woodpecker/test.yaml:1:"),
    ] {
        let line = format!("{} {}", request.method(), request.uri());
        let (seen, error) = json_of(call(&stub, request).await).await;
        assert_eq!((seen.as_u16(), error["code"].as_str()), (status, Some(code)), "{line}: {error}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(words), "{line}: {message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
    assert_eq!(stub.server().workflows().len(), 1, "nothing was submitted");
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_a_file_is_told_with_its_place() {
    let stub = Stub::start(Config::default());
    let text = "steps:\n  - name: one\n    image: [1]\n    commands: [true]\n";
    let (_, error) = json_of(call(&stub, post("/api/workflows", pipeline(text))).await).await;
    let told = error["diagnostics"].as_array().unwrap();
    let wrong = told.iter().find(|told| told["code"] == "wrong-type").unwrap_or_else(|| panic!("{error}"));
    assert_eq!((&wrong["file"], &wrong["line"]), (&json!(".woodpecker/test.yaml"), &json!(3)), "{error}");
    // Unknown keys warn.
    let text = "nonsense: 1\nskip_clone: true\nsteps:\n  - {name: one, image: alpine, commands: [make]}\n";
    let (status, submitted) = json_of(call(&stub, post("/api/workflows", pipeline(text))).await).await;
    assert_eq!(status, StatusCode::CREATED, "{submitted}");
    let is_warning = |told: &Value| told["severity"] == "warning";
    assert!(submitted["warnings"].as_array().unwrap().iter().all(is_warning), "{submitted}");
    assert!(submitted["warnings_text"].as_str().unwrap().contains("nonsense"), "{submitted}");
}

#[tokio::test(start_paused = true)]
async fn logs_come_in_pages() {
    let stub = Stub::start(Config::default());
    let mut agent = RawAgent::ready(&stub.network(), hello("agent"), 1).await;
    let id = stub.submit(workload("w"));
    let assign = agent.take().await;
    agent.say(log(&assign, 2, 0, &["zero", "one"])).await;
    agent.say(log_bytes(&assign, 3, 2, &[b"t\xffwo", b"three"])).await;
    while agent.ack().await.2 < 3 {}
    let page = |query: &str| get(&format!("/api/workflows/{id}/steps/build%20it/log?{query}"));
    let (_, first) = json_of(call(&stub, page("count=3")).await).await;
    assert_eq!((&first["next"], &first["is_last"], &first["complaint"]), (&json!(3), &json!(false), &Value::Null));
    assert_eq!(first["lines"][1]["text"], "one");
    assert_eq!((&first["lines"][2]["text"], &first["lines"][2]["lossy"]), (&json!("t\u{fffd}wo"), &json!(true)));
    assert!(first["lines"][0].get("lossy").is_none());
    agent.say(log_end(&assign, 4, 6, 99)).await;
    agent.ack().await;
    let (_, rest) = json_of(call(&stub, page("from=3")).await).await;
    assert_eq!((&rest["lines"][0]["text"], &rest["is_last"]), (&json!("three"), &json!(true)));
    assert_eq!(rest["complaint"], "2 lines of this log never came from the agent.");
}

#[tokio::test(start_paused = true)]
async fn logs_are_followed_until_the_end() {
    let stub = Stub::start(Config::default());
    let mut agent = RawAgent::ready(&stub.network(), hello("agent"), 1).await;
    stub.submit(workload("w"));
    let whole = call(&stub, get("/api/workflows/w/log?follow=true")).await;
    let one = call(&stub, get("/api/workflows/w/steps/build/log?follow=true&from=1")).await;
    assert_eq!(whole.headers()[header::CONTENT_TYPE], "application/x-ndjson");
    let (whole, one) = (tokio::spawn(text(whole)), tokio::spawn(text(one)));
    let assign = agent.take().await;
    agent.say(step(&assign, 2, pb::StepState::Running, None)).await;
    agent.say(log(&assign, 3, 0, &["one", "two"])).await;
    // Acknowledgements coalesce.
    while agent.ack().await.2 < 3 {}
    // The followers see the beginning before the end.
    agent.hears_nothing().await;
    agent.say(step(&assign, 4, pb::StepState::Failure, Some(3))).await;
    agent.say(log(&assign, 5, 2, &["three"])).await;
    agent.say(log_end(&assign, 6, 3, 11)).await;
    agent.say(finished(&assign, 7, pb::WorkflowState::Failure)).await;
    let events = |text: String| -> Vec<String> {
        let summary = |line: &str| {
            let event: Value = serde_json::from_str(line).unwrap();
            match event.as_object().and_then(|event| event.iter().next()) {
                Some((kind, event)) if kind == "line" => event["text"].as_str().unwrap().to_owned(),
                Some((kind, event)) => format!("{kind} {}", event["state"].as_str().unwrap()),
                None => panic!("{line}"),
            }
        };
        text.lines().map(summary).collect()
    };
    let (_, whole) = whole.await.unwrap();
    // The end of a step comes after its last line, though the agent told it before.
    let expected = ["step pending", "step running", "one", "two", "three", "step failure", "end failure"];
    assert_eq!(events(whole), expected);
    let (_, one) = one.await.unwrap();
    assert_eq!(events(one), ["step pending", "step running", "two", "three", "step failure", "end failure"]);
    // Afterwards the same is told at once.
    let (_, again) = text(call(&stub, get("/api/workflows/w/log")).await).await;
    assert_eq!(events(again), ["one", "two", "three", "step failure", "end failure"]);
}

#[tokio::test(start_paused = true)]
async fn a_workflow_is_cancelled_once() {
    let stub = Stub::start(Config::default());
    stub.submit(workload("w"));
    let body = json!({ "reason": "it takes too long" });
    let (status, view) = json_of(call(&stub, post("/api/workflows/1/cancel", body)).await).await;
    assert_eq!(
        (status.as_u16(), &view["state"], &view["error"]),
        (200, &json!("canceled"), &json!("it takes too long"))
    );
    let (status, error) = json_of(call(&stub, post("/api/workflows/1/cancel", "")).await).await;
    assert_eq!((status.as_u16(), &error["code"]), (409, &json!("workflow-over")));
}

#[tokio::test(start_paused = true)]
async fn agents_are_listed_and_drained() {
    let stub = Stub::start(Config::default());
    let mut agent = RawAgent::ready(&stub.network(), hello("agent"), 1).await;
    let (status, list) = json_of(call(&stub, post("/api/agents/agent/drain", "")).await).await;
    assert_eq!((status.as_u16(), &list["agents"][0]["state"]), (200, &json!("draining")));
    assert!(matches!(agent.hear().await, pb::server_message::Message::Drain(_)));
    // It stays so over a new session.
    let mut agent = RawAgent::ready(&stub.network(), hello("agent"), 1).await;
    assert!(matches!(agent.hear().await, pb::server_message::Message::Drain(_)));
    let (_, list) = json_of(call(&stub, post("/api/agents/agent/resume", "")).await).await;
    assert_eq!(list["agents"][0]["state"], "connected");
    assert!(matches!(agent.hear().await, pb::server_message::Message::Resume(_)));
}

#[tokio::test(start_paused = true)]
async fn only_the_invited_may_call() {
    let with = |request: Request<Body>, name: header::HeaderName, value: &'static str| {
        let (mut parts, body) = request.into_parts();
        parts.headers.insert(name, header::HeaderValue::from_static(value));
        Request::from_parts(parts, body)
    };
    let open = Stub::start(Config::default());
    let closed = Stub::start(Config { api_token: Some(Secret::new("s3cret")), ..Config::default() });
    for (stub, request, status) in [
        (&open, get("/api/agents"), 200),
        (&open, with(get("/api/agents"), header::HOST, "localhost:9080"), 200),
        (&open, with(get("/api/agents"), header::HOST, "evil.example"), 403),
        (&open, with(get("/api/agents"), header::ORIGIN, "http://127.0.0.1:3000"), 200),
        (&open, with(get("/api/agents"), SEC_FETCH_SITE, "none"), 200),
        (&open, with(get("/api/agents"), SEC_FETCH_SITE, "cross-site"), 403),
        (&closed, get("/api/agents"), 401),
        (&closed, get("/api/nothing"), 401),
        (&closed, with(get("/api/agents"), header::AUTHORIZATION, "Bearer wrong"), 401),
        (&closed, with(get("/api/agents"), header::AUTHORIZATION, "Bearer s3cret"), 200),
        (&closed, with(with(get("/api/agents"), header::AUTHORIZATION, "Bearer s3cret"), header::ORIGIN, "null"), 200),
    ] {
        let line = format!("{request:?}");
        assert_eq!(call(stub, request).await.status().as_u16(), status, "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_web_page_of_elsewhere_stops_anything() {
    let stub = Stub::start(Config::default());
    let _agent = RawAgent::ready(&stub.network(), hello("agent"), 0).await;
    stub.submit(workload("w"));
    for path in ["/api/workflows/1/cancel", "/api/agents/agent/drain", "/api/agents/agent/resume"] {
        for origin in ["https://evil.example", "null"] {
            let page = Request::post(path).header(header::HOST, "127.0.0.1:9080").header(header::ORIGIN, origin);
            let (status, error) = json_of(call(&stub, page.body(Body::empty()).unwrap()).await).await;
            assert_eq!((status.as_u16(), &error["code"]), (403, &json!("origin-refused")), "{path}, {origin}");
        }
    }
    assert_eq!(stub.server().workflows()[0].state.as_str(), "pending");
    let (_, list) = json_of(call(&stub, get("/api/agents")).await).await;
    assert_eq!(list["agents"][0]["state"], "connected");
}
