use std::collections::BTreeMap;

use jiff::Timestamp;
use piculet_proto::woodpecker as pb;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};
use proptest::{collection, prop_assert};

use super::super::compiled::{Compiled, Job};
use super::super::queue::{News, PollEnd};
use super::{Asked, Awaited, Config, KnownStep, Model, Now, Owner, Refusal, State, Submission};

/// A model with a clock that stands still.
struct World {
    model: Model,
    now: Now,
}

#[expect(clippy::disallowed_methods, reason = "any moment will do as the first")]
fn world() -> World {
    let instant = std::time::Instant::now();
    let time = Timestamp::from_second(1_000_000).expect("it is in range");
    World { model: Model::new(&Config::default(), instant), now: Now { instant, time } }
}

fn compiled(name: &str) -> Compiled {
    Compiled::new(name).then([Job::commands("a", "alpine", ["true"]), Job::commands("b", "alpine", ["true"])])
}

fn lines(uuid: &str, numbers: std::ops::Range<i32>) -> Vec<pb::LogEntry> {
    numbers.map(|line| pb::LogEntry { step_uuid: uuid.to_owned(), line, ..pb::LogEntry::default() }).collect()
}

impl World {
    fn agent(&mut self) -> i64 {
        self.model.auth(Config::TOKEN, -1, self.now).expect("the token is right").0
    }

    /// Puts a workflow into the queue.
    fn submit(&mut self, compiled: &Compiled) -> i64 {
        self.model.submit(&Submission::from(compiled)).expect("its steps are new")
    }

    /// Takes the next workflow.
    fn take(&mut self, agent: i64) -> Option<pb::Workflow> {
        let labels = BTreeMap::from([("repo".to_owned(), "*".to_owned())]);
        let Ok(Asked::Waits(poll)) = self.model.next(agent, labels) else { panic!("it has to wait") };
        self.model.queue.tick(self.now.instant);
        let news = self.model.queue.take_news();
        self.model.queue.leave(poll);
        let [News::Poll(ended, PollEnd::Task(task))] = news[..] else { return None };
        assert_eq!(ended, poll);
        self.model.hand_out(task, agent)
    }
}

#[test]
fn only_whom_a_workflow_was_given_to_may_touch_it() {
    let mut world = world();
    let (ours, other) = (world.agent(), world.agent());
    let compiled = compiled("x");
    let id = world.submit(&compiled);
    world.take(ours).expect("there is a workflow");
    let (text, now) = (id.to_string(), world.now);
    let model = &mut world.model;
    let state = pb::WorkflowState { started: 1, finished: 2, ..pb::WorkflowState::default() };
    let report = pb::StepState { step_uuid: compiled.uuid("a"), ..pb::StepState::default() };
    let log = lines(&compiled.uuid("a"), 0..1);
    for (agent, refusal) in [(other, Some(Refusal::NotYours { agent: other, workflow: id })), (ours, None)] {
        let expected = refusal.map_or(Ok(()), Err);
        assert_eq!(model.wait(agent, &text).map(|_| ()), expected);
        assert_eq!(model.extend(agent, &text, now), expected);
        assert_eq!(model.init(agent, &text, &state, now), expected);
        assert_eq!(model.update(agent, &text, &report, now), expected);
        assert_eq!(model.log(agent, &log, now), expected);
        assert_eq!(model.done(agent, &text, &state, now), expected);
    }
    // Nobody ever began the other step.
    assert_eq!(model.workflow(id).map(|workflow| workflow.state), Some(State::Killed));
}

#[test]
fn what_is_not_there_is_said_so() {
    let mut world = world();
    let agent = world.agent();
    let (model, now) = (&mut world.model, world.now);
    let state = pb::WorkflowState::default();
    for (id, refusal) in
        [("7", Refusal::NoRow), ("x", Refusal::NoNumber("x".to_owned())), ("", Refusal::NoNumber(String::new()))]
    {
        assert_eq!(model.init(agent, id, &state, now), Err(refusal.clone()));
        assert_eq!(model.wait(agent, id), Err(refusal.clone()));
        assert_eq!(model.extend(agent, id, now), Err(refusal.clone()));
        assert_eq!(model.update(agent, id, &pb::StepState::default(), now), Err(refusal.clone()));
        assert_eq!(model.done(agent, id, &state, now), Err(refusal));
    }
    let refusal = Refusal::NoStep("U".to_owned());
    assert_eq!(model.log(agent, &lines("U", 0..1), now), Err(refusal));
    assert_eq!(model.log(agent, &[], now), Ok(()));
}

