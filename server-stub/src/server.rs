//! The server: the dispatcher behind one lock, the timer that drives it, the store that keeps what it knows, and those
//! who wait for changes.
//!
//! Nobody is told what isn't stored. A change takes effect in memory at once and is written soon after, together with
//! others of the same moment; what it makes the server say (an acknowledgement, an assignment, an answer of the API)
//! waits until that is done: see [`Server::settled`].

mod saving;
mod versions;

pub(crate) use saving::STORE_PATIENCE;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use piculet_core::id::{InstanceId, WorkflowId};
use piculet_core::secret::Secret;
use piculet_link::otlp::Outlet;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::clock::{Clock, Now};
use crate::dispatch::{
    CancelError, Dispatcher, Limits, NewToken, NoSuchCluster, NoSuchToken, Policy, SessionId, Submission, SubmitError,
    Timing,
};
use crate::mailbox::{Intake, Stop};
use crate::record::Write;
use crate::script::Script;
use crate::store::{Store, StoreError};
use versions::Versions;

/// How many hexadecimal digits name a token.
const TOKEN_ID_LENGTH: usize = 12;

/// What a server is made with.
#[derive(Debug, Clone)]
pub struct Config {
    /// The server's identity; `None`: the one that the store has, or else a new one.
    pub server_id: Option<String>,
    /// A token that lets agents of all clusters in. Without it, and without tokens of single clusters, everybody is let
    /// in.
    pub agent_token: Option<Secret>,
    /// Nobody is let in without a token, even if there is none.
    pub requires_token: bool,
    /// What users of the HTTP API have to present; `None` lets everybody in.
    pub api_token: Option<Secret>,
    /// Whether workflows are placed as soon as an agent can take them.
    pub places: bool,
    /// Periods and deadlines.
    pub timing: Timing,
    /// What is kept at most.
    pub limits: Limits,
    /// Where traces go; `None`: nowhere.
    pub traces: Option<Outlet>,
    /// The wall time at the start; `None`: the machine's. For simulations.
    pub wall_time: Option<Timestamp>,
}

impl Default for Config {
    /// Open to everybody, and places workflows.
    fn default() -> Self {
        Self {
            server_id: None,
            agent_token: None,
            requires_token: false,
            api_token: None,
            places: true,
            timing: Timing::default(),
            limits: Limits::default(),
            traces: None,
            wall_time: None,
        }
    }
}

/// A running server; clones are the same server.
#[derive(Debug, Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: Config,
    clock: Clock,
    store: Store,
    state: Mutex<State>,
    /// Something has to be stored.
    unsaved: Notify,
    /// Woken when more is stored. Not a watch: that wakes those who wait in random order, and a simulation has to do the
    /// same again.
    stored: Notify,
    /// A deadline may come earlier than the timer believes.
    timer: Notify,
    /// Cancelled when the server goes.
    going: CancellationToken,
    /// Cancelled when nothing changes any more: the rest is stored.
    over: CancellationToken,
    /// Why the server can't go on, once that is so.
    failed: watch::Sender<Option<String>>,
    /// Cancelled by a test that kills the server: nothing is stored or told any more.
    killed: CancellationToken,
    tasks: TaskTracker,
}

/// Everything that changes. Nothing waits while it is locked.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) dispatcher: Dispatcher,
    pub(crate) script: Script,
    versions: Versions,
    sessions: BTreeMap<SessionId, Arc<Notify>>,
    followers: BTreeMap<WorkflowId, watch::Sender<()>>,
}

impl Server {
    /// Starts a server that goes on where the store ends. It does its own timing from now on, and hears nothing until
    /// it is given connections.
    ///
    /// # Errors
    /// If the store can't be read, or belongs to a server of another identity.
    pub fn start(config: Config, store: Store) -> Result<Self, StoreError> {
        Self::start_scripted(config, store, Script::default())
    }

