//! Keeps a session with the server, one after the other, and owns all that is owed to it in between.
//!
//! ```text
//!  runners ──Reporter──▶ ┌────────────────────────────┐ ──Outgoing──▶ ┌──────┐
//!                        │ Supervisor                 │               │ Link │ ◀──▶ server
//!  session ◀─Directive── │  Exchange ─ Outbox         │ ◀──Incoming── └──────┘
//!          ──demand────▶ └────────────────────────────┘
//!                                   │ ▲
//!                                   ▼ │ blocks of log lines
//!                                  Disk
//! ```
//!
//! One task does it all, so nothing here is shared and nothing is locked. It never waits for one neighbour only: what a
//! full neighbour doesn't take stays in a bounded queue, and all others are served meanwhile. In particular, runners are
//! always served: neither an outage nor a slow server slows the reading of logs. Only where memory for logs runs short
//! they wait a moment for a disk that is just making room.

mod closer;
mod complaints;
mod desk;
mod directive;
mod disk;
mod exchange;
mod reporter;
mod status;

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use piculet_core::outbox::{Limits, Usage};
use piculet_core::retry::{Backoff, Growth, Verdict};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};
use tracing::debug;

pub use closer::Closer;
pub use directive::{Assignment, Directive};
pub use reporter::{Gone, Reporter};
pub use status::Status;

use crate::link::{Cause, Ended, Link};
use crate::log_folder::LogFolder;
use crate::message::{Hello, Identity, Incoming, Outgoing};
use complaints::Complaints;
use desk::Desk;
use disk::Disk;
use exchange::Exchange;

/// Reports on their way from the runners. They are taken at memory speed, whatever the server does. Few: a state waits
/// behind the lines of others, and those are outside the bound of the outbox.
const DELIVERIES: usize = 32;
/// Directives that the agent has not looked at.
const DIRECTIVES: usize = 64;
/// Messages given to the link. Few: a state can't overtake them.
const OUTGOING: usize = 4;
/// Messages from the link.
const INCOMING: usize = 16;
/// How long a server may take to end a session that the agent closed.
const GOODBYE: Duration = Duration::from_secs(2);

/// How the supervisor goes about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Who the agent is.
    pub identity: Identity,
    /// What may be kept that the server has not acknowledged.
    pub limits: Limits,
    /// Delays between sessions.
    pub backoff: Growth,
    /// Lets agents that lost their server at the same moment come back at different ones.
    pub seed: u64,
    /// A session that lasted as long starts the delays anew.
    pub stable_after: Duration,
}

/// What is connected to the supervisor.
#[derive(Debug)]
pub struct Handles {
    /// For the runners.
    pub reporter: Reporter,
    /// For the agent's session. If it is dropped, directives are too, and reports still go out.
    pub directives: mpsc::Receiver<Directive>,
    /// How it stands with the server.
    pub status: watch::Receiver<Status>,
    /// What is kept that no server has acknowledged.
    pub usage: watch::Receiver<Usage>,
    /// For the end.
    pub closer: Closer,
}

/// How the supervisor ended on request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// The server has everything.
    Flushed,
    /// The deadline came first, and reports were lost.
    DeadlinePassed,
}

/// The server can't be worked with. Every cause says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub struct GivenUp {
    /// Why.
    pub cause: Cause,
}

/// Keeps sessions over one link.
#[derive(Debug)]
#[must_use = "nothing happens until it runs"]
pub struct Supervisor<L> {
    link: L,
    identity: Identity,
    backoff: Backoff,
    stable_after: Duration,
    complaints: Complaints,
    desk: Desk,
}

/// Builds a supervisor and all that is connected to it.
///
/// `demand` says how many more workflows the agent would take. It changes whenever a slot is taken or given back.
pub fn supervise<L: Link>(link: L, settings: Settings, demand: watch::Receiver<u32>) -> (Supervisor<L>, Handles) {
    let (deliver, deliveries) = mpsc::channel(DELIVERIES);
    let (direct, directives) = mpsc::channel(DIRECTIVES);
    let (tell_status, status) = watch::channel(Status::new(Instant::now()));
    let (tell_usage, usage) = watch::channel(Usage::default());
    let (closer, wish) = Closer::new();
    let mut exchange = Exchange::new(settings.limits);
    exchange.set_demand(*demand.borrow());
    let supervisor = Supervisor {
        link,
        identity: settings.identity,
        backoff: Backoff::new(settings.backoff, settings.seed),
        stable_after: settings.stable_after,
        complaints: Complaints::default(),
        desk: Desk {
            exchange,
            deliveries,
            directives: direct,
            demand,
            wish,
            status: tell_status,
            usage: tell_usage,
            disk: None,
            was_welcome: false,
        },
    };
    (supervisor, Handles { reporter: Reporter::new(deliver), directives, status, usage, closer })
}

