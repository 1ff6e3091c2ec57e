//! The running agent: link, session, admin and cluster, put together.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use piculet_cluster::{Cluster, Places};
use piculet_core::id::InstanceId;
use piculet_core::outbox;
use piculet_core::retry::Growth;
use piculet_core::slots::Slots;
use piculet_core::trace::convention;
use piculet_link::link::{Cause, Link};
use piculet_link::message::{self, Identity};
use piculet_link::otlp::{Open, Outlet, Traces};
use piculet_link::supervisor::{self, Closed, GivenUp, Status, supervise};
use piculet_link::woodpecker;
use piculet_pods::settings::Isolation;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::admin::{self, Heartbeat, Readiness, Roster};
use crate::clock::Clock;
use crate::config::{self, Config, Protocol};
use crate::exit::Failure;
use crate::runner::Shop;
use crate::session::{Session, SessionEnd};
use crate::shutdown::Shutdown;
use crate::site::{Site, own_platform};
use crate::sweep::sweep;
use crate::telemetry::{CauseLabels, Metrics};

/// How long the last reports may take to reach the server once nothing runs any more.
const FLUSH: Duration = Duration::from_secs(30);
/// A session that lasted as long starts the delays between sessions anew.
const STABLE: Duration = Duration::from_secs(60);

/// An agent that is ready to run.
#[derive(Debug)]
pub struct Agent {
    config: Config,
    cluster: Cluster,
    instance: InstanceId,
    machine: String,
    metrics: Metrics,
    traces: Option<Traces>,
    clock: Clock,
}

impl Agent {
    /// Puts an agent together. `instance` names this process; `machine` its host.
    pub fn new(config: Config, cluster: Cluster, instance: InstanceId, machine: String) -> Self {
        let metrics = Metrics::default();
        Self { config, cluster, instance, machine, metrics, traces: None, clock: Clock::Machine }
    }

    /// Hands its traces over there.
    #[must_use]
    pub fn tracing_to(self, traces: Traces) -> Self {
        Self { traces: Some(traces), ..self }
    }

    /// Lets wall time follow tokio's clock, which tests may pause.
    #[must_use]
    pub fn following_tokios_clock(self) -> Self {
        Self { clock: Clock::tokio(), ..self }
    }

    /// Lets it be `wall` now, and wall time follow tokio's clock from now on. For simulations.
    #[must_use]
    pub fn starting_at(self, wall: Timestamp) -> Self {
        Self { clock: Clock::starting_at(wall), ..self }
    }

