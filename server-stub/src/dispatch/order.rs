//! Who is next: the highest priority; of these the repository that has the fewest running; of these the oldest.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use piculet_core::id::WorkflowId;

use super::standing::{Lane, Standings};

/// The first ones of lanes, given out one by one.
pub(super) struct Order {
    heads: BinaryHeap<Reverse<Head>>,
}

/// Smaller ones are served first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Head {
    priority: Reverse<i32>,
    /// How many of its repository ran when this was looked at.
    running: u32,
    number: u64,
    lane: Arc<Lane>,
    id: WorkflowId,
}

impl Order {
    /// Those who are first in the lanes that `wanted` names.
    pub(super) fn of(standings: &Standings, wanted: impl Fn(&Lane) -> bool) -> Self {
        let lanes = standings.lanes().filter(|lane| wanted(lane));
        Self { heads: lanes.filter_map(|lane| Head::of(standings, lane)).map(Reverse).collect() }
    }

    /// The next one, and its lane, which comes no more unless it is asked for.
    pub(super) fn next(&mut self, standings: &Standings) -> Option<(Arc<Lane>, WorkflowId)> {
        loop {
            let Reverse(mut head) = self.heads.pop()?;
            let running = standings.running_of(&head.lane.repository);
            if head.running == running {
                return Some((head.lane, head.id));
            }
            // More of its repository run by now: others may come before it.
            head.running = running;
            self.heads.push(Reverse(head));
        }
    }

    /// The first one of a lane got an agent: the next one of it may come.
    pub(super) fn again(&mut self, standings: &Standings, lane: &Arc<Lane>) {
        self.heads.extend(Head::of(standings, lane).map(Reverse));
    }
}

impl Head {
    fn of(standings: &Standings, lane: &Arc<Lane>) -> Option<Self> {
        let ((priority, number), id) = standings.first(lane)?;
        let running = standings.running_of(&lane.repository);
        Some(Self { priority, running, number, lane: Arc::clone(lane), id: id.clone() })
    }
}
