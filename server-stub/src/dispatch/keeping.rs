//! What is kept, and what is forgotten when there is no more room.

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
        while self.standings.over() > limits.finished_workflows
            && let Some(id) = self.standings.oldest().cloned()
        {
            self.forget(&id);
        }
        // For want of room nothing is forgotten that has no log.
        while self.log_size.saturating_add(wanted) > limits.all_log_bytes
            && let Some(id) = self.standings.oldest_with_log().cloned()
        {
            self.forget(&id);
        }
    }

    fn forget(&mut self, id: &WorkflowId) {
        if let Some(workflow) = self.workflows.remove(id) {
            self.log_size -= workflow.ledger.size();
            self.order.remove(&workflow.number);
            self.unsaved.forgotten_workflows.insert(workflow.number);
            self.touched.workflows.insert(workflow.id);
        }
        self.note_standing(id);
    }
}
