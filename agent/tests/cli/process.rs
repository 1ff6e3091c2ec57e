//! The running agent: a process between a real socket of a server and one of a cluster.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use fake_cluster::{FakeCluster, Kind, Script, ScriptedRuntime};
use piculet_core::secret::Secret;
use piculet_core::workload::{StageSpec, StepSpec, WorkloadSpec};
use server_stub::dispatch::State;
use server_stub::server::Config;
use server_stub::stub::Stub;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

const TOKEN: &str = "let-me-in";

/// A server, a cluster, and what an agent needs to find them.
struct Site {
    stub: Stub,
    cluster: FakeCluster,
    folder: TempDir,
    server: SocketAddr,
}

impl Site {
    async fn new(script: Script) -> Self {
        let stub = Stub::start(Config { agent_token: Some(Secret::new(TOKEN)), ..Config::default() });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let server = listener.local_addr().unwrap();
        tokio::spawn(stub.server().serve_agents(listener, None));
        let runtime = ScriptedRuntime::new();
        runtime.on_all(script);
        let cluster = FakeCluster::scripted(&runtime);
        let (_, kubeconfig) = cluster.listen((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("kubeconfig"), kubeconfig).unwrap();
        std::fs::write(folder.path().join("token"), format!("{TOKEN}\n")).unwrap();
        Self { stub, cluster, folder, server }
    }

    fn agent(&self, more: &[&str]) -> Child {
        let server = format!("http://{}", self.server);
        let standard =
            ["agent", "--server", &server, "--token-file", "token", "--kubeconfig", "kubeconfig", "--namespace", "ci"];
        let mut command = Command::new(env!("CARGO_BIN_EXE_piculet"));
        command.args(standard).args(["--set", "admin.address=off"]).args(more);
        command.current_dir(self.folder.path()).env_clear().stderr(Stdio::piped()).kill_on_drop(true);
        command.spawn().unwrap()
    }

    /// What another command than `agent` prints, and how it ends.
    async fn command(&self, arguments: &[&str]) -> (String, Option<i32>) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_piculet"));
        command.args(arguments).args(["--kubeconfig", "kubeconfig", "--namespace", "ci"]);
        let output = command.current_dir(self.folder.path()).env_clear().output().await.unwrap();
        (String::from_utf8(output.stdout).unwrap(), output.status.code())
    }

    fn submit(&self) -> piculet_core::id::WorkflowId {
        let step = StepSpec { id: "a".to_owned(), name: "a".to_owned(), image: "x".to_owned(), ..StepSpec::default() };
        self.stub.submit(WorkloadSpec { stages: vec![StageSpec { steps: vec![step] }], ..WorkloadSpec::default() })
    }
}

pub(crate) async fn ended(mut agent: Child) -> (ExitStatus, String) {
    let mut err = String::new();
    agent.stderr.take().unwrap().read_to_string(&mut err).await.unwrap();
    (agent.wait().await.unwrap(), err)
}

