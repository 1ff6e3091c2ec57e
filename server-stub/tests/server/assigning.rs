//! Who gets what.

use piculet_core::id::WorkflowId;
use piculet_proto::v1 as pb;
use piculet_proto::v1::agent_message::Message as Said;
use server_stub::dispatch::{Condition, State, Submission, Throttle, Timing};
use server_stub::server::Config;
use server_stub::stub::Stub;
use server_stub::view::{AgentState, PlaceView};

use crate::agent::{RawAgent, accepted, finished, hello, labelled, refused, step, until, wanting, workload};

#[tokio::test(start_paused = true)]
async fn placement_follows_labels_and_platforms() {
    let stub = Stub::start(Config::default());
    let network = stub.network();
    let amd = pb::Hello { platforms: vec!["linux/amd64".into()], ..labelled(hello("amd"), &[("gpu", "*")]) };
    let arm = pb::Hello { platforms: vec!["linux/arm64".into()], ..labelled(hello("arm"), &[("!team", "phones")]) };
    let mut amd = RawAgent::ready(&network, amd, 4).await;
    let mut arm = RawAgent::ready(&network, arm, 4).await;
    stub.submit(wanting("for-arm", &[("platform", "linux/arm64"), ("team", "phones")]));
    stub.submit(wanting("for-gpu", &[("gpu", "a100")]));
    let nobodys = stub.submit(wanting("for-nobody", &[("platform", "linux/arm64")]));
    stub.submit(workload("for-all"));
    assert_eq!(arm.assign().await.workload.unwrap().name, "for-arm");
    assert_eq!(amd.assign().await.workload.unwrap().name, "for-gpu");
    // The third waits and holds up nobody; the required label keeps the last off the second agent.
    assert_eq!(amd.assign().await.workload.unwrap().name, "for-all");
    arm.hears_nothing().await;
    let waiting = stub.workflow(&nobodys);
    assert_eq!((waiting.state, waiting.place), (State::Pending, PlaceView::Pending));
    assert_eq!(
        waiting.waiting,
        [
            "agent 'amd' of cluster 'cluster-of-amd': its nodes are linux/amd64; the workflow asks for linux/arm64",
            "agent 'arm' of cluster 'cluster-of-arm': it takes only workflows with the label team=phones",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn load_is_spread() {
    let stub = Stub::start(Config::default());
    let network = stub.network();
    let mut one = RawAgent::ready(&network, hello("one"), 4).await;
    let mut two = RawAgent::ready(&network, hello("two"), 4).await;
    until(|| stub.server().agents().iter().all(|agent| agent.free_slots == 4)).await;
    for name in ["a", "b", "c", "d"] {
        stub.submit(workload(name));
    }
    let names = [one.assign().await, one.assign().await, two.assign().await, two.assign().await]
        .map(|assign| assign.workload.unwrap().name);
    assert_eq!(names, ["a", "c", "b", "d"]);
}

#[tokio::test(start_paused = true)]
async fn credit_is_never_exceeded() {
    let stub = Stub::start(Config::default());
    let mut agent = RawAgent::connect(&stub.network(), hello("agent")).await;
    for name in ["a", "b", "c", "d", "e"] {
        stub.submit(workload(name));
    }
    agent.hears_nothing().await;
    agent.demand(2).await;
    let (a, b) = (agent.assign().await, agent.assign().await);
    agent.hears_nothing().await;
    agent.accept(&a).await;
    agent.accept(&b).await;
    agent.hears_nothing().await;
    // One slot is free: the agent says so, and gets one.
    agent.demand(1).await;
    agent.take().await;
    // This demand was on its way when 'c' was assigned.
    agent.demand_after(1, 2).await;
    agent.hears_nothing().await;
    agent.demand_after(1, 3).await;
    assert_eq!(agent.assign().await.workload.unwrap().name, "d");
    // The agent runs four at most, whatever it says.
    agent.demand(3).await;
    agent.hears_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn an_assignment_that_never_left_is_taken_back() {
    let stub = Stub::start(Config::default());
    let mut agent = RawAgent::ready(&stub.network(), hello("agent"), 1).await;
    until(|| stub.server().agents()[0].free_slots == 1).await;
    // Nothing else runs between these: the connection has not fetched the first when it is cancelled.
    let first = stub.submit(workload("first"));
    assert_eq!(stub.workflow(&first).place, PlaceView::Assigned);
    let stop = server_stub::mailbox::Stop { reason: "never mind".into(), grace: None };
    stub.server().cancel(&first, stop).unwrap();
    stub.submit(workload("second"));
    assert_eq!(agent.assign().await.workload.unwrap().name, "second");
    assert_eq!(stub.workflow(&first).state, State::Canceled);
}

#[tokio::test(start_paused = true)]
async fn a_drained_agent_gets_nothing_until_it_is_resumed() {
    let stub = Stub::start(Config::default());
    let mut agent = RawAgent::ready(&stub.network(), hello("agent"), 1).await;
    let session = stub.expect_session().await;
    session.drain();
    assert!(matches!(agent.hear().await, pb::server_message::Message::Drain(_)));
    let id = stub.submit(workload("w"));
    agent.hears_nothing().await;
    assert_eq!(stub.workflow(&id).waiting, ["agent 'agent' of cluster 'cluster-of-agent': it takes no more work"]);
    session.resume();
    assert!(matches!(agent.hear().await, pb::server_message::Message::Resume(_)));
    assert_eq!(agent.assign().await.workflow_id, id.as_str());
}

#[tokio::test(start_paused = true)]
async fn a_drain_is_said_first_in_each_session_until_it_is_taken_back() {
    let stub = Stub::start(Config::default());
    let network = stub.network();
    let mut agent = RawAgent::ready(&network, hello("agent"), 1).await;
    let id = stub.submit(workload("w"));
    let assign = agent.take().await;
    let stop = server_stub::mailbox::Stop { reason: "the user asked".into(), grace: None };
    stub.server().cancel(&id, stop).unwrap();
    stub.server().set_intake("agent", server_stub::mailbox::Intake::Closed);
    for _ in 0..2 {
        let held = vec![crate::agent::held(&assign, 1)];
        agent = RawAgent::connect(&network, pb::Hello { held, ..hello("agent") }).await;
        let heard = agent.hear().await;
        assert!(matches!(heard, pb::server_message::Message::Drain(_)), "{heard:?}");
        let heard = agent.hear().await;
        assert!(matches!(heard, pb::server_message::Message::Cancel(_)), "{heard:?}");
    }
    // An agent that is away when it is taken back hears nothing of it: a session starts open.
    drop(agent);
    stub.server().set_intake("agent", server_stub::mailbox::Intake::Open);
    let held = vec![crate::agent::held(&assign, 1)];
    let mut agent = RawAgent::connect(&network, pb::Hello { held, ..hello("agent") }).await;
    let heard = agent.hear().await;
    assert!(matches!(heard, pb::server_message::Message::Cancel(_)), "{heard:?}");
    agent.hears_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn what_one_refuses_another_gets() {
    let stub = Stub::start(Config::default());
    let network = stub.network();
    let mut first = RawAgent::ready(&network, hello("a-first"), 1).await;
    let id = stub.submit(workload("w"));
    let assign = first.assign().await;
    assert_eq!(assign.epoch, 1);
    first.say(refused(&assign, "the namespace allows no privileged pods", false)).await;
    assert_eq!(first.ack().await, (assign.workflow_id.clone(), 1, 1));
    first.demand(1).await;
    first.hears_nothing().await;
    assert_eq!(
        stub.workflow(&id).waiting,
        ["agent 'a-first' of cluster 'cluster-of-a-first': it refused: the namespace allows no privileged pods"]
    );
    let mut second = RawAgent::ready(&network, hello("b-second"), 1).await;
    let again = second.assign().await;
    assert_eq!((again.workflow_id.as_str(), again.epoch), (id.as_str(), 2));
    second.say(accepted(&again)).await;
    second.say(step(&again, 2, pb::StepState::Success, Some(0))).await;
    second.say(finished(&again, 3, pb::WorkflowState::Success)).await;
    let view = stub.ended(&id).await;
    assert_eq!((view.state, view.epoch, view.agent.as_deref()), (State::Success, 2, Some("b-second")));
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_full_gets_the_workflow_when_it_has_a_slot() {
    let stub = Stub::start(Config::default());
    let mut agent = RawAgent::ready(&stub.network(), hello("agent"), 1).await;
    let id = stub.submit(workload("w"));
    let assign = agent.assign().await;
    let Said::Refused(refused) = refused(&assign, "all slots are taken", false) else { unreachable!() };
    agent.say(Said::Refused(pb::Refused { full: true, ..refused })).await;
    agent.ack().await;
    // For longer than one that all refused would wait.
    for _ in 0..10 {
        agent.hears_nothing().await;
    }
    assert_eq!(stub.workflow(&id).waiting, ["agent 'agent' of cluster 'cluster-of-agent': it has no free slot"]);
    agent.demand(1).await;
    let again = agent.assign().await;
    assert_eq!((again.workflow_id.as_str(), again.epoch), (id.as_str(), 2));
}

#[tokio::test(start_paused = true)]
async fn what_all_refuse_ends_with_their_reasons() {
    let stub = Stub::start(Config::default());
    let mut agent = RawAgent::ready(&stub.network(), hello("agent"), 1).await;
    let id = stub.submit(workload("w"));
    let assign = agent.assign().await;
    agent.say(refused(&assign, "no rights", false)).await;
    agent.ack().await;
    agent.hears_nothing().await;
    assert_eq!(stub.workflow(&id).state, State::Pending, "another agent may come");
    // The raw agent answers pings while it waits.
    let view = tokio::select! {
        view = stub.ended(&id) => view,
        heard = agent.hear() => panic!("expected nothing, got {heard:?}"),
    };
    assert_eq!(view.state, State::Failure);
    assert_eq!(
        view.error,
        "No agent takes the workflow. agent 'agent' of cluster 'cluster-of-agent': it refused: no rights."
    );
}

#[tokio::test(start_paused = true)]
async fn a_refusal_counts_only_while_it_is_all_that_is_in_the_way() {
    let stub = Stub::start(Config::default());
    let network = stub.network();
    let refused_after = Timing::default().refused_after;
    let throttle = Some(Throttle { group: "deploys".to_owned(), limit: 1 });
    let limited = |name: &str, priority| Submission {
        priority,
        condition: Condition { throttle: throttle.clone(), ..Condition::default() },
        ..Submission::new(WorkflowId::new(name), workload(name))
    };
    let mut agent = RawAgent::ready(&network, hello("agent"), 4).await;
    stub.server().submit(vec![limited("shy", 0)]).unwrap();
    let shy = agent.assign().await;
    agent.say(refused(&shy, "no rights", false)).await;
    agent.ack().await;
    // Now another one of the group runs, and it isn't up to agents any more that this one waits.
    stub.server().submit(vec![limited("first", 1)]).unwrap();
    let first = agent.take().await;
    let mut other = RawAgent::ready(&network, hello("other"), 1).await;
    tokio::select! {
        () = tokio::time::sleep(refused_after * 3) => {}
        heard = agent.hear() => panic!("expected nothing, got {heard:?}"),
        heard = other.hear() => panic!("expected nothing, got {heard:?}"),
    }
    let id = WorkflowId::new("shy");
    assert_eq!(stub.workflow(&id).error, "");
    drop(other);
    until(|| stub.server().agents().iter().any(|agent| agent.state == AgentState::Away)).await;

    // Its time begins anew when it is its turn again; an agent that is away may still take it.
    agent.say(finished(&first, 2, pb::WorkflowState::Failure)).await;
    assert_eq!(agent.ack().await.2, 2);
    agent.hears_nothing().await;
    let mut other = RawAgent::ready(&network, hello("other"), 1).await;
    assert_eq!(other.assign().await.workflow_id, "shy");
}

#[tokio::test(start_paused = true)]
async fn a_leaving_agents_refusal_is_not_held_against_its_successor() {
    let stub = Stub::start(Config::default());
    let network = stub.network();
    let mut agent = RawAgent::ready(&network, hello("agent"), 1).await;
    let id = stub.submit(workload("w"));
    let assign = agent.assign().await;
    agent.say(pb::agent_message::Message::Draining(pb::Draining {})).await;
    agent.say(refused(&assign, "shutting down", false)).await;
    agent.ack().await;
    drop(agent);
    let mut same = RawAgent::ready(&network, hello("agent"), 1).await;
    let again = same.assign().await;
    assert_eq!((again.workflow_id.as_str(), again.epoch), (id.as_str(), 2));
}

#[tokio::test(start_paused = true)]
async fn a_final_refusal_ends_the_workflow() {
    let stub = Stub::start(Config::default());
    let network = stub.network();
    let mut agent = RawAgent::ready(&network, hello("agent"), 1).await;
    let mut other = RawAgent::ready(&network, hello("other"), 1).await;
    let id = stub.submit(workload("w"));
    let assign = agent.assign().await;
    agent.say(refused(&assign, "the environment of step 'build it' is larger than 1.5 MiB", true)).await;
    let view = stub.ended(&id).await;
    assert_eq!(view.state, State::Failure);
    assert_eq!(view.error, "the environment of step 'build it' is larger than 1.5 MiB");
    assert_eq!(view.steps[0].state.as_str(), "canceled");
    other.hears_nothing().await;
}
