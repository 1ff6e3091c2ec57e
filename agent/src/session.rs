//! The agent's table of runs: one loop that gives slots to workflows and passes on what the server says about them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use piculet_cluster::Cluster;
use piculet_core::id::{Epoch, RunKey};
use piculet_core::outcome::WorkflowState;
use piculet_core::report::{Refusal, Report, WorkflowReport};
use piculet_core::slots::{Slot, Slots};
use piculet_core::workload::Workload;
use piculet_link::supervisor::{Assignment, Directive};
use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::admin::{Readiness, Roster, RunningWorkflow};
use crate::runner::{Message, Removal, Runner, Shop};
use crate::shutdown::Shutdown;
use crate::site::Site;

/// How long the cluster may refuse to show pods to an agent that shuts down. Its account or its rights went with it then,
/// and nobody gives them back: it would wait for its workflows until the time to drain is over.
const SHUT_OUT: Duration = Duration::from_secs(30);

/// The one owner of what runs.
#[derive(Debug)]
pub(crate) struct Session {
    shop: Shop,
    site: Arc<Site>,
    slots: Slots,
    runs: BTreeMap<RunKey, Running>,
    tasks: JoinSet<()>,
    /// The run that each task drives.
    driven: BTreeMap<Id, Driven>,
    /// The namespaces of organisations, where each has one of its own.
    namespaces: BTreeMap<String, Cluster>,
    readiness: watch::Sender<Readiness>,
    /// What runs, for those who ask from outside.
    roster: watch::Sender<Roster>,
    /// The agent itself shuts down: nothing that a server says gives out slots again.
    draining: bool,
    /// The first workflow is the last.
    is_for_one: bool,
    /// Workflows that no server gives to anybody else, and that came before a slot was free.
    waiting: VecDeque<Assignment>,
    /// How long after the agent began to shut down what still runs is cancelled; `None`: it never is.
    cancels_after: Option<Duration>,
    /// How many workflows were.
    cancelled: usize,
    /// That time is over.
    is_too_late: bool,
}

/// What a task drives.
#[derive(Debug)]
struct Driven {
    key: RunKey,
    /// That of its objects.
    label: String,
    /// Their epoch.
    made_under: Epoch,
    /// Where they are.
    cluster: Cluster,
}

/// A run in the table.
#[derive(Debug)]
struct Running {
    /// That drives it.
    task: Id,
    mailbox: mpsc::Sender<Message>,
    /// Cancelled when the run is over and its objects are gone.
    over: CancellationToken,
    /// What is shown of it.
    about: RunningWorkflow,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionEnd {
    /// Drained: nothing runs any more.
    Drained,
    /// The link ended for good; the supervisor knows why.
    LinkEnded,
    /// Told to end at once.
    Aborted,
}

impl Session {
    pub(crate) fn new(
        shop: Shop,
        site: Arc<Site>,
        slots: Slots,
        readiness: watch::Sender<Readiness>,
        roster: watch::Sender<Roster>,
    ) -> Self {
        roster.send_replace(Roster { polling: slots.capacity(), ..Roster::default() });
        Self {
            shop,
            site,
            slots,
            runs: BTreeMap::new(),
            tasks: JoinSet::new(),
            driven: BTreeMap::new(),
            readiness,
            roster,
            namespaces: BTreeMap::new(),
            draining: false,
            is_for_one: false,
            waiting: VecDeque::new(),
            cancels_after: None,
            cancelled: 0,
            is_too_late: false,
        }
    }

    /// Ends after one workflow.
    pub(crate) fn for_one(self, is_for_one: bool) -> Self {
        Self { is_for_one, ..self }
    }

    /// Cancels what still runs so long after the agent began to shut down: its server gives workflows to nobody else, and
    /// those that nobody ends would run for ever.
    pub(crate) fn cancelling_after(self, cancels_after: Option<Duration>) -> Self {
        Self { cancels_after, ..self }
    }

    /// How many workflows were cancelled because the agent shuts down.
    pub(crate) fn cancelled(&self) -> usize {
        self.cancelled
    }

    /// Serves directives until the agent was drained, aborted, or the link ended.
    pub(crate) async fn serve(
        &mut self,
        directives: &mut mpsc::Receiver<Directive>,
        shutdown: &Shutdown,
    ) -> SessionEnd {
        let mut cancel_at = None;
        let watch = self.shop.cluster.watch();
        loop {
            // A refusal is on its way for as long as its task runs.
            if self.draining && self.runs.is_empty() && self.tasks.is_empty() && self.waiting.is_empty() {
                return SessionEnd::Drained;
            }
            tokio::select! {
                biased;
                () = shutdown.abort.cancelled() => return SessionEnd::Aborted,
                () = shutdown.drain.cancelled(), if !self.readiness.borrow().draining => {
                    cancel_at = self.cancels_after.map(|after| Instant::now() + after);
                    self.drain();
                    self.readiness.send_modify(|readiness| readiness.draining = true);
                }
                () = until(cancel_at) => {
                    cancel_at = None;
                    tracing::warn!(workflows = self.runs.len(), "the time to drain is over: what still runs is cancelled");
                    self.cancel_all();
                }
                words = watch.refused_for(SHUT_OUT), if self.draining && !self.is_too_late => {
                    tracing::warn!(workflows = self.runs.len(), words, "the cluster has shut this agent out: what still runs is cancelled");
                    self.cancel_all();
                }
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended).await,
                directive = directives.recv() => match directive {
                    Some(directive) => self.directive(directive),
                    None => return SessionEnd::LinkEnded,
                },
            }
        }
    }

