//! Random clusters against the machine: its promises hold, and every row of its table is reached.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::step::Phase;
use super::super::{Action, Event, Limits, Run, State};
use super::{ended, start, step, stopped, uid, workload};
use crate::id::{Attempt, StepIndex};
use crate::observation::{Ended, Observation, Said, Seen, WaitPhase, Waiting};
use crate::outcome::{NeverStarted, Outcome, StepState, WorkflowState};
use crate::workload::{FailurePolicy, StepKind, StepSpec, Workload};

/// A small generator: the same seed gives the same run. (xorshift64*)
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from((self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % n as u64).unwrap()
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

fn random_workload(dice: &mut Dice) -> Arc<Workload> {
    let mut count = 0;
    let stages = (0..=dice.below(3)).map(|_| {
        let steps = (0..=dice.below(2)).map(|_| {
            count += 1;
            StepSpec {
                kind: if dice.one_in(4) { StepKind::Service } else { StepKind::Commands },
                on_success: !dice.one_in(4),
                on_failure: dice.one_in(3),
                failure: [FailurePolicy::Fail, FailurePolicy::Fail, FailurePolicy::Ignore, FailurePolicy::Cancel]
                    [dice.below(4)],
                max_attempts: 1 + u32::from(dice.one_in(3)),
                timeout_seconds: dice.one_in(3).then_some(30),
                needs: (count > 1 && dice.one_in(4)).then(|| vec![format!("s{}", 1 + dice.below(count - 1))]),
                ..step(&format!("s{count}"))
            }
        });
        steps.collect()
    });
    workload(stages.collect())
}

fn random_outcome(dice: &mut Dice) -> Outcome {
    match dice.below(8) {
        0..4 => Outcome::Exited { code: 0 },
        4 => Outcome::Exited { code: 7 },
        5 => Outcome::OomKilled { limit: None, code: Some(0) },
        6 => Outcome::Evicted { reason: "disk".to_owned() },
        _ => Outcome::Unknown { message: "?".to_owned() },
    }
}

/// What the cluster may say next about a step's pod.
fn random_look(dice: &mut Dice, index: usize, attempt: u32) -> Event {
    let started = Some(jiff::Timestamp::UNIX_EPOCH);
    let look = match dice.below(7) {
        0 => Seen::Waiting(Waiting {
            phase: [WaitPhase::Schedule, WaitPhase::Pull, WaitPhase::PullAgain, WaitPhase::Create][dice.below(4)],
            reason: NeverStarted::ImagePull,
            hopeless: dice.one_in(4),
            message: "waits".to_owned(),
        }),
        1..4 => Seen::Running { started },
        4 => Seen::Ended(Ended {
            outcome: Outcome::NeverStarted { reason: NeverStarted::Cluster, message: "no".to_owned() },
            started: None,
            finished: None,
        }),
        _ => ended(random_outcome(dice)),
    };
    let going = dice.one_in(8).then_some(Outcome::PodDeleted { by: None });
    let asked = going.is_some() || dice.one_in(3);
    let node = dice.one_in(2).then(|| "node-1".to_owned());
    let settled = dice.one_in(2) || !matches!(look, Seen::Ended(_));
    let observation = Observation { uid: uid(index, attempt), seen: look, going, asked, settled, node };
    Event::Observed { step: StepIndex(index), observation }
}

fn phase_name(phase: &Phase) -> &'static str {
    match phase {
        Phase::Blocked => "Blocked",
        Phase::Pausing { .. } => "Pausing",
        Phase::Creating { .. } => "Creating",
        Phase::Waiting { .. } => "Waiting",
        Phase::Running { .. } => "Running",
        Phase::Draining { .. } => "Draining",
        Phase::Over { .. } => "Over",
    }
}

