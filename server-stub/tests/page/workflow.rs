//! One workflow.

use piculet_core::workload::{StepKind, StepSpec};
use piculet_proto::v1 as pb;
use piculet_proto::v1::server_message::Message as Heard;
use serde_json::{Value, json};

use crate::browser::Browser;
use crate::site::{Site, service, step, workflow};

fn needing(name: &str, needs: &[&str]) -> StepSpec {
    StepSpec { needs: Some(needs.iter().map(|&need| need.to_owned()).collect()), ..step(name) }
}

#[tokio::test]
async fn its_steps_are_a_graph_and_a_time_line() {
    let Some(browser) = Browser::start().await else { return };
    let site = Site::start(None).await;
    let mut agent = site.agent("berlin-1", "berlin", 4, &[("region", "eu"), ("team", "web")]).await;
    let clone = StepSpec { kind: StepKind::Clone, ..step("clone") };
    let stages = vec![
        vec![clone, service("postgres")],
        vec![step("build"), step("lint"), step("unit tests")],
        vec![needing("package", &["build", "unit tests"]), needing("docs", &["clone"])],
        vec![step("deploy")],
    ];
    site.stub.submit(workflow("release", &[("region", "eu"), ("team", "web")], stages));
    let mut run = site.run(&mut agent).await;
    browser.open(&site.at("workflows/1")).await;
    browser.sees("h1", "release").await;
    run.ends(&agent, "clone", (-24, -21), 0, "").await;
    run.starts(&agent, "postgres", -24).await;
    run.ends(&agent, "build", (-21, -3), 0, "").await;
    run.ends(&agent, "lint", (-21, -15), 1, "The step ended with exit code 1.").await;
    run.starts(&agent, "unit tests", -21).await;
    run.settle(&mut agent).await;

    // The picture follows what happens.
    browser.sees("#graph a.node.failure", "lint").await;
    let nodes =
        "[...document.querySelectorAll('#graph a.node')].map((e) => e.getAttribute('aria-label').split(',')[0])";
    let expected = json!([
        "clone: success",
        "postgres: running",
        "build: success",
        "lint: failure",
        "unit tests: running",
        "package: pending",
        "docs: pending",
        "deploy: pending",
    ]);
    browser.until(&format!("{nodes}.join() === {expected}.join()")).await;
    // What waits for what, without what follows from the rest.
    let edges =
        "[...document.querySelectorAll('#graph path.edge')].map((e) => e.dataset.from + ' > ' + e.dataset.to).sort()";
    assert_eq!(
        browser.eval(edges).await,
        json!([
            "build > package",
            "clone > build",
            "clone > docs",
            "clone > lint",
            "clone > unit tests",
            "docs > deploy",
            "lint > deploy",
            "package > deploy",
            "postgres > build",
            "postgres > lint",
            "postgres > unit tests",
            "unit tests > package",
        ])
    );
    // Nodes stand in columns, from left to right.
    let left = async |name: &str| -> f64 {
        let node =
            format!("[...document.querySelectorAll('#graph a.node')].find((e) => e.textContent.includes('{name}: '))");
        browser.eval(&format!("{node}.querySelector('rect').getBoundingClientRect().left")).await.as_f64().unwrap()
    };
    let columns = [left("clone").await, left("build").await, left("package").await, left("deploy").await];
    assert!(columns.is_sorted_by(|a, b| a + 100.0 < *b), "{columns:?}");
    assert_eq!((left("postgres").await, left("docs").await), (columns[0], columns[1]));

    // No line crosses a step.
    let crossed = "(() => { const nodes = [...document.querySelectorAll('#graph .node rect')].map((e) => e.getBBox()); \
                   return [...document.querySelectorAll('#graph path.edge')].some((edge) => { \
                   for (let at = 2; at < edge.getTotalLength() - 2; at += 2) { const { x, y } = edge.getPointAtLength(at); \
                   if (nodes.some((node) => x > node.x + 1 && x < node.x + node.width - 1 && y > node.y && y < node.y + node.height)) \
                   return true; } return false; }); })()";
    assert_eq!(browser.eval(crossed).await, json!(false));

    // The bars are as long as the steps took, and the queue is there.
    let bar =
        |name: &str| format!("document.querySelector('#timeline rect[data-step=\"{name}\"]').getBoundingClientRect()");
    let ratio = browser.eval(&format!("{}.width / {}.width", bar("build"), bar("lint"))).await.as_f64().unwrap();
    assert!((2.9..3.1).contains(&ratio), "18 s beside 6 s: {ratio}");
    let begins = browser.eval(&format!("Math.abs({}.left - {}.right) < 1", bar("build"), bar("clone"))).await;
    assert_eq!(begins, json!(true), "one begins where the other ended");
    assert_eq!(browser.eval("document.querySelectorAll('#timeline rect.queue').length").await, json!(1));
    assert_eq!(browser.eval("document.querySelectorAll('#timeline rect[data-step]').length").await, json!(5));
    browser.sees("#steps td.remark", "exit code 1").await;
    browser.picture("workflow").await;

    browser.size(390, 844).await;
    browser.until("innerWidth === 390").await;
    assert_eq!(browser.eval("document.documentElement.scrollWidth").await, json!(390));
    browser.picture("workflow-phone").await;
    browser.size(1280, 900).await;

    // From a node to its log, and back.
    browser.click("#graph a.node.failure").await;
    browser.sees("h1", "lint").await;
    assert_eq!(browser.eval("location.hash").await, json!("#/workflows/1/steps/lint/log"));
    browser.click(".crumbs [data-key=up]").await;
    browser.sees("#graph", "deploy").await;
    assert_eq!(browser.console().await, [""; 0]);
}