    /// Takes no more workflows.
    fn drain(&mut self) {
        self.draining = true;
        self.slots.close();
    }

    fn cancel_all(&mut self) {
        self.is_too_late = true;
        self.cancelled = self.runs.len();
        for key in self.runs.keys().cloned().collect::<Vec<_>>() {
            self.tell(&key, shut_down());
        }
        for assignment in std::mem::take(&mut self.waiting) {
            let reason = "The agent was shut down before it had room for this workflow.".to_owned();
            self.refuse(assignment.key, reason, Refusal::Everywhere);
        }
    }

    /// Runs what waits for a slot, as far as there are any.
    fn run_waiting(&mut self) {
        while let Some(assignment) = self.waiting.pop_front() {
            let before = self.waiting.len();
            self.run(assignment);
            if self.waiting.len() > before {
                // It is the first in the queue again.
                self.waiting.rotate_right(1);
                return;
            }
        }
    }

    /// Nobody wants a workflow any more that waits for a slot.
    fn drop_waiting(&mut self, key: &RunKey, reason: Option<String>) {
        let Some(at) = self.waiting.iter().position(|assignment| assignment.key == *key) else { return };
        self.waiting.remove(at);
        if let Some(reason) = reason {
            self.refuse(key.clone(), format!("It was stopped before it began: {reason}."), Refusal::Everywhere);
        }
    }

    /// How many workflows run.
    pub(crate) fn running(&self) -> usize {
        self.runs.len()
    }

    fn directive(&mut self, directive: Directive) {
        match directive {
            Directive::Run(assignment) => self.run(*assignment),
            Directive::Confirmed(key) => self.tell(&key, Message::Confirmed),
            Directive::Concluded(_) => {}
            Directive::Cancel { key, reason, grace } => {
                self.drop_waiting(&key, Some(reason.clone()));
                self.tell(&key, Message::Cancel { by: reason, grace });
            }
            Directive::Abandon(key) => {
                self.drop_waiting(&key, None);
                self.tell(&key, Message::Abandon);
            }
            Directive::LetGo(key) => {
                self.drop_waiting(&key, None);
                self.tell(&key, Message::LetGo);
            }
            Directive::Drain => {
                tracing::info!("the server asks for no more workflows to be taken");
                self.slots.close();
            }
            Directive::Resume if self.draining => {}
            Directive::Resume => {
                tracing::info!("the server allows workflows to be taken again");
                self.slots.open();
            }
            // The supervisor has logged both.
            Directive::Connected { .. } => {
                // A drain is one of its session: a server that still wants it says so again.
                if !self.draining {
                    self.slots.open();
                }
                self.shop.metrics.connected.set(1);
                self.readiness.send_modify(|readiness| readiness.connected = true);
            }
            Directive::Disconnected { .. } => {
                self.shop.metrics.connected.set(0);
                self.shop.metrics.disconnections.inc();
                self.readiness.send_modify(|readiness| readiness.connected = false);
            }
        }
    }

    fn run(&mut self, assignment: Assignment) {
        let key = assignment.key.clone();
        let last = || if assignment.can_go_elsewhere { None } else { self.slots.take_last() };
        let Some(slot) = self.slots.take().or_else(last) else {
            if !assignment.can_go_elsewhere {
                // The place of one that just ended may not be free yet.
                self.waiting.push_back(assignment);
                return;
            }
            self.refuse(key, "All slots of this agent are taken.".to_owned(), Refusal::Now);
            return;
        };
        if self.is_for_one {
            tracing::info!(workflow = %key.workflow, "this workflow is the only one of this agent");
            self.drain();
        }
        let workload = match assignment.spec.and_then(|spec| Workload::new(key.workflow.clone(), spec)) {
            Ok(workload) => workload,
            Err(error) => {
                self.refuse(key, format!("The workflow can't be run: {error}"), Refusal::Everywhere);
                return;
            }
        };
        let limit = workload.timeout.unwrap_or(self.shop.limits.workflow);
        let context = self.site.context(assignment.made_under, assignment.server, self.shop.clock.now(), limit);
        let shop = self.shop_of(workload.organization);
        let plan = match piculet_pods::plan(&workload, &shop.pods, &context) {
            Ok(plan) => plan,
            Err(error) => {
                self.refuse(key, format!("The workflow can't be run on Kubernetes: {error}"), Refusal::Everywhere);
                return;
            }
        };
        tracing::info!(workflow = %key.workflow, epoch = key.epoch.0, name = workload.name, "workflow accepted");
        let (mailbox, messages) = mpsc::channel(16);
        let about = RunningWorkflow::new(&workload, self.shop.clock.now(), limit);
        let cluster = shop.cluster.clone();
        let runner = Runner::new(shop, key.clone(), workload, context, plan, assignment.trace.as_ref());
        let (label, reporter) = (runner.label().to_owned(), self.shop.reporter.clone());
        // An earlier run of the same workflow has objects of the same names: it has to make room first.
        let earlier = self.runs.iter().filter(|(other, _)| other.workflow == key.workflow);
        let earlier: Vec<_> = earlier.map(|(_, run)| run.over.clone()).collect();
        let over = CancellationToken::new();
        let is_over = over.clone().drop_guard();
        let accepted = key.clone();
        let task = self.tasks.spawn(async move {
            if reporter.report(&accepted, Report::Accepted).await.is_ok() {
                for run in earlier {
                    run.cancelled().await;
                }
                runner.drive(messages).await;
            }
            drop(is_over);
            release(slot);
        });
        let task = task.id();
        // This loop is who hears a cancel: none can come before the run is in the table.
        self.runs.insert(key.clone(), Running { task, mailbox, over, about });
        self.shop.metrics.running.inc();
        self.publish();
        if self.is_too_late {
            self.cancelled += 1;
            self.tell(&key, shut_down());
        }
        self.driven.insert(task, Driven { key, label, made_under: assignment.made_under, cluster });
    }

