//! The record of a run: its times go into the metrics, and its spans to whoever collects traces.

use std::sync::Arc;

use piculet_core::id::{Attempt, RunKey, StepIndex};
use piculet_core::run::{Action, Event};
use piculet_core::trace::{self, Part, PodTimes, Recorder, Span, WorkflowTrace};
use piculet_core::workload::Workload;
use piculet_link::message::TraceContext;
use piculet_link::otlp::{self, Outlet};
use piculet_pods::Context;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::Shop;
use crate::clock::Clock;
use crate::telemetry::Metrics;

/// The record of a run.
#[derive(Debug)]
pub(super) struct Record {
    recorder: Recorder,
    clock: Clock,
    metrics: Metrics,
    voice: Voice,
}

/// What the world hears of the run.
#[derive(Debug)]
enum Voice {
    /// Traces are off: steps are told what the server said, as if nobody stood between.
    Silent(Option<trace::Context>),
    /// The trace isn't recorded, and steps are told so.
    Unsampled,
    /// Spans go there.
    Traced(Outlet),
}

impl Record {
    /// A record that begins now.
    pub(super) fn new(
        shop: &Shop,
        key: &RunKey,
        workload: &Arc<Workload>,
        context: &Context,
        given: Option<&TraceContext>,
    ) -> Self {
        let given = given.and_then(|given| match trace::Context::parse(&given.parent, &given.state) {
            Ok(context) => Some(context),
            // As W3C has it, the trace begins anew. The text may be anything, so it isn't repeated.
            Err(error) => {
                tracing::debug!(workflow = %key.workflow, %error, "the workflow's trace context can't be used");
                None
            }
        });
        let trace = WorkflowTrace::new(context.server.clone(), key.workflow.clone(), given.clone());
        let voice = match &shop.traces {
            None => Voice::Silent(given),
            Some(outlet) if outlet.takes(trace.id(), given.as_ref()) => Voice::Traced(outlet.clone()),
            Some(_) => Voice::Unsampled,
        };
        let namespace = shop.pods.namespace.clone();
        let recorder = Recorder::new(trace, context.epoch, Arc::clone(workload), namespace, shop.clock.now());
        Self { recorder, clock: shop.clock, metrics: shop.metrics.clone(), voice }
    }

    /// What the process of an attempt is told of its trace: what it does lies under the container's span.
    pub(super) fn context(&self, step: StepIndex, attempt: Attempt) -> Option<trace::Context> {
        let own = |sampled| self.recorder.context(Part::Run, Some((step, attempt)), sampled);
        match &self.voice {
            Voice::Silent(given) => given.clone(),
            Voice::Unsampled => Some(own(false)),
            Voice::Traced(_) => Some(own(true)),
        }
    }

    /// What this process does for a part of the run goes into this span: its requests lie below it.
    pub(super) fn work(&self, part: Part, attempt: Option<(StepIndex, Attempt)>) -> tracing::Span {
        let Voice::Traced(_) = &self.voice else { return tracing::Span::none() };
        let span = tracing::info_span!(target: "piculet::trace", "requests");
        // Without a layer for traces there is no span either.
        let _nobody_listens = span.set_parent(otlp::parent(&self.recorder.context(part, attempt, true)));
        span
    }

    /// See [`Recorder::heard`].
    pub(super) fn heard(&mut self, event: &Event) {
        let spans = self.recorder.heard(event, self.clock.now());
        self.tell(spans);
    }

    /// See [`Recorder::doing`].
    pub(super) fn doing(&mut self, action: &Action) {
        let spans = self.recorder.doing(action, self.clock.now());
        self.tell(spans);
    }

    /// See [`Recorder::looked`].
    pub(super) fn looked(&mut self, step: StepIndex, times: PodTimes) {
        self.recorder.looked(step, times);
    }

    fn tell(&self, spans: Vec<Span>) {
        self.metrics.time(&spans);
        if let Voice::Traced(outlet) = &self.voice {
            outlet.give(spans);
        }
    }
}
