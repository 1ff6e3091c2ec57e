//! The cluster, and a server that takes its time.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use fake_cluster::{FakeCluster, NodeSettings, Script, ScriptedRuntime};
use jiff::{SignedDuration, Timestamp};
use piculet_core::id::{Epoch, RunKey, ServerId, StepId, WorkflowId};
use piculet_core::logs::spool::Chunk;
use piculet_core::workload::{StageSpec, StepSpec, WorkloadSpec};
use piculet_link::message::Welcome;
use piculet_link::wire;
use piculet_link::wire::agent::{ReceivedBody, Said};
use piculet_proto::v1::agent_service_server::{AgentService, AgentServiceServer};
use piculet_proto::v1::{AgentMessage, MAX_MESSAGE_BYTES, ServerMessage};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

use super::{LINE_BYTES, LINES, NAMESPACE, QUIET_LINES, QUIET_STEPS, RATE};

/// Lines that the flood prints at once, twenty times a second.
const BURST: usize = 5000;

pub(super) async fn run() -> Result<(), Box<dyn Error>> {
    let runtime = ScriptedRuntime::new();
    runtime.on_all(Script::new().exit(0));
    runtime.on_label("step", "flood", flood());
    for number in 0..QUIET_STEPS {
        runtime.on_label("step", &quiet_name(number), quiet());
    }
    let settings = fake_cluster::Settings {
        namespaces: vec![NAMESPACE.to_owned()],
        nodes: vec![NodeSettings::new("node-1")],
        ..fake_cluster::Settings::default()
    };
    let cluster = FakeCluster::start(settings, runtime);
    let (_, kubeconfig) = cluster.listen(([127, 0, 0, 1], 0).into()).await?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    {
        let mut out = std::io::stdout().lock();
        // An empty line ends it.
        writeln!(out, "http://{}\n{}\n", listener.local_addr()?, kubeconfig.trim_end())?;
        out.flush()?;
    }
    let service = AgentServiceServer::new(Service(Arc::new(cluster)))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let serving = tonic::transport::Server::builder().add_service(service);
    let serving = serving.serve_with_incoming(TcpListenerStream::new(listener));
    let mut stdin = tokio::io::stdin();
    let mut nothing = [0];
    tokio::select! {
        served = serving => Ok(served?),
        closed = stdin.read(&mut nothing) => Ok(closed.map(drop)?),
    }
}

fn flood() -> Script {
    let bursts = usize::try_from(LINES).unwrap_or(usize::MAX) / BURST;
    let script = (0..bursts).fold(Script::new(), |script, burst| {
        let line = move |i| format!("{:0LINE_BYTES$}", burst * BURST + i);
        script.lines(BURST, line).wait(Duration::from_millis(50))
    });
    script.exit(0)
}

fn quiet() -> Script {
    let script = (0..QUIET_LINES)
        .fold(Script::new(), |script, number| script.line(&format!("line {number}")).wait(Duration::from_secs(1)));
    script.exit(0)
}

fn quiet_name(number: usize) -> String {
    format!("quiet-{number}")
}

fn workload() -> WorkloadSpec {
    let step = |name: String| StepSpec {
        id: name.clone(),
        name,
        image: "alpine".to_owned(),
        entrypoint: vec!["/bin/program".to_owned()],
        workspace_base: "/woodpecker".to_owned(),
        working_dir: "/woodpecker/src".to_owned(),
        ..StepSpec::default()
    };
    let steps = (0..QUIET_STEPS).map(quiet_name).chain(["flood".to_owned()]).map(step).collect();
    WorkloadSpec { name: "flood".to_owned(), stages: vec![StageSpec { steps }], ..WorkloadSpec::default() }
}

struct Service(Arc<FakeCluster>);

#[tonic::async_trait]
impl AgentService for Service {
    type ConnectStream = ReceiverStream<Result<ServerMessage, Status>>;

    async fn connect(
        &self,
        request: Request<Streaming<AgentMessage>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let (said, outgoing) = mpsc::channel(1024);
        let session =
            Session { cluster: Arc::clone(&self.0), said, stored: Stored::default(), free_at: Instant::now() };
        tokio::spawn(session.serve(request.into_inner()));
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }
}