#[test]
fn an_agent_whose_row_is_gone_can_do_nothing() {
    let mut world = world();
    let agent = world.agent();
    world.submit(&compiled("x"));
    world.take(agent).expect("there is a workflow");
    let (model, now) = (&mut world.model, world.now);
    model.agents.unregister(agent).expect("it is there");
    assert_eq!(model.next(agent, BTreeMap::new()), Err(Refusal::NoRow));
    assert_eq!(model.register(agent, pb::AgentInfo::default(), None), Err(Refusal::NoRow));
    assert_eq!(model.report_health(agent, pb::HEALTHY, now), Err(Refusal::NoRow));
    assert_eq!(model.extend(agent, "1", now), Err(Refusal::NoRow));
}

#[test]
fn an_organisations_agent_has_what_is_of_it() {
    let mut world = world();
    let (strangers, own) =
        (world.model.add_agent("strangers", Owner::Org(4)), world.model.add_agent("own", Owner::Org(3)));
    let id = world.submit(&compiled("x"));
    assert_eq!(world.take(strangers), None, "its filter says so, whatever it says itself");
    assert_eq!(world.take(own).map(|workflow| workflow.id), Some(id.to_string()));
    // As if an administrator had given the row away.
    world.model.workflows.get_mut(&id).expect("it is there").workflow.agent = strangers;
    let refusal = Refusal::NotYours { agent: strangers, workflow: id };
    assert_eq!(world.model.wait(strangers, &id.to_string()), Err(refusal));
}

#[test]
fn a_step_belongs_to_its_own_workflow() {
    let mut world = world();
    let agent = world.agent();
    let (one, other) = (compiled("one"), compiled("other"));
    world.submit(&one);
    world.submit(&other);
    world.take(agent).expect("there is a workflow");
    let report = |uuid: String| pb::StepState { step_uuid: uuid, ..pb::StepState::default() };
    let (model, now) = (&mut world.model, world.now);
    let foreign = other.uuid("a");
    assert_eq!(model.update(agent, "1", &report(foreign.clone()), now), Err(Refusal::ForeignStep(foreign)));
    assert_eq!(model.update(agent, "1", &report("U".to_owned()), now), Err(Refusal::NoRow));
    assert_eq!(model.update(agent, "1", &report(one.uuid("a")), now), Ok(()));
}

#[test]
fn only_what_is_wrong_with_the_last_group_of_lines_is_told() {
    let mut world = world();
    let agent = world.agent();
    let compiled = compiled("x");
    world.submit(&compiled);
    world.take(agent).expect("there is a workflow");
    let (model, now) = (&mut world.model, world.now);
    model.init(agent, "1", &pb::WorkflowState { started: 1, ..pb::WorkflowState::default() }, now).expect("it begins");
    let (good, bad) = (lines(&compiled.uuid("a"), 0..2), lines("U", 0..2));
    assert_eq!(model.log(agent, &[bad.clone(), good.clone()].concat(), now), Ok(()));
    assert_eq!(model.logs.lines(&compiled.uuid("a")).len(), 2);
    let later = lines(&compiled.uuid("a"), 2..4);
    assert_eq!(model.log(agent, &[later, bad].concat(), now), Err(Refusal::NoStep("U".to_owned())));
    assert_eq!(model.logs.lines(&compiled.uuid("a")).len(), 4, "what was good is stored nevertheless");
    // The lines are known, and nobody is told.
    assert_eq!(model.log(agent, &good, now), Ok(()));
}

#[test]
fn no_step_is_in_two_workflows() {
    let mut world = world();
    let compiled = compiled("x");
    world.submit(&compiled);
    assert_eq!(world.model.submit(&Submission::from(&compiled)), Err(KnownStep(compiled.uuid("a"))));
    assert_eq!(world.model.workflows().count(), 1);
}

