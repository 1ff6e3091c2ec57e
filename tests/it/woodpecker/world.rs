//! A Woodpecker server, a cluster, and agents that connect the two.

use std::collections::BTreeMap;
use std::sync::Arc;

use fake_cluster::{FakeCluster, Script, ScriptedRuntime};
use piculet::agent::Agent;
use piculet::config::{Config, Protocol, Target};
use piculet::exit::Failure;
use piculet::shutdown::Shutdown;
use piculet_cluster::{Cluster, Limits};
use piculet_core::id::InstanceId;
use piculet_core::secret::Secret;
use piculet_link::woodpecker::WoodpeckerLink;
use server_stub::network::Network;
use server_stub::woodpecker::{Call, Compiled, Job, Method, Said, Server, State, Workflow};
use tokio::task::JoinHandle;

use crate::leftovers;

pub(super) const NAMESPACE: &str = "woodpecker";

/// A server and a cluster.
pub(super) struct World {
    pub(super) server: Server,
    pub(super) runtime: Arc<ScriptedRuntime>,
    pub(super) cluster: FakeCluster,
    /// Who the agents are at the API server; empty: somebody who may do everything.
    pub(super) user: String,
    agents: u32,
}

/// An agent of a world.
pub(super) struct Running {
    pub(super) network: Network,
    pub(super) shutdown: Shutdown,
    pub(super) task: JoinHandle<Result<(), Failure>>,
}

impl World {
    /// A server as it is installed, and a cluster where every step exits with 0 at once.
    pub(super) fn new() -> Self {
        Self::with(server_stub::woodpecker::Config::default())
    }

    #[expect(clippy::disallowed_methods, reason = "agent, server and cluster all start with the machine's time")]
    pub(super) fn with(config: server_stub::woodpecker::Config) -> Self {
        let now = jiff::Timestamp::now();
        let runtime = ScriptedRuntime::new();
        runtime.on_all(Script::new().exit(0));
        let settings = fake_cluster::Settings { epoch: now, ..fake_cluster::Settings::default() };
        let cluster = FakeCluster::start(settings, runtime.clone());
        cluster.create_namespace(NAMESPACE);
        let server = Server::start(server_stub::woodpecker::Config { wall_time: Some(now), ..config });
        Self { server, runtime, cluster, user: String::new(), agents: 0 }
    }

    /// What the step of this name does, in every workflow.
    pub(super) fn step_does(&self, step: &str, script: Script) {
        self.runtime.on_label("step", step, script);
    }

    /// Starts an agent with two slots.
    pub(super) fn agent(&mut self) -> Running {
        self.agent_with(|_| {})
    }

    /// Starts an agent whose configuration is changed first.
    pub(super) fn agent_with(&mut self, change: impl FnOnce(&mut Config)) -> Running {
        self.agents += 1;
        let mut config = Config::of(Protocol::Woodpecker);
        config.server.address = Target::Woodpecker("ci.example.org:9000".parse().unwrap());
        config.server.token = Some(Secret::new(server_stub::woodpecker::Config::TOKEN));
        config.server.id_file = None;
        config.agent.hostname = format!("agent-{}", self.agents);
        config.agent.max_workflows = 2;
        config.admin.address = None;
        change(&mut config);
        let Target::Woodpecker(address) = config.server.address.clone() else { panic!("it is Woodpecker's") };
        let network = self.server.network();
        let server = self.server.clone();
        let settings = piculet::link::woodpecker_settings(&address, &config, u64::from(self.agents));
        let connect = network.connector();
        let link = WoodpeckerLink::with_connector(settings, connect, move || server.now().time);
        let client =
            if self.user.is_empty() { self.cluster.client() } else { self.cluster.client_as(&self.user, NAMESPACE) };
        let cluster = Cluster::new(client, &config.pods.namespace, Limits::default());
        let shutdown = Shutdown::default();
        let (instance, machine) = (format!("instance-{}", self.agents), config.agent.hostname.clone());
        let agent = Agent::new(config, cluster, InstanceId::new(instance), machine).starting_at(self.server.now().time);
        let task = tokio::spawn(agent.run(link, shutdown.clone()));
        Running { network, shutdown, task }
    }

