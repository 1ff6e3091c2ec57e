//! What has changed and is not stored yet; and what was stored, taken up again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use piculet_core::id::{InstanceId, Sequence, WorkflowId};

use super::{Agent, Cluster, Dispatcher, Workflow};
use crate::assignment::Assignment;
use crate::clock::Now;
use crate::ledger::{Ledger, LedgerState, StepLog};
use crate::record::{AgentRecord, Payload, StepDocument, StepWrite, WorkflowRecord, Write};
use crate::store::{Loaded, LoadedWorkflow};

/// What the store has not been given. Only the newest look of a thing counts, so it stays small however long it waits;
/// lines of logs are the exception, see [`Dispatcher::unsaved_log_bytes`].
#[derive(Debug, Default)]
pub(super) struct Unsaved {
    /// New or changed.
    pub(super) workflows: BTreeSet<WorkflowId>,
    /// Those of them that the store doesn't know yet.
    pub(super) new_workflows: BTreeSet<WorkflowId>,
    /// Workflows that start anew: their logs so far go.
    pub(super) forgotten_logs: BTreeSet<u64>,
    pub(super) forgotten_workflows: BTreeSet<u64>,
    pub(super) agents: BTreeSet<InstanceId>,
    pub(super) forgotten_agents: BTreeSet<u64>,
    pub(super) clusters: BTreeSet<String>,
    pub(super) tokens: BTreeSet<String>,
    /// Room that the lines will take which were not given to the store.
    pub(super) log_bytes: u64,
}

impl Dispatcher {
    /// Whether the store lacks something.
    pub fn has_unsaved(&self) -> bool {
        let Unsaved { workflows, agents, forgotten_agents, clusters, tokens, .. } = &self.unsaved;
        !(workflows.is_empty()
            && agents.is_empty()
            && forgotten_agents.is_empty()
            && clusters.is_empty()
            && tokens.is_empty())
    }

    /// Whether the store lacks something of clusters or tokens.
    pub fn has_unsaved_of_operators(&self) -> bool {
        !(self.unsaved.clusters.is_empty() && self.unsaved.tokens.is_empty())
    }

    /// How many bytes of log lines wait for the store.
    pub fn unsaved_log_bytes(&self) -> u64 {
        self.unsaved.log_bytes
    }

    /// What the store lacks, in the order in which it has to be written. From now on it counts as written.
    pub fn take_unsaved(&mut self) -> Vec<Write> {
        let unsaved = std::mem::take(&mut self.unsaved);
        let mut writes = Vec::new();
        writes.extend(unsaved.forgotten_workflows.into_iter().map(Write::ForgetWorkflow));
        writes.extend(unsaved.forgotten_logs.into_iter().map(Write::ForgetLogs));
        for id in unsaved.workflows {
            // One that is not there was forgotten meanwhile.
            let Some(workflow) = self.workflows.get_mut(&id) else { continue };
            let is_new = unsaved.new_workflows.contains(&id);
            let payload = match &workflow.spec {
                None => Payload::Gone,
                Some(spec) if is_new => Payload::New(Arc::clone(spec)),
                Some(_) => Payload::Same,
            };
            writes.push(Write::Workflow(Box::new(workflow.record()), payload));
            writes.extend(workflow.step_writes().map(Box::new).map(Write::Step));
        }
        writes.extend(unsaved.forgotten_agents.into_iter().map(Write::ForgetAgent));
        let agents = unsaved.agents.iter().filter_map(|instance| self.agents.get(instance));
        writes.extend(agents.map(|agent| Write::Agent(Box::new(agent.record()))));
        for name in unsaved.clusters {
            writes.push(match self.clusters.get(&name) {
                Some(cluster) => Write::Cluster(Box::new(cluster.record(&name))),
                None => Write::ForgetCluster(name),
            });
        }
        for id in unsaved.tokens {
            writes.push(match self.tokens.get(&id) {
                Some(token) => Write::Token(Box::new(token.clone())),
                None => Write::ForgetToken(id),
            });
        }
        writes
    }

