//! The server is killed and comes back: what it had said it would keep is there.

use std::time::Duration;

use piculet_core::id::WorkflowId;
use piculet_core::secret::Secret;
use piculet_proto::v1 as pb;
use piculet_proto::v1::agent_message::Message as Said;
use piculet_proto::v1::server_message::Message as Heard;
use server_stub::dispatch::State;
use server_stub::mailbox::{Intake, Stop};
use server_stub::server::Config;
use server_stub::store::Store;
use server_stub::stub::Stub;
use server_stub::view::{AgentState, ClusterState, PlaceView};

use crate::agent::{RawAgent, accepted, finished, held, hello, log, log_bytes, log_end, stamp, step, workload};

/// Kills a server and starts the next one.
fn restarted(stub: Stub) -> Stub {
    Stub::restart(Config::default(), stub.kill())
}

fn resuming(held: Vec<pb::Held>) -> pb::Hello {
    pb::Hello { held, ..hello("agent") }
}

fn lines(stub: &Stub, id: &WorkflowId) -> Vec<String> {
    stub.log(id, "build").iter().map(|line| String::from_utf8_lossy(&line.bytes).into_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_still_there_and_in_its_order() {
    let stub = Stub::start(Config::default());
    let mut secret = workload("a");
    secret.secrets = vec![Secret::new("hunter2")];
    let first = stub.submit(secret);
    stub.submit(workload("b"));
    let server_id = stub.server().look(|dispatcher| dispatcher.policy().server_id.clone());
    let stub = restarted(stub);
    assert_eq!(stub.server().look(|dispatcher| dispatcher.policy().server_id.clone()), server_id);
    let third = stub.submit(workload("c"));
    assert_eq!((stub.workflow(&first).number, stub.workflow(&third).number), (1, 3));
    let mut agent = RawAgent::ready(&stub.network(), hello("agent"), 3).await;
    let assigns = [agent.assign().await, agent.assign().await, agent.assign().await];
    assert_eq!(assigns.each_ref().map(|assign| assign.workload.clone().unwrap().name), ["a", "b", "c"]);
    assert_eq!(assigns[0].workload.clone().unwrap().secrets, ["hunter2"]);
    assert!(assigns.iter().all(|assign| assign.epoch == 1));
}

#[tokio::test(start_paused = true)]
async fn what_runs_goes_on_where_it_was() {
    let stub = Stub::start(Config::default());
    let mut agent = RawAgent::ready(&stub.network(), hello("agent"), 1).await;
    let id = stub.submit(workload("w"));
    let assign = agent.take().await;
    agent.say(step(&assign, 2, pb::StepState::Running, None)).await;
    agent.say(log(&assign, 3, 0, &["one", "two"])).await;
    // The beginning of a line: acknowledged, so the agent doesn't send it again.
    let Said::LogChunk(mut part) = log_bytes(&assign, 4, 2, &[b"thr"]) else { unreachable!() };
    part.lines[0].continues = true;
    agent.say(Said::LogChunk(part)).await;
    while agent.ack().await.2 < 4 {}

    let stub = restarted(stub);
    assert_eq!(stub.workflow(&id).place, PlaceView::Away);
    assert_eq!(stub.server().agents()[0].state, AgentState::Away);
    assert_eq!(lines(&stub, &id), ["one", "two"]);
    let agent = RawAgent::connect(&stub.network(), resuming(vec![held(&assign, 4)])).await;
    let decision = &agent.welcome.held[0];
    assert_eq!((decision.keep, decision.acknowledged, decision.log_lines["build"]), (true, 4, 2));
    assert_eq!(stub.workflow(&id).place, PlaceView::Running);
    agent.say(log(&assign, 3, 0, &["one", "two"])).await;
    agent.say(log(&assign, 5, 2, &["ee", "four"])).await;
    agent.say(log_end(&assign, 6, 4, 15)).await;
    agent.say(step(&assign, 7, pb::StepState::Failure, Some(7))).await;
    agent.say(finished(&assign, 8, pb::WorkflowState::Failure)).await;
    let view = stub.ended(&id).await;
    assert_eq!((view.state, view.steps[0].exit_code), (State::Failure, Some(7)));
    assert_eq!(view.steps[0].log_complaint, None);
    assert_eq!(lines(&stub, &id), ["one", "two", "three", "four"]);

    // And once it is over nothing changes any more.
    let stub = restarted(stub);
    assert_eq!(stub.workflow(&id), view);
    assert_eq!(lines(&stub, &id), ["one", "two", "three", "four"]);
    let agent = RawAgent::connect(&stub.network(), resuming(vec![held(&assign, 5)])).await;
    let decision = &agent.welcome.held[0];
    assert_eq!((decision.keep, decision.acknowledged), (true, 8), "the agent missed that it is stored");
}

#[tokio::test(start_paused = true)]
async fn what_no_agent_was_told_it_has_goes_elsewhere() {
    let stub = Stub::start(Config::default());
    let mut agent = RawAgent::ready(&stub.network(), hello("agent"), 2).await;
    stub.expect_session().await.stop_acking();
    let (offered, taken) = (stub.submit(workload("offered")), stub.submit(workload("taken")));
    let assigns = [agent.assign().await, agent.assign().await];
    agent.say(accepted(&assigns[1])).await;
    agent.say(log(&assigns[1], 2, 0, &["of a run that has created nothing"])).await;
    agent.hears_nothing().await;

    let stub = restarted(stub);
    let held = assigns.iter().map(|assign| held(assign, 0)).collect();
    let mut agent = RawAgent::ready(&stub.network(), resuming(held), 2).await;
    assert!(agent.welcome.held.iter().all(|decision| !decision.keep));
    for id in [&offered, &taken] {
        let assign = agent.assign().await;
        assert_eq!((assign.workflow_id.as_str(), assign.epoch), (id.as_str(), 2));
        assert!(lines(&stub, id).is_empty(), "the new run has a log of its own");
    }
}

#[tokio::test(start_paused = true)]
async fn what_nobody_comes_back_for_ends_as_failed() {
    let stub = Stub::start(Config::default());
    let mut agent = RawAgent::ready(&stub.network(), hello("agent"), 1).await;
    let id = stub.submit(workload("w"));
    agent.take().await;
    let stub = restarted(stub);
    let start = tokio::time::Instant::now();
    let view = stub.ended(&id).await;
    assert_eq!(start.elapsed().as_secs(), 300);
    assert_eq!(view.state, State::Failure);
    assert!(view.error.contains("went away with the workflow and did not come back for 300 s"), "{}", view.error);
    assert!(stub.server().agents().is_empty() && stub.server().clusters().is_empty(), "they are forgotten");
    let stub = restarted(stub);
    assert!(stub.server().agents().is_empty() && stub.server().clusters().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_cancel_is_not_forgotten() {
    let stub = Stub::start(Config::default());
    let network = stub.network();
    let mut agent = RawAgent::ready(&network, hello("agent"), 1).await;
    let id = stub.submit(workload("w"));
    let assign = agent.take().await;
    network.cut_for(Duration::from_secs(1)).await;
    let stop = Stop { reason: "asked".to_owned(), grace: Some(Duration::from_millis(2500)) };
    stub.server().cancel(&id, stop).unwrap();
    let stub = restarted(stub);
    let mut agent = RawAgent::connect(&stub.network(), resuming(vec![held(&assign, 1)])).await;
    let Heard::Cancel(cancel) = agent.hear().await else { panic!("expected Cancel") };
    assert_eq!((cancel.reason.as_str(), cancel.workflow_id.as_str()), ("asked", id.as_str()));
}

#[tokio::test(start_paused = true)]
async fn what_operators_said_stays_said() {
    let stub = Stub::start(Config::default());
    let network = stub.network();
    for name in ["drained", "lost", "open"] {
        RawAgent::connect(&network, hello(name)).await;
    }
    stub.server().set_cluster_intake("cluster-of-drained", Intake::Closed).unwrap();
    stub.server().lose_cluster("cluster-of-lost").unwrap();
    stub.server().set_intake("open", Intake::Closed);
    let (good, bad) = ("good".to_owned(), "bad".to_owned());
    let (good, bad) = (stub.server().create_token(good, String::new()), stub.server().create_token(bad, String::new()));
    stub.server().revoke_token(&bad.id).unwrap();

    let stub = restarted(stub);
    let states: Vec<_> = stub.server().clusters().into_iter().map(|cluster| (cluster.name, cluster.state)).collect();
    let state = |name: &str| states.iter().find(|(other, _)| other == name).unwrap().1;
    assert_eq!((state("cluster-of-drained"), state("cluster-of-lost")), (ClusterState::Draining, ClusterState::Lost));
    let network = stub.network();
    let refused = |token| crate::agent::call(&network, token, vec![Said::Hello(hello("open"))]);
    assert_eq!(
        refused(None).await.err().unwrap().message(),
        "a token is needed: send the header 'authorization: Bearer <token>'"
    );
    assert_eq!(refused(Some(bad.token.expose())).await.err().unwrap().message(), "the token was revoked");
    let mut agent = refused(Some(good.token.expose())).await.unwrap();
    assert!(matches!(agent.hear().await, Heard::Drain(_)), "the agent itself is drained");
    assert_eq!(stub.server().agents().iter().find(|agent| agent.name == "open").unwrap().cluster, "good");
}

#[tokio::test(start_paused = true)]
async fn what_is_forgotten_is_forgotten_in_the_store_too() {
    let limits = server_stub::dispatch::Limits { finished_workflows: 1, ..Default::default() };
    let stub = Stub::start(Config { limits, ..Config::default() });
    let mut agent = RawAgent::ready(&stub.network(), hello("agent"), 1).await;
    for name in ["a", "b"] {
        let id = stub.submit(workload(name));
        let assign = agent.take().await;
        agent.say(log(&assign, 2, 0, &["a line"])).await;
        agent.say(finished(&assign, 3, pb::WorkflowState::Failure)).await;
        while agent.ack().await.2 < 3 {}
        stub.ended(&id).await;
        agent.demand(1).await;
    }
    let store = stub.kill();
    let loaded = store.load().unwrap();
    assert_eq!(loaded.workflows.iter().map(|workflow| workflow.record.name.as_str()).collect::<Vec<_>>(), ["b"]);
    let stub = Stub::restart(Config::default(), store);
    assert_eq!(stub.workflow(&stub.submit(workload("c"))).number, 3, "numbers are not used twice");
}

#[tokio::test(start_paused = true)]
async fn another_identity_is_refused() {
    let store = Store::in_memory().unwrap();
    let config = |id: Option<&str>| Config { server_id: id.map(ToOwned::to_owned), ..Config::default() };
    Stub::restart(config(Some("one")), store.clone());
    Stub::restart(config(None), store.clone());
    let error = server_stub::server::Server::start(config(Some("two")), store).unwrap_err().to_string();
    assert!(error.starts_with("the database is that of the server 'one', and not of 'two'"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn old_reports_are_still_old() {
    let stub = Stub::start(Config::default());
    let mut agent = RawAgent::ready(&stub.network(), hello("agent"), 1).await;
    let id = stub.submit(workload("w"));
    let assign = agent.take().await;
    // A sibling took over in the cluster under a higher epoch.
    let sibling = pb::Hello { cluster: hello("agent").cluster, ..hello("sibling") };
    let adopted = pb::Assign { epoch: 2, ..assign.clone() };
    RawAgent::connect(&stub.network(), pb::Hello { held: vec![held(&adopted, 0)], ..sibling.clone() }).await;
    let stub = restarted(stub);
    let first = RawAgent::connect(&stub.network(), resuming(vec![held(&assign, 1)])).await;
    assert!(!first.welcome.held[0].keep);
    first.say(step(&assign, 2, pb::StepState::Success, Some(0))).await;
    let mut sibling = RawAgent::connect(&stub.network(), pb::Hello { held: vec![held(&adopted, 0)], ..sibling }).await;
    assert!(sibling.welcome.held[0].keep);
    sibling.say(Said::Accepted(pb::Accepted { stamp: stamp(&adopted, 1) })).await;
    assert_eq!(sibling.ack().await, (id.to_string(), 2, 1));
    assert_eq!(stub.workflow(&id).epoch, 2);
}
