//! Much at once.

use piculet_core::id::WorkflowId;
use piculet_proto::v1 as pb;
use server_stub::dispatch::{Condition, State, Submission, Throttle};
use server_stub::server::Config;
use server_stub::stub::Stub;

use crate::agent::{RawAgent, finished, hello, log, log_end, step, workload};

const LINES: u64 = 200_000;
const CHUNK: u64 = 400;

#[tokio::test(start_paused = true)]
async fn two_hundred_thousand_lines_are_all_kept() {
    let stub = Stub::start(Config::default());
    let mut agent = RawAgent::ready(&stub.network(), hello("agent"), 1).await;
    let id = stub.submit(workload("w"));
    let assign = agent.assign().await;
    agent.accept(&assign).await;
    let mut sequence = 1;
    let text = |number: u64| format!("{number:080}");
    for first in (0..LINES).step_by(CHUNK.try_into().unwrap()) {
        let lines: Vec<_> = (first..first + CHUNK).map(text).collect();
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        sequence += 1;
        agent.say(log(&assign, sequence, first, &lines)).await;
    }
    agent.say(log_end(&assign, sequence + 1, LINES, LINES * 80)).await;
    agent.say(step(&assign, sequence + 2, pb::StepState::Success, Some(0))).await;
    agent.say(finished(&assign, sequence + 3, pb::WorkflowState::Success)).await;
    while agent.ack().await.2 < sequence + 3 {}
    let view = stub.workflow(&id);
    assert_eq!((view.state, view.steps[0].log_lines), (State::Success, LINES));
    assert_eq!(view.steps[0].log_complaint, None);
    let lines = stub.log(&id, "build");
    let is_right = |(number, line): (u64, &piculet_core::report::LogLine)| {
        line.number == number && line.bytes == text(number).as_bytes()
    };
    assert!((0..).zip(&lines).all(is_right));
}

/// Where each event looks at all pairs of those that wait, this takes hours.
#[tokio::test(start_paused = true)]
async fn ten_thousand_wait_for_one() {
    let stub = Stub::start(Config::default());
    let throttled = |number: u32| {
        let throttle = Some(Throttle { group: "deploys".to_owned(), limit: 1 });
        let condition = Condition { throttle, ..Condition::default() };
        Submission { condition, ..Submission::new(WorkflowId::new(format!("w{number}")), workload("w")) }
    };
    stub.server().submit((0..9_000).map(throttled).collect()).unwrap();
    let mut agent = RawAgent::ready(&stub.network(), hello("agent"), 4).await;
    for number in 0..100 {
        let assign = agent.assign().await;
        assert_eq!(assign.workflow_id, format!("w{number}"));
        stub.server().submit(vec![throttled(9_000 + number)]).unwrap();
        agent.accept(&assign).await;
        agent.say(finished(&assign, 2, pb::WorkflowState::Failure)).await;
        assert_eq!(agent.ack().await.2, 2);
        agent.demand(4).await;
    }
}
