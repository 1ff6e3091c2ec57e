//! Agents and their sessions: who comes, who goes, and what each still holds.

use std::collections::BTreeSet;
use std::time::Instant;

use piculet_core::id::{InstanceId, RunKey, Sequence, ServerId};
use piculet_link::message::{Held, HeldDecision, Hello, Identity, Welcome};
use tonic::Status;

use super::{Dispatcher, Workflow};
use crate::assignment::{Holder, Place};
use crate::clock::Now;
use crate::credit::Credit;
use crate::labels::Offer;
use crate::ledger::Ledger;
use crate::mailbox::{Intake, Mailbox};
use crate::placement::Presence;
use crate::token::TokenError;

/// By what right an agent comes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Admission {
    /// It has none, and none was asked for.
    #[default]
    Free,
    /// The token for all clusters.
    AllClusters,
    /// A token of a single cluster.
    Cluster {
        /// Which one.
        cluster: String,
        /// The id of the token.
        token: String,
    },
}

/// Names a session; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// An agent instance that was heard of lately.
#[derive(Debug)]
pub struct Agent {
    /// Counts the agents of this server from 1.
    pub number: u64,
    /// What it said about itself when it came last.
    pub identity: Identity,
    /// The name of its cluster, as this server knows it.
    pub cluster: String,
    /// Whether a token says that it is that one. Else the agent says so itself, and that proves nothing.
    pub(super) has_cluster_by_token: bool,
    /// The id of the token that it came with, if that is one of a single cluster.
    pub(super) token: Option<String>,
    /// The session that it speaks through; `None` while it is away.
    pub session: Option<SessionId>,
    /// Since when it is away.
    pub away_since: Option<Instant>,
    /// It said that it takes no more work.
    pub is_draining: bool,
    /// An operator said that it shall take no more work.
    pub is_drained: bool,
    /// The runs that it has: assigned, accepted or bound.
    pub runs: BTreeSet<RunKey>,
}

/// One call of an agent.
#[derive(Debug)]
pub struct Session {
    /// Whose call it is.
    pub instance: InstanceId,
    /// False when it was ended and only its last letter waits.
    pub(super) is_open: bool,
    /// False while nobody reads what the agent says.
    pub(super) is_listened_to: bool,
    /// When the agent said something last.
    pub(super) heard: Instant,
    /// When something was said to the agent last.
    pub(super) spoken: Instant,
    pub(super) credit: Credit,
    pub(super) mailbox: Mailbox,
}

impl Agent {
    /// The identity by which the agent holds workflows.
    pub fn holder(&self) -> Holder {
        Holder { instance: self.identity.instance.clone(), cluster: self.identity.cluster.uid.clone() }
    }

    /// What it offers to workflows.
    pub fn offer(&self) -> Offer<'_> {
        Offer { labels: &self.identity.labels, platforms: &self.identity.platforms }
    }

    /// The server's id of it.
    pub fn id(&self) -> String {
        format!("agent-{}", self.number)
    }

    /// Its name, for people.
    pub fn name(&self) -> &str {
        &self.identity.name
    }

    /// Whether it may go on with a workflow that another may have had. Of what tokens of single clusters brought to a
    /// cluster, it may with one of another cluster have nothing, whatever it says of itself: instance and UID are no
    /// secrets.
    pub(super) fn may_act_for(&self, workflow: &Workflow) -> bool {
        self.token.is_none()
            || !workflow.has_cluster_by_token
            || workflow.cluster.as_deref() == Some(self.cluster.as_str())
    }

    /// Gives it a workflow, or the one that another had.
    pub(super) fn take(&mut self, workflow: &mut Workflow) {
        workflow.driver = Some(self.identity.instance.clone());
        workflow.agent = Some(self.name().to_owned());
        workflow.cluster = Some(self.cluster.clone());
        workflow.has_cluster_by_token = self.has_cluster_by_token;
        self.runs.insert(workflow.run());
    }

    /// How many workflows it has.
    pub fn load(&self) -> u32 {
        u32::try_from(self.runs.len()).unwrap_or(u32::MAX)
    }
}

