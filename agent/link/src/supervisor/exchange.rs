//! Who said what: the supervisor's decisions, without its waiting. Messages come in with the time, and go out when they
//! are asked for.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use piculet_core::id::{RunKey, ServerId};
use piculet_core::outbox::{Acknowledged, Done, Job, Limits, Outbox, Usage};
use piculet_core::report::Report;
use tracing::{debug, warn};

use super::directive::{Assignment, Directive};
use super::reporter::Delivery;
use crate::link::Cause;
use crate::message::{Assign, Cancel, Demand, Held, Incoming, Outgoing, Welcome};

/// How many directives may wait before nothing more is taken from the server.
const WAITING_DIRECTIVES: usize = 64;

/// Everything between the server and the agent: what is owed to the one and to the other.
#[derive(Debug)]
pub(super) struct Exchange {
    outbox: Outbox,
    directives: VecDeque<Directive>,
    /// How many workflows the agent would take.
    demand: u32,
    /// The agent takes no more work, and the server shall know.
    draining: bool,
    session: Option<Session>,
}

/// A session that the server accepted.
#[derive(Debug)]
struct Session {
    server: ServerId,
    heartbeat: Duration,
    lease: Duration,
    /// When the server was heard last.
    heard: Instant,
    heartbeat_due: Instant,
    assigns_received: u64,
    /// What to say next, reports aside. Each is said in its latest form.
    owes_draining: bool,
    owes_demand: bool,
    demand_said: Option<Demand>,
}

impl Exchange {
    pub(super) fn new(limits: Limits) -> Self {
        Self { outbox: Outbox::new(limits), directives: VecDeque::new(), demand: 0, draining: false, session: None }
    }

    /// Every workflow that is held.
    pub(super) fn held(&self) -> Vec<Held> {
        self.outbox.held().map(|(key, acknowledged)| Held { key: key.clone(), acknowledged }).collect()
    }

    pub(super) fn holds_any(&self) -> bool {
        self.outbox.held().next().is_some()
    }

    /// Whether the server knows all that it has to know.
    pub(super) fn flushed(&self) -> bool {
        self.outbox.flushed() && !self.session.as_ref().is_some_and(|session| session.owes_draining)
    }

    /// What is kept for the server.
    pub(super) fn usage(&self) -> Usage {
        self.outbox.usage()
    }

    /// There is a disk for this many bytes of logs.
    pub(super) fn set_disk(&mut self, bytes: u64) {
        self.outbox.set_disk(bytes);
    }

    /// The next thing to do with it.
    pub(super) fn next_job(&mut self, now: Instant) -> Option<Job> {
        self.outbox.next_job(now)
    }

    /// When there is one that failed before, if nothing else happens until then.
    pub(super) fn next_job_due(&self, now: Instant) -> Option<Instant> {
        self.outbox.next_job_due(now)
    }

    /// It was done, or failed.
    pub(super) fn done(&mut self, done: Done, now: Instant) {
        self.outbox.done(done, now);
    }

    /// Until when runners should keep what they have: the disk is just making room for it.
    pub(super) fn busy_until(&self, now: Instant) -> Option<Instant> {
        self.outbox.busy_until(now)
    }

    /// Takes what a runner has to say.
    pub(super) fn deliver(&mut self, delivery: Delivery, now: Instant) {
        match delivery {
            Delivery::Report(key, report) => {
                if matches!(report, Report::Finished(_)) {
                    // A runner that ended as it should has ended its logs before; one that panicked has not.
                    self.outbox.end_logs(&key, now);
                }
                self.outbox.report(&key, report);
            }
            Delivery::Lines(key, step, lines) => self.outbox.log(&key, &step, lines, now),
            Delivery::LogEnd(key, step, total) => self.outbox.end_log(&key, &step, total, now),
        }
    }

    /// The agent would take this many workflows.
    pub(super) fn set_demand(&mut self, free_slots: u32) {
        self.demand = free_slots;
        if let Some(session) = &mut self.session {
            session.owes_demand = true;
        }
    }

    /// The agent takes no more work.
    pub(super) fn drain(&mut self) {
        if !self.draining {
            self.draining = true;
            if let Some(session) = &mut self.session {
                session.owes_draining = true;
                session.owes_demand = true;
            }
        }
    }

