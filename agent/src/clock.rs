//! Wall time, read once: from then on it follows tokio's clock, so that tests which pause that one pause this one.

use jiff::Timestamp;
use tokio::time::Instant;

/// The program's wall clock. Cheap to copy.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: Instant,
    wall: Timestamp,
}

impl Clock {
    /// Reads the machine's wall clock.
    #[expect(clippy::disallowed_methods, reason = "the one place of the program that reads the wall clock")]
    pub(crate) fn start() -> Self {
        Self { origin: Instant::now(), wall: Timestamp::now() }
    }

    /// The wall time now.
    pub(crate) fn now(&self) -> Timestamp {
        let passed = jiff::SignedDuration::try_from(self.origin.elapsed()).unwrap_or(jiff::SignedDuration::MAX);
        self.wall.saturating_add(passed).unwrap_or(Timestamp::MAX)
    }
}
