//! The queue: who is next, where it goes, and why it still waits.

use std::collections::{BTreeMap, BTreeSet};

use piculet_core::id::{InstanceId, WorkflowId};

use super::order::Order;
use super::{Agent, Dispatcher, End, State, Throttle, Workflow};
use crate::assignment::Place;
use crate::clock::Now;
use crate::placement::{self, Candidate, Presence, Unfit, Use};

/// What has become of those that a workflow awaits.
pub(super) enum Verdict {
    /// All are over, and ended as it asks.
    Free,
    /// Some are not over.
    Waits,
    /// They ended in another way than it asks for.
    InVain(String),
}

impl Dispatcher {
    /// Gives waiting workflows to agents, in the order of the queue. One that nobody can take holds up no other.
    pub(super) fn place(&mut self, now: Now) {
        self.judge_waiting(now);
        if !self.policy.places {
            return;
        }
        // Agents may say that they have room for as many as a number can be; it takes 4 billion of them to overflow this.
        let mut free: u64 = self.agents.values().map(|agent| u64::from(self.free_slots(agent))).sum();
        // With a long queue and busy agents there is nothing to find out, but whether all have refused.
        let standings = &self.standings;
        let mut order =
            Order::of(standings, |lane| lane.refused.is_some() || (free > 0 && !standings.is_held_up(lane)));
        // While this goes on agents only get fuller.
        let mut fits_nobody = BTreeSet::new();
        while let Some((lane, id)) = order.next(&self.standings) {
            let was_refused = lane.refused.is_some();
            if self.standings.is_held_up(&lane) {
                // It isn't for want of an agent that it waits.
                self.note_refusals(&id, false, now);
                continue;
            }
            if !was_refused && (free == 0 || fits_nobody.contains(&lane.labels)) {
                continue;
            }
            match self.choose(&id) {
                Ok(instance) => {
                    if self.assign(&id, &instance, now) {
                        free = free.saturating_sub(1);
                        order.again(&self.standings, &lane);
                    }
                }
                Err(unfit) if was_refused => self.note_refusals(&id, placement::is_refused(&unfit), now),
                Err(_) => _ = fits_nobody.insert(lane.labels.clone()),
            }
        }
    }

    fn choose(&self, id: &WorkflowId) -> Result<InstanceId, Vec<Unfit>> {
        let Some(workflow) = self.workflows.get(id) else { return Err(Vec::new()) };
        let clusters = self.use_of_clusters();
        let candidates = self.agents.values().map(|agent| {
            let in_use = clusters.get(agent.cluster.as_str()).copied().unwrap_or_default();
            self.candidate(agent, workflow, in_use)
        });
        placement::place(&workflow.labels, candidates).cloned()
    }

    /// How much of each cluster's capacity is in use: that of its agents that take work.
    fn use_of_clusters(&self) -> BTreeMap<&str, Use> {
        let mut clusters: BTreeMap<&str, Use> = BTreeMap::new();
        for agent in self.agents.values().filter(|agent| self.presence(agent) == Presence::Ready) {
            let cluster = clusters.entry(agent.cluster.as_str()).or_default();
            cluster.load += u64::from(agent.load());
            cluster.capacity += u64::from(agent.identity.capacity);
        }
        clusters
    }

