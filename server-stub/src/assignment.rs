//! Who has a workflow: the one small machine that decides whether it may still go elsewhere.
//!
//! | in       | assign   | accepted | acknowledged | withdrawn            | left     | adopted (epoch grows) | lost               | ended |
//! |----------|----------|----------|--------------|----------------------|----------|-----------------------|--------------------|-------|
//! | Pending  | Assigned | -        | -            | -                    | -        | -                     | -                  | Ended |
//! | Assigned | -        | Accepted | -            | Pending, epoch + 1   | -        | -                     | Pending, epoch + 1 | Ended |
//! | Accepted | -        | -        | Bound        | Pending, epoch + 1   | -        | -                     | Pending, epoch + 1 | Ended |
//! | Bound    | -        | -        | -            | -                    | Orphaned | Bound                 | Pending, epoch + 1 | Ended |
//! | Orphaned | -        | -        | -            | -                    | -        | Bound                 | Pending, epoch + 1 | Ended |
//! | Ended    | -        | -        | -            | -                    | -        | -                     | -                  | -     |
//!
//! The agent creates its first pod when `Accepted` was acknowledged. From then on (`Bound`) the workflow belongs to its
//! cluster: only an instance of that cluster may go on with it, and nobody starts it a second time, unless an operator
//! says that the cluster is lost.

use std::time::Instant;

use piculet_core::id::{Epoch, InstanceId};
use serde::{Deserialize, Serialize};

use crate::record::PlaceRecord;

/// Who has a workflow, and under which epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    epoch: Epoch,
    place: Place,
}

/// Where a workflow is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// With nobody.
    Pending,
    /// Offered to an agent that has not answered.
    Assigned(Holder),
    /// Accepted, and the agent doesn't know yet that the server knows.
    Accepted(Holder),
    /// The agent may have created pods.
    Bound(Holder),
    /// Bound to a cluster, and no connected instance says that it drives it.
    Orphaned {
        /// Who had it last.
        last: Holder,
        /// Since when.
        since: Instant,
    },
    /// Over.
    Ended,
}

/// An agent instance and its cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The instance.
    pub instance: InstanceId,
    /// The UID of its cluster; empty if it could not be read.
    pub cluster: String,
}

impl Holder {
    /// Whether another instance can go on with what this one had, by what the two say of themselves. Whether its token
    /// lets it is for the dispatcher to know.
    pub fn is_kin(&self, other: &Self) -> bool {
        self.instance == other.instance || (!self.cluster.is_empty() && self.cluster == other.cluster)
    }
}

impl Default for Assignment {
    /// With nobody, under epoch 1.
    fn default() -> Self {
        Self { epoch: Epoch(1), place: Place::Pending }
    }
}

impl Assignment {
    /// As it was stored. Nobody is connected yet: [`Assignment::withdrawn`] or [`Assignment::left`] has to follow.
    pub fn restored(epoch: Epoch, place: PlaceRecord) -> Self {
        let place = match place {
            PlaceRecord::Pending => Place::Pending,
            PlaceRecord::Offered(holder) => Place::Assigned(holder),
            PlaceRecord::Bound(holder) => Place::Bound(holder),
            PlaceRecord::Ended => Place::Ended,
        };
        Self { epoch, place }
    }

    /// What is to be stored of the place.
    pub fn place_record(&self) -> PlaceRecord {
        match &self.place {
            Place::Pending => PlaceRecord::Pending,
            Place::Assigned(holder) | Place::Accepted(holder) => PlaceRecord::Offered(holder.clone()),
            Place::Bound(holder) | Place::Orphaned { last: holder, .. } => PlaceRecord::Bound(holder.clone()),
            Place::Ended => PlaceRecord::Ended,
        }
    }

    /// The epoch of the current or the next assignment.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Where the workflow is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The instance that has it, if one does.
    pub fn holder(&self) -> Option<&Holder> {
        match &self.place {
            Place::Assigned(holder) | Place::Accepted(holder) | Place::Bound(holder) => Some(holder),
            Place::Pending | Place::Orphaned { .. } | Place::Ended => None,
        }
    }

    /// Whether this instance has it under this epoch.
    pub fn is_held_by(&self, instance: &InstanceId, epoch: Epoch) -> bool {
        self.epoch == epoch && self.holder().is_some_and(|holder| holder.instance == *instance)
    }

    /// An agent was chosen. False if the workflow is not pending.
    pub fn assign(&mut self, holder: Holder) -> bool {
        let pending = self.place == Place::Pending;
        if pending {
            self.place = Place::Assigned(holder);
        }
        pending
    }

    /// `Accepted` was stored. False if that was known.
    pub fn accepted(&mut self) -> bool {
        let Place::Assigned(holder) = &self.place else { return false };
        self.place = Place::Accepted(holder.clone());
        true
    }

