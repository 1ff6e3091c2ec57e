//! Who reads is told what is stored, and nothing else.

use std::time::Duration;

use piculet_core::id::WorkflowId;
use piculet_proto::v1 as pb;
use server_stub::follow::News;
use server_stub::server::Config;
use server_stub::store::Store;
use server_stub::stub::Stub;

use crate::agent::{RawAgent, finished, hello, log, log_end, step, within, workload};

/// How long the disk of these tests takes.
const LATENCY: Duration = Duration::from_secs(2);

/// A workflow that an agent runs, with everything stored.
async fn running() -> (Stub, RawAgent, pb::Assign, WorkflowId) {
    let stub = Stub::restart(Config::default(), Store::simulated(LATENCY).unwrap());
    let mut agent = RawAgent::ready(&stub.network(), hello("agent"), 1).await;
    let id = stub.submit(workload("w"));
    let assign = agent.assign().await;
    agent.accept(&assign).await;
    stub.server().settled().await;
    (stub, agent, assign, id)
}

#[tokio::test(start_paused = true)]
async fn who_follows_is_woken_for_what_came_while_something_else_was_written() {
    let (stub, agent, assign, id) = running().await;
    let mut follow = stub.server().follow(id.as_str(), None, 0, true).unwrap();
    let told = tokio::spawn(async move {
        let mut lines = Vec::new();
        while let Some(news) = follow.next().await {
            if let News::Line { line, .. } = news {
                lines.push(line.bytes);
            }
        }
        lines
    });
    tokio::time::sleep(LATENCY).await;
    stub.submit(workload("other"));
    tokio::time::sleep(LATENCY / 4).await;
    agent.say(step(&assign, 2, pb::StepState::Running, None)).await;
    agent.say(log(&assign, 3, 0, &["one"])).await;
    agent.say(log_end(&assign, 4, 1, 3)).await;
    agent.say(step(&assign, 5, pb::StepState::Success, Some(0))).await;
    agent.say(finished(&assign, 6, pb::WorkflowState::Success)).await;
    assert_eq!(within(told).await.unwrap(), ["one"]);
}
