use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use piculet_proto::woodpecker::LEASE;

use super::{News, Place, PollEnd, Queue, QueueKind, Refusal, TICK, WaitEnd};

/// A queue with a clock.
struct World {
    queue: Queue,
    start: Instant,
    now: Instant,
}

fn labels(text: &str) -> BTreeMap<String, String> {
    text.split_whitespace()
        .map(|pair| pair.split_once('=').expect("tests write key=value"))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

#[expect(clippy::disallowed_methods, reason = "any moment will do as the first")]
fn world(kind: QueueKind) -> World {
    let start = Instant::now();
    World { queue: Queue::new(kind, start), start, now: start }
}

impl World {
    /// Lets time pass, with every tick that is in it. What came of it.
    fn pass(&mut self, duration: Duration) -> Vec<News> {
        let end = self.now + duration;
        self.queue.settle(self.now);
        while let Some(tick) = self.queue.next_tick().filter(|tick| *tick <= end) {
            self.now = tick;
            self.queue.tick(tick);
            self.queue.settle(tick);
        }
        self.now = end;
        self.queue.take_news()
    }

    /// A task that is given to agent 1, and taken.
    fn given(kind: QueueKind) -> Self {
        let mut world = world(kind);
        world.queue.push(1, labels("repo=a"));
        let poll = world.queue.poll(1, labels("repo=*"));
        assert_eq!(world.pass(TICK), [News::Poll(poll, PollEnd::Task(1))]);
        assert!(world.queue.take_row(1));
        world
    }
}

#[test]
fn tasks_are_given_out_in_order_at_the_next_tick() {
    let mut world = world(QueueKind::Persistent);
    let first = world.queue.poll(1, labels("repo=*"));
    assert_eq!(world.pass(TICK * 5), []);
    assert_eq!(world.queue.next_tick(), None, "there is nothing to do");
    world.pass(Duration::from_millis(30));
    world.queue.push(1, labels("repo=a"));
    world.queue.push(2, labels("repo=a"));
    assert_eq!(world.pass(Duration::from_millis(69)), []);
    assert_eq!(world.pass(Duration::from_millis(1)), [News::Poll(first, PollEnd::Task(1))]);
    assert_eq!(world.now, world.start + TICK * 6);
    assert_eq!(world.queue.place(1), Some(Place::Running { agent: 1, deadline: world.now + LEASE }));
    assert_eq!(world.queue.place(2), Some(Place::Pending));
    let second = world.queue.poll(2, labels("repo=*"));
    assert_eq!(world.pass(TICK), [News::Poll(second, PollEnd::Task(2))]);
}

#[test]
fn a_task_that_fits_nobody_holds_up_nobody() {
    let mut world = world(QueueKind::Persistent);
    world.queue.push(1, labels("repo=a gpu=yes"));
    world.queue.push(2, labels("repo=a"));
    let poll = world.queue.poll(1, labels("repo=*"));
    assert_eq!(world.pass(TICK), [News::Poll(poll, PollEnd::Task(2))]);
    assert_eq!(world.queue.place(1), Some(Place::Pending));
}

#[test]
fn the_poll_that_fits_best_gets_the_task() {
    for (task, polls, winner) in [
        ("repo=a", &["repo=*", "repo=a"][..], Some(1)),
        ("repo=a", &["repo=a", "repo=a"], Some(0)),
        ("repo=a gpu=yes", &["repo=a gpu=*", "repo=* gpu=yes", "repo=a gpu=yes"], Some(2)),
        ("repo=a", &["repo=b", "other=a"], None),
        ("repo=a", &["repo=* !team=x"], None),
        ("repo=a team=x", &["repo=* !team=x"], Some(0)),
        ("repo=a team=x", &["repo=*"], None),
        ("repo=a empty=", &["repo=*"], Some(0)),
        // Only internal labels, or none: the score is 0, and nobody gets it.
        ("woodpecker-ci.org/repo-id=7", &["repo=*"], None),
        ("", &["repo=*"], None),
    ] {
        let mut world = world(QueueKind::Persistent);
        let polls: Vec<_> = polls.iter().map(|poll| world.queue.poll(1, labels(poll))).collect();
        world.queue.push(1, labels(task));
        let expected: Vec<_> =
            winner.map(|index: usize| News::Poll(polls[index], PollEnd::Task(1))).into_iter().collect();
        assert_eq!(world.pass(TICK), expected, "{task:?}");
    }
}

#[test]
fn a_lease_ends_unless_it_is_extended() {
    let mut world = World::given(QueueKind::Memory);
    let wait = world.queue.wait(1).expect("the task runs");
    for _ in 0..5 {
        assert_eq!(world.pass(LEASE - TICK), []);
        world.queue.extend(1, 1, world.now).expect("the task is the agent's");
    }
    assert_eq!(world.queue.extend(1, 2, world.now), Err(Refusal::OtherAgent));
    assert_eq!(world.queue.extend(9, 1, world.now), Err(Refusal::NoTask));
    assert_eq!(world.pass(LEASE - TICK), []);
    assert_eq!(world.pass(TICK), [News::Wait(wait, WaitEnd::Expired)]);
    assert_eq!(world.queue.extend(1, 1, world.now), Err(Refusal::NoTask));
    assert_eq!(world.queue.wait(1), None, "there is nothing to wait for");
    assert_eq!(world.queue.place(1), Some(Place::Pending));
}

#[test]
fn a_lease_ends_at_a_tick() {
    let mut world = World::given(QueueKind::Memory);
    world.pass(Duration::from_millis(42));
    world.queue.extend(1, 1, world.now).expect("the task is the agent's");
    assert_eq!(world.queue.next_tick(), Some(world.start + TICK * 2 + LEASE));
}

#[test]
fn what_comes_back_goes_to_the_front() {
    let mut world = World::given(QueueKind::Memory);
    world.queue.push(2, labels("repo=a"));
    world.pass(LEASE + TICK);
    let poll = world.queue.poll(2, labels("repo=*"));
    assert_eq!(world.pass(TICK), [News::Poll(poll, PollEnd::Task(1))]);
    assert!(world.queue.take_row(1), "a memory queue has no rows to be stale without");
}

#[test]
fn what_comes_back_to_a_persistent_queue_is_stale() {
    let mut world = World::given(QueueKind::Persistent);
    world.pass(LEASE + TICK);
    let poll = world.queue.poll(2, labels("repo=*"));
    assert_eq!(world.pass(TICK), [News::Poll(poll, PollEnd::Task(1))]);
    assert!(!world.queue.take_row(1));
    assert_eq!(world.queue.place(1), None);
    world.queue.poll(2, labels("repo=*"));
    assert_eq!(world.pass(LEASE * 2), []);
}

#[test]
fn a_task_whose_poll_is_gone_comes_back_with_its_row() {
    let mut world = world(QueueKind::Persistent);
    world.queue.push(1, labels("repo=a"));
    let poll = world.queue.poll(1, labels("repo=*"));
    world.pass(TICK);
    world.queue.leave(poll);
    assert!(world.queue.place(1) != Some(Place::Pending), "it is lost for now");
    world.pass(LEASE);
    let poll = world.queue.poll(1, labels("repo=*"));
    assert_eq!(world.pass(TICK), [News::Poll(poll, PollEnd::Task(1))]);
    assert!(world.queue.take_row(1));
}

#[test]
fn a_poll_that_leaves_gets_nothing() {
    let mut world = world(QueueKind::Persistent);
    let poll = world.queue.poll(1, labels("repo=*"));
    world.queue.leave(poll);
    world.queue.push(1, labels("repo=a"));
    assert_eq!(world.pass(TICK), []);
    assert_eq!(world.queue.place(1), Some(Place::Pending));
}

#[test]
fn whoever_waits_hears_of_the_end_that_it_was() {
    for end in [WaitEnd::Over, WaitEnd::Canceled] {
        let mut world = World::given(QueueKind::Persistent);
        let waits = [world.queue.wait(1), world.queue.wait(1)].map(|wait| wait.expect("the task runs"));
        let gone = world.queue.wait(1).expect("the task runs");
        world.queue.leave_wait(gone);
        world.queue.finish(1, end.clone());
        assert_eq!(world.queue.take_news(), waits.map(|wait| News::Wait(wait, end.clone())));
        assert_eq!((world.queue.place(1), world.queue.wait(1)), (None, None));
    }
}

#[test]
fn a_task_that_ends_while_it_waits_is_not_given_out() {
    let mut world = World::given(QueueKind::Memory);
    world.pass(LEASE + TICK);
    world.queue.finish(1, WaitEnd::Over);
    world.queue.poll(2, labels("repo=*"));
    assert_eq!(world.pass(TICK), []);
}

#[test]
fn a_restart_forgets_who_waits_and_what_runs() {
    for (kind, back) in [(QueueKind::Persistent, vec![2, 3]), (QueueKind::Memory, vec![3])] {
        let mut world = World::given(kind);
        // 2 is given out, but nobody has taken it, so that its row is there still.
        world.queue.push(2, labels("repo=a"));
        world.queue.poll(1, labels("repo=*"));
        world.pass(TICK);
        world.queue.push(3, labels("repo=a"));
        world.queue.wait(1).expect("the task runs");
        world.queue.restart();
        assert_eq!(world.pass(LEASE * 2), []);
        let pending: Vec<_> = (1..=3).filter(|task| world.queue.place(*task) == Some(Place::Pending)).collect();
        assert_eq!(pending, back, "{kind:?}");
        assert_eq!(world.queue.wait(1), None);
    }
}

#[test]
fn a_kick_ends_the_polls_of_one_agent() {
    let mut world = world(QueueKind::Persistent);
    let polls = [1, 2, 1].map(|agent| world.queue.poll(agent, labels("repo=*")));
    world.queue.kick(1);
    let ended = [News::Poll(polls[0], PollEnd::Empty), News::Poll(polls[2], PollEnd::Empty)];
    assert_eq!(world.queue.take_news(), ended);
}

#[test]
fn a_task_that_is_given_out_twice_is_the_second_agents() {
    let mut world = World::given(QueueKind::Persistent);
    let wait = world.queue.wait(1).expect("the task runs");
    world.queue.push_again(1);
    let poll = world.queue.poll(2, labels("repo=*"));
    assert_eq!(world.pass(TICK), [News::Poll(poll, PollEnd::Task(1))]);
    assert!(world.queue.take_row(1));
    assert_eq!(world.queue.extend(1, 1, world.now), Err(Refusal::OtherAgent));
    world.queue.finish(1, WaitEnd::Over);
    assert_eq!(world.queue.take_news(), [News::Wait(wait, WaitEnd::Over)], "who waited first waits still");
}
