//! What a test told the server to do wrong.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use piculet_proto::woodpecker as pb;
use tonic::Status;

use super::journal::Method;

/// How an answer gets lost.
#[derive(Debug, Clone)]
pub enum Loss {
    /// The connection breaks, with all calls on it.
    Break,
    /// The call ends with this status.
    Status(Status),
}

/// What goes wrong with one method.
#[derive(Debug, Default)]
struct Trouble {
    /// Before anything else happens.
    delay: Option<Duration>,
    refusals: VecDeque<Status>,
    losses: VecDeque<Loss>,
}

/// All that goes wrong.
#[derive(Debug, Default)]
pub(super) struct Faults {
    methods: BTreeMap<Method, Trouble>,
    answers: VecDeque<Option<pb::Workflow>>,
    lost_assignments: usize,
}

impl Faults {
    pub(super) fn refuse(&mut self, method: Method, status: &Status, times: usize) {
        let refusals = std::iter::repeat_with(|| status.clone()).take(times);
        self.methods.entry(method).or_default().refusals.extend(refusals);
    }

    pub(super) fn lose(&mut self, method: Method, loss: &Loss, times: usize) {
        let losses = std::iter::repeat_with(|| loss.clone()).take(times);
        self.methods.entry(method).or_default().losses.extend(losses);
    }

    pub(super) fn delay(&mut self, method: Method, delay: Duration) {
        self.methods.entry(method).or_default().delay = (!delay.is_zero()).then_some(delay);
    }

    pub(super) fn answer_next(&mut self, answer: Option<pb::Workflow>) {
        self.answers.push_back(answer);
    }

    pub(super) fn lose_assignments(&mut self, times: usize) {
        self.lost_assignments += times;
    }

    /// Nothing goes wrong any more.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn delay_of(&self, method: Method) -> Option<Duration> {
        self.methods.get(&method)?.delay
    }

    pub(super) fn take_refusal(&mut self, method: Method) -> Option<Status> {
        self.methods.get_mut(&method)?.refusals.pop_front()
    }

    pub(super) fn take_loss(&mut self, method: Method) -> Option<Loss> {
        self.methods.get_mut(&method)?.losses.pop_front()
    }

    pub(super) fn take_answer(&mut self) -> Option<Option<pb::Workflow>> {
        self.answers.pop_front()
    }

    pub(super) fn take_lost_assignment(&mut self) -> bool {
        let is_lost = self.lost_assignments > 0;
        self.lost_assignments -= usize::from(is_lost);
        is_lost
    }
}
