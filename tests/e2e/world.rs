//! A server, an agent and a cluster.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use piculet::agent::Agent;
use piculet::config::{Config, Host, Layers, resolve};
use piculet::shutdown::Shutdown;
use piculet_cluster::Cluster;
use piculet_core::id::{InstanceId, WorkflowId};
use piculet_core::outcome::StepState;
use piculet_core::secret::Secret;
use piculet_core::workload::{StageSpec, StepSpec, WorkloadSpec};
use piculet_link::otlp::Traces;
use piculet_link::stream::{Settings, StreamLink, Token};
use serde_json::{Value, json};
use server_stub::dispatch::Timing;
use server_stub::mailbox::Stop;
use server_stub::server;
use server_stub::stub::{Network, Stub};
use server_stub::view::{StepView, WorkflowView};
use tokio::runtime::Builder;
use tokio::sync::RwLock;

use crate::acts::Acts;
use crate::inside::{self, Inside, TOKEN};
use crate::site::{Cuts, Mode, Site, is_real, mode};

/// How long anything may take that a scenario waits for.
const PATIENCE: Duration = Duration::from_secs(180);

/// The same where it is known that something will go wrong.
const LESS_PATIENCE: Duration = Duration::from_secs(60);

fn patience() -> Duration {
    if inside::lacks_a_right() { LESS_PATIENCE } else { PATIENCE }
}

/// The server's identity, which names of objects are made of.
pub(crate) const SERVER: &str = "e2e";

/// A server and a cluster, and the agents between them.
pub(crate) struct World {
    pub(crate) stub: Stub,
    pub(crate) site: Site,
    agents: u32,
    cuts: Vec<Cuts>,
    /// Where the agents are that run in the cluster.
    pub(crate) inside: Option<Inside>,
}

/// An agent of a world.
pub(crate) struct Running {
    pub(crate) network: Network,
}

/// A step, and what its container does.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    spec: StepSpec,
    acts: Acts,
    /// What comes before what its container does.
    pub(crate) printed: Vec<String>,
}

/// All that run hold it; who breaks something of the whole cluster holds it alone.
static CLUSTER: RwLock<()> = RwLock::const_new(());

/// Why a scenario can't be had here.
struct Skipped(String);

/// Ends the scenario, which can't be had here.
pub(crate) fn skip(why: &str) -> ! {
    std::panic::resume_unwind(Box::new(Skipped(why.to_owned())))
}

/// Runs a scenario, in virtual time where it can. Whatever becomes of it, nothing of it may be left, and its namespace goes.
pub(crate) fn scenario(name: &str, run: impl AsyncFnOnce(&mut World)) {
    scenario_with(name, || stub(Timing::default()), run);
}

/// The same with this server.
pub(crate) fn scenario_with(name: &str, stub: impl FnOnce() -> Stub, run: impl AsyncFnOnce(&mut World)) {
    let _shared = is_real().then(|| CLUSTER.blocking_read());
    play(name, stub, run);
}

/// The same while no other one runs.
pub(crate) fn scenario_alone(name: &str, run: impl AsyncFnOnce(&mut World)) {
    let _alone = is_real().then(|| CLUSTER.blocking_write());
    play(name, || stub(Timing::default()), run);
}

/// Says that something could not be looked at.
#[expect(clippy::print_stdout, reason = "it is for whoever reads the output of the test")]
pub(crate) fn skipped(why: &str) {
    println!("SKIPPED: {why}; tests/cluster has all that is needed");
}

#[expect(clippy::print_stdout, reason = "it is a row of a table, to be looked at")]
fn nothing_left(kind: &str, name: &str) {
    println!("| {kind} | objects left of '{name}' | 0 |");
}

