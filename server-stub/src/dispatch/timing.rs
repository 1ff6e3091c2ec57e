//! What time brings: pings, leases that end, workflows that nobody came back for.

use std::time::{Duration, Instant};

use tonic::Status;

use super::{Dispatcher, End, SessionId, State};
use crate::assignment::Place;
use crate::clock::Now;
use crate::placement;

/// Periods and deadlines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// How often an agent says that it lives, and the server that it does; whole seconds, at least 1.
    pub heartbeat: Duration,
    /// How long an agent may be silent; whole seconds, more than two heartbeats.
    pub lease: Duration,
    /// How long a workflow waits for an agent that went away with it.
    pub lost_after: Duration,
    /// How long a workflow that every fitting agent refused waits for another one.
    pub refused_after: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(10),
            lease: Duration::from_secs(30),
            lost_after: Duration::from_secs(5 * 60),
            refused_after: Duration::from_secs(60),
        }
    }
}

impl Dispatcher {
    /// When [`Dispatcher::tick`] has something to do at the latest; `None` if nothing is pending.
    pub fn next_deadline(&self) -> Option<Instant> {
        let timing = self.policy.timing;
        let sessions = self.sessions.values().filter(|session| session.is_open);
        let sessions = sessions.map(|session| {
            let ping = session.spoken + timing.heartbeat;
            if session.is_listened_to { ping.min(session.heard + timing.lease) } else { ping }
        });
        let agents = self.agents.values().filter_map(|agent| agent.away_since).map(|since| since + timing.lost_after);
        let workflows = self.open_workflows().filter_map(|workflow| match workflow.assignment.place() {
            Place::Orphaned { since, .. } => Some(*since + timing.lost_after),
            Place::Pending => workflow.refused_since.map(|since| since + timing.refused_after),
            _ => None,
        });
        sessions.chain(agents).chain(workflows).min()
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Now) {
        self.watch_sessions(now);
        self.end_lost_workflows(now);
        self.end_refused_workflows(now);
        self.forget_agents(now);
        self.place(now);
    }

    /// Whether anybody reads what an agent says. As long as nobody does, it is not silent.
    pub fn set_listening(&mut self, id: SessionId, listens: bool, now: Now) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.is_listened_to = listens;
            session.heard = now.instant;
            self.touched.deadline = true;
        }
    }

    fn watch_sessions(&mut self, now: Now) {
        let Timing { heartbeat, lease, .. } = self.policy.timing;
        let mut silent = Vec::new();
        for (&id, session) in self.sessions.iter_mut().filter(|(_, session)| session.is_open) {
            if session.is_listened_to && now.instant >= session.heard + lease {
                silent.push(id);
            } else if now.instant >= session.spoken + heartbeat {
                session.spoken = now.instant;
                session.mailbox.ping();
                self.touched.sessions.insert(id);
            }
        }
        for id in silent {
            let message = format!(
                "nothing was heard from this agent for {} s, which is the lease; connect again to go on",
                lease.as_secs()
            );
            self.end_session(id, Some(Status::unavailable(message)), now);
        }
    }

    fn end_lost_workflows(&mut self, now: Now) {
        let lost_after = self.policy.timing.lost_after;
        let lost: Vec<_> = self
            .open_workflows()
            .filter(|workflow| {
                matches!(workflow.assignment.place(),
                    Place::Orphaned { since, .. } if now.instant >= *since + lost_after)
            })
            .map(|workflow| workflow.id.clone())
            .collect();
        for id in lost {
            let Some(workflow) = self.workflows.get(&id) else { continue };
            let agent = workflow.agent.as_deref().unwrap_or("unknown");
            let wanted = match &workflow.stop {
                Some(stop) => format!(" It was to be stopped: {}", stop.reason),
                None => String::new(),
            };
            let error = format!(
                "The agent '{agent}' went away with the workflow and did not come back for {} s. \
                 How its steps ended is not known.{wanted}",
                lost_after.as_secs()
            );
            let state = if workflow.stop.is_some() { State::Killed } else { State::Failure };
            self.finish(&id, End { state, at: now.time, error });
        }
    }

    fn end_refused_workflows(&mut self, now: Now) {
        let refused_after = self.policy.timing.refused_after;
        let refused: Vec<_> = self
            .open_workflows()
            .filter(|workflow| *workflow.assignment.place() == Place::Pending)
            .filter(|workflow| workflow.refused_since.is_some_and(|since| now.instant >= since + refused_after))
            .map(|workflow| workflow.id.clone())
            .collect();
        for id in refused {
            let unfit = self.why_waiting(&id);
            if !placement::is_refused(&unfit) {
                // Something else is in its way by now, or nothing is.
                self.note_refusals(&id, false, now);
                continue;
            }
            let reasons: Vec<_> = unfit.iter().map(ToString::to_string).collect();
            let error = format!("No agent takes the workflow. {}.", reasons.join("; "));
            self.finish(&id, End { state: State::Failure, at: now.time, error });
        }
    }
}
