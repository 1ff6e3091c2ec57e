//! A real OpenTelemetry Collector, built from its Go modules (`tests/collector`), as its file exporter shows it.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fake_cluster::Script;
use piculet_core::id::WorkflowId;
use piculet_link::otlp::{self, Open, Settings, Traces, Wanted};
use piculet_link::stream::StreamLink;
use server_stub::dispatch::Submission;
use server_stub::server::Config;
use server_stub::store::Store;
use server_stub::stub::Stub;

use super::tree::Tree;
use super::{SUBMITTER, TRACE, parallel, submit};
use crate::world::World;

/// A collector that runs. It ends with this.
struct Collector {
    process: Child,
    folder: tempfile::TempDir,
    address: String,
}

impl Drop for Collector {
    fn drop(&mut self) {
        // One that has ended already needs no signal.
        let _ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}

impl Collector {
    /// Starts one with a certificate of its own.
    fn start(program: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(folder.path().join("cert.pem"), certified.cert.pem()).unwrap();
        std::fs::write(folder.path().join("key.pem"), certified.signing_key.serialize_pem()).unwrap();
        // Free a moment ago: nobody else takes it in between, as a rule.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let process = Command::new(program)
            .arg("--config")
            .arg(source().join("config.yaml"))
            .env("COLLECTOR_ADDRESS", format!("127.0.0.1:{port}"))
            .env("COLLECTOR_FOLDER", folder.path())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { process, folder, address: format!("https://localhost:{port}") }
    }

    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    async fn until_ready(&mut self) {
        for _ in 0..300 {
            if self.file("log").contains("Everything is ready") {
                return;
            }
            assert!(self.process.try_wait().unwrap().is_none(), "the collector ended: {}", self.file("log"));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the collector is not ready after 30 s: {}", self.file("log"));
    }

    /// What it has written once there is a span of this name.
    async fn until_written(&self, name: &str) -> Tree {
        for _ in 0..100 {
            let text = self.file("traces.json");
            if text.ends_with('\n') && text.contains(&format!("\"name\":\"{name}\"")) {
                return Tree::of_file(&text);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("after 10 s the collector has written no '{name}': {}\n{}", self.file("traces.json"), self.file("log"));
    }
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/collector")
}

/// Builds the collector outside the checkout, where the next run finds it. `None` without Go, or without its modules
/// where there is no network: that is said loudly.
#[expect(clippy::disallowed_methods, reason = "a test has no main that reads the environment")]
fn build() -> Option<PathBuf> {
    let cache = std::env::var_os("PICULET_CI_CACHE").map(PathBuf::from);
    let cache = cache.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache/piculet-ci")));
    let program = cache.unwrap_or_else(std::env::temp_dir).join("collector");
    let go = |arguments: &[&str]| Command::new("go").args(arguments).current_dir(source()).output();
    match go(&["mod", "download"]) {
        Err(error) => return skipped(&format!("Go can't be run: {error}")),
        Ok(output) if !output.status.success() => return skipped(&String::from_utf8_lossy(&output.stderr)),
        Ok(_) => {}
    }
    std::fs::create_dir_all(program.parent().unwrap()).unwrap();
    // Go itself knows whether anything has changed.
    let built = go(&["build", "-o", program.to_str().unwrap(), "."]).unwrap();
    assert!(built.status.success(), "the collector can't be built: {}", String::from_utf8_lossy(&built.stderr));
    Some(program)
}

fn skipped<T>(why: &str) -> Option<T> {
    let text = format!("\n!!! SKIPPED, NOT TESTED: traces with a real collector: {why}\n\n");
    // Not with a macro: the harness hides what a passing test prints with one.
    std::io::stderr().write_all(text.as_bytes()).unwrap();
    None
}

#[tokio::test]
async fn a_real_collector_gets_the_trace_of_a_parallel_stage_over_tls() {
    let Some(program) = build() else { return };
    let mut collector = Collector::start(&program);
    collector.until_ready().await;
    let authority = collector.folder.path().join("cert.pem");
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.address.as_str()),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", authority.to_str().unwrap()),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20secret"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test"),
        ("OTEL_BSP_SCHEDULE_DELAY", "200"),
    ];
    let Ok(Wanted::On(settings)) = Settings::read(variables) else { panic!("a collector is named") };
    let traces = Traces::new(&settings, otlp::exporter(&settings).await.unwrap());
    let tally = traces.outlet().tally();

    let mut world = World::of_today();
    let agent = world.agent_tracing(|_| {}, Some(traces));
    let takes = |milliseconds| {
        let script = Script::new().pull_takes(Duration::from_millis(1_500)).wait(Duration::from_millis(milliseconds));
        script.line("done").exit(0)
    };
    world.step_does("unit", takes(2_000));
    world.step_does("lint", takes(1_000));
    world.step_does("publish", takes(500));
    let id = submit(&world, parallel(), "01");
    world.stub.ended(&id).await;
    world.until_clean().await;
    agent.shutdown.drain.cancel();
    agent.task.await.unwrap().unwrap();
    let tree = collector.until_written("teardown").await;
    println!("{tree}");

    assert!(tree.rows.iter().all(|row| row.trace == TRACE));
    assert_eq!(tree.one("RUN test").parent, SUBMITTER);
    for step in ["unit", "lint", "publish"] {
        let below = tree.below(tree.one(step));
        for part in ["attempt", "create", "schedule", "pull", "run", "drain"] {
            assert!(below.one(part).end >= below.one(part).start);
        }
    }
    assert_eq!(tree.one("RUN test").attribute("cicd.pipeline.result"), "success");
    let count = tree.rows.len() as u64;
    assert_eq!((tally.exported(), tally.dropped(), tally.failed()), (count, 0, 0));
    let text = collector.file("traces.json");
    for known in ["\"service.name\"", "\"cicd.worker.id\"", "\"deployment.environment.name\"", "\"piculet\""] {
        assert!(text.contains(known), "{known} is not in {text}");
    }
}

/// The server of a test: on a real socket, with a way to the collector.
async fn serve(address: SocketAddr, store: Store, traces: Traces) -> (Stub, Open) {
    let config = Config { server_id: Some("the-server".to_owned()), ..Config::default() };
    let stub = Stub::restart(Config { traces: Some(traces.outlet().clone()), ..config }, store);
    let open = traces.open([("service.name", "piculet-server".to_owned())]);
    let listener = loop {
        // The one before may hold the address for a moment.
        match tokio::net::TcpListener::bind(address).await {
            Ok(listener) => break listener,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    tokio::spawn(stub.server().serve_agents(listener, None));
    (stub, open)
}

#[tokio::test]
async fn a_server_that_is_killed_in_mid_run_goes_on_with_the_same_trace() {
    let Some(program) = build() else { return };
    let mut collector = Collector::start(&program);
    collector.until_ready().await;
    let authority = collector.folder.path().join("cert.pem");
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.address.as_str()),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", authority.to_str().unwrap()),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
    ];
    let Ok(Wanted::On(settings)) = Settings::read(variables) else { panic!("a collector is named") };
    let exporter = async || Traces::new(&settings, otlp::exporter(&settings).await.unwrap());
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();

    let (first, sending) = serve(address, Store::in_memory().unwrap(), exporter().await).await;
    let mut world = World::of_today();
    let server: piculet_link::stream::Address = format!("http://{address}").parse().unwrap();
    let link = StreamLink::new(piculet_link::stream::Settings::new(server));
    let (shutdown, _, agent) = world.start(link, |_| {}, Some(exporter().await));
    for step in ["unit", "lint", "publish"] {
        world.step_does(step, Script::new().wait(Duration::from_millis(1_500)).line("done").exit(0));
    }
    let id = WorkflowId::new("restarted");
    first.server().submit(vec![Submission::new(id.clone(), parallel())]).unwrap();
    while world.cluster.objects(fake_cluster::Kind::Pod).len() < 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // What it had not sent yet is lost with its process; what had ended before has left.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let store = first.kill();
    drop(sending);
    let (second, sending) = serve(address, store, exporter().await).await;
    second.ended(&id).await;
    world.until_clean().await;
    shutdown.drain.cancel();
    agent.await.unwrap().unwrap();
    sending.close(tokio::time::Instant::now() + Duration::from_secs(5)).await;
    collector.until_written("teardown").await;
    let tree = collector.until_written("workflow test").await;
    println!("{tree}");

    let root = tree.one("workflow test");
    assert_eq!(root.parent, "", "nobody else began this trace");
    assert!(tree.rows.iter().all(|row| row.trace == root.trace), "both servers and the agent give one trace");
    assert_eq!(root.attribute("cicd.pipeline.result"), "success");
    for name in ["queue", "offer", "RUN test"] {
        assert_eq!(tree.one(name).parent, root.id, "{name}");
    }
    let run = tree.one("RUN test");
    assert!(root.start <= tree.one("queue").start && run.start <= root.end);
    assert_eq!(
        (tree.one("unit").parent.as_str(), tree.one("publish").parent.as_str()),
        (run.id.as_str(), run.id.as_str())
    );
}