    /// Its metrics.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Runs until it was drained, aborted, or can't work with its server.
    ///
    /// # Errors
    /// Everything but a clean drain.
    pub async fn run<L: Link>(mut self, link: L, shutdown: Shutdown) -> Result<(), Failure> {
        let log_folder = config::log_folder(&self.config.logs).map_err(|error| {
            let (key, source) = ("logs.directory".to_owned(), config::Source::Nowhere);
            Failure::Config(vec![config::ConfigError { key, source, message: error.to_string() }])
        })?;
        let traces = self.traces.take();
        let outlet = traces.as_ref().map(|traces| traces.outlet().clone());
        let (tell_readiness, readiness) = watch::channel(Readiness::default());
        let (tell_roster, roster) = watch::channel(Roster::default());
        if let Some(address) = &self.config.admin.address {
            let heartbeat = Heartbeat::default();
            let bound = admin::serve(
                address,
                readiness,
                roster,
                self.metrics.registry(outlet.as_ref().map(Outlet::tally)),
                heartbeat.clone(),
            )?;
            tracing::info!(address = %bound, "serving health and metrics");
            tokio::spawn(heartbeat.beat());
        }
        // An API server that doesn't answer must not keep a signal waiting: nothing runs yet.
        let identity = tokio::select! {
            biased;
            identity = self.identity() => identity?,
            () = shutdown.abort.cancelled() => return Err(Failure::Aborted),
            () = shutdown.drain.cancelled() => return Ok(()),
        };
        let isolation = self.config.pods.network_policy.mode;
        tokio::spawn(say_what_is_missing(self.cluster.clone(), self.config.places(), isolation));
        let traces = traces.map(|traces| traces.open(resource(&identity)));
        let (slots, demand) = demanding(self.config.agent.max_workflows);
        self.metrics.slots.set(i64::from(slots.capacity()));

        let settings = supervisor::Settings {
            identity,
            limits: self.outbox_limits(),
            backoff: Growth { initial: Duration::from_millis(200), factor: 1.6, cap: Duration::from_secs(20) },
            seed: seed(&self.instance),
            stable_after: STABLE,
        };
        let (mut supervisor, mut handles) = supervise(link, settings, demand);
        if let Some(folder) = log_folder {
            supervisor = supervisor.with_log_folder(folder, self.config.logs.disk);
        }
        let supervisor = tokio::spawn(supervisor.run());
        let watch_pods = self.cluster.watch();
        let synced = tell_readiness.clone();
        let watching = watch_pods.clone();
        tokio::spawn(async move {
            watching.synced().await;
            synced.send_modify(|readiness| readiness.synced = true);
        });

        tokio::spawn(publish(handles.usage.clone(), self.metrics.clone()));
        tokio::spawn(publish_trouble(handles.status.clone(), tell_readiness.clone(), self.metrics.clone()));

        let protocol = self.config.server.address.protocol();
        let swept = sweep(
            self.cluster.clone(),
            self.config.places(),
            self.instance.clone(),
            self.clock,
            self.config.limits.grace,
            seed(&self.instance),
        );
        let _sweeping = AbortOnDropHandle::new(tokio::spawn(swept));
        let sweeps = TaskTracker::new();
        let shop = Shop {
            cluster: self.cluster,
            reporter: handles.reporter.clone(),
            pods: Arc::new(self.config.pods),
            limits: self.config.limits.clone(),
            metrics: self.metrics,
            traces: outlet,
            clock: self.clock,
            sweeps: sweeps.clone(),
        };
        let site = Arc::new(Site { instance: self.instance, machine: self.machine, platform: own_platform() });
        let drain_timeout = self.config.shutdown.drain_timeout;
        // A Woodpecker server gives a workflow to nobody else: one that is left alone would run for ever.
        let cancels_after = (protocol == Protocol::Woodpecker).then_some(drain_timeout);
        let patience = drain_timeout + cancels_after.map_or(Duration::ZERO, |_| self.config.limits.grace + FLUSH);
        let mut session = Session::new(shop, site, slots, tell_readiness, tell_roster)
            .for_one(self.config.agent.single_workflow)
            .cancelling_after(cancels_after);
        let end = {
            let serve = session.serve(&mut handles.directives, &shutdown);
            let drained_too_late = async {
                shutdown.drain.cancelled().await;
                handles.closer.drain();
                tokio::time::sleep(patience).await;
            };
            tokio::select! {
                biased;
                end = serve => Some(end),
                () = drained_too_late => None,
            }
        };
        let deadline = Instant::now() + FLUSH;
        let result = match end {
            Some(SessionEnd::Drained) => {
                // Nobody reads them any more, and a full queue would keep the supervisor from listening.
                drop(handles.directives);
                handles.closer.close(deadline);
                sweeps.close();
                let (flushed, swept) = (supervisor, tokio::time::timeout(FLUSH, sweeps.wait()));
                tokio::select! {
                    biased;
                    (closed, _) = async { tokio::join!(flushed, swept) } => match session.cancelled() {
                        0 => ended(closed),
                        cancelled => Err(Failure::Unfinished(cancelled)),
                    },
                    () = shutdown.abort.cancelled() => Err(Failure::Aborted),
                }
            }
            Some(SessionEnd::LinkEnded) => ended(supervisor.await),
            Some(SessionEnd::Aborted) => Err(Failure::Aborted),
            None => {
                let running = session.running();
                // Whoever still runs says nothing more; what was said before gets to the server.
                drop((session, handles.directives));
                handles.closer.close(deadline);
                tokio::select! {
                    biased;
                    _ = supervisor => Err(Failure::Unfinished(running)),
                    () = shutdown.abort.cancelled() => Err(Failure::Aborted),
                }
            }
        };
        flush(traces, deadline, &shutdown).await;
        result
    }

    async fn identity(&self) -> Result<Identity, Failure> {
        let cluster = self.cluster.identity().await.map_err(|error| Failure::Cluster(error.to_string()))?;
        let platforms = match self.config.kubernetes.platforms.as_slice() {
            [] => cluster.platforms.into_iter().collect(),
            configured => configured.to_vec(),
        };
        Ok(Identity {
            name: self.config.agent.name.clone(),
            instance: self.instance.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cluster: message::Cluster {
                name: self.config.kubernetes.cluster_name.clone(),
                uid: cluster.uid.unwrap_or_default(),
                version: cluster.version.unwrap_or_default(),
            },
            labels: self.config.agent.labels.clone(),
            platforms,
            capacity: self.config.agent.max_workflows,
        })
    }

    fn outbox_limits(&self) -> outbox::Limits {
        let limits = outbox::Limits {
            batch_period: self.config.logs.batch_period,
            unacknowledged_log_bytes: self.config.logs.in_flight,
            spool_bytes: self.config.logs.memory,
            ..outbox::Limits::default()
        };
        match self.config.server.address.protocol() {
            Protocol::Stream => limits,
            Protocol::Woodpecker => woodpecker::limits(limits),
        }
    }
}

