//! Wall time.

use jiff::Timestamp;
use tokio::time::Instant;

/// The program's wall clock. Cheap to copy.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Clock {
    /// The machine's, which may be set while the program runs.
    Machine,
    /// One that follows tokio's clock from now on, so that tests which pause that one pause this one.
    Tokio {
        /// Now, by tokio's clock.
        origin: Instant,
        /// Now, by the machine's.
        wall: Timestamp,
    },
}

impl Clock {
    /// A clock that follows tokio's.
    pub(crate) fn tokio() -> Self {
        Self::starting_at(read())
    }

    /// A clock that shows this now, and follows tokio's from now on.
    pub(crate) fn starting_at(wall: Timestamp) -> Self {
        Self::Tokio { origin: Instant::now(), wall }
    }

    /// The wall time now.
    pub(crate) fn now(&self) -> Timestamp {
        match self {
            Self::Machine => read(),
            Self::Tokio { origin, wall } => {
                let passed = jiff::SignedDuration::try_from(origin.elapsed()).unwrap_or(jiff::SignedDuration::MAX);
                wall.saturating_add(passed).unwrap_or(Timestamp::MAX)
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place of the program that reads the wall clock")]
fn read() -> Timestamp {
    Timestamp::now()
}