pub(crate) fn signal(agent: &Child, name: &str) {
    let pid = agent.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_drains_finishes_what_runs_and_ends_with_0() {
    let site = Site::new(Script::new().wait(Duration::from_millis(800)).line("done").exit(0)).await;
    let agent = site.agent(&[]);
    let id = site.submit();
    site.stub.expect_session().await;
    while site.stub.workflow(&id).steps[0].state != piculet_core::outcome::StepState::Running {
        tokio::task::yield_now().await;
    }
    let arguments = std::fs::read_to_string(format!("/proc/{}/cmdline", agent.id().unwrap())).unwrap();
    signal(&agent, "TERM");
    let (status, err) = ended(agent).await;
    assert_eq!(status.code(), Some(0), "{err}");
    assert_eq!(site.stub.workflow(&id).state, State::Success);
    assert!(site.cluster.objects(fake_cluster::Kind::Pod).is_empty());
    assert!(!err.contains(TOKEN) && !arguments.contains(TOKEN), "{arguments}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_at_once() {
    let site = Site::new(Script::new().forever()).await;
    let agent = site.agent(&[]);
    let id = site.submit();
    site.stub.expect_session().await;
    while site.stub.workflow(&id).steps[0].state != piculet_core::outcome::StepState::Running {
        tokio::task::yield_now().await;
    }
    signal(&agent, "TERM");
    signal(&agent, "INT");
    let (status, err) = ended(agent).await;
    assert_eq!(status.code(), Some(130), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_time_to_drain_is_75() {
    let site = Site::new(Script::new().forever()).await;
    let agent = site.agent(&["--set", "shutdown.drain_timeout=300ms"]);
    let id = site.submit();
    site.stub.expect_session().await;
    while site.stub.workflow(&id).steps[0].state != piculet_core::outcome::StepState::Running {
        tokio::task::yield_now().await;
    }
    signal(&agent, "TERM");
    let (status, err) = ended(agent).await;
    assert_eq!(status.code(), Some(75), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_is_77() {
    let site = Site::new(Script::new().exit(0)).await;
    std::fs::write(site.folder.path().join("token"), "wrong-token").unwrap();
    let (status, err) = ended(site.agent(&[])).await;
    assert_eq!(status.code(), Some(77), "{err}");
    assert!(err.contains("error[unauthorised]"), "{err}");
    assert!(!err.contains("wrong-token"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_revoked_is_said_once_a_minute_and_workflows_go_on() {
    let site = Site::new(Script::new().wait(Duration::from_millis(1500)).line("done").exit(0)).await;
    let admin = free_address().await;
    let agent = site.agent(&["--set", &format!("admin.address={admin}")]);
    let id = site.submit();
    let session = site.stub.expect_session().await;
    while site.stub.workflow(&id).steps[0].state != piculet_core::outcome::StepState::Running {
        tokio::task::yield_now().await;
    }
    for _ in 0..6 {
        site.stub.refuse_next(tonic::Status::unauthenticated("the token was revoked"));
    }
    session.break_with(tonic::Status::unauthenticated("the token was revoked"));
    let mut ready = get(admin, "/readyz").await.unwrap();
    while ready.starts_with("HTTP/1.1 200") || !ready.contains("revoked") {
        ready = get(admin, "/readyz").await.unwrap();
    }
    assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
    site.stub.ended(&id).await;
    let (ready, metrics) = (get(admin, "/readyz").await.unwrap(), get(admin, "/metrics").await.unwrap());
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
    assert!(metrics.contains("server_session_failures_total{code=\"link-unauthenticated\"} 7"), "{metrics}");
    assert_eq!(site.stub.workflow(&id).state, State::Success);
    signal(&agent, "TERM");
    let (status, err) = ended(agent).await;
    assert_eq!(status.code(), Some(0), "{err}");
    let said: Vec<_> = err.lines().filter(|line| line.contains("the token was revoked")).collect();
    assert_eq!(said.len(), 1, "{err}");
    assert!(said[0].contains("ERROR") && said[0].contains("link-unauthenticated"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_that_is_dialed_with_it_is_79() {
    let site = Site::new(Script::new().exit(0)).await;
    let (status, err) = ended(site.agent(&["--set", &format!("server.address=https://{}", site.server)])).await;
    assert_eq!(status.code(), Some(79), "{err}");
    assert!(err.contains("error[tls]") && err.contains("hint: server.ca_file"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_another_protocol_is_76() {
    let site = Site::new(Script::new().exit(0)).await;
    site.stub.claim_protocol(2);
    let (status, err) = ended(site.agent(&[])).await;
    assert_eq!(status.code(), Some(76), "{err}");
    assert!(err.contains("error[protocol]"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_metrics_are_served() {
    let site = Site::new(Script::new().exit(0)).await;
    let address = free_address().await;
    let agent = site.agent(&["--set", &format!("admin.address={address}")]);
    site.stub.expect_session().await;
    let id = site.submit();
    site.stub.ended(&id).await;
    assert!(get(address, "/livez").await.unwrap().starts_with("HTTP/1.1 200"));
    let ready = get(address, "/readyz").await.unwrap();
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
    let metrics = get(address, "/metrics").await.unwrap();
    assert!(metrics.contains("piculet_workflows_total{state=\"success\"} 1"), "{metrics}");
    assert!(metrics.contains("piculet_server_connected 1"), "{metrics}");
    signal(&agent, "TERM");
    assert_eq!(ended(agent).await.0.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_woodpecker_agent_answers_is_answered_too() {
    let site = Site::new(Script::new().forever()).await;
    let address = free_address().await;
    let agent = site.agent(&["--set", &format!("admin.address={address}"), "--max-workflows", "3"]);
    let text = |text: &str| text.to_owned();
    let environment = [("CI_REPO", "octo/cat"), ("CI_PIPELINE_NUMBER", "7")];
    let environment = environment.map(|(name, value)| (text(name), text(value))).into();
    let step = StepSpec { id: text("a"), name: text("a"), image: text("x"), environment, ..StepSpec::default() };
    let spec = WorkloadSpec {
        stages: vec![StageSpec { steps: vec![step] }],
        timeout_seconds: Some(600),
        ..WorkloadSpec::default()
    };
    let id = site.stub.submit(spec);
    site.stub.expect_session().await;
    while site.stub.workflow(&id).steps[0].state != piculet_core::outcome::StepState::Running {
        tokio::task::yield_now().await;
    }
    let json =
        |answer: &str| -> serde_json::Value { serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap() };
    assert!(get(address, "/healthz").await.unwrap().starts_with("HTTP/1.1 200"));
    let shown = json(&get(address, "/varz").await.unwrap());
    assert_eq!((&shown["polling_count"], &shown["running_count"]), (&2.into(), &1.into()), "{shown}");
    let run = &shown["running"][id.as_str()];
    assert_eq!((&run["repository"], &run["pipeline_number"]), (&"octo/cat".into(), &"7".into()), "{shown}");
    assert_eq!(run["pipeline_timeout"], 600_000_000_000u64);
    let version = json(&get(address, "/version").await.unwrap());
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    let mut ping = Command::new(env!("CARGO_BIN_EXE_piculet"));
    let ping = ping.arg("ping").env_clear().env("PICULET_ADMIN_ADDRESS", address.to_string()).status().await.unwrap();
    assert_eq!(ping.code(), Some(0));
    signal(&agent, "TERM");
    signal(&agent, "INT");
    ended(agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_for_a_single_workflow_ends_after_it() {
    let site = Site::new(Script::new().line("done").exit(0)).await;
    let (first, second) = (site.submit(), site.submit());
    let (status, err) = ended(site.agent(&["--set", "agent.single_workflow=true"])).await;
    assert_eq!(status.code(), Some(0), "{err}");
    let states = [first, second].map(|id| site.stub.workflow(&id).state);
    assert_eq!(states, [State::Success, State::Pending], "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_goes_where_it_is_wanted() {
    let site = Site::new(Script::new().exit(0)).await;
    let agent = site.agent(&["--set", "log.file=agent.log", "--set", "log.colour=on"]);
    site.stub.expect_session().await;
    signal(&agent, "TERM");
    let (status, err) = ended(agent).await;
    assert_eq!((status.code(), err.as_str()), (Some(0), ""));
    let written = std::fs::read_to_string(site.folder.path().join("agent.log")).unwrap();
    assert!(written.contains("starting") && written.contains("\u{1b}["), "{written}");
    let agent = site.agent(&["--set", "log.file=agent.log", "--log-format", "json"]);
    site.stub.expect_session().await;
    signal(&agent, "TERM");
    ended(agent).await;
    let both = std::fs::read_to_string(site.folder.path().join("agent.log")).unwrap();
    assert!(
        both.starts_with(&written) && both.contains("{\"timestamp\":"),
        "the file is written on at its end: {both}"
    );
}

/// One that nobody listens at: it was free a moment ago.
pub(crate) async fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap()
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

#[tokio::test]
async fn what_a_killed_agent_left_is_shown_and_removed() {
    let site = Site::new(Script::new().forever()).await;
    let mut agent = site.agent(&[]);
    site.submit();
    let pods = || site.cluster.objects(Kind::Pod).len();
    while pods() == 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    agent.kill().await.unwrap();
    assert_eq!(
        site.command(&["reap"]).await,
        ("There is nothing to remove.\n".to_owned(), Some(0)),
        "its time is not over"
    );
    let (would, code) = site.command(&["reap", "--all", "--dry-run"]).await;
    assert!(would.starts_with("would go: workflow '"), "{would}");
    assert!(would.contains(" in namespace 'ci', 3 objects: ConfigMap 'wp-") && would.contains("Pod 'wp-a'"), "{would}");
    assert_eq!((code, pods()), (Some(0), 1));
    let (goes, code) = site.command(&["reap", "--all"]).await;
    assert!(goes.starts_with("goes: workflow '"), "{goes}");
    let left = [Kind::Pod, Kind::Service, Kind::PersistentVolumeClaim].map(|kind| site.cluster.objects(kind).len());
    assert_eq!((code, left), (Some(0), [0; 3]));
    assert_eq!(site.command(&["reap", "--all"]).await.0, "There is nothing to remove.\n");
}
