//! One workflow: a loop around the pure run machine. Events in, actions out; one runner per workflow.

mod record;
mod removal;
mod step_log;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use piculet_cluster::{
    Anchor, Cluster, Holding, ObjectName, Opening, PodEvents, PodNews, PodWatch, Subscription, TailTarget,
};
use piculet_core::id::{PodUid, RunKey, StepIndex};
use piculet_core::logs::mask::Mask;
use piculet_core::observation::{Said, Seen};
use piculet_core::outcome::{Outcome, StepState};
use piculet_core::report::{Report, WorkflowReport};
use piculet_core::run::{Action, Event, Limits, Run};
use piculet_core::workload::Workload;
use piculet_link::message::TraceContext;
use piculet_link::otlp::Outlet;
use piculet_link::supervisor::Reporter;
use piculet_pods::names::WorkflowNames;
use piculet_pods::{Context, Plan, Settings, anchor, label};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::telemetry::{Metrics, OutcomeLabels, StateLabels};
use record::Record;
pub(crate) use removal::Removal;
use step_log::{Closing, Destination, Order, StepLog};
use work::Answer;

/// What the session tells a runner.
#[derive(Debug)]
pub(crate) enum Message {
    /// The server acknowledged that the workflow is ours.
    Confirmed,
    /// Stop it, and report.
    Cancel { by: String, grace: Option<Duration> },
    /// The server doesn't want it any more. Nothing more is reported: the outbox has forgotten it.
    Abandon,
    /// Another agent has it now. Nothing more is reported, and what that one has taken over stays.
    LetGo,
}

/// What every runner of an agent has in common.
#[derive(Debug, Clone)]
pub(crate) struct Shop {
    pub(crate) cluster: Cluster,
    pub(crate) reporter: Reporter,
    pub(crate) pods: Arc<Settings>,
    pub(crate) limits: Limits,
    pub(crate) metrics: Metrics,
    /// Where spans go, if traces are on.
    pub(crate) traces: Option<Outlet>,
    pub(crate) clock: Clock,
    /// What removes the rest of workflows that are over.
    pub(crate) sweeps: TaskTracker,
}

/// One workflow's runner.
pub(crate) struct Runner {
    shop: Shop,
    key: RunKey,
    workload: Arc<Workload>,
    context: Context,
    plan: Plan,
    /// The value of [`piculet_pods::label::WORKFLOW`] on all objects of this workflow.
    label: String,
    run: Run,
    record: Record,
    mask: Mask,
    anchor: Option<Anchor>,
    /// What was made, or may have been.
    made: BTreeSet<ObjectName>,
    watch: PodWatch,
    news: Subscription,
    /// The newest of each pod of this workflow: it may come before the answer to the pod's creation.
    looks: BTreeMap<PodUid, PodNews>,
    /// The pods that the run knows of.
    pods: BTreeMap<PodUid, StepPod>,
    /// What is said of pods that wait, while some do for long.
    events: Option<PodEvents>,
    /// These pods, their steps, and what was said last.
    listens: BTreeMap<PodUid, (StepIndex, Option<Said>)>,
    logs: BTreeMap<StepIndex, mpsc::Sender<Order>>,
    /// What is to be said of steps that exited badly, if something was denied to them.
    denials: BTreeMap<StepIndex, String>,
    tasks: JoinSet<()>,
    answers: mpsc::Sender<Answer>,
    inbox: mpsc::Receiver<Answer>,
    started: jiff::Timestamp,
    /// Where the workflow's volume was last, if it is one for one node.
    node: Option<String>,
    /// The workflow's own objects are being made.
    is_preparing: bool,
    /// Another agent may have it, which shows when they are.
    is_leaving: bool,
    /// It is over, and what it made is on its way out.
    is_removing: bool,
    /// Another agent has it now: nothing more is done.
    is_let_go: bool,
}

/// The pod of one attempt at a step.
#[derive(Debug, Clone)]
pub(crate) struct StepPod {
    step: StepIndex,
    name: String,
    container: String,
    /// That its log begins with.
    first_line: Option<String>,
    /// It has to be where the others are that have the workflow's volume.
    shares_node_volume: bool,
    /// The version of the pod that was seen last.
    version: Option<String>,
    /// Whether its log is being read.
    opening: Opening,
    /// What its log has to say if it failed because something was denied to it.
    if_denied: Option<String>,
}

