//! What the agent counts. Labels are bounded: states and classes, never names.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
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

/// All metrics of an agent.
#[derive(Debug, Clone, Default)]
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
}

impl Metrics {
    /// The registry that `/metrics` is written from.
    pub fn registry(&self) -> Arc<Registry> {
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
        Arc::new(registry)
    }
}
