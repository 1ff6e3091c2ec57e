//! The model: all rows and the queue, with one owner. Its methods are those of the protocol, without a network and without
//! a clock.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use piculet_proto::woodpecker as pb;

use super::access::Access;
use super::agents::{Agents, Owner};
use super::config::Config;
use super::logs::{self, Logs};
use super::queue::{PollId, Queue, WaitEnd, WaitId};
use super::refusal::Refusal;
use super::state::State;
use super::submission::Submission;
use super::workflow::Workflow;
use crate::clock::Now;

/// What `Next` finds out at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// An administrator lets the agent have no work.
    NoSchedule,
    /// It waits.
    Waits(PollId),
}

/// What `Wait` finds out at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaited {
    /// There is nothing to wait for.
    Over,
    /// It waits.
    Waits(WaitId),
}

/// A workflow can't be taken, because another one has a step with this UUID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the step {0} is known already; workflows of different names have different steps")]
pub struct KnownStep(pub String);

/// All that the server knows.
#[derive(Debug)]
pub struct Model {
    system_token: Option<String>,
    pub(super) protocol: i32,
    pub(super) version: String,
    pub(super) access: Access,
    pub(super) agents: Agents,
    pub(super) queue: Queue,
    workflows: BTreeMap<i64, Row>,
    /// The workflow that a step is of, by the step's UUID.
    homes: BTreeMap<String, i64>,
    logs: Logs,
}

#[derive(Debug)]
struct Row {
    workflow: Workflow,
    payload: Bytes,
    timeout: i64,
}

impl Model {
    /// One without agents and workflows.
    pub fn new(config: &Config, start: Instant) -> Self {
        Self {
            system_token: config.system_token.clone(),
            protocol: config.protocol,
            version: config.version.clone(),
            access: Access::new(config.secret.as_deref(), config.seed),
            agents: Agents::default(),
            queue: Queue::new(config.queue, start),
            workflows: BTreeMap::new(),
            homes: BTreeMap::new(),
            logs: Logs::default(),
        }
    }

    /// A workflow's row.
    pub fn workflow(&self, id: i64) -> Option<&Workflow> {
        Some(&self.workflows.get(&id)?.workflow)
    }

    /// All workflows' rows, by their numbers.
    pub fn workflows(&self) -> impl Iterator<Item = &Workflow> {
        self.workflows.values().map(|row| &row.workflow)
    }

    /// The agents' rows.
    pub fn agents(&self) -> &Agents {
        &self.agents
    }

    /// The queue.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// The lines.
    pub fn logs(&self) -> &Logs {
        &self.logs
    }

    /// Puts a workflow into the queue.
    ///
    /// # Errors
    /// If one of its steps is known. In a real server each compilation makes new ids.
    pub fn submit(&mut self, submission: &Submission) -> Result<i64, KnownStep> {
        let id = self.workflows.last_key_value().map_or(1, |(last, _)| last + 1);
        let workflow = Workflow::new(id, submission.org.unwrap_or(-1), submission.rows());
        if let Some(known) = workflow.steps.iter().find(|step| self.homes.contains_key(&step.uuid)) {
            return Err(KnownStep(known.uuid.clone()));
        }
        self.homes.extend(workflow.steps.iter().map(|step| (step.uuid.clone(), id)));
        let row = Row { workflow, payload: submission.payload.clone(), timeout: submission.timeout };
        self.workflows.insert(id, row);
        self.queue.push(id, submission.all_labels());
        Ok(id)
    }

    /// Somebody cancels a workflow's pipeline. False if it is over already.
    pub fn cancel(&mut self, id: i64, now: Now) -> bool {
        let Some(row) = self.workflows.get_mut(&id) else { return false };
        let is_new = row.workflow.cancel(now.time.as_second());
        if is_new {
            self.queue.finish(id, WaitEnd::Canceled);
        }
        is_new
    }

