//! The server in the hands of a test: the model behind one lock, the timer that drives it, and who waits for it.

use std::collections::BTreeMap;
use std::error::Error;
use std::future::{Future, pending};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Server as Transport;

use super::agents::{Agent, Owner};
use super::config::Config;
use super::faults::Faults;
use super::journal::{Call, Journal};
use super::line::Line;
use super::logs;
use super::model::Model;
use super::queue::{News, Place, PollEnd, PollId, WaitEnd, WaitId};
use super::submission::Submission;
use super::workflow::Workflow;
use crate::clock::{Clock, Now};
use crate::network::{Host, Network};

/// How long a test waits for what it expects, by tokio's clock.
const PATIENCE: Duration = Duration::from_secs(60 * 60);
const TOO_MANY_PINGS: &str = "a client pinged too often, and its connection was closed";

/// A running server; clones are the same server.
#[derive(Debug, Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    clock: Clock,
    ping_min_time: Duration,
    state: Mutex<State>,
    /// A tick may come earlier than the timer believes, or the server is gone.
    timer: Arc<Notify>,
    /// Woken with every change.
    news: Notify,
    tasks: TaskTracker,
}

/// Everything that changes. Nothing waits while it is locked.
#[derive(Debug)]
pub(super) struct State {
    pub(super) model: Model,
    pub(super) journal: Journal,
    pub(super) faults: Faults,
    pub(super) polls: BTreeMap<PollId, oneshot::Sender<PollEnd>>,
    pub(super) waits: BTreeMap<WaitId, oneshot::Sender<WaitEnd>>,
    /// Breaks all connections of this start of the server.
    connections: CancellationToken,
}

impl Server {
    /// Starts a server without agents and workflows. It has to be called within a runtime.
    pub fn start(config: Config) -> Self {
        let clock = config.wall_time.map_or_else(Clock::start, Clock::starting_at);
        let state = State {
            model: Model::new(&config, clock.now().instant),
            journal: Journal::default(),
            faults: Faults::default(),
            polls: BTreeMap::new(),
            waits: BTreeMap::new(),
            connections: CancellationToken::new(),
        };
        let shared = Arc::new(Shared {
            clock,
            ping_min_time: config.ping_min_time,
            state: Mutex::new(state),
            timer: Arc::new(Notify::new()),
            news: Notify::new(),
            tasks: TaskTracker::new(),
        });
        tokio::spawn(keep_time(Arc::downgrade(&shared), Arc::clone(&shared.timer)));
        Self { shared }
    }

    /// A network in memory that leads to this server only.
    pub fn network(&self) -> Network {
        Network::to(self.clone())
    }

