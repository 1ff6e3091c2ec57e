//! Dispatchers to whom anything happens in any order: what they keep of where workflows stand is what a count finds.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use piculet_core::id::{Epoch, InstanceId, RunKey, Sequence, StepId, WorkflowId};
use piculet_core::logs::spool::{Chunk, Piece};
use piculet_core::outcome::WorkflowState;
use piculet_core::report::{Refusal, WorkflowReport};
use piculet_core::workload::{StageSpec, StepSpec, WorkloadSpec};
use piculet_link::message::{Cluster, Demand, Held, Hello, Identity};
use piculet_link::wire::agent::{Received, ReceivedBody, Said};
use proptest::prelude::{Just, Strategy, any, prop};
use proptest::test_runner::TestCaseError;
use proptest::{prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::super::order::Order;
use super::super::placing::Verdict;
use super::super::{Admission, Condition, Dispatcher, Limits, Policy, Post, Submission, Throttle, Timing, Workflow};
use crate::clock::Now;
use crate::mailbox::{Intake, Stop};
use crate::store::Store;

/// Ids of workflows that may be awaited before they are submitted.
const WORKFLOWS: usize = 24;
const AGENTS: usize = 3;
const LIMITS: Limits =
    Limits { log_bytes: 1000, all_log_bytes: 500, finished_workflows: 4, open_workflows: 16, workload_bytes: 100_000 };

#[derive(Debug, Clone)]
enum Event {
    Submitted {
        count: usize,
        like: Like,
    },
    Came {
        agent: usize,
        holds: Holds,
    },
    /// A sign of life.
    Lives(usize, Holds),
    Went(usize),
    Asked(usize, u32),
    /// All letters are fetched.
    Fetched,
    Accepted(usize),
    Refused(usize, Refusal),
    Printed(usize),
    Ended(usize, WorkflowState),
    Cancelled(usize),
    Lost(usize),
    Found(usize),
    Placing(bool),
    Passed(u64),
    Restarted,
}

/// What an agent says it holds: these workflows, under the epoch that the server knows or the next one.
#[derive(Debug, Clone)]
struct Holds {
    workflows: BTreeSet<usize>,
    took_over: bool,
}

#[derive(Debug, Clone)]
struct Like {
    repository: &'static str,
    group: Option<&'static str>,
    label: Option<&'static str>,
    priority: i32,
    after: Vec<usize>,
    on: (bool, bool),
}

struct World {
    dispatcher: Dispatcher,
    store: Store,
    now: Now,
    submitted: usize,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let like = (
        prop::sample::select(vec!["", "a", "b"]),
        prop::option::of(prop::sample::select(vec!["g", "h"])),
        prop::option::of(prop::sample::select(vec!["everywhere", "nowhere"])),
        0..2i32,
        prop_oneof![2 => Just(Vec::new()), 1 => prop::collection::vec(0..WORKFLOWS, 1..3)],
        prop_oneof![3 => Just((true, false)), 1 => Just((false, true)), 1 => Just((true, true))],
    );
    let like = like.prop_map(|(repository, group, label, priority, after, on)| Like {
        repository,
        group,
        label,
        priority,
        after,
        on,
    });
    let agent = || 0..AGENTS;
    let workflow = || 0..WORKFLOWS;
    let running = || 0..3usize;
    let refusal = prop::sample::select(vec![Refusal::Here, Refusal::Everywhere, Refusal::Now]);
    let state = prop::sample::select(vec![WorkflowState::Success, WorkflowState::Failure]);
    let holds = || {
        let holds = (prop::collection::btree_set(running(), 0..4), any::<bool>());
        holds.prop_map(|(workflows, took_over)| Holds { workflows, took_over })
    };
    let event = prop_oneof![
        6 => (1..3usize, like).prop_map(|(count, like)| Event::Submitted { count, like }),
        3 => (agent(), holds()).prop_map(|(agent, holds)| Event::Came { agent, holds }),
        2 => (agent(), holds()).prop_map(|(agent, holds)| Event::Lives(agent, holds)),
        1 => agent().prop_map(Event::Went),
        6 => (agent(), 0..3u32).prop_map(|(agent, slots)| Event::Asked(agent, slots)),
        5 => Just(Event::Fetched),
        4 => running().prop_map(Event::Accepted),
        1 => (running(), refusal).prop_map(|(workflow, scope)| Event::Refused(workflow, scope)),
        3 => running().prop_map(Event::Printed),
        2 => (running(), state).prop_map(|(workflow, state)| Event::Ended(workflow, state)),
        1 => workflow().prop_map(Event::Cancelled),
        1 => agent().prop_map(Event::Lost),
        3 => agent().prop_map(Event::Found),
        1 => prop::bool::weighted(0.8).prop_map(Event::Placing),
        2 => prop::sample::select(vec![1, 10, 29, 70, 301]).prop_map(Event::Passed),
        1 => Just(Event::Restarted),
    ];
    prop::collection::vec(event, 1..120)
}

fn workflow_id(number: usize) -> WorkflowId {
    WorkflowId::new(format!("w{number}"))
}

impl World {
    fn new() -> Self {
        let now = Now { instant: tokio::time::Instant::now().into_std(), time: Timestamp::UNIX_EPOCH };
        Self { dispatcher: dispatcher(), store: Store::in_memory().unwrap(), now, submitted: 0 }
    }

    fn happens(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::Submitted { count, like } => {
                let count = count.min(WORKFLOWS - self.submitted);
                let numbers = self.submitted..self.submitted + count;
                let submissions = numbers.map(|number| like.submission(number)).collect();
                if self.dispatcher.submit(submissions, now).is_ok() {
                    self.submitted += count;
                }
            }
            Event::Came { agent, holds } => {
                let identity = Identity {
                    name: format!("agent{agent}"),
                    instance: instance(agent),
                    version: String::new(),
                    cluster: Cluster { name: cluster(agent), uid: cluster(agent), version: String::new() },
                    labels: BTreeMap::from([("place".to_owned(), "everywhere".to_owned())]),
                    platforms: Vec::new(),
                    capacity: 2,
                };
                let held = self.held(&holds);
                self.dispatcher.open(Hello { identity, held }, Admission::Free, now).unwrap();
            }
            Event::Lives(agent, holds) => {
                let held = self.held(&holds);
                self.says(&instance(agent), Said::Heartbeat(held));
            }
            Event::Went(agent) => {
                let session = self.dispatcher.agents.get(&instance(agent)).and_then(|agent| agent.session);
                if let Some(session) = session {
                    self.dispatcher.session_ended(session, now);
                }
            }
            Event::Asked(agent, free_slots) => {
                self.says(&instance(agent), Said::Demand(Demand { free_slots, assigns_received: u64::MAX }));
            }
            Event::Fetched => {
                let sessions: Vec<_> = self.dispatcher.agents().filter_map(|agent| agent.session).collect();
                for session in sessions {
                    while matches!(self.dispatcher.post(session), Post::Message(_)) {}
                }
            }
            Event::Accepted(workflow) => self.reports(workflow, ReceivedBody::Accepted),
            Event::Refused(workflow, scope) => {
                self.reports(workflow, ReceivedBody::Refused { reason: "no".to_owned(), scope });
            }
            Event::Printed(workflow) => {
                let first_line =
                    self.workflow(workflow).map_or(0, |workflow| workflow.ledger.whole_lines().values().sum());
                let line = Piece { time: now.time, bytes: Bytes::from(vec![b'x'; 100]), continues: false };
                let chunk = Chunk { first_line, lines: vec![line], end: None };
                self.reports(workflow, ReceivedBody::Chunk { step: StepId::new("step"), chunk });
            }
            Event::Ended(workflow, state) => {
                let report = WorkflowReport { state, started: now.time, finished: now.time, error: String::new() };
                self.reports(workflow, ReceivedBody::Finished(report));
            }
            Event::Cancelled(workflow) => {
                let stop = Stop { reason: String::new(), grace: None };
                self.dispatcher.cancel(&workflow_id(workflow), stop, now).ok();
            }
            Event::Lost(agent) => _ = self.dispatcher.lose_cluster(&cluster(agent), now),
            Event::Found(agent) => _ = self.dispatcher.set_cluster_intake(&cluster(agent), Intake::Open, now),
            Event::Placing(places) => self.dispatcher.set_placing(places, now),
            Event::Passed(seconds) => {
                self.now.instant += Duration::from_secs(seconds);
                self.now.time += SignedDuration::from_secs(seconds.cast_signed());
                self.dispatcher.tick(self.now);
            }
            Event::Restarted => {
                self.save();
                self.dispatcher = dispatcher();
                self.dispatcher.restore(self.store.load().unwrap(), now);
            }
        }
        self.save();
    }

    fn says(&mut self, instance: &InstanceId, said: Said) {
        let session = self.dispatcher.agents.get(instance).and_then(|agent| agent.session);
        if let Some(session) = session {
            self.dispatcher.hear(session, said, self.now).ok();
        }
    }

    /// One that an agent has, if there are so many; they are few among all. Else the one of that number.
    fn workflow(&self, number: usize) -> Option<&Workflow> {
        let mut running = self.dispatcher.workflows.values().filter(|workflow| workflow.is_with_an_agent());
        running.nth(number).or_else(|| self.dispatcher.workflow(&workflow_id(number)))
    }

    fn held(&self, holds: &Holds) -> Vec<Held> {
        let workflows = holds.workflows.iter().filter_map(|&number| self.workflow(number));
        let key = |workflow: &Workflow| {
            let Epoch(known) = workflow.assignment.epoch();
            RunKey { workflow: workflow.id.clone(), epoch: Epoch(known + u64::from(holds.took_over)) }
        };
        workflows.map(|workflow| Held { key: key(workflow), acknowledged: Sequence(0) }).collect()
    }

    fn reports(&mut self, workflow: usize, body: ReceivedBody) {
        let Some(workflow) = self.workflow(workflow) else { return };
        let Some(driver) = workflow.driver.clone() else { return };
        let sequence = workflow.ledger.stored().next();
        self.says(&driver, Said::Report(Received { key: workflow.run(), sequence, body }));
    }

    fn save(&mut self) {
        self.dispatcher.touched();
        let batch = self.dispatcher.take_unsaved();
        self.store.write_now(&batch).unwrap();
    }
}

