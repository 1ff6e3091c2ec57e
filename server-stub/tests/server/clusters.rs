//! Clusters as a whole: who is chosen, who is closed, who is given up.

use piculet_core::id::WorkflowId;
use piculet_proto::v1 as pb;
use piculet_proto::v1::agent_message::Message as Said;
use piculet_proto::v1::server_message::Message as Heard;
use server_stub::dispatch::{State, Submission};
use server_stub::mailbox::Intake;
use server_stub::server::Config;
use server_stub::stub::Stub;
use server_stub::view::{ClusterState, PlaceView};
use tonic::Code;

use crate::agent::{RawAgent, call, finished, held, hello, log, step, until, workload};

/// A replica of a cluster.
pub(crate) fn replica(instance: &str, cluster: &str) -> pb::Hello {
    let cluster = pb::Cluster { name: cluster.to_owned(), uid: format!("uid-of-{cluster}"), version: "v1.34.4".into() };
    pb::Hello { cluster: Some(cluster), ..hello(instance) }
}

fn of(name: &str, repository: &str, priority: i32) -> Submission {
    Submission { repository: repository.to_owned(), priority, ..Submission::new(WorkflowId::new(name), workload(name)) }
}

fn submit(stub: &Stub, submissions: &[Submission]) {
    stub.server().submit(submissions.to_vec()).unwrap();
}

async fn name_of_next(agent: &mut RawAgent) -> String {
    agent.assign().await.workload.unwrap().name
}

