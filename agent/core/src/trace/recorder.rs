//! From what goes into and comes out of a run to its spans.
//!
//! ```text
//! agent                       accepted → reported as finished
//! ├─ accept                   → the server has acknowledged it
//! ├─ prepare                  anchor and own objects
//! ├─ step "unit"              ready → over, all attempts
//! │  └─ attempt               first request → end of its log
//! │     ├─ create             requests that make its objects
//! │     ├─ schedule           → it has a node                             (scheduler)
//! │     ├─ sandbox            → volumes, network and sandbox are there    (kubelet)
//! │     ├─ init               → init containers are over, if it has any   (kubelet)
//! │     ├─ pull               → image is there, container has started     (kubelet)
//! │     ├─ run                → container is over                         (kubelet)
//! │     └─ drain              → its log was read to the end
//! └─ teardown                 removal of all objects
//! ```
//!
//! A span is given when it is over. What a run that is left to another replica had begun is that one's to give.

mod attempt;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::Timestamp;

use self::attempt::AttemptTrack;
use super::context::{Context, SpanId};
use super::derive::{Key, WorkflowTrace};
use super::span::{Kind, Part, Span, SpanEvent, Status, convention};
use super::words;
use crate::id::{Attempt, Epoch, PodUid, StepIndex};
use crate::outcome::{Deadline, NeverStarted, Outcome, StepState, WorkflowState};
use crate::report::StepReport;
use crate::run::{Action, Event};
use crate::workload::Workload;

/// What a pod says of its way to the container's start, by the clocks of those who brought it there. Kubernetes writes
/// whole seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodTimes {
    /// Which pod.
    pub uid: PodUid,
    /// Its name.
    pub name: String,
    /// The container that the step is.
    pub container: String,
    /// The node that it was bound to.
    pub node: Option<String>,
    /// When the API server took it.
    pub created: Option<Timestamp>,
    /// When it got a node.
    pub scheduled: Option<Timestamp>,
    /// When its volumes, network and sandbox were there; `None` also where the kubelet doesn't tell (before v1.29).
    pub sandbox: Option<Timestamp>,
    /// When its init containers were over; `None` also if it has none.
    pub initialized: Option<Timestamp>,
}

impl PodTimes {
    /// What this look and a later one say. A pod that is over has no sandbox any more: what was reached stays reached.
    fn and(self, later: Self) -> Self {
        Self {
            node: self.node.or(later.node),
            created: self.created.or(later.created),
            scheduled: self.scheduled.or(later.scheduled),
            sandbox: self.sandbox.or(later.sandbox),
            initialized: self.initialized.or(later.initialized),
            ..later
        }
    }
}

/// The record of one run. It knows what the run machine is told and what it wants done, and when.
#[derive(Debug)]
pub struct Recorder {
    trace: WorkflowTrace,
    epoch: Epoch,
    workload: Arc<Workload>,
    namespace: String,
    accepted: Timestamp,
    confirmed: Option<Timestamp>,
    preparing: Option<Timestamp>,
    tearing: Option<Timestamp>,
    events: Vec<SpanEvent>,
    steps: Vec<StepTrack>,
    /// How the first step that failed ended: why the workflow did.
    failure: Option<&'static str>,
    /// The workflow's own time limit ended steps.
    is_out_of_time: bool,
}

/// What is known of a step.
#[derive(Debug, Default)]
struct StepTrack {
    begun: Option<Timestamp>,
    attempt: Option<AttemptTrack>,
}

impl Recorder {
    /// The record of a run that was accepted at this time. `namespace` is that of the pods; `epoch` the one under which
    /// the run began.
    pub fn new(
        trace: WorkflowTrace,
        epoch: Epoch,
        workload: Arc<Workload>,
        namespace: String,
        accepted: Timestamp,
    ) -> Self {
        let steps = workload.steps().iter().map(|_| StepTrack::default()).collect();
        Self {
            trace,
            epoch,
            workload,
            namespace,
            accepted,
            confirmed: None,
            preparing: None,
            tearing: None,
            events: Vec::new(),
            steps,
            failure: None,
            is_out_of_time: false,
        }
    }

