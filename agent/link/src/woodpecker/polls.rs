//! How many workflows are asked for at once: as many as slots are free, and never more.

use crate::message::Demand;

/// What is free, and what was taken of it already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Polls {
    demand: Demand,
    /// Workflows that were handed to the agent in this session.
    assigned: u64,
}

impl Polls {
    /// The agent says what is free.
    pub(super) fn demanded(&mut self, demand: Demand) {
        self.demand = demand;
    }

    /// A workflow was handed to the agent: until it says so itself, the slot counts as taken here.
    pub(super) fn assigned(&mut self) {
        self.assigned += 1;
    }

    /// How many may be asked for.
    pub(super) fn wanted(&self) -> usize {
        let unheard = self.assigned.saturating_sub(self.demand.assigns_received);
        let free = u64::from(self.demand.free_slots).saturating_sub(unheard);
        usize::try_from(free).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::Polls;
    use crate::message::Demand;

    #[test]
    fn a_slot_is_taken_from_the_moment_its_workflow_came() {
        let mut polls = Polls::default();
        assert_eq!(polls.wanted(), 0, "nothing was said yet");
        polls.demanded(Demand { free_slots: 2, assigns_received: 0 });
        assert_eq!(polls.wanted(), 2);
        polls.assigned();
        assert_eq!(polls.wanted(), 1, "the agent does not know it yet");
        polls.demanded(Demand { free_slots: 2, assigns_received: 0 });
        assert_eq!(polls.wanted(), 1, "said before it had it");
        polls.demanded(Demand { free_slots: 1, assigns_received: 1 });
        assert_eq!(polls.wanted(), 1, "now it is counted by the agent");
        polls.demanded(Demand { free_slots: 0, assigns_received: 1 });
        polls.assigned();
        assert_eq!(polls.wanted(), 0);
    }
}
