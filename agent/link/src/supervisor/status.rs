//! How it stands with the server: for readiness, metrics and people.

use piculet_core::id::ServerId;
use tokio::time::Instant;

use crate::link::Cause;

/// The connection to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The server of the session, while there is one.
    pub server: Option<ServerId>,
    /// Since when there is one, or none.
    pub since: Instant,
    /// Sessions that ended, or never began, since the last one began.
    pub failures: u32,
    /// Why the last session ended, or never began.
    pub last_error: Option<Cause>,
}

impl Status {
    /// Not connected yet.
    pub(super) fn new(since: Instant) -> Self {
        Self { server: None, since, failures: 0, last_error: None }
    }

    /// Whether there is a session.
    pub fn is_connected(&self) -> bool {
        self.server.is_some()
    }

    pub(super) fn connected(&mut self, server: ServerId, now: Instant) {
        *self = Self { server: Some(server), since: now, failures: 0, last_error: self.last_error.take() };
    }

    pub(super) fn failed(&mut self, cause: Cause, now: Instant) {
        if self.server.take().is_some() {
            self.since = now;
        }
        self.failures += 1;
        self.last_error = Some(cause);
    }
}