impl Like {
    fn submission(&self, number: usize) -> Submission {
        let step = StepSpec { id: "step".to_owned(), name: "step".to_owned(), ..StepSpec::default() };
        let label = self.label.map(|label| ("place".to_owned(), label.to_owned()));
        let spec = WorkloadSpec {
            stages: vec![StageSpec { steps: vec![step] }],
            labels: label.into_iter().collect(),
            ..WorkloadSpec::default()
        };
        let throttle = self.group.map(|group| Throttle { group: group.to_owned(), limit: 1 });
        let (on_success, on_failure) = self.on;
        let after = self.after.iter().map(|&other| workflow_id(other)).collect();
        Submission {
            repository: self.repository.to_owned(),
            priority: self.priority,
            condition: Condition { after, on_success, on_failure, throttle },
            ..Submission::new(workflow_id(number), spec)
        }
    }
}

fn dispatcher() -> Dispatcher {
    Dispatcher::new(Policy {
        server_id: "s".to_owned(),
        protocol: 1,
        timing: Timing::default(),
        places: true,
        limits: LIMITS,
    })
}

fn instance(agent: usize) -> InstanceId {
    InstanceId::new(format!("agent{agent}"))
}

fn cluster(agent: usize) -> String {
    format!("cluster{}", agent % 2)
}