    /// What somebody is told who works under this part of an attempt; under that part of the whole run, if there is no
    /// attempt.
    pub fn context(&self, part: Part, attempt: Option<(StepIndex, Attempt)>, sampled: bool) -> Context {
        let (step, attempt) = attempt.unzip();
        self.trace.context(self.id(part, step, attempt), sampled)
    }

    /// A look at a step's pod. One at another pod than the current attempt's changes nothing.
    pub fn looked(&mut self, step: StepIndex, times: PodTimes) {
        if let Some(attempt) = &mut self.steps[step.0].attempt
            && attempt.is_about(&times.uid)
        {
            attempt.times = Some(match attempt.times.take() {
                Some(known) => known.and(times),
                None => times,
            });
        }
    }

    /// Something that the run machine is told. Gives what is over with it.
    pub fn heard(&mut self, event: &Event, now: Timestamp) -> Vec<Span> {
        let mut out = Vec::new();
        match event {
            Event::Confirmed => self.confirmed(now, &mut out),
            Event::Prepared => self.prepared(now, Status::Unset, &mut out),
            Event::PrepareFailed { reason, message: _ } => {
                let outcome = Outcome::NeverStarted { reason: *reason, message: String::new() };
                self.prepared(now, words::status(Some(&outcome)), &mut out);
            }
            Event::Created { step, attempt, uid } => self.track(*step, Some(*attempt), None, |track| {
                track.created = Some((now, uid.clone()));
                track.last = now;
            }),
            Event::CreateFailed { step, attempt, reason, .. } => self.track(*step, Some(*attempt), None, |track| {
                let reason: NeverStarted = *reason;
                track.outcome = Some(Outcome::NeverStarted { reason, message: String::new() });
                track.last = now;
            }),
            Event::Observed { step, observation } => {
                self.track(*step, None, Some(&observation.uid), |track| track.observed(observation, now));
            }
            Event::Gone { step, uid, .. } => self.track(*step, None, Some(uid), |track| track.gone(now)),
            Event::LogEnded { step, uid } => self.track(*step, None, Some(uid), |track| {
                track.log_ended = Some(now);
                track.last = now;
            }),
            Event::Cancel { .. } => self.events.push(SpanEvent { name: "cancel", time: now }),
            Event::Told { .. } | Event::Tick => {}
            Event::TornDown => {
                if let Some(begun) = self.tearing.take() {
                    out.push(self.child(Part::Teardown, begun, now));
                }
            }
        }
        out
    }

    /// Something that the run machine wants done. Gives what is over with it.
    pub fn doing(&mut self, action: &Action, now: Timestamp) -> Vec<Span> {
        let mut out = Vec::new();
        match action {
            Action::Prepare => self.preparing = Some(now),
            Action::Create { step, attempt, .. } => self.create(*step, *attempt, now, &mut out),
            Action::Stop { step, attempt, .. } => self.track(*step, Some(*attempt), None, |track| {
                track.events.push(SpanEvent { name: "stop", time: now });
            }),
            Action::Report(report) if report.state.is_final() => self.over(report, now, &mut out),
            Action::Finish { state, error } => self.finish(*state, error, now, &mut out),
            Action::Teardown => self.tearing = Some(now),
            Action::Tail { .. }
            | Action::Listen { .. }
            | Action::Say { .. }
            | Action::CloseLog { .. }
            | Action::Report(_) => {}
        }
        out
    }

    /// The current attempt at a step, if it is this one, and has this pod.
    fn track(
        &mut self,
        step: StepIndex,
        attempt: Option<Attempt>,
        uid: Option<&PodUid>,
        change: impl FnOnce(&mut AttemptTrack),
    ) {
        if let Some(track) = &mut self.steps[step.0].attempt
            && attempt.is_none_or(|attempt| track.number == attempt)
            && uid.is_none_or(|uid| track.is_about(uid))
        {
            change(track);
        }
    }

    fn confirmed(&mut self, now: Timestamp, out: &mut Vec<Span>) {
        if self.confirmed.is_none() {
            self.confirmed = Some(now);
            out.push(self.child(Part::Accept, self.accepted, now));
        }
    }

    fn prepared(&mut self, now: Timestamp, status: Status, out: &mut Vec<Span>) {
        if let Some(begun) = self.preparing.take() {
            out.push(Span { status, ..self.child(Part::Prepare, begun, now) });
        }
    }