#[expect(clippy::print_stdout, reason = "who looks for what was not tested has to find it")]
fn play(name: &str, stub: impl FnOnce() -> Stub, run: impl AsyncFnOnce(&mut World)) {
    let mut builder = Builder::new_current_thread();
    builder.enable_all();
    if !is_real() {
        builder.start_paused(true);
    }
    builder.build().unwrap().block_on(async {
        let mut world = World { stub: stub(), site: Site::open(name).await, agents: 0, cuts: Vec::new(), inside: None };
        if mode() == Mode::Inside {
            world.inside = Some(Inside::open(world.site.client(), world.site.namespace()).await);
        }
        let ended = AssertUnwindSafe(async {
            run(&mut world).await;
            world.until_clean().await;
            nothing_left(world.site.kind(), name);
        });
        let ended = ended.catch_unwind().await;
        let failed = ended.err().and_then(|panic| match panic.downcast::<Skipped>() {
            Ok(skipped) => {
                println!("SKIPPED: {name}: {}", skipped.0);
                None
            }
            Err(panic) => Some(panic),
        });
        if let Some(inside) = world.inside {
            inside.close(failed.is_some()).await;
        }
        world.site.close().await;
        if let Some(panic) = failed {
            std::panic::resume_unwind(panic);
        }
    });
}

fn stub(timing: Timing) -> Stub {
    let agent_token = (mode() == Mode::Inside).then(|| Secret::new(TOKEN));
    let server_id = Some(SERVER.to_owned());
    Stub::start(server::Config { server_id, agent_token, timing, ..server::Config::default() })
}

impl World {
    /// Lets the server wait no longer than this for an agent that went away. Before agents come.
    pub(crate) fn forget_agents_after(&mut self, lost_after: Duration) {
        self.stub = stub(Timing { lost_after, ..Timing::default() });
    }

    /// Starts an agent.
    pub(crate) async fn agent(&mut self) -> Running {
        self.agent_set(json!({})).await
    }

    /// Starts an agent with these settings beside the usual ones.
    pub(crate) async fn agent_set(&mut self, more: Value) -> Running {
        self.agent_of(more, json!({})).await
    }

    /// The same; if it is in the cluster, with these values of the chart.
    pub(crate) async fn agent_of(&mut self, more: Value, values: Value) -> Running {
        if let Some(inside) = &mut self.inside {
            let network = self.stub.network();
            let settings = settings_of(self.site.namespace(), more);
            inside.install(&network, settings, values).await;
            inside.until_session(&self.stub).await;
            return Running { network };
        }
        let cluster = self.site.cluster().await;
        self.start(cluster, None, None, more, |_| {})
    }

    /// Starts an agent whose configuration is changed by code first.
    pub(crate) async fn agent_with(&mut self, change: impl FnOnce(&mut Config)) -> Running {
        self.agent_as(None, None, change).await
    }

    /// The same with a token, and with a way for its traces.
    pub(crate) async fn agent_as(
        &mut self,
        token: Option<Token>,
        traces: Option<Traces>,
        change: impl FnOnce(&mut Config),
    ) -> Running {
        self.not_inside("its agent is put together by code");
        let cluster = self.site.cluster().await;
        self.start(cluster, token, traces, json!({}), change)
    }

    /// Starts an agent whose connections to the API server all break as often.
    pub(crate) async fn agent_with_cuts(&mut self, each: Duration) -> Running {
        self.not_inside("its agent's way to the API server is cut");
        let (cluster, cuts) = self.site.cluster_with_cuts(each).await;
        self.cuts.extend(cuts);
        self.start(cluster, None, None, json!({}), |_| {})
    }

    /// Ends a scenario whose agent can't be had in the cluster.
    pub(crate) fn not_inside(&self, why: &str) {
        if self.inside.is_some() {
            skip(why);
        }
    }