#[test]
fn a_task_whose_workflow_is_over_is_dropped() {
    let mut world = world();
    let agent = world.agent();
    let id = world.submit(&compiled("x"));
    world.model.workflows.get_mut(&id).expect("it is there").workflow.state = State::Success;
    assert_eq!(world.take(agent), None);
    assert_eq!(world.model.queue.place(id), None);
}

#[test]
fn no_labels_would_crash_the_server_unless_it_does_not_look() {
    let mut world = world();
    let agent = world.agent();
    assert_eq!(world.model.next(agent, BTreeMap::new()), Err(Refusal::Crash));
    world.model.set_no_schedule(agent, true).expect("it is there");
    assert_eq!(world.model.next(agent, BTreeMap::new()), Ok(Asked::NoSchedule));
}

#[test]
fn after_a_restart_the_agent_goes_on_with_what_it_has() {
    let mut world = world();
    let agent = world.agent();
    let compiled = compiled("x");
    world.submit(&compiled);
    world.take(agent).expect("there is a workflow");
    let (model, now) = (&mut world.model, world.now);
    let state = pb::WorkflowState { started: 1, finished: 2, ..pb::WorkflowState::default() };
    model.init(agent, "1", &state, now).expect("it begins");
    model.restart();
    assert_eq!(model.wait(agent, "1"), Ok(Awaited::Over));
    assert_eq!(model.extend(agent, "1", now), Err(Refusal::NoTask));
    let report = pb::StepState { step_uuid: compiled.uuid("a"), ..pb::StepState::default() };
    assert_eq!(model.update(agent, "1", &report, now), Ok(()));
    assert_eq!(model.log(agent, &lines(&compiled.uuid("a"), 0..1), now), Ok(()));
    assert_eq!(model.done(agent, "1", &state, now), Ok(()));
}

/// Something that happens to a queue.
#[derive(Debug, Clone)]
enum Event {
    Submit,
    /// An agent polls, and takes what it gets or is gone by then.
    Poll {
        takes: bool,
    },
    Expire(i64),
    Done(i64),
    Cancel(i64),
    Restart,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        2 => Just(Event::Submit),
        4 => any::<bool>().prop_map(|takes| Event::Poll { takes }),
        3 => (1..5_i64).prop_map(Event::Expire),
        1 => (1..5_i64).prop_map(Event::Done),
        1 => (1..5_i64).prop_map(Event::Cancel),
        1 => Just(Event::Restart),
    ];
    collection::vec(event, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_persistent_queue_hands_nothing_out_twice(events in events()) {
        let mut world = world();
        let agent = world.agent();
        let mut taken = Vec::new();
        for event in events {
            let before: Vec<_> = world.model.workflows().map(|workflow| (workflow.id, workflow.state)).collect();
            let (model, now) = (&mut world.model, world.now);
            match event {
                Event::Submit => {
                    let name = model.workflows().count().to_string();
                    model.submit(&Submission::from(compiled(&name))).expect("its steps are new");
                }
                Event::Poll { takes: true } => taken.extend(world.take(agent).map(|workflow| workflow.id)),
                Event::Poll { takes: false } => {
                    let labels = BTreeMap::from([("repo".to_owned(), "*".to_owned())]);
                    model.next(agent, labels).expect("it has to wait");
                    model.queue.tick(now.instant);
                    model.queue.take_news();
                    model.queue.kick(agent);
                    model.queue.take_news();
                }
                Event::Expire(id) => {
                    model.queue.expire(id);
                }
                Event::Done(id) => {
                    let state = pb::WorkflowState { started: 1, finished: 2, ..pb::WorkflowState::default() };
                    model.done(agent, &id.to_string(), &state, now).ok();
                }
                Event::Cancel(id) => {
                    model.cancel(id, now);
                }
                Event::Restart => model.restart(),
            }
            for (id, state) in before {
                let after = world.model.workflow(id).map(|workflow| workflow.state);
                prop_assert!(!state.is_terminal() || after == Some(state), "{id} was {state:?} and is {after:?}");
            }
        }
        let times = taken.len();
        taken.sort();
        taken.dedup();
        prop_assert!(taken.len() == times, "{taken:?}");
    }
}
