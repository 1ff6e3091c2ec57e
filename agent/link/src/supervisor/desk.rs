//! Everything that the supervisor serves beside its link: runners, session, clock, and the wish to end.

use std::future::pending;
use std::time::Duration;

use piculet_core::outbox::Usage;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::info;

use super::Closed;
use super::closer::Wish;
use super::directive::Directive;
use super::disk::Disk;
use super::exchange::Exchange;
use super::reporter::Delivery;
use super::status::Status;
use crate::link::Cause;
use crate::message::{Incoming, Outgoing};

/// How many reports are taken before the others get their turn.
const DELIVERIES_AT_ONCE: usize = 64;

/// The agent's side of the supervisor.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) exchange: Exchange,
    pub(super) deliveries: mpsc::Receiver<Delivery>,
    pub(super) directives: mpsc::Sender<Directive>,
    pub(super) demand: watch::Receiver<u32>,
    pub(super) wish: watch::Receiver<Wish>,
    pub(super) status: watch::Sender<Status>,
    pub(super) usage: watch::Sender<Usage>,
    pub(super) disk: Option<Disk>,
    /// A server has accepted a session before.
    pub(super) was_welcome: bool,
}

impl Desk {
    /// Takes from the agent and gives to it what can be taken and given now.
    pub(super) fn serve_agent(&mut self, now: Instant) {
        self.serve_disk(now);
        for _ in 0..DELIVERIES_AT_ONCE {
            if self.exchange.busy_until(now.into_std()).is_some() {
                break;
            }
            let Ok(delivery) = self.deliveries.try_recv() else { break };
            self.exchange.deliver(delivery, now.into_std());
            self.serve_disk(now);
        }
        let usage = self.exchange.usage();
        self.usage.send_if_modified(|known| std::mem::replace(known, usage) != usage);
        if self.demand.has_changed().unwrap_or(false) {
            self.exchange.set_demand(*self.demand.borrow_and_update());
        }
        if self.wish.borrow_and_update().drain {
            self.exchange.drain();
        }
        while self.exchange.has_directive() {
            match self.directives.try_reserve() {
                Ok(place) => {
                    if let Some(directive) = self.exchange.next_directive() {
                        place.send(directive);
                    }
                }
                Err(mpsc::error::TrySendError::Full(())) => break,
                Err(mpsc::error::TrySendError::Closed(())) => self.exchange.drop_directives(),
            }
        }
    }

    /// Takes from the disk what it has done, and gives it what there is to do.
    fn serve_disk(&mut self, now: Instant) {
        let Some(disk) = &mut self.disk else { return };
        while let Some(done) = disk.try_done() {
            self.exchange.done(done, now.into_std());
        }
        while disk.has_room()
            && let Some(job) = self.exchange.next_job(now.into_std())
        {
            disk.begin(job);
        }
    }

    /// Gives the link all that it takes now. True if there may be more.
    pub(super) fn serve_link(&mut self, outgoing: &mpsc::Sender<Outgoing>, now: Instant) -> bool {
        let full = self.fill_link(outgoing, now);
        // What has left makes room for what is on the disk.
        self.serve_disk(now);
        full
    }

    fn fill_link(&mut self, outgoing: &mpsc::Sender<Outgoing>, now: Instant) -> bool {
        loop {
            match outgoing.try_reserve() {
                Ok(place) => match self.exchange.next(now.into_std()) {
                    Some(message) => place.send(message),
                    None => return false,
                },
                Err(mpsc::error::TrySendError::Full(())) => return true,
                Err(mpsc::error::TrySendError::Closed(())) => return false,
            }
        }
    }

    /// Takes what the server says.
    pub(super) fn hear(&mut self, message: Incoming) -> Result<(), Cause> {
        let now = Instant::now();
        self.exchange.hear(message, now.into_std())?;
        if let Some(server) = self.exchange.server().filter(|_| !self.status.borrow().is_connected()) {
            info!(server = %server, "connected to the server");
            self.status.send_modify(|status| status.connected(server.clone(), now));
            self.was_welcome = true;
        }
        Ok(())
    }

    /// How long nothing was heard from the server, if that is too long.
    pub(super) fn silence(&self, incoming: &mpsc::Receiver<Incoming>, now: Instant) -> Option<Duration> {
        let (end, lease) = self.exchange.lease()?;
        // A server that can't be listened to at the moment, for want of room, is not silent.
        (end <= now.into_std() && incoming.is_empty()).then_some(lease)
    }

    /// When the supervisor has to look at the session again, if nothing else happens.
    pub(super) fn due(&self, full: bool) -> Option<Instant> {
        let lease = self.exchange.lease().filter(|_| self.exchange.has_room()).map(|(end, _)| end);
        let next = self.exchange.next_due().filter(|_| !full);
        lease.into_iter().chain(next).min().map(Instant::from_std)
    }

    /// Whether, and how, the wish to end is fulfilled, and until when it had time.
    pub(super) fn closed(&self, now: Instant) -> Option<(Closed, Instant)> {
        let close_by = self.wish.borrow().close_by?;
        if self.deliveries.is_empty() && self.exchange.flushed() {
            Some((Closed::Flushed, close_by))
        } else {
            (now >= close_by).then_some((Closed::DeadlinePassed, close_by))
        }
    }

    /// Waits until the agent has something, or wants something that is there, or the time has come.
    pub(super) async fn something(&mut self, due: Option<Instant>) {
        let close_by = self.wish.borrow().close_by;
        let now = Instant::now().into_std();
        let busy_until = self.exchange.busy_until(now).map(Instant::from_std);
        let job = self.exchange.next_job_due(now).map(Instant::from_std);
        let due = [due, close_by, busy_until, job].into_iter().flatten().min();
        let disk = async {
            match &mut self.disk {
                Some(disk) => disk.done().await,
                None => pending().await,
            }
        };
        let time = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            done = disk => self.exchange.done(done, Instant::now().into_std()),
            Some(delivery) = self.deliveries.recv(), if busy_until.is_none() => self.exchange.deliver(delivery, Instant::now().into_std()),
            Ok(()) = self.demand.changed() => self.exchange.set_demand(*self.demand.borrow_and_update()),
            Ok(()) = self.wish.changed() => {}
            Ok(_) = self.directives.reserve(), if self.exchange.has_directive() => {}
            () = time => {}
        }
    }

    /// Serves the agent until `until`, without a link. What ends it earlier is the wish to end.
    pub(super) async fn pause(&mut self, until: Instant) -> Option<Closed> {
        loop {
            let now = Instant::now();
            self.serve_agent(now);
            if let Some((closed, _)) = self.closed(now) {
                return Some(closed);
            }
            if now >= until {
                return None;
            }
            self.something(Some(until)).await;
        }
    }
}
