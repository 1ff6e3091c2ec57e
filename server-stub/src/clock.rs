//! The time, as values: the one place that reads the clock.

use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

/// A moment by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// For measuring: leases, deadlines.
    pub instant: Instant,
    /// For people.
    pub time: Timestamp,
}

/// Follows tokio's clock, so that a test that pauses it pauses the server too.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Now,
}

impl Clock {
    /// Reads the wall clock once; from then on time is what tokio's clock says has passed.
    #[expect(clippy::disallowed_methods, reason = "the one place of the server that reads the wall clock")]
    pub fn start() -> Self {
        Self::starting_at(Timestamp::now())
    }

    /// A clock that shows this wall time now. For simulations.
    pub fn starting_at(time: Timestamp) -> Self {
        Self { start: Now { instant: tokio::time::Instant::now().into_std(), time } }
    }

    /// The current moment.
    pub fn now(&self) -> Now {
        let instant = tokio::time::Instant::now().into_std();
        let passed =
            SignedDuration::try_from(instant.duration_since(self.start.instant)).unwrap_or(SignedDuration::MAX);
        Now { instant, time: self.start.time.checked_add(passed).unwrap_or(Timestamp::MAX) }
    }
}
