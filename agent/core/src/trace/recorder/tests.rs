//! The record of a run by example: events at seconds, a tree of spans.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::{PodTimes, Recorder};
use crate::id::{Attempt, Epoch, PodUid, ServerId, StepIndex, WorkflowId};
use crate::observation::{Ended, Observation, Seen, WaitPhase, Waiting};
use crate::outcome::{Deadline, NeverStarted, Outcome, StepState, WorkflowState};
use crate::run::{Event, Limits, Run};
use crate::trace::words;
use crate::trace::{Context, Key, Part, Span, Status, Value, WorkflowTrace, convention};
use crate::workload::{StageSpec, StepSpec, Workload, WorkloadSpec};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A machine, its record, and what came of it.
struct Drive {
    run: Run,
    recorder: Recorder,
    zero: Instant,
    spans: Vec<Span>,
}

#[expect(clippy::disallowed_methods, reason = "a starting point; the machine only ever adds to it")]
fn zero() -> Instant {
    Instant::now()
}

fn at(milliseconds: i64) -> Timestamp {
    let start = Timestamp::from_second(1_700_000_000).unwrap();
    start + SignedDuration::from_millis(milliseconds)
}

fn step(name: &str) -> StepSpec {
    let image = "registry:5000/ci/go:1.26@sha256:0123".to_owned();
    StepSpec { id: format!("id-{name}"), name: name.to_owned(), image, ..StepSpec::default() }
}

impl Drive {
    fn new(stages: Vec<Vec<StepSpec>>, parent: Option<Context>) -> Self {
        let stages = stages.into_iter().map(|steps| StageSpec { steps }).collect();
        let spec = WorkloadSpec { name: "build".to_owned(), stages, ..WorkloadSpec::default() };
        let workload = Arc::new(Workload::new(WorkflowId::new("7"), spec).unwrap());
        let trace = WorkflowTrace::new(ServerId::new("server"), WorkflowId::new("7"), parent);
        Self {
            run: Run::new(Arc::clone(&workload), Limits::default()),
            recorder: Recorder::new(trace, Epoch(1), workload, "ci".to_owned(), at(0)),
            zero: zero(),
            spans: Vec::new(),
        }
    }

    fn at(&mut self, milliseconds: u32, event: Event) {
        let now = at(i64::from(milliseconds));
        self.spans.extend(self.recorder.heard(&event, now));
        let then = self.zero + Duration::from_millis(u64::from(milliseconds));
        for action in self.run.on(event, then) {
            self.spans.extend(self.recorder.doing(&action, now));
        }
    }

    fn prepared(&mut self) {
        self.at(100, Event::Confirmed);
        self.at(400, Event::Prepared);
    }

    fn created(&mut self, milliseconds: u32, index: usize, attempt: u32) {
        let uid = uid(index, attempt);
        self.at(milliseconds, Event::Created { step: StepIndex(index), attempt: Attempt(attempt), uid });
    }

    /// A look at the pod that shows these times, in seconds.
    fn looked(&mut self, index: usize, attempt: u32, times: [Option<i64>; 3]) {
        let [scheduled, sandbox, initialized] = times.map(|time| time.map(|seconds| at(1000 * seconds)));
        let times = PodTimes {
            uid: uid(index, attempt),
            name: format!("wp-{index}"),
            container: "step".to_owned(),
            node: scheduled.map(|_| "node-1".to_owned()),
            created: Some(at(60_000 * i64::from(attempt - 1))),
            scheduled,
            sandbox,
            initialized,
        };
        self.recorder.looked(StepIndex(index), times);
    }

    fn seen(&mut self, milliseconds: u32, index: usize, attempt: u32, seen: Seen) {
        self.seen_going(milliseconds, index, attempt, seen, None);
    }

    fn seen_going(&mut self, milliseconds: u32, index: usize, attempt: u32, seen: Seen, going: Option<Outcome>) {
        let (asked, node) = (going.is_some(), Some("node-1".to_owned()));
        let observation = Observation { uid: uid(index, attempt), seen, going, asked, settled: true, node };
        self.at(milliseconds, Event::Observed { step: StepIndex(index), observation });
    }

    fn log_ended(&mut self, milliseconds: u32, index: usize, attempt: u32) {
        self.at(milliseconds, Event::LogEnded { step: StepIndex(index), uid: uid(index, attempt) });
    }

    /// Every span below those that it belongs to, with its times in milliseconds and how it ended.
    fn tree(&self) -> String {
        let mut text = String::new();
        let roots = self.spans.iter().filter(|span| self.spans.iter().all(|other| Some(other.id) != span.parent));
        for root in roots {
            self.branch(root, 0, &mut text);
        }
        text
    }

