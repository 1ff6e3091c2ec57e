//! Chromium, driven by WebDriver: plain HTTP with JSON. A client crate would bring a licence that the project doesn't
//! take (MPL), for six calls.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, header};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long the page may take for anything, in milliseconds of the browser.
const PATIENCE: u64 = 20_000;

/// A browser; it is ended with the value.
pub(crate) struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
    /// Where it saves files to.
    pub(crate) downloads: TempDir,
}

impl Browser {
    /// Starts one; `None`, and said loudly, if this machine has none.
    pub(crate) async fn start() -> Option<Self> {
        let started = Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut driver = match started {
            Ok(driver) => driver,
            Err(error) => {
                skipped(&format!("there is no chromedriver ({error}); Debian has it in chromium-driver"));
                return None;
            }
        };
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines.find_map(|line| {
            let line = line.unwrap();
            line.strip_prefix("ChromeDriver was started successfully on port ")?
                .trim_end_matches('.')
                .parse::<u16>()
                .ok()
        });
        // Whatever it says later has to go somewhere.
        std::thread::spawn(move || lines.for_each(drop));
        let address = SocketAddr::from(([127, 0, 0, 1], port.expect("chromedriver says its port")));
        let downloads = TempDir::new().unwrap();
        let mut browser = Self { driver, address, session: String::new(), downloads };
        // Root may not use Chromium's own sandbox, and what is shown is ours.
        let arguments =
            ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"];
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
            "timeouts": { "script": 2 * PATIENCE },
        } } });
        let answer = browser.call(Method::POST, "/session", &capabilities).await;
        browser.session = answer["sessionId"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
        let folder = browser.downloads.path().to_str().unwrap();
        browser.devtools("Browser.setDownloadBehavior", json!({ "behavior": "allow", "downloadPath": folder })).await;
        browser.size(1280, 900).await;
        Some(browser)
    }

    async fn call(&self, method: Method, path: &str, body: &Value) -> Value {
        let connection = tokio::net::TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(connection)).await.unwrap();
        tokio::spawn(connection);
        let text = if method == Method::GET { Bytes::new() } else { Bytes::from(body.to_string()) };
        let request = Request::builder().method(method).uri(path).header(header::HOST, self.address.to_string());
        let response = sender.send_request(request.body(Full::new(text)).unwrap()).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let mut answer: Value = serde_json::from_slice(&body).unwrap();
        answer["value"].take()
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let answer = self.call(Method::POST, &format!("/session/{}/{path}", self.session), &body).await;
        assert!(answer.get("error").is_none(), "{path} {body}: {answer}");
        answer
    }

    /// Opens an address, as a page of its own.
    pub(crate) async fn open(&self, address: &str) {
        // A fragment alone would not load anything.
        self.post("url", json!({ "url": "about:blank" })).await;
        self.post("url", json!({ "url": address })).await;
    }

    /// Runs a script's body in the page.
    pub(crate) async fn run(&self, script: &str) -> Value {
        self.post("execute/sync", json!({ "script": script, "args": [] })).await
    }

    /// The value of an expression, in the page.
    pub(crate) async fn eval(&self, expression: &str) -> Value {
        self.run(&format!("return {expression};")).await
    }

    /// Runs a script that calls its first argument when it is done.
    pub(crate) async fn wait_for(&self, script: &str) -> Value {
        self.post("execute/async", json!({ "script": script, "args": [] })).await
    }

    /// Waits in the page until an expression is true.
    pub(crate) async fn until(&self, expression: &str) {
        let script = format!(
            "const done = arguments[0]; const end = Date.now() + {PATIENCE}; const look = () => {{ \
             let seen; try {{ seen = ({expression}); }} catch (error) {{ seen = undefined; }} \
             if (seen) done(''); else if (Date.now() > end) done(document.body.innerText || 'nothing is shown'); \
             else setTimeout(look, 20); }}; look();"
        );
        let seen = self.wait_for(&script).await;
        if seen != "" {
            let console = self.console().await;
            panic!(
                "never true: {expression}\nThe page says:\n{}\nThe console says: {console:#?}",
                seen.as_str().unwrap()
            );
        }
    }

    /// Waits until something that matches is shown and has this text in it.
    pub(crate) async fn sees(&self, selector: &str, text: &str) {
        let (selector, text) = (json!(selector), json!(text));
        self.until(&format!("[...document.querySelectorAll({selector})].some((e) => e.textContent.includes({text}))"))
            .await;
    }

    async fn element(&self, selector: &str) -> String {
        let found = self.post("element", json!({ "using": "css selector", "value": selector })).await;
        let element = found.as_object().and_then(|found| found.values().next()).and_then(Value::as_str);
        element.unwrap_or_else(|| panic!("{found}")).to_owned()
    }

    /// Clicks as a person does: on what is seen there.
    pub(crate) async fn click(&self, selector: &str) {
        let element = self.element(selector).await;
        self.post(&format!("element/{element}/click"), json!({})).await;
    }

    /// Types into a field; `\u{e007}` is the return key.
    pub(crate) async fn type_into(&self, selector: &str, text: &str) {
        let element = self.element(selector).await;
        self.post(&format!("element/{element}/value"), json!({ "text": text })).await;
    }

    /// A command of Chromium's own protocol.
    pub(crate) async fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.post("goog/cdp/execute", json!({ "cmd": command, "params": parameters })).await
    }

    /// The size of what is seen, in pixels.
    pub(crate) async fn size(&self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// Light or dark, as the person prefers.
    pub(crate) async fn prefer(&self, scheme: &str) {
        let features = json!({ "features": [
            { "name": "prefers-color-scheme", "value": scheme },
            { "name": "prefers-reduced-motion", "value": "reduce" },
        ] });
        self.devtools("Emulation.setEmulatedMedia", features).await;
    }

    /// What the console says that is wrong: broken scripts, and what the content security policy stopped.
    pub(crate) async fn console(&self) -> Vec<String> {
        let log = self.post("se/log", json!({ "type": "browser" })).await;
        let severe = log.as_array().unwrap().iter().filter(|entry| entry["level"] == "SEVERE");
        severe.map(|entry| entry["message"].as_str().unwrap().to_owned()).collect()
    }

    /// Takes a picture in light and in dark, if somebody wants pictures.
    pub(crate) async fn picture(&self, name: &str) {
        let Some(folder) = pictures() else { return };
        std::fs::create_dir_all(&folder).unwrap();
        for scheme in ["light", "dark"] {
            self.prefer(scheme).await;
            let picture = self.call(Method::GET, &format!("/session/{}/screenshot", self.session), &Value::Null).await;
            let bytes = STANDARD.decode(picture.as_str().unwrap()).unwrap();
            std::fs::write(folder.join(format!("{name}-{scheme}.png")), bytes).unwrap();
        }
        self.prefer("light").await;
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends its Chromium only when it is told; that nobody listens any more is no news here.
        if let Ok(mut connection) = TcpStream::connect(self.address) {
            let (session, host) = (&self.session, self.address);
            let end = format!("DELETE /session/{session} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            connection.write_all(end.as_bytes()).ok();
            // The answer begins when Chromium is gone.
            connection.read_exact(&mut [0]).ok();
        }
        self.driver.kill().ok();
        self.driver.wait().ok();
    }
}

#[expect(clippy::disallowed_methods, reason = "a test has no main that could hand it on")]
fn pictures() -> Option<PathBuf> {
    std::env::var_os("PICULET_PICTURES").map(PathBuf::from)
}

/// Says that the test that is running can't run here.
fn skipped(why: &str) {
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    // Not with a macro: the harness hides what a passing test prints with one.
    std::io::stderr().write_all(format!("\n!!! SKIPPED, NOT TESTED: {test}: {why}\n\n").as_bytes()).unwrap();
}
