//! Calls that never become a session, and sessions that break the protocol.

use piculet_core::secret::Secret;
use piculet_proto::v1 as pb;
use piculet_proto::v1::agent_message::Message as Said;
use server_stub::dispatch::State;
use server_stub::server::Config;
use server_stub::stub::Stub;
use server_stub::view::PlaceView;
use tonic::Code;

use crate::agent::{RawAgent, call, finished, held, hello, step, until, workload};
use crate::clusters::replica;

#[tokio::test(start_paused = true)]
async fn only_a_hello_of_this_protocol_opens_a_session() {
    let network = Stub::by_hand().network();
    let newer = pb::Hello { protocol: 2, ..hello("agent") };
    for (first, code, words) in [
        (vec![Said::Demand(pb::Demand::default())], Code::InvalidArgument, "has to be Hello"),
        (
            vec![Said::Hello(newer)],
            Code::FailedPrecondition,
            "speaks version 2 of the protocol, and this server version 1",
        ),
        (vec![Said::Hello(hello(""))], Code::InvalidArgument, "instance_id"),
        (vec![], Code::DeadlineExceeded, "no Hello came within 10 s"),
    ] {
        let status = call(&network, None, first).await.err().expect(words);
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().contains(words), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_is_needed_where_one_is_set() {
    let config = Config { agent_token: Some(Secret::new("right")), ..Config::default() };
    let stub = Stub::start(config);
    let network = stub.network();
    for token in [None, Some("wrong"), Some("righ")] {
        let status = call(&network, token, vec![Said::Hello(hello("agent"))]).await.err().expect("it is refused");
        assert_eq!(status.code(), Code::Unauthenticated, "{token:?}: {status}");
        assert!(!status.message().contains("right"), "{status}");
    }
    assert!(call(&network, Some("right"), vec![Said::Hello(hello("agent"))]).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_breaks_the_protocol_ends_the_session() {
    let stub = Stub::start(Config::default());
    let network = stub.network();
    let second_hello = Said::Hello(hello("agent"));
    let no_stamp = Said::Accepted(pb::Accepted { stamp: None });
    let no_state = Said::StepUpdate(pb::StepUpdate {
        stamp: Some(pb::Stamp { workflow_id: "w".into(), epoch: 1, sequence: 1 }),
        step_id: "build".into(),
        attempt: 1,
        ..pb::StepUpdate::default()
    });
    let too_large = Said::LogChunk(pb::LogChunk {
        stamp: Some(pb::Stamp { workflow_id: "w".into(), epoch: 1, sequence: 1 }),
        step_id: "build".into(),
        lines: vec![pb::LogLine { data: vec![0; pb::MAX_LOG_CHUNK_BYTES + 1].into(), ..pb::LogLine::default() }],
        ..pb::LogChunk::default()
    });
    for (message, words) in [
        (second_hello, "only the first"),
        (no_stamp, "'stamp' of a message is missing"),
        (no_state, "'step_update.state' of a message is missing"),
        (too_large, "a log chunk has 32769 bytes of lines, and may have 32768"),
    ] {
        let mut agent = RawAgent::connect(&network, hello("agent")).await;
        agent.say(message).await;
        let status = agent.end().await;
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains(words), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_reports_for_another() {
    let stub = Stub::start(Config::default());
    let network = stub.network();
    let mut agent = RawAgent::ready(&network, hello("agent"), 1).await;
    let mut stranger = RawAgent::connect(&network, hello("stranger")).await;
    let id = stub.submit(workload("w"));
    let assign = agent.take().await;
    stranger.say(step(&assign, 2, pb::StepState::Success, Some(0))).await;
    stranger.say(finished(&assign, 3, pb::WorkflowState::Success)).await;
    stranger.hears_nothing().await;
    assert_eq!(stub.workflow(&id).state, State::Running);
    assert_eq!(stub.workflow(&id).steps[0].state.as_str(), "pending");
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_not_acknowledged_and_the_agent_has_to_come_again() {
    let stub = Stub::start(Config::default());
    let network = stub.network();
    let mut agent = RawAgent::ready(&network, hello("agent"), 1).await;
    stub.submit(workload("w"));
    let assign = agent.take().await;
    agent.say(step(&assign, 3, pb::StepState::Success, Some(0))).await;
    let status = agent.end().await;
    assert_eq!(status.code(), Code::DataLoss, "{status}");
    assert!(status.message().contains("came where 2 was expected"), "{status}");
    let again = pb::Hello { held: vec![held(&assign, 1)], ..hello("agent") };
    let agent = RawAgent::connect(&network, again).await;
    assert_eq!((agent.welcome.held[0].keep, agent.welcome.held[0].acknowledged), (true, 1));
}

#[tokio::test(start_paused = true)]
async fn agents_may_say_that_they_have_room_for_all_there_is() {
    let stub = Stub::start(Config::default());
    let network = stub.network();
    let mut agents = Vec::new();
    for name in ["x", "y"] {
        agents
            .push(RawAgent::ready(&network, pb::Hello { capacity: u32::MAX, ..replica(name, "big") }, u32::MAX).await);
    }
    until(|| stub.server().agents().iter().all(|agent| agent.free_slots == u32::MAX)).await;
    let ids = [stub.submit(workload("w1")), stub.submit(workload("w2"))];
    for id in &ids {
        assert_eq!(stub.workflow(id).place, PlaceView::Assigned);
    }
    let cluster = stub.server().cluster("big").unwrap();
    assert_eq!((cluster.capacity, cluster.free_slots), (u32::MAX, u32::MAX), "it says as much as it can");
}

/// Epochs grow one by one. One that is near the end of all numbers would be followed by none.
#[tokio::test(start_paused = true)]
async fn an_epoch_that_a_workflow_can_not_have_come_to_ends_the_session() {
    let stub = Stub::start(Config::default());
    let network = stub.network();
    let mut agent = RawAgent::ready(&network, hello("agent"), 1).await;
    let id = stub.submit(workload("w"));
    let assign = agent.take().await;
    let huge = || pb::Held { epoch: u64::MAX, ..held(&assign, 0) };
    let check = |status: tonic::Status| {
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains("under the epoch 18446744073709551615"), "{}", status.message());
        assert_eq!(stub.workflow(&id).epoch, 1);
    };
    agent.say(Said::Heartbeat(pb::Heartbeat { held: vec![huge()] })).await;
    check(agent.end().await);
    let resuming = |epoch| {
        let held = vec![pb::Held { epoch, ..held(&assign, 0) }];
        vec![Said::Hello(pb::Hello { held, ..hello("agent") })]
    };
    check(call(&network, None, resuming(u64::MAX)).await.err().unwrap());
    let mut agent = call(&network, None, resuming(1)).await.unwrap();
    agent.say(Said::Released(pb::Released { held: vec![huge()] })).await;
    check(agent.end().await);

    // The highest one that it may be, and what comes after it.
    let highest = 1 + (1 << 20);
    assert!(call(&network, None, resuming(highest + 1)).await.is_err());
    assert!(call(&network, None, resuming(highest)).await.unwrap().welcome.held[0].keep);
    assert_eq!(stub.server().lose_cluster("cluster-of-agent").unwrap(), std::slice::from_ref(&id));
    assert_eq!(stub.workflow(&id).epoch, highest + 1);
}
