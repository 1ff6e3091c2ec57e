//! The hosts of a simulation, and the hand that lets things happen to them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fake_cluster::{FakeCluster, Fault as ApiFault, Kind, Settings};
use jiff::{SignedDuration, Timestamp};
use piculet::agent::Agent;
use piculet::config::Config;
use piculet::shutdown::Shutdown;
use piculet_cluster::{Cluster, Limits};
use piculet_core::id::{InstanceId, WorkflowId};
use server_stub::dispatch::Submission;
use server_stub::mailbox::Stop;
use server_stub::server::Server;
use server_stub::store::Store;
use turmoil::Sim;

use crate::diary::Diary;
use crate::machine::Machine;
use crate::plan::{Fault, Plan};
use crate::wire;

/// When every simulation begins.
const EPOCH: Timestamp = Timestamp::constant(1_767_225_600, 0);
/// How finely time passes. Bytes arrive at such moments.
const TICK: Duration = Duration::from_millis(10);
/// How often hosts look whether they are asked for something.
const GLANCE: Duration = Duration::from_millis(20);
pub(crate) const NAMESPACE: &str = "ci";
const CLUSTERS: [&str; 2] = ["cluster-a", "cluster-b"];
const AGENTS: [&str; 4] = ["agent-1", "agent-2", "agent-3", "agent-4"];

type Shared<T> = Arc<Mutex<T>>;

/// A running simulation.
pub(crate) struct World {
    pub(crate) sim: Sim<'static>,
    pub(crate) diary: Diary,
    /// The server of the moment; it may have been killed.
    pub(crate) server: Shared<Option<Server>>,
    pub(crate) machines: Vec<Machine>,
    clusters: Vec<Shared<Option<FakeCluster>>>,
    /// What users ask the server for.
    requests: Shared<VecDeque<Request>>,
    /// Workflows that the server said it has.
    pub(crate) accepted: Shared<Vec<WorkflowId>>,
    /// The host of each agent, and that of its cluster.
    agents: Vec<(&'static str, &'static str)>,
    /// What ends at a moment.
    ends: Vec<(Duration, End)>,
    /// The names of steps whose pods were evicted.
    pub(crate) evicted: Vec<String>,
}

enum Request {
    Submit(Box<Submission>),
    Cancel(WorkflowId),
}

enum End {
    Partition(&'static str, &'static str),
    Hold(&'static str, &'static str),
    ServerDown,
}

