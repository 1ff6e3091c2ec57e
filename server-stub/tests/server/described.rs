//! The API is what its description says.

use axum::body::Body;
use axum::http::{Method, Request};
use jsonschema::Validator;
use piculet_proto::v1 as pb;
use serde_json::{Value, json};
use server_stub::server::Config;
use server_stub::stub::Stub;

use crate::agent::{RawAgent, finished, hello, labelled, log_bytes, log_end, step, wanting, workload};
use crate::api::{call, get, json_of, post, text};

async fn document(stub: &Stub) -> Value {
    json_of(call(stub, get("/api/openapi.json")).await).await.1
}

/// An object has no more than its schema says: else a forgotten field would pass.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            object.values_mut().for_each(close);
            if object.get("properties").is_some_and(Value::is_object) && object.get("type") == Some(&json!("object")) {
                object.entry("additionalProperties").or_insert(json!(false));
            }
        }
        Value::Array(values) => values.iter_mut().for_each(close),
        _ => {}
    }
}

/// Validates by a schema of the document.
fn validator(document: &Value, schema: &Value) -> Validator {
    let mut root = json!({ "components": document["components"], "allOf": [schema] });
    close(&mut root["components"]);
    jsonschema::draft202012::new(&root).expect("the schema is valid")
}

fn by_name(document: &Value, name: &str) -> Validator {
    validator(document, &json!({ "$ref": format!("#/components/schemas/{name}") }))
}