    /// Serves agents over connections of any kind, until there are no more and all have ended.
    ///
    /// # Errors
    /// If the transport breaks.
    pub fn serve_with_incoming<I, IO, E>(
        &self,
        incoming: I,
    ) -> impl Future<Output = Result<(), tonic::transport::Error>> + use<I, IO, E>
    where
        I: Stream<Item = Result<IO, E>>,
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let server = self.clone();
        let lines = incoming.map(move |connection| {
            let breaker = server.lock().connections.child_token();
            let alarmed = server.clone();
            let alarm = Box::new(move || alarmed.change(|state, _| state.journal.fault(TOO_MANY_PINGS.to_owned())));
            connection.map(|inner| Line::new(inner, breaker, server.shared.ping_min_time, alarm))
        });
        let (auth, agents) = self.services();
        Transport::builder().add_service(auth).add_service(agents).serve_with_incoming(lines)
    }

    /// The current moment.
    pub fn now(&self) -> Now {
        self.shared.clock.now()
    }

    /// Puts a workflow into the queue. Returns its number.
    ///
    /// # Panics
    /// If one of its steps is known: each workflow needs a name of its own.
    pub fn submit(&self, submission: impl Into<Submission>) -> i64 {
        let submission = submission.into();
        match self.change(|state, _| state.model.submit(&submission)) {
            Ok(id) => id,
            Err(error) => panic!("{error}"),
        }
    }

    /// Somebody cancels a workflow. False if it is over, or was cancelled, already.
    pub fn cancel(&self, id: i64) -> bool {
        self.change(|state, now| state.model.cancel(id, now))
    }

    /// An agent with a token of its own. Returns its number.
    pub fn add_agent_token(&self, token: &str, owner: Owner) -> i64 {
        self.change(|state, _| state.model.add_agent(token, owner))
    }

    /// Whether an administrator lets an agent have no work.
    ///
    /// # Panics
    /// If there is no such agent.
    pub fn set_no_schedule(&self, agent: i64, is_set: bool) {
        if let Err(error) = self.change(|state, _| state.model.set_no_schedule(agent, is_set)) {
            panic!("agent {agent}: {error}");
        }
    }

    /// The process is killed and starts anew: connections break, access tokens become invalid unless the secret is fixed,
    /// and what ran is forgotten. Rows and logs stay, and so does what is in the queue.
    pub fn restart(&self) {
        self.change(|state, _| {
            state.model.restart();
            state.polls.clear();
            state.waits.clear();
            state.break_connections();
        });
    }

    /// A workflow as it stands.
    ///
    /// # Panics
    /// If there is no such workflow.
    pub fn workflow(&self, id: i64) -> Workflow {
        match self.look(|model, _| model.workflow(id).cloned()) {
            Some(workflow) => workflow,
            None => panic!("there is no workflow {id}"),
        }
    }

    /// Where a workflow is in the queue; `None`: not there.
    pub fn place(&self, id: i64) -> Option<Place> {
        self.look(|model, _| model.queue().place(id))
    }

    /// Waits until a workflow is over.
    ///
    /// # Panics
    /// If there is no such workflow.
    pub async fn ended(&self, id: i64) -> Workflow {
        self.poll(|model, _| model.is_over(id).then_some(())).await;
        self.workflow(id)
    }

    /// The lines of a step, named by name or UUID, by their numbers.
    ///
    /// # Panics
    /// If there is no such step.
    pub fn log(&self, id: i64, step: &str) -> Vec<logs::Line> {
        let workflow = self.workflow(id);
        match workflow.steps.iter().find(|row| row.uuid == step || row.name == step) {
            Some(row) => self.look(|model, _| model.logs().lines(&row.uuid)),
            None => panic!("workflow {id} has no step '{step}'"),
        }
    }

    /// All agents' rows, by their numbers.
    pub fn agents(&self) -> Vec<Agent> {
        self.look(|model, _| model.agents().all().cloned().collect())
    }

    /// All calls, the oldest first.
    pub fn calls(&self) -> Vec<Call> {
        self.look(|_, journal| journal.calls().to_vec())
    }

    /// What agents did that a real server suffers from, or doesn't put up with: calls of `Next` without labels, and too many
    /// pings. Empty, if they are good.
    pub fn faults(&self) -> Vec<String> {
        self.look(|_, journal| journal.faults().to_vec())
    }

    /// Looks at everything.
    pub fn look<T>(&self, look: impl FnOnce(&Model, &Journal) -> T) -> T {
        let state = self.lock();
        look(&state.model, &state.journal)
    }

    /// Looks whenever something has changed, until there is what the test waits for.
    ///
    /// # Panics
    /// If that doesn't come within an hour of tokio's clock.
    pub async fn wait_for<T>(&self, what: &str, look: impl FnMut(&Model, &Journal) -> Option<T>) -> T {
        match tokio::time::timeout(PATIENCE, self.poll(look)).await {
            Ok(found) => found,
            Err(_) => panic!("{what} did not come within {} s", PATIENCE.as_secs()),
        }
    }

    async fn poll<T>(&self, mut look: impl FnMut(&Model, &Journal) -> Option<T>) -> T {
        loop {
            let notified = self.shared.news.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if let Some(found) = self.look(&mut look) {
                return found;
            }
            notified.await;
        }
    }

    /// Changes the state, and tells whom that concerns.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State, Now) -> T) -> T {
        let mut state = self.lock();
        let now = self.now();
        let before = state.model.queue.next_tick();
        let result = change(&mut state, now);
        state.model.queue.settle(now.instant);
        for news in state.model.queue.take_news() {
            // Who waited may be gone.
            match news {
                News::Poll(id, end) => drop(state.polls.remove(&id).map(|poll| poll.send(end))),
                News::Wait(id, end) => drop(state.waits.remove(&id).map(|wait| wait.send(end))),
            }
        }
        if state.model.queue.next_tick() != before {
            self.shared.timer.notify_one();
        }
        self.shared.news.notify_waiters();
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in a pure change is a bug; what the state held before is still the best that is known.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    pub(super) fn break_connections(&mut self) {
        std::mem::take(&mut self.connections).cancel();
    }
}

impl Host for Server {
    fn receive(&self, connection: DuplexStream) {
        let serving = self.serve_with_incoming(stream::iter([Ok::<_, io::Error>(connection)]));
        self.shared.tasks.spawn(async move {
            if let Err(error) = serving.await {
                tracing::debug!(%error, "a connection in memory ended");
            }
        });
    }

    fn tasks(&self) -> &TaskTracker {
        &self.shared.tasks
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.timer.notify_one();
    }
}

/// Drives the queue, as long as there is a server.
async fn keep_time(shared: Weak<Shared>, timer: Arc<Notify>) {
    while let Some(server) = shared.upgrade().map(|shared| Server { shared }) {
        let next = server.look(|model, _| model.queue().next_tick());
        drop(server);
        let due = async {
            match next {
                Some(next) => tokio::time::sleep_until(next.into()).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            () = due => if let Some(shared) = shared.upgrade() {
                Server { shared }.change(|state, now| state.model.queue.tick(now.instant));
            },
            () = timer.notified() => {}
        }
    }
}
