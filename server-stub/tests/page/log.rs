//! Logs.

use std::fs;

use piculet_proto::v1 as pb;
use serde_json::{Value, json};

use crate::browser::Browser;
use crate::site::{Site, step, workflow};

/// The elements of lines that are in the document.
const DRAWN: &str = "document.querySelectorAll('.line').length";

fn text_of(line: u32) -> String {
    format!("document.querySelector('[data-line=\"{line}\"] .text')?.textContent")
}

#[tokio::test]
async fn it_grows_with_its_colours_and_is_searched_and_saved() {
    let Some(browser) = Browser::start().await else { return };
    let site = Site::start(None).await;
    let mut agent = site.agent("berlin-1", "berlin", 4, &[]).await;
    site.stub.submit(workflow("release", &[], vec![vec![step("build it")]]));
    let mut run = site.run(&mut agent).await;
    run.starts(&agent, "build it", 0).await;
    run.settle(&mut agent).await;
    browser.open(&site.at("workflows/1/steps/build%20it/log")).await;
    browser.sees("#log-empty", "Nothing was printed yet.").await;

    // It grows while the step prints.
    let first: [&[u8]; 10] = [
        b"\x1b[1m   Compiling\x1b[0m piculet v0.1.0",
        b"\x1b[31mred\x1b[0m plain \x1b[1;32mbold green\x1b[22;39m after",
        b"\x1b[38;5;208morange\x1b[0m \x1b[48;2;10;20;30;38:2::200:100:50mtrue\x1b[0m \x1b[4;9munder\x1b[0m",
        b"\x1b[33mwarning begins",
        b"and goes on\x1b[0m here",
        b"10%\r50%\rdone",
        b"downloading 12345\x1b[1G\x1b[0Ksaved",
        b"\x1b[7minverse\x1b[27m t\xff",
        b"\x1b]8;;https://example.org/report\x07a report\x1b]8;;\x07 and \x1b]8;;javascript:alert(1)\x07no link\x1b]8;;\x07",
        b"",
    ];
    run.prints(&agent, "build it", first).await;
    run.settle(&mut agent).await;
    browser.until(&format!("{} === 'red plain bold green after'", text_of(2))).await;
    let colour = async |line: u32, span: u32, property: &str| -> Value {
        let span = format!("document.querySelectorAll('[data-line=\"{line}\"] .text span')[{span}]");
        browser.eval(&format!("getComputedStyle({span}).{property}")).await
    };
    assert_eq!(colour(1, 0, "fontWeight").await, json!("700"));
    assert_eq!(colour(2, 0, "color").await, json!("rgb(239, 112, 120)"));
    assert_eq!(
        (colour(2, 1, "color").await, colour(2, 1, "fontWeight").await),
        (json!("rgb(128, 220, 155)"), json!("700"))
    );
    assert_eq!(colour(3, 0, "color").await, json!("rgb(255, 135, 0)"));
    assert_eq!(
        (colour(3, 1, "color").await, colour(3, 1, "backgroundColor").await),
        (json!("rgb(200, 100, 50)"), json!("rgb(10, 20, 30)"))
    );
    assert_eq!(colour(3, 2, "textDecorationLine").await, json!("underline line-through"));
    assert_eq!(colour(5, 0, "color").await, colour(4, 0, "color").await, "a colour goes on over lines");
    assert_eq!(colour(8, 0, "backgroundColor").await, json!("rgb(216, 222, 232)"));
    for (line, text) in
        [(5, "and goes on here"), (6, "done"), (7, "saved"), (8, "inverse t\u{fffd}"), (9, "a report and no link")]
    {
        assert_eq!(browser.eval(&text_of(line)).await, json!(text));
    }
    let links = "[...document.querySelectorAll('#log .text a')].map((e) => [e.href, e.rel])";
    assert_eq!(browser.eval(links).await, json!([["https://example.org/report", "noopener noreferrer nofollow"]]));
    let more: Vec<_> = (0..500).map(|number| format!("   Compiling crate-{number} v1.{number}.0")).collect();
    run.prints(&agent, "build it", &more).await;
    run.settle(&mut agent).await;
    browser.until(&format!("{} === '   Compiling crate-499 v1.499.0'", text_of(510))).await;

    // Who scrolls up isn't torn away; who asks for it follows again.
    let pressed = "document.getElementById('follow').getAttribute('aria-pressed')";
    assert_eq!(browser.eval(pressed).await, json!("true"));
    browser.run("document.getElementById('log').scrollTop = 2000;").await;
    browser.until(&format!("{pressed} === 'false'")).await;
    run.prints(
        &agent,
        "build it",
        ["\x1b[31merror\x1b[0m[E0308]: mismatched types", "   ERROR again, and error once more"],
    )
    .await;
    run.settle(&mut agent).await;
    browser.until("Math.round(document.getElementById('log').scrollHeight / 20) >= 512").await;
    assert_eq!(browser.eval("document.getElementById('log').scrollTop").await, json!(2000));
    browser.click("#follow").await;
    browser.until(&format!("{} === 'error[E0308]: mismatched types'", text_of(511))).await;

    // Search finds through colours, counts lines, marks, and goes to and fro.
    browser.type_into("#search", "ERROR").await;
    browser.sees("#search-count", "1 of 2").await;
    browser.until("document.querySelector('.line.current')?.dataset.line === '511'").await;
    browser.until("document.querySelectorAll('.line mark').length === 3").await;
    browser.click("#search-next").await;
    browser.sees("#search-count", "2 of 2").await;
    browser.click("#search-next").await;
    browser.sees("#search-count", "1 of 2").await;
    browser.type_into("#search", "\u{e003}\u{e003}\u{e003}\u{e003}\u{e003}Compiling crate-7 \u{e007}").await;
    browser.until("document.querySelector('.line.current')?.dataset.line === '18'").await;
    browser.type_into("#search", "nowhere\u{e007}").await;
    browser.sees("#search-count", "no line").await;
    browser.type_into("#search", "\u{e00c}").await;

    // Times on request.
    browser.click("#times").await;
    browser.until("/^\\d\\d:\\d\\d:\\d\\d\\.\\d{3}$/.test(document.querySelector('.line .at')?.textContent)").await;
    browser.click("#times").await;
    browser.until("!document.querySelector('.line .at')").await;

    // A line has an address.
    browser.open(&site.at("workflows/1/steps/build%20it/log/L137")).await;
    browser.until("document.querySelector('.line.target')?.dataset.line === '137'").await;
    let in_view = "(() => { const [line, log] = ['.line.target', '#log'].map((s) => document.querySelector(s).getBoundingClientRect()); return line.top > log.top && line.bottom < log.bottom; })()";
    assert_eq!(browser.eval(in_view).await, json!(true));
    assert_eq!(browser.eval(pressed).await, json!("false"), "who comes for a line stays there");
    browser.click("[data-line=\"140\"] .number").await;
    browser.until("document.querySelector('.line.target')?.dataset.line === '140'").await;
    assert_eq!(browser.eval("location.hash").await, json!("#/workflows/1/steps/build%20it/log/L140"));
    browser.run("document.getElementById('log').scrollTop = 0;").await;
    browser.until(&format!("{} !== undefined", text_of(1))).await;
    browser.type_into("#search", "crate-1").await;
    browser.sees("#search-count", " of 111").await;
    browser.run("document.getElementById('log').scrollTop = 0;").await;
    browser.until(&format!("{} !== undefined", text_of(1))).await;
    browser.picture("log").await;
    browser.size(390, 844).await;
    browser.until("innerWidth === 390").await;
    assert_eq!(browser.eval("document.documentElement.scrollWidth").await, json!(390));
    browser.picture("log-phone").await;
    browser.size(1280, 900).await;

    // What is saved is what was printed.
    run.ends(&agent, "build it", (0, 60), 1, "").await;
    run.finishes(&mut agent, pb::WorkflowState::Failure, "").await;
    browser.sees("#log-head .badge", "failure").await;
    browser.click("#download").await;
    let path = browser.downloads.path().join("1-build-it.log");
    while !fs::exists(&path).unwrap() {
        browser.run("return 1;").await;
    }
    let mut expected = first.join(&b'\n');
    for line in more
        .iter()
        .map(String::as_str)
        .chain(["\x1b[31merror\x1b[0m[E0308]: mismatched types", "   ERROR again, and error once more"])
    {
        expected.push(b'\n');
        expected.extend_from_slice(line.as_bytes());
    }
    expected.push(b'\n');
    assert_eq!(fs::read(&path).unwrap(), expected);
    assert_eq!(browser.console().await, [""; 0]);
}