/// Which row of the table a change of a step was, judged from the outside.
fn row(event: &Event, before: &Phase, after: &Phase, state: Option<StepState>, stopped: bool) -> &'static str {
    use Phase::{Blocked, Creating, Draining, Over, Pausing, Running, Waiting};
    match (before, event, after) {
        (Blocked, _, Creating { .. }) => "what it waits for is over, and it shall run",
        (Blocked, _, Over { .. }) if state == Some(StepState::Skipped) => {
            "what it waits for is over, and it shall not run"
        }
        (Blocked, _, Over { .. }) => "stop",
        (Creating { .. }, Event::Created { .. }, _) => "Created",
        (Creating { .. }, Event::CreateFailed { .. }, _) => "CreateFailed",
        (Creating { .. }, _, Creating { .. }) if stopped => "stop",
        (Pausing { .. }, Event::Tick, Creating { .. }) => "Tick",
        (Pausing { .. }, _, Over { .. }) => "stop",
        (Waiting { .. }, Event::Observed { observation, .. }, Waiting { .. }) => match observation.seen {
            Seen::Waiting(_) => "Observed(Waiting)",
            _ if stopped => "stop",
            _ => "?",
        },
        (Waiting { .. }, Event::Observed { .. }, Running { .. }) => "Observed(Running)",
        (Waiting { .. }, Event::Observed { .. }, Draining { .. }) => "Observed(Ended), it ran",
        (Waiting { .. }, Event::Observed { .. } | Event::Gone { .. }, _) => "Observed(Ended), it never ran; or Gone",
        (Waiting { .. }, Event::Told { .. }, Waiting { .. }) => "Told",
        (Waiting { .. }, Event::Tick, Waiting { .. }) if stopped => "Tick: its phase took too long",
        (Waiting { .. }, Event::Tick, Waiting { .. }) => "Tick: it has waited for a while",
        (
            Running { .. },
            Event::Observed { .. } | Event::Gone { .. },
            Draining { .. } | Over { .. } | Pausing { .. },
        ) => "Observed(Ended), or Gone",
        (Running { .. }, Event::Tick, Running { .. }) if stopped => "Tick: its own time is up",
        (Waiting { .. } | Running { .. }, Event::Tick, Draining { .. } | Over { .. } | Pausing { .. }) => {
            "Tick: asked to go, and not over in time"
        }
        (Waiting { .. } | Running { .. }, _, Waiting { .. } | Running { .. }) if stopped => "stop",
        (
            Draining { .. },
            Event::LogEnded { .. } | Event::Observed { .. } | Event::Gone { .. } | Event::Tick,
            Draining { .. } | Over { .. } | Pausing { .. },
        ) => "LogEnded, and why it ended badly, if it did; or Tick: one of them took too long",
        _ => "?",
    }
}

fn is_waiting(event: &Event) -> bool {
    matches!(event, Event::Observed { observation, .. } if matches!(observation.seen, Seen::Waiting(_)))
}

/// Which row of the run's own table a change was.
fn run_row(event: &Event, before: State, after: State) -> &'static str {
    match event {
        _ if after == State::Ending && before == State::Running => "every step over",
        Event::Confirmed => "Confirmed",
        Event::Prepared => "Prepared",
        Event::PrepareFailed { .. } => "PrepareFailed",
        Event::Cancel { .. } if before == State::Preparing => "Cancel, or Tick: the time is up",
        Event::Cancel { .. } => "Cancel",
        Event::TornDown => "TornDown",
        _ => "?",
    }
}

/// The rows of a table in the module's documentation, as (state, event).
fn documented_rows(title: &str) -> BTreeSet<(String, String)> {
    let text = include_str!("../../run.rs");
    let table = text.split(title).nth(1).unwrap();
    let rows = table.lines().skip(4).take_while(|line| line.starts_with("//! |"));
    let cells = rows.map(|line| line.trim_start_matches("//! |").split('|').map(str::trim).collect::<Vec<_>>());
    cells
        .flat_map(|cells| {
            let event = cells[1].to_owned();
            cells[0].split(", ").map(|state| (state.to_owned(), event.clone())).collect::<Vec<_>>()
        })
        .collect()
}

struct World {
    dice: Dice,
    run: Run,
    now: Instant,
    /// Events that are on their way.
    pending: Vec<Event>,
    /// The pod of each step that exists.
    pods: BTreeMap<usize, u32>,
    hit: BTreeSet<(String, String)>,
    /// Steps whose own pod was seen to have exited with 0 before anybody asked it to go.
    exited_with_0: BTreeSet<usize>,
    /// Steps that were asked to go.
    stopped: BTreeSet<usize>,
    running_reports: BTreeMap<String, Vec<Attempt>>,
    final_reports: BTreeMap<String, StepState>,
    creations: BTreeMap<usize, Attempt>,
    finish: Option<WorkflowState>,
    cancelled: bool,
    torn_down: bool,
}