impl Dispatcher {
    /// An agent opened a call and said hello. The newest call of an instance wins.
    ///
    /// # Errors
    /// If its token is good no more, or there are tokens by now and it has none; if its token is of another cluster than
    /// the one that this instance came to by a token; if another cluster has the name of its cluster; or if it says that
    /// it holds what no agent can.
    pub fn open(&mut self, hello: Hello, admission: Admission, now: Now) -> Result<SessionId, Status> {
        let Hello { identity, held } = hello;
        let instance = identity.instance.clone();
        self.admit(&instance, &admission)?;
        self.check_held(&held)?;
        let (by_token, token) = match admission {
            Admission::Cluster { cluster, token } => (Some(cluster), Some(token)),
            Admission::Free | Admission::AllClusters => (None, None),
        };
        let cluster = self.enter_cluster(&identity, by_token)?;
        self.sessions_opened += 1;
        let session = SessionId(self.sessions_opened);
        let former = self.agents.remove(&instance);
        if let Some(older) = former.as_ref().and_then(|agent| agent.session) {
            let message = format!("a newer session of the instance '{instance}' took the place of this one");
            self.close(older, Some(Status::aborted(message)));
        }
        let agent = self.arrival(former, identity, session);
        let agent = Agent { cluster, has_cluster_by_token: token.is_some(), token, ..agent };
        let (id, is_closed) = (agent.id(), self.is_closed(&agent));
        self.agents.insert(instance.clone(), agent);
        self.unsaved.agents.insert(instance.clone());
        let held = self.decide_held(&instance, &held, now);
        let mut mailbox = Mailbox::new(Welcome {
            agent_id: id,
            session_id: format!("session-{}", session.0),
            server: ServerId::new(self.policy.server_id.as_str()),
            heartbeat: self.policy.timing.heartbeat,
            lease: self.policy.timing.lease,
            held,
        });
        if is_closed {
            mailbox.intake(Intake::Closed);
        }
        for run in self.agents.get(&instance).into_iter().flat_map(|agent| &agent.runs) {
            if let Some(stop) = self.workflows.get(&run.workflow).and_then(|workflow| workflow.stop.clone()) {
                mailbox.cancel(run.clone(), stop);
            }
        }
        let (heard, spoken) = (now.instant, now.instant);
        let credit = Credit::default();
        let opened = Session { instance, is_open: true, is_listened_to: true, heard, spoken, credit, mailbox };
        self.sessions.insert(session, opened);
        self.touched.sessions.insert(session);
        self.touched.deadline = true;
        self.place(now);
        Ok(session)
    }

    /// Looks again at the right by which an agent comes, now that it has said who it is. With a token of another cluster
    /// it takes nobody's place, also not that of an instance that is away for a moment with nothing: the rightful one would
    /// be shut out when it comes back. Of an instance that came by no such token nothing is known but what it said itself,
    /// and the token tells better.
    fn admit(&self, instance: &InstanceId, admission: &Admission) -> Result<(), Status> {
        let (cluster, token) = match admission {
            Admission::Free if !self.tokens.is_empty() => {
                return Err(Status::unauthenticated(TokenError::Missing.to_string()));
            }
            Admission::Free | Admission::AllClusters => return Ok(()),
            Admission::Cluster { cluster, token } => (cluster, token),
        };
        if self.tokens.get(token).is_none_or(|token| token.revoked.is_some()) {
            return Err(Status::unauthenticated(TokenError::Revoked.to_string()));
        }
        let Some(known) = self.agents.get(instance) else { return Ok(()) };
        if known.has_cluster_by_token && known.cluster != *cluster {
            return Err(Status::permission_denied(format!(
                "the token is for the cluster '{cluster}', and the instance '{instance}' is known in the cluster '{}'; \
                 give it a token of that one, or, if it runs nothing, start it anew",
                known.cluster
            )));
        }
        Ok(())
    }

    /// An agent as it is when it has just come: what it holds, and what an operator told it, stays.
    fn arrival(&mut self, former: Option<Agent>, identity: Identity, session: SessionId) -> Agent {
        let (number, is_drained, runs) = match former {
            Some(former) => (former.number, former.is_drained, former.runs),
            None => {
                self.agents_seen += 1;
                (self.agents_seen, false, BTreeSet::new())
            }
        };
        Agent {
            number,
            identity,
            cluster: String::new(),
            has_cluster_by_token: false,
            token: None,
            session: Some(session),
            away_since: None,
            is_draining: false,
            is_drained,
            runs,
        }
    }

