//! A real OpenTelemetry Collector, built from its Go modules (`tests/collector`), as its file exporter shows it.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fake_cluster::Script;
use piculet_link::otlp::{self, Settings, Traces};

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
    let settings = Settings::read(variables).unwrap().unwrap();
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
