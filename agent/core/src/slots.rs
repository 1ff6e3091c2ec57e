//! How many workflows may run at once.
//!
//! A slot is taken before work is asked for, travels inside the run and frees itself when the run is dropped. So the
//! agent never promises more than it has, and no path can forget to give a slot back.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Set in the state while no slots are given out. It makes the state larger than any capacity.
const CLOSED: u32 = 1 << 31;

/// The slots of one agent. Clones share them.
#[derive(Debug, Clone)]
pub struct Slots(Arc<Shared>);

/// The right to run one workflow, until it is dropped.
#[derive(Debug)]
#[must_use = "a slot is free again as soon as it is dropped"]
pub struct Slot(Arc<Shared>);

struct Shared {
    capacity: u32,
    /// How many slots are taken, and [`CLOSED`].
    state: AtomicU32,
    changed: Box<dyn Fn() + Send + Sync>,
}

impl Slots {
    /// This many slots, all free.
    pub fn new(capacity: u32) -> Self {
        Self::with_notifier(capacity, || {})
    }

    /// As [`Slots::new`]; `changed` is called after each change of [`Slots::free`] or [`Slots::taken`], by whoever
    /// made it. It must neither block nor take or drop slots; waking a task is what it is for.
    pub fn with_notifier(capacity: u32, changed: impl Fn() + Send + Sync + 'static) -> Self {
        let capacity = capacity.min(CLOSED - 1);
        Self(Arc::new(Shared { capacity, state: AtomicU32::new(0), changed: Box::new(changed) }))
    }

    /// Takes a slot, if one is free.
    pub fn take(&self) -> Option<Slot> {
        self.take_if(|state| state < self.0.capacity)
    }

    /// Takes a slot, if there is one that nobody has, also while closed: for work that has been given to this agent and
    /// can't be given back.
    pub fn take_last(&self) -> Option<Slot> {
        self.take_if(|state| state & !CLOSED < self.0.capacity)
    }

    fn take_if(&self, is_free: impl Fn(u32) -> bool) -> Option<Slot> {
        let more = |state| is_free(state).then(|| state + 1);
        self.0.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        (self.0.changed)();
        Some(Slot(Arc::clone(&self.0)))
    }

    /// How many more can be taken now: 0 while closed.
    pub fn free(&self) -> u32 {
        self.0.capacity.saturating_sub(self.0.state.load(Ordering::Acquire))
    }

    /// How many are taken.
    pub fn taken(&self) -> u32 {
        self.0.state.load(Ordering::Acquire) & !CLOSED
    }

    /// How many there are.
    pub fn capacity(&self) -> u32 {
        self.0.capacity
    }

    /// Gives out no more slots, until [`Slots::open`]: the agent drains. Those that are taken stay so.
    pub fn close(&self) {
        self.0.state.fetch_or(CLOSED, Ordering::AcqRel);
        (self.0.changed)();
    }

    /// Gives out slots again.
    pub fn open(&self) {
        self.0.state.fetch_and(!CLOSED, Ordering::AcqRel);
        (self.0.changed)();
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.state.fetch_sub(1, Ordering::AcqRel);
        (self.0.changed)();
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.load(Ordering::Acquire);
        f.debug_struct("Shared")
            .field("capacity", &self.capacity)
            .field("taken", &(state & !CLOSED))
            .field("closed", &(state & CLOSED != 0))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    use proptest::prelude::*;
    use proptest::sample::select;

    use super::Slots;

    #[test]
    fn a_slot_frees_itself_and_says_so() {
        let changes = Arc::new(AtomicU32::new(0));
        let slots = Slots::with_notifier(1, {
            let changes = Arc::clone(&changes);
            move || {
                changes.fetch_add(1, Ordering::Relaxed);
            }
        });
        let slot = slots.take().expect("one is free");
        assert!(slots.take().is_none());
        assert_eq!((slots.free(), slots.taken(), changes.load(Ordering::Relaxed)), (0, 1, 1));
        drop(slot);
        assert_eq!((slots.free(), slots.taken(), changes.load(Ordering::Relaxed)), (1, 0, 2));
    }

    #[test]
    fn closed_slots_are_not_given_out_and_still_come_back() {
        let slots = Slots::new(2);
        let slot = slots.take().expect("two are free");
        slots.close();
        assert_eq!((slots.free(), slots.taken(), slots.capacity()), (0, 1, 2));
        assert!(slots.take().is_none());
        drop(slot);
        assert_eq!((slots.free(), slots.taken()), (0, 0));
        slots.open();
        assert_eq!(slots.free(), 2);
    }

    #[test]
    fn no_capacity_is_no_slot() {
        assert!(Slots::new(0).take().is_none());
        assert_eq!(Slots::new(u32::MAX).free(), (1 << 31) - 1);
    }

    #[test]
    fn threads_never_hold_more_than_there_are() {
        let slots = Slots::new(3);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        let slot = slots.take();
                        assert!(slots.taken() <= 3);
                        drop(slot);
                    }
                });
            }
        });
        assert_eq!((slots.free(), slots.taken()), (3, 0));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Take,
        Drop,
        Close,
        Open,
    }

    proptest! {
        #[test]
        fn counts_as_a_simple_model_does(
            capacity in 0u32..4,
            steps in prop::collection::vec(select(&[Step::Take, Step::Take, Step::Drop, Step::Close, Step::Open]), 0..40),
        ) {
            let slots = Slots::new(capacity);
            let (mut held, mut closed) = (Vec::new(), false);
            for step in steps {
                match step {
                    Step::Take => {
                        let slot = slots.take();
                        prop_assert_eq!(slot.is_some(), !closed && held.len() < capacity as usize);
                        held.extend(slot);
                    }
                    Step::Drop => drop(held.pop()),
                    Step::Close => { slots.close(); closed = true; }
                    Step::Open => { slots.open(); closed = false; }
                }
                prop_assert_eq!(slots.taken() as usize, held.len());
                let free = if closed { 0 } else { capacity as usize - held.len() };
                prop_assert_eq!(slots.free() as usize, free);
            }
        }
    }
}