#[tokio::test]
async fn it_is_cancelled_once_somebody_means_it() {
    let Some(browser) = Browser::start().await else { return };
    let site = Site::start(None).await;
    let mut agent = site.agent("berlin-1", "berlin", 4, &[]).await;
    site.stub.submit(workflow("release", &[], vec![vec![step("build")]]));
    let mut run = site.run(&mut agent).await;
    run.starts(&agent, "build", 0).await;
    run.settle(&mut agent).await;
    browser.open(&site.at("workflows/release")).await;
    browser.sees("#steps", "running").await;
    browser.click("#cancel").await;
    browser.sees("dialog[open] h2", "Cancel release #1?").await;
    browser.picture("cancel").await;
    browser.click("dialog .quiet").await;
    browser.until("!document.querySelector('dialog')").await;
    assert_eq!(site.stub.server().workflows()[0].stopping, "", "nobody meant it");

    // Who goes elsewhere leaves the question behind.
    browser.click("#cancel").await;
    browser.run("location.hash = '#/';").await;
    browser.sees("#running", "release").await;
    assert_eq!(browser.eval("document.querySelector('dialog')").await, Value::Null);
    browser.run("location.hash = '#/workflows/1';").await;
    browser.sees("#steps", "running").await;

    browser.click("#cancel").await;
    browser.type_into("#reason", "wrong branch").await;
    browser.click("#cancel-yes").await;
    let Heard::Cancel(cancel) = agent.hear().await else { panic!("the agent is told to stop") };
    assert_eq!((cancel.workflow_id, cancel.reason), (run.assign.workflow_id.clone(), "wrong branch".to_owned()));
    browser.sees("#head .note", "It is to be stopped: wrong branch").await;
    run.ends(&agent, "build", (0, 2), 143, "").await;
    run.finishes(&mut agent, pb::WorkflowState::Killed, "").await;
    browser.sees("#head .badge", "killed").await;
    browser.until("!document.querySelector('#cancel')").await;

    browser.open(&site.at("workflows/none")).await;
    browser.sees("h1", "There is no such workflow").await;
    browser.sees("main", "there is no workflow 'none'").await;
    let console = browser.console().await;
    assert!(console.iter().all(|message| message.contains("404")), "{console:?}");
}