    fn branch(&self, span: &Span, depth: usize, text: &mut String) {
        let milliseconds = |time: Timestamp| time.duration_since(at(0)).as_millis();
        let (start, end) = (milliseconds(span.start), milliseconds(span.end));
        write!(text, "{}{} {start}..{end}", "  ".repeat(depth), span.name).unwrap();
        if let Status::Error(class) = &span.status {
            write!(text, " {class}").unwrap();
        }
        for event in &span.events {
            write!(text, " {}@{}", event.name, milliseconds(event.time)).unwrap();
        }
        text.push('\n');
        let mut children: Vec<_> = self.spans.iter().filter(|child| child.parent == Some(span.id)).collect();
        children.sort_by_key(|child| (child.start, child.end));
        for child in children {
            self.branch(child, depth + 1, text);
        }
    }

    fn span(&self, part: Part) -> &Span {
        self.spans.iter().find(|span| span.part == part).unwrap()
    }
}

fn uid(index: usize, attempt: u32) -> PodUid {
    PodUid::new(format!("uid-{index}-{attempt}"))
}

fn running(seconds: i64) -> Seen {
    Seen::Running { started: Some(at(1000 * seconds)) }
}

fn ended(outcome: Outcome, started: i64, finished: i64) -> Seen {
    Seen::Ended(Ended { outcome, started: Some(at(1000 * started)), finished: Some(at(1000 * finished)) })
}

fn text(span: &Span, name: &str) -> Option<String> {
    span.attributes.iter().find(|(key, _)| *key == name).map(|(_, value)| match value {
        Value::Text(text) => text.clone(),
        other => format!("{other:?}"),
    })
}

#[test]
fn a_step_is_timed_by_those_who_did_the_work() {
    let mut drive = Drive::new(vec![vec![step("unit")]], None);
    drive.prepared();
    drive.created(450, 0, 1);
    drive.looked(0, 1, [Some(1), Some(3), None]);
    drive.seen(5_200, 0, 1, running(5));
    drive.looked(0, 1, [Some(1), Some(3), Some(4)]);
    drive.looked(0, 1, [Some(1), None, Some(4)]);
    drive.seen(9_300, 0, 1, ended(Outcome::Exited { code: 0 }, 5, 9));
    drive.log_ended(9_900, 0, 1);
    drive.at(10_500, Event::TornDown);
    assert_eq!(
        drive.tree(),
        "\
RUN build 0..9900
  accept 0..100
  prepare 100..400
  unit 400..9900
    attempt 400..9900
      create 400..450
      schedule 400..1000
      sandbox 1000..3000
      init 3000..4000
      pull 4000..5000
      run 5000..9000
      drain 9000..9900
  teardown 9900..10500
"
    );
    let attempt = drive.span(Part::Attempt);
    assert_eq!(text(attempt, convention::POD_NAME).as_deref(), Some("wp-0"));
    assert_eq!(text(attempt, convention::POD_UID).as_deref(), Some("uid-0-1"));
    assert_eq!(text(attempt, convention::NODE_NAME).as_deref(), Some("node-1"));
    let step = drive.span(Part::Step);
    assert_eq!(text(step, convention::IMAGE_NAME).as_deref(), Some("registry:5000/ci/go"));
    assert_eq!(text(step, convention::TASK_RESULT).as_deref(), Some("success"));
    assert_eq!(text(drive.span(Part::Agent), convention::PIPELINE_RESULT).as_deref(), Some("success"));
    assert_eq!(text(drive.span(Part::Agent), convention::ERROR_TYPE), None);
}

#[test]
fn steps_of_a_stage_lie_beside_each_other() {
    let mut drive = Drive::new(vec![vec![step("a"), step("b")], vec![step("c")]], None);
    drive.prepared();
    for (index, end) in [(0, 6), (1, 3)] {
        drive.created(500, index, 1);
        drive.looked(index, 1, [Some(1), Some(1), None]);
        drive.seen(2_100, index, 1, running(2));
        drive.seen(1000 * end + 100, index, 1, ended(Outcome::Exited { code: 0 }, 2, i64::from(end)));
        drive.log_ended(1000 * end + 200, index, 1);
    }
    let c = drive.spans.iter().filter(|span| span.part == Part::Step);
    let steps: Vec<_> = c.map(|span| (span.name.as_str(), span.start, span.end)).collect();
    assert_eq!(steps, [("a", at(400), at(6_200)), ("b", at(400), at(3_200))]);
}

