//! Where the demo's steps run: the agent, and the cluster below it.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use fake_cluster::process::{ProcessRuntime, ProcessSettings};
use fake_cluster::{FakeCluster, NodeSettings};
use piculet::agent::Agent;
use piculet::exit::Failure;
use piculet::shutdown::Shutdown;
use piculet::site::own_platform;
use piculet_cluster::{Cluster, KubeSource, Limits};
use piculet_core::id::InstanceId;
use piculet_core::secret::Secret;
use piculet_pods::settings::Profile;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::{DemoError, Options};
use crate::server::Server;
use crate::submission::Plan;

/// The namespace of the cluster in memory.
const NAMESPACE: &str = "demo";
/// The label that asks for a platform.
const PLATFORM: &str = "platform";
/// Memory for log lines on their way, in bytes: a step of this machine writes faster than any network takes.
const LOG_MEMORY: usize = 1 << 30;
/// How many workflows run at the same time.
const WORKFLOWS: u32 = 4;

/// An agent with its cluster.
pub(super) struct Place {
    shutdown: Shutdown,
    agent: JoinHandle<Result<(), Failure>>,
    embedded: Option<Embedded>,
}

struct Embedded {
    cluster: FakeCluster,
    runtime: Arc<ProcessRuntime>,
}

/// What the workflows want of an agent and its nodes. The one agent takes them all: whoever tries a file out wants to
/// see it run, not wait for a machine that isn't there.
#[derive(Debug, Default)]
struct Wishes {
    labels: BTreeSet<String>,
    platforms: BTreeSet<String>,
}

/// A token that nobody else has.
pub(super) fn token() -> Secret {
    Secret::new(uuid::Uuid::new_v4().to_string())
}

impl Place {
    /// Starts the cluster and the agent, and lets the server listen on loopback.
    pub(super) async fn prepare(options: &Options, plan: &Plan, server: &Server) -> Result<Self, DemoError> {
        let wishes = Wishes::of(plan);
        let (cluster, embedded) = match &options.kubeconfig {
            Some(path) => {
                let source = KubeSource::Kubeconfig { path: path.clone(), context: None };
                let cluster = Cluster::connect(&source, Some(&options.namespace), Limits::default()).await;
                (cluster.map_err(|error| DemoError::Place(error.to_string()))?, None)
            }
            None => {
                let embedded = embed(options, &wishes, server).await?;
                (Cluster::new(embedded.cluster.client(), NAMESPACE, Limits::default()), Some(embedded))
            }
        };
        let failed = |error: std::io::Error| DemoError::Place(format!("can't listen on loopback: {error}"));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let serving = server.serve_agents(listener, None);
        tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the demo's server broke");
            }
        });

        let mut config = piculet::config::Config::default();
        let place = format!("http://{address}").parse::<piculet_link::stream::Address>();
        let place = place.map_err(|error| DemoError::Place(error.to_string()))?;
        config.server.address = piculet::config::Target::Stream(place.clone());
        config.server.token = server.config().agent_token.clone();
        config.agent.name = "demo".to_owned();
        config.agent.max_workflows = WORKFLOWS;
        config.agent.labels = wishes.labels.iter().map(|key| (key.clone(), "*".to_owned())).collect();
        config.kubernetes.cluster_name = "demo".to_owned();
        config.pods.namespace = cluster.namespace().to_owned();
        config.admin.address = None;
        if embedded.is_some() {
            // Its containers are processes of this machine, and may know no other user than who started them.
            config.pods = config.pods.under(Profile::Compat);
            // A cluster in memory decides at once: what waits for longer waits for something that isn't there.
            // Server and agent share this machine, so what one of them keeps the other needn't.
            config.logs.memory = LOG_MEMORY;
            config.limits.explain = Duration::from_secs(1);
            config.limits.schedule = Duration::from_secs(10);
            config.limits.create = Duration::from_secs(60);
            config.kubernetes.platforms = wishes.platforms.iter().cloned().collect();
        }
        let link = piculet::link::stream(&place, &config.server);
        let shutdown = Shutdown::default();
        let instance = InstanceId::new(uuid::Uuid::new_v4().to_string());
        let agent = Agent::new(config, cluster, instance, "demo".to_owned());
        let agent = tokio::spawn(agent.run(link, shutdown.clone()));
        Ok(Self { shutdown, agent, embedded })
    }

    /// Lets the agent finish, which removes what it made, and gives the names of the pods that were simulated.
    pub(super) async fn leave(self, server: &Server) -> BTreeSet<String> {
        self.shutdown.drain.cancel();
        match self.agent.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the agent ended badly"),
            Err(error) => tracing::error!(%error, "the agent panicked"),
        }
        server.shut_down(Duration::from_secs(1)).await;
        match self.embedded {
            Some(Embedded { cluster, runtime }) => {
                cluster.shut_down().await;
                runtime.simulated()
            }
            None => BTreeSet::new(),
        }
    }
}

impl Wishes {
    fn of(plan: &Plan) -> Self {
        let mut wishes = Self { labels: BTreeSet::new(), platforms: [own_platform()].into() };
        for (key, value) in plan.workflows.iter().flat_map(|planned| &planned.submission.spec.labels) {
            match key.as_str() {
                PLATFORM => _ = wishes.platforms.insert(value.clone()),
                _ => _ = wishes.labels.insert(key.clone()),
            }
        }
        wishes
    }

    /// A node for each platform. All of them are this machine.
    fn nodes(&self) -> Vec<NodeSettings> {
        let node = |platform: &String| {
            let (os, arch) = platform.split_once('/').unwrap_or((platform, ""));
            let labels = [("kubernetes.io/os", os), ("kubernetes.io/arch", arch)];
            let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
            // Requests are for the nodes of others: here a step waits for nothing but what doesn't exist.
            let (cpu, memory) = ("100k".to_owned(), "1Pi".to_owned());
            NodeSettings { labels, cpu, memory, ..NodeSettings::new(&platform.replace('/', "-")) }
        };
        self.platforms.iter().map(node).collect()
    }
}

async fn embed(options: &Options, wishes: &Wishes, server: &Server) -> Result<Embedded, DemoError> {
    let mut settings = ProcessSettings::new(std::env::temp_dir());
    settings.source.clone_from(&options.source);
    settings.simulate_plugins = options.simulate_plugins;
    settings.offline = options.offline;
    settings.unsafe_host = options.unsafe_host;
    settings.masked = options.secrets.iter().filter_map(|pair| Some(pair.split_once('=')?.1.to_owned())).collect();
    let runtime = ProcessRuntime::new(settings).await.map_err(|error| DemoError::Place(error.to_string()))?;
    let settings = fake_cluster::Settings {
        epoch: server.now().time,
        namespaces: vec![NAMESPACE.to_owned()],
        nodes: wishes.nodes(),
        ..fake_cluster::Settings::default()
    };
    let cluster = FakeCluster::start(settings, Arc::clone(&runtime) as Arc<dyn fake_cluster::runtime::Runtime>);
    Ok(Embedded { cluster, runtime })
}