impl Runner {
    /// A runner that waits for [`Message::Confirmed`]. `plan` is that of this workload in this context; `trace` what the
    /// server said of the trace that the workflow belongs to.
    pub(crate) fn new(
        shop: Shop,
        key: RunKey,
        workload: Workload,
        context: Context,
        plan: Plan,
        trace: Option<&TraceContext>,
    ) -> Self {
        let workload = Arc::new(workload);
        let record = Record::new(&shop, &key, &workload, &context, trace);
        let names = WorkflowNames::new(&context.server, &workload);
        let watch = shop.cluster.watch();
        // One answer for each task at most; a task that finds no room waits.
        let (answers, inbox) = mpsc::channel(64);
        Self {
            run: Run::new(Arc::clone(&workload), shop.limits.clone()),
            record,
            mask: Mask::new(workload.masked_values()),
            anchor: None,
            made: BTreeSet::new(),
            news: watch.subscribe(&names.key),
            watch,
            looks: BTreeMap::new(),
            pods: BTreeMap::new(),
            events: None,
            listens: BTreeMap::new(),
            logs: BTreeMap::new(),
            denials: BTreeMap::new(),
            tasks: JoinSet::new(),
            answers,
            inbox,
            started: shop.clock.now(),
            node: None,
            is_preparing: false,
            is_leaving: false,
            is_removing: false,
            is_let_go: false,
            shop,
            key,
            workload,
            context,
            plan,
            label: names.key,
        }
    }

    /// What the workflow's objects are labelled with.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// What is not masked is said where it could be read.
    async fn tell_what_is_not_masked(&mut self, step: StepIndex) {
        let (unmasked, unencoded) = (self.mask.unmasked(), self.mask.unencoded());
        if unmasked > 0 {
            let text = format!("{unmasked} secrets have fewer than 3 characters: these are not masked in this log.");
            self.log(step, Order::Say(text)).await;
        }
        if unencoded > 0 {
            let text = format!(
                "{unencoded} secrets are so long that only the values themselves are masked in this log, not their base64 forms."
            );
            self.log(step, Order::Say(text)).await;
        }
    }

    /// Runs the workflow to its end, the removal of its objects included.
    pub(crate) async fn drive(mut self, mut mailbox: mpsc::Receiver<Message>) {
        while !self.run.is_over() && !self.is_let_go {
            let due = self.run.due();
            tokio::select! {
                // What happened goes before what is asked for, and both before time: a step that ended in time is not
                // a step that took too long.
                biased;
                Some(answer) = self.inbox.recv() => self.answer(answer).await,
                news = self.news.next() => self.heard(news).await,
                () = changed(&mut self.events) => self.listen().await,
                Some(message) = mailbox.recv() => self.message(message).await,
                () = until(due) => self.on(Event::Tick).await,
                // Tasks answer for themselves; one that panicked can't.
                Some(joined) = self.tasks.join_next() => {
                    if let Err(error) = joined && error.is_panic() {
                        tracing::error!(workflow = %self.key.workflow, %error, "a task of the workflow panicked");
                        std::panic::resume_unwind(error.into_panic());
                    }
                }
            }
        }
    }

    /// Lets the machine take an event, and does what it wants done.
    async fn on(&mut self, event: Event) {
        self.record.heard(&event);
        for action in self.run.on(event, Instant::now().into_std()) {
            self.record.doing(&action);
            self.perform(action).await;
        }
        self.listens.retain(|_, (step, _)| self.run.is_waiting(*step));
        if self.listens.is_empty() {
            self.events = None;
        }
    }

    /// Passes on what is said of pods that wait.
    async fn listen(&mut self) {
        let Some(events) = &self.events else { return };
        let mut told = Vec::new();
        for (uid, (step, last)) in &mut self.listens {
            if let Some(said) = events.of(uid).filter(|said| last.as_ref() != Some(said)) {
                *last = Some(said.clone());
                told.push(Event::Told { step: *step, uid: uid.clone(), said });
            }
        }
        for event in told {
            self.on(event).await;
        }
    }