#[test]
fn an_attempt_that_failed_is_a_span_of_its_own() {
    let mut drive = Drive::new(vec![vec![StepSpec { max_attempts: 2, ..step("unit") }]], None);
    drive.prepared();
    drive.created(450, 0, 1);
    drive.looked(0, 1, [Some(1), Some(1), None]);
    drive.seen(2_100, 0, 1, running(2));
    let evicted = Outcome::Evicted { reason: "memory".to_owned() };
    drive.seen(4_100, 0, 1, ended(evicted, 2, 4));
    drive.log_ended(4_200, 0, 1);
    drive.at(60_000, Event::Tick);
    drive.created(60_100, 0, 2);
    drive.looked(0, 2, [Some(61), Some(61), None]);
    drive.seen(63_000, 0, 2, ended(Outcome::Exited { code: 3 }, 62, 63));
    drive.log_ended(63_500, 0, 2);
    assert_eq!(
        drive.tree(),
        "\
RUN build 0..63500 exited
  accept 0..100
  prepare 100..400
  unit 400..63500 exited
    attempt 400..4200 evicted
      create 400..450
      schedule 400..1000
      sandbox 1000..1000
      pull 1000..2000
      run 2000..4000 evicted
      drain 4000..4200
    attempt 60000..63500 exited
      create 60000..60100
      schedule 60000..61000
      sandbox 61000..61000
      pull 61000..62000
      run 62000..63000 exited
      drain 63000..63500
"
    );
    assert_eq!(text(drive.span(Part::Step), convention::TASK_RESULT).as_deref(), Some("failure"));
}

#[test]
fn what_was_never_reached_ends_with_the_attempt() {
    let table = [
        ([None, None, None], "schedule 400..700 never_started"),
        ([Some(0), None, None], "sandbox 400..700 never_started"),
        ([Some(0), Some(0), None], "pull 400..700 never_started"),
    ];
    for (times, expected) in table {
        let mut drive = Drive::new(vec![vec![step("unit")]], None);
        drive.prepared();
        drive.created(450, 0, 1);
        drive.looked(0, 1, times);
        let (phase, reason) = (WaitPhase::Pull, NeverStarted::ImagePull);
        let hopeless = Waiting { phase, reason, hopeless: true, message: "s3cret".to_owned() };
        drive.seen(600, 0, 1, Seen::Waiting(hopeless));
        drive.at(700, Event::Gone { step: StepIndex(0), uid: uid(0, 1), witnessed: true });
        let tree = drive.tree();
        assert!(tree.contains(expected), "{tree}");
        assert!(tree.contains("attempt 400..700 never_started stop@600"), "{tree}");
        assert!(!tree.contains("run "), "{tree}");
        assert!(!format!("{:?}", drive.spans).contains("s3cret"), "the cluster's words may hold anything");
        assert_eq!(text(drive.span(Part::Step), convention::TASK_RESULT).as_deref(), Some("error"));
    }
}

#[test]
fn a_pod_that_was_refused_was_only_asked_for() {
    let mut drive = Drive::new(vec![vec![step("unit")], vec![step("later")]], None);
    drive.prepared();
    let (reason, message) = (NeverStarted::Admission, "no".to_owned());
    let refused = Event::CreateFailed { step: StepIndex(0), attempt: Attempt(1), reason, message, may_exist: false };
    drive.at(500, refused);
    assert_eq!(
        drive.tree(),
        "\
RUN build 0..500 never_started
  accept 0..100
  prepare 100..400
  unit 400..500 never_started
    attempt 400..500 never_started
      create 400..500 never_started
  later 500..500
"
    );
}

#[test]
fn a_cluster_that_tells_less_gets_fewer_spans() {
    for (times, expected) in [([Some(1), None, None], "start 1000..2000"), ([None, None, None], "start 400..2000")] {
        let mut drive = Drive::new(vec![vec![step("unit")]], None);
        drive.prepared();
        drive.created(450, 0, 1);
        drive.looked(0, 1, times);
        drive.seen(3_000, 0, 1, ended(Outcome::Exited { code: 0 }, 2, 3));
        drive.log_ended(3_100, 0, 1);
        assert!(drive.tree().contains(expected), "{}", drive.tree());
    }
}

#[test]
fn a_workflow_that_was_never_ours_is_short() {
    let mut drive = Drive::new(vec![vec![step("unit")]], None);
    drive.at(300, Event::Cancel { by: "alice".to_owned(), grace: None });
    assert_eq!(drive.tree(), "RUN build 0..300 cancel@300\n  accept 0..300\n  unit 300..300\n");
    assert_eq!(text(drive.span(Part::Agent), convention::PIPELINE_RESULT).as_deref(), Some("cancellation"));
}

