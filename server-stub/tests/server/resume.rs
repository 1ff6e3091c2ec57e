//! Connections break and come back: nothing is lost, nothing is doubled.

use std::time::Duration;

use piculet_core::outcome::StepState;
use piculet_proto::v1 as pb;
use piculet_proto::v1::agent_message::Message as Said;
use piculet_proto::v1::server_message::Message as Heard;
use server_stub::dispatch::State;
use server_stub::mailbox::Stop;
use server_stub::server::Config;
use server_stub::stub::Stub;
use server_stub::view::{AgentState, PlaceView};
use tonic::Code;

use crate::agent::{RawAgent, accepted, finished, held, hello, log, log_end, step, workload};

fn resuming(instance: &str, held: Vec<pb::Held>) -> pb::Hello {
    pb::Hello { held, ..hello(instance) }
}

#[tokio::test(start_paused = true)]
async fn reports_that_are_sent_again_take_effect_once() {
    let stub = Stub::start(Config::default());
    let network = stub.network();
    let mut agent = RawAgent::ready(&network, hello("agent"), 1).await;
    let id = stub.submit(workload("w"));
    let assign = agent.take().await;
    let session = stub.expect_session().await;
    session.stop_acking();
    agent.say(step(&assign, 2, pb::StepState::Running, None)).await;
    agent.say(log(&assign, 3, 0, &["one", "two"])).await;
    agent.hears_nothing().await;
    network.cut_for(Duration::from_secs(30)).await;

    // The agent knows nothing of 2 and 3 being stored.
    let mut agent = RawAgent::connect(&network, resuming("agent", vec![held(&assign, 1)])).await;
    let decision = &agent.welcome.held[0];
    assert_eq!((decision.keep, decision.acknowledged, decision.log_lines["build"]), (true, 3, 2));
    agent.say(step(&assign, 2, pb::StepState::Running, None)).await;
    assert_eq!(agent.ack().await.2, 3);
    agent.say(log(&assign, 3, 0, &["one", "two"])).await;
    assert_eq!(agent.ack().await.2, 3);
    agent.say(log(&assign, 4, 2, &["three"])).await;
    agent.say(log_end(&assign, 5, 3, 11)).await;
    agent.say(step(&assign, 6, pb::StepState::Failure, Some(7))).await;
    agent.say(finished(&assign, 7, pb::WorkflowState::Failure)).await;
    let view = stub.ended(&id).await;
    assert_eq!(view.state, State::Failure);
    assert_eq!((view.steps[0].state, view.steps[0].exit_code), (StepState::Failure, Some(7)));
    assert_eq!(view.steps[0].log_complaint, None);
    let lines: Vec<_> = stub.log(&id, "build").into_iter().map(|line| line.bytes).collect();
    assert_eq!(lines, ["one", "two", "three"]);
}

