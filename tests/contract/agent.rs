//! An agent without runners: the test reports in their place.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use jiff::Timestamp;
use piculet_core::id::{Attempt, InstanceId, RunKey, StepId};
use piculet_core::outcome::{Outcome, StepState, WorkflowState};
use piculet_core::report::{LogLine, LogTotal, Refusal, Report, StepReport, WorkflowReport};
use piculet_core::retry::Growth;
use piculet_link::message::{Cluster, Identity};
use piculet_link::supervisor::{self, Assignment, Closed, Closer, Directive, GivenUp, Reporter, supervise};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::side::{GOOD, Side};

/// The supervisor, and what is connected to it.
pub(crate) struct Agent {
    pub(crate) directives: mpsc::Receiver<Directive>,
    pub(crate) demand: watch::Sender<u32>,
    pub(crate) closer: Closer,
    pub(crate) running: JoinHandle<Result<Closed, GivenUp>>,
    reporter: Reporter,
}

/// A workflow that was handed to the agent.
pub(crate) struct Work {
    pub(crate) key: RunKey,
    steps: BTreeMap<String, StepId>,
    reporter: Reporter,
    lines: BTreeMap<String, Vec<String>>,
}

/// So that what never comes is a failure, and no test that waits for ever.
pub(crate) async fn within_an_hour<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(3600), what).await.expect("it comes within an hour of virtual time")
}

impl Agent {
    /// One that would take so many workflows.
    pub(crate) fn start<S: Side>(side: &S, demand: u32) -> Self {
        Self::with(side, demand, GOOD)
    }

    pub(crate) fn with<S: Side>(side: &S, demand: u32, credentials: &str) -> Self {
        let settings = supervisor::Settings {
            identity: Identity {
                name: "contract".to_owned(),
                instance: InstanceId::new("instance-1"),
                version: "0".to_owned(),
                cluster: Cluster::default(),
                labels: BTreeMap::new(),
                platforms: Vec::new(),
                capacity: demand,
            },
            limits: S::limits(),
            backoff: Growth { initial: Duration::from_millis(200), factor: 1.6, cap: Duration::from_secs(20) },
            seed: 7,
            stable_after: Duration::from_secs(60),
        };
        let (demand, wanted) = watch::channel(demand);
        let (supervisor, handles) = supervise(side.link(credentials), settings, wanted);
        Self {
            directives: handles.directives,
            demand,
            closer: handles.closer,
            reporter: handles.reporter,
            running: tokio::spawn(supervisor.run()),
        }
    }

    /// The next thing to do, whatever becomes of the connection meanwhile.
    pub(crate) async fn directive(&mut self) -> Directive {
        loop {
            let directive = within_an_hour(self.directives.recv()).await.expect("the supervisor runs");
            if !matches!(directive, Directive::Connected { .. } | Directive::Disconnected { .. }) {
                return directive;
            }
        }
    }

    /// The next workflow.
    pub(crate) async fn assigned(&mut self) -> Work {
        match self.directive().await {
            Directive::Run(assignment) => {
                let Assignment { key, spec, .. } = *assignment;
                let steps = spec.unwrap().stages.into_iter().flat_map(|stage| stage.steps);
                let steps = steps.map(|step| (step.name, StepId::new(step.id))).collect();
                Work { key, steps, reporter: self.reporter.clone(), lines: BTreeMap::new() }
            }
            other => panic!("{other:?} instead of a workflow"),
        }
    }

    /// The next workflow, which the server knows to be this agent's.
    pub(crate) async fn accepted(&mut self) -> Work {
        let work = self.assigned().await;
        work.report(Report::Accepted).await;
        assert_eq!(self.directive().await, Directive::Confirmed(work.key.clone()));
        work
    }

    /// Whether nothing is to be done for as long.
    pub(crate) async fn is_left_alone(&mut self, time: Duration) -> bool {
        timeout(time, self.directive()).await.is_err()
    }
}

impl Work {
    pub(crate) async fn report(&self, report: Report) {
        self.reporter.report(&self.key, report).await.unwrap();
    }

    pub(crate) async fn refuse(&self, reason: &str) {
        self.report(Report::Refused { reason: reason.to_owned(), scope: Refusal::Everywhere }).await;
    }

    /// A step runs.
    pub(crate) async fn begin(&self, step: &str) {
        self.report(Report::Step(self.state(step, StepState::Running, None))).await;
    }

    /// A step says something.
    pub(crate) async fn say(&mut self, step: &str, text: &str) {
        let lines = self.lines.entry(step.to_owned()).or_default();
        let line = LogLine { number: lines.len() as u64, time: now(), bytes: text.to_owned().into() };
        lines.push(text.to_owned());
        self.reporter.lines(&self.key, &self.steps[step], vec![line]).await.unwrap();
    }

    /// A step's container ended with this code, and all of its log was read.
    pub(crate) async fn exit(&self, step: &str, code: i32) {
        let outcome = Outcome::Exited { code };
        self.end(step, outcome.state(), Some(outcome)).await;
    }

    /// A step is over.
    pub(crate) async fn end(&self, step: &str, state: StepState, outcome: Option<Outcome>) {
        let lines = self.lines.get(step).map_or(&[][..], Vec::as_slice);
        let total = LogTotal { lines: lines.len() as u64, bytes: lines.iter().map(|line| line.len() as u64).sum() };
        self.reporter.end_log(&self.key, &self.steps[step], total).await.unwrap();
        self.report(Report::Step(self.state(step, state, outcome))).await;
    }

    /// The workflow is over.
    pub(crate) async fn finish(&self, state: WorkflowState, error: &str) {
        let report = WorkflowReport { state, started: now(), finished: now(), error: error.to_owned() };
        self.report(Report::Finished(report)).await;
    }

    /// What a step said, as a server has to show it.
    pub(crate) fn said(&self, step: &str) -> Vec<(u64, String)> {
        (0..).zip(self.lines.get(step).cloned().unwrap_or_default()).collect()
    }

    fn state(&self, step: &str, state: StepState, outcome: Option<Outcome>) -> StepReport {
        let error = outcome.as_ref().map(ToString::to_string).unwrap_or_default();
        let (started, finished) = (Some(now()), state.is_final().then(now));
        StepReport { step: self.steps[step].clone(), attempt: Attempt::FIRST, state, started, finished, outcome, error }
    }
}

fn now() -> Timestamp {
    Timestamp::from_second(1_790_000_000).unwrap()
}
