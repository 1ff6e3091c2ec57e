//! Ending it in order: first no more work, then everything out, then good-bye.

use tokio::sync::watch;
use tokio::time::Instant;

/// Ends the connection to the server. Dropping it ends nothing.
#[derive(Debug)]
pub struct Closer(watch::Sender<Wish>);

/// What the agent wishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Wish {
    pub(super) drain: bool,
    pub(super) close_by: Option<Instant>,
}

impl Closer {
    pub(super) fn new() -> (Self, watch::Receiver<Wish>) {
        let (sender, receiver) = watch::channel(Wish::default());
        (Self(sender), receiver)
    }

    /// Takes no more work, and tells the server so, also the next one after an outage.
    pub fn drain(&self) {
        self.0.send_modify(|wish| wish.drain = true);
    }

    /// As [`Closer::drain`], and ends the supervisor as soon as everything that was reported is acknowledged, at
    /// `deadline` at the latest. To be called when the runners have reported all they had to. The earliest deadline
    /// counts.
    pub fn close(&self, deadline: Instant) {
        self.0.send_modify(|wish| {
            wish.drain = true;
            wish.close_by = Some(wish.close_by.map_or(deadline, |earlier| earlier.min(deadline)));
        });
    }
}
