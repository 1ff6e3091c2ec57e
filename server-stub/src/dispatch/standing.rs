//! Where each workflow stands, and all that is counted and looked up by that.
//!
//! Everything here follows from the workflows, and could be counted anew from them at any time. It is kept so that no
//! event has to: [`Dispatcher::note_standing`] is called wherever a workflow moves, and nothing else changes it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use piculet_core::id::WorkflowId;

use super::{Dispatcher, Throttle, Workflow};

/// Workflows whose turn it is and that ask for the very same. Where the first one can't go, none of them can.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Lane {
    pub(super) repository: String,
    pub(super) throttle: Option<Throttle>,
    pub(super) labels: BTreeMap<String, String>,
    /// The number of a workflow that agents refused: it has a lane of its own.
    pub(super) refused: Option<u64>,
}

/// Where a workflow is in its lane: a larger priority is before, then a smaller number.
pub(super) type Rank = (Reverse<i32>, u64);

#[derive(Debug)]
enum Standing {
    Waiting {
        number: u64,
        awaited: Vec<WorkflowId>,
        /// `None`: what it awaits is not over, or was not looked at.
        lane: Option<(Arc<Lane>, Rank)>,
    },
    Running {
        repository: String,
        group: Option<String>,
    },
    Over {
        /// Counts those that ended.
        ended: u64,
        has_log: bool,
    },
}

/// How many run, by name; no name has 0.
#[derive(Debug, Default)]
struct Tally(BTreeMap<String, u32>);

/// Where each workflow stands.
#[derive(Debug, Default)]
pub(super) struct Standings {
    all: BTreeMap<WorkflowId, Standing>,
    /// Those that are not over.
    open: BTreeSet<WorkflowId>,
    /// Those whose turn it is; none is empty.
    lanes: BTreeMap<Arc<Lane>, BTreeMap<Rank, WorkflowId>>,
    repositories: Tally,
    groups: Tally,
    /// Who awaits a workflow, by their numbers; none is empty.
    awaited_by: BTreeMap<WorkflowId, BTreeMap<u64, WorkflowId>>,
    /// Waiting ones that are new, or for which something that they await ended, by their numbers.
    unjudged: BTreeMap<u64, WorkflowId>,
    /// How many ever ended.
    ends: u64,
    over: usize,
    /// Those that are over and that nobody awaits, in the order in which they ended.
    forgettable: BTreeMap<u64, WorkflowId>,
    /// Those of them that have a log.
    forgettable_with_log: BTreeMap<u64, WorkflowId>,
}

impl Tally {
    fn up(&mut self, name: String) {
        *self.0.entry(name).or_default() += 1;
    }

    fn down(&mut self, name: &str) {
        let Some(count) = self.0.get_mut(name) else { return };
        *count -= 1;
        if *count == 0 {
            self.0.remove(name);
        }
    }

    fn of(&self, name: &str) -> u32 {
        self.0.get(name).copied().unwrap_or_default()
    }
}

impl Standings {
    /// A workflow moved, or is new.
    fn update(&mut self, workflow: &Workflow) {
        // What is over stays so, in the order in which it ended.
        if workflow.end.is_some() && matches!(self.all.get(&workflow.id), Some(Standing::Over { .. })) {
            return;
        }
        self.remove(&workflow.id);
        let standing = if workflow.end.is_some() {
            self.ends += 1;
            Standing::Over { ended: self.ends, has_log: workflow.ledger.size() > 0 }
        } else if workflow.is_with_an_agent() {
            let group = workflow.condition.throttle.as_ref().map(|throttle| throttle.group.clone());
            Standing::Running { repository: workflow.repository.clone(), group }
        } else {
            let rank = (Reverse(workflow.priority), workflow.number);
            let is_free = workflow.is_free || workflow.had_its_turn();
            let lane = is_free.then(|| (self.lane_of(workflow), rank));
            Standing::Waiting { number: workflow.number, awaited: workflow.awaited().to_vec(), lane }
        };
        self.insert(workflow.id.clone(), standing);
    }

    fn lane_of(&self, workflow: &Workflow) -> Arc<Lane> {
        let lane = Lane {
            repository: workflow.repository.clone(),
            throttle: workflow.condition.throttle.clone(),
            labels: workflow.labels.clone(),
            refused: (!workflow.refusals.is_empty()).then_some(workflow.number),
        };
        match self.lanes.get_key_value(&lane) {
            Some((lane, _)) => Arc::clone(lane),
            None => Arc::new(lane),
        }
    }

