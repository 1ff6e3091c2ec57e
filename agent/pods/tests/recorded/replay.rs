//! Gives a run what a pod showed, when it showed it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Event as ClusterEvent, Pod};
use piculet_core::id::{PodUid, StepIndex, WorkflowId};
use piculet_core::observation::Seen;
use piculet_core::outcome::{Outcome, StepState};
use piculet_core::run::{Action, Event, Limits, Run};
use piculet_core::workload::{StageSpec, StepSpec, Workload, WorkloadSpec};
use piculet_pods::observe;
use piculet_pods::said::said;
use serde_json::Value;

const STEP: StepIndex = StepIndex(0);

/// What one pod showed, and what was said of it.
pub(crate) struct Recorded {
    pub(crate) name: String,
    uid: PodUid,
    /// With the time since the recording's beginning.
    pub(crate) seen: Vec<(Duration, Shown)>,
}

pub(crate) enum Shown {
    Pod(Box<Pod>),
    Gone,
    Event(Box<ClusterEvent>),
}

/// How the step ended.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) state: StepState,
    pub(crate) class: &'static str,
    pub(crate) exit_code: Option<i32>,
}

/// The steps' pods of a recording, in the order of their creation.
pub(crate) fn pods(recording: &str) -> Vec<Recorded> {
    let mut pods: Vec<Recorded> = Vec::new();
    let mut events: BTreeMap<String, Vec<(Duration, Shown)>> = BTreeMap::new();
    for line in recording.lines() {
        let Value::Object(mut line) = serde_json::from_str(line).unwrap() else { panic!("{line}") };
        let at = Duration::from_millis(line["at"].as_u64().unwrap());
        let object = line["object"].take();
        if line["kind"] == "Event" {
            let event: ClusterEvent = serde_json::from_value(object).unwrap();
            let about = event.involved_object.uid.clone().unwrap_or_default();
            events.entry(about).or_default().push((at, Shown::Event(Box::new(event))));
            continue;
        }
        let pod: Pod = serde_json::from_value(object).unwrap();
        let is_steps = pod.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key("step"));
        if !is_steps {
            continue;
        }
        let uid = PodUid::new(pod.metadata.uid.clone().unwrap());
        let shown = match line["type"].as_str() {
            Some("DELETED") => Shown::Gone,
            _ => Shown::Pod(Box::new(pod.clone())),
        };
        match pods.iter_mut().find(|known| known.uid == uid) {
            Some(known) => known.seen.push((at, shown)),
            None => pods.push(Recorded { name: pod.metadata.name.unwrap(), uid, seen: vec![(at, shown)] }),
        }
    }
    for pod in &mut pods {
        pod.seen.extend(events.remove(pod.uid.as_str()).unwrap_or_default());
        pod.seen.sort_by_key(|(at, _)| *at);
    }
    pods
}

/// The first `length` looks; then nothing more comes until the run's own limits end it.
#[expect(clippy::disallowed_methods, reason = "any moment will do; time passes by what was recorded")]
pub(crate) fn replay(recorded: &Recorded, length: usize) -> End {
    let spec = StepSpec { id: "a".to_owned(), name: "a".to_owned(), image: "a".to_owned(), ..StepSpec::default() };
    let spec = WorkloadSpec { stages: vec![StageSpec { steps: vec![spec] }], ..WorkloadSpec::default() };
    let workload = Workload::new(WorkflowId::new("1"), spec).unwrap();
    let mut player =
        Player { run: Run::new(workload.into(), limits()), uid: recorded.uid.clone(), end: None, over: false };
    let start = Instant::now();
    let begin = start + recorded.seen.first().map_or(Duration::ZERO, |(at, _)| *at);
    player.on(Event::Confirmed, begin);
    player.on(Event::Prepared, begin);
    for (at, shown) in &recorded.seen[..length] {
        player.until(start + *at);
        let uid = recorded.uid.clone();
        let event = match shown {
            Shown::Pod(pod) => {
                let container = container(pod);
                let observation = observe(pod, &container);
                player.over = matches!(observation.seen, Seen::Ended(_));
                Event::Observed { step: STEP, observation }
            }
            Shown::Gone => Event::Gone { step: STEP, uid, witnessed: true },
            Shown::Event(event) => match said(event) {
                Some((uid, said)) => Event::Told { step: STEP, uid, said },
                None => continue,
            },
        };
        player.on(event, start + *at);
    }
    player.until(start + Duration::from_secs(24 * 3600));
    player.end.unwrap_or_else(|| panic!("the step of {} has no end", recorded.name))
}

/// The step's own: the only one that has its pod's name, as others may be beside it.
fn container(pod: &Pod) -> String {
    let containers = &pod.spec.as_ref().unwrap().containers;
    let own = containers.iter().find(|container| Some(&container.name) == pod.metadata.name.as_ref());
    own.unwrap_or(&containers[0]).name.clone()
}

/// As short as in `tests/e2e`, where it was recorded.
fn limits() -> Limits {
    Limits {
        schedule: Duration::from_secs(15),
        pull: Duration::from_secs(30),
        pull_again: Duration::from_secs(20),
        create: Duration::from_secs(20),
        explain: Duration::from_secs(2),
        lost: Duration::from_secs(20),
        creations: 1,
        ..Limits::default()
    }
}

struct Player {
    run: Run,
    uid: PodUid,
    end: Option<End>,
    /// The container is over, so that its log is read at once.
    over: bool,
}

impl Player {
    /// Lets time pass.
    fn until(&mut self, time: Instant) {
        while let Some(due) = self.run.due().filter(|due| *due <= time) {
            self.on(Event::Tick, due);
        }
    }

    fn on(&mut self, event: Event, now: Instant) {
        for action in self.run.on(event, now) {
            match action {
                Action::Create { step, attempt, .. } => {
                    self.on(Event::Created { step, attempt, uid: self.uid.clone() }, now);
                }
                Action::Report(report) if report.state.is_final() => {
                    let class = report.outcome.as_ref().map_or("", Outcome::class);
                    let exit_code = report.outcome.as_ref().and_then(Outcome::exit_code);
                    self.end = Some(End { state: report.state, class, exit_code });
                }
                _ => {}
            }
        }
        if self.over {
            self.over = false;
            self.on(Event::LogEnded { step: STEP, uid: self.uid.clone() }, now);
        }
    }
}