    async fn message(&mut self, message: Message) {
        let event = match message {
            Message::Confirmed => {
                let accepted = std::mem::replace(&mut self.started, self.shop.clock.now());
                // The server may have been away for long since the workflow was accepted, and its time begins now.
                let late = self.started.duration_since(accepted);
                let deadline = self.context.deadline.saturating_add(late).unwrap_or(jiff::Timestamp::MAX);
                anchor::put_off(&mut self.plan.anchor, deadline);
                Event::Confirmed
            }
            Message::Cancel { by, grace } => Event::Cancel { by, grace },
            Message::LetGo if self.is_preparing => {
                self.is_leaving = true;
                return;
            }
            Message::LetGo if self.is_removing => return,
            Message::LetGo if self.is_taken_over().await => {
                self.is_let_go = true;
                return;
            }
            Message::Abandon | Message::LetGo => {
                let by = "the server does not want this workflow from this agent any more".to_owned();
                Event::Cancel { by, grace: None }
            }
        };
        self.on(event).await;
    }

    /// Whether somebody else goes on with what this run made. Where nobody says, somebody may.
    async fn is_taken_over(&self) -> bool {
        let (workflow, objects) = (&self.key.workflow, format!("{}={}", label::WORKFLOW, self.label));
        let Some(anchor) = &self.anchor else {
            if !self.made.is_empty() {
                tracing::warn!(%workflow, objects, "another agent may have this workflow now, and nobody may write down who: its objects stay");
            }
            return !self.made.is_empty();
        };
        match self.shop.cluster.holding(anchor, &self.context.instance).await {
            Ok(Holding::Ours) => false,
            Ok(Holding::Others) => {
                tracing::info!(%workflow, objects, "another agent has this workflow now, and all that it made");
                true
            }
            Err(error) => {
                tracing::warn!(%workflow, objects, %error, "nobody says who has this workflow now: its objects stay");
                true
            }
        }
    }

    /// The workflow's own objects are made, or can't be.
    async fn prepared(&mut self, event: Event) {
        self.is_preparing = false;
        if std::mem::take(&mut self.is_leaving) {
            self.message(Message::LetGo).await;
        }
        if !self.is_let_go {
            self.on(event).await;
        }
    }

    async fn answer(&mut self, answer: Answer) {
        match answer {
            Answer::Prepared(anchor, event) => {
                self.anchor = anchor.map(|anchor| *anchor);
                self.prepared(event).await;
            }
            Answer::Created { attempt, uid, pod } => {
                let step = pod.step;
                self.pods.insert(uid.clone(), pod);
                self.on(Event::Created { step, attempt, uid: uid.clone() }).await;
                if let Some(news) = self.looks.remove(&uid) {
                    self.heard(news).await;
                }
            }
            Answer::Foreign(name) => _ = self.made.remove(&name),
            Answer::Found(pod) => self.heard(PodNews::Present(pod)).await,
            Answer::Happened(event) => self.on(event).await,
        }
    }

    /// News of one pod of this workflow.
    async fn heard(&mut self, news: PodNews) {
        let uid = news.uid();
        let Some(pod) = self.pods.get_mut(&uid) else {
            self.looks.insert(uid, news);
            return;
        };
        pod.version.clone_from(&news.pod().metadata.resource_version);
        let pod = pod.clone();
        let observation = piculet_pods::observe(news.pod(), &pod.container);
        if pod.shares_node_volume && observation.node.is_some() {
            self.node.clone_from(&observation.node);
        }
        if let Seen::Ended(ended) = &observation.seen {
            let failed = matches!(ended.outcome, Outcome::Exited { code } if code != 0);
            match pod.if_denied.clone().filter(|_| failed) {
                Some(text) => _ = self.denials.insert(pod.step, text),
                None => _ = self.denials.remove(&pod.step),
            }
        }
        self.record.looked(pod.step, piculet_pods::times(news.pod(), &pod.container));
        self.on(Event::Observed { step: pod.step, observation }).await;
        if let PodNews::Absent { witnessed, .. } = news {
            self.confirm_absence(pod, uid, witnessed);
        }
    }