    fn candidate<'a>(&'a self, agent: &'a Agent, workflow: &'a Workflow, cluster_use: Use) -> Candidate<'a> {
        Candidate {
            instance: &agent.identity.instance,
            name: agent.name(),
            cluster: &agent.cluster,
            cluster_use,
            offer: agent.offer(),
            presence: self.presence(agent),
            free: self.free_slots(agent),
            load: agent.load(),
            capacity: agent.identity.capacity,
            refused: workflow.refusals.get(&agent.identity.instance).map(String::as_str),
        }
    }

    /// Whether workflows are placed as soon as an agent can take them.
    pub fn set_placing(&mut self, places: bool, now: Now) {
        self.policy.places = places;
        self.place(now);
    }

    /// How many workflows an agent may be given now.
    pub fn free_slots(&self, agent: &Agent) -> u32 {
        let credit = agent.session.and_then(|id| self.sessions.get(&id)).map_or(0, |session| session.credit.left());
        credit.min(agent.identity.capacity.saturating_sub(agent.load()))
    }

    /// Why a workflow waits, one reason for each agent; empty if it doesn't wait for an agent, or there is none.
    pub fn why_waiting(&self, id: &WorkflowId) -> Vec<Unfit> {
        if self.standings.is_next(id) { self.choose(id).err().unwrap_or_default() } else { Vec::new() }
    }

    /// What a pending workflow waits for other than an agent, one sentence each.
    pub fn blocked_by(&self, workflow: &Workflow) -> Vec<String> {
        if *workflow.assignment.place() != Place::Pending {
            return Vec::new();
        }
        let awaited = workflow.awaited().iter().filter_map(|id| self.workflows.get(id));
        let open = awaited.filter(|other| other.end.is_none());
        let mut sentences: Vec<_> =
            open.map(|other| format!("the workflow '{}' has to be over first", other.name)).collect();
        if let Some(throttle) = workflow.condition.throttle.as_ref().filter(|throttle| self.standings.is_full(throttle))
        {
            let Throttle { group, limit } = throttle;
            sentences.push(format!("of '{group}' at most {limit} run at once, and so many do"));
        }
        sentences
    }

    /// Gives a workflow to an agent. False if it is not waiting, or the agent has no session.
    pub(super) fn assign(&mut self, id: &WorkflowId, instance: &InstanceId, now: Now) -> bool {
        let Some(agent) = self.agents.get_mut(instance) else { return false };
        let Some(session) = agent.session.and_then(|id| self.sessions.get_mut(&id)) else { return false };
        let Some(workflow) = self.workflows.get_mut(id) else { return false };
        if !workflow.assignment.assign(agent.holder()) {
            return false;
        }
        let run = workflow.run();
        workflow.ledger.begin(run.epoch);
        agent.take(workflow);
        workflow.assigned = Some(now.time);
        workflow.refused_since = None;
        session.credit.spend();
        session.spoken = now.instant;
        session.mailbox.assign(run);
        self.touched.sessions.extend(agent.session);
        self.touched.workflows.insert(id.clone());
        self.note_standing(id);
        self.trace_queue(id, now.time);
        true
    }

    /// Puts a workflow that came back into the queue, where its age puts it, or ends it if somebody wants it stopped.
    pub(super) fn requeue(&mut self, id: &WorkflowId, now: Now) {
        let Some(workflow) = self.workflows.get_mut(id) else { return };
        workflow.driver = None;
        workflow.agent = None;
        workflow.cluster = None;
        workflow.has_cluster_by_token = false;
        workflow.assigned = None;
        workflow.queued = now.time;
        let number = workflow.number;
        self.log_size -= workflow.ledger.size();
        self.unsaved.forgotten_logs.insert(number);
        if let Some(spec) = &workflow.spec {
            // Nothing ran; what the last agent said of it is not about the next one's run.
            workflow.ledger.start_anew(spec, self.policy.limits.log_bytes);
        }
        self.touched.workflows.insert(id.clone());
        match workflow.stop.clone() {
            Some(stop) => self.finish(id, End { state: State::Canceled, at: now.time, error: stop.reason }),
            None => self.note_standing(id),
        }
    }

    /// Starts or stops the clock of a workflow that every fitting agent may have refused.
    pub(super) fn note_refusals(&mut self, id: &WorkflowId, is_refused: bool, now: Now) {
        let Some(workflow) = self.workflows.get_mut(id) else { return };
        if !is_refused {
            workflow.refused_since = None;
        } else if workflow.refused_since.is_none() {
            workflow.refused_since = Some(now.instant);
            self.touched.deadline = true;
        }
    }

    /// Looks at those that are new, or for which something that they await ended: ends what waits in vain, and then what awaits
    /// that.
    fn judge_waiting(&mut self, now: Now) {
        while let Some(id) = self.standings.next_unjudged() {
            let Some(workflow) = self.workflows.get(&id) else { continue };
            match self.verdict(workflow) {
                Verdict::Waits => {}
                Verdict::InVain(error) => self.finish(&id, End { state: State::Skipped, at: now.time, error }),
                Verdict::Free => {
                    if let Some(workflow) = self.workflows.get_mut(&id) {
                        workflow.is_free = true;
                    }
                    self.note_standing(&id);
                }
            }
        }
    }

    pub(super) fn verdict(&self, workflow: &Workflow) -> Verdict {
        let mut failed = None;
        for id in workflow.awaited() {
            let Some(other) = self.workflows.get(id) else {
                return Verdict::InVain(format!("It waits for the workflow '{id}', which is not known."));
            };
            match &other.end {
                None => return Verdict::Waits,
                Some(end) if end.state == State::Success => {}
                Some(end) => failed = Some((&other.name, end.state)),
            }
        }
        match failed {
            None if workflow.condition.on_success => Verdict::Free,
            Some(_) if workflow.condition.on_failure => Verdict::Free,
            None => Verdict::InVain("It runs only after a failure, and there was none.".to_owned()),
            Some((name, state)) => Verdict::InVain(format!(
                "It runs only after a success, and the workflow '{name}' ended as {}.",
                state.as_str()
            )),
        }
    }
}