#[tokio::test(start_paused = true)]
async fn the_newest_session_of_an_instance_wins() {
    let stub = Stub::start(Config::default());
    let network = stub.network();
    let mut older = RawAgent::ready(&network, hello("agent"), 1).await;
    let id = stub.submit(workload("w"));
    let assign = older.take().await;
    let mut newer = RawAgent::connect(&network, resuming("agent", vec![held(&assign, 1)])).await;
    let status = older.end().await;
    assert_eq!(status.code(), Code::Aborted, "{status}");
    assert!(newer.welcome.held[0].keep);
    newer.say(step(&assign, 2, pb::StepState::Success, Some(0))).await;
    assert_eq!(newer.ack().await.2, 2);
    assert_eq!(stub.workflow(&id).place, PlaceView::Running, "the end of the older session changes nothing");
    assert_eq!(stub.server().agents().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn before_the_acknowledgement_a_lost_workflow_goes_elsewhere() {
    let stub = Stub::start(Config::default());
    let network = stub.network();
    let mut first = RawAgent::ready(&network, hello("a-first"), 1).await;
    let mut second = RawAgent::ready(&network, hello("b-second"), 1).await;
    stub.expect_session().await.stop_acking();
    stub.submit(workload("w"));
    let assign = first.assign().await;
    first.say(accepted(&assign)).await;
    first.say(step(&assign, 2, pb::StepState::Failure, Some(1))).await;
    first.hears_nothing().await;
    drop(first);
    let again = second.assign().await;
    assert_eq!((&again.workflow_id, again.epoch), (&assign.workflow_id, 2));
    second.accept(&again).await;
    assert_eq!(stub.server().workflows()[0].steps[0].state, StepState::Pending, "nothing is left of the first run");
    // The first comes back: it never was told that its acceptance is stored, so it has no pods.
    let first = RawAgent::connect(&network, resuming("a-first", vec![held(&assign, 0)])).await;
    assert!(!first.welcome.held[0].keep);
    // What it says under the old epoch is dropped.
    let session = {
        let _second = stub.expect_session().await;
        stub.expect_session().await
    };
    first.say(step(&assign, 2, pb::StepState::Failure, Some(1))).await;
    let heard = session.next_message().await;
    assert!(matches!(heard.effect, server_stub::dispatch::Effect::Report(server_stub::ledger::Receipt::Stale { .. })));
}

#[tokio::test(start_paused = true)]
async fn an_assignment_that_got_lost_on_the_way_is_made_again() {
    let stub = Stub::start(Config::default());
    let network = stub.network();
    let mut agent = RawAgent::ready(&network, hello("agent"), 1).await;
    stub.submit(workload("w"));
    let assign = agent.assign().await;
    // A new session of the same instance doesn't mention it.
    let mut agent = RawAgent::ready(&network, hello("agent"), 1).await;
    let again = agent.assign().await;
    assert_eq!((again.workflow_id, again.epoch), (assign.workflow_id, 2));
}

#[tokio::test(start_paused = true)]
async fn a_bound_workflow_waits_for_its_agent_and_then_ends_as_failed() {
    let stub = Stub::start(Config::default());
    let network = stub.network();
    let mut agent = RawAgent::ready(&network, hello("agent"), 1).await;
    let _other = RawAgent::ready(&network, hello("other"), 1).await;
    let id = stub.submit(workload("w"));
    let assign = agent.take().await;
    agent.say(step(&assign, 2, pb::StepState::Running, None)).await;
    agent.ack().await;
    drop(agent);
    tokio::time::sleep(Duration::from_secs(200)).await;
    assert_eq!((stub.workflow(&id).state, stub.workflow(&id).place), (State::Running, PlaceView::Away));
    assert_eq!(stub.server().agents()[0].state, AgentState::Away);
    let view = stub.ended(&id).await;
    assert_eq!((view.state, view.epoch), (State::Failure, 1), "it is never started a second time");
    assert_eq!(
        view.error,
        "The agent 'agent' went away with the workflow and did not come back for 300 s. \
         How its steps ended is not known."
    );
    assert_eq!((view.steps[0].state, view.steps[0].outcome.as_deref()), (StepState::Failure, Some("unknown")));
    // It comes back too late.
    let agent = RawAgent::connect(&network, resuming("agent", vec![held(&assign, 2)])).await;
    assert!(!agent.welcome.held[0].keep);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_of_what_is_away_is_shown_and_counts_in_the_end() {
    let stub = Stub::start(Config::default());
    let network = stub.network();
    let mut agent = RawAgent::ready(&network, hello("agent"), 1).await;
    let id = stub.submit(workload("w"));
    agent.take().await;
    drop(agent);
    tokio::time::sleep(Duration::from_secs(100)).await;
    stub.server().cancel(&id, Stop { reason: "not needed".to_owned(), grace: None }).unwrap();
    let view = stub.workflow(&id);
    assert_eq!((view.place, view.stopping.as_str()), (PlaceView::Away, "not needed"));
    assert_eq!(stub.ended(&id).await.state, State::Killed);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_missed_the_last_acknowledgement_may_forget() {
    let stub = Stub::start(Config::default());
    let network = stub.network();
    let mut agent = RawAgent::ready(&network, hello("agent"), 1).await;
    let id = stub.submit(workload("w"));
    let assign = agent.take().await;
    stub.expect_session().await.stop_acking();
    agent.say(step(&assign, 2, pb::StepState::Success, Some(0))).await;
    agent.say(finished(&assign, 3, pb::WorkflowState::Success)).await;
    stub.ended(&id).await;
    drop(agent);
    let agent = RawAgent::connect(&network, resuming("agent", vec![held(&assign, 1)])).await;
    assert_eq!((agent.welcome.held[0].keep, agent.welcome.held[0].acknowledged), (true, 3));
    assert_eq!(stub.workflow(&id).state, State::Success);
}

#[tokio::test(start_paused = true)]
async fn workflows_that_the_server_does_not_know_are_abandoned() {
    let network = Stub::by_hand().network();
    let unknown = pb::Held { workflow_id: "nobody-knows".into(), epoch: 3, acknowledged: 7 };
    let agent = RawAgent::connect(&network, resuming("agent", vec![unknown])).await;
    assert_eq!((agent.welcome.held.len(), agent.welcome.held[0].keep), (1, false));
}

#[tokio::test(start_paused = true)]
async fn a_sibling_of_the_same_cluster_goes_on_under_a_higher_epoch() {
    let stub = Stub::start(Config::default());
    let network = stub.network();
    let mut first = RawAgent::ready(&network, hello("first"), 1).await;
    let id = stub.submit(workload("w"));
    let assign = first.take().await;
    first.say(log(&assign, 2, 0, &["one"])).await;
    first.ack().await;
    first.say(Said::Released(pb::Released { held: vec![held(&assign, 2)] })).await;
    let adopted = pb::Assign { epoch: 2, ..assign.clone() };

    let stranger = RawAgent::connect(&network, resuming("stranger", vec![held(&adopted, 0)])).await;
    assert!(!stranger.welcome.held[0].keep, "it is of another cluster");
    let sibling = pb::Hello { cluster: hello("first").cluster, ..resuming("sibling", vec![held(&adopted, 0)]) };
    let mut sibling = RawAgent::connect(&network, sibling).await;
    let decision = &sibling.welcome.held[0];
    assert_eq!((decision.keep, decision.acknowledged, decision.log_lines["build"]), (true, 0, 1));

    first.say(log(&assign, 3, 1, &["not this one"])).await;
    first.hears_nothing().await;
    sibling.say(log(&adopted, 1, 1, &["two"])).await;
    sibling.ack().await;
    let lines: Vec<_> = stub.log(&id, "build").into_iter().map(|line| line.bytes).collect();
    assert_eq!(lines, ["one", "two"]);
    assert_eq!(stub.workflow(&id).agent.as_deref(), Some("sibling"));
}

#[tokio::test(start_paused = true)]
async fn a_sibling_that_adopts_in_mid_session_is_told_to_stop() {
    let stub = Stub::start(Config::default());
    let network = stub.network();
    let mut first = RawAgent::ready(&network, hello("first"), 1).await;
    let sibling = pb::Hello { cluster: hello("first").cluster, ..hello("sibling") };
    let mut sibling = RawAgent::connect(&network, sibling).await;
    let id = stub.submit(workload("w"));
    let assign = first.take().await;
    drop(first);
    sibling.hears_nothing().await;
    let stop = server_stub::mailbox::Stop { reason: "the user asked".into(), grace: None };
    stub.server().cancel(&id, stop).unwrap();
    let adopted = pb::Assign { epoch: 2, ..assign };
    sibling.say(Said::Heartbeat(pb::Heartbeat { held: vec![held(&adopted, 0)] })).await;
    let heard = sibling.hear().await;
    assert!(matches!(&heard, Heard::Cancel(cancel) if cancel.epoch == 2), "{heard:?}");
    assert_eq!(stub.workflow(&id).place, PlaceView::Running);
}

#[tokio::test(start_paused = true)]
async fn what_a_sibling_takes_over_makes_room_at_once() {
    let stub = Stub::start(Config::default());
    let network = stub.network();
    let mut first = RawAgent::ready(&network, pb::Hello { capacity: 1, ..hello("first") }, 1).await;
    stub.submit(workload("taken over"));
    let assign = first.take().await;
    first.demand(1).await;
    let waits = stub.submit(workload("waits"));
    first.hears_nothing().await;
    let sibling = pb::Hello { cluster: hello("first").cluster, ..hello("second") };
    let sibling = RawAgent::connect(&network, sibling).await;
    let taken = pb::Held { epoch: 2, ..held(&assign, 0) };
    sibling.say(Said::Heartbeat(pb::Heartbeat { held: vec![taken] })).await;
    // Not only when the time has come to look at everything.
    let next = tokio::time::timeout(Duration::from_millis(100), first.assign()).await.expect("it has room");
    assert_eq!(next.workflow_id, waits.as_str());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_after_the_acknowledgement_ends_the_workflow() {
    let stub = Stub::start(Config::default());
    let network = stub.network();
    let mut agent = RawAgent::ready(&network, hello("agent"), 1).await;
    let mut other = RawAgent::ready(&network, hello("other"), 1).await;
    let id = stub.submit(workload("w"));
    let assign = agent.take().await;
    let refused = pb::Refused {
        stamp: crate::agent::stamp(&assign, 2),
        reason: "the namespace is gone".into(),
        r#final: false,
        full: false,
    };
    agent.say(Said::Refused(refused)).await;
    let view = stub.ended(&id).await;
    assert_eq!((view.state, view.error.as_str()), (State::Failure, "the namespace is gone"));
    other.hears_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn a_cancel_reaches_the_agent_wherever_it_is() {
    let stub = Stub::start(Config::default());
    let network = stub.network();
    let mut agent = RawAgent::ready(&network, hello("agent"), 1).await;
    let session = stub.expect_session().await;
    let id = stub.submit(workload("w"));
    let assign = agent.take().await;
    session.cancel(&id, "the user asked", Some(Duration::from_secs(5)));
    let expect_cancel = |heard| {
        let Heard::Cancel(cancel) = heard else { panic!("expected Cancel, got {heard:?}") };
        assert_eq!((cancel.workflow_id.as_str(), cancel.epoch), (id.as_str(), 1));
        assert_eq!((cancel.reason.as_str(), cancel.grace_seconds), ("the user asked", Some(5)));
    };
    expect_cancel(agent.hear().await);
    // It may have got lost: it is said again after each resume.
    let mut agent = RawAgent::connect(&network, resuming("agent", vec![held(&assign, 1)])).await;
    expect_cancel(agent.hear().await);
    agent.say(step(&assign, 2, pb::StepState::Killed, None)).await;
    agent.say(finished(&assign, 3, pb::WorkflowState::Killed)).await;
    let view = stub.ended(&id).await;
    assert_eq!((view.state, view.steps[0].state), (State::Killed, StepState::Killed));
}

#[tokio::test(start_paused = true)]
async fn a_second_cancel_with_a_shorter_grace_reaches_the_agent() {
    let stub = Stub::start(Config::default());
    let network = stub.network();
    let mut agent = RawAgent::ready(&network, hello("agent"), 1).await;
    let session = stub.expect_session().await;
    let id = stub.submit(workload("w"));
    let assign = agent.take().await;
    for (reason, grace, expected) in [("alice", 600, 600), ("bob", 5, 5), ("carol", 60, 5)] {
        session.cancel(&id, reason, Some(Duration::from_secs(grace)));
        let heard = agent.hear().await;
        let Heard::Cancel(cancel) = heard else { panic!("expected Cancel, got {heard:?}") };
        assert_eq!((cancel.reason.as_str(), cancel.grace_seconds), ("alice", Some(expected)), "{reason}");
    }
    let mut agent = RawAgent::connect(&network, resuming("agent", vec![held(&assign, 1)])).await;
    let heard = agent.hear().await;
    assert!(matches!(&heard, Heard::Cancel(cancel) if cancel.grace_seconds == Some(5)), "{heard:?}");
}

#[tokio::test(start_paused = true)]
async fn a_waiting_workflow_is_cancelled_at_once() {
    let stub = Stub::start(Config::default());
    let id = stub.submit(workload("w"));
    let stop = server_stub::mailbox::Stop { reason: "the user asked".into(), grace: None };
    stub.server().cancel(&id, stop.clone()).unwrap();
    let view = stub.workflow(&id);
    assert_eq!((view.state, view.steps[0].state), (State::Canceled, StepState::Canceled));
    assert_eq!(view.error, "the user asked");
    let error = stub.server().cancel(&id, stop).unwrap_err();
    assert_eq!(error.to_string(), format!("the workflow '{id}' is over: canceled"));
    let mut agent = RawAgent::ready(&stub.network(), hello("agent"), 1).await;
    agent.hears_nothing().await;
}
