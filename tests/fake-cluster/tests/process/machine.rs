//! A runtime on this machine, and pods to run on it.

use std::fmt::Display;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fake_cluster::process::{ProcessError, ProcessRuntime, ProcessSettings};
use fake_cluster::runtime::{ContainerIo, CreateError, Exit, Runtime, VolumeFiles, Wish};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// How long something may take that the kernel does by and by.
const PATIENCE: Duration = Duration::from_secs(20);

/// The value of a secret that every container gets.
pub(crate) const SECRET: &str = "hunter2";

/// A runtime and the folder that it works in.
pub(crate) struct Machine {
    pub(crate) runtime: Arc<ProcessRuntime>,
    pub(crate) base: TempDir,
}

/// A container that was started.
pub(crate) struct Live {
    wish: watch::Sender<Wish>,
    started: oneshot::Receiver<()>,
    output: mpsc::Receiver<Bytes>,
    read: Vec<u8>,
    end: JoinHandle<Result<Exit, CreateError>>,
}

/// A container that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) exit: Result<Exit, CreateError>,
    pub(crate) output: String,
}

/// Says that this machine can't run the test that is running.
pub(crate) fn skipped(why: &dyn Display) {
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    let text = format!("\n!!! SKIPPED, NOT TESTED: {test}: {why}\n\n");
    // Not with a macro: the harness hides what a passing test prints with one.
    std::io::stderr().write_all(text.as_bytes()).unwrap();
}

impl Machine {
    /// A runtime as a demo has it; `None` if the kernel does not allow it.
    pub(crate) async fn new() -> Option<Self> {
        Self::with(|_| {}).await
    }

    /// A runtime with other settings.
    pub(crate) async fn with(change: impl FnOnce(&mut ProcessSettings)) -> Option<Self> {
        let base = tempfile::tempdir().unwrap();
        let mut settings = ProcessSettings::new(base.path());
        change(&mut settings);
        match ProcessRuntime::new(settings).await {
            Ok(runtime) => Some(Self { runtime, base }),
            Err(error @ ProcessError::Forbidden { .. }) => {
                skipped(&error);
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Starts the container `step` of a pod.
    pub(crate) fn start(&self, pod: &Pod, volumes: VolumeFiles) -> Live {
        let (started, has_started) = oneshot::channel();
        let (output, written) = mpsc::channel(4);
        let (wish, wished) = watch::channel(Wish::Run);
        let io = ContainerIo { started, output, wish: wished, volumes, secrets: vec![SECRET.to_owned()] };
        let run = Arc::clone(&self.runtime).run(Arc::new(pod.clone()), "step".to_owned(), io);
        Live { wish, started: has_started, output: written, read: Vec::new(), end: tokio::spawn(run) }
    }

    /// Runs the container `step` of a pod to its end.
    pub(crate) async fn run(&self, pod: &Pod) -> Ended {
        self.start(pod, VolumeFiles::new()).end().await
    }

    /// Runs a shell script in a pod of its own.
    pub(crate) async fn shell(&self, script: &str) -> Ended {
        self.run(&shell("one", script)).await
    }
}

impl Live {
    /// Waits until the container has written a text.
    pub(crate) async fn until(&mut self, text: &str) {
        while !String::from_utf8_lossy(&self.read).contains(text) {
            let next = tokio::time::timeout(PATIENCE, self.output.recv()).await.expect("it writes in time");
            let so_far = String::from_utf8_lossy(&self.read).into_owned();
            self.read.extend_from_slice(&next.unwrap_or_else(|| panic!("it ended after {so_far:?}, without {text:?}")));
        }
    }

    pub(crate) fn wish(&self, wish: Wish) {
        self.wish.send(wish).unwrap();
    }

    /// Waits for its end.
    pub(crate) async fn end(mut self) -> Ended {
        let all = async {
            while let Some(data) = self.output.recv().await {
                self.read.extend_from_slice(&data);
            }
            self.end.await.unwrap()
        };
        let exit = tokio::time::timeout(4 * PATIENCE, all).await.expect("it ends in time");
        if exit.is_ok() && exit != Ok(Exit::Signal(9)) {
            self.started.try_recv().expect("it had said that it runs");
        }
        Ended { exit, output: String::from_utf8_lossy(&self.read).into_owned() }
    }

    /// Forgets the container while it runs.
    pub(crate) async fn abandon(self) {
        self.end.abort();
        assert!(self.end.await.unwrap_err().is_cancelled());
    }
}

impl Ended {
    /// The output of a success.
    #[track_caller]
    pub(crate) fn good(self) -> String {
        assert_eq!(self.exit, Ok(Exit::Code(0)), "{}", self.output);
        self.output
    }

    /// The message of a container that was not created.
    #[track_caller]
    pub(crate) fn refused(self) -> String {
        self.exit.expect_err("it was not refused").message
    }
}

/// A pod with one container, `step`, from parts of both.
pub(crate) fn pod(name: &str, spec: Value, container: Value) -> Pod {
    let mut step = json!({ "name": "step", "image": "docker.io/library/example:1" });
    merge(&mut step, container);
    let mut whole = json!({ "containers": [step], "subdomain": "wp-hsvc-1", "hostname": name });
    merge(&mut whole, spec);
    let metadata = json!({ "name": format!("wp-{name}"), "namespace": "ci", "uid": format!("uid-{name}") });
    serde_json::from_value(json!({ "metadata": metadata, "spec": whole })).unwrap()
}

/// A pod whose container runs a script.
pub(crate) fn shell(name: &str, script: &str) -> Pod {
    pod(name, json!({}), json!({ "command": ["/bin/sh", "-c", script] }))
}

fn merge(into: &mut Value, from: Value) {
    let (Value::Object(into), Value::Object(from)) = (into, from) else { panic!("only objects are merged") };
    into.extend(from);
}

/// Whether a process has this text among its arguments.
pub(crate) fn is_running(argument: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let mut lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    lines.any(|line| line.split(|byte| *byte == 0).any(|found| found == argument.as_bytes()))
}

/// Waits until a `sleep` of so many seconds runs.
pub(crate) async fn until_running(seconds: &str) {
    let line = format!("sleep\0{seconds}\0");
    let runs = || {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let mut lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
        lines.any(|found| found == line.as_bytes())
    };
    let running = async {
        while !runs() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(3 * PATIENCE, running).await.expect("it runs in time");
}

/// Waits until no process has this text among its arguments.
pub(crate) async fn until_gone(argument: &str) {
    let gone = async {
        while is_running(argument) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("the process ends in time");
}

/// Waits until there is nothing at a path.
pub(crate) async fn until_removed(path: &Path) {
    let gone = async {
        while path.symlink_metadata().is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("it is removed in time");
}

/// A number of seconds to sleep that no other process sleeps for.
pub(crate) fn long_time() -> String {
    let unique = uuid::Uuid::new_v4().as_u128() % 1_000_000_000;
    format!("3153600.{unique:09}")
}
