//! Much at once.

use std::collections::BTreeSet;

use piculet_core::id::WorkflowId;
use piculet_core::workload::{StageSpec, StepSpec, WorkloadSpec};
use piculet_proto::v1 as pb;
use piculet_proto::v1::agent_message::Message as Said;
use server_stub::dispatch::{Condition, State, Submission, Throttle};
use server_stub::follow::News;
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
    let assign = agent.take().await;
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

/// How little each of these events looks at is checked where it is decided, and measured by the bench `dispatch`.
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

/// How much a follower fetches at once, about: bytes of lines, and what is around them.
const PAGE: usize = 1 << 20;

#[tokio::test(start_paused = true)]
async fn a_follower_holds_one_page_of_long_lines_whatever_the_number_of_steps() {
    // A page has room for some 35 of these lines.
    let order = follow_steps(6, 40, 30_000).await;
    let first_end = order.iter().position(|&(_, number)| number == 39).unwrap();
    let told: BTreeSet<_> = order[..first_end].iter().map(|&(step, _)| step).collect();
    assert_eq!(told.len(), 6, "each step has its turn");
}

#[tokio::test(start_paused = true)]
async fn a_follower_holds_one_page_of_short_lines_whatever_the_number_of_steps() {
    follow_steps(40, 400, 1).await;
}

/// Follows a workflow with these steps, each with so many lines of such a length. In what order the lines come: the
/// places of their steps, and their numbers.
async fn follow_steps(steps: usize, lines: u64, length: usize) -> Vec<(usize, u64)> {
    let spec = (0..steps).map(|at| StepSpec {
        id: format!("step-{at}"),
        name: at.to_string(),
        image: "alpine".into(),
        ..StepSpec::default()
    });
    let stages = vec![StageSpec { steps: spec.collect() }];
    let stub = Stub::start(Config::default());
    let mut agent = RawAgent::ready(&stub.network(), hello("agent"), 1).await;
    let id = stub.submit(WorkloadSpec { name: "w".into(), stages, ..WorkloadSpec::default() });
    let assign = agent.take().await;
    let text = "x".repeat(length);
    // A chunk has at most 32 KiB of lines.
    let in_chunk = usize::try_from(lines).unwrap().min(32 * 1024 / length);
    let texts = vec![text.as_str(); in_chunk];
    let mut sequence = 1;
    for at in 0..steps {
        for first in (0..lines).step_by(in_chunk) {
            sequence += 1;
            let texts = &texts[..in_chunk.min(usize::try_from(lines - first).unwrap())];
            let Said::LogChunk(chunk) = log(&assign, sequence, first, texts) else { unreachable!() };
            agent.say(Said::LogChunk(pb::LogChunk { step_id: format!("step-{at}"), ..chunk })).await;
        }
    }
    agent.say(finished(&assign, sequence + 1, pb::WorkflowState::Failure)).await;
    while agent.ack().await.2 <= sequence {}

    let mut follow = stub.server().follow(id.as_str(), None, 0, true).unwrap();
    let mut next_lines = vec![0; steps];
    let mut order = Vec::new();
    while let Some(news) = follow.next().await.unwrap() {
        let mut held = 0;
        for news in std::iter::once(news).chain(std::iter::from_fn(|| follow.ready())) {
            let News::Line { step, line } = news else { continue };
            let at = step.parse::<usize>().unwrap();
            assert_eq!(line.number, next_lines[at]);
            next_lines[at] += 1;
            held += line.bytes.len() + size_of::<News>();
            order.push((at, line.number));
        }
        // The last step's lines may be some more than there was room for.
        assert!(held <= PAGE + PAGE / 4, "{held} bytes at once");
    }
    assert_eq!(next_lines, vec![lines; steps]);
    order
}
