//! The server as a test wants it: it says what the test tells it to say, and shows what it heard.
//!
//! ```no_run
//! # async fn test() {
//! use server_stub::stub::Stub;
//!
//! let stub = Stub::by_hand();
//! let network = stub.network();
//! // … an agent dials through `network` …
//! let session = stub.expect_session().await;
//! let workflow = session.assign(Default::default()).await;
//! let report = session.next_report().await;
//! session.break_with(tonic::Status::unavailable("the test says so"));
//! # }
//! ```
//!
//! Everything below is the server that people run; the script only adds to it.

mod session_handle;

pub use session_handle::SessionHandle;

use std::io;
use std::time::Duration;

use futures_util::stream;

use piculet_core::id::WorkflowId;
use piculet_core::report::LogLine;
use piculet_core::workload::WorkloadSpec;
use tokio::io::DuplexStream;
use tokio_util::task::TaskTracker;
use tonic::Status;

use crate::dispatch::Submission;
use crate::network::Host;
pub use crate::network::{Network, NetworkError};
use crate::script::Script;
use crate::server::{Config, Server, State};
use crate::store::{LogPlace, Page, Store};
use crate::view::WorkflowView;

/// How long a test waits for what it expects, by tokio's clock.
const PATIENCE: Duration = Duration::from_secs(120);

/// A scriptable server.
#[derive(Debug, Clone)]
pub struct Stub {
    server: Server,
}

impl Stub {
    /// Starts a server that records what agents say.
    pub fn start(config: Config) -> Self {
        let store = Store::in_memory();
        Self::restart(config, store.expect("memory is always to be had"))
    }

    /// Starts a server that goes on where the store ends.
    ///
    /// # Panics
    /// If the store can't be read.
    pub fn restart(config: Config, store: Store) -> Self {
        match Server::start_scripted(config, store, Script::recording()) {
            Ok(server) => Self { server },
            Err(error) => panic!("{error}"),
        }
    }

    /// Starts one that assigns nothing unless the test does.
    pub fn by_hand() -> Self {
        Self::start(Config { places: false, ..Config::default() })
    }

    /// As if the server's process had been killed: nothing more is stored, and nobody is told anything. What is stored
    /// is returned, for the next one.
    pub fn kill(self) -> Store {
        self.server.kill();
        self.server.store().clone()
    }

    /// The server itself.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// A network in memory that leads to this server only.
    pub fn network(&self) -> Network {
        Network::to(self.server.clone())
    }

    /// Waits for the next session that an agent opened.
    ///
    /// # Panics
    /// If none comes for two minutes of tokio's clock.
    pub async fn expect_session(&self) -> SessionHandle {
        let (id, hello) = self.poll("a session", |state| state.script.next_session()).await;
        SessionHandle::new(self.clone(), id, hello)
    }

    /// The next call ends with this status, before anything is said. Adds up.
    pub fn refuse_next(&self, status: Status) {
        self.server.change(|state, _| state.script.refuse_next(status));
    }

    /// Whether response headers are held back until `Hello` has come, as some servers do.
    pub fn delay_headers(&self, delays: bool) {
        self.server.change(|state, _| state.script.delays_headers = delays);
    }

    /// The protocol version that the server answers with from now on.
    pub fn claim_protocol(&self, version: u32) {
        self.server.change(|state, _| state.dispatcher.policy_mut().protocol = version);
    }

    /// Whether workflows are placed as soon as an agent can take them.
    pub fn place_by_itself(&self, places: bool) {
        self.server.change(|state, now| state.dispatcher.set_placing(places, now));
    }

    /// Puts a workflow into the queue.
    ///
    /// # Panics
    /// If the server doesn't take it.
    pub fn submit(&self, spec: WorkloadSpec) -> WorkflowId {
        let id = WorkflowId::new(uuid::Uuid::new_v4().to_string());
        let submission = Submission::new(id.clone(), spec);
        match self.server.submit(vec![submission]) {
            Ok(()) => id,
            Err(error) => panic!("the server did not take the workflow: {error}"),
        }
    }

    /// What is known of a workflow.
    ///
    /// # Panics
    /// If the server doesn't know it.
    pub fn workflow(&self, id: &WorkflowId) -> WorkflowView {
        match self.server.workflow(id.as_str()) {
            Ok(view) => view,
            Err(error) => panic!("{error}"),
        }
    }

    /// Waits until a workflow is over.
    ///
    /// # Panics
    /// If the server doesn't know it.
    pub async fn ended(&self, id: &WorkflowId) -> WorkflowView {
        self.server.ended(id).await;
        self.workflow(id)
    }

    /// All lines of a step's log, as far as they are stored. The step is named by id or name.
    ///
    /// # Panics
    /// If the server doesn't know the step.
    pub fn log(&self, id: &WorkflowId, step: &str) -> Vec<LogLine> {
        self.server.look(|dispatcher| {
            let step = dispatcher
                .workflow(id)
                .and_then(|workflow| Some((workflow.ledger.find_step(step)?.0, workflow.number)));
            match step {
                Some((step, number)) => {
                    let (log, page) =
                        (LogPlace { workflow: number, step }, Page { from: 0, lines: usize::MAX, bytes: usize::MAX });
                    match self.server.store().lines_now(log, page) {
                        Ok(lines) => lines,
                        Err(error) => panic!("{error}"),
                    }
                }
                None => panic!("there is no such step in the workflow '{id}'"),
            }
        })
    }

    /// Looks whenever an agent said something, until there is what the test waits for.
    async fn poll<T>(&self, what: &str, mut look: impl FnMut(&mut State) -> Option<T>) -> T {
        let news = self.server.change(|state, _| state.script.news.clone());
        let wait = async {
            loop {
                let notified = news.notified();
                tokio::pin!(notified);
                notified.as_mut().enable();
                if let Some(found) = self.server.change(|state, _| look(state)) {
                    return found;
                }
                notified.await;
            }
        };
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(found) => found,
            Err(_) => panic!("{what} did not come within {} s", PATIENCE.as_secs()),
        }
    }
}

impl Host for Server {
    fn receive(&self, connection: DuplexStream) {
        let serving = self.serve_with_incoming(stream::iter([Ok::<_, io::Error>(connection)]));
        Self::tasks(self).spawn(async move {
            if let Err(error) = serving.await {
                tracing::debug!(%error, "a connection in memory ended");
            }
        });
    }

    fn tasks(&self) -> &TaskTracker {
        Self::tasks(self)
    }
}