    /// `Auth`: the agent's id, and an access token.
    ///
    /// # Errors
    /// As [`Agents::auth`].
    pub fn auth(&mut self, token: &str, id: i64, now: Now) -> Result<(i64, String), Refusal> {
        let agent = self.agents.auth(self.system_token.as_deref(), token, id)?;
        Ok((agent, self.access.issue(agent, now.time.as_second())))
    }

    /// An agent with a token of its own.
    pub fn add_agent(&mut self, token: &str, owner: Owner) -> i64 {
        self.agents.add_own(token, owner)
    }

    /// Whether an administrator lets an agent have no work. Polls that wait end with nothing.
    ///
    /// # Errors
    /// If there is no such agent.
    pub fn set_no_schedule(&mut self, agent: i64, is_set: bool) -> Result<(), Refusal> {
        self.agents.get_mut(agent)?.no_schedule = is_set;
        if is_set {
            self.queue.kick(agent);
        }
        Ok(())
    }

    /// `RegisterAgent`.
    ///
    /// # Errors
    /// If the agent is gone for good.
    pub fn register(&mut self, agent: i64, info: pb::AgentInfo, hostname: Option<&str>) -> Result<i64, Refusal> {
        self.agents.get_mut(agent)?.register(info, hostname);
        Ok(agent)
    }

    /// `ReportHealth`.
    ///
    /// # Errors
    /// If the agent is gone for good, or isn't well.
    pub fn report_health(&mut self, agent: i64, status: &str, now: Now) -> Result<(), Refusal> {
        let row = self.agents.get_mut(agent)?;
        if status != pb::HEALTHY {
            return Err(Refusal::NotAlive);
        }
        row.last_contact = now.time.as_second();
        Ok(())
    }

    /// `Next`, up to where it waits.
    ///
    /// # Errors
    /// If the agent is gone for good, or its labels would crash a real server.
    pub fn next(&mut self, agent: i64, mut labels: BTreeMap<String, String>) -> Result<Asked, Refusal> {
        let row = self.agents.get(agent)?;
        if row.no_schedule {
            return Ok(Asked::NoSchedule);
        }
        if labels.is_empty() {
            return Err(Refusal::Crash);
        }
        labels.insert("org-id".to_owned(), row.org_label());
        Ok(Asked::Waits(self.queue.poll(agent, labels)))
    }

    /// `Next` again: a poll was given this task. `None` if it is stale, or over.
    pub fn hand_out(&mut self, task: i64, agent: i64) -> Option<pb::Workflow> {
        if !self.queue.take_row(task) {
            return None;
        }
        let Some(row) = self.workflows.get_mut(&task).filter(|row| !row.workflow.state.is_terminal()) else {
            self.queue.drop_task(task);
            return None;
        };
        row.workflow.agent = agent;
        Some(pb::Workflow { id: task.to_string(), timeout: row.timeout, payload: row.payload.clone() })
    }

    /// `Init`.
    ///
    /// # Errors
    /// If the workflow isn't the agent's, or as [`Workflow::init`].
    pub fn init(&mut self, agent: i64, id: &str, state: &pb::WorkflowState, now: Now) -> Result<(), Refusal> {
        self.own(agent, id)?.init(state)?;
        self.worked(agent, now)
    }

    /// `Wait`, up to where it waits.
    ///
    /// # Errors
    /// If the workflow isn't the agent's.
    pub fn wait(&mut self, agent: i64, id: &str) -> Result<Awaited, Refusal> {
        let task = self.own(agent, id)?.id;
        Ok(self.queue.wait(task).map_or(Awaited::Over, Awaited::Waits))
    }

    /// `Extend`.
    ///
    /// # Errors
    /// If the workflow isn't the agent's, or as [`Queue::extend`].
    pub fn extend(&mut self, agent: i64, id: &str, now: Now) -> Result<(), Refusal> {
        self.worked(agent, now)?;
        let task = self.own(agent, id)?.id;
        self.queue.extend(task, agent, now.instant)
    }

