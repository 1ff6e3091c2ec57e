//! A server that does nothing but hand work out and write down when it heard what: no time of its own is measured.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use piculet_core::id::{Epoch, RunKey, ServerId, WorkflowId};
use piculet_core::outcome::{StepState, WorkflowState};
use piculet_core::workload::WorkloadSpec;
use piculet_link::message::Welcome;
use piculet_link::wire;
use piculet_link::wire::agent::{Received, ReceivedBody, Said};
use piculet_proto::v1::agent_service_server::{AgentService, AgentServiceServer};
use piculet_proto::v1::{AgentMessage, MAX_MESSAGE_BYTES, ServerMessage};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::{Identity, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};

use crate::certificates::Certificates;

/// Messages that may wait for the agent. More than it is ever told at once.
const WAITING: usize = 4096;

/// What was said to or heard from the agent, and when.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    /// By workflow: when the agent was told that it may begin.
    pub(crate) words: BTreeMap<String, Instant>,
    /// By step: when its end was heard.
    pub(crate) ends: BTreeMap<String, Instant>,
    /// How many workflows are over.
    pub(crate) finished: usize,
    /// How many lines came, those of the agent itself not counted.
    pub(crate) lines: usize,
    /// Reports that should not have come.
    pub(crate) wrong: Vec<String>,
}

/// A server with one agent.
#[derive(Clone)]
pub(crate) struct Server(Arc<Shared>);

struct Shared {
    address: SocketAddr,
    said: Mutex<Option<mpsc::Sender<Result<ServerMessage, Status>>>>,
    journal: Mutex<Journal>,
    news: watch::Sender<()>,
}

impl Server {
    pub(crate) async fn start(certificates: &Certificates) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared =
            Shared { address, said: Mutex::default(), journal: Mutex::default(), news: watch::Sender::default() };
        let server = Self(Arc::new(shared));
        let service = AgentServiceServer::new(server.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let tls = ServerTlsConfig::new().identity(Identity::from_pem(&certificates.chain, &certificates.private));
        let serving = tonic::transport::Server::builder().tls_config(tls).unwrap().add_service(service);
        tokio::spawn(serving.serve_with_incoming(TcpListenerStream::new(listener)));
        server
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.address
    }

    pub(crate) fn journal(&self) -> MutexGuard<'_, Journal> {
        self.0.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the agent wants work.
    pub(crate) async fn agent(&self) {
        self.until(|server| server.said().is_some()).await;
    }

    /// Hands a workflow out.
    pub(crate) async fn assign(&self, workflow: &str, spec: &WorkloadSpec) {
        let key = RunKey { workflow: WorkflowId::new(workflow), epoch: Epoch(1) };
        let said = self.said().unwrap();
        said.send(Ok(wire::server::assign(&key, spec, None))).await.unwrap();
    }

    /// Waits until so many workflows are over.
    pub(crate) async fn finished(&self, count: usize) {
        self.until(|server| server.journal().finished >= count).await;
    }

    async fn until(&self, is_so: impl Fn(&Self) -> bool) {
        let mut news = self.0.news.subscribe();
        while !is_so(self) {
            news.changed().await.unwrap();
        }
    }

    fn said(&self) -> Option<mpsc::Sender<Result<ServerMessage, Status>>> {
        self.0.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn serve(self, mut heard: Streaming<AgentMessage>, said: mpsc::Sender<Result<ServerMessage, Status>>) {
        while let Ok(Some(message)) = heard.message().await {
            let at = Instant::now();
            match wire::agent::decode(message) {
                Ok(Some(Said::Hello(_))) => said.send(Ok(wire::server::welcome(welcome()))).await.unwrap(),
                Ok(Some(Said::Demand(_))) => {
                    *self.0.said.lock().unwrap_or_else(PoisonError::into_inner) = Some(said.clone());
                    self.0.news.send_replace(());
                }
                Ok(Some(Said::Report(report))) => {
                    let ack = wire::server::ack(&report.key, report.sequence);
                    self.note(at, report);
                    // An agent that is gone hears nothing.
                    said.send(Ok(ack)).await.ok();
                    self.0.news.send_replace(());
                }
                Ok(_) => {}
                Err(error) => self.journal().wrong.push(error.to_string()),
            }
        }
    }

    fn note(&self, at: Instant, report: Received) {
        let mut journal = self.journal();
        match report.body {
            ReceivedBody::Accepted => drop(journal.words.insert(report.key.workflow.as_str().to_owned(), at)),
            ReceivedBody::Step(update) if update.finished.is_some() => {
                if update.state != StepState::Success {
                    journal.wrong.push(format!("{update:?}"));
                }
                journal.ends.insert(update.step.as_str().to_owned(), at);
            }
            ReceivedBody::Step(_) => {}
            ReceivedBody::Chunk { chunk, .. } => {
                journal.lines += chunk.lines.iter().filter(|line| !line.bytes.starts_with(b"[piculet]")).count();
            }
            ReceivedBody::Finished(end) => {
                if end.state != WorkflowState::Success {
                    journal.wrong.push(format!("{end:?}"));
                }
                journal.finished += 1;
            }
            refused @ ReceivedBody::Refused { .. } => journal.wrong.push(format!("{refused:?}")),
        }
    }
}

#[tonic::async_trait]
impl AgentService for Server {
    type ConnectStream = ReceiverStream<Result<ServerMessage, Status>>;

    async fn connect(
        &self,
        request: Request<Streaming<AgentMessage>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let (said, outgoing) = mpsc::channel(WAITING);
        tokio::spawn(self.clone().serve(request.into_inner(), said));
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }
}

fn welcome() -> Welcome {
    Welcome {
        agent_id: "agent".into(),
        session_id: "session".into(),
        server: ServerId::new("benchmark"),
        heartbeat: Duration::from_secs(10),
        lease: Duration::from_secs(30),
        held: vec![],
    }
}
