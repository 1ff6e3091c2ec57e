//! Nobody is told what isn't stored.

use std::path::PathBuf;
use std::time::Duration;

use piculet_core::id::WorkflowId;
use piculet_proto::v1 as pb;
use piculet_proto::v1::server_message::Message as Heard;
use server_stub::dispatch::{State, Submission, Timing};
use server_stub::server::{Config, Server};
use server_stub::store::Store;
use server_stub::stub::Stub;
use tempfile::TempDir;
use tonic::Code;

use crate::agent::{RawAgent, accepted, finished, held, hello, log, log_bytes, log_end, step, until, within, workload};

/// How long the disk of these tests takes.
const LATENCY: Duration = Duration::from_secs(2);

/// A real database, which takes no more steps for as long as a test wants.
struct Disk {
    folder: TempDir,
}

impl Disk {
    fn new() -> Self {
        Self { folder: TempDir::new().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("server.db")
    }

    fn store(&self) -> Store {
        Store::open(&self.path()).unwrap()
    }

    fn does(&self, sql: &str) {
        rusqlite::Connection::open(self.path()).unwrap().execute_batch(sql).unwrap();
    }

    fn fill(&self) {
        self.does("CREATE TRIGGER full BEFORE INSERT ON steps BEGIN SELECT RAISE(ABORT, 'no room'); END");
    }

    fn clear(&self) {
        self.does("DROP TRIGGER full");
    }
}

fn slow() -> Stub {
    Stub::restart(Config::default(), Store::simulated(LATENCY).unwrap())
}

/// How long something takes, in seconds of the paused clock.
async fn seconds<T>(work: impl Future<Output = T>) -> (u64, T) {
    let start = tokio::time::Instant::now();
    let done = within(work).await;
    (start.elapsed().as_secs(), done)
}

#[tokio::test(start_paused = true)]
async fn an_assignment_and_an_acknowledgement_wait_for_the_disk() {
    let stub = slow();
    let mut agent = RawAgent::ready(&stub.network(), hello("agent"), 1).await;
    until(|| stub.server().agents().iter().any(|agent| agent.free_slots == 1)).await;
    stub.server().settled().await;
    stub.submit(workload("w"));
    let (waited, assign) = seconds(agent.assign()).await;
    assert_eq!(waited, 2);
    agent.say(accepted(&assign)).await;
    let (waited, _) = seconds(agent.ack()).await;
    // That the agent has it, and that it is about to be told so: from then on nobody else may start it.
    assert!((2..=4).contains(&waited), "{waited} s");
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_changes_nothing_that_it_would_have_to_wait_for() {
    let stub = slow();
    let mut agent = RawAgent::ready(&stub.network(), hello("agent"), 1).await;
    stub.submit(workload("w"));
    let assign = agent.take().await;
    stub.server().settled().await;
    let start = tokio::time::Instant::now();
    agent.say(step(&assign, 2, pb::StepState::Running, None)).await;
    tokio::time::sleep(LATENCY / 2).await;
    agent.say(log(&assign, 3, 0, &["one"])).await;
    assert_eq!(agent.ack().await.2, 2);
    assert_eq!(start.elapsed(), LATENCY);
    assert_eq!(agent.ack().await.2, 3);
    assert_eq!(start.elapsed(), 2 * LATENCY);
    assert!(stub.server().is_settled());
}

#[tokio::test(start_paused = true)]
async fn what_was_not_stored_was_not_acknowledged_and_comes_again() {
    let stub = slow();
    let mut agent = RawAgent::ready(&stub.network(), hello("agent"), 1).await;
    let id = stub.submit(workload("w"));
    let assign = agent.take().await;
    stub.server().settled().await;
    agent.say(step(&assign, 2, pb::StepState::Running, None)).await;
    agent.say(log(&assign, 3, 0, &["one"])).await;
    tokio::time::sleep(LATENCY / 2).await;
    assert_eq!(stub.workflow(&id).state, State::Running);
    let stub = Stub::restart(Config::default(), stub.kill());
    let hello = pb::Hello { held: vec![held(&assign, 1)], ..hello("agent") };
    let mut agent = RawAgent::connect(&stub.network(), hello).await;
    assert_eq!(agent.welcome.held[0].acknowledged, 1);
    agent.say(step(&assign, 2, pb::StepState::Running, None)).await;
    agent.say(log(&assign, 3, 0, &["one"])).await;
    agent.say(log_end(&assign, 4, 1, 3)).await;
    agent.say(step(&assign, 5, pb::StepState::Success, Some(0))).await;
    agent.say(finished(&assign, 6, pb::WorkflowState::Success)).await;
    while agent.ack().await.2 < 6 {}
    assert_eq!(stub.workflow(&id).state, State::Success);
    assert_eq!(stub.log(&id, "build").len(), 1);
}

/// A server whose database is in this folder, and another connection to that.
pub(crate) fn on_disk(folder: &TempDir) -> (Stub, rusqlite::Connection) {
    let path = folder.path().join("server.db");
    let stub = Stub::restart(Config::default(), Store::open(&path).unwrap());
    (stub, rusqlite::Connection::open(&path).unwrap())
}

#[tokio::test]
async fn what_was_forgotten_goes_while_nothing_else_is_to_do() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("server.db");
    drop(Store::open(&path).unwrap());
    let other = rusqlite::Connection::open(&path).unwrap();
    // More than goes at once, as a server left it that was killed.
    for first in 0..40 {
        other.execute("INSERT INTO log_blocks VALUES (7, 0, ?1, zeroblob(1048576))", [first]).unwrap();
    }
    let _server = Server::start(Config::default(), Store::open(&path).unwrap()).unwrap();
    let is_tidy = || {
        let blocks: u32 = other.query_row("SELECT count(*) FROM log_blocks", (), |row| row.get(0)).unwrap();
        blocks == 0 && std::fs::metadata(folder.path().join("server.db-wal")).unwrap().len() == 0
    };
    until(is_tidy).await;
}

#[tokio::test(start_paused = true)]
async fn a_shut_down_waits_until_all_is_stored() {
    let stub = slow();
    let id = stub.submit(workload("w"));
    stub.server().shut_down(Duration::from_secs(10)).await;
    let stub = Stub::restart(Config::default(), stub.kill());
    assert_eq!(stub.workflow(&id).state, State::Pending);
}

#[tokio::test(start_paused = true)]
async fn what_a_disk_refuses_is_tried_again_and_lost_by_nobody() {
    let disk = Disk::new();
    let server = Server::start(Config::default(), disk.store()).unwrap();
    disk.fill();
    let submission = server_stub::dispatch::Submission::new(WorkflowId::new("w"), workload("w"));
    server.submit(vec![submission]).unwrap();
    let patience = Duration::from_secs(30);
    tokio::time::timeout(patience, server.settled()).await.expect_err("nothing can be stored");
    disk.clear();
    tokio::time::timeout(patience, server.settled()).await.expect("it can be stored now");
    assert_eq!(server.store().load().unwrap().workflows.len(), 1);
}

/// The paused clock goes on, and pings are answered; nothing else is said.
async fn is_only_pinged(agent: &mut RawAgent, time: Duration) {
    let pinged = async {
        loop {
            let heard = tokio::time::timeout(Duration::from_secs(30), agent.hear_all()).await;
            let heard = heard.expect("the agent takes the server for dead");
            assert!(matches!(heard, Heard::Ping(_)), "{heard:?}");
            agent.say(pb::agent_message::Message::Heartbeat(pb::Heartbeat::default())).await;
        }
    };
    tokio::time::timeout(time, pinged).await.expect_err("it goes on");
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_fails_for_longer_than_the_lease_cuts_nobody() {
    let disk = Disk::new();
    let stub = Stub::restart(Config::default(), disk.store());
    let mut agent = RawAgent::ready(&stub.network(), hello("agent"), 1).await;
    stub.submit(workload("w"));
    let assign = agent.take().await;
    disk.fill();
    agent.say(step(&assign, 2, pb::StepState::Running, None)).await;
    is_only_pinged(&mut agent, Duration::from_secs(200)).await;
    disk.clear();
    assert_eq!(agent.ack().await.2, 2);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_was_killed_says_no_more() {
    let stub = slow();
    let mut agent = RawAgent::ready(&stub.network(), hello("agent"), 1).await;
    stub.submit(workload("w"));
    let assign = agent.take().await;
    agent.say(step(&assign, 2, pb::StepState::Running, None)).await;
    tokio::time::sleep(LATENCY / 2).await;
    stub.kill();
    let heard = tokio::time::timeout(Duration::from_secs(200), agent.hear_all()).await;
    heard.expect_err("it neither acknowledges nor says that it lives");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_not_read_for_want_of_room_is_not_silent() {
    let disk = Disk::new();
    let stub = Stub::restart(Config::default(), disk.store());
    let mut agent = RawAgent::ready(&stub.network(), hello("agent"), 1).await;
    let id = stub.submit(workload("w"));
    let assign = agent.take().await;
    disk.fill();
    let line = vec![b'x'; pb::MAX_LOG_CHUNK_BYTES];
    let chunks = (32 << 20) / line.len() as u64;
    // From a task of its own: the server stops reading.
    let (network_is_full, saying) = (agent.speaker(), assign.clone());
    let said = tokio::spawn(async move {
        for chunk in 0..chunks {
            let chunk = log_bytes(&saying, 2 + chunk, chunk, &[&line]);
            network_is_full.send(pb::AgentMessage { message: Some(chunk) }).await.unwrap();
        }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(stub.server().look(|dispatcher| dispatcher.unsaved_log_bytes()) < 24 << 20, "it stopped reading");
    let quiet = tokio::time::timeout(Duration::from_secs(200), async {
        loop {
            let heard = agent.hear_all().await;
            assert!(matches!(heard, Heard::Ping(_)), "{heard:?}");
        }
    });
    quiet.await.expect_err("it goes on");
    disk.clear();
    within(said).await.unwrap();
    while agent.ack().await.2 < 1 + chunks {}
    assert_eq!(stub.workflow(&id).state, State::Running);
}

#[tokio::test(start_paused = true)]
async fn numbers_of_lines_that_nobody_can_mean_are_refused() {
    let stub = Stub::start(Config::default());
    let network = stub.network();
    let id = stub.submit(workload("w"));
    let mut agent = RawAgent::ready(&network, hello("agent"), 1).await;
    let assign = agent.take().await;
    for said in [log(&assign, 2, 1 << 53, &["x"]), log(&assign, 2, u64::MAX, &["x"]), log_end(&assign, 2, 1 << 63, 1)] {
        agent.say(said).await;
        let status = agent.end().await;
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains("a log may have 9007199254740992 lines"), "{}", status.message());
        agent = RawAgent::connect(&network, pb::Hello { held: vec![held(&assign, 1)], ..hello("agent") }).await;
    }
    agent.say(log(&assign, 2, (1 << 53) - 1, &["the last"])).await;
    assert_eq!(agent.ack().await.2, 2);
    assert_eq!(stub.log(&id, "build").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_contradicts_the_database_is_not_tried_again_and_again() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("server.db");
    let server = Server::start(Config::default(), Store::open(&path).unwrap()).unwrap();
    // A workload of a workflow that doesn't exist yet.
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute("INSERT INTO payloads VALUES (1, x'00')", ()).unwrap();
    server.submit(vec![Submission::new(WorkflowId::new("w"), workload("w"))]).unwrap();
    let reason = within(server.failed()).await;
    assert!(reason.starts_with("the database refused to store workflow 1: UNIQUE"), "{reason}");
    assert!(!server.is_settled(), "nobody was told of it");
}

/// Breaks whoever has an error to log.
struct Breaks;

impl tracing::Subscriber for Breaks {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::ERROR && metadata.target().starts_with("server_stub::server")
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        panic!("a fault of this test's making");
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test(start_paused = true)]
async fn that_nothing_stores_any_more_is_heard_of() {
    let disk = Disk::new();
    let server = Server::start(Config::default(), disk.store()).unwrap();
    disk.fill();
    // As long as there is one dispatcher, tracing asks whatever thread comes to an event first whether anybody wants it, and
    // the threads of other tests don't.
    let _another = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
    let _breaks = tracing::subscriber::set_default(Breaks);
    server.submit(vec![Submission::new(WorkflowId::new("w"), workload("w"))]).unwrap();
    let reason = within(server.failed()).await;
    assert!(reason.contains("what stores changes or what keeps the time is gone"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn that_nothing_keeps_the_time_any_more_is_heard_of() {
    // A moment that is beyond all clocks breaks whoever counts up to it.
    let timing = Timing { lost_after: Duration::MAX, ..Timing::default() };
    let stub = Stub::start(Config { timing, ..Config::default() });
    drop(RawAgent::connect(&stub.network(), hello("agent")).await);
    let reason = within(stub.server().failed()).await;
    assert!(reason.contains("what stores changes or what keeps the time is gone"), "{reason}");
}
