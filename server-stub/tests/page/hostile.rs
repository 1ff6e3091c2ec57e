//! Whoever writes a workflow may write anything. None of it runs in the browser of who looks at it.

use piculet_proto::v1 as pb;
use serde_json::json;

use crate::browser::Browser;
use crate::site::{Site, step, workflow};

const IMAGE: &str = "<img src=x onerror=\"window.broken=1\">";
const SCRIPT: &str = "</script><script>window.broken=2</script>";

#[tokio::test]
async fn names_labels_errors_and_lines_are_text() {
    let Some(browser) = Browser::start().await else { return };
    let site = Site::start(None).await;
    let mut agent = site.agent(&format!("agent{IMAGE}"), &format!("cluster{SCRIPT}"), 1, &[("label", SCRIPT)]).await;
    let steps = vec![vec![step(IMAGE), step("\u{202e}javascript:alert(1)//../..\u{0}")], vec![step(SCRIPT)]];
    site.stub.submit(workflow(&format!("w{IMAGE}"), &[("label", SCRIPT)], steps));
    let mut run = site.run(&mut agent).await;
    run.starts(&agent, SCRIPT, 0).await;
    let lines = [
        IMAGE,
        SCRIPT,
        "\u{1b}]8;;javascript:window.broken=3\u{7}click\u{1b}]8;;\u{7}",
        "\u{1b}]8;;data:text/html,<script>window.broken=4</script>\u{1b}\\click\u{1b}]8;;\u{1b}\\",
        "\u{1b}]8;;https://a.example/\" onclick=\"window.broken=5\u{7}click\u{1b}]8;;\u{7}",
        "\u{1b}[38;2;1;2;3;background:url(https://evil.example)mred",
        "\u{1b}]0;title\u{7}after",
    ];
    run.prints(&agent, IMAGE, lines).await;
    run.ends(&agent, IMAGE, (0, 1), 1, &format!("{IMAGE}{SCRIPT}")).await;
    run.settle(&mut agent).await;
    site.stub.submit(workflow(SCRIPT, &[(IMAGE, IMAGE)], vec![vec![step("x")]]));

    // What is there of elements is the page's own.
    let intact = "window.broken === undefined && document.scripts.length === 1 && \
                  [...document.images].every((e) => e.src.endsWith('/page/icon.svg')) && \
                  [...document.querySelectorAll('*')].every((e) => !e.getAttributeNames().some((name) => name.startsWith('on'))) && \
                  [...document.querySelectorAll('a')].every((e) => ['http:', 'https:'].includes(new URL(e.href?.baseVal ?? e.href, location).protocol))";
    browser.open(&site.address).await;
    browser.sees("#running", IMAGE).await;
    browser.sees("#queue", SCRIPT).await;
    browser.sees("#clusters", &format!("cluster{SCRIPT}")).await;
    assert_eq!(browser.eval(intact).await, json!(true));
    browser.open(&site.at("workflows/1")).await;
    browser.sees("h1", IMAGE).await;
    browser.sees("#steps", SCRIPT).await;
    browser.sees("#graph title", IMAGE).await;
    assert_eq!(browser.eval(intact).await, json!(true));
    browser.click("#steps tbody a").await;
    browser.sees(".line", SCRIPT).await;
    browser.sees("h1", IMAGE).await;
    assert_eq!(browser.eval("document.querySelectorAll('#log .text a').length").await, json!(0), "no such link");
    assert_eq!(browser.eval("document.querySelector('[data-line=\"7\"] .text').textContent").await, json!("after"));
    browser.type_into("#search", SCRIPT).await;
    browser.sees("#search-count", "1 of 1").await;
    assert_eq!(browser.eval(intact).await, json!(true));
    browser.open(&site.at("workflows/%3Cimg%20src%3Dx%20onerror%3Dwindow.broken%3D6%3E/steps/%00/log")).await;
    browser.sees("main", "there is no workflow '<img").await;
    assert_eq!(browser.eval(intact).await, json!(true));
    run.finishes(&mut agent, pb::WorkflowState::Failure, SCRIPT).await;
    browser.open(&site.at("workflows/1")).await;
    browser.sees("#error", SCRIPT).await;
    assert_eq!(browser.eval(intact).await, json!(true));
    let console = browser.console().await;
    assert!(console.iter().all(|message| message.contains("404")), "{console:?}");
}

#[tokio::test]
async fn a_script_that_came_in_all_the_same_would_not_run() {
    let Some(browser) = Browser::start().await else { return };
    let site = Site::start(None).await;
    browser.open(&site.address).await;
    browser.sees("#clusters", "No agent").await;
    // As if the page had a hole. The driver's own scripts are let through, so the page's elements are asked.
    let inner =
        "try { document.body.innerHTML = '<p>hole</p>'; return 'markup'; } catch (error) { return error.name; }";
    assert_eq!(browser.run(inner).await, json!("TypeError"), "no text becomes markup");
    let script = "const script = document.createElement('script'); try { script.textContent = 'window.broken = 1'; } \
                  catch (error) { return error.name; } document.body.append(script); return String(window.broken);";
    assert_eq!(browser.run(script).await, json!("TypeError"));
    browser
        .run("const image = new Image(); image.src = 'https://evil.example/x.png'; document.body.append(image);")
        .await;
    browser
        .run("const p = document.createElement('p'); p.setAttribute('style', 'color: red'); document.body.append(p);")
        .await;
    browser
        .run("const button = document.createElement('button'); button.id = 'hole'; document.body.append(button);")
        .await;
    let console = browser.console().await;
    assert!(
        console.iter().any(|message| message.contains("evil.example") && message.contains("Content Security Policy")),
        "{console:?}"
    );
}
