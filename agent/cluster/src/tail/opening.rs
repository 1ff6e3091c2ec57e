//! Whether a log is being read.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// A kubelet sends nothing, not even a header, before a container's first line. A request for its log that was not
/// refused for so long counts as a stream.
const PRESUMED: Duration = Duration::from_secs(1);

/// Whether the stream of a log is open. What a container writes from then on is read even if its pod is asked to go.
#[derive(Debug, Clone, Default)]
pub struct Opening(watch::Sender<Stage>);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    /// There is no stream.
    #[default]
    Closed,
    /// It was asked for.
    Asked(Instant),
    /// It is open, or nothing is left that could be read.
    Open,
}

impl Opening {
    /// Waits until the stream is open. For a log that nobody reads this takes for ever.
    pub async fn wait(&self) {
        let mut stages = self.0.subscribe();
        loop {
            let stage = *stages.borrow_and_update();
            // The sender is `self`: the channel can't close.
            match stage {
                Stage::Closed => {
                    let _changed = stages.changed().await;
                }
                Stage::Asked(since) => {
                    if timeout_at(since + PRESUMED, stages.changed()).await.is_err() {
                        return;
                    }
                }
                Stage::Open => return,
            }
        }
    }

    pub(super) fn closed(&self) {
        self.0.send_replace(Stage::Closed);
    }

    pub(super) fn asked(&self) {
        self.0.send_replace(Stage::Asked(Instant::now()));
    }

    pub(super) fn opened(&self) {
        self.0.send_replace(Stage::Open);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{Instant, timeout};

    use super::{Opening, PRESUMED};

    #[tokio::test(start_paused = true)]
    async fn a_stream_is_open_when_it_is_or_was_not_refused_for_a_while() {
        let opening = Opening::default();
        assert!(timeout(PRESUMED * 10, opening.wait()).await.is_err());
        let began = Instant::now();
        opening.asked();
        opening.wait().await;
        assert_eq!(began.elapsed(), PRESUMED);

        // A refusal, then a request that is answered.
        opening.closed();
        let half = Duration::from_millis(500);
        assert!(timeout(PRESUMED * 10, opening.wait()).await.is_err());
        opening.asked();
        let waits = {
            let opening = opening.clone();
            tokio::spawn(async move { opening.wait().await })
        };
        tokio::time::sleep(half).await;
        assert!(!waits.is_finished());
        opening.opened();
        let began = Instant::now();
        waits.await.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