    fn start(
        &mut self,
        cluster: Cluster,
        token: Option<Token>,
        traces: Option<Traces>,
        more: Value,
        change: impl FnOnce(&mut Config),
    ) -> Running {
        self.agents += 1;
        let network = self.stub.network();
        let settings = Settings { token, ..Settings::new("http://stub:1".parse().unwrap()) };
        let link = StreamLink::with_connector(settings, network.connector());
        let mut config = config(settings_of(self.site.namespace(), more));
        config.agent.name = format!("agent-{}", self.agents);
        change(&mut config);
        let instance = InstanceId::new(format!("instance-{}", self.agents));
        let mut agent = Agent::new(config, cluster, instance, "test-machine".to_owned());
        if !is_real() {
            agent = agent.following_tokios_clock();
        }
        if let Some(traces) = traces {
            agent = agent.tracing_to(traces);
        }
        tokio::spawn(agent.run(link, Shutdown::default()));
        Running { network }
    }

    /// Hands a workflow of these stages to the server.
    pub(crate) fn submit(&self, stages: Vec<Vec<Job>>) -> WorkflowId {
        self.submit_with(stages, |_| {})
    }

    /// The same, changed first.
    pub(crate) fn submit_with(&self, stages: Vec<Vec<Job>>, change: impl FnOnce(&mut WorkloadSpec)) -> WorkflowId {
        for job in stages.iter().flatten() {
            self.site.teach(&job.spec.name, &job.acts);
        }
        let mut spec = spec(stages);
        change(&mut spec);
        self.stub.submit(spec)
    }

    /// Waits until a workflow is over.
    pub(crate) async fn ended(&self, id: &WorkflowId) -> WorkflowView {
        let ended = tokio::time::timeout(patience(), self.stub.ended(id)).await;
        ended.unwrap_or_else(|_| panic!("the workflow does not end: {:#?}", self.stub.workflow(id)))
    }

    /// Runs a workflow to its end.
    pub(crate) async fn run(&self, stages: Vec<Vec<Job>>) -> WorkflowView {
        self.ended(&self.submit(stages)).await
    }

    /// Waits until a step is in this state.
    pub(crate) async fn until(&self, id: &WorkflowId, step: &str, state: StepState) {
        self.wait_for(&format!("the step '{step}' to be {}", state.as_str()), async || {
            (self.step(&self.stub.workflow(id), step).state == state).then_some(())
        })
        .await;
    }

    /// Waits until a step's log has this line.
    pub(crate) async fn until_line(&self, id: &WorkflowId, step: &str, line: &str) {
        let what = format!("the line '{line}' of the step '{step}'");
        let has = || self.log(id, step).iter().any(|stored| stored.contains(line));
        self.wait_for(&what, async || has().then_some(())).await;
    }

