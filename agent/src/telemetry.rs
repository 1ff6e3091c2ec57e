//! The agent's own log, its metrics, and the way of its traces.

mod metrics;

pub use metrics::{CauseLabels, Metrics, OutcomeLabels, PartLabels, ResultLabels, StateLabels};

use std::io::IsTerminal;

use opentelemetry::trace::TracerProvider as _;
use piculet_link::otlp::Outlet;
use tracing::Subscriber;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::{Log, LogFormat};

/// The target of what the agent does inside a workflow's spans. The log has nothing of it.
const INNER: &str = "piculet::trace";

/// Starts the log on standard error. With an `outlet`, what happens inside this process is traced, too.
///
/// # Errors
/// A sentence, if the level is none, or if something else has started a log already.
pub fn start_log(log: &Log, outlet: Option<&Outlet>) -> Result<(), String> {
    // The client says each failed request without its object; what matters of it we say ourselves. Whoever names the
    // client in the level gets it nevertheless.
    let filter = EnvFilter::try_new(format!("kube_client=off,{INNER}=off,{}", log.level))
        .map_err(|error| format!("log.level '{}': {error}", log.level))?;
    let colour = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colour);
    let lines = match log.format {
        LogFormat::Human => lines.with_target(false).with_filter(filter).boxed(),
        LogFormat::Json => {
            let json = lines.json().flatten_event(true).with_current_span(true).with_span_list(false);
            json.with_filter(filter).boxed()
        }
    };
    let spans = outlet.map(inner_spans);
    tracing_subscriber::registry().with(lines).with(spans).try_init().map_err(|error| error.to_string())
}

/// What happens inside this process, as spans: connections, and requests to the API server. Those for a workflow lie
/// below its own spans.
pub fn inner_spans<S>(outlet: &Outlet) -> impl Layer<S> + use<S>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    let spans = tracing_opentelemetry::layer().with_tracer(outlet.provider().tracer("piculet"));
    let spans = spans.with_location(false).with_threads(false).with_tracked_inactivity(false).with_target(false);
    spans.with_filter(filter_fn(|metadata| metadata.is_span() && metadata.target() == INNER))
}
