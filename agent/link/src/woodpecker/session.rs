//! One session with a Woodpecker server: what is asked, what is said, and until when.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use piculet_core::id::{Epoch, RunKey, Sequence, StepId, WorkflowId};
use piculet_core::outbox::Envelope;
use piculet_core::workload::FailurePolicy;
use piculet_proto::woodpecker as pb;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;
use tonic::Status;
use tracing::{debug, info, warn};

use super::answer::{Refusal, Trouble};
use super::calls::{Calls, Failed};
use super::polls::Polls;
use super::run::{Answer, Call, Lane, Progress, Run};
use super::{WoodpeckerLink, payload};
use crate::link::{Cause, Ended};
use crate::message::{Assign, Cancel, HeldDecision, Hello, Incoming, Outgoing, Welcome};
use crate::stream::Connect;

/// How often the agent says that it lives, as the reference agent does.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How long the answer to that may take.
const HEALTH_PATIENCE: Duration = Duration::from_secs(30);
/// Silence after which the server is taken for gone.
const SILENCE: Duration = Duration::from_secs(45);
/// How long before an access token ends the next one is asked for: they are valid for an hour.
const RENEWAL: Duration = Duration::from_secs(30 * 60);
/// How long after a renewal of a token that failed it is tried again.
const RENEW_AGAIN: Duration = Duration::from_secs(10);
/// How long after a renewal of a lease that failed it is tried again.
const EXTEND_AGAIN: Duration = Duration::from_secs(2);

/// What a task has to say.
enum Event {
    /// The poll with this number brought a workflow.
    Assigned(u64, pb::Workflow),
    /// Somebody stopped a workflow.
    Stopped(RunKey),
    /// The server doesn't have a workflow among those that run, and says why if it does.
    Forgotten(RunKey, Option<Refusal>),
    /// A workflow is another agent's.
    NotOurs(RunKey, Refusal),
    /// A call about a workflow was answered.
    Called { key: RunKey, lane: Lane, call: &'static str, refusal: Option<Refusal> },
    /// The server lives.
    Alive,
    /// Nobody said that it does.
    Away(Status),
    /// The session is over.
    Ended(Ended),
}

struct Session<'a> {
    runs: &'a mut BTreeMap<RunKey, Run>,
    taken: &'a mut u64,
    now: &'a (dyn Fn() -> Timestamp + Send + Sync),
    calls: Calls,
    filter: pb::Filter,
    incoming: mpsc::Sender<Incoming>,
    tasks: JoinSet<Event>,
    polls: Polls,
    /// Polls whose answer was not heard yet, by their numbers.
    polling: BTreeMap<u64, AbortHandle>,
    next_poll: u64,
    /// Who waits for the end of a workflow, and who renews its lease.
    watching: BTreeMap<RunKey, [AbortHandle; 2]>,
    health: Option<AbortHandle>,
}

impl<C: Connect> WoodpeckerLink<C> {
    /// Serves the agent until the session ends.
    pub(super) async fn serve(
        &mut self,
        calls: Calls,
        hello: Hello,
        mut outgoing: mpsc::Receiver<Outgoing>,
        incoming: mpsc::Sender<Incoming>,
    ) -> Ended {
        self.sessions += 1;
        let filter = self.filter(&hello.identity);
        let agent_id = calls.pass().agent_id().to_string();
        self.runs.retain(|key, _| hello.held.iter().any(|held| held.key == *key));
        let mut decisions = Vec::new();
        for held in hello.held {
            let new = || Run::new(held.key.workflow.as_str(), BTreeSet::new());
            let run = self.runs.entry(held.key.clone()).or_insert_with(new);
            run.begin_anew();
            let acknowledged = run.settled();
            decisions.push(HeldDecision { key: held.key, keep: true, acknowledged, log_lines: BTreeMap::new() });
        }
        let welcome = Welcome {
            session_id: format!("{agent_id}-{}", self.sessions),
            agent_id,
            server: self.server(),
            heartbeat: HEARTBEAT,
            lease: SILENCE,
            held: decisions,
        };
        let mut session = Session {
            runs: &mut self.runs,
            taken: &mut self.taken,
            now: &*self.now,
            calls,
            filter,
            incoming,
            tasks: JoinSet::new(),
            polls: Polls::default(),
            polling: BTreeMap::new(),
            next_poll: 0,
            watching: BTreeMap::new(),
            health: None,
        };
        let ended = session.serve(welcome, &mut outgoing).await;
        if self.is_stateless && ended.cause == Cause::Closed {
            let calls = session.calls.clone();
            drop(session);
            if let Err(trouble) = calls.unregister().await {
                debug!(?trouble, "the agent could not take leave");
            }
        }
        ended
    }
}

