//! An agent without runners: the test reports in their place.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use piculet_core::id::{Attempt, InstanceId, RunKey, StepId};
use piculet_core::outbox::{Limits, Usage};
use piculet_core::outcome::{StepState, WorkflowState};
use piculet_core::report::{LogLine, Report, StepReport, WorkflowReport};
use piculet_core::retry::Growth;
use piculet_core::secret::Secret;
use piculet_link::log_folder::LogFolder;
use piculet_link::message::{Cluster, Identity};
use piculet_link::stream::{self, StreamLink, Token};
use piculet_link::supervisor::{self, Assignment, Closed, Closer, Directive, GivenUp, Reporter, Status, supervise};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::network::Network;
use crate::server::Server;

/// So that what never comes is a failure, and no test that waits for ever.
pub(crate) async fn within_an_hour<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(3600), what).await.expect("it comes within an hour of virtual time")
}

/// What a test may set.
pub(crate) struct Plan {
    pub(crate) supervisor: supervisor::Settings,
    pub(crate) stream: stream::Settings,
    pub(crate) demand: u32,
    /// A directory for logs, and how many bytes may be in it.
    pub(crate) disk: Option<(PathBuf, u64)>,
}

impl Default for Plan {
    fn default() -> Self {
        let mut stream = stream::Settings::new("http://server.test:9000".parse().unwrap());
        stream.token = Some(Token::Text(Secret::new("hunter2")));
        Self {
            supervisor: supervisor::Settings {
                identity: identity(),
                limits: Limits::default(),
                backoff: Growth::default(),
                seed: 7,
                stable_after: Duration::from_secs(60),
            },
            stream,
            demand: 2,
            disk: None,
        }
    }
}

pub(crate) fn identity() -> Identity {
    Identity {
        name: "agent".into(),
        instance: InstanceId::new("instance-1"),
        version: "0.1.0".into(),
        cluster: Cluster { name: "test".into(), uid: "cluster-1".into(), version: "v1.34.4".into() },
        labels: [("disk".to_owned(), "ssd".to_owned())].into(),
        platforms: vec!["linux/amd64".into()],
        capacity: 4,
    }
}

/// A running supervisor.
pub(crate) struct Agent {
    pub(crate) reporter: Reporter,
    pub(crate) directives: mpsc::Receiver<Directive>,
    pub(crate) status: watch::Receiver<Status>,
    pub(crate) usage: watch::Receiver<Usage>,
    pub(crate) closer: Closer,
    pub(crate) demand: watch::Sender<u32>,
    pub(crate) running: JoinHandle<Result<Closed, GivenUp>>,
}

/// Agent, line, server.
pub(crate) fn start(plan: Plan) -> (Agent, Network, Server) {
    let (network, connections) = Network::new();
    let server = Server::start(connections, None);
    (Agent::start(plan, &network), network, server)
}

impl Agent {
    pub(crate) fn start(plan: Plan, network: &Network) -> Self {
        let network = network.clone();
        let link = StreamLink::with_connector(plan.stream, move |endpoint| network.clone().connect(endpoint));
        let (demand, wanted) = watch::channel(plan.demand);
        let (mut supervisor, handles) = supervise(link, plan.supervisor, wanted);
        if let Some((directory, bytes)) = plan.disk {
            supervisor = supervisor.with_log_folder(LogFolder::open(&directory).unwrap(), bytes);
        }
        Self {
            reporter: handles.reporter,
            directives: handles.directives,
            status: handles.status,
            usage: handles.usage,
            closer: handles.closer,
            demand,
            running: tokio::spawn(supervisor.run()),
        }
    }

    pub(crate) async fn directive(&mut self) -> Directive {
        within_an_hour(self.directives.recv()).await.expect("the supervisor runs")
    }

    pub(crate) async fn connected(&mut self) {
        let directive = self.directive().await;
        assert!(matches!(directive, Directive::Connected { .. }), "{directive:?}");
    }

    pub(crate) async fn disconnected(&mut self) -> String {
        match self.directive().await {
            Directive::Disconnected { reason } => reason,
            other => panic!("{other:?} instead of Disconnected"),
        }
    }

    pub(crate) async fn run(&mut self) -> Assignment {
        match self.directive().await {
            Directive::Run(assignment) => *assignment,
            other => panic!("{other:?} instead of Run"),
        }
    }

    pub(crate) async fn report(&self, key: &RunKey, report: Report) {
        self.reporter.report(key, report).await.unwrap();
    }

    pub(crate) async fn lines(&self, key: &RunKey, lines: Vec<LogLine>) {
        self.reporter.lines(key, &step(), lines).await.unwrap();
    }

    /// How the supervisor ended.
    pub(crate) async fn ended(self) -> Result<Closed, GivenUp> {
        within_an_hour(self.running).await.unwrap()
    }
}

pub(crate) fn step() -> StepId {
    StepId::new("s-1")
}

pub(crate) fn line(number: u64, text: impl Into<Bytes>) -> LogLine {
    LogLine { number, time: Timestamp::UNIX_EPOCH, bytes: text.into() }
}

pub(crate) fn state(state: StepState) -> Report {
    Report::Step(StepReport {
        step: step(),
        attempt: Attempt::FIRST,
        state,
        started: None,
        finished: None,
        outcome: None,
        error: String::new(),
    })
}

pub(crate) fn finished() -> Report {
    Report::Finished(WorkflowReport {
        state: WorkflowState::Success,
        started: Timestamp::UNIX_EPOCH,
        finished: Timestamp::UNIX_EPOCH,
        error: String::new(),
    })
}
