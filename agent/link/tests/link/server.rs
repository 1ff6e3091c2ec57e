//! A server that does what the test says, call by call.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use piculet_core::id::{Epoch, RunKey, Sequence, ServerId, WorkflowId};
use piculet_core::workload::{StageSpec, StepSpec, WorkloadSpec};
use piculet_link::message::{Demand, HeldDecision, Hello, Welcome};
use piculet_link::wire;
use piculet_link::wire::agent::{Received, ReceivedBody, Said};
use piculet_proto::v1::agent_service_server::{AgentService, AgentServiceServer};
use piculet_proto::v1::{AgentMessage, MAX_MESSAGE_BYTES, ServerMessage};
use tokio::io::DuplexStream;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::ServerTlsConfig;
use tonic::{Request, Response, Status, Streaming};

use crate::agent::within_an_hour;

pub(crate) const HEARTBEAT: Duration = Duration::from_secs(10);
pub(crate) const LEASE: Duration = Duration::from_secs(30);

/// Calls as they come in.
pub(crate) struct Server {
    rings: mpsc::Receiver<Ring>,
}

/// A call that was not answered yet: the agent has no headers.
pub(crate) struct Ring {
    pub(crate) authorization: Option<String>,
    heard: Streaming<AgentMessage>,
    said: mpsc::Sender<Result<ServerMessage, Status>>,
    answer: oneshot::Sender<Result<(), Status>>,
}

/// A call that was answered.
pub(crate) struct Call {
    heard: Streaming<AgentMessage>,
    said: mpsc::Sender<Result<ServerMessage, Status>>,
}

struct Service {
    rings: mpsc::Sender<Ring>,
}

#[tonic::async_trait]
impl AgentService for Service {
    type ConnectStream = ReceiverStream<Result<ServerMessage, Status>>;

    async fn connect(
        &self,
        request: Request<Streaming<AgentMessage>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let authorization = request.metadata().get("authorization").map(|value| value.to_str().unwrap().to_owned());
        let (said, outgoing) = mpsc::channel(1024);
        let (answer, answered) = oneshot::channel();
        let ring = Ring { authorization, heard: request.into_inner(), said, answer };
        self.rings.send(ring).await.map_err(|_| Status::unavailable("the test is over"))?;
        // A test that looks away leaves the agent without headers.
        answered.await.unwrap_or_else(|_| Err(Status::unavailable("the test hung up")))?;
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }
}

impl Server {
    pub(crate) fn start(connections: mpsc::Receiver<io::Result<DuplexStream>>, tls: Option<ServerTlsConfig>) -> Self {
        let (rings, received) = mpsc::channel(8);
        let service = AgentServiceServer::new(Service { rings })
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let mut server = tonic::transport::Server::builder();
        if let Some(tls) = tls {
            server = server.tls_config(tls).unwrap();
        }
        let serving = server.add_service(service).serve_with_incoming(ReceiverStream::new(connections));
        tokio::spawn(async move { serving.await.expect("the server serves to the end of the test") });
        Self { rings: received }
    }

    /// The next call.
    pub(crate) async fn ring(&mut self) -> Ring {
        within_an_hour(self.rings.recv()).await.expect("the server serves to the end of the test")
    }

    /// The next call, answered, after its hello.
    pub(crate) async fn call(&mut self) -> (Call, Hello) {
        let mut call = self.ring().await.accept();
        let hello = call.hear_hello().await;
        (call, hello)
    }

    /// The next session, with nothing held.
    pub(crate) async fn session(&mut self) -> Call {
        let (call, hello) = self.call().await;
        assert_eq!(hello.held, []);
        call.say(wire::server::welcome(welcome([])));
        call
    }

    /// The next session, with what is stored for each held workflow.
    pub(crate) async fn resumed(&mut self, store: &Store) -> Call {
        let (call, hello) = self.call().await;
        let decisions = hello.held.into_iter().map(|held| HeldDecision {
            keep: true,
            acknowledged: store.last(&held.key),
            key: held.key,
            log_lines: BTreeMap::new(),
        });
        call.say(wire::server::welcome(welcome(decisions)));
        call
    }
}

