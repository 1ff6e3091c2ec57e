//! An agent of which every call is made by the test.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use piculet_proto::woodpecker as pb;
use piculet_proto::woodpecker::woodpecker_auth_client::WoodpeckerAuthClient;
use piculet_proto::woodpecker::woodpecker_client::WoodpeckerClient;
use server_stub::network::Network;
use server_stub::woodpecker::{Compiled, Config, Job, Server};
use tokio::task::JoinHandle;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

/// An agent with its access token. Clones share the connection.
#[derive(Clone)]
pub(crate) struct Agent {
    pub(crate) channel: Channel,
    pub(crate) id: i64,
    pub(crate) token: String,
    /// Sent with every call, besides the token.
    pub(crate) metadata: Vec<(&'static str, String)>,
}

pub(crate) async fn channel(network: &Network) -> Channel {
    let network = network.clone();
    let connector = tower::service_fn(move |_| {
        let connection = network.dial().map(TokioIo::new);
        async move { connection }
    });
    Endpoint::from_static("http://server.test").connect_with_connector(connector).await.unwrap()
}

pub(crate) async fn auth(channel: &Channel, token: &str, id: i64) -> Result<pb::AuthResponse, Status> {
    let request = pb::AuthRequest { agent_token: token.to_owned(), agent_id: id };
    within(WoodpeckerAuthClient::new(channel.clone()).auth(request)).await.map(tonic::Response::into_inner)
}

/// A server as it is installed.
pub(crate) fn server() -> Server {
    Server::start(Config::default())
}

/// A workflow of one step `test`.
pub(crate) fn one_step() -> Compiled {
    named("one step")
}

/// Another one.
pub(crate) fn named(name: &str) -> Compiled {
    Compiled::new(name).then([Job::commands("test", "rust:1.90", ["cargo test"])])
}

/// A workflow of two steps, `build` and `test`.
pub(crate) fn two_steps() -> Compiled {
    Compiled::new("two steps").then([Job::commands("build", "rust:1.90", ["cargo build"])]).then([Job::commands(
        "test",
        "rust:1.90",
        ["cargo test"],
    )])
}

/// Hours by the paused clock are nothing; a hang is a failure.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(24 * 3600), future).await.expect("it takes too long")
}

/// Lets time pass.
pub(crate) async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

pub(crate) fn refused<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, text: &str) {
    let status = result.expect_err("the server has to refuse that");
    assert_eq!((status.code(), status.message()), (code, text));
}

/// A state of a workflow.
pub(crate) fn at(started: i64, finished: i64) -> pb::WorkflowState {
    pb::WorkflowState { started, finished, ..pb::WorkflowState::default() }
}

/// A step's state as it begins.
pub(crate) fn begins(uuid: &str) -> pb::StepState {
    pb::StepState { step_uuid: uuid.to_owned(), ..pb::StepState::default() }
}

/// A step's state as it exits.
pub(crate) fn exits(uuid: &str, code: i32) -> pb::StepState {
    pb::StepState { started: 100, finished: 110, exited: true, exit_code: code, ..begins(uuid) }
}

/// Lines of a step, the first with this number.
pub(crate) fn lines(uuid: &str, first: i32, texts: &[&str]) -> Vec<pb::LogEntry> {
    let line = |(line, text): (i32, &&str)| pb::LogEntry {
        step_uuid: uuid.to_owned(),
        time: 1,
        line,
        r#type: 0,
        data: text.as_bytes().to_vec().into(),
    };
    (first..).zip(texts).map(line).collect()
}

impl Agent {
    /// Comes in with the system token, as a new agent.
    pub(crate) async fn connect(network: &Network) -> Self {
        Self::come_in(network, Config::TOKEN, -1).await
    }

    pub(crate) async fn come_in(network: &Network, token: &str, id: i64) -> Self {
        let channel = channel(network).await;
        let answer = auth(&channel, token, id).await.unwrap();
        Self { channel, id: answer.agent_id, token: answer.access_token, metadata: Vec::new() }
    }

    pub(crate) fn with(mut self, key: &'static str, value: &str) -> Self {
        self.metadata.push((key, value.to_owned()));
        self
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let all = self.metadata.iter().map(|(key, value)| (*key, value)).chain([("token", &self.token)]);
        for (key, value) in all {
            request.metadata_mut().insert(key, MetadataValue::try_from(value).unwrap());
        }
        request
    }

