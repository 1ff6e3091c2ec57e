//! The hosts of a simulation, and the hand that lets things happen to them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fake_cluster::{FakeCluster, Fault as ApiFault, Kind, Settings};
use jiff::{SignedDuration, Timestamp};
use piculet::agent::Agent;
use piculet::config::{self, Config, Target};
use piculet::shutdown::Shutdown;
use piculet_cluster::{Cluster, Limits};
use piculet_core::id::{InstanceId, WorkflowId};
use piculet_core::secret::Secret;
use server_stub::mailbox::Intake;
use server_stub::server::Server;
use server_stub::store::Store;
use server_stub::woodpecker;
use turmoil::Sim;

use crate::diary::Diary;
use crate::machine::Machine;
use crate::plan::{Fault, Plan, WorkflowPlan};
use crate::service::{Protocol, Service, Stopping, Woodpecker};
use crate::tally::Tally;
use crate::wire;

/// When every simulation begins.
pub(crate) const EPOCH: Timestamp = Timestamp::constant(1_767_225_600, 0);
/// How finely time passes. Bytes arrive at such moments.
const TICK: Duration = Duration::from_millis(10);
/// How often hosts look whether they are asked for something.
const GLANCE: Duration = Duration::from_millis(20);
/// Says of an object whose it is.
const WORKFLOW_ID: &str = "piculet.dev/workflow-id";
pub(crate) const NAMESPACE: &str = "ci";
const CLUSTERS: [&str; 2] = ["cluster-a", "cluster-b"];
const AGENTS: [&str; 4] = ["agent-1", "agent-2", "agent-3", "agent-4"];

type Shared<T> = Arc<Mutex<T>>;

/// A running simulation.
pub(crate) struct World {
    pub(crate) sim: Sim<'static>,
    pub(crate) diary: Diary,
    /// The server of the moment; it may have been killed.
    pub(crate) server: Shared<Option<Service>>,
    pub(crate) protocol: Protocol,
    pub(crate) machines: Vec<Machine>,
    clusters: Vec<Shared<Option<FakeCluster>>>,
    /// What users ask the server for.
    requests: Shared<VecDeque<Request>>,
    /// What the server said to them.
    pub(crate) answers: Shared<Answers>,
    /// The host of each agent, and that of its cluster.
    agents: Vec<(&'static str, &'static str)>,
    /// What is wrong with links at the moment: several faults may last on one.
    links: BTreeMap<(&'static str, &'static str), Troubles>,
    /// How often the server was killed and is not back from.
    server_down: u32,
    /// Agents that were killed for good, with the time.
    pub(crate) killed: BTreeMap<&'static str, Duration>,
    /// What ends at a moment.
    ends: Vec<(Duration, End)>,
    /// The names of steps whose pods were evicted.
    pub(crate) evicted: Vec<String>,
    pub(crate) tally: Tally,
}

/// What users know of what they asked for.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// Workflows that the server said it has.
    pub(crate) accepted: Vec<WorkflowId>,
    /// What the server said of those that it doesn't take.
    pub(crate) refused: Vec<String>,
    /// By the workflow's id.
    pub(crate) cancels: BTreeMap<String, Cancel>,
    /// What operators want of clusters, until the server has stored it.
    wanted: BTreeMap<&'static str, Intake>,
}

/// What became of a wish to stop a workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cancel {
    /// Nobody answered: the server may have stored it.
    Asked,
    /// It was over.
    Late,
    /// It was stored at this time.
    Stored(Duration),
}

/// How many faults of each kind last on a link.
#[derive(Debug, Default)]
struct Troubles {
    /// From the first to the second.
    there: u32,
    /// From the second to the first.
    back: u32,
    held: u32,
}

/// A fault of a link.
#[derive(Debug, Clone, Copy)]
enum Trouble {
    There,
    Back,
    Held,
}

enum Request {
    Submit(WorkflowPlan),
    Cancel(WorkflowId),
    /// A Woodpecker server starts anew, with what it keeps.
    Restart,
}

