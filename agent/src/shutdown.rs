//! Stopping in two stages: drain, then abort.
//!
//! The first SIGTERM or SIGINT drains: no new work, what runs may finish within the configured time. A second signal,
//! or the end of that time, aborts.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The two stages, as tokens that anybody may wait for.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    /// Cancelled when the agent shall take no more work and finish what it has.
    pub drain: CancellationToken,
    /// Cancelled when the agent shall end at once.
    pub abort: CancellationToken,
}

impl Shutdown {
    /// Cancels the tokens as signals come in. Never returns.
    ///
    /// # Errors
    /// If the process may not handle signals.
    pub async fn on_signals(self) -> std::io::Result<std::convert::Infallible> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        loop {
            let name = tokio::select! {
                biased;
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            if self.drain.is_cancelled() {
                tracing::warn!(signal = name, "second signal: ending at once");
                self.abort.cancel();
            } else {
                tracing::info!(signal = name, "draining: no new workflows; a second signal ends at once");
                self.drain.cancel();
            }
        }
    }
}