/// The one session.
struct Session {
    cluster: Arc<FakeCluster>,
    said: mpsc::Sender<Result<ServerMessage, Status>>,
    stored: Stored,
    /// When the lines that were taken are stored.
    free_at: Instant,
}

/// What came, without the lines themselves.
#[derive(Debug, Default)]
struct Stored {
    next_line: BTreeMap<StepId, u64>,
    wrong: u64,
    /// Lines that a line in their place counts.
    announced: u64,
    latest_line: SignedDuration,
    latest_report: SignedDuration,
    reports: usize,
}

impl Session {
    async fn serve(mut self, mut heard: Streaming<AgentMessage>) {
        let mut is_assigned = false;
        while let Ok(Some(message)) = heard.message().await {
            match wire::agent::decode(message) {
                Ok(Some(Said::Hello(_))) => self.say(wire::server::welcome(welcome())).await,
                Ok(Some(Said::Demand(demand))) if demand.free_slots > 0 && !is_assigned => {
                    is_assigned = true;
                    self.say(wire::server::assign(&key(), &workload(), None)).await;
                }
                Ok(Some(Said::Report(report))) => {
                    let is_last = matches!(report.body, ReceivedBody::Finished(_));
                    self.store(report.body).await;
                    self.say(wire::server::ack(&report.key, report.sequence)).await;
                    if is_last {
                        self.stored.show().ok();
                    }
                }
                _ => {}
            }
        }
    }

    async fn say(&self, message: ServerMessage) {
        // An agent that is gone hears nothing.
        self.said.send(Ok(message)).await.ok();
    }

    async fn store(&mut self, body: ReceivedBody) {
        match body {
            ReceivedBody::Chunk { step, chunk } => {
                let lines = u32::try_from(chunk.lines.len()).unwrap_or(u32::MAX);
                self.free_at = self.free_at.max(Instant::now()) + Duration::from_secs(1) * lines / RATE;
                sleep_until(self.free_at).await;
                let now = self.cluster.now();
                self.stored.chunk(step, chunk, now);
            }
            ReceivedBody::Step(update) if update.step.as_str() != "flood" => {
                if let Some(finished) = update.finished {
                    self.stored.reports += 1;
                    let late = self.cluster.now().duration_since(finished);
                    self.stored.latest_report = self.stored.latest_report.max(late);
                }
            }
            _ => {}
        }
    }
}

impl Stored {
    fn chunk(&mut self, step: StepId, chunk: Chunk, now: Timestamp) {
        let is_flood = step.as_str() == "flood";
        let next = self.next_line.entry(step).or_default();
        self.wrong += u64::from(chunk.first_line != *next);
        for piece in chunk.lines {
            let text = String::from_utf8_lossy(&piece.bytes);
            let lost = text.strip_prefix("[piculet] ").filter(|text| text.contains(" lost here"));
            if let Some(lost) = lost.and_then(|text| text.split(' ').next()?.parse::<u64>().ok()) {
                self.announced += lost;
                *next += lost;
                continue;
            }
            if is_flood {
                self.wrong += u64::from(text.trim_start_matches('0').parse().unwrap_or(0) != *next);
            } else {
                self.latest_line = self.latest_line.max(now.duration_since(piece.time));
            }
            *next += 1;
        }
    }

    fn show(&self) -> std::io::Result<()> {
        let flood = self.next_line.get(&StepId::new("flood")).copied().unwrap_or_default();
        let all: u64 = self.next_line.values().sum();
        let mut out = std::io::stdout().lock();
        writeln!(
            out,
            "lines of the flood: {flood}, of all steps: {all}; announced as lost: {}; out of order: {}; latest line of a quiet step: {:.2} s; \
             latest of {} final reports of quiet steps: {:.2} s after the whole second in which the container ended",
            self.announced,
            self.wrong,
            self.latest_line.as_secs_f64(),
            self.reports,
            self.latest_report.as_secs_f64(),
        )?;
        out.flush()
    }
}

fn key() -> RunKey {
    RunKey { workflow: WorkflowId::new("flood"), epoch: Epoch(1) }
}

fn welcome() -> Welcome {
    Welcome {
        agent_id: "agent-1".into(),
        session_id: "session-1".into(),
        server: ServerId::new("server-1"),
        heartbeat: Duration::from_secs(10),
        lease: Duration::from_secs(30),
        held: vec![],
    }
}