#[tokio::test]
async fn what_a_lost_cluster_printed_makes_room_for_what_is_printed_elsewhere() {
    let Some(browser) = Browser::start().await else { return };
    let site = Site::start(None).await;
    let mut agent = site.agent("berlin-1", "berlin", 1, &[]).await;
    site.stub.submit(workflow("release", &[], vec![vec![step("build")]]));
    let mut run = site.run(&mut agent).await;
    run.starts(&agent, "build", 0).await;
    run.prints(&agent, "build", (0..50).map(|number| format!("berlin prints {number}"))).await;
    run.settle(&mut agent).await;
    browser.open(&site.at("workflows/1/steps/build/log")).await;
    browser.until(&format!("{} === 'berlin prints 49'", text_of(50))).await;
    browser.type_into("#search", "prints 1\u{e007}").await;
    browser.sees("#search-count", " of 11").await;

    site.stub.server().lose_cluster("berlin").unwrap();
    browser.until(&format!("{DRAWN} === 0")).await;
    let mut agent = site.agent("oslo-1", "oslo", 1, &[]).await;
    let mut run = site.run(&mut agent).await;
    run.starts(&agent, "build", 1).await;
    run.prints(&agent, "build", ["oslo prints 0", "oslo prints 1"]).await;
    run.settle(&mut agent).await;
    browser.until(&format!("{} === 'oslo prints 1'", text_of(2))).await;
    assert_eq!(browser.eval(&text_of(1)).await, json!("oslo prints 0"));
    assert_eq!(browser.eval(DRAWN).await, json!(2));
    browser.until("/^[01] of 1$/.test(document.getElementById('search-count').textContent)").await;

    // Who opens the page in the moment of the loss has a look at the first round, and follows the second.
    browser.open("about:blank").await;
    let look = json!({
        "source": "const ask = window.fetch; window.fetch = async (path, options) => { \
                   const answer = await ask(path, options); \
                   if (!String(path).endsWith('/workflows/1')) return answer; \
                   const view = await answer.json(); view.round = 1; view.steps[0].log_lines = 50; \
                   return new Response(JSON.stringify(view), answer); };"
    });
    browser.devtools("Page.addScriptToEvaluateOnNewDocument", look).await;
    browser.open(&site.at("workflows/1/steps/build/log")).await;
    browser.until(&format!("{} === 'oslo prints 1'", text_of(2))).await;
    browser.until(&format!("{DRAWN} === 2")).await;
    assert_eq!(browser.console().await, [""; 0]);
}