    /// Takes up what was stored, before anybody is connected. What an agent had without knowing that its acceptance was
    /// stored goes back into the queue; what a cluster has waits for an agent of it.
    pub fn restore(&mut self, loaded: Loaded, now: Now) {
        let Loaded { server_id: _, workflows, last_workflow, agents, last_agent, clusters, tokens } = loaded;
        self.submitted = last_workflow;
        self.agents_seen = last_agent;
        self.clusters = clusters.into_iter().map(|record| (record.name.clone(), Cluster::restored(record))).collect();
        self.tokens = tokens.into_iter().map(|token| (token.id.clone(), token)).collect();
        for record in agents {
            self.agents.insert(record.instance.clone(), Agent::restored(record, now));
        }
        let mut ended = BTreeMap::new();
        let mut taken = Vec::new();
        for loaded in workflows {
            let workflow = Workflow::restored(loaded, self.policy.limits.log_bytes);
            let (id, number) = (workflow.id.clone(), workflow.number);
            self.log_size += workflow.ledger.size();
            self.order.insert(number, id.clone());
            match (&workflow.end, workflow.assignment.holder()) {
                (Some(end), _) => _ = ended.insert((end.at, number), id.clone()),
                (None, Some(holder)) => taken.push((holder.instance.clone(), workflow.run())),
                (None, None) => {}
            }
            let is_open = workflow.end.is_none();
            self.workflows.insert(id.clone(), workflow);
            if is_open {
                self.note_standing(&id);
            }
        }
        for id in ended.into_values() {
            self.note_standing(&id);
        }
        for (instance, run) in taken {
            self.release(&instance, &run, now);
        }
        self.forget_the_oldest(0);
        self.place(now);
    }
}

impl Workflow {
    fn record(&self) -> WorkflowRecord {
        let LedgerState { round, stored, started, .. } = self.ledger.state();
        WorkflowRecord {
            number: self.number,
            id: self.id.clone(),
            name: self.name.clone(),
            repository: self.repository.clone(),
            priority: self.priority,
            labels: self.labels.clone(),
            condition: self.condition.clone(),
            trace: self.trace.clone(),
            is_sampled: self.is_sampled,
            created: self.created,
            queued: self.queued,
            assigned: self.assigned,
            started,
            round,
            epoch: self.assignment.epoch(),
            place: self.assignment.place_record(),
            driver: self.driver.clone(),
            agent: self.agent.clone(),
            cluster: self.cluster.clone(),
            has_cluster_by_token: self.has_cluster_by_token,
            stored,
            stop: self.stop.clone(),
            end: self.end.clone(),
        }
    }

    fn step_writes(&mut self) -> impl Iterator<Item = StepWrite> {
        let unsaved = self.ledger.take_unsaved();
        unsaved.into_iter().map(|(position, lines)| {
            let step = &self.ledger.steps()[position];
            let document = StepDocument { step, log: step.log.known() };
            StepWrite {
                workflow: self.number,
                position,
                // Such documents have neither maps with keys that are no strings nor anything that fails by itself.
                document: serde_json::to_string(&document).unwrap_or_default(),
                part: step.log.part().cloned(),
                lines,
            }
        })
    }

    fn restored(loaded: LoadedWorkflow, log_bytes: u64) -> Self {
        let LoadedWorkflow { record, steps, spec } = loaded;
        let steps = steps.into_iter().map(|(mut step, known, part)| {
            step.log = StepLog::restored(known, part, log_bytes);
            step
        });
        let state = LedgerState {
            round: record.round,
            epoch: record.epoch,
            stored: record.stored,
            started: record.started,
            finished: record.end.as_ref().map(|end| end.report(record.started)),
        };
        let mut assignment = Assignment::restored(record.epoch, record.place);
        // A report that didn't give the workflow back accepted it.
        if record.stored > Sequence(0) {
            assignment.accepted();
        }
        Self {
            assignment,
            ledger: Ledger::restored(state, steps.collect()),
            id: record.id,
            number: record.number,
            name: record.name,
            repository: record.repository,
            priority: record.priority,
            labels: record.labels,
            is_sampled: record.is_sampled,
            created: record.created,
            queued: record.queued,
            assigned: record.assigned,
            condition: record.condition,
            stop: record.stop,
            end: record.end,
            agent: record.agent,
            cluster: record.cluster,
            has_cluster_by_token: record.has_cluster_by_token,
            trace: record.trace,
            spec: spec.map(Arc::new),
            driver: record.driver,
            is_free: false,
            refusals: BTreeMap::new(),
            refused_since: None,
        }
    }
}

impl Agent {
    fn record(&self) -> AgentRecord {
        AgentRecord {
            number: self.number,
            instance: self.identity.instance.clone(),
            identity: self.identity.clone(),
            cluster: self.cluster.clone(),
            has_cluster_by_token: self.has_cluster_by_token,
            is_drained: self.is_drained,
        }
    }

    fn restored(record: AgentRecord, now: Now) -> Self {
        Self {
            number: record.number,
            identity: record.identity,
            cluster: record.cluster,
            has_cluster_by_token: record.has_cluster_by_token,
            token: None,
            session: None,
            away_since: Some(now.instant),
            is_draining: false,
            is_drained: record.is_drained,
            runs: BTreeSet::new(),
        }
    }
}
