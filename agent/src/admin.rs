//! Health and metrics, on a thread of their own: they answer when the main runtime is jammed.
//!
//! `/livez`, `/readyz` and `/metrics` are piculet's; `/healthz`, `/varz` and `/version` are those of the Woodpecker agent.

mod roster;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::time::Instant;

pub use roster::{Roster, RunningWorkflow};

use crate::config::Listen;
use crate::exit::Failure;

/// How long the main runtime may be without a heartbeat before it counts as dead.
const DEAD_AFTER: Duration = Duration::from_secs(30);

/// What readiness depends on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Readiness {
    /// There is a session with the server.
    pub connected: bool,
    /// Why there is none. A sentence.
    pub trouble: Option<String>,
    /// The pod watch has seen the whole namespace once.
    pub synced: bool,
    /// The agent takes no more work.
    pub draining: bool,
}

impl Readiness {
    /// Why the agent isn't ready; empty if it is.
    fn missing(&self) -> Vec<String> {
        let session = match &self.trouble {
            Some(trouble) => format!("no session with the server: {trouble}"),
            None => "no session with the server".to_owned(),
        };
        let reasons = [
            (!self.connected, session),
            (!self.synced, "the pods of the namespace were not listed yet".to_owned()),
            (self.draining, "draining".to_owned()),
        ];
        reasons.into_iter().filter_map(|(missing, reason)| missing.then_some(reason)).collect()
    }
}

/// A counter that the main runtime moves on as long as it lives.
#[derive(Debug, Clone, Default)]
pub struct Heartbeat(Arc<AtomicU64>);

impl Heartbeat {
    /// Moves the counter on, once a second. Never returns.
    pub async fn beat(self) {
        let mut interval = tokio::time::interval(Duration::from_secs(1));
        loop {
            interval.tick().await;
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[derive(Debug, Clone)]
struct Admin {
    readiness: watch::Receiver<Readiness>,
    roster: watch::Receiver<Roster>,
    registry: Arc<Registry>,
    last_beat: watch::Receiver<Instant>,
}

/// Binds `address` and serves from a thread of its own until the process ends. Gives the address that was bound.
///
/// # Errors
/// If the address can't be bound, or the thread can't be started.
pub fn serve(
    address: &Listen,
    readiness: watch::Receiver<Readiness>,
    roster: watch::Receiver<Roster>,
    registry: Arc<Registry>,
    heartbeat: Heartbeat,
) -> Result<SocketAddr, Failure> {
    let failed = |error| Failure::Listen { address: address.to_string(), error };
    let listener = address.bind().map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let thread = std::thread::Builder::new().name("admin".to_owned());
    let serve = move || {
        runtime.block_on(async move {
            let (beats, last_beat) = watch::channel(Instant::now());
            tokio::spawn(follow(heartbeat, beats));
            let router = Router::new()
                .route("/livez", get(livez))
                .route("/readyz", get(readyz))
                .route("/metrics", get(metrics))
                .route("/healthz", get(healthz))
                .route("/varz", get(varz))
                .route("/version", get(version))
                .with_state(Admin { readiness, roster, registry, last_beat });
            let served = match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => axum::serve(listener, router).await,
                Err(error) => Err(error),
            };
            if let Err(error) = served {
                tracing::error!(%error, "health and metrics are no longer served");
            }
        });
    };
    thread.spawn(serve).map_err(failed)?;
    Ok(bound)
}

/// Notes, by this thread's clock, when the main runtime's counter last moved.
async fn follow(heartbeat: Heartbeat, beats: watch::Sender<Instant>) {
    let mut last = 0;
    let mut interval = tokio::time::interval(Duration::from_millis(500));
    loop {
        interval.tick().await;
        let now = heartbeat.0.load(Ordering::Relaxed);
        if now != last {
            last = now;
            beats.send_replace(Instant::now());
        }
    }
}

impl Admin {
    /// What is wrong with the process itself.
    fn fault(&self) -> Option<&'static str> {
        (self.last_beat.borrow().elapsed() >= DEAD_AFTER).then_some("the main runtime does not answer\n")
    }

    /// What the Woodpecker agent answers beside `/healthz` and `/varz`: 500 where something hangs.
    fn health(&self) -> (StatusCode, String) {
        let fault = self.fault().map(str::to_owned).or_else(|| self.roster.borrow().fault(Instant::now()));
        match fault {
            Some(fault) => (StatusCode::INTERNAL_SERVER_ERROR, fault),
            None => (StatusCode::OK, "ok\n".to_owned()),
        }
    }
}

async fn livez(State(admin): State<Admin>) -> impl IntoResponse {
    match admin.fault() {
        None => (StatusCode::OK, "ok\n"),
        Some(fault) => (StatusCode::INTERNAL_SERVER_ERROR, fault),
    }
}

async fn healthz(State(admin): State<Admin>) -> impl IntoResponse {
    admin.health()
}

async fn varz(State(admin): State<Admin>) -> impl IntoResponse {
    let (status, _) = admin.health();
    (status, Json(admin.roster.borrow().to_json()))
}

async fn version() -> impl IntoResponse {
    Json(serde_json::json!({ "version": env!("CARGO_PKG_VERSION"), "source": env!("CARGO_PKG_REPOSITORY") }))
}

async fn readyz(State(admin): State<Admin>) -> impl IntoResponse {
    let missing = admin.readiness.borrow().missing();
    if missing.is_empty() {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", missing.join("\n")))
    }
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &admin.registry) {
        Ok(()) => {
            let kind = [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")];
            (StatusCode::OK, kind, text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