    /// The agent is being told that `Accepted` was stored. False if that is not the first time.
    pub fn acknowledged(&mut self) -> bool {
        let Place::Accepted(holder) = &self.place else { return false };
        self.place = Place::Bound(holder.clone());
        true
    }

    /// The agent refused, or was lost. False if the workflow can't go elsewhere any more.
    pub fn withdrawn(&mut self) -> bool {
        let free = matches!(self.place, Place::Assigned(_) | Place::Accepted(_));
        if free {
            self.epoch = Epoch(self.epoch.0 + 1);
            self.place = Place::Pending;
        }
        free
    }

    /// The holder is gone, or stopped driving it.
    pub fn left(&mut self, now: Instant) {
        if let Place::Bound(last) = &self.place {
            self.place = Place::Orphaned { last: last.clone(), since: now };
        }
    }

    /// An instance says that it drives the workflow under this epoch. In a cluster the compare-and-swap on the anchor
    /// decides who does, and the server follows. False if it is not the instance's to drive.
    pub fn adopted(&mut self, by: &Holder, epoch: Epoch) -> bool {
        let (Place::Bound(last) | Place::Orphaned { last, .. }) = &self.place else { return false };
        let same = epoch == self.epoch && last.instance == by.instance;
        let newer = epoch > self.epoch && last.is_kin(by);
        if same || newer {
            self.epoch = epoch;
            self.place = Place::Bound(by.clone());
        }
        same || newer
    }

    /// An operator says that the cluster is lost with all that it ran: the workflow starts anew elsewhere. False if it
    /// is not with anybody.
    pub fn lost(&mut self) -> bool {
        let was_away = !matches!(self.place, Place::Pending | Place::Ended);
        if was_away {
            self.epoch = Epoch(self.epoch.0 + 1);
            self.place = Place::Pending;
        }
        was_away
    }

    /// The workflow is over.
    pub fn ended(&mut self) {
        self.place = Place::Ended;
    }
}

#[cfg(test)]
mod tests {
    use super::{Assignment, Holder, Place};
    use piculet_core::id::{Epoch, InstanceId};

    fn holder(instance: &str, cluster: &str) -> Holder {
        Holder { instance: InstanceId::new(instance), cluster: cluster.to_owned() }
    }

    fn bound() -> Assignment {
        let mut assignment = Assignment::default();
        assert!(assignment.assign(holder("i1", "c1")));
        assignment.accepted();
        assignment.acknowledged();
        assignment
    }

    #[test]
    fn it_may_go_elsewhere_until_the_agent_was_told() {
        let mut assignment = Assignment::default();
        assert_eq!(assignment.epoch(), Epoch(1));
        assert!(!assignment.withdrawn(), "nobody has it");
        assert!(assignment.assign(holder("i1", "c1")));
        assert!(!assignment.assign(holder("i2", "c1")), "it is given away once");
        assert!(assignment.withdrawn());
        assert_eq!((assignment.epoch(), assignment.place()), (Epoch(2), &Place::Pending));
        assert!(assignment.assign(holder("i2", "c2")));
        assignment.accepted();
        assert!(assignment.withdrawn());
        assert!(assignment.assign(holder("i2", "c2")));
        assignment.accepted();
        assignment.acknowledged();
        assert!(!assignment.withdrawn(), "it is bound");
        assert!(assignment.is_held_by(&InstanceId::new("i2"), Epoch(3)));
        assert!(!assignment.is_held_by(&InstanceId::new("i2"), Epoch(2)));
    }

    #[test]
    fn only_the_cluster_goes_on_with_a_bound_workflow() {
        let now = tokio::time::Instant::now().into_std();
        for (by, epoch, expected) in [
            (holder("i1", "c1"), 1, true),
            (holder("i1", "c1"), 2, true),
            (holder("i2", "c1"), 2, true),
            (holder("i2", "c1"), 1, false),
            (holder("i2", "c2"), 2, false),
        ] {
            for orphaned in [false, true] {
                let mut assignment = bound();
                if orphaned {
                    assignment.left(now);
                    assert_eq!(assignment.holder(), None);
                }
                assert_eq!(assignment.adopted(&by, Epoch(epoch)), expected, "{by:?} {epoch} {orphaned}");
                if expected {
                    assert!(assignment.is_held_by(&by.instance, Epoch(epoch)));
                }
            }
        }
        assert!(!Assignment::default().adopted(&holder("i1", "c1"), Epoch(2)), "nobody accepted it");
    }

    #[test]
    fn clusters_without_a_uid_are_no_kin() {
        assert!(!holder("i1", "").is_kin(&holder("i2", "")));
        assert!(holder("i1", "").is_kin(&holder("i1", "")));
    }
}
