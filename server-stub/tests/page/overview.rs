//! The overview.

use piculet_proto::v1 as pb;
use serde_json::json;

use crate::browser::Browser;
use crate::site::{Site, service, step, workflow};

#[tokio::test]
async fn it_shows_clusters_queue_and_what_runs() {
    let Some(browser) = Browser::start().await else { return };
    let site = Site::start(None).await;
    browser.open(&site.address).await;
    browser.sees("#clusters", "No agent has connected yet").await;

    let mut agent = site.agent("berlin-1", "berlin", 4, &[("region", "eu")]).await;
    for (name, code) in [("docs", 0), ("nightly", 1), ("lint", 0)] {
        site.stub.submit(workflow(name, &[("region", "eu")], vec![vec![step("check")], vec![step("report")]]));
        let mut run = site.run(&mut agent).await;
        run.starts(&agent, "check", 0).await;
        run.ends(&agent, "check", (0, 8), code, "").await;
        run.ends(&agent, "report", (8, 9), 0, "").await;
        let state = if code == 0 { pb::WorkflowState::Success } else { pb::WorkflowState::Failure };
        let error = if code == 0 { "" } else { "The step 'check' failed with exit code 1." };
        run.finishes(&mut agent, state, error).await;
        agent.demand(4).await;
    }
    site.stub.submit(workflow(
        "release",
        &[("region", "eu")],
        vec![vec![step("build"), service("db")], vec![step("test")]],
    ));
    let mut run = site.run(&mut agent).await;
    run.starts(&agent, "db", 0).await;
    run.ends(&agent, "build", (0, 1), 0, "").await;
    run.starts(&agent, "test", 1).await;
    run.settle(&mut agent).await;
    let _far = site.agent("oslo-1", "oslo", 2, &[("gpu", "no")]).await;
    drop(site.agent("oslo-2", "oslo", 2, &[]).await);
    site.stub.submit(workflow("train", &[("gpu", "yes")], vec![vec![step("train")]]));

    // It finds all of that by itself.
    browser.sees("#queue", "train").await;
    browser.sees("#queue .reasons", "agent 'oslo-1'").await;
    browser.sees("#running", "release").await;
    browser.sees("#clusters", "berlin-1").await;
    browser
        .until("[...document.querySelectorAll('.cluster h3')].map((e) => e.textContent).join() === 'berlin,oslo'")
        .await;
    browser.sees(".agent", "away").await;
    let meter = "[...document.querySelectorAll('.agent')].find((e) => e.textContent.includes('berlin-1')).querySelector('.meter')";
    assert_eq!(browser.eval(&format!("{meter}.getAttribute('aria-label')")).await, json!("1 of 4 slots in use"));
    let width = format!("{meter}.firstChild.getBoundingClientRect().width / {meter}.getBoundingClientRect().width");
    let width = browser.eval(&width).await.as_f64().unwrap();
    assert!((0.2..0.3).contains(&width), "{width}");
    let recent = "[...document.querySelectorAll('#recent .title')].map((e) => e.textContent)";
    browser.until(&format!("{recent}.length === 3")).await;
    assert_eq!(browser.eval(recent).await, json!(["#3 lint", "#2 nightly", "#1 docs"]), "the newest first");
    browser.sees("#recent .error-line", "failed with exit code 1").await;
    site.stub.server().set_cluster_intake("oslo", server_stub::mailbox::Intake::Closed).unwrap();
    browser.sees(".cluster .badge", "draining").await;
    browser.picture("queue").await;

    // Only what somebody looks for.
    browser.type_into("input[type=search]", "NIGHT").await;
    browser.until(&format!("{recent}.join() === '#2 nightly'")).await;
    browser.run("const select = document.querySelector('select'); select.value = 'success'; select.dispatchEvent(new Event('change'));").await;
    browser.sees("#recent", "No workflow is like that.").await;

    // On a phone nothing is wider than the screen.
    browser.size(390, 844).await;
    browser.until("innerWidth === 390").await;
    assert_eq!(browser.eval("document.documentElement.scrollWidth").await, json!(390));
    browser.picture("queue-phone").await;
    browser.size(1280, 900).await;

    // By keyboard to a workflow.
    browser.run("document.querySelector('#queue .title').focus();").await;
    browser.click("#queue .title").await;
    browser.sees("h1", "train").await;
    browser.sees("#head .reasons", "agent 'oslo-1'").await;
    assert_eq!(browser.console().await, [""; 0]);
}
