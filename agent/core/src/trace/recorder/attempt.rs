//! One attempt at a step, and its spans.

use jiff::{SignedDuration, Timestamp};

use super::super::span::{Part, Span, SpanEvent, Status, convention};
use super::super::words;
use super::{PodTimes, Recorder};
use crate::id::{Attempt, PodUid, StepIndex};
use crate::observation::{Observation, Seen};
use crate::outcome::{Outcome, StepState};
use crate::report::StepReport;

/// What is known of an attempt.
#[derive(Debug)]
pub(super) struct AttemptTrack {
    pub(super) number: Attempt,
    begun: Timestamp,
    /// When its pod was there, and which one it is.
    pub(super) created: Option<(Timestamp, PodUid)>,
    /// What the pod last said.
    pub(super) times: Option<PodTimes>,
    /// The container's start: as the kubelet has it, else when it was seen.
    started: Option<Timestamp>,
    /// The container's end, in the same way.
    finished: Option<Timestamp>,
    /// How it was last seen to have ended.
    pub(super) outcome: Option<Outcome>,
    pub(super) log_ended: Option<Timestamp>,
    pub(super) events: Vec<SpanEvent>,
    /// When anything was last heard of it.
    pub(super) last: Timestamp,
}

impl AttemptTrack {
    pub(super) fn new(number: Attempt, begun: Timestamp) -> Self {
        Self {
            number,
            begun,
            created: None,
            times: None,
            started: None,
            finished: None,
            outcome: None,
            log_ended: None,
            events: Vec::new(),
            last: begun,
        }
    }

    /// Whether its pod is this one.
    pub(super) fn is_about(&self, uid: &PodUid) -> bool {
        self.created.as_ref().is_some_and(|(_, own)| own == uid)
    }

    pub(super) fn observed(&mut self, observation: &Observation, now: Timestamp) {
        // What comes after the container's end changes nothing of what was.
        if self.finished.is_some() {
            return;
        }
        self.last = now;
        match &observation.seen {
            Seen::Waiting(_) => {}
            Seen::Running { started } => {
                self.started.get_or_insert_with(|| started.unwrap_or(now));
            }
            Seen::Ended(ended) => {
                let ran = ended.started.is_some() || ended.outcome.exit_code().is_some();
                if self.started.is_none() && ran {
                    self.started = Some(ended.started.or(ended.finished).unwrap_or(now));
                }
                if self.started.is_some() {
                    self.finished = Some(ended.finished.unwrap_or(now));
                }
                let going = observation.going.clone();
                self.outcome = Some(going.unwrap_or_else(|| ended.outcome.clone()));
            }
        }
    }

    pub(super) fn gone(&mut self, now: Timestamp) {
        if self.finished.is_none() {
            self.last = now;
            self.finished = self.started.map(|_| now);
            self.outcome.get_or_insert(Outcome::PodDeleted { by: None });
        }
    }

    /// The spans of an attempt that is over. `report`: the step's, if it is over with it.
    pub(super) fn spans(self, recorder: &Recorder, step: StepIndex, report: Option<&StepReport>, out: &mut Vec<Span>) {
        let outcome = match report {
            Some(report) => report.outcome.clone(),
            None => self.outcome.clone(),
        };
        let mut children = Children { recorder, step, attempt: self.number, spans: Vec::new() };
        if let Some((created, _)) = &self.created {
            children.add(Part::Create, self.begun, *created, Status::Unset);
            self.way_to_the_start(&mut children, &words::status(outcome.as_ref()));
        } else {
            children.add(Part::Create, self.begun, self.last, words::status(outcome.as_ref()));
        }
        if let Some(started) = self.started {
            let start = children.end_of_the_way().map_or(started, |end| not_before(started, end));
            let finished = self.finished.unwrap_or(self.last).max(start);
            let run = children.add(Part::Run, start, finished, words::status(outcome.as_ref()));
            run.attributes.extend(words::exit_code(outcome.as_ref()));
            let log_ended = self.log_ended.unwrap_or(self.last);
            children.add(Part::Drain, finished, log_ended, Status::Unset);
        }
        let end = children.spans.iter().map(|span| span.end).max().unwrap_or(self.last).max(self.last);
        let mut span = recorder.child(Part::Attempt, self.begun, end);
        span.id = recorder.id(Part::Attempt, Some(step), Some(self.number));
        span.parent = Some(recorder.id(Part::Step, Some(step), None));
        span.events = self.events;
        span.attributes.push((convention::ATTEMPT, words::number(u64::from(self.number.0))));
        let place = words::pod(&recorder.namespace, self.times.as_ref(), self.created.as_ref().map(|(_, uid)| uid));
        span.attributes.extend(place);
        let is_success = report.is_some_and(|report| report.state == StepState::Success);
        if !is_success {
            span.status = words::status(outcome.as_ref());
            span.attributes.extend(words::error_type(outcome.as_ref()));
        }
        children.spans.push(span);
        out.append(&mut children.spans);
    }

    /// From the pod's creation to the container's start. What was never reached ends with the attempt, and as it did.
    fn way_to_the_start(&self, children: &mut Children<'_>, stuck: &Status) {
        let Some(times) = &self.times else {
            // The cluster never said anything about it.
            return;
        };
        let mut from = times.created.map_or(self.begun, |created| not_before(created, self.begun));
        let mut reach = |part, at: Timestamp, status| {
            let at = at.max(from);
            children.add(part, from, at, status);
            from = at;
        };
        let Some(scheduled) = times.scheduled else {
            match self.started {
                Some(started) => reach(Part::Start, started, Status::Unset),
                None => reach(Part::Schedule, self.last, stuck.clone()),
            }
            return;
        };
        reach(Part::Schedule, scheduled, Status::Unset);
        let Some(sandbox) = times.sandbox else {
            match self.started {
                Some(started) => reach(Part::Start, started, Status::Unset),
                None => reach(Part::Sandbox, self.last, stuck.clone()),
            }
            return;
        };
        reach(Part::Sandbox, sandbox, Status::Unset);
        if let Some(initialized) = times.initialized {
            reach(Part::Init, initialized, Status::Unset);
        }
        match self.started {
            Some(started) => reach(Part::Pull, started, Status::Unset),
            None => reach(Part::Pull, self.last, stuck.clone()),
        }
    }
}

/// The spans below an attempt.
struct Children<'a> {
    recorder: &'a Recorder,
    step: StepIndex,
    attempt: Attempt,
    spans: Vec<Span>,
}

impl Children<'_> {
    fn add(&mut self, part: Part, start: Timestamp, end: Timestamp, status: Status) -> &mut Span {
        let mut span = self.recorder.child(part, start, end);
        span.id = self.recorder.id(part, Some(self.step), Some(self.attempt));
        span.parent = Some(self.recorder.id(Part::Attempt, Some(self.step), Some(self.attempt)));
        span.status = status;
        self.spans.push(span);
        let last = self.spans.len() - 1;
        &mut self.spans[last]
    }

    /// When the container's start was reached.
    fn end_of_the_way(&self) -> Option<Timestamp> {
        self.spans.iter().filter(|span| span.part != Part::Create).map(|span| span.end).max()
    }
}

/// Kubernetes cuts its times to whole seconds: one that seems to come before what it came after did so within its second.
fn not_before(time: Timestamp, earlier: Timestamp) -> Timestamp {
    let is_cut = earlier.duration_since(time) < SignedDuration::from_secs(1);
    if time < earlier && is_cut { earlier } else { time }
}
