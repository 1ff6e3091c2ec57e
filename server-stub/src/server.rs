//! The server: the dispatcher behind one lock, the timer that drives it, and those who wait for changes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use piculet_core::id::{InstanceId, WorkflowId};
use piculet_core::secret::Secret;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::{Clock, Now};
use crate::dispatch::{CancelError, Dispatcher, Limits, Policy, SessionId, Submission, SubmitError, Timing};
use crate::mailbox::{Intake, Stop};
use crate::script::Script;

/// What a server is made with.
#[derive(Debug, Clone)]
pub struct Config {
    /// The server's identity. A server that forgets everything when it stops has a new one each time.
    pub server_id: String,
    /// What agents have to present; `None` lets everybody in.
    pub agent_token: Option<Secret>,
    /// What users of the HTTP API have to present; `None` lets everybody in.
    pub api_token: Option<Secret>,
    /// Whether workflows are placed as soon as an agent can take them.
    pub places: bool,
    /// Periods and deadlines.
    pub timing: Timing,
    /// What is kept in memory at most.
    pub limits: Limits,
}

impl Default for Config {
    /// Open to everybody, places workflows, and has a new identity.
    fn default() -> Self {
        Self {
            server_id: uuid::Uuid::new_v4().to_string(),
            agent_token: None,
            api_token: None,
            places: true,
            timing: Timing::default(),
            limits: Limits::default(),
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
    state: Mutex<State>,
    /// A deadline may come earlier than the timer believes.
    timer: Notify,
    /// Cancelled when the server goes.
    going: CancellationToken,
    tasks: TaskTracker,
}

/// Everything that changes. Nothing waits while it is locked.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) dispatcher: Dispatcher,
    pub(crate) script: Script,
    sessions: BTreeMap<SessionId, Arc<Notify>>,
    followers: BTreeMap<WorkflowId, watch::Sender<()>>,
}

impl Server {
    /// Starts a server. It does its own timing from now on, and hears nothing until it is given connections.
    pub fn start(config: Config) -> Self {
        Self::start_scripted(config, Script::default())
    }

    pub(crate) fn start_scripted(config: Config, script: Script) -> Self {
        let policy = Policy {
            server_id: config.server_id.clone(),
            protocol: piculet_proto::v1::PROTOCOL,
            timing: config.timing,
            places: config.places,
            limits: config.limits,
        };
        let state = State {
            dispatcher: Dispatcher::new(policy),
            script,
            sessions: BTreeMap::new(),
            followers: BTreeMap::new(),
        };
        let server = Self {
            shared: Arc::new(Shared {
                config,
                clock: Clock::start(),
                state: Mutex::new(state),
                timer: Notify::new(),
                going: CancellationToken::new(),
                tasks: TaskTracker::new(),
            }),
        };
        let timer = server.clone();
        server.shared.tasks.spawn(async move { timer.keep_time().await });
        server
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

    /// Takes workflows into the queue: all of them or none.
    ///
    /// # Errors
    /// If there is no room for them, or one is too large to be sent.
    pub fn submit(&self, submissions: Vec<Submission>) -> Result<(), SubmitError> {
        self.change(|state, now| state.dispatcher.submit(submissions, now))
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

    /// Ends all sessions and takes no more; waits until what was begun is done, at most this long.
    pub async fn shut_down(&self, grace: Duration) {
        self.shared.going.cancel();
        self.change(|state, now| state.dispatcher.shut_down(now));
        self.shared.tasks.close();
        if tokio::time::timeout(grace, self.shared.tasks.wait()).await.is_err() {
            tracing::warn!(seconds = grace.as_secs(), "some connections did not end in time");
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
        for id in &touched.workflows {
            if let Some(sender) = state.followers.get(id) {
                sender.send_replace(());
            }
        }
        if touched.deadline {
            self.shared.timer.notify_one();
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
                () = self.shared.going.cancelled() => return,
                () = self.shared.timer.notified() => continue,
                () = due => self.change(|state, now| state.dispatcher.tick(now)),
            }
        }
    }
}
