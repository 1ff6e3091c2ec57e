//! What a test told the server to do out of turn, and what it wants to know. Empty in a server that serves people.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use piculet_link::message::Hello;
use piculet_link::wire::agent::Said;
use tokio::sync::Notify;
use tonic::Status;

use crate::dispatch::{Effect, SessionId};

/// A test that lets more pile up than this is not looking.
const MAX_HEARD: usize = 1_000_000;

/// A message of an agent, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// What the agent said.
    pub said: Said,
    /// What the server made of it.
    pub effect: Effect,
}

/// What a test set up, and what was recorded for it.
#[derive(Debug, Default)]
pub(crate) struct Script {
    records: bool,
    refusals: VecDeque<Status>,
    pub(crate) delays_headers: bool,
    sessions: VecDeque<(SessionId, Hello)>,
    heard: BTreeMap<SessionId, Record>,
    /// Woken with everything that was recorded.
    pub(crate) news: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Record {
    heard: VecDeque<Heard>,
    is_over: bool,
}

/// What comes next in a record.
#[derive(Debug)]
pub(crate) enum Next {
    Heard(Box<Heard>),
    NotYet,
    Over,
}

impl Script {
    /// One that records what agents say.
    pub(crate) fn recording() -> Self {
        Self { records: true, ..Self::default() }
    }

    /// Whether it does.
    pub(crate) fn records(&self) -> bool {
        self.records
    }

    /// The next call ends with this.
    pub(crate) fn refuse_next(&mut self, status: Status) {
        self.refusals.push_back(status);
    }

    /// How the call that just came is to end, if it is to.
    pub(crate) fn refusal(&mut self) -> Option<Status> {
        self.refusals.pop_front()
    }

    pub(crate) fn session_opened(&mut self, id: SessionId, hello: Hello) {
        if self.records {
            self.sessions.push_back((id, hello));
            self.heard.insert(id, Record::default());
            self.news.notify_waiters();
        }
    }

    pub(crate) fn heard(&mut self, id: SessionId, said: Said, effect: Effect) {
        if let Some(record) = self.heard.get_mut(&id)
            && record.heard.len() < MAX_HEARD
        {
            record.heard.push_back(Heard { said, effect });
            self.news.notify_waiters();
        }
    }

    pub(crate) fn session_ended(&mut self, id: SessionId) {
        if let Some(record) = self.heard.get_mut(&id) {
            record.is_over = true;
            self.news.notify_waiters();
        }
    }

    /// The oldest session that nobody asked for yet.
    pub(crate) fn next_session(&mut self) -> Option<(SessionId, Hello)> {
        self.sessions.pop_front()
    }

    /// The oldest message of a session that nobody asked for yet.
    pub(crate) fn next_heard(&mut self, id: SessionId) -> Next {
        match self.heard.get_mut(&id) {
            None => Next::Over,
            Some(record) => match record.heard.pop_front() {
                Some(heard) => Next::Heard(Box::new(heard)),
                None if record.is_over => Next::Over,
                None => Next::NotYet,
            },
        }
    }

    /// Nobody will ask for this session's messages any more.
    pub(crate) fn forget(&mut self, id: SessionId) {
        self.heard.remove(&id);
    }
}