    pub(crate) fn client(&self) -> WoodpeckerClient<Channel> {
        WoodpeckerClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX)
    }

    pub(crate) async fn version(&self) -> Result<pb::VersionResponse, Status> {
        within(self.client().version(self.request(pb::Empty {}))).await.map(tonic::Response::into_inner)
    }

    pub(crate) async fn register(&self, info: pb::AgentInfo) -> Result<i64, Status> {
        let request = self.request(pb::RegisterAgentRequest { info: Some(info) });
        within(self.client().register_agent(request)).await.map(|answer| answer.into_inner().agent_id)
    }

    pub(crate) async fn unregister(&self) -> Result<(), Status> {
        within(self.client().unregister_agent(self.request(pb::Empty {}))).await.map(|_| ())
    }

    pub(crate) async fn health(&self, status: &str) -> Result<(), Status> {
        let request = self.request(pb::ReportHealthRequest { status: status.to_owned() });
        within(self.client().report_health(request)).await.map(|_| ())
    }

    /// `Next` with these labels, besides `repo=*`.
    pub(crate) async fn next_with(&self, labels: &[(&str, &str)]) -> Result<Option<pb::Workflow>, Status> {
        let mut labels: HashMap<String, String> =
            labels.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
        labels.insert("repo".to_owned(), "*".to_owned());
        self.next_exactly(labels).await
    }

    pub(crate) async fn next_exactly(&self, labels: HashMap<String, String>) -> Result<Option<pb::Workflow>, Status> {
        let request = self.request(pb::NextRequest { filter: Some(pb::Filter { labels }) });
        within(self.client().next(request)).await.map(|answer| answer.into_inner().workflow)
    }

    /// `Next`, in a task of its own.
    pub(crate) fn polls(&self) -> JoinHandle<Result<Option<pb::Workflow>, Status>> {
        self.polls_with(&[])
    }

    pub(crate) fn polls_with(
        &self,
        labels: &[(&'static str, &'static str)],
    ) -> JoinHandle<Result<Option<pb::Workflow>, Status>> {
        let (agent, labels) = (self.clone(), labels.to_vec());
        tokio::spawn(async move { agent.next_with(&labels).await })
    }

    /// Takes the next workflow, which is this one.
    pub(crate) async fn take(&self, id: i64) -> pb::Workflow {
        let workflow = self.next_with(&[]).await.unwrap().expect("there is a workflow");
        assert_eq!(workflow.id, id.to_string());
        workflow
    }

    /// Takes the next workflow, which is this one, and begins it.
    pub(crate) async fn begin(&self, id: i64) {
        self.take(id).await;
        self.init(id, at(100, 0)).await.unwrap();
    }

    pub(crate) async fn init(&self, id: i64, state: pb::WorkflowState) -> Result<(), Status> {
        self.init_text(&id.to_string(), state).await
    }

    pub(crate) async fn init_text(&self, id: &str, state: pb::WorkflowState) -> Result<(), Status> {
        let request = self.request(pb::InitRequest { id: id.to_owned(), state: Some(state) });
        within(self.client().init(request)).await.map(|_| ())
    }

    pub(crate) async fn wait(&self, id: i64) -> Result<bool, Status> {
        let request = self.request(pb::WaitRequest { id: id.to_string() });
        within(self.client().wait(request)).await.map(|answer| answer.into_inner().canceled)
    }

    /// `Wait`, in a task of its own.
    pub(crate) fn waits(&self, id: i64) -> JoinHandle<Result<bool, Status>> {
        let agent = self.clone();
        tokio::spawn(async move { agent.wait(id).await })
    }

    pub(crate) async fn extend(&self, id: i64) -> Result<(), Status> {
        let request = self.request(pb::ExtendRequest { id: id.to_string() });
        within(self.client().extend(request)).await.map(|_| ())
    }

    pub(crate) async fn update(&self, id: i64, state: pb::StepState) -> Result<(), Status> {
        let request = self.request(pb::UpdateRequest { id: id.to_string(), state: Some(state) });
        within(self.client().update(request)).await.map(|_| ())
    }

    pub(crate) async fn done(&self, id: i64, state: pb::WorkflowState) -> Result<(), Status> {
        let request = self.request(pb::DoneRequest { id: id.to_string(), state: Some(state) });
        within(self.client().done(request)).await.map(|_| ())
    }

    pub(crate) async fn log(&self, log_entries: Vec<pb::LogEntry>) -> Result<(), Status> {
        within(self.client().log(self.request(pb::LogRequest { log_entries }))).await.map(|_| ())
    }
}
