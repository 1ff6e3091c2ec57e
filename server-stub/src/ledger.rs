//! What was reported of one workflow: each report takes effect once, in order, and stays.
//!
//! A ledger knows nothing of connections. It answers each report with a [`Receipt`]; only what it stored is
//! acknowledged.

mod log;
mod steps;

pub use log::{Known, LINE_OVERHEAD, Part, StepLog};
pub use steps::StepRecord;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use piculet_core::id::{Epoch, Sequence, StepId};
use piculet_core::outcome::{StepState, WorkflowState};
use piculet_core::report::{LogLine, WorkflowReport};
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
    round: u64,
    epoch: Epoch,
    stored: Sequence,
    started: Option<Timestamp>,
    steps: Vec<StepRecord>,
    index: BTreeMap<StepId, usize>,
    finished: Option<WorkflowReport>,
    /// Steps that look different from what the store was given.
    unsaved: BTreeSet<usize>,
}

/// What of a ledger outlives the server's process beside its steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerState {
    /// Counts how often the workflow began from nothing, from 1.
    pub round: u64,
    /// The assignment whose reports count.
    pub epoch: Epoch,
    /// The last of them.
    pub stored: Sequence,
    /// When the first step started.
    pub started: Option<Timestamp>,
    /// How the workflow ended.
    pub finished: Option<WorkflowReport>,
}

impl Ledger {
    /// An empty one. Each step's log takes at most `log_bytes` bytes of the store; what comes after is counted.
    pub fn new(spec: &WorkloadSpec, log_bytes: u64) -> Self {
        let state = LedgerState { round: 1, epoch: Epoch(1), stored: Sequence(0), started: None, finished: None };
        let mut ledger = Self::restored(state, steps_of(spec, log_bytes));
        ledger.unsaved = (0..ledger.steps.len()).collect();
        ledger
    }

    /// As it was stored.
    pub fn restored(state: LedgerState, steps: Vec<StepRecord>) -> Self {
        let LedgerState { round, epoch, stored, started, finished } = state;
        let index = steps.iter().enumerate().map(|(at, step)| (step.id.clone(), at)).collect();
        Self { round, epoch, stored, started, steps, index, finished, unsaved: BTreeSet::new() }
    }

    /// What is to be stored beside the steps.
    pub fn state(&self) -> LedgerState {
        let Self { round, epoch, stored, started, finished, .. } = self;
        LedgerState { round: *round, epoch: *epoch, stored: *stored, started: *started, finished: finished.clone() }
    }

    /// The steps that the store has to be given, by their place in [`Ledger::steps`], with their new lines. From now on
    /// it counts as having them.
    pub fn take_unsaved(&mut self) -> Vec<(usize, Vec<LogLine>)> {
        let unsaved = std::mem::take(&mut self.unsaved);
        unsaved.into_iter().map(|at| (at, self.steps[at].log.take_fresh())).collect()
    }

    /// A new assignment: its reports are numbered from 1, those of older ones are dropped. A line of which only a part
    /// has come starts anew.
    pub fn begin(&mut self, epoch: Epoch) {
        self.epoch = epoch;
        self.stored = Sequence(0);
        for (at, step) in self.steps.iter_mut().enumerate() {
            if step.log.forget_part() {
                self.unsaved.insert(at);
            }
        }
    }

    /// Forgets everything: the workflow goes to an agent as if none had had it. That is another round if anything was
    /// known of this one.
    pub fn start_anew(&mut self, spec: &WorkloadSpec, log_bytes: u64) {
        let round = self.round + u64::from(self.steps.iter().any(StepRecord::is_touched));
        *self = Self { round, ..Self::new(spec, log_bytes) };
    }

    /// Counts how often the workflow began from nothing, from 1. Attempts and lines count from the beginning in each
    /// round, so that they say nothing without it.
    pub fn round(&self) -> u64 {
        self.round
    }

    /// The room in the store that the next report will take at most, in bytes; one with another number takes none.
    pub fn size_of(&self, sequence: Sequence, report: &ReceivedBody) -> u64 {
        match report {
            ReceivedBody::Chunk { step, chunk } if sequence == self.stored.next() && self.finished.is_none() => {
                self.index.get(step).map_or(0, |&at| self.steps[at].log.size_of(chunk))
            }
            _ => 0,
        }
    }

    /// Takes a report. Log lines that take more than `room` bytes of the store are counted and not kept.
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
                Some(&at) => {
                    self.unsaved.insert(at);
                    self.steps[at].log.append(chunk, room);
                }
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
        self.unsaved.insert(at);
        self.steps[at].change(update);
    }

    fn finish(&mut self, mut report: WorkflowReport) {
        for (at, step) in self.steps.iter_mut().enumerate().filter(|(_, step)| !step.state.is_final()) {
            self.unsaved.insert(at);
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
        for (at, step) in self.steps.iter_mut().enumerate().filter(|(_, step)| !step.state.is_final()) {
            self.unsaved.insert(at);
            step.close(because);
        }
        self.finished = Some(report);
    }

    /// The room that the logs take in the store, in bytes.
    pub fn size(&self) -> u64 {
        self.steps.iter().map(|step| step.log.size()).sum()
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
        self.find_step(id_or_name).map(|(_, step)| step)
    }

    /// The same, with its place among the steps.
    pub fn find_step(&self, id_or_name: &str) -> Option<(usize, &StepRecord)> {
        let mut steps = self.steps.iter().enumerate();
        let by_id = steps.clone().find(|(_, step)| step.id.as_str() == id_or_name);
        by_id.or_else(|| steps.find(|(_, step)| step.name == id_or_name))
    }
}

/// The steps of a workload, as they are before anything is known of them.
fn steps_of(spec: &WorkloadSpec, log_bytes: u64) -> Vec<StepRecord> {
    let stages = (0..).zip(&spec.stages);
    stages.flat_map(|(at, stage)| stage.steps.iter().map(move |step| StepRecord::new(step, at, log_bytes))).collect()
}

#[cfg(test)]
mod tests;
