//! What is kept in memory, and what is forgotten when there is no more room.

use std::collections::BTreeSet;

use piculet_core::id::{RunKey, Sequence};
use piculet_link::wire::agent::ReceivedBody;

use super::Dispatcher;
use crate::ledger::Receipt;

impl Dispatcher {
    /// Writes a report into the ledger of its workflow. Where memory for its log lines lacks, finished workflows are
    /// forgotten; where that isn't enough, the lines are counted and not kept. `None`: there is no such workflow.
    pub(super) fn record(&mut self, run: &RunKey, sequence: Sequence, report: ReceivedBody) -> Option<Receipt> {
        let wanted = self.workflows.get(&run.workflow)?.ledger.cost(sequence, &report);
        if wanted > 0 {
            self.forget_the_oldest(wanted);
        }
        let room = self.policy.limits.all_log_bytes.saturating_sub(self.log_memory);
        let ledger = &mut self.workflows.get_mut(&run.workflow)?.ledger;
        let before = ledger.memory();
        let receipt = ledger.apply(run.epoch, sequence, report, room);
        self.log_memory += ledger.memory() - before;
        Some(receipt)
    }

    /// Forgets what ended first, where there are too many workflows or no room for `wanted` more bytes of logs; but not
    /// what others wait for: they have to know how it ended.
    pub(super) fn forget_the_oldest(&mut self, wanted: u64) {
        let limits = self.policy.limits;
        loop {
            let too_many = self.over.len() > limits.finished_workflows;
            let too_large = self.log_memory + wanted > limits.all_log_bytes;
            if self.over.is_empty() || !(too_many || too_large) {
                return;
            }
            let waiting = self.queue.iter().filter_map(|id| self.pending(id));
            let awaited: BTreeSet<_> = waiting.flat_map(|workflow| &workflow.condition.after).collect();
            // For memory alone nothing is forgotten that has no log.
            let frees = |id| too_many || self.workflows.get(id).is_some_and(|workflow| workflow.ledger.memory() > 0);
            let Some(at) = self.over.iter().position(|id| !awaited.contains(id) && frees(id)) else { return };
            let Some(oldest) = self.over.remove(at) else { return };
            self.log_memory -= self.workflows.remove(&oldest).map_or(0, |workflow| workflow.ledger.memory());
            self.order.retain(|id| *id != oldest);
            self.touched.workflows.insert(oldest);
        }
    }
}