    /// Whether it can be given work.
    pub fn presence(&self, agent: &Agent) -> Presence {
        match agent.session {
            None => Presence::Away,
            Some(_) if agent.is_draining || self.is_closed(agent) => Presence::Draining,
            Some(_) => Presence::Ready,
        }
    }

    /// Whether an operator said that it shall take no more work.
    pub(super) fn is_closed(&self, agent: &Agent) -> bool {
        agent.is_drained || self.clusters.get(&agent.cluster).is_some_and(super::Cluster::is_closed)
    }

    /// Decides about every workflow that an instance says it holds, and about those that it doesn't mention.
    fn decide_held(&mut self, instance: &InstanceId, held: &[Held], now: Now) -> Vec<HeldDecision> {
        let decisions = held.iter().map(|held| self.decide(instance, &held.key)).collect();
        let named: BTreeSet<_> = held.iter().map(|held| held.key.clone()).collect();
        let Some(agent) = self.agents.get(instance) else { return decisions };
        let unnamed: Vec<_> = agent.runs.difference(&named).cloned().collect();
        for run in unnamed {
            self.release(instance, &run, now);
        }
        decisions
    }

    fn decide(&mut self, instance: &InstanceId, run: &RunKey) -> HeldDecision {
        let keep = self.claim(instance, run);
        let ledger = self.workflows.get(&run.workflow).filter(|_| keep).map(|workflow| &workflow.ledger);
        HeldDecision {
            key: run.clone(),
            keep,
            acknowledged: ledger.map(Ledger::stored).unwrap_or_default(),
            log_lines: ledger.map(Ledger::whole_lines).unwrap_or_default(),
        }
    }

    /// An instance says that it holds a workflow. True if that is so, or the server follows.
    fn claim(&mut self, instance: &InstanceId, run: &RunKey) -> bool {
        let Some(agent) = self.agents.get(instance) else { return false };
        let Some(workflow) = self.workflows.get_mut(&run.workflow) else { return false };
        if !agent.may_act_for(workflow) {
            return false;
        }
        let known = workflow.is_driven_by(instance, run.epoch);
        let (former, last) = (workflow.driver.clone(), workflow.run());
        match workflow.assignment.place() {
            Place::Pending => return false,
            // It ended by this very agent's report, and the agent missed the acknowledgement.
            Place::Ended => return known && workflow.ledger.stored() > Sequence(0),
            Place::Assigned(_) | Place::Accepted(_) if !known => return false,
            // The decision tells the agent what is stored: that acknowledges `Accepted`.
            Place::Assigned(_) | Place::Accepted(_) => _ = workflow.assignment.acknowledged(),
            Place::Bound(_) | Place::Orphaned { .. } => {
                if !workflow.assignment.adopted(&agent.holder(), run.epoch) {
                    return false;
                }
                if run.epoch != last.epoch {
                    workflow.ledger.begin(run.epoch);
                }
            }
        }
        if let Some(former) = former.and_then(|former| self.agents.get_mut(&former)) {
            former.runs.remove(&last);
        }
        if let Some(agent) = self.agents.get_mut(instance) {
            agent.take(workflow);
        }
        self.touched.workflows.insert(run.workflow.clone());
        true
    }

    /// The instance says that it lives, and what it holds. It may have taken over from a sibling, which has room then.
    pub(super) fn heartbeat(&mut self, instance: &InstanceId, held: &[Held], now: Now) {
        let mut took_over = false;
        for Held { key, .. } in held {
            let current = self.workflows.get(&key.workflow).map(|workflow| workflow.assignment.epoch());
            if current.is_none_or(|current| current >= key.epoch) || !self.claim(instance, key) {
                continue;
            }
            took_over = true;
            let stop = self.workflows.get(&key.workflow).and_then(|workflow| workflow.stop.clone());
            if let (Some(stop), Some(session)) = (stop, self.live_session(instance)) {
                session.mailbox.cancel(key.clone(), stop);
            }
        }
        if took_over {
            self.place(now);
        }
    }