    /// Looks now and then until there is what the scenario waits for.
    pub(crate) async fn wait_for<T>(&self, what: &str, look: impl AsyncFn() -> Option<T>) -> T {
        let found = tokio::time::timeout(patience(), async {
            loop {
                if let Some(found) = look().await {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        found.await.unwrap_or_else(|_| panic!("waited {} s in vain for {what}", patience().as_secs()))
    }

    pub(crate) fn cancel(&self, id: &WorkflowId) {
        self.stub.server().cancel(id, Stop { reason: "somebody does not want it".to_owned(), grace: None }).unwrap();
    }

    pub(crate) fn step(&self, workflow: &WorkflowView, name: &str) -> StepView {
        workflow.steps.iter().find(|step| step.name == name).unwrap().clone()
    }

    /// The lines of a step's log.
    pub(crate) fn log(&self, id: &WorkflowId, step: &str) -> Vec<String> {
        let lines = self.stub.log(id, step);
        lines.iter().map(|line| String::from_utf8_lossy(&line.bytes).into_owned()).collect()
    }

    /// Those that the step itself wrote.
    pub(crate) fn own_lines(&self, id: &WorkflowId, step: &str) -> Vec<String> {
        self.log(id, step).into_iter().filter(|line| !line.starts_with("[piculet] ")).collect()
    }

    /// Waits until nothing is left of any workflow.
    pub(crate) async fn until_clean(&self) {
        let deadline = tokio::time::Instant::now() + patience();
        loop {
            let left = self.site.left().await;
            if left.is_empty() {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "these are left: {left:?}");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

/// An agent's settings, in the words of its configuration file. Clocks are shorter than usual, for the real cluster's sake.
fn settings_of(namespace: &str, more: Value) -> Value {
    let mut settings = json!({
        "agent": {"max_workflows": 20},
        "pods": {
            "namespace": namespace,
            "stop_timeout_seconds": 5,
            // The real cluster has only the images of `tests/cluster`.
            "permission_init_image": "busybox:stable",
            "allow_from_step": {"service_account": true, "native_secrets": true, "node_selector": true, "tolerations": true},
        },
        "limits": {
            "schedule": "15s",
            "pull": "30s",
            "pull_again": "20s",
            "create": "20s",
            "explain": "2s",
            "lost": "20s",
            "creations": 2,
        },
    });
    merge(&mut settings, more);
    settings
}

pub(crate) fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more,
    }
}

/// The same for an agent of this process.
fn config(settings: Value) -> Config {
    let mut layers = Layers::default();
    layers.file("settings", &settings.to_string());
    // There is a network in memory instead.
    layers.flag("here", "server.address", "http://stub:1");
    layers.flag("here", "server.token_file", "none");
    layers.flag("here", "admin.address", "off");
    resolve(layers, &Host::default()).unwrap()
}

/// A workflow of these stages.
pub(crate) fn spec(stages: Vec<Vec<Job>>) -> WorkloadSpec {
    let stages = stages.into_iter().map(|jobs| StageSpec { steps: jobs.into_iter().map(|job| job.spec).collect() });
    WorkloadSpec { name: "test".to_owned(), stages: stages.collect(), ..WorkloadSpec::default() }
}

/// A step whose container does this.
pub(crate) fn job(name: &str, acts: Acts) -> Job {
    let spec = StepSpec {
        id: format!("id{name}"),
        name: name.to_owned(),
        image: "busybox:stable".to_owned(),
        // A step with commands prints them, too.
        entrypoint: vec!["/bin/sh".to_owned(), "-c".to_owned(), acts.shell()],
        workspace_base: "/woodpecker".to_owned(),
        working_dir: "/woodpecker/src".to_owned(),
        ..StepSpec::default()
    };
    Job { spec, acts, printed: Vec::new() }
}

/// The same by a script of ours, which prints its commands.
pub(crate) fn scripted(name: &str, acts: Acts) -> Job {
    let mut job = job(name, acts.clone());
    job.spec.entrypoint.clear();
    job.spec.commands = vec![format!(": {name}\n{}", acts.shell())];
    let printed: Vec<_> = job.spec.commands[0]
        .lines()
        .enumerate()
        .map(|(at, line)| format!("{}{line}", if at == 0 { "+ " } else { "" }))
        .collect();
    job.acts = acts.after_lines(&printed);
    job.printed = printed;
    job
}

impl Job {
    /// Its `backend_options.kubernetes`.
    pub(crate) fn kubernetes(self, options: serde_json::Value) -> Self {
        self.with(|spec| spec.kubernetes = serde_json::from_value(options).unwrap())
    }

    /// In memory there is no program that could be missing.
    pub(crate) fn fails_to_start(mut self, program: &str) -> Self {
        let says = format!("exec: \"{program}\": stat {program}: no such file or directory: unknown");
        self.acts = self.acts.unstartable(&format!(
            "failed to create containerd task: failed to create shim task: OCI runtime \
            create failed: runc create failed: unable to start container process: {says}"
        ));
        self
    }

    /// In memory, exits with this code.
    pub(crate) fn exits(mut self, code: i32) -> Self {
        self.acts = self.acts.exit(code);
        self
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut StepSpec)) -> Self {
        change(&mut self.spec);
        self
    }
}

/// State and exit code of every step, by name.
pub(crate) fn ends(workflow: &WorkflowView) -> BTreeMap<&str, (StepState, Option<i32>)> {
    workflow.steps.iter().map(|step| (step.name.as_str(), (step.state, step.exit_code))).collect()
}
