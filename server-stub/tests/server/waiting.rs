//! Workflows that wait for each other, and lists that stay short.

use piculet_core::id::WorkflowId;
use piculet_proto::v1 as pb;
use server_stub::dispatch::{Condition, Limits, State, Submission, Throttle};
use server_stub::server::Config;
use server_stub::stub::Stub;

use crate::agent::{RawAgent, finished, hello, log, step, until, workload};

fn submission(name: &str, condition: Condition) -> Submission {
    Submission { condition, ..Submission::new(WorkflowId::new(name), workload(name)) }
}

fn after(names: &[&str], on_success: bool, on_failure: bool) -> Condition {
    let after = names.iter().map(|&name| WorkflowId::new(name)).collect();
    Condition { after, on_success, on_failure, throttle: None }
}

async fn run(agent: &mut RawAgent, assign: &pb::Assign, exit_code: i32) {
    let (step_state, state) = match exit_code {
        0 => (pb::StepState::Success, pb::WorkflowState::Success),
        _ => (pb::StepState::Failure, pb::WorkflowState::Failure),
    };
    agent.accept(assign).await;
    agent.say(step(assign, 2, step_state, Some(exit_code))).await;
    agent.say(finished(assign, 3, state)).await;
}

#[tokio::test(start_paused = true)]
async fn a_workflow_waits_for_those_that_it_depends_on() {
    let stub = Stub::start(Config::default());
    let submissions = vec![
        submission("deploy", after(&["build"], true, false)),
        submission("cleanup", after(&["build"], true, true)),
        submission("alarm", after(&["build"], false, true)),
        submission("celebrate", after(&["deploy"], true, false)),
        submission("build", Condition::default()),
    ];
    stub.server().submit(submissions).unwrap();
    let mut agent = RawAgent::ready(&stub.network(), hello("agent"), 4).await;
    let build = agent.assign().await;
    assert_eq!(build.workflow_id, "build");
    let view = |name: &str| stub.workflow(&WorkflowId::new(name));
    assert_eq!(view("deploy").waiting, ["the workflow 'build' has to be over first"]);
    run(&mut agent, &build, 1).await;
    stub.ended(&WorkflowId::new("build")).await;
    assert_eq!(view("deploy").state, State::Skipped);
    assert_eq!(view("deploy").error, "It runs only after a success, and the workflow 'build' ended as failure.");
    assert_eq!(view("celebrate").state, State::Skipped, "what waits for a skipped one is skipped too");
    let next = loop {
        if let pb::server_message::Message::Assign(assign) = agent.hear().await {
            break assign;
        }
    };
    assert_eq!(next.workflow_id, "cleanup");
    let next = loop {
        if let pb::server_message::Message::Assign(assign) = agent.hear().await {
            break assign;
        }
    };
    assert_eq!(next.workflow_id, "alarm");
}