#[tokio::test]
async fn a_very_long_one_takes_no_more_than_what_is_seen() {
    const LINES: u32 = 200_000;
    let Some(browser) = Browser::start().await else { return };
    let site = Site::start(None).await;
    let mut agent = site.agent("berlin-1", "berlin", 4, &[]).await;
    site.stub.submit(workflow("flood", &[], vec![vec![step("print")]]));
    let mut run = site.run(&mut agent).await;
    run.starts(&agent, "print", 0).await;
    // All but the end is there already; the end comes live.
    let line = |number: u32| format!("line {number} of a very long log");
    run.prints(&agent, "print", (1..=LINES / 2).map(line)).await;
    run.settle(&mut agent).await;
    browser.open(&site.at("workflows/1/steps/print/log")).await;
    browser.until(&format!("{} === '{}'", text_of(LINES / 2), line(LINES / 2))).await;
    run.prints(&agent, "print", (LINES / 2 + 1..=LINES).map(line)).await;
    run.settle(&mut agent).await;
    browser.until(&format!("{} === '{}'", text_of(LINES), line(LINES))).await;
    let drawn = browser.eval(DRAWN).await.as_u64().unwrap();
    assert!((10..=100).contains(&drawn), "{drawn} lines are in the document");

    // Anywhere in it, what is there is seen.
    for wanted in [1, 77_777, 123_456] {
        browser.run(&format!("document.getElementById('log').scrollTop = {} * 20;", wanted - 1)).await;
        browser.until(&format!("{} === '{}'", text_of(wanted), line(wanted))).await;
        let drawn = browser.eval(DRAWN).await.as_u64().unwrap();
        assert!((10..=100).contains(&drawn), "{drawn} lines are in the document");
    }
    // Down to the end in steps, as by a wheel: each step is drawn, and soon.
    let scroll = "const done = arguments[0]; const log = document.getElementById('log'); const start = performance.now(); \
                  let most = 0; let steps = 0; const go = () => { \
                  most = Math.max(most, document.querySelectorAll('.line').length); log.scrollTop += 40_000; steps++; \
                  if (log.scrollTop + log.clientHeight < log.scrollHeight - 1) requestAnimationFrame(go); \
                  else done([most, steps, performance.now() - start]); }; go();";
    let seen = browser.wait_for(scroll).await;
    let (most, took) = (seen[0].as_u64().unwrap(), seen[2].as_f64().unwrap());
    assert!(most <= 100, "{seen}");
    assert!(took < 15_000.0, "{seen}");
    browser.until(&format!("{} === '{}'", text_of(LINES), line(LINES))).await;
    // And the server finds what is not here.
    browser.type_into("#search", "line 1234 of\u{e007}").await;
    browser.sees("#search-count", "1 of 1").await;
    browser.until("document.querySelector('.line.current')?.dataset.line === '1234'").await;
    assert_eq!(browser.console().await, [""; 0]);
}
