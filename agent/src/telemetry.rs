//! The agent's own log, its metrics, and the way of its traces.

mod metrics;

pub use metrics::{CauseLabels, Metrics, OutcomeLabels, PartLabels, ResultLabels, StateLabels};

use std::fs::OpenOptions;
use std::io::IsTerminal;
use std::sync::Arc;

use opentelemetry::trace::TracerProvider as _;
use piculet_link::otlp::Outlet;
use tracing::Subscriber;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::{Colour, ConfigError, Log, LogFile, LogFormat, Source};
use crate::exit::Failure;

/// The target of what the agent does inside a workflow's spans. The log has nothing of it.
const INNER: &str = "piculet::trace";

/// Starts the log. With an `outlet`, what happens inside this process is traced, too.
///
/// # Errors
/// If the level is none, the file can't be written, or something else has started a log already.
pub fn start_log(log: &Log, outlet: Option<&Outlet>) -> Result<(), Failure> {
    // The client says each failed request without its object; what matters of it we say ourselves. Whoever names the
    // client in the level gets it nevertheless.
    let filter = EnvFilter::try_new(format!("kube_client=off,{INNER}=off,{}", log.level))
        .map_err(|error| Failure::Internal(format!("log.level '{}': {error}", log.level)))?;
    let (writer, is_terminal) = destination(&log.file)?;
    let colour = match log.colour {
        Colour::Auto => is_terminal,
        Colour::On => true,
        Colour::Off => false,
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(colour);
    let lines = match log.format {
        LogFormat::Human => lines.with_target(false).with_filter(filter).boxed(),
        LogFormat::Json => {
            let json = lines.json().flatten_event(true).with_current_span(true).with_span_list(false);
            json.with_filter(filter).boxed()
        }
    };
    let spans = outlet.map(inner_spans);
    let log = tracing_subscriber::registry().with(lines).with(spans);
    log.try_init().map_err(|error| Failure::Internal(error.to_string()))
}

/// What takes the lines, and whether that is a terminal.
fn destination(file: &LogFile) -> Result<(BoxMakeWriter, bool), Failure> {
    Ok(match file {
        LogFile::Stderr => (BoxMakeWriter::new(std::io::stderr), std::io::stderr().is_terminal()),
        LogFile::Stdout => (BoxMakeWriter::new(std::io::stdout), std::io::stdout().is_terminal()),
        LogFile::Path(path) => {
            // Every line is one write at the file's end, so another process may write there, too.
            let file = OpenOptions::new().append(true).create(true).open(path).map_err(|error| {
                let message = format!("the file '{}' can't be written: {error}", path.display());
                Failure::Config(vec![ConfigError { key: "log.file".to_owned(), source: Source::Nowhere, message }])
            })?;
            (BoxMakeWriter::new(Arc::new(file)), false)
        }
    })
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