#[test]
fn the_time_limit_is_a_timeout() {
    let mut drive = Drive::new(vec![vec![step("unit")]], None);
    drive.prepared();
    drive.created(450, 0, 1);
    drive.looked(0, 1, [Some(1), Some(1), None]);
    drive.seen(2_100, 0, 1, running(2));
    drive.at(3_700_000, Event::Tick);
    let going = Outcome::PodDeleted { by: None };
    drive.seen_going(3_701_000, 0, 1, ended(Outcome::Exited { code: 143 }, 2, 3_701), Some(going));
    drive.log_ended(3_701_500, 0, 1);
    let tree = drive.tree();
    assert!(tree.starts_with("RUN build 0..3701500 deadline_exceeded\n"), "{tree}");
    assert!(tree.contains("attempt 400..3701500 deadline_exceeded stop@3700000\n"), "{tree}");
    assert!(tree.contains("run 2000..3701000 deadline_exceeded\n"), "{tree}");
    assert_eq!(text(drive.span(Part::Agent), convention::PIPELINE_RESULT).as_deref(), Some("timeout"));
}

#[test]
fn another_instance_gives_the_same_ids_and_the_step_continues_them() {
    let parent = Context::parse(PARENT, "a=b").unwrap();
    let play = || {
        let mut drive = Drive::new(vec![vec![step("unit")]], Some(parent.clone()));
        drive.prepared();
        drive.created(450, 0, 1);
        drive.looked(0, 1, [Some(1), Some(1), None]);
        drive.seen(3_000, 0, 1, ended(Outcome::Exited { code: 0 }, 2, 3));
        drive.log_ended(3_100, 0, 1);
        drive
    };
    let (first, second) = (play(), play());
    assert_eq!(first.spans, second.spans);
    let agent = first.span(Part::Agent);
    assert_eq!((agent.parent, agent.is_parent_remote), (Some(parent.span), true));
    assert!(first.spans.iter().all(|span| span.trace == parent.trace && span.state == "a=b"));
    let context = first.recorder.context(Part::Run, Some((StepIndex(0), Attempt(1))), true);
    assert_eq!((context.trace, context.span), (parent.trace, first.span(Part::Run).id));
    let server = WorkflowTrace::new(ServerId::new("server"), WorkflowId::new("7"), Some(parent));
    assert_eq!(agent.id, server.span(Key::new("agent").epoch(Epoch(1))), "the server can name the agent's span");
}

#[test]
fn ends_have_the_words_of_the_conventions() {
    let task = |outcome: Outcome| words::task_result(outcome.state(), Some(&outcome));
    let message = String::new;
    for (outcome, expected) in [
        (Outcome::Exited { code: 0 }, "success"),
        (Outcome::Exited { code: 1 }, "failure"),
        (Outcome::OomKilled { limit: None, code: Some(0) }, "failure"),
        (Outcome::NodeLost { node: None }, "error"),
        (Outcome::Unknown { message: message() }, "error"),
        (Outcome::DeadlineExceeded { which: Deadline::Step }, "timeout"),
        (Outcome::DeadlineExceeded { which: Deadline::Workflow }, "timeout"),
        (Outcome::Cancelled { by: message() }, "cancellation"),
    ] {
        assert_eq!(task(outcome.clone()), expected, "{outcome:?}");
    }
    assert_eq!(words::task_result(StepState::Skipped, None), "skip");
    assert_eq!(words::task_result(StepState::Success, None), "success", "a service that nobody needed any more");
    assert_eq!(words::pipeline_result(WorkflowState::Failure, true, false), "error");
    assert_eq!(words::pipeline_result(WorkflowState::Killed, false, false), "cancellation");
    for (image, name, tag) in [("alpine", "alpine", None), ("r:5/a", "r:5/a", None), ("r:5/a:b", "r:5/a", Some("b"))] {
        let attributes = words::image(image);
        assert_eq!(attributes[0].1, Value::Text(name.to_owned()));
        assert_eq!(
            attributes.get(1).map(|(_, value)| value),
            tag.map(|tag| Value::Texts(vec![tag.to_owned()])).as_ref()
        );
    }
}

#[test]
fn no_two_parts_have_one_name() {
    let names: std::collections::BTreeSet<_> = Part::ALL.iter().map(|part| part.as_str()).collect();
    assert_eq!(names.len(), Part::ALL.len());
}