enum End {
    Link(&'static str, &'static str, Trouble),
    ServerDown,
    Drain(&'static str),
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
    pub(crate) fn new(seed: u64, plan: &Plan, protocol: Protocol, diary: Diary) -> Self {
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
            protocol,
            machines: Vec::new(),
            clusters: Vec::new(),
            requests: Shared::default(),
            answers: Shared::default(),
            agents: Vec::new(),
            links: BTreeMap::new(),
            server_down: 0,
            killed: BTreeMap::new(),
            ends: Vec::new(),
            evicted: Vec::new(),
            tally: Tally::default(),
        };
        let mut names = AGENTS.into_iter();
        for (cluster, &agents) in CLUSTERS.into_iter().zip(&plan.clusters) {
            world.agents.extend(names.by_ref().take(agents as usize).map(|agent| (agent, cluster)));
        }
        match protocol {
            Protocol::Stream => world.add_server(plan),
            Protocol::Woodpecker => world.add_woodpecker(),
        }
        for (cluster, _) in CLUSTERS.into_iter().zip(&plan.clusters) {
            world.add_cluster(cluster, seed, plan);
        }
        for (agent, cluster) in world.agents.clone() {
            world.add_agent(agent, cluster, seed, plan.slots);
        }
        world
    }

    fn add_server(&mut self, plan: &Plan) {
        let store = Store::simulated(plan.disk).expect("memory is always to be had");
        let current = self.server.clone();
        let (requests, answers, agents) = (self.requests.clone(), self.answers.clone(), self.agents.clone());
        self.sim.host("server", move || {
            let (store, current, agents) = (store.clone(), current.clone(), agents.clone());
            let (requests, answers) = (requests.clone(), answers.clone());
            async move {
                let config = server_stub::server::Config {
                    server_id: Some("sim".to_owned()),
                    wall_time: Some(wall_time()),
                    ..server_stub::server::Config::default()
                };
                let server = Server::start(config, store)?;
                let service = Service::Stream(server.clone());
                *locked(&current) = Some(service.clone());
                tokio::spawn(serve_users(service, agents, requests, answers));
                let incoming = wire::listen().await?;
                server.serve_with_incoming(Box::pin(incoming)).await?;
                Ok(())
            }
        });
    }