    /// `Update`.
    ///
    /// # Errors
    /// If there is no such step, if it or the workflow isn't the agent's, or as [`Workflow::update`].
    pub fn update(&mut self, agent: i64, id: &str, report: &pb::StepState, now: Now) -> Result<(), Refusal> {
        let workflow = self.find(id)?;
        if self.homes.get(&report.step_uuid).copied().ok_or(Refusal::NoRow)? != workflow {
            return Err(Refusal::ForeignStep(report.step_uuid.clone()));
        }
        if self.own(agent, id)?.update(report, now.time.as_second())? {
            self.cancel(workflow, now);
        }
        Ok(())
    }

    /// `Done`.
    ///
    /// # Errors
    /// If the workflow isn't the agent's, or as [`Workflow::done`].
    pub fn done(&mut self, agent: i64, id: &str, state: &pb::WorkflowState, now: Now) -> Result<(), Refusal> {
        let workflow = self.own(agent, id)?;
        workflow.done(state)?;
        let task = workflow.id;
        self.queue.finish(task, WaitEnd::Over);
        self.worked(agent, now)
    }

    /// `Log`. Only what is wrong with the last group of entries is told.
    ///
    /// # Errors
    /// If there is no such step, if its workflow isn't the agent's, or as [`Workflow::takes_lines`].
    pub fn log(&mut self, agent: i64, entries: &[pb::LogEntry], now: Now) -> Result<(), Refusal> {
        let mut last = Ok(());
        for group in logs::groups(entries) {
            last = self.log_group(agent, group, now);
        }
        last
    }

    fn log_group(&mut self, agent: i64, group: &[pb::LogEntry], now: Now) -> Result<(), Refusal> {
        let uuid = &group[0].step_uuid;
        let home = self.homes.get(uuid).copied().ok_or_else(|| Refusal::NoStep(uuid.clone()))?;
        let workflow = self.own(agent, &home.to_string())?;
        let step = workflow.steps.iter().find(|step| step.uuid == *uuid).ok_or(Refusal::NoRow)?;
        workflow.takes_lines(step, now.time.as_second())?;
        self.worked(agent, now)?;
        self.logs.append(uuid, group);
        Ok(())
    }

    /// The process starts anew: the rows stay, and so does what is in the queue.
    pub fn restart(&mut self) {
        self.access.restart();
        self.queue.restart();
    }

    fn find(&self, id: &str) -> Result<i64, Refusal> {
        let number = id.parse().map_err(|_| Refusal::NoNumber(id.to_owned()))?;
        if self.workflows.contains_key(&number) { Ok(number) } else { Err(Refusal::NoRow) }
    }

    /// A workflow, for the agent that it was handed out to.
    fn own(&mut self, agent: i64, id: &str) -> Result<&mut Workflow, Refusal> {
        let number = self.find(id)?;
        let org_agent = self.agents.get(agent)?;
        let row = self.workflows.get_mut(&number).ok_or(Refusal::NoRow)?;
        if row.workflow.agent != agent || !org_agent.may_have(row.workflow.org) {
            return Err(Refusal::NotYours { agent, workflow: number });
        }
        Ok(&mut row.workflow)
    }

    fn worked(&mut self, agent: i64, now: Now) -> Result<(), Refusal> {
        self.agents.get_mut(agent)?.works(now.time.as_second());
        Ok(())
    }

    /// How a workflow stands, for who waits for its end.
    pub fn is_over(&self, id: i64) -> bool {
        self.workflow(id).is_none_or(|workflow| workflow.state.is_terminal())
    }

    /// The number of workflows in a state.
    pub fn count(&self, state: State) -> usize {
        self.workflows().filter(|workflow| workflow.state == state).count()
    }
}

#[cfg(test)]
mod tests;