/// Names, and how many of the workflows have each.
fn tally<'a>(workflows: &[&'a Workflow], name: impl Fn(&'a Workflow) -> Option<&'a str>) -> BTreeMap<String, u32> {
    let mut tally = BTreeMap::new();
    for name in workflows.iter().filter_map(|workflow| name(workflow)) {
        *tally.entry(name.to_owned()).or_default() += 1;
    }
    tally
}

fn ids<'a>(ids: impl IntoIterator<Item = &'a WorkflowId>) -> BTreeSet<WorkflowId> {
    ids.into_iter().cloned().collect()
}

/// Who waits for nothing but an agent is told by each why it can't take it, and an agent has just what it is the holder of.
fn check_placing(dispatcher: &Dispatcher) -> Result<(), TestCaseError> {
    let next: Vec<_> = dispatcher.workflows.keys().filter(|id| dispatcher.standings.is_next(id)).collect();
    for id in next.into_iter().filter(|_| dispatcher.policy.places) {
        let reasons: Vec<_> = dispatcher.why_waiting(id).iter().map(ToString::to_string).collect();
        prop_assert_eq!(reasons.len(), dispatcher.agents.len(), "{} could go to an agent: {:?}", id, reasons);
    }
    for (instance, agent) in &dispatcher.agents {
        let all = dispatcher.workflows.values();
        let its =
            all.filter(|workflow| workflow.assignment.holder().is_some_and(|holder| holder.instance == *instance));
        prop_assert_eq!(&agent.runs, &its.map(Workflow::run).collect::<BTreeSet<_>>());
    }
    Ok(())
}