impl World {
    fn deliver(&mut self, event: Event) {
        let before: Vec<_> = self.run.steps.iter().map(|step| (step.phase.clone(), step.stop.is_some())).collect();
        let state = self.run.state;
        let ending = matches!(state, State::Ending | State::Over);
        self.remember(&event);
        let actions = self.run.on(event.clone(), self.now);
        for (i, (phase, stopped_before)) in before.iter().enumerate() {
            let after = &self.run.steps[i];
            let stopped = !stopped_before && after.stop.is_some();
            let waits_on = matches!((phase, &after.phase), (Phase::Waiting { .. }, Phase::Waiting { .. }))
                && (matches!(event, Event::Tick | Event::Told { .. }) || is_waiting(&event));
            if stopped || phase_name(phase) != phase_name(&after.phase) || waits_on {
                let row = row(&event, phase, &after.phase, Some(self.run.step_state(StepIndex(i))), stopped);
                self.hit.insert((phase_name(phase).to_owned(), row.to_owned()));
            }
        }
        if state != self.run.state || matches!((state, &event), (State::Preparing, Event::Cancel { .. })) {
            self.hit.insert((format!("{state:?}"), run_row(&event, state, self.run.state).to_owned()));
        }
        assert!(!ending || actions.is_empty(), "nothing is asked for after the end: {actions:?}");
        for action in actions {
            self.perform(action);
        }
    }

    /// What only this event can make true.
    fn remember(&mut self, event: &Event) {
        let Event::Observed { step, observation } = event else { return };
        let is_own = match &self.run.steps[step.0].phase {
            Phase::Waiting { pod, .. } | Phase::Running { pod, .. } => pod.uid == observation.uid,
            _ => false,
        };
        let exited = matches!(&observation.seen, Seen::Ended(ended) if ended.outcome == Outcome::Exited { code: 0 });
        if is_own && exited && observation.going.is_none() {
            self.exited_with_0.insert(step.0);
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Prepare if self.dice.one_in(20) => {
                self.pending.push(Event::PrepareFailed { reason: NeverStarted::Quota, message: "full".to_owned() });
            }
            Action::Prepare => self.pending.push(Event::Prepared),
            Action::Create { step, attempt, .. } => {
                assert!(!self.cancelled, "nothing starts after a cancel");
                let last = self.creations.insert(step.0, attempt);
                assert!(last.is_none_or(|last| last <= attempt), "attempts never go back");
                assert_ne!(self.pods.get(&step.0), Some(&attempt.0), "a pod is made once");
                if self.dice.one_in(8) {
                    let reason = [NeverStarted::Quota, NeverStarted::Admission][self.dice.below(2)];
                    self.pending.push(Event::CreateFailed {
                        step,
                        attempt,
                        reason,
                        message: "no".to_owned(),
                        may_exist: self.dice.one_in(3),
                    });
                } else {
                    self.pods.insert(step.0, attempt.0);
                    self.pending.push(Event::Created { step, attempt, uid: uid(step.0, attempt.0) });
                }
            }
            Action::Tail { step, uid, .. } => self.pending.push(Event::LogEnded { step, uid }),
            Action::Stop { step, uid, .. } => {
                self.stopped.insert(step.0);
                match self.dice.below(3) {
                    0 => self.pending.push(Event::Gone { step, uid, witnessed: self.dice.one_in(2) }),
                    1 => self.pending.push(stopped(step.0, self.pods[&step.0], ended(Outcome::Exited { code: 143 }))),
                    _ => {}
                }
            }
            Action::Listen { step, uid } => {
                let said = Said { reason: NeverStarted::Volume, message: "FailedMount: no disk".to_owned() };
                self.pending.push(Event::Told { step, uid, said });
            }
            Action::Say { .. } | Action::CloseLog { .. } => {}
            Action::Report(report) if report.state == StepState::Running => {
                assert!(!self.final_reports.contains_key(report.step.as_str()));
                let attempts = self.running_reports.entry(report.step.as_str().to_owned()).or_default();
                assert!(!attempts.contains(&report.attempt), "an attempt starts once");
                attempts.push(report.attempt);
            }
            Action::Report(report) => {
                let mut steps = self.run.workload.indexed();
                let (index, step) = steps.find(|(_, step)| step.id == report.step).unwrap();
                let was_up = self.running_reports.contains_key(report.step.as_str());
                let was_stopped = self.stopped.contains(&index.0);
                let not_needed = step.is_detached() && report.outcome.is_none() && was_up && was_stopped;
                if report.state == StepState::Success {
                    assert!(self.exited_with_0.contains(&index.0) || not_needed, "{report:?}");
                }
                if report.outcome == Some(Outcome::Exited { code: 0 }) {
                    assert_eq!(report.state, StepState::Success, "{report:?}");
                }
                assert!(report.state.is_final());
                let second = self.final_reports.insert(report.step.as_str().to_owned(), report.state);
                assert_eq!(second, None, "a step ends once");
            }
            Action::Finish { state, .. } => {
                assert_eq!(self.final_reports.len(), self.run.steps.len(), "every step has ended before");
                assert_eq!(self.finish.replace(state), None, "a workflow ends once");
            }
            Action::Teardown => {
                assert!(self.finish.is_some());
                self.torn_down = true;
                self.pending.push(Event::TornDown);
            }
        }
    }

