//! The cluster's wall clock: tokio's clock on top of a fixed epoch, so that a paused test moves it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::time::Instant;

/// A wall clock that moves as tokio's clock moves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    start: Instant,
    epoch: Timestamp,
}

impl Clock {
    /// A clock that shows `epoch` now.
    pub(crate) fn starting_at(epoch: Timestamp) -> Self {
        Self { start: Instant::now(), epoch }
    }

    /// The cluster's time.
    pub(crate) fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.start.elapsed()).unwrap_or(SignedDuration::MAX);
        self.epoch.saturating_add(passed).unwrap_or(Timestamp::MAX)
    }

    /// The moment of tokio's clock at which this clock shows `time`; now, if that has passed.
    pub(crate) fn instant_of(&self, time: Timestamp) -> Instant {
        let wait = Duration::try_from(time.duration_since(self.now())).unwrap_or(Duration::ZERO);
        Instant::now() + wait
    }
}

/// Waits until a moment; for ever, if there is none.
pub(crate) async fn until(moment: Option<Instant>) {
    match moment {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// The form of `metav1.Time`: whole seconds, UTC.
pub(crate) fn seconds(time: Timestamp) -> String {
    format!("{}Z", time.strftime("%Y-%m-%dT%H:%M:%S"))
}

/// `seconds`, as a JSON value.
pub(crate) fn json_seconds(time: Timestamp) -> Value {
    Value::String(seconds(time))
}