#[tokio::test(start_paused = true)]
async fn clusters_are_filled_evenly_whatever_the_number_of_their_replicas() {
    let stub = Stub::start(Config::default());
    let network = stub.network();
    let mut agents = Vec::new();
    for (instance, cluster) in [("a1", "a"), ("a2", "a"), ("a3", "a"), ("b1", "b")] {
        agents.push(RawAgent::ready(&network, pb::Hello { capacity: 10, ..replica(instance, cluster) }, 10).await);
    }
    until(|| stub.server().clusters().iter().map(|cluster| cluster.free_slots).sum::<u32>() == 40).await;
    for number in 0..8 {
        stub.submit(workload(&format!("w{number}")));
    }
    let clusters = stub.server().clusters();
    let shown: Vec<_> = clusters
        .iter()
        .map(|cluster| (cluster.name.as_str(), cluster.agents, cluster.workflows, cluster.capacity))
        .collect();
    assert_eq!(shown, [("a", 3, 6, 30), ("b", 1, 2, 10)], "a fifth of each is in use");
    let loads: Vec<_> = stub.server().agents().iter().map(|agent| agent.workflows.len()).collect();
    assert_eq!(loads, [2, 2, 2, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_drained_cluster_gets_nothing_also_not_by_agents_that_come_later() {
    let stub = Stub::start(Config::default());
    let network = stub.network();
    let mut first = RawAgent::ready(&network, replica("a1", "a"), 4).await;
    stub.server().set_cluster_intake("a", Intake::Closed).unwrap();
    assert!(matches!(first.hear().await, Heard::Drain(_)));
    let mut second = RawAgent::connect(&network, replica("a2", "a")).await;
    assert!(matches!(second.hear().await, Heard::Drain(_)));
    second.demand(4).await;
    let id = stub.submit(workload("w"));
    second.hears_nothing().await;
    assert_eq!(stub.server().cluster("a").unwrap().state, ClusterState::Draining);
    assert!(stub.workflow(&id).waiting.iter().all(|reason| reason.contains("of cluster 'a': it takes no more work")));

    // One of them is drained by itself, too, and stays so.
    stub.server().set_intake("a2", Intake::Closed);
    assert!(matches!(second.hear().await, Heard::Drain(_)));
    stub.server().set_cluster_intake("a", Intake::Open).unwrap();
    assert!(matches!(first.hear().await, Heard::Resume(_)));
    assert!(matches!(second.hear().await, Heard::Drain(_)));
    assert_eq!(name_of_next(&mut first).await, "w");
    assert!(stub.server().set_cluster_intake("nowhere", Intake::Open).is_err());
}

#[tokio::test(start_paused = true)]
async fn what_a_lost_cluster_had_starts_anew_elsewhere() {
    let stub = Stub::start(Config::default());
    let network = stub.network();
    let mut old = RawAgent::ready(&network, replica("a1", "a"), 1).await;
    let id = stub.submit(workload("w"));
    let assign = old.take().await;
    old.say(log(&assign, 2, 0, &["of the lost run"])).await;
    while old.ack().await.2 < 2 {}
    let mut new = RawAgent::ready(&network, replica("b1", "b"), 1).await;
    new.hears_nothing().await;
    assert_eq!(stub.server().lose_cluster("a").unwrap(), std::slice::from_ref(&id));
    assert_eq!(old.end().await.code(), Code::Unavailable, "it is told to come back and ask");
    let again = new.assign().await;
    assert_eq!((again.workflow_id.as_str(), again.epoch), (id.as_str(), 2));
    new.accept(&again).await;
    assert!(stub.log(&id, "build").is_empty());

    // The lost one comes back: it has nothing any more, gets nothing, and what it says of the old run is dropped.
    let mut old = RawAgent::connect(&network, pb::Hello { held: vec![held(&assign, 2)], ..replica("a1", "a") }).await;
    assert!(!old.welcome.held[0].keep);
    assert!(matches!(old.hear().await, Heard::Drain(_)));
    old.say(step(&assign, 3, pb::StepState::Failure, Some(1))).await;
    old.say(finished(&assign, 4, pb::WorkflowState::Failure)).await;
    old.hears_nothing().await;
    assert_eq!(stub.workflow(&id).place, PlaceView::Running);
    assert_eq!(stub.server().cluster("a").unwrap().state, ClusterState::Lost);
    new.say(step(&again, 2, pb::StepState::Success, Some(0))).await;
    new.say(finished(&again, 3, pb::WorkflowState::Success)).await;
    assert_eq!(stub.ended(&id).await.state, State::Success);

    stub.server().set_cluster_intake("a", Intake::Open).unwrap();
    assert!(matches!(old.hear().await, Heard::Resume(_)));
    assert_eq!(stub.server().cluster("a").unwrap().lost, None);
}

#[tokio::test(start_paused = true)]
async fn two_clusters_can_not_have_one_name() {
    let stub = Stub::start(Config::default());
    let network = stub.network();
    let first = RawAgent::connect(&network, replica("a1", "a")).await;
    let mut stranger = replica("x1", "a");
    stranger.cluster.as_mut().unwrap().uid = "uid-of-x".to_owned();
    let status = call(&network, None, vec![Said::Hello(stranger.clone())]).await.err().unwrap();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains("are uid-of-x and uid-of-a; give each cluster a name"), "{}", status.message());
    // A cluster that was built anew has another UID, too; its agents don't meet those of the old one.
    drop(first);
    until(|| stub.server().cluster("a").unwrap().state == ClusterState::Away).await;
    RawAgent::connect(&network, stranger).await;
    assert_eq!(stub.server().cluster("a").unwrap().uid, "uid-of-x");
}

#[tokio::test(start_paused = true)]
async fn a_cluster_is_named_by_its_token_or_by_what_is_known_of_it() {
    let stub = Stub::start(Config::default());
    let network = stub.network();
    let mut unnamed = replica("i1", "");
    unnamed.cluster.as_mut().unwrap().uid = "some-uid".to_owned();
    RawAgent::connect(&network, unnamed).await;
    RawAgent::connect(&network, pb::Hello { cluster: None, ..hello("i2") }).await;
    let token = stub.server().create_token("by-token".to_owned(), String::new());
    call(&network, Some(token.token.expose()), vec![Said::Hello(replica("i3", "by-itself"))]).await.unwrap();
    let names: Vec<_> = stub.server().clusters().into_iter().map(|cluster| cluster.name).collect();
    assert_eq!(names, ["by-token", "i2", "some-uid"]);
}

#[tokio::test(start_paused = true)]
async fn a_larger_priority_goes_first_and_repositories_take_turns() {
    let stub = Stub::start(Config::default());
    submit(&stub, &[of("a1", "a", 0), of("a2", "a", 0), of("a3", "a", 0), of("b1", "b", 0), of("b2", "b", 0)]);
    submit(&stub, &[of("none1", "", 0), of("low", "c", -1), of("urgent", "a", 7), of("none2", "", 0)]);
    let mut agent = RawAgent::ready(&stub.network(), pb::Hello { capacity: 9, ..hello("agent") }, 9).await;
    let mut order = Vec::new();
    for _ in 0..9 {
        order.push(name_of_next(&mut agent).await);
    }
    assert_eq!(order, ["urgent", "b1", "none1", "a1", "b2", "none2", "a2", "a3", "low"]);
}

#[tokio::test(start_paused = true)]
async fn what_ends_makes_room_for_its_repository() {
    let stub = Stub::start(Config::default());
    submit(&stub, &[of("a1", "a", 0), of("a2", "a", 0), of("b1", "b", 0), of("b2", "b", 0)]);
    let mut agent = RawAgent::ready(&stub.network(), pb::Hello { capacity: 2, ..hello("agent") }, 2).await;
    let (a1, b1) = (agent.assign().await, agent.assign().await);
    agent.accept(&a1).await;
    agent.accept(&b1).await;
    agent.say(finished(&b1, 2, pb::WorkflowState::Failure)).await;
    assert_eq!(agent.ack().await.2, 2);
    agent.demand(1).await;
    assert_eq!(name_of_next(&mut agent).await, "b2", "of 'a' one runs still");
}
