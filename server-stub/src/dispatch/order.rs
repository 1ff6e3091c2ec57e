//! Who is next: the highest priority; of these the repository that has the fewest running; of these the oldest.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use piculet_core::id::WorkflowId;

use super::{Dispatcher, Workflow};

/// The waiting workflows, given out one by one. Whoever gets an agent counts for its repository from then on.
pub(super) struct Order {
    waiting: BinaryHeap<Reverse<Waiting>>,
    running: BTreeMap<String, u32>,
}

/// Smaller ones are served first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    priority: Reverse<i32>,
    /// How many of its repository ran when this was looked at.
    running: u32,
    number: u64,
    repository: String,
    id: WorkflowId,
}

impl Order {
    /// The next one.
    pub(super) fn next(&mut self) -> Option<WorkflowId> {
        loop {
            let Reverse(mut first) = self.waiting.pop()?;
            let running = self.running.get(&first.repository).copied().unwrap_or_default();
            if first.running == running {
                return Some(first.id);
            }
            // More of its repository run by now: others may come before it.
            first.running = running;
            self.waiting.push(Reverse(first));
        }
    }

    /// It got an agent.
    pub(super) fn placed(&mut self, repository: &str) {
        // Workflows of no repository have nothing in common.
        if !repository.is_empty() {
            *self.running.entry(repository.to_owned()).or_default() += 1;
        }
    }
}

impl Dispatcher {
    /// The waiting workflows that `wanted` names, in the order in which they are served.
    pub(super) fn in_order(&self, wanted: impl Fn(&Workflow) -> bool) -> Order {
        let mut order = Order { waiting: BinaryHeap::new(), running: BTreeMap::new() };
        for workflow in self.open_workflows().filter(|workflow| workflow.is_with_an_agent()) {
            order.placed(&workflow.repository);
        }
        let waiting = self.queue.values().filter_map(|id| self.pending(id)).filter(|workflow| wanted(workflow));
        let waiting = waiting.map(|workflow| {
            Reverse(Waiting {
                priority: Reverse(workflow.priority),
                running: order.running.get(&workflow.repository).copied().unwrap_or_default(),
                number: workflow.number,
                repository: workflow.repository.clone(),
                id: workflow.id.clone(),
            })
        });
        order.waiting = waiting.collect();
        order
    }
}
