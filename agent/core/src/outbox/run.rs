//! What one workflow has to say.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use super::Body;
use crate::id::{Sequence, StepId};
use crate::logs::spool::Spool;
use crate::report::Report;

/// Everything about one workflow that was not acknowledged.
#[derive(Debug, Default)]
pub(super) struct Run {
    /// The last number that the server has.
    acknowledged: Sequence,
    /// What was numbered, without gaps from the number after `acknowledged` on.
    sent: VecDeque<Sent>,
    /// How many of `sent` were given out on this connection.
    given: usize,
    /// The connection broke, and nobody said yet what the server has.
    paused: bool,
    /// States that have no number yet.
    reports: VecDeque<Report>,
    ending: Ending,
    /// Also those that have left to their end.
    logs: BTreeMap<StepId, Spool>,
}

/// An envelope that left.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) body: Body,
    /// Its memory as a part of a log; 0 for a state.
    pub(super) cost: usize,
}

/// How far the workflow's last report is.
#[derive(Debug, Default)]
enum Ending {
    /// There will be more.
    #[default]
    Open,
    /// This one leaves when all else has.
    Waiting(Report),
    /// It has its place already, and nothing comes after it.
    Over,
}

impl Run {
    /// Takes a state. From `limit` waiting ones on it replaces those about the same step.
    pub(super) fn report(&mut self, report: Report, limit: usize) {
        if !matches!(self.ending, Ending::Open) {
            return;
        }
        match &report {
            Report::Finished(_) => {
                self.ending = Ending::Waiting(report);
                return;
            }
            Report::Refused { .. } => self.ending = Ending::Over,
            Report::Step(new) if self.reports.len() >= limit => {
                self.reports.retain(|waiting| !matches!(waiting, Report::Step(old) if old.step == new.step));
            }
            Report::Step(_) | Report::Accepted => {}
        }
        self.reports.push_back(report);
    }

    /// Makes sure that a step has a spool, unless nothing is taken any more. Returns whether it is a new one.
    pub(super) fn add_spool(&mut self, step: &StepId, new: impl FnOnce() -> Spool) -> bool {
        let is_new = !matches!(self.ending, Ending::Over) && !self.logs.contains_key(step);
        if is_new {
            self.logs.insert(step.clone(), new());
        }
        is_new
    }

    /// The spool of a step, if it has one and more may be handed in.
    pub(super) fn open_spool(&mut self, step: &StepId) -> Option<&mut Spool> {
        if matches!(self.ending, Ending::Over) { None } else { self.logs.get_mut(step) }
    }

    /// The spool of a step, if it has one.
    pub(super) fn spool(&mut self, step: &StepId) -> Option<&mut Spool> {
        self.logs.get_mut(step)
    }

    /// The same, to look at.
    pub(super) fn log(&self, step: &StepId) -> Option<&Spool> {
        self.logs.get(step)
    }

    /// The spools of all steps.
    pub(super) fn spools(&self) -> impl Iterator<Item = &Spool> {
        self.logs.values()
    }

    /// The same, to change.
    pub(super) fn spools_mut(&mut self) -> impl Iterator<Item = &mut Spool> {
        self.logs.values_mut()
    }

    /// No log gets any more lines.
    pub(super) fn abandon_logs(&mut self, now: Instant) {
        self.logs.values_mut().for_each(|spool| spool.abandon(now));
    }

    /// The spool of a step, unless its chunks have to stay for now.
    pub(super) fn ready_spool(&mut self, step: &StepId) -> Option<&mut Spool> {
        if self.paused { None } else { self.logs.get_mut(step) }
    }

    /// When the next chunk of a step's log is due.
    pub(super) fn log_due(&self, step: &StepId) -> Option<Instant> {
        if self.paused { None } else { self.logs.get(step)?.due() }
    }

    /// Numbers something that leaves for the first time. `cost` is its memory as a part of a log; 0 for a state.
    ///
    /// What was sent before has left again by now: [`Outbox::next`](super::Outbox::next) asks for it first.
    pub(super) fn send(&mut self, body: Body, cost: usize) -> (Sequence, Body) {
        debug_assert_eq!(self.given, self.sent.len(), "numbers keep their order");
        self.sent.push_back(Sent { body: body.clone(), cost });
        self.given = self.sent.len();
        (self.place(self.given), body)
    }

    /// The next state, if it is a state's turn. One that was sent before has to wait for what was sent before it; with
    /// `after_logs` a step's final state waits for the end of the step's log, and others go on without it.
    pub(super) fn next_report(&mut self, after_logs: bool) -> Option<(Sequence, Body)> {
        if let Some(sent) = self.sent.get(self.given) {
            return if matches!(sent.body, Body::Report(_)) { self.next_repeated() } else { None };
        }
        if self.paused {
            return None;
        }
        let may_leave = |report: &Report| !after_logs || !self.waits_for_log(report);
        let report = match self.reports.iter().position(may_leave) {
            Some(place) => self.reports.remove(place)?,
            None if self.reports.is_empty() => self.last_report()?,
            None => return None,
        };
        Some(self.send(Body::Report(report), 0))
    }

    fn waits_for_log(&self, report: &Report) -> bool {
        let Report::Step(report) = report else { return false };
        report.state.is_final() && self.logs.get(&report.step).is_some_and(|spool| !spool.is_over())
    }

    /// The next of those that were sent on an earlier connection.
    pub(super) fn next_repeated(&mut self) -> Option<(Sequence, Body)> {
        if self.paused {
            return None;
        }
        let body = self.sent.get(self.given)?.body.clone();
        self.given += 1;
        Some((self.place(self.given), body))
    }

    /// Forgets what the server has, and returns it.
    pub(super) fn acknowledge(&mut self, sequence: Sequence) -> impl Iterator<Item = Sent> {
        let new = sequence.0.saturating_sub(self.acknowledged.0);
        // A number that was never given out acknowledges nothing.
        let count = usize::try_from(new).ok().filter(|count| *count <= self.sent.len()).unwrap_or(0);
        self.acknowledged = self.place(count);
        self.given = self.given.saturating_sub(count);
        self.sent.drain(..count)
    }

    /// The last number that the server has.
    pub(super) fn acknowledged(&self) -> Sequence {
        self.acknowledged
    }

    /// Nothing leaves from now on.
    pub(super) fn pause(&mut self) {
        self.paused = true;
    }

    /// All that the server doesn't have leaves, beginning with what was sent before.
    pub(super) fn resume(&mut self) {
        self.paused = false;
        self.given = 0;
    }

    /// Whether all that was taken has been acknowledged.
    pub(super) fn is_flushed(&self) -> bool {
        self.sent.is_empty()
            && self.reports.is_empty()
            && !matches!(self.ending, Ending::Waiting(_))
            && self.logs.values().all(Spool::is_empty)
    }

    /// The memory of log chunks that were not acknowledged, in bytes.
    pub(super) fn unacknowledged(&self) -> usize {
        self.sent.iter().map(|sent| sent.cost).sum()
    }

    /// The last report, if all else has left.
    fn last_report(&mut self) -> Option<Report> {
        if !matches!(self.ending, Ending::Waiting(_)) || !self.logs.values().all(Spool::is_over) {
            return None;
        }
        match std::mem::replace(&mut self.ending, Ending::Over) {
            Ending::Waiting(report) => Some(report),
            Ending::Open | Ending::Over => None,
        }
    }

    /// The number of the `count`th after the acknowledged ones.
    fn place(&self, count: usize) -> Sequence {
        Sequence(self.acknowledged.0 + count as u64)
    }
}
