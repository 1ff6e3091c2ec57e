//! The agent's own log, and its metrics.

mod metrics;

pub use metrics::{CauseLabels, Metrics, OutcomeLabels, StateLabels};

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// Starts the log on standard error.
///
/// # Errors
/// A sentence, if the level is none, or if something else has started a log already.
pub fn start_log(log: &Log) -> Result<(), String> {
    // The client says each failed request without its object; what matters of it we say ourselves. Whoever names the
    // client in the level gets it nevertheless.
    let filter = EnvFilter::try_new(format!("kube_client=off,{}", log.level))
        .map_err(|error| format!("log.level '{}': {error}", log.level))?;
    let colour = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colour);
    let started = match log.format {
        LogFormat::Human => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init(),
    };
    started.map_err(|error| error.to_string())
}
