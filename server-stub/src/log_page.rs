//! A page of a step's log.

use piculet_core::id::WorkflowId;
use piculet_core::report::LogLine;

use crate::server::Server;
use crate::store::{LogPlace, Page, StoreError};
use crate::view::{LookupError, find};

/// The most bytes of a page; one line comes whatever its length.
const MAX_PAGE_BYTES: usize = 4 * 1024 * 1024;

/// Some lines in a row, and what follows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPage {
    /// The name of the step.
    pub step: String,
    /// The workflow's round that the lines are of: each has logs of its own.
    pub round: u64,
    /// In the order of their numbers; a number that lacks is missing.
    pub lines: Vec<LogLine>,
    /// The number to ask for next.
    pub next: u64,
    /// There are no lines after these, and none will come.
    pub is_last: bool,
    /// What is wrong with the log, if something is.
    pub complaint: Option<String>,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// There is no such log.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// It can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Server {
    /// Which round a workflow is in, if it is known. Who read lines asks again: they may be of the next round, or some may
    /// have been deleted already.
    pub(crate) fn round_of(&self, id: &WorkflowId) -> Option<u64> {
        self.look(|dispatcher| dispatcher.workflow(id).map(|workflow| workflow.ledger.round()))
    }

    /// At most `count` lines of a step's log, from a number on. Workflow and step are named as in
    /// [`Server::follow`](crate::server::Server::follow).
    ///
    /// # Errors
    /// If there is no such workflow or step, or its log can't be read.
    pub async fn log_page(&self, workflow: &str, step: &str, from: u64, count: usize) -> Result<LogPage, PageError> {
        loop {
            let (id, mut page, place, until) = self.look(|dispatcher| {
                let workflow = find(dispatcher, workflow)?;
                let (position, record) = workflow
                    .ledger
                    .find_step(step)
                    .ok_or_else(|| LookupError::NoStep { workflow: workflow.name.clone(), step: step.to_owned() })?;
                let is_over = workflow.end.is_some();
                let page = LogPage {
                    step: record.name.clone(),
                    round: workflow.ledger.round(),
                    lines: Vec::new(),
                    next: from,
                    is_last: is_over || record.log.end().is_some(),
                    complaint: record.log.complaint(is_over),
                };
                let place = LogPlace { workflow: workflow.number, step: position };
                Ok::<_, LookupError>((workflow.id.clone(), page, place, record.log.kept_until()))
            })?;
            page.lines = self.store().lines(place, Page { from, lines: count, bytes: MAX_PAGE_BYTES }).await?;
            page.next = page.lines.last().map_or(from, |line| line.number + 1);
            page.is_last &= page.next >= until;
            // Meanwhile another round may have begun, of which the lines may be, or they may have been deleted.
            if self.round_of(&id) == Some(page.round) {
                return Ok(page);
            }
        }
    }
}