    fn insert(&mut self, id: WorkflowId, standing: Standing) {
        match &standing {
            Standing::Waiting { number, awaited, lane } => {
                self.open.insert(id.clone());
                for other in awaited {
                    self.awaited_by.entry(other.clone()).or_default().insert(*number, id.clone());
                    self.keep_or_let_go(other);
                }
                match lane {
                    Some((lane, rank)) => {
                        _ = self.lanes.entry(Arc::clone(lane)).or_default().insert(*rank, id.clone());
                    }
                    None => _ = self.unjudged.insert(*number, id.clone()),
                }
            }
            Standing::Running { repository, group } => {
                self.open.insert(id.clone());
                self.repositories.up(repository.clone());
                if let Some(group) = group {
                    self.groups.up(group.clone());
                }
            }
            Standing::Over { .. } => {
                self.over += 1;
                if let Some(waiting) = self.awaited_by.get(&id) {
                    self.unjudged.extend(waiting.clone());
                }
            }
        }
        self.all.insert(id.clone(), standing);
        self.keep_or_let_go(&id);
    }

    /// A workflow is gone, or about to stand elsewhere.
    fn remove(&mut self, id: &WorkflowId) {
        match self.all.remove(id) {
            None => {}
            Some(Standing::Waiting { number, awaited, lane }) => {
                self.open.remove(id);
                self.unjudged.remove(&number);
                for other in &awaited {
                    if let Some(waiting) = self.awaited_by.get_mut(other) {
                        waiting.remove(&number);
                        if waiting.is_empty() {
                            self.awaited_by.remove(other);
                        }
                    }
                    self.keep_or_let_go(other);
                }
                if let Some((lane, rank)) = lane
                    && let Some(waiting) = self.lanes.get_mut(&lane)
                {
                    waiting.remove(&rank);
                    if waiting.is_empty() {
                        self.lanes.remove(&lane);
                    }
                }
            }
            Some(Standing::Running { repository, group }) => {
                self.open.remove(id);
                self.repositories.down(&repository);
                if let Some(group) = group {
                    self.groups.down(&group);
                }
            }
            Some(Standing::Over { ended, .. }) => {
                self.over -= 1;
                self.forgettable.remove(&ended);
                self.forgettable_with_log.remove(&ended);
            }
        }
    }

    /// Sorts one that is over, if it is, among those that may be forgotten, or out.
    fn keep_or_let_go(&mut self, id: &WorkflowId) {
        let Some(&Standing::Over { ended, has_log }) = self.all.get(id) else { return };
        if self.awaited_by.contains_key(id) {
            self.forgettable.remove(&ended);
            self.forgettable_with_log.remove(&ended);
            return;
        }
        self.forgettable.insert(ended, id.clone());
        if has_log {
            self.forgettable_with_log.insert(ended, id.clone());
        }
    }

    /// Those that are not over, by their ids.
    pub(super) fn open(&self) -> &BTreeSet<WorkflowId> {
        &self.open
    }

    /// How many are over.
    pub(super) fn over(&self) -> usize {
        self.over
    }

    /// The first that ended and that nobody awaits.
    pub(super) fn oldest(&self) -> Option<&WorkflowId> {
        self.forgettable.values().next()
    }

    /// The first of them that has a log.
    pub(super) fn oldest_with_log(&self) -> Option<&WorkflowId> {
        self.forgettable_with_log.values().next()
    }

    /// How many of a repository agents have. Workflows of none count as those of one: who names none gets no more.
    pub(super) fn running_of(&self, repository: &str) -> u32 {
        self.repositories.of(repository)
    }

    /// Whether agents have as many of a group as may run at once.
    pub(super) fn is_full(&self, throttle: &Throttle) -> bool {
        self.groups.of(&throttle.group) >= throttle.limit
    }

    /// All lanes.
    pub(super) fn lanes(&self) -> impl Iterator<Item = &Arc<Lane>> {
        self.lanes.keys()
    }

    /// Who is first in a lane.
    pub(super) fn first(&self, lane: &Lane) -> Option<(Rank, &WorkflowId)> {
        let (rank, id) = self.lanes.get(lane)?.first_key_value()?;
        Some((*rank, id))
    }

    /// Whether a workflow waits for nothing but an agent.
    pub(super) fn is_next(&self, id: &WorkflowId) -> bool {
        match self.all.get(id) {
            Some(Standing::Waiting { lane: Some((lane, _)), .. }) => !self.is_held_up(lane),
            _ => false,
        }
    }

    /// Whether as many run as may, so that nothing of the lane can.
    pub(super) fn is_held_up(&self, lane: &Lane) -> bool {
        lane.throttle.as_ref().is_some_and(|throttle| self.is_full(throttle))
    }

    /// Takes out one that is new, or for which something that it awaits ended: the oldest.
    pub(super) fn next_unjudged(&mut self) -> Option<WorkflowId> {
        self.unjudged.pop_first().map(|(_, id)| id)
    }
}

impl Dispatcher {
    /// A workflow moved, or is new.
    pub(super) fn note_standing(&mut self, id: &WorkflowId) {
        match self.workflows.get(id) {
            Some(workflow) => self.standings.update(workflow),
            None => self.standings.remove(id),
        }
    }
}

#[cfg(test)]
mod tests;