    pub(crate) fn start_scripted(config: Config, store: Store, script: Script) -> Result<Self, StoreError> {
        let clock = config.wall_time.map_or_else(Clock::start, Clock::starting_at);
        let mut loaded = store.load()?;
        let server_id = match (loaded.server_id.take(), &config.server_id) {
            (Some(stored), Some(wanted)) if stored != *wanted => {
                return Err(StoreError::OtherServer { stored, wanted: wanted.clone() });
            }
            (Some(stored), _) => stored,
            (None, wanted) => {
                let id = wanted.clone().unwrap_or_else(|| Uuid::new_v4().to_string());
                store.write_now(&[Write::ServerId(id.clone())])?;
                id
            }
        };
        let policy = Policy {
            server_id,
            protocol: piculet_proto::v1::PROTOCOL,
            timing: config.timing,
            places: config.places,
            limits: config.limits,
        };
        let mut dispatcher = Dispatcher::new(policy);
        dispatcher.restore(loaded, clock.now());
        let state = State {
            dispatcher,
            script,
            versions: Versions::default(),
            sessions: BTreeMap::new(),
            followers: BTreeMap::new(),
        };
        let server = Self {
            shared: Arc::new(Shared {
                config,
                clock,
                store,
                state: Mutex::new(state),
                unsaved: Notify::new(),
                stored: Notify::new(),
                timer: Notify::new(),
                going: CancellationToken::new(),
                over: CancellationToken::new(),
                failed: watch::Sender::new(None),
                killed: CancellationToken::new(),
                tasks: TaskTracker::new(),
            }),
        };
        let timer = server.clone();
        let failed = &server.shared.failed;
        server.shared.tasks.spawn(vital(failed.clone(), async move { timer.keep_time().await }));
        if !server.shared.store.is_immediate() {
            let saver = server.clone();
            let killed = saver.shared.killed.clone();
            let saving = async move { _ = killed.run_until_cancelled(saver.keep_saved()).await };
            tokio::spawn(vital(failed.clone(), saving));
        }
        // What was taken up again may look different already.
        server.change(|_, _| ());
        Ok(server)
    }

    /// Whether no agent can come in, because there is no token for it.
    pub fn lets_nobody_in(&self) -> bool {
        let Config { agent_token, requires_token, .. } = self.config();
        let is_good = |token: &crate::record::TokenRecord| token.revoked.is_none();
        *requires_token && agent_token.is_none() && !self.look(|dispatcher| dispatcher.tokens().any(is_good))
    }

    /// Where it keeps what it knows.
    pub fn store(&self) -> &Store {
        &self.shared.store
    }

    /// What it was made with.
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// The current moment.
    pub fn now(&self) -> Now {
        self.shared.clock.now()
    }

    /// Looks at the state.
    pub fn look<T>(&self, look: impl FnOnce(&Dispatcher) -> T) -> T {
        look(&self.lock().dispatcher)
    }

    /// Takes workflows into the queue: all of them or none. They are the server's when that has [settled](Self::settled).
    ///
    /// # Errors
    /// If there is no room for them, or one is too large to be sent.
    pub fn submit(&self, mut submissions: Vec<Submission>) -> Result<(), SubmitError> {
        self.change(|state, now| {
            if let Some(outlet) = &self.config().traces {
                for submission in &mut submissions {
                    let trace = state.dispatcher.trace_of(&submission.id, submission.trace.as_ref());
                    submission.is_sampled = Some(outlet.takes(trace.id(), trace.parent()));
                }
            }
            state.dispatcher.submit(submissions, now)
        })
    }

    /// Stops a workflow.
    ///
    /// # Errors
    /// If there is no such workflow, or it is over.
    pub fn cancel(&self, id: &WorkflowId, stop: Stop) -> Result<(), CancelError> {
        self.change(|state, now| state.dispatcher.cancel(id, stop, now))
    }

    /// Opens or closes the intake of an agent: until it is opened again, it gets no more work.
    pub fn set_intake(&self, instance: &str, intake: Intake) {
        let instance = InstanceId::new(instance);
        self.change(|state, now| state.dispatcher.set_intake(&instance, intake, now));
    }

    /// Opens or closes the intake of all agents of a cluster.
    ///
    /// # Errors
    /// If there is no such cluster.
    pub fn set_cluster_intake(&self, cluster: &str, intake: Intake) -> Result<(), NoSuchCluster> {
        self.change(|state, now| state.dispatcher.set_cluster_intake(cluster, intake, now))
    }

    /// Gives a cluster up: the workflows that it had, whose ids are returned, start anew elsewhere.
    ///
    /// # Errors
    /// If there is no such cluster.
    pub fn lose_cluster(&self, cluster: &str) -> Result<Vec<WorkflowId>, NoSuchCluster> {
        self.change(|state, now| state.dispatcher.lose_cluster(cluster, now))
    }

