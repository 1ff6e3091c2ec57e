//! The queue of tasks: who waits for one, who has one, and until when.
//!
//! Tasks are given out at a tick of 100 ms, the oldest first, each to the waiting poll that fits best. What is given out
//! runs under a lease of a minute; one that runs out goes back to the front. The task's row, which a persistent queue keeps
//! besides, is deleted when the task is handed to the agent; a task that comes up again without its row is stale.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use piculet_proto::woodpecker::LEASE;

use super::config::QueueKind;
use super::refusal::Refusal;
use crate::labels::{Offer, score};

/// How often the queue looks at itself.
pub const TICK: Duration = Duration::from_millis(100);

/// A poll that waits for a task.
pub type PollId = u64;
/// A call that waits for the end of a task.
pub type WaitId = u64;

/// What a wait ended with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitEnd {
    /// The task is over, or the queue doesn't know it.
    Over,
    /// Somebody cancelled it.
    Canceled,
    /// Its lease ran out.
    Expired,
}

/// What a poll ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PollEnd {
    /// It gets this task, if it is still there to take it.
    Task(i64),
    /// It gets nothing.
    Empty,
}

/// What the queue has to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// A poll is over.
    Poll(PollId, PollEnd),
    /// A wait is over.
    Wait(WaitId, WaitEnd),
}

/// Where a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It waits for an agent.
    Pending,
    /// An agent has it.
    Running {
        /// Which.
        agent: i64,
        /// Until when, unless it asks for more.
        deadline: Instant,
    },
}

#[derive(Debug)]
struct Poll {
    id: PollId,
    agent: i64,
    labels: BTreeMap<String, String>,
}

#[derive(Debug)]
struct Running {
    agent: i64,
    deadline: Instant,
    waits: Vec<WaitId>,
}

/// The queue.
#[derive(Debug)]
pub struct Queue {
    kind: QueueKind,
    start: Instant,
    labels: BTreeMap<i64, BTreeMap<String, String>>,
    /// The tasks of which there is a row, if the queue is a persistent one.
    rows: BTreeSet<i64>,
    pending: VecDeque<i64>,
    running: BTreeMap<i64, Running>,
    polls: Vec<Poll>,
    last_id: u64,
    /// Something came that may make a match.
    is_fresh: bool,
    /// The tick at which that is looked at.
    due: Option<Instant>,
    news: Vec<News>,
}

impl Queue {
    pub(super) fn new(kind: QueueKind, start: Instant) -> Self {
        Self {
            kind,
            start,
            labels: BTreeMap::new(),
            rows: BTreeSet::new(),
            pending: VecDeque::new(),
            running: BTreeMap::new(),
            polls: Vec::new(),
            last_id: 0,
            is_fresh: false,
            due: None,
            news: Vec::new(),
        }
    }

    /// Takes a task to the end of the queue.
    pub fn push(&mut self, task: i64, labels: BTreeMap<String, String>) {
        self.labels.insert(task, labels);
        self.rows.insert(task);
        self.pending.push_back(task);
        self.is_fresh = true;
    }

    /// An agent waits for a task that fits these labels.
    pub fn poll(&mut self, agent: i64, labels: BTreeMap<String, String>) -> PollId {
        self.last_id += 1;
        self.polls.push(Poll { id: self.last_id, agent, labels });
        self.is_fresh = true;
        self.last_id
    }

    /// A poll waits no more. If a task was just given to it, that is lost until its lease is over.
    pub fn leave(&mut self, poll: PollId) {
        self.polls.retain(|waiting| waiting.id != poll);
    }

    /// Ends all polls of an agent without a task.
    pub fn kick(&mut self, agent: i64) {
        let news = &mut self.news;
        self.polls.retain(|poll| {
            if poll.agent == agent {
                news.push(News::Poll(poll.id, PollEnd::Empty));
            }
            poll.agent != agent
        });
    }

    /// Ends the oldest poll without a task; false if there is none.
    pub(super) fn kick_first(&mut self) -> bool {
        if self.polls.is_empty() {
            return false;
        }
        let poll = self.polls.remove(0);
        self.news.push(News::Poll(poll.id, PollEnd::Empty));
        true
    }

    /// Takes a task's row out as it is handed to the agent. False if there is none: the task is stale, and dropped.
    pub fn take_row(&mut self, task: i64) -> bool {
        if self.kind == QueueKind::Memory || self.rows.remove(&task) {
            return true;
        }
        self.drop_task(task);
        false
    }

    /// The task is over, whatever waits for it is told how.
    pub fn finish(&mut self, task: i64, end: WaitEnd) {
        self.rows.remove(&task);
        self.end_running(task, end);
        self.pending.retain(|pending| *pending != task);
    }

    /// Forgets a task. Who waits for it isn't told of anything but an end.
    pub fn drop_task(&mut self, task: i64) {
        self.finish(task, WaitEnd::Over);
    }