#[tokio::test(start_paused = true)]
async fn of_a_group_only_so_many_run_at_once() {
    let stub = Stub::start(Config::default());
    let throttle = || Some(Throttle { group: "acme/shop:deploys".into(), limit: 1 });
    let limited = |name: &str| submission(name, Condition { throttle: throttle(), ..Condition::default() });
    stub.server().submit(vec![limited("one"), limited("two"), submission("free", Condition::default())]).unwrap();
    let mut agent = RawAgent::ready(&stub.network(), hello("agent"), 4).await;
    let one = agent.assign().await;
    assert_eq!((one.workflow_id.as_str(), agent.assign().await.workflow_id.as_str()), ("one", "free"));
    agent.hears_nothing().await;
    let two = WorkflowId::new("two");
    assert_eq!(stub.workflow(&two).waiting, ["of 'acme/shop:deploys' at most 1 run at once, and so many do"]);
    run(&mut agent, &one, 0).await;
    stub.ended(&WorkflowId::new("one")).await;
    assert_eq!(stub.workflow(&two).agent.as_deref(), Some("agent"));
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_is_bounded() {
    let limits = Limits { finished_workflows: 2, open_workflows: 3, workload_bytes: 1000, ..Limits::default() };
    let stub = Stub::start(Config { limits, ..Config::default() });
    let mut large = workload("large");
    large.stages[0].steps[0].environment.insert("BIG".into(), "x".repeat(2000));
    let large = Submission { spec: large, ..submission("large", Condition::default()) };
    let error = stub.server().submit(vec![submission("small", Condition::default()), large]).unwrap_err();
    assert!(error.to_string().starts_with("the workload 'large' has "), "{error}");
    assert_eq!(stub.server().workflows(), [], "all or none");
    for name in ["a", "b", "c"] {
        stub.server().submit(vec![submission(name, Condition::default())]).unwrap();
    }
    let error = stub.server().submit(vec![submission("d", Condition::default())]).unwrap_err();
    assert!(error.to_string().starts_with("3 workflows wait or run"), "{error}");
    for name in ["b", "a", "c"] {
        let stop = server_stub::mailbox::Stop { reason: "asked".into(), grace: None };
        stub.server().cancel(&WorkflowId::new(name), stop).unwrap();
    }
    let left: Vec<_> = stub.server().workflows().into_iter().map(|workflow| workflow.id).collect();
    assert_eq!(left, ["a", "c"], "the one that ended first is forgotten first");
}

#[tokio::test(start_paused = true)]
async fn a_full_store_forgets_what_ended_first() {
    let limits = Limits { all_log_bytes: 2500, ..Limits::default() };
    let stub = Stub::start(Config { limits, ..Config::default() });
    let mut agent = RawAgent::ready(&stub.network(), hello("agent"), 4).await;
    let line = "x".repeat(1000);
    for name in ["a", "b", "c"] {
        stub.server().submit(vec![submission(name, Condition::default())]).unwrap();
        let assign = agent.take().await;
        agent.say(log(&assign, 2, 0, &[&line])).await;
        agent.say(finished(&assign, 3, pb::WorkflowState::Failure)).await;
        while agent.ack().await.2 < 3 {}
    }
    let left: Vec<_> = stub.server().workflows().into_iter().map(|workflow| workflow.id).collect();
    assert_eq!(left, ["b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn what_runs_shares_the_room_that_there_is() {
    let limits = Limits { all_log_bytes: 2500, ..Limits::default() };
    let stub = Stub::start(Config { limits, ..Config::default() });
    let mut agent = RawAgent::ready(&stub.network(), pb::Hello { capacity: 5, ..hello("agent") }, 5).await;
    let line = "x".repeat(1000);
    let mut assigns = Vec::new();
    for name in ["empty", "a", "b", "c", "d"] {
        stub.server().submit(vec![submission(name, Condition::default())]).unwrap();
        let assign = agent.take().await;
        assigns.push(assign);
    }
    let [empty, a, b, c, d] = assigns.try_into().expect("five");
    let left = || stub.server().workflows().into_iter().map(|workflow| workflow.id).collect::<Vec<_>>();
    let kept = |name: &str| stub.log(&WorkflowId::new(name), "build").len();

    agent.say(finished(&empty, 2, pb::WorkflowState::Failure)).await;
    agent.say(log(&a, 2, 0, &[&line])).await;
    agent.say(finished(&a, 3, pb::WorkflowState::Failure)).await;
    agent.say(log(&b, 2, 0, &[&line])).await;
    stub.ended(&WorkflowId::new("a")).await;
    until(|| kept("b") == 1).await;
    assert_eq!(left(), ["empty", "a", "b", "c", "d"]);

    agent.say(log(&c, 2, 0, &[&line, &line])).await;
    until(|| kept("c") > 0).await;
    assert_eq!(left(), ["empty", "b", "c", "d"], "what is over makes room, if it has a log");
    assert_eq!(kept("c"), 1, "what runs keeps its log, and there is no room for the rest");
    let view = stub.workflow(&WorkflowId::new("c"));
    let complaint = "1 more lines came and were not kept: the server had no room left for the logs of all workflows.";
    assert_eq!(view.steps[0].log_complaint.as_deref(), Some(complaint));

    agent.say(finished(&b, 3, pb::WorkflowState::Failure)).await;
    agent.say(log(&d, 2, 0, &[&line])).await;
    until(|| kept("d") == 1).await;
    assert_eq!(left(), ["empty", "c", "d"], "the room of what is forgotten is free");
}

#[tokio::test(start_paused = true)]
async fn what_others_wait_for_is_not_forgotten() {
    let limits = Limits { finished_workflows: 1, ..Limits::default() };
    let stub = Stub::start(Config { limits, ..Config::default() });
    let mut agent = RawAgent::ready(&stub.network(), hello("agent"), 4).await;
    let submissions = vec![
        submission("build", Condition::default()),
        submission("slow", Condition::default()),
        submission("deploy", after(&["build", "slow"], true, false)),
        submission("lost", after(&["nobody"], true, false)),
    ];
    stub.server().submit(submissions).unwrap();
    assert_eq!(stub.workflow(&WorkflowId::new("lost")).state, State::Skipped);
    let (build, slow) = (agent.assign().await, agent.assign().await);
    run(&mut agent, &build, 1).await;
    stub.ended(&WorkflowId::new("build")).await;
    for name in ["x", "y"] {
        stub.server().submit(vec![submission(name, Condition::default())]).unwrap();
        let stop = server_stub::mailbox::Stop { reason: "asked".into(), grace: None };
        stub.server().cancel(&WorkflowId::new(name), stop).unwrap();
    }
    while agent.ack().await.2 < 3 {}
    run(&mut agent, &slow, 0).await;
    let deploy = stub.ended(&WorkflowId::new("deploy")).await;
    assert_eq!(deploy.error, "It runs only after a success, and the workflow 'build' ended as failure.");
}

#[tokio::test(start_paused = true)]
async fn what_had_its_turn_keeps_it_when_it_comes_back() {
    let limits = Limits { finished_workflows: 1, ..Limits::default() };
    let config = || Config { limits, ..Config::default() };
    let stub = Stub::start(config());
    let network = stub.network();
    let mut agent = RawAgent::ready(&network, hello("agent"), 4).await;
    let submissions = vec![
        submission("build", Condition::default()),
        submission("bound", after(&["build"], false, true)),
        submission("offered", after(&["build"], true, true)),
    ];
    stub.server().submit(submissions).unwrap();
    let build = agent.assign().await;
    run(&mut agent, &build, 1).await;
    while agent.ack().await.2 < 3 {}
    let (bound, offered) = (agent.assign().await, agent.assign().await);
    assert_eq!((bound.workflow_id.as_str(), offered.workflow_id.as_str()), ("bound", "offered"));
    agent.accept(&bound).await;
    stub.server().submit(vec![submission("x", after(&["bound"], true, false))]).unwrap();
    let stop = server_stub::mailbox::Stop { reason: "asked".into(), grace: None };
    stub.server().cancel(&WorkflowId::new("x"), stop).unwrap();
    assert!(stub.server().workflow("build").is_err(), "it was forgotten");

    assert_eq!(stub.server().lose_cluster("cluster-of-agent").unwrap().len(), 2);
    let stub = Stub::restart(config(), stub.kill());
    let mut other = RawAgent::ready(&stub.network(), hello("other"), 4).await;
    let names = [other.assign().await.workflow_id, other.assign().await.workflow_id];
    assert_eq!(names, ["bound", "offered"]);
}

#[tokio::test(start_paused = true)]
async fn a_long_chain_is_skipped_link_by_link() {
    let stub = Stub::start(Config::default());
    let name = |link: usize| format!("link-{link}");
    let link = |link: usize| match link {
        0 => submission("link-0", Condition::default()),
        _ => submission(&name(link), after(&[&name(link - 1)], true, false)),
    };
    stub.server().submit((0..2000).map(link).collect()).unwrap();
    let stop = server_stub::mailbox::Stop { reason: "asked".into(), grace: None };
    stub.server().cancel(&WorkflowId::new("link-0"), stop).unwrap();
    let states =
        stub.server().look(|dispatcher| dispatcher.workflows().map(|workflow| workflow.state()).collect::<Vec<_>>());
    assert_eq!(states.len(), 1000, "the older ones are forgotten");
    assert!(states.iter().all(|state| *state == State::Skipped), "{states:?}");
}
