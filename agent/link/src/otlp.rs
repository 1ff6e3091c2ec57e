//! Traces to an OpenTelemetry collector, by OTLP over gRPC. Agent and server share it.
//!
//! ```text
//! recorders ──Span──▶ Outlet ──bounded queue──▶ worker ──batches──▶ exporter ──gRPC──▶ collector
//! ```
//!
//! Nothing that is traced ever waits for the collector: what finds no room in the queue is dropped, and what the collector
//! doesn't take after a few tries is, too. Both are counted, and said in the log once per outage.

mod collector;
mod convert;
mod outlet;
mod sampling;
mod settings;
#[cfg(test)]
mod tests;
mod worker;

pub use collector::exporter;
pub use outlet::{Outlet, Tally};
pub use sampling::Sampling;
pub use settings::{Batches, Problem, Settings, Wanted};

pub use opentelemetry_sdk::error::OTelSdkResult;
pub use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_sdk::Resource;
use piculet_core::trace::Context;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// What a span of the process itself may be put under.
pub fn parent(context: &Context) -> opentelemetry::Context {
    opentelemetry::Context::new().with_remote_span_context(convert::context(context))
}

/// The way out for traces, before it is opened.
pub struct Traces {
    outlet: Outlet,
    resource: Vec<(String, String)>,
    work: Box<dyn FnOnce(Resource, oneshot::Receiver<Instant>) -> Work + Send + Sync>,
}

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The way out, open.
#[derive(Debug)]
pub struct Open {
    close: oneshot::Sender<Instant>,
    worker: JoinHandle<()>,
}

impl Traces {
    /// The way to an exporter.
    pub fn new<E: SpanExporter + 'static>(settings: &Settings, mut exporter: E) -> Self {
        let (outlet, worker) = outlet::channel(settings);
        let work = move |resource: Resource, close| -> Work {
            exporter.set_resource(&resource);
            Box::pin(worker.run(exporter, close))
        };
        Self { outlet, resource: settings.resource.clone(), work: Box::new(work) }
    }

    /// Where spans are handed in. They wait there until [`Traces::open`].
    pub fn outlet(&self) -> &Outlet {
        &self.outlet
    }

    /// Starts to send. `resource` says whose spans these are; what the operator says of it goes before.
    pub fn open(self, resource: impl IntoIterator<Item = (&'static str, String)>) -> Open {
        let own = resource.into_iter().map(|(name, value)| (name.to_owned(), value));
        let resource = convert::resource(own.chain(self.resource));
        let (close, closing) = oneshot::channel();
        Open { close, worker: tokio::spawn((self.work)(resource, closing)) }
    }
}

impl Open {
    /// Sends what is there, until the deadline. What comes later is dropped.
    pub async fn close(self, deadline: Instant) {
        // A worker that is gone has nothing left to send, and one that panicked has said so.
        let _gone = self.close.send(deadline);
        let _panicked = self.worker.await;
    }
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traces").field("outlet", &self.outlet).finish_non_exhaustive()
    }
}
