//! One workflow at the server: which calls its reports become, in which order, and what of it is stored.
//!
//! ```text
//!  reports ─▶ lane of the workflow   Init ···································· Done
//!             lane of step a              Update ─▶ Log ─▶ Log ─▶ Update  ▲
//!             lane of step b              Update ─▶ Log ─▶ Update ────────┘
//! ```
//!
//! Each lane has one call at a time on its way, so what belongs to one step keeps its order, and no step waits for the
//! calls of another. `Done` leaves when all other lanes are empty.
//!
//! Calls may arrive without an answer, and are made again then. That does no harm: a state that the server has is not
//! taken twice, and a part of a log is cut as it was, so that the server, which drops parts that begin with lines that it
//! knows, has either all of it or nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::Timestamp;
use piculet_core::id::{Sequence, StepId};
use piculet_core::logs::spool::Chunk;
use piculet_core::outbox::Body;
use piculet_core::outcome::{Outcome, StepState, WorkflowState};
use piculet_core::report::{Report, StepReport};
use piculet_proto::woodpecker as pb;

use super::states;

/// A call about a workflow.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Call {
    /// It begins.
    Init(pb::InitRequest),
    /// A step's state.
    Update(pb::UpdateRequest),
    /// A part of a step's log.
    Log(pb::LogRequest),
    /// It is over.
    Done(pb::DoneRequest),
}

/// Calls that keep their order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    /// The workflow's own.
    Workflow,
    /// One step's.
    Step(StepId),
}

/// How far a call came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// The server took it.
    Taken,
    /// The server doesn't want it, now or later.
    Refused,
}

/// What an answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    /// Everything up to this is settled.
    pub(super) settled: Sequence,
    /// Nothing more is owed: the workflow is over.
    pub(super) is_over: bool,
}

/// One workflow.
#[derive(Debug)]
pub(super) struct Run {
    id: String,
    /// When it began, by the agent's clock.
    started: Option<Timestamp>,
    settled: Settled,
    lanes: BTreeMap<Lane, VecDeque<Job>>,
    busy: BTreeSet<Lane>,
    /// Waits until everything else is settled.
    last: Option<Last>,
    steps: BTreeMap<StepId, Step>,
    /// The server said that somebody stopped it.
    stopped_by_user: bool,
    /// Ends of steps that the server didn't take, as sentences.
    untold: Vec<String>,
    /// Why steps never started, as sentences: that is shown with the workflow, too, if it fails.
    never_started: BTreeMap<StepId, String>,
    /// Steps whose failure stops the workflow. To the server that is a cancel, and nothing else makes it no success.
    stopping: BTreeSet<StepId>,
    /// One of them failed.
    stopped_by_step: bool,
    is_over: bool,
}

/// What is known of a step at the server.
#[derive(Debug, Default)]
struct Step {
    begun: Begun,
    /// The time of its log's first line: what times of lines count from.
    log_began: Option<Timestamp>,
}

/// Whether the server knows that a step began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Begun {
    #[default]
    No,
    /// It was said, and the connection broke before the answer.
    Perhaps,
    /// It does, or will before anything else of the step.
    Yes,
}

#[derive(Debug)]
struct Job {
    call: Call,
    /// What is settled with it, if it is the last call for that.
    settles: Option<Sequence>,
    /// What people are told elsewhere if the server doesn't take it.
    otherwise: Option<String>,
    /// It stands for lines that the server didn't take.
    is_notice: bool,
}

/// The last call.
#[derive(Debug)]
struct Last {
    sequence: Sequence,
    report: piculet_core::report::WorkflowReport,
}

/// Numbers that were settled, in whatever order.
#[derive(Debug, Default)]
struct Settled {
    /// All up to this are.
    prefix: Sequence,
    beyond: BTreeSet<Sequence>,
}

impl Run {
    /// A workflow that was handed out. `stopping`: the steps whose failure stops it.
    pub(super) fn new(id: &str, stopping: BTreeSet<StepId>) -> Self {
        Self {
            id: id.to_owned(),
            started: None,
            settled: Settled::default(),
            lanes: BTreeMap::new(),
            busy: BTreeSet::new(),
            last: None,
            steps: BTreeMap::new(),
            stopped_by_user: false,
            untold: Vec::new(),
            never_started: BTreeMap::new(),
            stopping,
            stopped_by_step: false,
            is_over: false,
        }
    }

    /// Everything up to this is settled.
    pub(super) fn settled(&self) -> Sequence {
        self.settled.prefix
    }

    /// The server said that somebody stopped it.
    pub(super) fn stopped_by_user(&mut self) {
        self.stopped_by_user = true;
    }

