//! `piculet agent`.

use piculet_cluster::{Cluster, KubeSource};
use piculet_core::id::InstanceId;
use piculet_link::otlp::{self, Traces};

use crate::agent::{Agent, seed};
use crate::config::{Config, ConfigError, Kubernetes, Source, Target};
use crate::exit::Failure;
use crate::shutdown::Shutdown;
use crate::{link, telemetry};

/// Runs the agent until it is told to stop.
///
/// # Errors
/// Everything but a clean end.
pub async fn run(config: Config) -> Result<(), Failure> {
    let traces = traces(&config).await?;
    telemetry::start_log(&config.log, traces.as_ref().map(Traces::outlet))?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    if config.server.address.is_exposed() {
        tracing::warn!(server = %config.server.address, "the token and all secrets go to the server unencrypted");
    }
    let cluster = connect(&config).await?;
    let shutdown = Shutdown::default();
    let signals = tokio::spawn(shutdown.clone().on_signals());
    let instance = instance();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        instance = instance.as_str(),
        server = %config.server.address,
        namespace = cluster.namespace(),
        "starting"
    );
    let machine = config.agent.hostname.clone();
    let mut agent = Agent::new(config.clone(), cluster, instance.clone(), machine);
    if let Some(traces) = traces {
        agent = agent.tracing_to(traces);
    }
    let result = match &config.server.address {
        Target::Stream(address) => Box::pin(agent.run(link::stream(address, &config.server), shutdown)).await,
        Target::Woodpecker(address) => {
            Box::pin(agent.run(link::woodpecker(address, &config, seed(&instance)), shutdown)).await
        }
    };
    signals.abort();
    result
}

/// The way of the traces, if the configuration has one.
async fn traces(config: &Config) -> Result<Option<Traces>, Failure> {
    let Some(settings) = &config.traces else { return Ok(None) };
    let exporter = otlp::exporter(settings).await.map_err(|otlp::Problem { variable, message }| {
        Failure::Config(vec![ConfigError { key: String::new(), source: Source::Variable(variable), message }])
    })?;
    Ok(Some(Traces::new(settings, exporter)))
}

/// The cluster of the configuration.
pub(super) async fn connect(config: &Config) -> Result<Cluster, Failure> {
    let source = source(&config.kubernetes);
    let namespace = Some(config.pods.namespace.as_str());
    let limits = piculet_cluster::Limits::default();
    Cluster::connect(&source, namespace, limits).await.map_err(|error| Failure::Cluster(error.to_string()))
}

fn source(kubernetes: &Kubernetes) -> KubeSource {
    match &kubernetes.kubeconfig {
        Some(path) => KubeSource::Kubeconfig { path: path.clone(), context: kubernetes.context.clone() },
        None => KubeSource::InCluster,
    }
}

/// A name for this process that no other has. Adoption by a restarted container needs the pod's UID instead.
fn instance() -> InstanceId {
    InstanceId::new(uuid::Uuid::new_v4().to_string())
}