/// Whose spans the agent's are.
fn resource(identity: &Identity) -> impl Iterator<Item = (&'static str, String)> + use<> {
    let known = [
        ("service.name", "piculet".to_owned()),
        ("service.version", identity.version.clone()),
        ("service.instance.id", identity.instance.to_string()),
        (convention::WORKER_ID, identity.instance.to_string()),
        (convention::WORKER_NAME, identity.name.clone()),
        (convention::CLUSTER_UID, identity.cluster.uid.clone()),
        (convention::CLUSTER_NAME, identity.cluster.name.clone()),
    ];
    known.into_iter().filter(|(_, value)| !value.is_empty())
}

/// The last spans get what is left of the time for the last reports, and a moment in any case. Nobody who wants the agent
/// to end at once waits for them.
async fn flush(traces: Option<Open>, deadline: Instant, shutdown: &Shutdown) {
    const MOMENT: Duration = Duration::from_secs(2);
    let Some(traces) = traces else { return };
    tokio::select! {
        biased;
        () = traces.close(deadline.max(Instant::now() + MOMENT)) => {}
        () = shutdown.abort.cancelled() => {}
    }
}

/// Shows what waits for the server.
async fn publish(mut usage: watch::Receiver<outbox::Usage>, metrics: Metrics) {
    while usage.changed().await.is_ok() {
        let outbox::Usage { spooled, on_disk, unacknowledged, lost_lines } = *usage.borrow_and_update();
        metrics.log_spooled.set(i64::try_from(spooled).unwrap_or(i64::MAX));
        metrics.log_spooled_disk.set(i64::try_from(on_disk).unwrap_or(i64::MAX));
        metrics.log_unacknowledged.set(i64::try_from(unacknowledged).unwrap_or(i64::MAX));
        metrics.log_lines_lost.inc_by(lost_lines.saturating_sub(metrics.log_lines_lost.get()));
    }
}

/// Shows why there is no session.
async fn publish_trouble(mut status: watch::Receiver<Status>, readiness: watch::Sender<Readiness>, metrics: Metrics) {
    let mut counted = 0;
    while status.changed().await.is_ok() {
        let Status { failures, ref last_error, .. } = *status.borrow_and_update();
        let trouble = last_error.as_ref().filter(|_| failures > 0);
        if let Some(cause) = trouble {
            let failed = metrics.session_failures.get_or_create(&CauseLabels { code: cause.code() });
            // A new session starts the count anew.
            failed.inc_by(u64::from(if failures > counted { failures - counted } else { failures }));
        }
        counted = failures;
        readiness.send_modify(|readiness| readiness.trouble = trouble.map(ToString::to_string));
    }
}

/// What the agent may not do is said at its start; it works without what it doesn't need.
async fn say_what_is_missing(cluster: Cluster, places: Places, isolation: Isolation) {
    match cluster.preflight(places, isolation).await {
        Ok(preflight) => {
            for right in preflight.missing() {
                tracing::error!("{right}");
            }
            for right in preflight.reduced() {
                tracing::warn!("{right}");
            }
            if let Some(obstacle) = preflight.obstacle {
                tracing::error!("{obstacle}");
            }
        }
        Err(error) => tracing::warn!(%error, "nobody says what this agent may do"),
    }
}

/// Slots whose number of free ones is told to the link whenever it changes.
fn demanding(capacity: u32) -> (Slots, watch::Receiver<u32>) {
    let changed = Arc::new(Notify::new());
    let wake = Arc::clone(&changed);
    let slots = Slots::with_notifier(capacity, move || wake.notify_one());
    let (demand, free) = watch::channel(slots.free());
    let counted = slots.clone();
    tokio::spawn(async move {
        while !demand.is_closed() {
            changed.notified().await;
            demand.send_replace(counted.free());
        }
    });
    (slots, free)
}

/// Spreads replicas that lost their server at the same moment.
pub(crate) fn seed(instance: &InstanceId) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    instance.hash(&mut hasher);
    hasher.finish()
}

fn ended(supervisor: Result<Result<Closed, GivenUp>, tokio::task::JoinError>) -> Result<(), Failure> {
    match supervisor {
        Ok(Ok(Closed::Flushed)) => Ok(()),
        Ok(Ok(Closed::DeadlinePassed)) => Err(Failure::Undelivered),
        Ok(Err(GivenUp { cause })) => Err(match cause {
            Cause::Unauthenticated { .. } | Cause::Credentials { .. } => Failure::Unauthorised(cause.to_string()),
            Cause::Tls { .. } => Failure::Tls(cause.to_string()),
            _ => Failure::Protocol(cause.to_string()),
        }),
        Err(error) => Err(Failure::Internal(error.to_string())),
    }
}