    /// A Woodpecker server's database is its own: what is asked here is what agents make of its kills.
    fn add_woodpecker(&mut self) {
        let current = self.server.clone();
        let (requests, answers, agents) = (self.requests.clone(), self.answers.clone(), self.agents.clone());
        self.sim.host("server", move || {
            let (current, agents) = (current.clone(), agents.clone());
            let (requests, answers) = (requests.clone(), answers.clone());
            async move {
                let config = woodpecker::Config { wall_time: Some(wall_time()), ..woodpecker::Config::default() };
                let server = woodpecker::Server::start(config);
                let service = Service::Woodpecker(Woodpecker::new(server.clone()));
                *locked(&current) = Some(service.clone());
                tokio::spawn(serve_users(service, agents, requests, answers));
                server.serve_with_incoming(Box::pin(wire::listen().await?)).await?;
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

    fn add_agent(&mut self, name: &'static str, cluster: &'static str, seed: u64, slots: u32) {
        let protocol = self.protocol;
        self.sim.host(name, move || async move {
            let mut config = match protocol {
                Protocol::Stream => Config::default(),
                Protocol::Woodpecker => woodpecker_config(name),
            };
            config.agent.name = name.to_owned();
            config.agent.max_workflows = slots;
            config.admin.address = None;
            config.pods.namespace = NAMESPACE.to_owned();
            config.kubernetes.cluster_name = cluster.to_owned();
            let client = wire::kube_client(cluster, NAMESPACE);
            // Others for each agent and simulation, also for simulations whose seeds are neighbours.
            let number = u64::from(name.as_bytes()[name.len() - 1]);
            let backoffs = fastrand::Rng::with_seed(seed ^ (number << 56)).u64(..);
            let instance = InstanceId::new(format!("{name}-{seed}").as_str());
            let kubernetes = Cluster::new(client, NAMESPACE, Limits::default()).with_seed(backoffs);
            let agent = Agent::new(config.clone(), kubernetes, instance, "sim".to_owned()).starting_at(wall_time());
            match &config.server.address {
                Target::Stream(_) => Box::pin(agent.run(wire::link(), Shutdown::default())).await?,
                Target::Woodpecker(address) => {
                    let settings = piculet::link::woodpecker_settings(address, &config, backoffs);
                    let link = wire::woodpecker_link(settings, wall_time);
                    Box::pin(agent.run(link, Shutdown::default())).await?;
                }
            }
            Ok(())
        });
    }

    /// Somebody submits a workflow.
    pub(crate) fn submit(&mut self, workflow: &WorkflowPlan) {
        self.note(&format!("submit {}", workflow.name));
        locked(&self.requests).push_back(Request::Submit(workflow.clone()));
    }

    /// Somebody stops a workflow.
    pub(crate) fn cancel(&mut self, id: WorkflowId) {
        self.note(&format!("cancel {id}"));
        locked(&self.requests).push_back(Request::Cancel(id));
    }

    /// Lets something go wrong.
    pub(crate) fn inflict(&mut self, fault: &Fault) {
        self.note(&format!("{fault:?}"));
        self.tally.add(&format!("fault {}", fault.kind()), 1);
        let now = self.sim.elapsed();
        match *fault {
            Fault::ServerUnreachable { agent, lasts } => {
                let agent = self.agents[agent].0;
                self.trouble(agent, "server", &[Trouble::There, Trouble::Back], now + lasts);
            }
            Fault::ServerDeaf { agent, lasts } => {
                self.trouble(self.agents[agent].0, "server", &[Trouble::There], now + lasts);
            }
            Fault::ServerMute { agent, lasts } => {
                self.trouble(self.agents[agent].0, "server", &[Trouble::Back], now + lasts);
            }
            Fault::ClusterUnreachable { agent, lasts } => {
                let (agent, cluster) = self.agents[agent];
                self.trouble(agent, cluster, &[Trouble::There, Trouble::Back], now + lasts);
            }
            Fault::ServerSlow { agent, lasts } => {
                self.trouble(self.agents[agent].0, "server", &[Trouble::Held], now + lasts);
            }
            Fault::ServerKilled { back_after } if self.protocol == Protocol::Woodpecker => {
                locked(&self.requests).push_front(Request::Restart);
                self.tally.add("server restarts", 1);
                // One that is back at once breaks connections; one that stays away doesn't even do that.
                if back_after > Duration::from_secs(2) {
                    for (agent, _) in self.agents.clone() {
                        self.trouble(agent, "server", &[Trouble::There, Trouble::Back], now + back_after);
                    }
                }
            }
            Fault::ServerKilled { back_after } => {
                self.crash("server");
                *locked(&self.server) = None;
                self.server_down += 1;
                self.ends.push((now + back_after, End::ServerDown));
            }
            Fault::AgentKilled { agent } => {
                let name = self.agents[agent].0;
                self.crash(name);
                self.killed.insert(name, now);
            }
            Fault::Drain { cluster, lasts } => {
                let cluster = CLUSTERS[cluster];
                locked(&self.answers).wanted.insert(cluster, Intake::Closed);
                self.ends.push((now + lasts, End::Drain(cluster)));
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

    /// Ends a host's process. The order in which its connections are dropped depends on numbers that tokio gives to
    /// tasks, over all simulations of a test run: what is sent meanwhile must not draw a latency. The end of an agent's
    /// session is heard at once; that of its several connections to the cluster never is.
    fn crash(&mut self, name: &'static str) {
        let links = self.agents.iter().flat_map(|&(agent, cluster)| [(agent, "server"), (agent, cluster)]);
        let links: Vec<_> = links.filter(|(a, b)| *a == name || *b == name).collect();
        for &(a, b) in &links {
            let Troubles { there, back, held } = *self.links.entry((a, b)).or_default();
            if b == "server" && there + back + held == 0 {
                self.sim.hold(a, b);
            } else {
                self.sim.partition(a, b);
            }
        }
        self.sim.crash(name);
        for (a, b) in links {
            self.set_link(a, b);
        }
    }

    /// Lets a link suffer for a while.
    fn trouble(&mut self, a: &'static str, b: &'static str, troubles: &[Trouble], until: Duration) {
        for &trouble in troubles {
            *self.links.entry((a, b)).or_default().of(trouble) += 1;
            self.ends.push((until, End::Link(a, b, trouble)));
        }
        self.set_link(a, b);
    }

    /// Makes a link as bad as all faults that last on it.
    fn set_link(&mut self, a: &'static str, b: &'static str) {
        let Troubles { there, back, held } = *self.links.entry((a, b)).or_default();
        match held {
            0 => self.sim.release(a, b),
            _ => self.sim.hold(a, b),
        }
        if there > 0 {
            self.sim.partition_oneway(a, b);
        }
        if back > 0 {
            self.sim.partition_oneway(b, a);
        }
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
        let over: Vec<_> = self.ends.extract_if(.., |(at, _)| *at <= now).map(|(_, end)| end).collect();
        for end in over {
            match end {
                End::Link(a, b, trouble) => {
                    *self.links.entry((a, b)).or_default().of(trouble) -= 1;
                    self.set_link(a, b);
                }
                End::ServerDown => {
                    self.server_down -= 1;
                    // A second kill may have come while it was down.
                    if self.server_down == 0 {
                        self.sim.bounce("server");
                        self.tally.add("server restarts", 1);
                    }
                }
                End::Drain(cluster) => _ = locked(&self.answers).wanted.insert(cluster, Intake::Open),
            }
        }
        self.sim.step().map(|_| ()).map_err(|error| error.to_string())
    }

    /// Whether everything that goes wrong for a while is over.
    pub(crate) fn is_calm(&self) -> bool {
        self.ends.is_empty() && locked(&self.requests).is_empty() && locked(&self.answers).wanted.is_empty()
    }

    /// Every object in a cluster that a workflow could have left. Nobody removes those of the `lost` workflows.
    pub(crate) fn left(&self, lost: &BTreeSet<String>) -> Vec<String> {
        let kinds =
            [Kind::Pod, Kind::ConfigMap, Kind::Secret, Kind::Service, Kind::NetworkPolicy, Kind::PersistentVolumeClaim];
        let mut left = Vec::new();
        for (name, cluster) in CLUSTERS.iter().zip(&self.clusters) {
            let Some(cluster) = &*locked(cluster) else { continue };
            let lost_an_agent = self.agents.iter().any(|(agent, of)| of == name && self.killed.contains_key(agent));
            let is_lost = |object: &serde_json::Value| {
                let id = ["labels", "annotations"].iter().find_map(|at| object["metadata"][at][WORKFLOW_ID].as_str());
                lost_an_agent && !lost.is_empty() && id.is_none_or(|id| lost.contains(id))
            };
            for kind in kinds {
                for object in cluster.objects(kind) {
                    let name = object["metadata"]["name"].as_str().unwrap_or_default();
                    // Every namespace has a ConfigMap of Kubernetes' own.
                    let is_own = object["metadata"]["namespace"] == NAMESPACE && name != "kube-root-ca.crt";
                    if is_own && !is_lost(&object) {
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
async fn serve_users(
    server: Service,
    agents: Vec<(&'static str, &'static str)>,
    requests: Shared<VecDeque<Request>>,
    answers: Shared<Answers>,
) {
    loop {
        let wanted = locked(&answers).wanted.first_key_value().map(|(cluster, intake)| (*cluster, *intake));
        if let Some((cluster, intake)) = wanted {
            let its: Vec<_> = agents.iter().filter(|(_, of)| *of == cluster).map(|(agent, _)| *agent).collect();
            server.set_intake(cluster, &its, intake);
            server.settled().await;
            let mut answers = locked(&answers);
            if answers.wanted.get(cluster) == Some(&intake) {
                answers.wanted.remove(cluster);
            }
            continue;
        }
        let request = locked(&requests).pop_front();
        match request {
            None => tokio::time::sleep(GLANCE).await,
            Some(Request::Restart) => {
                if let Service::Woodpecker(woodpecker) = &server {
                    woodpecker.server.restart();
                }
            }
            Some(Request::Submit(workflow)) => {
                let id = WorkflowId::new(workflow.name.as_str());
                match server.submit(&workflow) {
                    Err(error) => locked(&answers).refused.push(format!("{id}: {error}")),
                    Ok(()) => {
                        server.settled().await;
                        locked(&answers).accepted.push(id);
                    }
                }
            }
            Some(Request::Cancel(id)) => {
                let answer = |cancel| _ = locked(&answers).cancels.insert(id.to_string(), cancel);
                answer(Cancel::Asked);
                match server.cancel(id.as_str()) {
                    Stopping::Late => answer(Cancel::Late),
                    Stopping::Unheard => {}
                    Stopping::Stored => {
                        server.settled().await;
                        answer(Cancel::Stored(turmoil::sim_elapsed().unwrap_or_default()));
                    }
                }
            }
        }
    }
}

/// An agent for a Woodpecker server.
fn woodpecker_config(name: &str) -> Config {
    let mut config = Config::of(config::Protocol::Woodpecker);
    config.server.address = Target::Woodpecker("server:1".parse().expect("an address"));
    config.server.token = Some(Secret::new(woodpecker::Config::TOKEN));
    config.server.id_file = None;
    name.clone_into(&mut config.agent.hostname);
    config
}

impl Troubles {
    fn of(&mut self, trouble: Trouble) -> &mut u32 {
        match trouble {
            Trouble::There => &mut self.there,
            Trouble::Back => &mut self.back,
            Trouble::Held => &mut self.held,
        }
    }
}
