//! What is kept, and what is forgotten when there is no more room.

use std::collections::BTreeSet;

use piculet_core::id::{RunKey, Sequence, WorkflowId};
use piculet_link::wire::agent::ReceivedBody;

use super::Dispatcher;
use crate::ledger::Receipt;

impl Dispatcher {
    /// Writes a report into the ledger of its workflow. Where room for its log lines lacks, finished workflows are
    /// forgotten; where that isn't enough, the lines are counted and not kept. `None`: there is no such workflow.
    pub(super) fn record(&mut self, run: &RunKey, sequence: Sequence, report: ReceivedBody) -> Option<Receipt> {
        let wanted = self.workflows.get(&run.workflow)?.ledger.size_of(sequence, &report);
        if wanted > 0 {
            self.forget_the_oldest(wanted);
        }
        let room = self.policy.limits.all_log_bytes.saturating_sub(self.log_size);
        let ledger = &mut self.workflows.get_mut(&run.workflow)?.ledger;
        let before = ledger.size();
        let receipt = ledger.apply(run.epoch, sequence, report, room);
        let grown = ledger.size() - before;
        self.log_size += grown;
        self.unsaved.log_bytes += grown;
        Some(receipt)
    }

    /// Forgets what ended first, where there are too many workflows or no room for `wanted` more bytes of logs; but not
    /// what others wait for: they have to know how it ended.
    pub(super) fn forget_the_oldest(&mut self, wanted: u64) {
        let limits = self.policy.limits;
        let is_too_many = |over: usize| over > limits.finished_workflows;
        let is_too_large = |size: u64| size + wanted > limits.all_log_bytes;
        if self.over.is_empty() || !(is_too_many(self.over.len()) || is_too_large(self.log_size)) {
            return;
        }
        let waiting = self.queue.values().filter_map(|id| self.pending(id));
        let awaited: BTreeSet<WorkflowId> = waiting.flat_map(|workflow| workflow.awaited()).cloned().collect();
        let mut at = 0;
        while let Some(id) = self.over.get(at) {
            let is_too_many = is_too_many(self.over.len());
            if !(is_too_many || is_too_large(self.log_size)) {
                return;
            }
            // For want of room nothing is forgotten that has no log.
            let size = self.workflows.get(id).map_or(0, |workflow| workflow.ledger.size());
            if awaited.contains(id) || !(is_too_many || size > 0) {
                at += 1;
                continue;
            }
            if let Some(workflow) = self.over.remove(at).and_then(|id| self.workflows.remove(&id)) {
                self.log_size -= workflow.ledger.size();
                self.order.remove(&workflow.number);
                self.unsaved.forgotten_workflows.insert(workflow.number);
                self.touched.workflows.insert(workflow.id);
            }
        }
    }
}