    /// Makes a token for the agents of a cluster. From now on nobody is let in without one.
    pub fn create_token(&self, cluster: String, note: String) -> NewToken {
        // 244 random bits; the beginning is for people, and for those who search for tokens that got out.
        let secret = format!("pclt_{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let id = Uuid::new_v4().simple().to_string();
        let new = NewToken { id: id.chars().take(TOKEN_ID_LENGTH).collect(), token: Secret::new(secret) };
        self.change(|state, now| state.dispatcher.add_token(&new, cluster, note, now));
        new
    }

    /// Lets nobody in with this token any more, and ends the sessions of those who came with it.
    ///
    /// # Errors
    /// If there is no such token.
    pub fn revoke_token(&self, id: &str) -> Result<(), NoSuchToken> {
        self.change(|state, now| state.dispatcher.revoke_token(id, now).map(|_| ()))
    }

    /// Wakes whenever the workflow may look different. Subscribe first, then look.
    pub fn changes(&self, id: &WorkflowId) -> watch::Receiver<()> {
        let mut state = self.lock();
        state.followers.retain(|_, sender| !sender.is_closed());
        state.followers.entry(id.clone()).or_insert_with(|| watch::Sender::new(())).subscribe()
    }

    /// Waits until a workflow is over, or is not known.
    pub async fn ended(&self, id: &WorkflowId) {
        let mut changes = self.changes(id);
        while self.look(|dispatcher| dispatcher.workflow(id).is_some_and(|workflow| workflow.end.is_none())) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Ends all sessions and takes no more; waits until what was begun is done, at most half of this time, and until all is
    /// stored, at most to its end. Connections and calls of the HTTP API that were begun are among that: what they change
    /// is stored. False if something could not be stored.
    pub async fn shut_down(&self, grace: Duration) -> bool {
        self.shared.going.cancel();
        self.change(|state, now| state.dispatcher.shut_down(now));
        self.shared.tasks.close();
        let deadline = Instant::now() + grace;
        if tokio::time::timeout(grace / 2, self.shared.tasks.wait()).await.is_err() {
            tracing::warn!(seconds = (grace / 2).as_secs(), "some connections did not end in time");
        }
        self.shared.over.cancel();
        tokio::time::timeout_at(deadline, self.settled()).await.is_ok()
    }

    /// As if the process had been killed: nothing more is stored, and nobody is told anything.
    pub(crate) fn kill(&self) {
        self.shared.killed.cancel();
        self.shared.going.cancel();
    }

    /// Waits until the server can't go on by a fault of its own, and says which: a change that can't be stored, or the end
    /// of what stores changes or keeps the time. Nobody is told anything any more then: the process has to end, and what
    /// starts next goes on where the store ends.
    pub async fn failed(&self) -> String {
        let mut failed = self.shared.failed.subscribe();
        match failed.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    /// Is cancelled when the server goes.
    pub fn going(&self) -> &CancellationToken {
        &self.shared.going
    }

    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.shared.tasks
    }

    /// Changes the state, and wakes whom that concerns.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State, Now) -> T) -> T {
        let mut state = self.lock();
        let result = change(&mut state, self.now());
        let touched = state.dispatcher.touched();
        for id in &touched.sessions {
            if let Some(waker) = state.sessions.get(id) {
                waker.notify_one();
            }
        }
        state.versions.touch(touched.workflows);
        if touched.deadline {
            self.shared.timer.notify_one();
        }
        if state.dispatcher.has_unsaved() && !self.shared.killed.is_cancelled() {
            state.versions.advance();
            if state.dispatcher.has_unsaved_of_operators() {
                state.versions.touch_operators();
            }
            if self.shared.store.is_immediate() {
                let batch = state.dispatcher.take_unsaved();
                if let Err(error) = self.shared.store.write_now(&batch) {
                    // Memory takes what it has room for.
                    tracing::error!(%error, "what changed could not be kept");
                }
                state.versions.begin_to_write();
                let spans = state.dispatcher.take_spans();
                self.is_stored(&mut state, spans);
            } else {
                self.shared.unsaved.notify_one();
            }
        }
        result
    }

    /// The waker of a session that was just opened.
    pub(crate) fn attach(state: &mut State, id: SessionId) -> Arc<Notify> {
        Arc::clone(state.sessions.entry(id).or_default())
    }

    /// Forgets a session.
    pub(crate) fn detach(&self, id: SessionId) {
        self.change(|state, now| {
            state.dispatcher.session_ended(id, now);
            state.script.session_ended(id);
            // Whoever still waits for letters of this session finds out that there are none.
            if let Some(waker) = state.sessions.remove(&id) {
                waker.notify_one();
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in a pure change is a bug; what the state held before is still the best that is known.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn keep_time(&self) {
        loop {
            let deadline = self.look(Dispatcher::next_deadline);
            let due = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.shared.going.cancelled() => return,
                () = due => self.change(|state, now| state.dispatcher.tick(now)),
                () = self.shared.timer.notified() => {}
            }
        }
    }
}

/// Does what the server can't do without. Who waits for `failed` hears of it if that ends by a panic.
async fn vital(failed: watch::Sender<Option<String>>, work: impl Future<Output = ()>) {
    let _alarm = Alarm(failed);
    work.await;
}

/// Goes off in a panic.
struct Alarm(watch::Sender<Option<String>>);

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let reason = "what stores changes or what keeps the time is gone, see above; start the server again";
            self.0.send_replace(Some(reason.to_owned()));
        }
    }
}