    /// Submits a workflow and waits for its end.
    pub(super) async fn run(&self, compiled: Compiled) -> Workflow {
        let id = self.server.submit(compiled);
        self.server.ended(id).await
    }

    /// The text of a step's log; its lines have to be numbered without a gap.
    pub(super) fn log(&self, workflow: &Workflow, step: &str) -> Vec<String> {
        let lines = self.server.log(workflow.id, step);
        for (number, line) in lines.iter().enumerate() {
            assert_eq!(usize::try_from(line.line).unwrap(), number, "a gap or a double in the log of '{step}'");
        }
        lines.iter().map(|line| String::from_utf8_lossy(&line.data).into_owned()).collect()
    }

    /// Everything that agents said of a workflow's states, in order.
    pub(super) fn said(&self, workflow: &Workflow) -> Vec<String> {
        self.server.calls().iter().filter_map(|call| told(call, workflow)).collect()
    }

    /// Waits until a step stands so.
    pub(super) async fn until(&self, id: i64, step: &str, state: State) {
        let what = format!("the step '{step}' as {state:?}");
        self.server
            .wait_for(&what, |model, _| {
                let step = model.workflow(id)?.step(step)?;
                (step.state == state).then_some(())
            })
            .await;
    }

    /// Waits until a workflow stands so.
    pub(super) async fn until_workflow(&self, id: i64, state: State) {
        let what = format!("the workflow as {state:?}");
        self.server.wait_for(&what, |model, _| (model.workflow(id)?.state == state).then_some(())).await;
    }

    /// How often a method was called.
    pub(super) fn count(&self, method: Method) -> usize {
        self.server.calls().iter().filter(|call| call.said.method() == method).count()
    }

    /// Every object that a workflow could have left, as `kind/name`.
    pub(super) fn left(&self) -> Vec<String> {
        leftovers::of(&self.cluster)
    }

    /// Waits until nothing is left of any workflow.
    pub(super) async fn until_clean(&self) {
        leftovers::until_none(&self.cluster).await;
    }
}

/// A step that runs what its image is for: no script of ours, which would print its commands.
pub(super) fn job(name: &str) -> Job {
    Job::plugin(name, "alpine")
}

/// A workflow of these stages.
pub(super) fn workflow<const N: usize>(name: &str, stages: [Vec<Job>; N]) -> Compiled {
    stages.into_iter().fold(Compiled::new(name), Compiled::then)
}

/// State and exit code of every step, by name.
pub(super) fn ends(workflow: &Workflow) -> BTreeMap<&str, (State, i32)> {
    workflow.steps.iter().map(|step| (step.name.as_str(), (step.state, step.exit_code))).collect()
}

fn told(call: &Call, workflow: &Workflow) -> Option<String> {
    let id = workflow.id.to_string();
    let name = |uuid: &str| {
        workflow.steps.iter().find(|step| step.uuid == uuid).map_or_else(|| uuid.to_owned(), |step| step.name.clone())
    };
    match &call.said {
        Said::Init { workflow, .. } if *workflow == id => Some("init".to_owned()),
        Said::Update { workflow, step } if *workflow == id => {
            let flags = [(step.exited, " exited"), (step.canceled, " canceled"), (step.skipped, " skipped")];
            let flags: String = flags.iter().filter(|(set, _)| *set).map(|(_, word)| *word).collect();
            let begins = if flags.is_empty() { " begins" } else { "" };
            Some(format!("{}{begins}{flags} {}", name(&step.step_uuid), step.exit_code).replace(" begins 0", " begins"))
        }
        Said::Log(groups) => {
            let ours = |uuid: &str| workflow.steps.iter().any(|step| step.uuid == uuid);
            let groups: Vec<_> = groups.iter().filter(|lines| ours(&lines.step)).collect();
            let shown: Vec<_> =
                groups.iter().map(|lines| format!("{} {}+{}", name(&lines.step), lines.first, lines.count)).collect();
            (!shown.is_empty()).then(|| format!("log {}", shown.join(", ")))
        }
        Said::Done { workflow, state } if *workflow == id => {
            Some(format!("done{} {:?}", if state.canceled { " canceled" } else { "" }, state.error))
        }
        _ => None,
    }
}
