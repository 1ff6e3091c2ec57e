//! Where spans are handed in: a queue with a bound, and nobody who waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::{Context as SdkContext, InstrumentationScope};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, Span as SdkSpan, SpanData, SpanProcessor};
use piculet_core::trace::{Context, Span, TraceId};
use tokio::sync::mpsc;

use super::convert;
use super::sampling::Sampling;
use super::settings::Settings;
use super::worker::Worker;

/// What became of spans.
#[derive(Debug, Default)]
pub struct Tally {
    pub(super) exported: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) failed: AtomicU64,
}

/// Where spans are handed in. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Outlet {
    queue: mpsc::Sender<SpanData>,
    scope: InstrumentationScope,
    sampling: Sampling,
    tally: Arc<Tally>,
}

impl Tally {
    /// Spans that the collector took.
    pub fn exported(&self) -> u64 {
        self.exported.load(Ordering::Relaxed)
    }

    /// Spans that found no room in the queue.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Spans that the collector didn't take.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

/// A queue as long as the settings say.
pub(super) fn channel(settings: &Settings) -> (Outlet, Worker) {
    let (queue, spans) = mpsc::channel(settings.batches.queue);
    let tally = Arc::new(Tally::default());
    let outlet = Outlet { queue, scope: convert::scope(), sampling: settings.sampling, tally: Arc::clone(&tally) };
    (outlet, Worker::new(spans, settings, tally))
}

impl Outlet {
    /// Whether this trace is recorded. Spans of others are not to be handed in.
    pub fn takes(&self, trace: TraceId, parent: Option<&Context>) -> bool {
        self.sampling.takes(trace, parent)
    }

    /// Hands spans in, or drops them.
    pub fn give(&self, spans: impl IntoIterator<Item = Span>) {
        for span in spans {
            self.put(convert::data(span, &self.scope));
        }
    }

    /// What became of all spans so far.
    pub fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.tally)
    }

    /// A source of spans with ids by chance, for what happens inside this process. They go the same way.
    pub fn provider(&self) -> SdkTracerProvider {
        SdkTracerProvider::builder()
            .with_span_processor(self.clone())
            .with_sampler(self.sampling.sampler())
            .with_resource(Resource::builder_empty().build())
            .build()
    }

    fn put(&self, span: SpanData) {
        if self.queue.try_send(span).is_err() {
            self.tally.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl SpanProcessor for Outlet {
    fn on_start(&self, _span: &mut SdkSpan, _context: &SdkContext) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() {
            self.put(span);
        }
    }

    /// The worker sends what there is when it is told to close.
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}