fn check(dispatcher: &Dispatcher) -> Result<(), TestCaseError> {
    let standings = &dispatcher.standings;
    let all: Vec<_> = dispatcher.workflows.values().collect();
    let running: Vec<_> = all.iter().copied().filter(|workflow| workflow.is_with_an_agent()).collect();
    let (over, open): (Vec<_>, Vec<_>) = all.iter().copied().partition(|workflow| workflow.end.is_some());
    let waiting: Vec<_> = open.iter().copied().filter(|workflow| !workflow.is_with_an_agent()).collect();
    prop_assert_eq!(ids(standings.all.keys()), ids(dispatcher.workflows.keys()));
    prop_assert_eq!(&standings.open, &ids(open.iter().map(|workflow| &workflow.id)));
    prop_assert_eq!(standings.over, over.len());
    prop_assert_eq!(&standings.repositories.0, &tally(&running, |workflow| Some(&workflow.repository)));
    let group = |workflow: &'_ Workflow| workflow.condition.throttle.as_ref().map(|throttle| throttle.group.clone());
    let mut groups = BTreeMap::new();
    for group in running.iter().filter_map(|workflow| group(workflow)) {
        *groups.entry(group).or_default() += 1;
    }
    prop_assert_eq!(&standings.groups.0, &groups);
    prop_assert!(groups.values().all(|running| *running <= 1), "{:?}", groups);

    let mut awaited_by: BTreeMap<WorkflowId, BTreeMap<u64, WorkflowId>> = BTreeMap::new();
    for workflow in &waiting {
        for other in workflow.awaited() {
            awaited_by.entry(other.clone()).or_default().insert(workflow.number, workflow.id.clone());
        }
    }
    prop_assert_eq!(&standings.awaited_by, &awaited_by);
    let forgettable = || over.iter().filter(|workflow| !awaited_by.contains_key(&workflow.id));
    prop_assert_eq!(ids(standings.forgettable.values()), ids(forgettable().map(|workflow| &workflow.id)));
    let with_log = forgettable().filter(|workflow| workflow.ledger.size() > 0);
    prop_assert_eq!(ids(standings.forgettable_with_log.values()), ids(with_log.map(|workflow| &workflow.id)));

    prop_assert_eq!(dispatcher.log_size, all.iter().map(|workflow| workflow.ledger.size()).sum::<u64>());
    prop_assert!(standings.over <= LIMITS.finished_workflows || standings.forgettable.is_empty());

    let in_lanes: Vec<_> = standings
        .lanes
        .iter()
        .flat_map(|(lane, waiting)| waiting.iter().map(move |(rank, id)| (lane, rank.1, id)))
        .collect();
    for (lane, number, id) in &in_lanes {
        let workflow = dispatcher.workflows.get(id).unwrap();
        prop_assert_eq!(workflow.number, *number);
        prop_assert_eq!((&lane.repository, &lane.labels), (&workflow.repository, &workflow.labels));
        prop_assert_eq!(&lane.throttle, &workflow.condition.throttle);
        prop_assert_eq!(lane.refused, (!workflow.refusals.is_empty()).then_some(workflow.number));
    }
    let in_lanes = ids(in_lanes.into_iter().map(|(_, _, id)| id));
    for workflow in &waiting {
        let is_free = workflow.had_its_turn()
            || match dispatcher.verdict(workflow) {
                Verdict::Free => true,
                Verdict::Waits => false,
                Verdict::InVain(_) => return Err(TestCaseError::fail(format!("{} waits in vain", workflow.id))),
            };
        prop_assert_eq!(in_lanes.contains(&workflow.id), is_free, "{}", workflow.id);
    }
    prop_assert!(standings.unjudged.is_empty(), "{:?}", standings.unjudged);
    prop_assert_eq!(in_lanes.difference(&ids(waiting.iter().map(|workflow| &workflow.id))).count(), 0);
    Ok(())
}

/// What an event costs beside a long queue: one look for all that ask for the same.
#[test]
fn of_those_who_ask_for_the_same_one_is_looked_at() {
    let mut world = World::new();
    let like = |repository| Like {
        repository,
        group: Some("g"),
        label: None,
        priority: 0,
        after: Vec::new(),
        on: (true, false),
    };
    world.happens(Event::Submitted { count: 9, like: like("a") });
    world.happens(Event::Submitted { count: 5, like: like("b") });
    let standings = &world.dispatcher.standings;
    let mut order = Order::of(standings, |_| true);
    let looked_at: Vec<_> = std::iter::from_fn(|| order.next(standings)).map(|(_, id)| id).collect();
    assert_eq!(looked_at, [workflow_id(0), workflow_id(9)]);
}

proptest! {
    #[test]
    fn what_is_kept_is_what_a_count_finds(events in events()) {
        let mut world = World::new();
        for event in events {
            world.happens(event);
            check(&world.dispatcher)?;
            check_placing(&world.dispatcher)?;
        }
    }
}