impl Session<'_> {
    async fn serve(&mut self, welcome: Welcome, outgoing: &mut mpsc::Receiver<Outgoing>) -> Ended {
        if self.tell(Incoming::Welcome(welcome)).await.is_err() {
            return Ended::retry(Cause::Closed);
        }
        let held: Vec<_> = self.runs.iter().map(|(key, run)| (key.clone(), run.is_stopped_by_user())).collect();
        for (key, is_stopped) in held {
            // How much of its lease is left nobody knows.
            self.watch(key.clone(), Duration::ZERO);
            // The server says it once, and it may not have been heard.
            if is_stopped && let Err(ended) = self.tell(stop(key)).await {
                return ended;
            }
        }
        self.say_healthy();
        self.tasks.spawn(renew(self.calls.clone()));
        let mut is_open = true;
        loop {
            self.call();
            self.poll(is_open);
            if !is_open && self.runs.values().all(Run::is_idle) {
                self.last_words();
                return Ended::retry(Cause::Closed);
            }
            let done = tokio::select! {
                biased;
                Some(event) = self.tasks.join_next() => match event {
                    Ok(event) => self.heard(event).await,
                    Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    Err(_aborted) => Ok(()),
                },
                message = outgoing.recv(), if is_open => match message {
                    Some(message) => self.say(message).await,
                    None => {
                        is_open = false;
                        Ok(())
                    }
                },
            };
            if let Err(ended) = done {
                self.last_words();
                return ended;
            }
        }
    }

    /// What came with the last answers counts, since the server says it once: a workflow is given to nobody else, and a
    /// cancel is not repeated.
    fn last_words(&mut self) {
        while let Some(event) = self.tasks.try_join_next() {
            match event {
                Ok(Event::Assigned(_, workflow)) => {
                    if let Some(assign) = self.assign(&workflow)
                        && self.incoming.try_send(assign).is_err()
                    {
                        let id = workflow.id;
                        warn!(
                            workflow = id,
                            "a workflow came too late for this session; the server lets its lease run out"
                        );
                    }
                }
                // It is told with the next session.
                Ok(Event::Stopped(key)) => {
                    if let Some(run) = self.runs.get_mut(&key) {
                        run.stopped_by_user();
                    }
                }
                Ok(_) | Err(_) => {}
            }
        }
    }

    async fn say(&mut self, message: Outgoing) -> Result<(), Ended> {
        match message {
            Outgoing::Demand(demand) => self.polls.demanded(demand),
            Outgoing::Report(Envelope { key, sequence, body }) => {
                let now = (self.now)();
                let progress = self.runs.get_mut(&key).and_then(|run| run.take(sequence, body, now));
                if let Some(progress) = progress {
                    self.settle(key, progress).await?;
                }
            }
            Outgoing::Heartbeat(_) => self.say_healthy(),
            // A Woodpecker server learns neither: it is not asked for work any more, that is all.
            Outgoing::Draining | Outgoing::Released(_) => {}
        }
        Ok(())
    }

    async fn heard(&mut self, event: Event) -> Result<(), Ended> {
        match event {
            Event::Assigned(poll, workflow) => {
                self.polling.remove(&poll);
                if let Some(assign) = self.assign(&workflow) {
                    self.tell(assign).await?;
                }
            }
            Event::Stopped(key) => {
                if let Some(run) = self.runs.get_mut(&key) {
                    run.stopped_by_user();
                    self.tell(stop(key)).await?;
                }
            }
            Event::Forgotten(key, refusal) => {
                // One that the server does not know to run may just have been cancelled; it says so in a moment.
                let goes_on = |run: &Run| run.has_begun() && !run.is_ending() && !run.is_stopped_by_user();
                if self.runs.get(&key).is_some_and(goes_on) {
                    let why = refusal
                        .map_or_else(|| "it restarted, or the lease ran out".to_owned(), |refusal| refusal.to_string());
                    warn!(workflow = %key.workflow, why, "the server forgot that this workflow runs: it goes on, but can't be cancelled any more");
                }
            }
            Event::NotOurs(key, refusal) => self.let_go(key, &refusal).await?,
            Event::Called { key, lane, call, refusal } => self.called(key, &lane, call, refusal).await?,
            Event::Alive => self.tell(Incoming::Alive).await?,
            // If it stays so the silence ends the session.
            Event::Away(status) => debug!(%status, "the server did not say that it lives"),
            Event::Ended(ended) => return Err(ended),
        }
        Ok(())
    }

    /// Takes a workflow; `None` if the agent has it already.
    fn assign(&mut self, workflow: &pb::Workflow) -> Option<Incoming> {
        let id = WorkflowId::new(workflow.id.as_str());
        if let Some(key) = self.runs.keys().find(|key| key.workflow == id).cloned() {
            info!(workflow = workflow.id, "the server hands a workflow out again that this agent runs; it goes on");
            self.watch(key, pb::LEASE / 3);
            return None;
        }
        *self.taken += 1;
        let key = RunKey { workflow: id, epoch: Epoch(*self.taken) };
        self.watch(key.clone(), pb::LEASE / 3);
        self.polls.assigned();
        let spec = payload::decode(&workflow.payload, workflow.timeout);
        let steps = spec.iter().flat_map(|spec| &spec.stages).flat_map(|stage| &stage.steps);
        let stopping =
            steps.filter(|step| step.failure == FailurePolicy::Cancel).map(|step| StepId::new(step.id.as_str()));
        self.runs.insert(key.clone(), Run::new(&workflow.id, stopping.collect()));
        Some(Incoming::Assign(Box::new(Assign {
            key,
            made_under: Epoch(1),
            spec,
            can_go_elsewhere: false,
            trace: None,
        })))
    }

    async fn called(
        &mut self,
        key: RunKey,
        lane: &Lane,
        call: &'static str,
        refusal: Option<Refusal>,
    ) -> Result<(), Ended> {
        let Some(run) = self.runs.get_mut(&key) else { return Ok(()) };
        let answer = match &refusal {
            None => Answer::Taken,
            Some(refusal) if call == INIT || refusal.is_not_ours() => return self.let_go(key, refusal).await,
            Some(refusal) => {
                warn!(workflow = %key.workflow, call, %refusal, "the server does not take a report");
                Answer::Refused
            }
        };
        let progress = run.answered(lane, answer);
        self.settle(key, progress).await
    }

    async fn settle(&mut self, key: RunKey, Progress { settled, is_over }: Progress) -> Result<(), Ended> {
        if is_over {
            self.forget(&key);
        }
        if settled == Sequence::default() { Ok(()) } else { self.tell(Incoming::Ack { key, sequence: settled }).await }
    }

    /// The workflow is not this agent's any more.
    async fn let_go(&mut self, key: RunKey, refusal: &Refusal) -> Result<(), Ended> {
        if self.runs.contains_key(&key) {
            let workflow = &key.workflow;
            if refusal.is_over() {
                info!(%workflow, %refusal, "the server ended this workflow, as it does with one that is cancelled before it began");
            } else {
                warn!(%workflow, %refusal, "the server does not want this workflow from this agent; it is let go");
            }
            self.forget(&key);
            self.tell(Incoming::LetGo(key)).await?;
        }
        Ok(())
    }

    fn forget(&mut self, key: &RunKey) {
        self.runs.remove(key);
        for task in self.watching.remove(key).into_iter().flatten() {
            task.abort();
        }
    }

    /// Starts every call that may be made now.
    fn call(&mut self) {
        for (key, run) in self.runs.iter_mut() {
            for (lane, call) in run.next_calls() {
                let (calls, key, name) = (self.calls.clone(), key.clone(), name(&call));
                self.tasks.spawn(async move {
                    let refusal = match calls.make(call).await {
                        Ok(()) => None,
                        Err(Failed::Refused(refusal)) => Some(refusal),
                        Err(Failed::Ended(ended)) => return Event::Ended(ended),
                    };
                    Event::Called { key, lane, call: name, refusal }
                });
            }
        }
    }

    /// Asks for as many workflows as there are free slots.
    fn poll(&mut self, is_open: bool) {
        let wanted = if is_open { self.polls.wanted() } else { 0 };
        while self.polling.len() > wanted
            && let Some((_, poll)) = self.polling.pop_last()
        {
            poll.abort();
        }
        while self.polling.len() < wanted {
            let (calls, filter, number) = (self.calls.clone(), self.filter.clone(), self.next_poll);
            self.next_poll += 1;
            let poll = self.tasks.spawn(async move {
                match calls.next(filter).await {
                    Ok(workflow) => Event::Assigned(number, workflow),
                    Err(ended) => Event::Ended(ended),
                }
            });
            self.polling.insert(number, poll);
        }
    }

    /// Waits for a workflow's end, and renews its lease, for the first time after this pause.
    fn watch(&mut self, key: RunKey, pause: Duration) {
        let wait = self.tasks.spawn(wait(self.calls.clone(), key.clone()));
        let extend = self.tasks.spawn(extend(self.calls.clone(), key.clone(), pause));
        for earlier in self.watching.insert(key, [wait, extend]).into_iter().flatten() {
            earlier.abort();
        }
    }

    fn say_healthy(&mut self) {
        if self.health.as_ref().is_some_and(|health| !health.is_finished()) {
            return;
        }
        let calls = self.calls.clone();
        self.health = Some(self.tasks.spawn(async move {
            match calls.health(HEALTH_PATIENCE).await {
                // Somebody deleted the agent from the server, which gives it nothing any more.
                Err(Trouble::Refused(refusal)) if refusal.is_about_nobody() => {
                    Event::Ended(Ended::retry(Cause::Refused {
                        status: "it does not know this agent any more".to_owned(),
                        reason: refusal.to_string(),
                    }))
                }
                // Whatever the server makes of it, it lives.
                Ok(()) | Err(Trouble::Refused(_) | Trouble::Busy(_)) => Event::Alive,
                Err(Trouble::Again(status)) => Event::Away(status),
                Err(Trouble::Ended(ended)) => Event::Ended(ended),
            }
        }));
    }

    async fn tell(&self, message: Incoming) -> Result<(), Ended> {
        self.incoming.send(message).await.map_err(|_| Ended::retry(Cause::Closed))
    }
}

