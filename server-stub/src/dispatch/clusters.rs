//! Clusters: the agents of one are its replicas, and an operator closes, opens or gives up all of them at once.

use std::collections::BTreeSet;

use jiff::Timestamp;
use piculet_core::id::{InstanceId, WorkflowId};
use piculet_link::message::Identity;
use tonic::Status;

use super::{Agent, Dispatcher};
use crate::clock::Now;
use crate::mailbox::Intake;
use crate::record::ClusterRecord;

/// A Kubernetes cluster that agents came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// The UID of its `kube-system` namespace; empty: unknown.
    pub uid: String,
    /// The version of its API server; empty: unknown.
    pub version: String,
    /// An operator said that it shall take no more work.
    pub is_drained: bool,
    /// When an operator said that it is lost: it takes no work until it is resumed.
    pub lost: Option<Timestamp>,
}

/// No agent ever came from a cluster of that name, or all were forgotten.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no cluster '{0}'; clusters whose agents were away for long are forgotten")]
pub struct NoSuchCluster(pub String);

impl Cluster {
    /// Whether its agents shall take no work.
    pub fn is_closed(&self) -> bool {
        self.is_drained || self.lost.is_some()
    }

    pub(super) fn restored(record: ClusterRecord) -> Self {
        let ClusterRecord { name: _, uid, version, is_drained, lost } = record;
        Self { uid, version, is_drained, lost }
    }

    pub(super) fn record(&self, name: &str) -> ClusterRecord {
        let Self { uid, version, is_drained, lost } = self.clone();
        ClusterRecord { name: name.to_owned(), uid, version, is_drained, lost }
    }
}

impl Dispatcher {
    /// All clusters, by name.
    pub fn clusters(&self) -> impl Iterator<Item = (&str, &Cluster)> {
        self.clusters.iter().map(|(name, cluster)| (name.as_str(), cluster))
    }

    /// The agents of a cluster.
    pub fn agents_of(&self, cluster: &str) -> impl Iterator<Item = &Agent> {
        self.agents.values().filter(move |agent| agent.cluster == cluster)
    }

    /// How many workflows a cluster has, with those whose agent is away.
    pub fn load_of(&self, cluster: &str) -> usize {
        self.open_workflows()
            .filter(|workflow| workflow.cluster.as_deref() == Some(cluster) && workflow.is_with_an_agent())
            .count()
    }

    /// The name of the cluster that an agent comes from; remembers the cluster. Its token tells which it is; else the
    /// name that it was given, its UID, or, of a cluster of which nothing is known, the instance alone.
    pub(super) fn enter_cluster(&mut self, identity: &Identity, by_token: Option<String>) -> Result<String, Status> {
        let theirs = &identity.cluster;
        let name = by_token.unwrap_or_else(|| match (theirs.name.as_str(), theirs.uid.as_str()) {
            ("", "") => identity.instance.to_string(),
            ("", uid) => uid.to_owned(),
            (name, _) => name.to_owned(),
        });
        // Two clusters of the same name would be drained, and given up, as one.
        let is_other = |other: &Agent| {
            let uid = &other.identity.cluster.uid;
            other.identity.instance != identity.instance
                && !uid.is_empty()
                && !theirs.uid.is_empty()
                && *uid != theirs.uid
        };
        let mut connected = self.agents_of(&name).filter(|other| other.session.is_some());
        if let Some(other) = connected.find(|other| is_other(other)) {
            return Err(Status::permission_denied(format!(
                "the agent says that it is of the cluster '{name}', and so does '{}', but of another one: the UIDs of \
                 their kube-system namespaces are {} and {}; give each cluster a name, or a token, of its own",
                other.name(),
                theirs.uid,
                other.identity.cluster.uid
            )));
        }
        drop(connected);
        let known = self.clusters.get(&name);
        let cluster = Cluster {
            uid: theirs.uid.clone(),
            version: theirs.version.clone(),
            is_drained: known.is_some_and(|known| known.is_drained),
            lost: known.and_then(|known| known.lost),
        };
        if known != Some(&cluster) {
            self.clusters.insert(name.clone(), cluster);
            self.unsaved.clusters.insert(name.clone());
        }
        Ok(name)
    }

    /// Opens or closes the intake of all agents of a cluster, those that come later included. A cluster that was lost
    /// and is opened counts as found.
    ///
    /// # Errors
    /// If there is no such cluster.
    pub fn set_cluster_intake(&mut self, name: &str, intake: Intake, now: Now) -> Result<(), NoSuchCluster> {
        let cluster = self.clusters.get_mut(name).ok_or_else(|| NoSuchCluster(name.to_owned()))?;
        cluster.is_drained = intake == Intake::Closed;
        if intake == Intake::Open {
            cluster.lost = None;
        }
        self.unsaved.clusters.insert(name.to_owned());
        let agents: Vec<_> = self.agents_of(name).map(|agent| agent.identity.instance.clone()).collect();
        for instance in agents {
            self.tell_intake(&instance);
        }
        self.place(now);
        Ok(())
    }

    /// Gives a cluster up: what it has goes back into the queue and starts anew elsewhere, and whoever of it comes back
    /// is told to let it go. Its steps may still be running: whoever says that a cluster is lost answers for that.
    ///
    /// # Errors
    /// If there is no such cluster.
    pub fn lose_cluster(&mut self, name: &str, now: Now) -> Result<Vec<WorkflowId>, NoSuchCluster> {
        let cluster = self.clusters.get_mut(name).ok_or_else(|| NoSuchCluster(name.to_owned()))?;
        cluster.lost.get_or_insert(now.time);
        self.unsaved.clusters.insert(name.to_owned());
        let its = |workflow: &&super::Workflow| workflow.cluster.as_deref() == Some(name);
        let lost: Vec<_> = self.open_workflows().filter(its).map(|workflow| workflow.id.clone()).collect();
        let connected: Vec<_> = self.agents_of(name).filter_map(|agent| agent.session).collect();
        let mut given_up = Vec::new();
        for id in lost {
            let Some(workflow) = self.workflows.get_mut(&id) else { continue };
            let run = workflow.run();
            if !workflow.assignment.lost() {
                continue;
            }
            if let Some(agent) = workflow.driver.as_ref().and_then(|driver| self.agents.get_mut(driver)) {
                agent.runs.remove(&run);
            }
            self.requeue(&id, now);
            given_up.push(id);
        }
        for session in connected {
            // When they come back they are told what they no longer have.
            let message = format!("the cluster '{name}' was declared lost; connect again to learn what is left");
            self.end_session(session, Some(Status::unavailable(message)), now);
        }
        self.place(now);
        Ok(given_up)
    }

    /// Forgets clusters that have neither agents nor workflows, and that no operator said anything about.
    pub(super) fn forget_clusters(&mut self) {
        let agents = self.agents.values().map(|agent| agent.cluster.as_str());
        let workflows = self.open_workflows().filter_map(|workflow| workflow.cluster.as_deref());
        let needed: BTreeSet<_> = agents.chain(workflows).map(ToOwned::to_owned).collect();
        let unsaved = &mut self.unsaved;
        self.clusters.retain(|name, cluster| {
            let stays = cluster.is_closed() || needed.contains(name);
            if !stays {
                unsaved.clusters.insert(name.clone());
            }
            stays
        });
    }

    /// The agents that came with this token.
    pub(super) fn came_with(&self, token: &str) -> Vec<InstanceId> {
        let agents = self.agents.values().filter(|agent| agent.token.as_deref() == Some(token));
        agents.map(|agent| agent.identity.instance.clone()).collect()
    }
}