impl Ring {
    pub(crate) fn accept(self) -> Call {
        self.answer.send(Ok(())).ok();
        Call { heard: self.heard, said: self.said }
    }

    pub(crate) fn refuse(self, status: Status) {
        self.answer.send(Err(status)).ok();
    }

    /// What the agent says although it has no headers yet.
    pub(crate) async fn hear(&mut self) -> Option<Said> {
        hear(&mut self.heard).await
    }
}

impl Call {
    pub(crate) fn say(&self, message: ServerMessage) {
        self.said.try_send(Ok(message)).expect("the agent hears what is said");
    }

    pub(crate) fn ack(&self, key: &RunKey, sequence: u64) {
        self.say(wire::server::ack(key, Sequence(sequence)));
    }

    pub(crate) fn assign(&self, key: &RunKey) {
        self.say(wire::server::assign(key, &spec(), None));
    }

    /// Ends the call with an error.
    pub(crate) fn end(self, status: Status) {
        self.said.try_send(Err(status)).expect("the agent hears what is said");
    }

    /// The next message; `None` if the agent closed the session in order.
    pub(crate) async fn hear(&mut self) -> Option<Said> {
        hear(&mut self.heard).await
    }

    pub(crate) async fn hear_hello(&mut self) -> Hello {
        match self.hear().await {
            Some(Said::Hello(hello)) => hello,
            other => panic!("{other:?} instead of a hello"),
        }
    }

    pub(crate) async fn hear_demand(&mut self) -> Demand {
        match self.hear().await {
            Some(Said::Demand(demand)) => demand,
            other => panic!("{other:?} instead of a demand"),
        }
    }

    /// The next report; `None` if the call broke. What is no report is skipped.
    pub(crate) async fn next_report(&mut self) -> Option<Received> {
        loop {
            let message = within_an_hour(self.heard.message()).await.ok()??;
            if let Some(Said::Report(report)) = wire::agent::decode(message).unwrap() {
                return Some(report);
            }
        }
    }

    pub(crate) async fn hear_report(&mut self) -> Received {
        self.next_report().await.expect("a report")
    }
}

async fn hear(heard: &mut Streaming<AgentMessage>) -> Option<Said> {
    let message = within_an_hour(heard.message()).await.expect("the call is not broken")?;
    Some(wire::agent::decode(message).unwrap().expect("a message that is known"))
}

/// What a server has stored: the reports of each workflow, without gaps.
#[derive(Debug, Default)]
pub(crate) struct Store(pub(crate) BTreeMap<RunKey, Vec<ReceivedBody>>);

impl Store {
    /// Stores a report, if it is new.
    pub(crate) fn take(&mut self, report: Received) {
        let reports = self.0.entry(report.key).or_default();
        let place = usize::try_from(report.sequence.0).unwrap() - 1;
        assert!(place <= reports.len(), "a gap before report {}", report.sequence.0);
        if place == reports.len() {
            reports.push(report.body);
        } else {
            assert_eq!(reports[place], report.body, "the same number for something else");
        }
    }

    pub(crate) fn last(&self, key: &RunKey) -> Sequence {
        Sequence(self.0.get(key).map_or(0, |reports| reports.len() as u64))
    }
}

pub(crate) fn welcome(held: impl IntoIterator<Item = HeldDecision>) -> Welcome {
    Welcome {
        agent_id: "agent-1".into(),
        session_id: "session-1".into(),
        server: ServerId::new("server-1"),
        heartbeat: HEARTBEAT,
        lease: LEASE,
        held: held.into_iter().collect(),
    }
}

pub(crate) fn key(workflow: &str) -> RunKey {
    RunKey { workflow: WorkflowId::new(workflow), epoch: Epoch(1) }
}

pub(crate) fn spec() -> WorkloadSpec {
    let step = StepSpec { id: "s-1".into(), name: "build".into(), image: "rust".into(), ..StepSpec::default() };
    WorkloadSpec { stages: vec![StageSpec { steps: vec![step] }], ..WorkloadSpec::default() }
}
