//! Which changes are stored, and what those are about that aren't.

use std::collections::BTreeSet;

use piculet_core::id::WorkflowId;

/// Counts changes, and remembers which workflows they are about until they are stored.
#[derive(Debug, Default)]
pub(super) struct Versions {
    /// All changes.
    newest: u64,
    /// Those that are being written, and all before.
    writing: u64,
    /// Those that are stored.
    stored: u64,
    /// The last one that is about clusters or tokens.
    operators: u64,
    /// Workflows that look different by changes that are not being written yet.
    changed: BTreeSet<WorkflowId>,
    /// The same, by changes that are being written.
    being_written: BTreeSet<WorkflowId>,
}

impl Versions {
    /// How many changes there were.
    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    /// Up to which of them all are stored.
    pub(super) fn stored(&self) -> u64 {
        self.stored
    }

    /// These look different.
    pub(super) fn touch(&mut self, workflows: impl IntoIterator<Item = WorkflowId>) {
        self.changed.extend(workflows);
    }

    /// There was a change that is to be stored.
    pub(super) fn advance(&mut self) {
        self.newest += 1;
    }

    /// The last change was about clusters or tokens.
    pub(super) fn touch_operators(&mut self) {
        self.operators = self.newest;
    }

    /// All changes so far go to the store.
    pub(super) fn begin_to_write(&mut self) {
        self.writing = self.newest;
        self.being_written = std::mem::take(&mut self.changed);
    }

    /// They are there. Returns the workflows that they are news of. Of what changed meanwhile it is too early to tell: who
    /// looked for it would find nothing, and nobody would wake them again.
    pub(super) fn written(&mut self) -> BTreeSet<WorkflowId> {
        self.stored = self.writing;
        std::mem::take(&mut self.being_written)
    }

    /// What is to be stored before anybody is told of this workflow as it is now.
    pub(super) fn of(&self, id: &WorkflowId) -> u64 {
        if self.changed.contains(id) {
            self.newest
        } else if self.being_written.contains(id) {
            self.writing
        } else {
            self.stored
        }
    }

    /// The workflows that aren't stored as they are now, each with what is to be stored before anybody is told of it; one
    /// that comes twice waits for the later.
    pub(super) fn unstored(&self) -> impl Iterator<Item = (&WorkflowId, u64)> {
        let changed = self.changed.iter().map(|id| (id, self.newest));
        changed.chain(self.being_written.iter().map(|id| (id, self.writing)))
    }

    /// The same of all clusters and tokens, beside the agents that they let in.
    pub(super) fn of_operators(&self) -> u64 {
        self.operators
    }
}