    fn turn(&mut self) {
        match self.dice.below(10) {
            0..4 if !self.pending.is_empty() => {
                let i = self.dice.below(self.pending.len());
                let event = self.pending.swap_remove(i);
                self.deliver(event);
            }
            4..8 if !self.pods.is_empty() => {
                let i = self.dice.below(self.pods.len());
                let (&index, &attempt) = self.pods.iter().nth(i).unwrap();
                let look = if self.dice.one_in(12) {
                    Event::Gone { step: StepIndex(index), uid: uid(index, attempt), witnessed: self.dice.one_in(2) }
                } else if self.dice.one_in(10) {
                    // Another pod of the same name.
                    random_look(&mut self.dice, index, attempt + 100)
                } else {
                    random_look(&mut self.dice, index, attempt)
                };
                self.deliver(look);
            }
            8 if self.dice.one_in(3) => {
                if let Some(due) = self.run.due() {
                    self.now = self.now.max(due);
                    self.deliver(Event::Tick);
                }
            }
            _ if self.dice.one_in(40) => {
                self.cancelled |= self.run.state != State::Over;
                self.deliver(Event::Cancel { by: "chance".to_owned(), grace: None });
            }
            _ => {}
        }
    }
}

fn one_run(seed: u64) -> BTreeSet<(String, String)> {
    let mut dice = Dice::new(seed);
    let run = Run::new(random_workload(&mut dice), Limits::default());
    let mut world = World {
        dice,
        run,
        now: start(),
        pending: vec![Event::Confirmed],
        pods: BTreeMap::new(),
        hit: BTreeSet::new(),
        exited_with_0: BTreeSet::new(),
        stopped: BTreeSet::new(),
        running_reports: BTreeMap::new(),
        final_reports: BTreeMap::new(),
        creations: BTreeMap::new(),
        finish: None,
        cancelled: false,
        torn_down: false,
    };
    for _ in 0..200 {
        world.turn();
    }
    // From here on only what is on its way, and time: that alone must end every run.
    for _ in 0..2_000 {
        if world.run.is_over() {
            break;
        }
        if let Some(event) = world.pending.pop() {
            world.deliver(event);
        } else if let Some(due) = world.run.due() {
            world.now = world.now.max(due) + Duration::from_millis(1);
            world.deliver(Event::Tick);
        }
    }
    assert!(world.run.is_over(), "seed {seed}: the run hangs in {:?}", world.run);
    assert!(world.finish.is_some(), "seed {seed}");
    assert_eq!(
        world.torn_down,
        world.run.time_limit.is_some(),
        "seed {seed}: what was made is torn down, and only that"
    );
    world.hit
}

#[test]
fn every_run_ends_and_every_row_is_hit() {
    let mut hit = BTreeSet::new();
    for seed in 0..4_000 {
        hit.extend(one_run(seed));
    }
    let (run, steps) = (documented_rows("//! The run:"), documented_rows("//! A step:"));
    assert!(run.len() >= 7 && steps.len() >= 17, "the tables were not found");
    let documented: BTreeSet<_> = run.union(&steps).cloned().collect();
    let missing: Vec<_> = documented.difference(&hit).collect();
    assert!(missing.is_empty(), "rows that no run has reached: {missing:#?}\nreached: {hit:#?}");
    let unknown: Vec<_> = hit.difference(&documented).collect();
    assert!(unknown.is_empty(), "changes that no row describes: {unknown:#?}");
}

/// Paste a seed here that failed above.
#[test]
fn one_seed() {
    one_run(1);
}