    /// Whether it said so.
    pub(super) fn is_stopped_by_user(&self) -> bool {
        self.stopped_by_user
    }

    /// A new session: what is not settled is handed in again.
    pub(super) fn begin_anew(&mut self) {
        for job in self.lanes.values().flatten() {
            // It may have arrived, or not: it is said again.
            if let Call::Update(update) = &job.call
                && let Some(state) = &update.state
                && !state.exited
                && !state.canceled
                && !state.skipped
                && let Some(step) = self.steps.get_mut(&StepId::new(state.step_uuid.as_str()))
            {
                step.begun = Begun::Perhaps;
            }
        }
        self.lanes.clear();
        self.busy.clear();
        self.last = None;
    }

    /// Takes a report. What is settled already is not said again.
    pub(super) fn take(&mut self, sequence: Sequence, body: Body, now: Timestamp) -> Option<Progress> {
        if self.settled.has(sequence) {
            return None;
        }
        match body {
            Body::Report(Report::Accepted) => {
                let call = self.init(now);
                self.push(Lane::Workflow, call, Some(sequence));
            }
            Body::Report(Report::Refused { reason, .. }) => {
                // The server knows no refusal: it is a workflow that began and failed at once.
                let init = self.init(now);
                self.push(Lane::Workflow, init, None);
                let state = Some(states::refused(&reason, self.started.unwrap_or(now)));
                self.push(Lane::Workflow, Call::Done(pb::DoneRequest { id: self.id.clone(), state }), Some(sequence));
            }
            Body::Report(Report::Step(report)) => self.step(sequence, &report),
            Body::Report(Report::Finished(report)) => self.last = Some(Last { sequence, report }),
            Body::Chunk { step, chunk } => self.chunk(sequence, step, chunk),
        }
        // What needs no call is settled at once.
        self.settled.has(sequence).then(|| self.progress())
    }

    /// The calls that may be made now. Each is on its way until [`Run::answered`].
    pub(super) fn next_calls(&mut self) -> Vec<(Lane, Call)> {
        if self.lanes.values().all(VecDeque::is_empty)
            && let Some(Last { sequence, report }) = self.last.take()
        {
            let started = self.started.unwrap_or(report.started);
            let mut about_steps = self.untold.clone();
            if report.state == WorkflowState::Failure {
                about_steps.extend(self.never_started.values().cloned());
            }
            let state = Some(states::done(&report, started, self.stopped_by_user, self.stopped_by_step, &about_steps));
            self.push(Lane::Workflow, Call::Done(pb::DoneRequest { id: self.id.clone(), state }), Some(sequence));
        }
        let free = self.lanes.iter().filter(|(lane, _)| !self.busy.contains(lane));
        let calls: Vec<_> = free.filter_map(|(lane, jobs)| Some((lane.clone(), jobs.front()?.call.clone()))).collect();
        self.busy.extend(calls.iter().map(|(lane, _)| lane.clone()));
        calls
    }

    /// The call of a lane was answered.
    pub(super) fn answered(&mut self, lane: &Lane, answer: Answer) -> Progress {
        self.busy.remove(lane);
        let Some(jobs) = self.lanes.get_mut(lane) else { return self.progress() };
        let job = jobs.pop_front();
        if jobs.is_empty() {
            self.lanes.remove(lane);
        }
        if let Some(job) = job {
            if answer == Answer::Refused {
                if let Some(notice) = job.notice() {
                    self.lane(lane.clone()).push_front(notice);
                    return self.progress();
                }
                self.untold.extend(job.otherwise);
            }
            self.is_over |= matches!(job.call, Call::Done(_));
            if let Some(sequence) = job.settles {
                self.settled.note(sequence);
            }
        }
        self.progress()
    }

    /// Whether the server knows that it runs.
    pub(super) fn has_begun(&self) -> bool {
        self.settled.prefix > Sequence::default()
    }

    /// Whether its end was reported.
    pub(super) fn is_ending(&self) -> bool {
        let ends = |job: &Job| matches!(job.call, Call::Done(_));
        self.last.is_some() || self.lanes.values().flatten().any(ends)
    }

    /// Whether nothing is on its way and nothing waits.
    pub(super) fn is_idle(&self) -> bool {
        self.lanes.is_empty() && self.last.is_none()
    }

    fn progress(&self) -> Progress {
        Progress { settled: self.settled.prefix, is_over: self.is_over }
    }

    fn init(&mut self, now: Timestamp) -> Call {
        // Said a second time, the server takes the time that comes with it.
        let started = *self.started.get_or_insert(now);
        let state = Some(pb::WorkflowState { started: started.as_second(), ..pb::WorkflowState::default() });
        Call::Init(pb::InitRequest { id: self.id.clone(), state })
    }

