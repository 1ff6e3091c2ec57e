//! The way of reports into the supervisor.

use piculet_core::id::{RunKey, StepId};
use piculet_core::report::{LogLine, LogTotal, Report};
use tokio::sync::mpsc;

/// Takes what runners have to report. Clones report to the same supervisor.
///
/// The supervisor takes it all at once into its outbox, whether or not a server is there: these calls wait for no
/// network, so that the reading of logs never does.
#[derive(Debug, Clone)]
pub struct Reporter(mpsc::Sender<Delivery>);

/// The supervisor is over: what is reported now reaches no server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("The connection to the server was given up; this report is lost.")]
pub struct Gone;

/// A report on its way.
#[derive(Debug)]
pub(super) enum Delivery {
    Report(RunKey, Report),
    Lines(RunKey, StepId, Vec<LogLine>),
    LogEnd(RunKey, StepId, LogTotal),
}

impl Reporter {
    pub(super) fn new(deliveries: mpsc::Sender<Delivery>) -> Self {
        Self(deliveries)
    }

    /// Reports a state.
    ///
    /// # Errors
    /// The supervisor is over.
    pub async fn report(&self, key: &RunKey, report: Report) -> Result<(), Gone> {
        self.deliver(Delivery::Report(key.clone(), report)).await
    }

    /// Reports the next lines of a step's log, in the order of their numbers.
    ///
    /// # Errors
    /// The supervisor is over.
    pub async fn lines(&self, key: &RunKey, step: &StepId, lines: Vec<LogLine>) -> Result<(), Gone> {
        self.deliver(Delivery::Lines(key.clone(), step.clone(), lines)).await
    }

    /// Reports that a step's log is over. One that is not ended before the workflow's `Finished` ends with what there is.
    ///
    /// # Errors
    /// The supervisor is over.
    pub async fn end_log(&self, key: &RunKey, step: &StepId, total: LogTotal) -> Result<(), Gone> {
        self.deliver(Delivery::LogEnd(key.clone(), step.clone(), total)).await
    }

    async fn deliver(&self, delivery: Delivery) -> Result<(), Gone> {
        self.0.send(delivery).await.map_err(|_| Gone)
    }
}