    /// Waits for a task's end; `None`: it isn't among those that run, and there is nothing to wait for.
    pub fn wait(&mut self, task: i64) -> Option<WaitId> {
        let running = self.running.get_mut(&task)?;
        self.last_id += 1;
        running.waits.push(self.last_id);
        Some(self.last_id)
    }

    /// Nobody waits for that any more.
    pub fn leave_wait(&mut self, wait: WaitId) {
        for running in self.running.values_mut() {
            running.waits.retain(|waiting| *waiting != wait);
        }
    }

    /// Renews a lease.
    ///
    /// # Errors
    /// If the task isn't among those that run, or is another agent's.
    pub fn extend(&mut self, task: i64, agent: i64, now: Instant) -> Result<(), Refusal> {
        let running = self.running.get_mut(&task).ok_or(Refusal::NoTask)?;
        if running.agent != agent {
            return Err(Refusal::OtherAgent);
        }
        running.deadline = now + LEASE;
        Ok(())
    }

    /// Ends a task's lease; false if it has none.
    pub fn expire(&mut self, task: i64) -> bool {
        let had = self.end_running(task, WaitEnd::Expired);
        if had {
            self.pending.push_front(task);
            self.is_fresh = true;
        }
        had
    }

    /// Puts a task to the front although an agent may have it, and its row back.
    pub fn push_again(&mut self, task: i64) {
        self.rows.insert(task);
        self.pending.retain(|pending| *pending != task);
        self.pending.push_front(task);
        self.is_fresh = true;
    }

    /// Forgets what runs. Who waits for it hears of an end, as the next one who asks.
    pub fn forget_running(&mut self) {
        let running: Vec<i64> = self.running.keys().copied().collect();
        for task in running {
            self.end_running(task, WaitEnd::Over);
        }
    }

    /// The server starts anew: nobody waits any more, and nothing runs. What a persistent queue has rows of is pending.
    pub fn restart(&mut self) {
        self.polls.clear();
        self.running.clear();
        self.news.clear();
        if self.kind == QueueKind::Persistent {
            self.pending = self.rows.iter().copied().collect();
        }
        self.is_fresh = true;
    }

    /// What comes due at a tick: leases that run out, and tasks that find a poll.
    pub fn tick(&mut self, now: Instant) {
        let expired: Vec<i64> =
            self.running.iter().filter(|(_, running)| running.deadline <= now).map(|(task, _)| *task).collect();
        for task in expired {
            self.expire(task);
        }
        (self.is_fresh, self.due) = (false, None);
        let mut index = 0;
        while let Some(task) = self.pending.get(index).copied() {
            match self.best(task) {
                None => index += 1,
                Some(poll) => {
                    self.pending.remove(index);
                    let poll = self.polls.remove(poll);
                    let before = self.running.remove(&task).map(|running| running.waits).unwrap_or_default();
                    let running = Running { agent: poll.agent, deadline: now + LEASE, waits: before };
                    self.running.insert(task, running);
                    self.news.push(News::Poll(poll.id, PollEnd::Task(task)));
                }
            }
        }
    }

    /// What came since is looked at in the first tick after now.
    pub fn settle(&mut self, now: Instant) {
        if self.is_fresh && self.due.is_none() {
            self.due = Some(self.tick_at(now + Duration::from_nanos(1)));
        }
    }

    /// The next tick that has something to do, once all has [settled](Self::settle).
    pub fn next_tick(&self) -> Option<Instant> {
        let lease = self.running.values().map(|running| self.tick_at(running.deadline)).min();
        [self.due, lease].into_iter().flatten().min()
    }

    /// The first tick that isn't before this moment.
    pub fn tick_at(&self, moment: Instant) -> Instant {
        let passed = moment.saturating_duration_since(self.start).as_nanos();
        let ticks = passed.div_ceil(TICK.as_nanos());
        self.start + TICK * u32::try_from(ticks).unwrap_or(u32::MAX)
    }

    /// What is to be told, in order.
    pub fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// Where a task is; `None`: the queue doesn't know it.
    pub fn place(&self, task: i64) -> Option<Place> {
        let running = self.running.get(&task);
        let running = running.map(|running| Place::Running { agent: running.agent, deadline: running.deadline });
        running.or_else(|| self.pending.contains(&task).then_some(Place::Pending))
    }

    /// The poll that fits best; of equal ones the oldest. It has to fit at all: a task without labels goes nowhere.
    fn best(&self, task: i64) -> Option<usize> {
        let wanted = self.labels.get(&task)?;
        let mut best: Option<(usize, u32)> = None;
        for (index, poll) in self.polls.iter().enumerate() {
            let fit = score(wanted, Offer { labels: &poll.labels, platforms: &[] }).unwrap_or(0);
            if fit > best.map_or(0, |(_, best)| best) {
                best = Some((index, fit));
            }
        }
        best.map(|(index, _)| index)
    }

    fn end_running(&mut self, task: i64, end: WaitEnd) -> bool {
        let Some(running) = self.running.remove(&task) else { return false };
        self.news.extend(running.waits.into_iter().map(|wait| News::Wait(wait, end.clone())));
        true
    }
}

#[cfg(test)]
mod tests;
