//! One server, one cluster, and agents that connect the two.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fake_cluster::{FakeCluster, Script, ScriptedRuntime};
use piculet::agent::Agent;
use piculet::config::Config;
use piculet::exit::Failure;
use piculet::shutdown::Shutdown;
use piculet::telemetry::Metrics;
use piculet_cluster::{Cluster, Limits};
use piculet_core::id::InstanceId;
use piculet_core::outcome::StepState;
use piculet_core::workload::{StageSpec, StepSpec, WorkloadSpec};
use piculet_link::link::Link;
use piculet_link::otlp::Traces;
use piculet_link::stream::{Settings, StreamLink};
use server_stub::stub::{Network, Stub};
use server_stub::view::WorkflowView;
use tokio::task::JoinHandle;

use crate::leftovers;

/// The namespace of all tests.
pub(crate) const NAMESPACE: &str = "ci";

/// A server and a cluster.
pub(crate) struct World {
    pub(crate) stub: Stub,
    pub(crate) runtime: Arc<ScriptedRuntime>,
    pub(crate) cluster: FakeCluster,
    agents: u32,
}

/// An agent of a world.
pub(crate) struct Running {
    pub(crate) network: Network,
    pub(crate) metrics: Metrics,
    pub(crate) shutdown: Shutdown,
    pub(crate) task: JoinHandle<Result<(), Failure>>,
}

impl World {
    /// A server that places by itself, and a cluster where every step exits with 0 at once.
    pub(crate) fn new() -> Self {
        Self::with(Stub::start(server_stub::server::Config::default()))
    }

    /// A world with this server.
    pub(crate) fn with(stub: Stub) -> Self {
        Self::with_both(stub, fake_cluster::Settings::default())
    }

    /// A world whose cluster's clock shows what the agent's does, and whose scheduler takes a moment.
    #[expect(clippy::disallowed_methods, reason = "the agent's clock starts with the machine's time, too")]
    pub(crate) fn of_today() -> Self {
        let (epoch, scheduling) = (jiff::Timestamp::now(), Duration::from_millis(400));
        let cluster = fake_cluster::Settings { epoch, scheduling, ..fake_cluster::Settings::default() };
        Self::with_both(Stub::start(server_stub::server::Config::default()), cluster)
    }

    fn with_both(stub: Stub, cluster: fake_cluster::Settings) -> Self {
        let runtime = ScriptedRuntime::new();
        runtime.on_all(Script::new().exit(0));
        let cluster = FakeCluster::start(cluster, runtime.clone());
        Self { stub, runtime, cluster, agents: 0 }
    }

    /// What the step of this name does, in every workflow.
    pub(crate) fn step_does(&self, step: &str, script: Script) {
        self.runtime.on_label("step", step, script);
    }

    /// Starts an agent with four slots.
    pub(crate) fn agent(&mut self) -> Running {
        self.agent_with(|_| {})
    }

    /// Starts an agent whose configuration is changed first.
    pub(crate) fn agent_with(&mut self, change: impl FnOnce(&mut Config)) -> Running {
        self.agent_tracing(change, None)
    }

    /// Starts an agent that hands its traces over there.
    pub(crate) fn agent_tracing(&mut self, change: impl FnOnce(&mut Config), traces: Option<Traces>) -> Running {
        let network = self.stub.network();
        let settings = Settings::new("http://stub:1".parse().unwrap());
        let link = StreamLink::with_connector(settings, network.connector());
        let (shutdown, metrics, task) = self.start(link, change, traces);
        Running { network, metrics, shutdown, task }
    }

    /// Starts an agent that reaches its server by this link.
    pub(crate) fn start(
        &mut self,
        link: impl Link,
        change: impl FnOnce(&mut Config),
        traces: Option<Traces>,
    ) -> (Shutdown, Metrics, JoinHandle<Result<(), Failure>>) {
        self.agents += 1;
        let mut config = Config::default();
        config.agent.name = format!("agent-{}", self.agents);
        config.admin.address = None;
        config.pods.namespace = NAMESPACE.to_owned();
        change(&mut config);
        let cluster = Cluster::new(self.cluster.client(), NAMESPACE, Limits::default());
        let instance = InstanceId::new(format!("instance-{}", self.agents));
        let shutdown = Shutdown::default();
        let mut agent = Agent::new(config, cluster, instance, "test-machine".to_owned()).following_tokios_clock();
        if let Some(traces) = traces {
            agent = agent.tracing_to(traces);
        }
        let metrics = agent.metrics().clone();
        let task = tokio::spawn(agent.run(link, shutdown.clone()));
        (shutdown, metrics, task)
    }

    /// Submits a workflow and waits for its end.
    pub(crate) async fn run(&self, spec: WorkloadSpec) -> WorkflowView {
        let id = self.stub.submit(spec);
        self.stub.ended(&id).await
    }

    /// The text of a step's log.
    pub(crate) fn log(&self, workflow: &WorkflowView, step: &str) -> Vec<String> {
        let id = piculet_core::id::WorkflowId::new(workflow.id.as_str());
        let lines = self.stub.log(&id, step);
        lines.iter().map(|line| String::from_utf8_lossy(&line.bytes).into_owned()).collect()
    }

    /// Every object that a workflow could have left, as `kind/name`.
    pub(crate) fn left(&self) -> Vec<String> {
        leftovers::of(&self.cluster)
    }

    /// Waits until nothing is left of any workflow.
    pub(crate) async fn until_clean(&self) {
        leftovers::until_none(&self.cluster).await;
    }
}

/// A step that runs a program of its image: no script of ours, which would print its commands.
pub(crate) fn step(name: &str) -> StepSpec {
    StepSpec {
        id: format!("id{name}"),
        name: name.to_owned(),
        image: "alpine".to_owned(),
        entrypoint: vec!["/bin/program".to_owned()],
        workspace_base: "/woodpecker".to_owned(),
        working_dir: "/woodpecker/src".to_owned(),
        ..StepSpec::default()
    }
}

/// A workflow of these stages.
pub(crate) fn workflow(stages: Vec<Vec<StepSpec>>) -> WorkloadSpec {
    let stages = stages.into_iter().map(|steps| StageSpec { steps }).collect();
    WorkloadSpec { name: "test".to_owned(), stages, ..WorkloadSpec::default() }
}

/// State and exit code of every step, by name.
pub(crate) fn ends(workflow: &WorkflowView) -> BTreeMap<String, (StepState, Option<i32>)> {
    workflow.steps.iter().map(|step| (step.name.clone(), (step.state, step.exit_code))).collect()
}

/// The same, written by hand.
pub(crate) fn expected(ends: &[(&str, StepState, Option<i32>)]) -> BTreeMap<String, (StepState, Option<i32>)> {
    ends.iter().map(|(name, state, code)| ((*name).to_owned(), (*state, *code))).collect()
}