    /// The shop for workflows of an organisation: in a namespace of its own, if the operator wants that.
    fn shop_of(&mut self, organization: Option<i64>) -> Shop {
        let Some(namespace) = self.shop.pods.namespace_of(organization) else { return self.shop.clone() };
        let base = &self.shop.cluster;
        let cluster = self.namespaces.entry(namespace.clone()).or_insert_with(|| base.in_namespace(&namespace)).clone();
        let pods = Arc::new(piculet_pods::Settings { namespace, ..(*self.shop.pods).clone() });
        Shop { cluster, pods, ..self.shop.clone() }
    }

    /// Shows what runs. Of two runs of one workflow the earlier only makes room.
    fn publish(&self) {
        let running: BTreeMap<_, _> =
            self.runs.iter().map(|(key, run)| (key.workflow.to_string(), run.about.clone())).collect();
        let polling = self.slots.capacity().saturating_sub(u32::try_from(running.len()).unwrap_or(u32::MAX));
        self.roster.send_replace(Roster { polling, running });
    }

    /// Refuses from a task of its own: this loop must not wait for the link, which may be waiting for it.
    fn refuse(&mut self, key: RunKey, reason: String, scope: Refusal) {
        tracing::warn!(workflow = %key.workflow, reason, "workflow refused");
        let reporter = self.shop.reporter.clone();
        self.tasks.spawn(async move {
            // Nobody takes reports any more: the link has ended, and so will this agent.
            let _gone = reporter.report(&key, Report::Refused { reason, scope }).await;
        });
    }

    fn tell(&mut self, key: &RunKey, message: Message) {
        let Some(run) = self.runs.get(key) else { return };
        // A runner reads its mailbox in every turn, and few messages are ever sent: a full one means that it is stuck.
        if let Err(error) = run.mailbox.try_send(message) {
            tracing::error!(workflow = %key.workflow, %error, "a runner does not take its messages");
        }
    }

    async fn ended(&mut self, ended: Result<(Id, ()), tokio::task::JoinError>) {
        let id = match &ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        let Some(driven) = self.driven.remove(&id) else { return };
        let key = driven.key.clone();
        // A server that knows no epochs may have handed the workflow out again: then the table has the later run.
        if self.runs.get(&key).is_some_and(|run| run.task == id) {
            self.runs.remove(&key);
        }
        self.shop.metrics.running.dec();
        self.publish();
        if let Err(error) = ended {
            tracing::error!(workflow = %key.workflow, %error, "a runner panicked; its workflow is ended as failed");
            self.after_panic(driven);
        }
        self.run_waiting();
    }

    /// A fault of ours must not leave the workflow running for ever, neither at the server nor in the cluster.
    fn after_panic(&mut self, Driven { key, label, made_under, cluster }: Driven) {
        let (reporter, now) = (self.shop.reporter.clone(), self.shop.clock.now());
        let sweeps = self.shop.sweeps.clone();
        let removal = Removal {
            workflow: label,
            epoch: made_under,
            anchor: None,
            made: Vec::new(),
            grace: self.shop.limits.grace,
        };
        let error = "A fault of piculet itself ended this workflow; the agent's log has more.".to_owned();
        let report = WorkflowReport { state: WorkflowState::Failure, started: now, finished: now, error };
        self.tasks.spawn(async move {
            let _gone = reporter.report(&key, Report::Finished(report)).await;
            removal.run(cluster, &sweeps).await;
        });
    }
}

fn shut_down() -> Message {
    Message::Cancel { by: "the agent that ran it was shut down".to_owned(), grace: None }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// The slot is held for its drop alone: the place is free once the first try at removing the workflow's objects is over.
fn release(slot: Slot) {
    drop(slot);
}