const INIT: &str = "Init";

fn name(call: &Call) -> &'static str {
    match call {
        Call::Init(_) => INIT,
        Call::Update(_) => "Update",
        Call::Log(_) => "Log",
        Call::Done(_) => "Done",
    }
}

async fn wait(calls: Calls, key: RunKey) -> Event {
    match calls.wait(key.workflow.as_str()).await {
        Ok(true) => Event::Stopped(key),
        Ok(false) => Event::Forgotten(key, None),
        Err(Failed::Refused(refusal)) if refusal.is_not_ours() => Event::NotOurs(key, refusal),
        Err(Failed::Refused(refusal)) => Event::Forgotten(key, Some(refusal)),
        Err(Failed::Ended(ended)) => Event::Ended(ended),
    }
}

/// Three times in a lease.
async fn extend(calls: Calls, key: RunKey, mut pause: Duration) -> Event {
    loop {
        sleep(pause).await;
        pause = pb::LEASE / 3;
        match calls.extend(key.workflow.as_str()).await {
            Ok(()) => {}
            Err(Trouble::Refused(refusal)) if refusal.is_not_ours() => return Event::NotOurs(key, refusal),
            // A server that restarted knows of no lease, and takes the workflow's reports nevertheless.
            Err(Trouble::Refused(refusal)) => debug!(workflow = %key.workflow, %refusal, "no lease to renew"),
            Err(Trouble::Again(_) | Trouble::Busy(_)) => pause = EXTEND_AGAIN,
            Err(Trouble::Ended(ended)) => return Event::Ended(ended),
        }
    }
}

/// Renews the access token before it ends. As long as that fails the old one is good for another half hour, and whoever
/// finds it refused asks for a new one, too.
async fn renew(calls: Calls) -> Event {
    loop {
        sleep(RENEWAL).await;
        let token = calls.pass().token();
        while let Err(Ended { cause, .. }) = calls.pass().renew(&token).await {
            warn!(code = cause.code(), "the access token could not be renewed, and is tried for again: {cause}");
            sleep(RENEW_AGAIN).await;
        }
    }
}

fn stop(key: RunKey) -> Incoming {
    let reason = "somebody cancelled it on the server".to_owned();
    Incoming::Cancel(Cancel { key, reason, grace: None })
}