fn locked<T>(shared: &Shared<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The wall time on every host.
fn wall_time() -> Timestamp {
    let passed = turmoil::sim_elapsed().unwrap_or_default();
    EPOCH + SignedDuration::try_from(passed).unwrap_or_default()
}

impl World {
    pub(crate) fn new(seed: u64, plan: &Plan, diary: Diary) -> Self {
        let sim = turmoil::Builder::new()
            .rng_seed(seed)
            .tick_duration(TICK)
            .simulation_duration(Duration::from_secs(24 * 3600))
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(Duration::from_millis(60))
            // Connections hold more than the outbox sends ahead.
            .tcp_capacity(100_000)
            .build();
        let mut world = Self {
            sim,
            diary,
            server: Shared::default(),
            machines: Vec::new(),
            clusters: Vec::new(),
            requests: Shared::default(),
            accepted: Shared::default(),
            agents: Vec::new(),
            ends: Vec::new(),
            evicted: Vec::new(),
        };
        world.add_server(plan);
        let mut names = AGENTS.into_iter();
        for (cluster, &agents) in CLUSTERS.into_iter().zip(&plan.clusters) {
            world.add_cluster(cluster, seed, plan);
            for agent in names.by_ref().take(agents as usize) {
                world.add_agent(agent, cluster, plan.slots);
            }
        }
        world
    }

    fn add_server(&mut self, plan: &Plan) {
        let store = Store::simulated(plan.disk).expect("memory is always to be had");
        let (current, requests, accepted) = (self.server.clone(), self.requests.clone(), self.accepted.clone());
        self.sim.host("server", move || {
            let (store, current) = (store.clone(), current.clone());
            let (requests, accepted) = (requests.clone(), accepted.clone());
            async move {
                let config = server_stub::server::Config {
                    server_id: Some("sim".to_owned()),
                    wall_time: Some(wall_time()),
                    ..server_stub::server::Config::default()
                };
                let server = Server::start(config, store)?;
                *locked(&current) = Some(server.clone());
                tokio::spawn(serve_users(server.clone(), requests, accepted));
                let incoming = wire::listen().await?;
                server.serve_with_incoming(Box::pin(incoming)).await?;
                Ok(())
            }
        });
    }

    fn add_cluster(&mut self, name: &'static str, seed: u64, plan: &Plan) {
        let machine = Machine::new();
        for step in plan.workflows.iter().flat_map(|workflow| workflow.steps()) {
            machine.learns(step);
        }
        let cluster: Shared<Option<FakeCluster>> = Shared::default();
        self.machines.push(machine.clone());
        self.clusters.push(cluster.clone());
        self.sim.host(name, move || {
            let (machine, shown) = (machine.clone(), cluster.clone());
            async move {
                let settings = Settings {
                    epoch: wall_time(),
                    seed: seed ^ u64::from(name.as_bytes()[name.len() - 1]),
                    ..Settings::default()
                };
                let cluster = FakeCluster::start(settings, machine.runtime.clone());
                *locked(&shown) = Some(cluster.clone());
                wire::serve_cluster(cluster).await?;
                Ok(())
            }
        });
    }

    fn add_agent(&mut self, name: &'static str, cluster: &'static str, slots: u32) {
        self.agents.push((name, cluster));
        self.sim.host(name, move || async move {
            let mut config = Config::default();
            config.agent.name = name.to_owned();
            config.agent.max_workflows = slots;
            config.admin.address = None;
            config.pods.namespace = NAMESPACE.to_owned();
            config.kubernetes.cluster_name = cluster.to_owned();
            let client = wire::kube_client(cluster, NAMESPACE);
            let seed = u64::from(name.as_bytes()[name.len() - 1]);
            let kubernetes = Cluster::new(client, NAMESPACE, Limits::default()).with_seed(seed);
            let agent =
                Agent::new(config, kubernetes, InstanceId::new(name), "sim".to_owned()).starting_at(wall_time());
            Box::pin(agent.run(wire::link(), Shutdown::default())).await?;
            Ok(())
        });
    }

    /// Somebody submits a workflow.
    pub(crate) fn submit(&mut self, submission: Submission) {
        self.note(&format!("submit {}", submission.id));
        locked(&self.requests).push_back(Request::Submit(Box::new(submission)));
    }

    /// Somebody stops a workflow.
    pub(crate) fn cancel(&mut self, id: WorkflowId) {
        self.note(&format!("cancel {id}"));
        locked(&self.requests).push_back(Request::Cancel(id));
    }

    /// Lets something go wrong.
    pub(crate) fn inflict(&mut self, fault: &Fault) {
        self.note(&format!("{fault:?}"));
        let now = self.sim.elapsed();
        match *fault {
            Fault::ServerUnreachable { agent, lasts } => self.part(self.agents[agent].0, "server", now + lasts),
            Fault::ClusterUnreachable { agent, lasts } => {
                let (agent, cluster) = self.agents[agent];
                self.part(agent, cluster, now + lasts);
            }
            Fault::ServerSlow { agent, lasts } => {
                let agent = self.agents[agent].0;
                self.sim.hold(agent, "server");
                self.ends.push((now + lasts, End::Hold(agent, "server")));
            }
            Fault::ServerKilled { back_after } => {
                self.sim.crash("server");
                *locked(&self.server) = None;
                self.ends.push((now + back_after, End::ServerDown));
            }
            Fault::StreamsCut { cluster } => self.with_cluster(cluster, |cluster| cluster.faults().cut_streams()),
            Fault::HistoryExpired { cluster } => self.with_cluster(cluster, |cluster| {
                cluster.expire_history();
                cluster.faults().cut_streams();
            }),
            Fault::RequestsFail { cluster, code, times } => self.add(cluster, ApiFault::fail(code).times(times)),
            Fault::TooManyRequests { cluster, times } => self.add(cluster, ApiFault::too_many_requests(2).times(times)),
            Fault::RequestsBreak { cluster, times } => self.add(cluster, ApiFault::drop_connection().times(times)),
            Fault::AnswersLost { cluster, times } => self.add(cluster, ApiFault::lose_response().times(times)),
            Fault::Eviction { cluster, which } => self.evict(cluster, which),
        }
    }

    fn part(&mut self, a: &'static str, b: &'static str, until: Duration) {
        self.sim.partition(a, b);
        self.ends.push((until, End::Partition(a, b)));
    }

    fn with_cluster(&self, cluster: usize, act: impl FnOnce(&FakeCluster)) {
        if let Some(cluster) = &*locked(&self.clusters[cluster]) {
            act(cluster);
        }
    }

    fn add(&self, cluster: usize, fault: ApiFault) {
        self.with_cluster(cluster, |cluster| cluster.faults().inject(fault));
    }

    fn evict(&mut self, cluster: usize, which: usize) {
        let Some(cluster) = locked(&self.clusters[cluster]).clone() else { return };
        let is_running = |pod: &serde_json::Value| {
            pod["status"]["phase"] == "Running" && pod["metadata"]["deletionTimestamp"].is_null()
        };
        let pods: Vec<_> = cluster.objects(Kind::Pod).into_iter().filter(is_running).collect();
        let Some(pod) = pods.get(which % pods.len().max(1)) else { return };
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        let step = pod["metadata"]["labels"]["step"].as_str().unwrap_or_default().to_owned();
        self.note(&format!("evict {name}"));
        if cluster.evict(NAMESPACE, name, "The node was low on resource: memory.").is_ok() {
            self.evicted.push(step);
        }
    }

    /// Lets time pass: what is over ends.
    pub(crate) fn step(&mut self) -> Result<(), String> {
        let now = self.sim.elapsed();
        for (_, end) in self.ends.extract_if(.., |(at, _)| *at <= now) {
            match end {
                End::Partition(a, b) => self.sim.repair(a, b),
                End::Hold(a, b) => self.sim.release(a, b),
                // A second kill may have come while it was down.
                End::ServerDown => self.sim.bounce("server"),
            }
        }
        self.sim.step().map(|_| ()).map_err(|error| error.to_string())
    }

    /// Whether everything that goes wrong for a while is over.
    pub(crate) fn is_calm(&self) -> bool {
        self.ends.is_empty() && locked(&self.requests).is_empty()
    }

    /// Every object in a cluster that a workflow could have left.
    pub(crate) fn left(&self) -> Vec<String> {
        let kinds = [Kind::Pod, Kind::ConfigMap, Kind::Secret, Kind::Service, Kind::PersistentVolumeClaim];
        let mut left = Vec::new();
        for cluster in &self.clusters {
            let Some(cluster) = &*locked(cluster) else { continue };
            for kind in kinds {
                for object in cluster.objects(kind) {
                    let name = object["metadata"]["name"].as_str().unwrap_or_default();
                    // Every namespace has a ConfigMap of Kubernetes' own.
                    if object["metadata"]["namespace"] == NAMESPACE && name != "kube-root-ca.crt" {
                        left.push(format!("{kind:?}/{name}"));
                    }
                }
            }
        }
        left
    }

    fn note(&self, text: &str) {
        self.diary.note(&format!("{:.3} {text}", self.sim.elapsed().as_secs_f64()));
    }
}

/// Does what users ask for, one after the other; each waits until it is stored.
async fn serve_users(server: Server, requests: Shared<VecDeque<Request>>, accepted: Shared<Vec<WorkflowId>>) {
    loop {
        let request = locked(&requests).pop_front();
        match request {
            None => tokio::time::sleep(GLANCE).await,
            Some(Request::Submit(submission)) => {
                let id = submission.id.clone();
                if server.submit(vec![*submission]).is_ok() {
                    server.settled().await;
                    locked(&accepted).push(id);
                }
            }
            Some(Request::Cancel(id)) => {
                // It may be over, or the server may have been killed before it stored it.
                let _over = server.cancel(&id, Stop { reason: "somebody asked".to_owned(), grace: None });
            }
        }
    }
}