impl<L: Link> Supervisor<L> {
    /// Keeps log lines that memory is too small for in this folder, at most this many bytes of them.
    pub fn with_log_folder(mut self, folder: LogFolder, bytes: u64) -> Self {
        self.desk.exchange.set_disk(bytes);
        self.desk.disk = Some(Disk::new(folder));
        self
    }

    /// Runs until [`Closer::close`], or until the server can't be worked with. Dropping the future ends the session at
    /// once.
    ///
    /// # Errors
    /// The server can't be worked with: it refused the credentials at the very first session, another process has this
    /// one's identity, or it speaks another protocol and no workflow is held. All else is tried again for ever.
    pub async fn run(mut self) -> Result<Closed, GivenUp> {
        loop {
            let ended = match self.session().await {
                SessionEnd::Closed(closed) => return Ok(closed),
                SessionEnd::Ended(ended) => ended,
            };
            let delay = self.next_delay(ended)?;
            if let Some(closed) = self.desk.pause(Instant::now() + delay).await {
                return Ok(closed);
            }
        }
    }

    /// One session from dialing to its end.
    async fn session(&mut self) -> SessionEnd {
        let Self { link, identity, desk, .. } = self;
        let (outgoing, to_link) = mpsc::channel(OUTGOING);
        let (from_link, mut incoming) = mpsc::channel(INCOMING);
        let hello = Hello { identity: identity.clone(), held: desk.exchange.held() };
        let mut running = pin!(link.run(hello, to_link, from_link));
        loop {
            let now = Instant::now();
            desk.serve_agent(now);
            let full = desk.serve_link(&outgoing, now);
            if let Some((closed, close_by)) = desk.closed(now) {
                if desk.exchange.server().is_some() {
                    let until = close_by.min(now + GOODBYE);
                    goodbye(running, outgoing, incoming, until).await;
                }
                return SessionEnd::Closed(closed);
            }
            if let Some(after) = desk.silence(&incoming, now) {
                return SessionEnd::Ended(Ended::retry(Cause::Silent { after }));
            }
            let due = desk.due(full);
            tokio::select! {
                biased;
                ended = &mut running => {
                    // A server's last words count, an acknowledgement above all.
                    while let Ok(message) = incoming.try_recv() {
                        if let Err(cause) = desk.hear(message) {
                            return SessionEnd::Ended(Ended::retry(cause));
                        }
                    }
                    return SessionEnd::Ended(ended);
                }
                Some(message) = incoming.recv(), if desk.exchange.has_room() => {
                    if let Err(cause) = desk.hear(message) {
                        return SessionEnd::Ended(Ended::retry(cause));
                    }
                }
                Ok(_) = outgoing.reserve(), if full => {}
                () = desk.something(due) => {}
            }
        }
    }

    /// What the end of a session means: how long to wait before the next one.
    fn next_delay(&mut self, Ended { cause, verdict }: Ended) -> Result<Duration, GivenUp> {
        let now = Instant::now();
        let before = self.desk.status.borrow().clone();
        if before.is_connected() && now.duration_since(before.since) >= self.stable_after {
            self.backoff.reset();
        }
        self.desk.exchange.end(&cause);
        self.desk.status.send_modify(|status| status.failed(cause.clone(), now));
        let hopeless = match verdict {
            Verdict::Retry { .. } => false,
            // A token may be rotated while workflows run; one that never was any good is an operator's mistake.
            Verdict::Reauthenticate => !self.desk.was_welcome,
            // A server may be rolled back; workflows that run are worth waiting for that.
            Verdict::Fatal => {
                matches!(cause, Cause::Replaced { .. }) || !self.desk.was_welcome || !self.desk.exchange.holds_any()
            }
        };
        if hopeless {
            self.desk.serve_agent(now);
            return Err(GivenUp { cause });
        }
        let delay = verdict.delay(&mut self.backoff).unwrap_or_else(|| self.backoff.next());
        if before.is_connected() {
            self.complaints.forget();
        }
        self.complaints.tell(&Ended { cause, verdict }, delay, now);
        Ok(delay)
    }
}

/// How a session ended.
enum SessionEnd {
    /// As the agent wished; there is no other one.
    Closed(Closed),
    /// Otherwise.
    Ended(Ended),
}

/// Lets the link send what it has, and the server end the session.
async fn goodbye(
    running: impl Future<Output = Ended>,
    outgoing: mpsc::Sender<Outgoing>,
    mut incoming: mpsc::Receiver<Incoming>,
    until: Instant,
) {
    drop(outgoing);
    // The link must not wait for somebody who takes what it still receives.
    let hear_out = async { while incoming.recv().await.is_some() {} };
    match timeout_at(until, async { tokio::join!(running, hear_out) }).await {
        Ok((Ended { cause, .. }, ())) => debug!(code = cause.code(), "said good-bye: {cause}"),
        Err(_) => debug!("the server did not end the session in time"),
    }
}