    /// The instance doesn't drive this run any more: it goes elsewhere if it still may, else waits for its cluster.
    pub(super) fn release(&mut self, instance: &InstanceId, run: &RunKey, now: Now) {
        if let Some(agent) = self.agents.get_mut(instance) {
            agent.runs.remove(run);
        }
        let Some(workflow) = self.workflows.get_mut(&run.workflow) else { return };
        if !workflow.assignment.is_held_by(instance, run.epoch) {
            return;
        }
        self.touched.workflows.insert(run.workflow.clone());
        let was_offered = matches!(workflow.assignment.place(), Place::Assigned(_));
        if was_offered {
            self.trace_offer(&run.workflow, false, now.time);
        }
        let Some(workflow) = self.workflows.get_mut(&run.workflow) else { return };
        if workflow.assignment.withdrawn() {
            self.requeue(&run.workflow, now);
        } else {
            workflow.assignment.left(now.instant);
            self.touched.deadline = true;
        }
    }

    /// A call ended, whoever ended it.
    pub fn session_ended(&mut self, id: SessionId, now: Now) {
        self.end_session(id, None, now);
        self.sessions.remove(&id);
    }

    /// Ends a session: the agent is told `status`, and is away.
    pub fn end_session(&mut self, id: SessionId, status: Option<Status>, now: Now) {
        self.close(id, status);
        let Some(session) = self.sessions.get(&id) else { return };
        let instance = session.instance.clone();
        let Some(agent) = self.agents.get_mut(&instance).filter(|agent| agent.session == Some(id)) else { return };
        agent.session = None;
        agent.away_since = Some(now.instant);
        let runs: Vec<_> = agent.runs.iter().cloned().collect();
        for run in runs {
            self.release(&instance, &run, now);
        }
        self.touched.deadline = true;
        self.place(now);
    }

    /// Says the last word of a session. Its agent is not looked at.
    fn close(&mut self, id: SessionId, status: Option<Status>) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.is_open = false;
            session.mailbox.close(status);
            self.touched.sessions.insert(id);
        }
    }

    /// Ends all sessions, because the server goes.
    pub fn shut_down(&mut self, now: Now) {
        let open: Vec<_> = self.sessions.iter().filter(|(_, session)| session.is_open).map(|(&id, _)| id).collect();
        self.policy.places = false;
        for id in open {
            self.end_session(id, Some(Status::unavailable("the server is shutting down")), now);
        }
    }

    /// Opens or closes the intake of an agent. An agent that is away is told when it comes back.
    pub fn set_intake(&mut self, instance: &InstanceId, intake: Intake, now: Now) {
        let Some(agent) = self.agents.get_mut(instance) else { return };
        agent.is_drained = intake == Intake::Closed;
        self.unsaved.agents.insert(instance.clone());
        self.tell_intake(instance);
        self.place(now);
    }

    /// Says to an agent whether it shall take work.
    pub(super) fn tell_intake(&mut self, instance: &InstanceId) {
        let Some(agent) = self.agents.get(instance) else { return };
        let intake = if self.is_closed(agent) { Intake::Closed } else { Intake::Open };
        if let Some(session) = self.live_session(instance) {
            session.mailbox.intake(intake);
        }
    }

    /// Forgets agents that were away for long, and clusters that nobody is left of.
    pub(super) fn forget_agents(&mut self, now: Now) {
        let lost_after = self.policy.timing.lost_after;
        let unsaved = &mut self.unsaved;
        self.agents.retain(|_, agent| {
            let stays = agent.away_since.is_none_or(|since| now.instant < since + lost_after);
            if !stays {
                unsaved.forgotten_agents.insert(agent.number);
            }
            stays
        });
        self.forget_clusters();
    }

    /// Asks the agent behind a session for a sign of life.
    pub fn ping(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.mailbox.ping();
            self.touched.sessions.insert(id);
        }
    }

    /// Stops or starts the giving out of acknowledgements to a session.
    pub fn set_acking(&mut self, id: SessionId, acking: bool) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.mailbox.set_acking(acking);
            self.touched.sessions.insert(id);
        }
    }
}