    /// Takes what the server says.
    ///
    /// # Errors
    /// It makes no sense, and the session can't go on.
    pub(super) fn hear(&mut self, message: Incoming, now: Instant) -> Result<(), Cause> {
        match (message, &mut self.session) {
            (Incoming::Welcome(welcome), None) => self.begin(welcome, now),
            (Incoming::Welcome(_), Some(_)) => return Err(fault("a second welcome in one session.")),
            (_, None) => return Err(fault("a session must begin with a welcome.")),
            (message, Some(session)) => {
                session.heard = now;
                match message {
                    Incoming::Welcome(_) => {}
                    Incoming::Assign(assign) => self.assign(*assign),
                    Incoming::Cancel(cancel) => self.cancel(cancel),
                    Incoming::LetGo(key) => {
                        self.outbox.close(&key);
                        self.directives.push_back(Directive::LetGo(key));
                    }
                    Incoming::Ack { key, sequence } => {
                        let news = self.outbox.acknowledge(&key, sequence);
                        self.tell(&key, &news);
                    }
                    Incoming::Drain => self.directives.push_back(Directive::Drain),
                    Incoming::Resume => self.directives.push_back(Directive::Resume),
                    Incoming::Ping => session.heartbeat_due = now,
                    Incoming::Alive => {}
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self, welcome: Welcome, now: Instant) {
        self.session = Some(Session {
            server: welcome.server.clone(),
            heartbeat: welcome.heartbeat,
            lease: welcome.lease,
            heard: now,
            heartbeat_due: now + welcome.heartbeat,
            assigns_received: 0,
            owes_draining: self.draining,
            owes_demand: true,
            demand_said: None,
        });
        self.directives.push_back(Directive::Connected {
            server: welcome.server,
            agent_id: welcome.agent_id,
            session_id: welcome.session_id,
        });
        for Held { key, acknowledged } in self.held() {
            let decision = welcome.held.iter().find(|decision| decision.key == key);
            let stored = match decision {
                Some(decision) if decision.keep => decision.acknowledged,
                Some(_) => {
                    self.abandon(key);
                    continue;
                }
                // To stop a workflow because of a server's fault would be worse than to go on with it.
                None => {
                    warn!(workflow = %key.workflow, epoch = key.epoch.0, "the server says nothing about a held workflow; it is kept");
                    acknowledged
                }
            };
            let news = self.outbox.resume(&key, stored);
            self.tell(&key, &news);
        }
    }

    fn assign(&mut self, assign: Assign) {
        let Some(session) = &mut self.session else { return };
        session.assigns_received += 1;
        let server = session.server.clone();
        let Assign { key, made_under, spec, can_go_elsewhere, trace } = assign;
        let known = self.outbox.held().map(|(held, _)| held).find(|held| held.workflow == key.workflow).cloned();
        match known {
            Some(known) if known.epoch >= key.epoch => {
                debug!(workflow = %key.workflow, epoch = key.epoch.0, held = known.epoch.0, "the assignment is known already");
                // The server counts it against the free slots until it hears of them again.
                session.owes_demand = true;
                return;
            }
            // Its objects have the same names: the old run has to make room first.
            Some(older) => self.abandon(older),
            None => {}
        }
        self.outbox.open(key.clone());
        let assignment = Assignment { key, made_under, spec, can_go_elsewhere, server, trace };
        self.directives.push_back(Directive::Run(Box::new(assignment)));
    }

    fn cancel(&mut self, Cancel { key, reason, grace }: Cancel) {
        if self.outbox.held().any(|(held, _)| *held == key) {
            self.directives.push_back(Directive::Cancel { key, reason, grace });
        } else {
            debug!(workflow = %key.workflow, epoch = key.epoch.0, "the workflow to cancel is not held");
        }
    }

    fn abandon(&mut self, key: RunKey) {
        self.outbox.close(&key);
        self.directives.push_back(Directive::Abandon(key));
    }

    fn tell(&mut self, key: &RunKey, news: &[Acknowledged]) {
        self.directives.extend(news.iter().map(|news| match news {
            Acknowledged::Accepted => Directive::Confirmed(key.clone()),
            Acknowledged::Refused | Acknowledged::Finished => Directive::Concluded(key.clone()),
        }));
    }

    /// The session, if there was one, is over.
    pub(super) fn end(&mut self, reason: &Cause) {
        if self.session.take().is_some() {
            self.outbox.disconnected();
            self.directives.push_back(Directive::Disconnected { reason: reason.to_string() });
        }
    }

    /// The next thing to say, if there is one now.
    pub(super) fn next(&mut self, now: Instant) -> Option<Outgoing> {
        let session = self.session.as_mut()?;
        if std::mem::take(&mut session.owes_draining) {
            return Some(Outgoing::Draining);
        }
        if std::mem::take(&mut session.owes_demand) {
            let free_slots = if self.draining { 0 } else { self.demand };
            let demand = Demand { free_slots, assigns_received: session.assigns_received };
            if session.demand_said.replace(demand) != Some(demand) {
                return Some(Outgoing::Demand(demand));
            }
        }
        if session.heartbeat_due <= now {
            session.heartbeat_due = now + session.heartbeat;
            return Some(Outgoing::Heartbeat(self.held()));
        }
        self.outbox.next(now).map(Outgoing::Report)
    }

    /// When [`Exchange::next`] may have something that it doesn't have now.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let session = self.session.as_ref()?;
        Some(self.outbox.due().map_or(session.heartbeat_due, |due| due.min(session.heartbeat_due)))
    }

    /// When the server is taken for gone, and how long it will have been silent then.
    pub(super) fn lease(&self) -> Option<(Instant, Duration)> {
        self.session.as_ref().map(|session| (session.heard + session.lease, session.lease))
    }

    /// Whether what the server says next has room.
    pub(super) fn has_room(&self) -> bool {
        self.directives.len() < WAITING_DIRECTIVES
    }

    pub(super) fn has_directive(&self) -> bool {
        !self.directives.is_empty()
    }

    pub(super) fn next_directive(&mut self) -> Option<Directive> {
        self.directives.pop_front()
    }

    /// Nobody takes directives any more.
    pub(super) fn drop_directives(&mut self) {
        self.directives.clear();
    }

    /// The server of the session, while there is one.
    pub(super) fn server(&self) -> Option<&ServerId> {
        self.session.as_ref().map(|session| &session.server)
    }
}

fn fault(reason: &str) -> Cause {
    Cause::Fault { reason: reason.to_owned() }
}

#[cfg(test)]
mod tests;