    fn step(&mut self, sequence: Sequence, report: &StepReport) {
        let lane = Lane::Step(report.step.clone());
        if report.state == StepState::Failure && matches!(report.outcome, Some(Outcome::NeverStarted { .. })) {
            self.never_started.insert(report.step.clone(), report.error.clone());
        }
        self.stopped_by_step |= report.state == StepState::Failure && self.stopping.contains(&report.step);
        let has_begun = self.steps.get(&report.step).is_some_and(|step| step.begun != Begun::No);
        match states::ended(report, has_begun, self.stopped_by_user) {
            Some(state) => {
                // What ends has to begin: the server takes an end for granted only from one that runs.
                if report.state != StepState::Skipped {
                    self.begin(&report.step, report.started, None);
                }
                let is_bad = report.state != StepState::Success && report.state != StepState::Skipped;
                let otherwise = is_bad.then(|| {
                    format!(
                        "The server did not take that the step with the id {} ended as {}.",
                        report.step, report.state
                    )
                });
                let call = self.update(state);
                self.lane(lane).push_back(Job { call, settles: Some(sequence), otherwise, is_notice: false });
            }
            None if report.state == StepState::Running => self.begin(&report.step, report.started, Some(sequence)),
            None => self.settled.note(sequence),
        }
    }

    /// Says that a step began, if nobody has.
    fn begin(&mut self, id: &StepId, started: Option<Timestamp>, settles: Option<Sequence>) {
        let step = self.steps.entry(id.clone()).or_default();
        if std::mem::replace(&mut step.begun, Begun::Yes) == Begun::Yes {
            if let Some(sequence) = settles {
                self.settled.note(sequence);
            }
            return;
        }
        let call = self.update(states::begun(id.as_str(), started));
        self.push(Lane::Step(id.clone()), call, settles);
    }

    fn chunk(&mut self, sequence: Sequence, id: StepId, chunk: Chunk) {
        let Some(first) = chunk.lines.first() else {
            self.settled.note(sequence);
            return;
        };
        // A step that has something to say has begun: while it waits, its log says why.
        self.begin(&id, None, None);
        let began = *self.steps.entry(id.clone()).or_default().log_began.get_or_insert(first.time);
        let entries = (chunk.first_line..).zip(chunk.lines).map(|(number, line)| pb::LogEntry {
            step_uuid: id.as_str().to_owned(),
            time: line.time.duration_since(began).as_secs().max(0),
            // No step writes two thousand million lines; one that does goes on under the last number.
            line: i32::try_from(number).unwrap_or(i32::MAX),
            r#type: 0,
            data: line.bytes,
        });
        let call = Call::Log(pb::LogRequest { log_entries: entries.collect() });
        self.push(Lane::Step(id), call, Some(sequence));
    }

    fn update(&self, state: pb::StepState) -> Call {
        Call::Update(pb::UpdateRequest { id: self.id.clone(), state: Some(state) })
    }

    fn push(&mut self, lane: Lane, call: Call, settles: Option<Sequence>) {
        self.lane(lane).push_back(Job { call, settles, otherwise: None, is_notice: false });
    }

    fn lane(&mut self, lane: Lane) -> &mut VecDeque<Job> {
        self.lanes.entry(lane).or_default()
    }
}

impl Job {
    /// What is said in the log in the place of lines that the server didn't take.
    fn notice(&self) -> Option<Self> {
        let Call::Log(pb::LogRequest { log_entries }) = &self.call else { return None };
        let first = log_entries.first().filter(|_| !self.is_notice)?;
        let what = match log_entries.len() {
            1 => "1 line was".to_owned(),
            lines => format!("{lines} lines were"),
        };
        let text = format!(
            "[piculet] {what} lost: the server did not take {}.",
            if log_entries.len() == 1 { "it" } else { "them" }
        );
        let entry = pb::LogEntry { data: text.into(), ..first.clone() };
        let call = Call::Log(pb::LogRequest { log_entries: vec![entry] });
        Some(Self { call, settles: self.settles, otherwise: None, is_notice: true })
    }
}

impl Settled {
    fn has(&self, sequence: Sequence) -> bool {
        sequence <= self.prefix || self.beyond.contains(&sequence)
    }

    fn note(&mut self, sequence: Sequence) {
        if !self.has(sequence) {
            self.beyond.insert(sequence);
        }
        while self.beyond.remove(&self.prefix.next()) {
            self.prefix = self.prefix.next();
        }
    }
}

#[cfg(test)]
mod tests;
