//! How many workflows an agent may be given: what it said last, less what it could not know of when it said it.

use piculet_link::message::Demand;

/// The credit of one session.
///
/// A `Demand` and an `Assign` may cross on the wire. So the agent says with its free slots how many assignments it had
/// received, and those that were made since are subtracted.
#[derive(Debug, Default)]
pub struct Credit {
    said: u64,
    /// How many assignments the agent had received when it said so.
    received: u64,
    /// How many were made in this session.
    given: u64,
}

impl Credit {
    /// The agent said how many slots it has free. Replaces what it said before.
    pub fn said(&mut self, demand: Demand) {
        self.said = demand.free_slots.into();
        // An agent that claims to have received more than there was gains nothing by it.
        self.received = demand.assigns_received.min(self.given);
    }

    /// The agent takes no more.
    pub fn none(&mut self) {
        self.said = 0;
    }

    /// A workflow was assigned.
    pub fn spend(&mut self) {
        self.given += 1;
    }

    /// An assignment was taken back before the agent could see it.
    pub fn undo(&mut self) {
        self.given = self.given.saturating_sub(1);
    }

    /// How many more may be assigned now.
    pub fn left(&self) -> u32 {
        let left = self.said.saturating_sub(self.given.saturating_sub(self.received));
        u32::try_from(left).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::Credit;
    use piculet_link::message::Demand;

    fn demand(free_slots: u32, assigns_received: u64) -> Demand {
        Demand { free_slots, assigns_received }
    }

    #[test]
    fn what_was_given_is_gone_until_the_agent_speaks_again() {
        let mut credit = Credit::default();
        assert_eq!(credit.left(), 0);
        credit.said(demand(2, 0));
        credit.spend();
        assert_eq!(credit.left(), 1);
        credit.spend();
        assert_eq!(credit.left(), 0);
        credit.said(demand(3, 2));
        assert_eq!(credit.left(), 3, "it replaces what was said before");
        credit.none();
        assert_eq!(credit.left(), 0);
    }

    #[test]
    fn an_assignment_on_its_way_counts_against_a_demand_that_crosses_it() {
        let mut credit = Credit::default();
        credit.said(demand(1, 0));
        credit.spend();
        credit.said(demand(1, 0));
        assert_eq!(credit.left(), 0, "the agent had not seen it when it said 1");
        credit.said(demand(1, 1));
        assert_eq!(credit.left(), 1);
        credit.said(demand(1, 99));
        credit.spend();
        assert_eq!(credit.left(), 0, "nobody received what was never sent");
    }

    #[test]
    fn what_was_taken_back_can_be_given_again() {
        let mut credit = Credit::default();
        credit.said(demand(1, 0));
        credit.spend();
        credit.undo();
        assert_eq!(credit.left(), 1);
    }
}
