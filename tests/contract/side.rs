//! A server as the suite sees it, whatever it speaks.

use std::future::Future;
use std::sync::{Arc, Mutex};

use hyper_util::rt::TokioIo;
use piculet_core::outbox::Limits;
use piculet_core::outcome::{StepState, WorkflowState};
use piculet_link::link::Link;
use piculet_link::stream::Connect;
use server_stub::stub::Network;
use tonic::transport::Endpoint;
use tower::service_fn;

/// One kind of server, and the link to it.
pub(crate) trait Side: Sized {
    /// Starts a server.
    fn start() -> Self;

    /// A link with good credentials, or bad ones.
    fn link(&self, credentials: &str) -> impl Link;

    /// What the outbox has to do for this link.
    fn limits() -> Limits;

    /// The line to the server of the moment.
    fn wire(&self) -> &Wire;

    /// Puts a workflow with the steps `build` and `test` into the queue.
    fn submit(&self, name: &str) -> String;

    /// Somebody cancels it.
    fn cancel(&self, id: &str);

    /// The server is killed, and starts anew with what it had stored.
    fn restart(&mut self);

    /// From now on nobody's credentials are good, until it is restarted.
    fn refuse_everybody(&mut self);

    /// How a workflow stands.
    fn workflow(&self, id: &str) -> Shown;

    /// A step's lines, with their numbers.
    fn log(&self, id: &str, step: &str) -> Vec<(u64, String)>;

    /// Waits until a workflow is over.
    fn ended(&self, id: &str) -> impl Future<Output = Shown>;
}

/// How a workflow stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    /// `None`: not over.
    pub(crate) state: Option<WorkflowState>,
    pub(crate) error: String,
    /// `build` and `test`.
    pub(crate) steps: [(StepState, Option<i32>); 2],
}

/// The credentials that servers accept.
pub(crate) const GOOD: &str = "good-token";

/// The line to the server of the moment: a restarted one has another.
#[derive(Clone)]
pub(crate) struct Wire(Arc<Mutex<Network>>);

impl Wire {
    pub(crate) fn new(network: Network) -> Self {
        Self(Arc::new(Mutex::new(network)))
    }

    pub(crate) fn network(&self) -> Network {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn leads_to(&self, network: Network) {
        *self.0.lock().unwrap() = network;
    }

    /// For a link.
    pub(crate) fn connector(&self) -> impl Connect + use<> {
        let wire = self.clone();
        move |endpoint: Endpoint| {
            let wire = wire.clone();
            async move {
                let pipe = service_fn(move |_| {
                    let pipe = wire.network().dial().map(TokioIo::new);
                    async move { pipe }
                });
                endpoint.connect_with_connector(pipe).await
            }
        }
    }
}
