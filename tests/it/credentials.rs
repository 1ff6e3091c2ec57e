//! Tokens and certificates that are wrong at the start, turn wrong while workflows run, and are put right again.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fake_cluster::{FakeCluster, Script, ScriptedRuntime};
use piculet::agent::Agent;
use piculet::config::{Config, Target, unreadable};
use piculet::exit::Failure;
use piculet::link;
use piculet::shutdown::Shutdown;
use piculet::telemetry::{CauseLabels, Metrics};
use piculet_cluster::{Cluster, Limits};
use piculet_core::id::InstanceId;
use piculet_core::outcome::StepState::Success;
use piculet_core::secret::Secret;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use server_stub::dispatch::State;
use server_stub::serve::{Tls, TlsFiles};
use server_stub::stub::Stub;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tonic::Status;

use crate::world::{NAMESPACE, World, ends, expected, step, workflow};

/// Prints numbered lines, with a pause after each.
fn talkative(lines: usize, pause: Duration) -> Script {
    (0..lines).fold(Script::new(), |script, i| script.line(&format!("line {i}")).wait(pause)).exit(0)
}

fn numbered(lines: usize) -> Vec<String> {
    (0..lines).map(|i| format!("line {i}")).collect()
}

fn failures(metrics: &Metrics, code: &'static str) -> u64 {
    metrics.session_failures.get_or_create(&CauseLabels { code }).get()
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_revoked_while_workflows_run_costs_nothing_but_time() {
    let mut world = World::new();
    let agent = world.agent();
    world.step_does("talk", talkative(300, Duration::from_millis(100)));
    let id = world.stub.submit(workflow(vec![vec![step("talk")], vec![step("later")]]));
    let session = world.stub.expect_session().await;
    sleep(Duration::from_secs(20)).await;
    let refusals = 12;
    for _ in 0..refusals {
        world.stub.refuse_next(Status::unauthenticated("the token was revoked"));
    }
    session.break_with(Status::unauthenticated("the token was revoked"));
    // Both steps are over long before the server hears of it.
    sleep(Duration::from_secs(40)).await;
    assert_eq!(world.stub.workflow(&id).state, State::Running);
    assert!(world.cluster.counters().requests(fake_cluster::Verb::Create, "pods") >= 2, "the workflow goes on");
    assert_eq!(agent.metrics.connected.get(), 0);
    assert!(failures(&agent.metrics, "link-unauthenticated") > 5);
    let workflow = world.stub.ended(&id).await;
    assert_eq!(failures(&agent.metrics, "link-unauthenticated"), refusals + 1);
    assert_eq!(agent.metrics.connected.get(), 1);
    assert_eq!(ends(&workflow), expected(&[("talk", Success, Some(0)), ("later", Success, Some(0))]));
    assert_eq!(world.log(&workflow, "talk"), numbered(300));
    assert_eq!(workflow.epoch, 1, "the same instance went on with it");
    assert!(!agent.task.is_finished());
    world.until_clean().await;
}

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        Self::named(&format!("authority {}", NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    /// Authorities are found by their names.
    fn named(name: &str) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Certificate and key.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

/// A server on a real socket, with a token and certificates of both sides in files.
struct Secured {
    stub: Stub,
    cluster: FakeCluster,
    folder: TempDir,
    address: SocketAddr,
    authority: Authority,
}

/// An agent on the way to it.
struct Started {
    metrics: Metrics,
    task: JoinHandle<Result<(), Failure>>,
}

const TOKEN: &str = "let-me-in";
const PERIOD: Duration = Duration::from_millis(10);

impl Secured {
    async fn new(script: Script) -> Self {
        let (authority, folder) = (Authority::new(), TempDir::new().unwrap());
        let config = server_stub::server::Config { agent_token: Some(Secret::new(TOKEN)), ..Default::default() };
        let stub = Stub::start(config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let runtime = ScriptedRuntime::new();
        runtime.on_all(script);
        let secured = Self { stub, cluster: FakeCluster::scripted(&runtime), folder, address, authority };
        let (certificate, key) = secured.authority.issue("localhost");
        let files = TlsFiles {
            certificate: secured.write("server.pem", &certificate),
            key: secured.write("server.key", &key),
            client_authority: Some(secured.write("clients.pem", &secured.authority.0.pem())),
        };
        secured.write("ca.pem", &secured.authority.0.pem());
        secured.write("token", TOKEN);
        secured.show(secured.authority.issue("agent"));
        let tls = Tls::load(files).unwrap().checked_every(PERIOD);
        tokio::spawn(secured.stub.server().serve_agents(listener, Some(tls)));
        secured
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// What the agent shows.
    fn show(&self, (certificate, key): (String, String)) {
        self.write("agent.pem", &certificate);
        self.write("agent.key", &key);
    }

    fn config(&self) -> Config {
        let path = |name: &str| Some(self.folder.path().join(name));
        let mut config = Config::default();
        config.agent.name = "agent".to_owned();
        config.admin.address = None;
        config.pods.namespace = NAMESPACE.to_owned();
        config.server.address = Target::Stream(format!("https://{}", self.address).parse().unwrap());
        config.server.tls_name = Some("localhost".to_owned());
        config.server.token_file = path("token");
        config.server.ca_file = path("ca.pem");
        (config.server.certificate_file, config.server.key_file) = (path("agent.pem"), path("agent.key"));
        config
    }

    fn agent(&self, change: impl FnOnce(&mut Config)) -> Started {
        let mut config = self.config();
        change(&mut config);
        let cluster = Cluster::new(self.cluster.client(), NAMESPACE, Limits::default());
        let Target::Stream(address) = &config.server.address else { panic!("another protocol") };
        let link = link::stream(address, &config.server);
        let agent = Agent::new(config, cluster, InstanceId::new("instance"), "test-machine".to_owned());
        let metrics = agent.metrics().clone();
        Started { metrics, task: tokio::spawn(agent.run(link, Shutdown::default())) }
    }
}

#[tokio::test]
async fn what_is_wrong_at_the_start_ends_the_agent_with_a_code_of_its_own() {
    let secured = Secured::new(Script::new().exit(0)).await;
    let clear = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let without_tls = clear.local_addr().unwrap();
    tokio::spawn(secured.stub.server().serve_agents(clear, None));
    secured.write("other.pem", &Authority::new().0.pem());
    secured.write("other-token", "another-token");
    let path = |name: &str| Some(secured.folder.path().join(name));
    type Change<'a> = Box<dyn FnOnce(&mut Config) + 'a>;
    let cases: [(Change<'_>, u8, &str, &str); 6] = [
        (Box::new(|config| config.server.ca_file = path("other.pem")), 79, "tls", "an authority that is not trusted"),
        (Box::new(|config| config.server.tls_name = None), 79, "tls", "is for another name"),
        (
            Box::new(|config| (config.server.certificate_file, config.server.key_file) = (None, None)),
            79,
            "tls",
            "asks for a client certificate",
        ),
        (
            Box::new(|config| {
                config.server.address = Target::Stream(format!("http://{}", secured.address).parse().unwrap())
            }),
            79,
            "tls",
            "begin with https://",
        ),
        (
            Box::new(|config| {
                config.server.address = Target::Stream(format!("https://{without_tls}").parse().unwrap())
            }),
            79,
            "tls",
            "begin with http://",
        ),
        (Box::new(|config| config.server.token_file = path("other-token")), 77, "unauthorised", "the token is wrong"),
    ];
    for (change, exit, code, words) in cases {
        let ended = timeout(Duration::from_secs(30), secured.agent(change).task).await.unwrap().unwrap();
        let failure = ended.unwrap_err();
        let told = failure.to_string();
        assert_eq!((failure.exit_code(), failure.code()), (exit, code), "{told}");
        assert!(told.contains(words) && !failure.hint().is_empty() && !told.contains("another-token"), "{told}");
    }
}

#[tokio::test]
async fn a_key_of_another_certificate_is_an_error_of_the_configuration() {
    let secured = Secured::new(Script::new().exit(0)).await;
    assert_eq!(unreadable(&secured.config()), []);
    secured.write("agent.key", &secured.authority.issue("agent").1);
    let errors = unreadable(&secured.config());
    assert_eq!(errors.len(), 1, "{errors:?}");
    let told = errors[0].to_string();
    assert!(told.starts_with("server.key_file") && told.contains("agent.key' holds the key of another"), "{told}");
}

#[tokio::test]
async fn a_token_that_is_revoked_for_good_is_exchanged_while_a_workflow_runs() {
    let secured = Secured::new(talkative(40, Duration::from_millis(50))).await;
    let server = secured.stub.server();
    let first = server.create_token("east".to_owned(), String::new());
    secured.write("token", first.token.expose());
    let agent = secured.agent(|_| {});
    let id = secured.stub.submit(workflow(vec![vec![step("talk")]]));
    while secured.stub.log(&id, "talk").is_empty() {
        sleep(PERIOD).await;
    }
    server.revoke_token(&first.id).unwrap();
    let refused = async {
        while failures(&agent.metrics, "link-unauthenticated") < 2 {
            sleep(PERIOD).await;
        }
    };
    timeout(Duration::from_secs(30), refused).await.unwrap();
    assert_eq!(agent.metrics.connected.get(), 0);
    assert!(!agent.task.is_finished());
    assert_eq!(secured.stub.workflow(&id).state, State::Running);
    let second = server.create_token("east".to_owned(), String::new());
    secured.write("token", second.token.expose());
    let workflow = timeout(Duration::from_secs(60), secured.stub.ended(&id)).await.unwrap();
    assert_eq!(ends(&workflow), expected(&[("talk", Success, Some(0))]));
    let log: Vec<_> = secured.stub.log(&id, "talk").into_iter().map(|line| line.bytes).collect();
    assert_eq!(log, numbered(40));
    assert_eq!(workflow.epoch, 1, "the same instance went on with it");
    agent.task.abort();
}

#[tokio::test]
async fn certificates_are_exchanged_on_both_sides_while_a_workflow_runs() {
    let secured = Secured::new(talkative(40, Duration::from_millis(50))).await;
    let agent = secured.agent(|_| {});
    let session = secured.stub.expect_session().await;
    let id = secured.stub.submit(workflow(vec![vec![step("talk")]]));
    while secured.stub.log(&id, "talk").is_empty() {
        sleep(PERIOD).await;
    }
    // The server wants certificates of another authority from now on, and the agent doesn't know yet.
    let next = Authority::new();
    secured.write("clients.pem", &next.0.pem());
    sleep(20 * PERIOD).await;
    assert_eq!(agent.metrics.connected.get(), 1, "what is connected stays so");
    session.break_with(Status::unavailable("so that it dials anew"));
    let refused = async {
        while failures(&agent.metrics, "link-tls") < 2 {
            sleep(PERIOD).await;
        }
    };
    timeout(Duration::from_secs(30), refused).await.unwrap();
    assert!(!agent.task.is_finished());
    secured.show(next.issue("agent"));
    let workflow = timeout(Duration::from_secs(60), secured.stub.ended(&id)).await.unwrap();
    assert_eq!(ends(&workflow), expected(&[("talk", Success, Some(0))]));
    let log: Vec<_> = secured.stub.log(&id, "talk").into_iter().map(|line| line.bytes).collect();
    assert_eq!(log, numbered(40));
    assert_eq!(workflow.epoch, 1, "the same instance went on with it");
    agent.task.abort();
}