fn check(validator: &Validator, value: &Value, what: &str) {
    let errors: Vec<_> =
        validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{what}: {errors:#?}\n{value:#}");
}

/// Makes a call and validates its JSON by what the document says of that call and status.
async fn checked(stub: &Stub, document: &Value, template: &str, request: Request<Body>) -> Value {
    let (method, path) = (request.method().as_str().to_lowercase(), request.uri().to_string());
    let (status, value) = json_of(call(stub, request).await).await;
    let responses = &document["paths"][template][&method]["responses"];
    let class = format!("{}XX", status.as_u16() / 100);
    let response = responses.get(status.as_str()).or_else(|| responses.get(&class));
    let response = response.unwrap_or_else(|| panic!("{method} {template} doesn't describe {status}"));
    let schema = &response["content"]["application/json"]["schema"];
    check(&validator(document, schema), &value, &format!("{method} {path}: {status}"));
    value
}

#[tokio::test(start_paused = true)]
async fn every_call_is_described() {
    let stub = Stub::start(Config::default());
    let document = document(&stub).await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    let mut described = Vec::new();
    for (path, calls) in document["paths"].as_object().unwrap() {
        for (method, description) in calls.as_object().unwrap() {
            described.push(format!("{} {path}", method.to_uppercase()));
            let summary = description["summary"].as_str().unwrap_or_default();
            assert!(!summary.is_empty(), "{method} {path} has no summary");
            let parameters = description["parameters"].as_array().cloned().unwrap_or_default();
            let undescribed =
                parameters.iter().find(|parameter| parameter["description"].as_str().is_none_or(str::is_empty));
            assert!(undescribed.is_none(), "{method} {path}: {undescribed:?}");
            // What is described is there: it answers, be it that there is no such workflow.
            let path = path.replace("{workflow}", "none").replace("{step}", "none").replace("{agent}", "none");
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let request = Request::builder().method(method).uri(&path).body(Body::empty()).unwrap();
            let (_, answer) = text(call(&stub, request).await).await;
            assert!(!answer.contains("no-such-call") && !answer.contains("wrong-method"), "{path}: {answer}");
        }
    }
    // The table at the top of the code has the same calls, and every route comes with its description.
    let code = include_str!("../../src/api.rs");
    let rows = code.lines().filter_map(|line| line.strip_prefix("//! | `")?.split(['`', '?']).next());
    let mut rows: Vec<_> = rows.map(str::to_owned).collect();
    rows.sort();
    described.sort();
    assert_eq!(rows, described);
    assert!(!code.contains(".route("), "use routes!(): it describes the call");
}

#[tokio::test(start_paused = true)]
async fn answers_are_as_described() {
    let stub = Stub::start(Config::default());
    let described = document(&stub).await;
    let mut agent = RawAgent::ready(&stub.network(), labelled(hello("agent"), &[("os", "linux")]), 1).await;
    let file = json!({ "files": [{ "name": "test.yaml", "text": "nonsense: 1\nskip_clone: true\nsteps:\n  - {name: one, image: alpine, commands: [make]}\n  - {name: two, image: alpine, commands: [make], when: {event: tag}}\n" }, { "name": "never.yaml", "text": "when: {event: tag}\nskip_clone: true\nsteps: [{name: one, image: alpine, commands: [make]}]\n" }] });
    let submitted = checked(&stub, &described, "/api/workflows", post("/api/workflows", &file)).await;
    assert!(
        !submitted["warnings"].as_array().unwrap().is_empty() && !submitted["filtered"].as_array().unwrap().is_empty()
    );
    check(&by_name(&described, "Submission"), &file, "what was submitted");
    let assign = agent.take().await;
    agent.say(step(&assign, 2, pb::StepState::Running, None)).await;
    agent.say(log_bytes(&assign, 3, 0, &[b"one", b"t\xffwo"])).await;
    while agent.ack().await.2 < 3 {}
    stub.submit(wanting("waits", &[("gpu", "yes")]));
    let list = checked(&stub, &described, "/api/workflows", get("/api/workflows?limit=1")).await;
    assert_eq!((list["workflows"][0]["state"].as_str(), &list["next"]), (Some("running"), &json!(1)));
    agent.say(log_end(&assign, 4, 5, 6)).await;
    agent.say(step(&assign, 5, pb::StepState::Failure, Some(7))).await;
    agent.say(finished(&assign, 6, pb::WorkflowState::Failure)).await;
    stub.ended(&piculet_core::id::WorkflowId::new(assign.workflow_id.as_str())).await;

    let (workflow, one) = ("/api/workflows/{workflow}", "/api/workflows/{workflow}/steps/{step}");
    for (template, request) in [
        (workflow.to_owned(), get("/api/workflows/1")),
        (workflow.to_owned(), get("/api/workflows/waits")),
        (workflow.to_owned(), get("/api/workflows/none")),
        (format!("{one}/log"), get("/api/workflows/1/steps/one/log")),
        (format!("{one}/log"), get("/api/workflows/1/steps/one/log?from=x")),
        (format!("{one}/log/search"), get("/api/workflows/1/steps/one/log/search?text=ONE")),
        (
            format!("{workflow}/cancel"),
            post("/api/workflows/waits/cancel", json!({ "reason": "r", "grace_seconds": 1 })),
        ),
        (format!("{workflow}/cancel"), post("/api/workflows/waits/cancel", "")),
        (
            "/api/workflows".to_owned(),
            post("/api/workflows", json!({ "files": [{ "name": "x.yaml", "text": "steps: 1" }] })),
        ),
        ("/api/agents".to_owned(), get("/api/agents")),
        ("/api/agents/{agent}/drain".to_owned(), post("/api/agents/agent/drain", "")),
        ("/api/agents/{agent}/resume".to_owned(), post("/api/agents/agent/resume", "")),
        ("/api/openapi.json".to_owned(), get("/api/openapi.json")),
    ] {
        checked(&stub, &described, &template, request).await;
    }

    let (_, stream) = text(call(&stub, get("/api/workflows/1/log")).await).await;
    let event = by_name(&described, "LogEvent");
    assert!(stream.lines().count() >= 4, "{stream}");
    stream.lines().for_each(|line| check(&event, &serde_json::from_str(line).unwrap(), "a line of a stream"));

    let (_, stream) = text(call(&stub, get("/api/workflows/1/events")).await).await;
    let mut seen = Vec::new();
    for block in stream.split("\n\n").filter(|block| !block.is_empty()) {
        let field = |key| block.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        let name = match field("event: ") {
            "line" => "LineView",
            "step" => "StepView",
            "workflow" => "StandingView",
            "end" => "EndView",
            other => panic!("nothing describes the event '{other}'"),
        };
        check(&by_name(&described, name), &serde_json::from_str(field("data: ")).unwrap(), name);
        seen.push(name);
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, ["EndView", "LineView", "StandingView", "StepView"]);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_answer_would_be_seen() {
    let stub = Stub::start(Config::default());
    let described = document(&stub).await;
    stub.submit(workload("w"));
    let (_, view) = json_of(call(&stub, get("/api/workflows/w")).await).await;
    let validator = by_name(&described, "WorkflowView");
    assert!(validator.is_valid(&view));
    let with = |key: &str, value: Value| {
        let mut view = view.clone();
        view[key] = value;
        view
    };
    let mut step = view.clone();
    step["steps"][0]["state"] = json!("gone");
    let mut short = view.clone();
    short.as_object_mut().unwrap().remove("place");
    for wrong in [with("colour", json!("red")), with("number", json!("1")), with("state", json!("gone")), step, short] {
        assert!(!validator.is_valid(&wrong), "{wrong:#}");
    }
}
