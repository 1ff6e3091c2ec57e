//! What the agent counts and times. Labels are bounded: states, classes and parts, never names.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use jiff::Timestamp;
use piculet_core::trace::{Part, Span, Value, convention};
use piculet_link::otlp::Tally;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// A final state, in Woodpecker's words.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StateLabels {
    /// The state.
    pub state: &'static str,
}

/// A step's final state and the class of its outcome.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabels {
    /// The state.
    pub state: &'static str,
    /// The class; empty for steps that were never tried.
    pub class: &'static str,
}

/// Why a session ended, or never began.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CauseLabels {
    /// The stable code, as in the log.
    pub code: &'static str,
}

/// How a workflow ended, in the words of OpenTelemetry.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ResultLabels {
    /// The value of [`convention::PIPELINE_RESULT`].
    pub result: String,
}

/// A part of an attempt at a step.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PartLabels {
    /// [`Part::as_str`].
    pub part: &'static str,
}

type Times<L> = Family<L, Histogram, fn() -> Histogram>;

/// All metrics of an agent.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Workflows that ended, by state.
    pub workflows: Family<StateLabels, Counter>,
    /// Steps that ended, by state and class.
    pub steps: Family<OutcomeLabels, Counter>,
    /// Workflows that run.
    pub running: Gauge,
    /// Slots in all.
    pub slots: Gauge,
    /// 1 while there is a session with the server.
    pub connected: Gauge,
    /// Connections that were lost.
    pub disconnections: Counter,
    /// Sessions that ended with an error, or never began, by cause.
    pub session_failures: Family<CauseLabels, Counter>,
    /// Log lines that were read.
    pub log_lines: Counter,
    /// Bytes of log lines that were read.
    pub log_bytes: Counter<u64, AtomicU64>,
    /// Log lines that were dropped, because the server took them too slowly.
    pub log_lines_lost: Counter,
    /// Memory of log lines that were not sent yet, in bytes.
    pub log_spooled: Gauge,
    /// Disk of log lines that were not sent yet, in bytes.
    pub log_spooled_disk: Gauge,
    /// Memory of log chunks that were sent and not acknowledged, in bytes.
    pub log_unacknowledged: Gauge,
    /// From a workflow's acceptance until it was reported as finished, in seconds.
    pub workflow_duration: Times<ResultLabels>,
    /// From the first request for a step's pod to the start of its container, in seconds.
    pub step_start: Histogram,
    /// Each part of the attempts at steps, in seconds.
    pub step_parts: Times<PartLabels>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            workflows: Family::default(),
            steps: Family::default(),
            running: Gauge::default(),
            slots: Gauge::default(),
            connected: Gauge::default(),
            disconnections: Counter::default(),
            session_failures: Family::default(),
            log_lines: Counter::default(),
            log_bytes: Counter::default(),
            log_lines_lost: Counter::default(),
            log_spooled: Gauge::default(),
            log_spooled_disk: Gauge::default(),
            log_unacknowledged: Gauge::default(),
            workflow_duration: Family::new_with_constructor(of_workflows),
            step_start: of_parts(),
            step_parts: Family::new_with_constructor(of_parts),
        }
    }
}

/// From a second to two hours.
fn of_workflows() -> Histogram {
    Histogram::new([1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0])
}

/// From what the agent adds to what an image or a build takes.
fn of_parts() -> Histogram {
    Histogram::new([0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0])
}

impl Metrics {
    /// Takes the times of what is over. The spans of an attempt come together.
    pub fn time(&self, spans: &[Span]) {
        for span in spans {
            match span.part {
                Part::Agent => {
                    let result = span.attributes.iter().find(|(name, _)| *name == convention::PIPELINE_RESULT);
                    if let Some((_, Value::Text(result))) = result {
                        let labels = ResultLabels { result: result.clone() };
                        self.workflow_duration.get_or_create(&labels).observe(seconds(span.start, span.end));
                    }
                }
                Part::Workflow | Part::Queue | Part::Offer => {}
                Part::Accept | Part::Prepare | Part::Step | Part::Attempt | Part::Teardown => {}
                Part::Create
                | Part::Schedule
                | Part::Sandbox
                | Part::Init
                | Part::Pull
                | Part::Start
                | Part::Run
                | Part::Drain => {
                    let labels = PartLabels { part: span.part.as_str() };
                    self.step_parts.get_or_create(&labels).observe(seconds(span.start, span.end));
                }
            }
        }
        for run in spans.iter().filter(|span| span.part == Part::Run) {
            if let Some(attempt) = spans.iter().find(|span| Some(span.id) == run.parent) {
                self.step_start.observe(seconds(attempt.start, run.start));
            }
        }
    }

    /// The registry that `/metrics` is written from. `tally`: that of the traces, if they are on.
    pub fn registry(&self, tally: Option<Arc<Tally>>) -> Arc<Registry> {
        let mut registry = Registry::with_prefix("piculet");
        registry.register("workflows", "Workflows that ended, by state", self.workflows.clone());
        registry.register("steps", "Steps that ended, by state and class of outcome", self.steps.clone());
        registry.register("workflows_running", "Workflows that run", self.running.clone());
        registry.register("slots", "How many workflows may run at the same time", self.slots.clone());
        registry.register("server_connected", "1 while there is a session with the server", self.connected.clone());
        registry.register("server_disconnections", "Sessions that were lost", self.disconnections.clone());
        let help = "Sessions that ended, or never began, by the code of the cause";
        registry.register("server_session_failures", help, self.session_failures.clone());
        registry.register("log_lines", "Log lines that were read", self.log_lines.clone());
        registry.register("log_bytes", "Bytes of log lines that were read", self.log_bytes.clone());
        registry.register(
            "log_lines_lost",
            "Log lines that were dropped because the server took them too slowly",
            self.log_lines_lost.clone(),
        );
        registry.register("log_spooled_bytes", "Memory of log lines that were not sent", self.log_spooled.clone());
        registry.register(
            "log_spooled_disk_bytes",
            "Disk of log lines that were not sent",
            self.log_spooled_disk.clone(),
        );
        registry.register(
            "log_unacknowledged_bytes",
            "Memory of log chunks that were sent and not acknowledged",
            self.log_unacknowledged.clone(),
        );
        registry.register(
            "workflow_duration_seconds",
            "From a workflow's acceptance until it was reported as finished",
            self.workflow_duration.clone(),
        );
        registry.register(
            "step_start_seconds",
            "From the first request for a step's pod to the start of its container",
            self.step_start.clone(),
        );
        registry.register("step_part_seconds", "Parts of the attempts at steps", self.step_parts.clone());
        if let Some(tally) = tally {
            registry.register_collector(Box::new(TraceSpans(tally)));
        }
        Arc::new(registry)
    }
}

fn seconds(start: Timestamp, end: Timestamp) -> f64 {
    end.duration_since(start).as_secs_f64().max(0.0)
}

/// What became of the spans that were traced.
#[derive(Debug)]
struct TraceSpans(Arc<Tally>);

impl Collector for TraceSpans {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "Spans that were exported, dropped for want of room, or not taken by the collector";
        let mut family = encoder.encode_descriptor("trace_spans", help, None, MetricType::Counter)?;
        let counts = [("exported", self.0.exported()), ("dropped", self.0.dropped()), ("failed", self.0.failed())];
        for (result, count) in counts {
            ConstCounter::new(count).encode(family.encode_family(&[("result", result)])?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
