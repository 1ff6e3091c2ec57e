//! A server that asks for a token.

use std::fs;

use serde_json::json;

use crate::browser::Browser;
use crate::site::{Site, step, workflow};

#[tokio::test]
async fn the_page_asks_for_it_and_keeps_it_for_the_tab() {
    let Some(browser) = Browser::start().await else { return };
    let site = Site::start(Some("s3cret")).await;
    let mut agent = site.agent("berlin-1", "berlin", 4, &[]).await;
    site.stub.submit(workflow("release", &[], vec![vec![step("build")]]));
    let mut run = site.run(&mut agent).await;
    run.starts(&agent, "build", 0).await;
    run.prints(&agent, "build", ["one", "two"]).await;
    run.settle(&mut agent).await;
    browser.open(&site.at("workflows/1/steps/build/log")).await;
    browser.sees("h1", "This server asks for a token").await;
    assert_eq!(browser.eval("document.body.innerText.includes('release')").await, json!(false));
    browser.picture("token").await;

    browser.type_into("#token", "wrong\u{e007}").await;
    browser.sees("[role=alert]", "The server does not accept this token").await;
    browser.type_into("#token", "s3cret\u{e007}").await;
    // It was this log that somebody wanted.
    browser.sees(".line", "two").await;
    run.prints(&agent, "build", ["three"]).await;
    run.settle(&mut agent).await;
    browser.sees(".line", "three").await;

    // A download needs it too.
    browser.click("#download").await;
    let path = browser.downloads.path().join("1-build.log");
    while !fs::exists(&path).unwrap() {
        browser.run("return 1;").await;
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\nthree\n");

    // It outlives a reload, is nowhere else, and is forgotten on request.
    browser.open(&site.address).await;
    browser.sees("#running", "release").await;
    assert_eq!(
        browser.eval("JSON.stringify(localStorage).includes('s3cret') || document.cookie !== ''").await,
        json!(false)
    );
    browser.click("#forget").await;
    browser.sees("h1", "This server asks for a token").await;
    assert_eq!(browser.eval("sessionStorage.length").await, json!(0));
    let console = browser.console().await;
    assert!(console.iter().all(|message| message.contains("401")), "{console:?}");
}