    async fn perform(&mut self, action: Action) {
        match action {
            Action::Prepare => self.prepare(),
            Action::Create { step, attempt, after_failure } => self.create(step, attempt, after_failure).await,
            Action::Tail { step, attempt, uid } => {
                if let Some(pod) = self.pods.get(&uid) {
                    tracing::debug!(workflow = %self.key.workflow, pod = pod.name, attempt = attempt.0, "reading the log");
                    let opening = pod.opening.clone();
                    let target = TailTarget {
                        pod: pod.name.clone(),
                        uid,
                        container: pod.container.clone(),
                        first_line: pod.first_line.clone(),
                    };
                    self.log(step, Order::Follow(target, opening)).await;
                }
            }
            Action::Stop { uid, grace, .. } => self.stop(uid, grace),
            Action::Listen { step, uid } => {
                self.listens.insert(uid, (step, None));
                let events = self.events.get_or_insert_with(|| self.shop.cluster.pod_events());
                // The watch may have heard of it long ago.
                events.look_again();
            }
            Action::Say { step, text } => self.log(step, Order::Say(text)).await,
            Action::CloseLog { step } => self.close_log(step).await,
            Action::Report(mut report) => {
                report.error = self.masked(&report.error);
                if report.state.is_final() {
                    let class = report.outcome.as_ref().map_or("", Outcome::class);
                    let labels = OutcomeLabels { state: report.state.as_str(), class };
                    self.shop.metrics.steps.get_or_create(&labels).inc();
                    if matches!(report.state, StepState::Failure | StepState::Killed) {
                        let (workflow, step, state) = (&self.key.workflow, &report.step, report.state);
                        let code = report.outcome.as_ref().and_then(Outcome::exit_code);
                        tracing::info!(%workflow, %step, state = state.as_str(), class, code, error = report.error, "step failed");
                    }
                }
                self.report(Report::Step(report)).await;
            }
            Action::Finish { state, error } => {
                let error = self.masked(&error);
                tracing::info!(workflow = %self.key.workflow, state = state.as_str(), error, "workflow finished");
                self.shop.metrics.workflows.get_or_create(&StateLabels { state: state.as_str() }).inc();
                let (started, finished) = (self.started, self.shop.clock.now());
                self.report(Report::Finished(WorkflowReport { state, started, finished, error })).await;
            }
            Action::Teardown => self.teardown(),
        }
    }

    /// The cluster's words may repeat what it was given.
    fn masked(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.mask.apply(text.as_bytes())).into_owned()
    }

    async fn report(&self, report: Report) {
        if self.shop.reporter.report(&self.key, report).await.is_err() {
            tracing::error!(workflow = %self.key.workflow, "nobody takes reports any more");
        }
    }

    /// Hands an order to the owner of the step's log, who is made with the first one.
    async fn log(&mut self, index: StepIndex, order: Order) {
        let owner = self.logs.entry(index).or_insert_with(|| {
            let (orders, inbox) = mpsc::channel(16);
            let destination = Destination {
                key: self.key.clone(),
                index,
                step: self.workload.step(index).id.clone(),
                reporter: self.shop.reporter.clone(),
                answers: self.answers.clone(),
            };
            let shop = &self.shop;
            let (cluster, metrics) = (shop.cluster.clone(), shop.metrics.clone());
            let log = StepLog::new(destination, cluster, self.watch.clone(), shop.clock, metrics, self.mask.clone());
            self.tasks.spawn(log.keep(inbox));
            orders
        });
        if owner.send(order).await.is_err() {
            tracing::error!(workflow = %self.key.workflow, step = index.0, "the owner of a step's log is gone");
        }
    }

    /// Waits until everything of the step's log was handed on: what is reported next comes after it.
    async fn close_log(&mut self, step: StepIndex) {
        let (done, closed) = oneshot::channel();
        let if_denied = self.denials.remove(&step);
        self.log(step, Order::Close(Closing { if_denied, done })).await;
        // An owner that panicked doesn't answer; its lines are lost, and the panic was logged.
        let _answer = closed.await;
        self.logs.remove(&step);
    }
}

async fn changed(events: &mut Option<PodEvents>) {
    match events {
        Some(events) => events.changed().await,
        None => std::future::pending().await,
    }
}

async fn until(due: Option<std::time::Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(Instant::from_std(due)).await,
        None => std::future::pending().await,
    }
}
