//! What was reported of one workflow: each report takes effect once, in order, and stays.
//!
//! A ledger knows nothing of connections. It answers each report with a [`Receipt`]; only what it stored is
//! acknowledged.

mod log;
mod steps;

pub use log::{LogPage, StepLog};
pub use steps::StepRecord;

use std::collections::BTreeMap;

use jiff::Timestamp;
use piculet_core::id::{Epoch, Sequence, StepId};
use piculet_core::outcome::{StepState, WorkflowState};
use piculet_core::report::WorkflowReport;
use piculet_core::workload::WorkloadSpec;
use piculet_link::wire::agent::{ReceivedBody, StepUpdate};

/// What became of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receipt {
    /// It took effect.
    Stored,
    /// It had taken effect before.
    Known,
    /// Reports before it are missing. It was not stored.
    Gap {
        /// The sequence that has to come next.
        expected: Sequence,
    },
    /// It belongs to another assignment. It was dropped.
    Stale {
        /// The assignment that counts.
        current: Epoch,
    },
}

/// The ledger of one workflow.
#[derive(Debug)]
pub struct Ledger {
    epoch: Epoch,
    stored: Sequence,
    started: Option<Timestamp>,
    steps: Vec<StepRecord>,
    index: BTreeMap<StepId, usize>,
    finished: Option<WorkflowReport>,
}

impl Ledger {
    /// An empty one. Each step's log takes at most `log_bytes` bytes of memory; what comes after is counted.
    pub fn new(spec: &WorkloadSpec, log_bytes: u64) -> Self {
        let steps: Vec<_> =
            spec.stages.iter().flat_map(|stage| &stage.steps).map(|step| StepRecord::new(step, log_bytes)).collect();
        let index = steps.iter().enumerate().map(|(at, step)| (step.id.clone(), at)).collect();
        Self { epoch: Epoch(1), stored: Sequence(0), started: None, steps, index, finished: None }
    }

    /// A new assignment: its reports are numbered from 1, those of older ones are dropped. A line of which only a part
    /// has come starts anew.
    pub fn begin(&mut self, epoch: Epoch) {
        self.epoch = epoch;
        self.stored = Sequence(0);
        for step in &mut self.steps {
            step.log.forget_part();
        }
    }

    /// What the next report will cost in memory at most, in bytes; one with another number costs nothing.
    pub fn cost(&self, sequence: Sequence, report: &ReceivedBody) -> u64 {
        match report {
            ReceivedBody::Chunk { step, chunk } if sequence == self.stored.next() && self.finished.is_none() => {
                self.index.get(step).map_or(0, |&at| self.steps[at].log.cost(chunk))
            }
            _ => 0,
        }
    }

    /// Takes a report. Log lines that cost more than `room` bytes of memory are counted and not kept.
    pub fn apply(&mut self, epoch: Epoch, sequence: Sequence, report: ReceivedBody, room: u64) -> Receipt {
        if epoch != self.epoch {
            return Receipt::Stale { current: self.epoch };
        }
        if sequence <= self.stored {
            return Receipt::Known;
        }
        if sequence != self.stored.next() {
            return Receipt::Gap { expected: self.stored.next() };
        }
        self.stored = sequence;
        if self.finished.is_some() {
            // Nothing follows the end. It is acknowledged all the same, so that the agent can forget it.
            return Receipt::Stored;
        }
        match report {
            ReceivedBody::Accepted | ReceivedBody::Refused { .. } => {}
            ReceivedBody::Step(update) => self.step_changed(update),
            ReceivedBody::Chunk { step, chunk } => match self.index.get(&step) {
                Some(&at) => self.steps[at].log.append(chunk, room),
                None => tracing::warn!(%step, "dropped log lines of a step that the workflow doesn't have"),
            },
            ReceivedBody::Finished(report) => self.finish(report),
        }
        Receipt::Stored
    }

    fn step_changed(&mut self, update: StepUpdate) {
        let Some(&at) = self.index.get(&update.step) else {
            tracing::warn!(step = %update.step, "dropped the state of a step that the workflow doesn't have");
            return;
        };
        if let Some(started) = update.started {
            self.started = Some(self.started.map_or(started, |earlier| earlier.min(started)));
        }
        self.steps[at].change(update);
    }

    fn finish(&mut self, mut report: WorkflowReport) {
        for step in self.steps.iter_mut().filter(|step| !step.state.is_final()) {
            let never_seen = step.state == StepState::Pending;
            step.close("The agent reported the end of the workflow, and nothing of how this step ended.");
            if report.state == WorkflowState::Success && !step.is_detached {
                report.state = WorkflowState::Failure;
                report.error = format!(
                    "The agent reported success, but {} of the step '{}'. Nothing is successful that nobody saw end.",
                    if never_seen { "nothing" } else { "no end" },
                    step.name
                );
            }
        }
        self.finished = Some(report);
    }

    /// Ends the workflow without its agent. `because` is said with each step that was not over.
    pub fn abandon(&mut self, report: WorkflowReport, because: &str) {
        for step in self.steps.iter_mut().filter(|step| !step.state.is_final()) {
            step.close(because);
        }
        self.finished = Some(report);
    }

    /// What the logs cost in memory, in bytes.
    pub fn memory(&self) -> u64 {
        self.steps.iter().map(|step| step.log.memory()).sum()
    }

    /// The last sequence that was stored under the current epoch; 0 if none.
    pub fn stored(&self) -> Sequence {
        self.stored
    }

    /// How many whole lines have come of each step's log, without a hole before them.
    pub fn whole_lines(&self) -> BTreeMap<StepId, u64> {
        self.steps.iter().map(|step| (step.id.clone(), step.log.whole_lines())).collect()
    }

    /// When the first step started, by its node's clock.
    pub fn started(&self) -> Option<Timestamp> {
        self.started
    }

    /// How the workflow ended.
    pub fn finished(&self) -> Option<&WorkflowReport> {
        self.finished.as_ref()
    }

    /// The steps, in the order of the file.
    pub fn steps(&self) -> &[StepRecord] {
        &self.steps
    }

    /// A step, by its id or else by its name.
    pub fn step(&self, id_or_name: &str) -> Option<&StepRecord> {
        self.steps
            .iter()
            .find(|step| step.id.as_str() == id_or_name)
            .or_else(|| self.steps.iter().find(|step| step.name == id_or_name))
    }
}

#[cfg(test)]
mod tests;