    fn create(&mut self, step: StepIndex, attempt: Attempt, now: Timestamp, out: &mut Vec<Span>) {
        let track = &mut self.steps[step.0];
        track.begun.get_or_insert(now);
        match track.attempt.take() {
            // Nobody answered for the first try at it: it is the same attempt, and may be the same pod.
            Some(current) if current.number == attempt => track.attempt = Some(current),
            earlier => {
                track.attempt = Some(AttemptTrack::new(attempt, now));
                if let Some(earlier) = earlier {
                    earlier.spans(self, step, None, out);
                }
            }
        }
    }

    fn over(&mut self, report: &StepReport, now: Timestamp, out: &mut Vec<Span>) {
        let Some(index) = self.workload.indexed().find_map(|(index, step)| (step.id == report.step).then_some(index))
        else {
            return;
        };
        let before = out.len();
        if let Some(mut attempt) = self.steps[index.0].attempt.take() {
            attempt.last = attempt.last.max(now);
            attempt.spans(self, index, Some(report), out);
        }
        // A node's clock may be ahead of ours.
        let end = out.iter().skip(before).map(|span| span.end).max().unwrap_or(now).max(now);
        let result = words::task_result(report.state, report.outcome.as_ref());
        let is_cut = matches!(report.outcome, Some(Outcome::DeadlineExceeded { which: Deadline::Workflow }));
        self.is_out_of_time |= is_cut;
        let class = report.outcome.as_ref().map_or(convention::OTHER, Outcome::class);
        if is_cut || report.state == StepState::Failure {
            self.failure.get_or_insert(class);
        }
        let begun = self.steps[index.0].begun.unwrap_or(now);
        let spec = &self.workload.step(index).spec;
        let mut span = self.child(Part::Step, begun, end);
        span.id = self.id(Part::Step, Some(index), None);
        span.name.clone_from(&spec.name);
        span.attributes.extend(words::task(&spec.name, &report.step, result));
        span.attributes.extend(words::image(&spec.image));
        if words::is_failure(result) {
            span.attributes.push((convention::ERROR_TYPE, words::text(class)));
            span.status = Status::Error(class.into());
        }
        out.push(span);
    }

    fn finish(&mut self, state: WorkflowState, error: &str, now: Timestamp, out: &mut Vec<Span>) {
        if self.confirmed.is_none() {
            out.push(self.child(Part::Accept, self.accepted, now));
        }
        let result = words::pipeline_result(state, !error.is_empty(), self.is_out_of_time);
        let mut span = self.child(Part::Agent, self.accepted, now);
        span.parent = self.trace.parent().map(|parent| parent.span);
        span.is_parent_remote = span.parent.is_some();
        span.kind = Kind::Server;
        span.name = words::run_name(&self.workload.name);
        span.events = std::mem::take(&mut self.events);
        span.attributes.extend([
            (convention::PIPELINE_ACTION, words::text(words::ACTION)),
            (convention::PIPELINE_RESULT, words::text(result)),
            (convention::EPOCH, words::number(self.epoch.0)),
        ]);
        if words::is_failure(result) {
            let class = self.failure.unwrap_or(convention::OTHER);
            span.attributes.push((convention::ERROR_TYPE, words::text(class)));
            span.status = Status::Error(class.into());
        }
        out.push(span);
    }

    fn id(&self, part: Part, step: Option<StepIndex>, attempt: Option<Attempt>) -> SpanId {
        let mut key = Key::new(part.as_str()).epoch(self.epoch);
        if let Some(step) = step {
            key = key.step(&self.workload.step(step).id);
        }
        if let Some(attempt) = attempt {
            key = key.attempt(attempt);
        }
        self.trace.span(key)
    }

    /// A span of the whole run, below the agent's own.
    fn child(&self, part: Part, start: Timestamp, end: Timestamp) -> Span {
        Span {
            part,
            trace: self.trace.id(),
            id: self.id(part, None, None),
            parent: Some(self.id(Part::Agent, None, None)),
            is_parent_remote: false,
            state: self.trace.parent().map(|parent| parent.state.clone()).unwrap_or_default(),
            name: part.as_str().to_owned(),
            kind: Kind::Internal,
            start,
            end: end.max(start),
            attributes: words::pipeline(&self.workload.name, self.trace.workflow()).into(),
            events: Vec::new(),
            status: Status::Unset,
        }
    }
}
