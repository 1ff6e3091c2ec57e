//! Tokens of single clusters: what they let an agent do.

use std::time::Duration;

use piculet_core::id::WorkflowId;
use piculet_core::secret::Secret;
use piculet_proto::v1 as pb;
use piculet_proto::v1::agent_message::Message as Said;
use piculet_proto::v1::agent_service_client::AgentServiceClient;
use server_stub::dispatch::{State, Timing};
use server_stub::server::Config;
use server_stub::stub::Stub;
use server_stub::view::ClusterState;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request};

use crate::agent::{RawAgent, call, channel, finished, held, hello, step, until, workload};

/// A token for the agents of this cluster.
fn token(stub: &Stub, cluster: &str) -> String {
    stub.server().create_token(cluster.to_owned(), String::new()).token.expose().to_owned()
}

fn id_of(assign: &pb::Assign) -> WorkflowId {
    WorkflowId::new(assign.workflow_id.as_str())
}

/// The same assignment under the next epoch, as an instance that took over has it.
fn taken_over(assign: &pb::Assign) -> pb::Assign {
    pb::Assign { epoch: assign.epoch + 1, ..assign.clone() }
}

/// Another instance that says it is of the cluster of `agent`, and that it holds this.
fn sibling(assign: &pb::Assign) -> pb::Hello {
    pb::Hello { cluster: hello("agent").cluster, held: vec![held(assign, 0)], ..hello("sibling") }
}

/// A server that was started anew, with tokens of two clusters; an agent of the first has a workflow.
async fn restarted() -> (Stub, pb::Assign, [String; 2]) {
    let stub = Stub::start(Config::default());
    let tokens = [token(&stub, "a"), token(&stub, "b")];
    let mut agent = call(&stub.network(), Some(&tokens[0]), vec![Said::Hello(hello("agent"))]).await.unwrap();
    agent.demand(1).await;
    stub.submit(workload("w"));
    let assign = agent.take().await;
    (Stub::restart(Config::default(), stub.kill()), assign, tokens)
}

async fn end(agent: &RawAgent, assign: &pb::Assign, first: u64) {
    agent.say(step(assign, first, pb::StepState::Success, Some(0))).await;
    agent.say(finished(assign, first + 1, pb::WorkflowState::Success)).await;
}

#[tokio::test(start_paused = true)]
async fn an_instance_comes_back_with_a_token_of_its_own_cluster_only() {
    let (stub, assign, [a, b]) = restarted().await;
    let network = stub.network();
    let mine = || vec![Said::Hello(pb::Hello { held: vec![held(&assign, 1)], ..hello("agent") })];
    let refusal = async || call(&network, Some(&b), mine()).await.err().unwrap();
    let status = refusal().await;
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains("is for the cluster 'b', and the instance 'agent' is known in the cluster 'a'"));
    let agent = call(&network, Some(&a), mine()).await.unwrap();
    assert!(agent.welcome.held[0].keep);
    // Nor does it take the place of the session.
    assert_eq!(refusal().await.code(), Code::PermissionDenied);
    end(&agent, &assign, 2).await;
    assert_eq!(stub.ended(&id_of(&assign)).await.state, State::Success);
}

#[tokio::test(start_paused = true)]
async fn what_a_cluster_has_is_not_for_one_that_only_says_it_is_the_same() {
    let (stub, assign, [a, b]) = restarted().await;
    let next = taken_over(&assign);
    let mut thief = call(&stub.network(), Some(&b), vec![Said::Hello(sibling(&next))]).await.unwrap();
    assert!(!thief.welcome.held[0].keep);
    thief.say(Said::Heartbeat(pb::Heartbeat { held: vec![held(&next, 0)] })).await;
    end(&thief, &next, 1).await;
    end(&thief, &assign, 2).await;
    thief.hears_nothing().await;
    let view = stub.workflow(&id_of(&assign));
    assert_eq!((view.state, view.cluster.as_deref()), (State::Running, Some("a")));

    let mut real = sibling(&next);
    real.instance_id = "successor".to_owned();
    let real = call(&stub.network(), Some(&a), vec![Said::Hello(real)]).await.unwrap();
    assert!(real.welcome.held[0].keep, "the same, with the right token");
    end(&real, &next, 1).await;
    assert_eq!(stub.ended(&id_of(&assign)).await.state, State::Success);
}

/// The agents of a cluster came without a token of it, or with one for all clusters, and then they have one.
#[tokio::test(start_paused = true)]
async fn what_runs_outlives_the_way_to_a_token_of_its_cluster() {
    for (is_anew, is_restarted) in [(false, false), (false, true), (true, false), (true, true)] {
        let stub = Stub::start(Config::default());
        let mut former = RawAgent::ready(&stub.network(), hello("agent"), 1).await;
        stub.submit(workload("w"));
        let assign = former.take().await;
        let token = token(&stub, "prod");
        stub.server().settled().await;
        let stub = if is_restarted { Stub::restart(Config::default(), stub.kill()) } else { stub };
        let run = if is_anew { taken_over(&assign) } else { assign };
        let instance = if is_anew { "sibling" } else { "agent" };
        let coming = pb::Hello { instance_id: instance.to_owned(), ..sibling(&run) };
        let agent = call(&stub.network(), Some(&token), vec![Said::Hello(coming)]).await.unwrap();
        assert!(agent.welcome.held[0].keep, "anew: {is_anew}, restarted: {is_restarted}");
        assert_eq!(stub.workflow(&id_of(&run)).cluster.as_deref(), Some("prod"));
        end(&agent, &run, if is_anew { 1 } else { 2 }).await;
        assert_eq!(stub.ended(&id_of(&run)).await.state, State::Success);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_offered_goes_along_to_the_cluster_of_the_token() {
    let stub = Stub::start(Config::default());
    let mut agent = RawAgent::ready(&stub.network(), hello("agent"), 1).await;
    stub.submit(workload("w"));
    let assign = agent.assign().await;
    let token = token(&stub, "prod");
    let coming = pb::Hello { held: vec![held(&assign, 0)], ..hello("agent") };
    let agent = call(&stub.network(), Some(&token), vec![Said::Hello(coming)]).await.unwrap();
    assert!(agent.welcome.held[0].keep);
    assert_eq!(stub.workflow(&id_of(&assign)).cluster.as_deref(), Some("prod"));
    // From now on it is of no other.
    assert_eq!(stub.server().lose_cluster("prod").unwrap(), [id_of(&assign)]);
}

#[tokio::test(start_paused = true)]
async fn an_instance_stays_that_of_its_cluster_while_it_is_away_with_nothing() {
    let stub = Stub::start(Config::default());
    let network = stub.network();
    let [a, b] = [token(&stub, "a"), token(&stub, "b")];
    let come = async |token: &str| call(&network, Some(token), vec![Said::Hello(hello("agent"))]).await;
    drop(come(&a).await.unwrap());
    until(|| stub.server().cluster("a").unwrap().state == ClusterState::Away).await;
    let status = come(&b).await.err().unwrap();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains("is for the cluster 'b', and the instance 'agent' is known in the cluster 'a'"));
    drop(come(&a).await.unwrap());
    // Once it is forgotten it is anybody's.
    tokio::time::sleep(Timing::default().lost_after + Duration::from_secs(1)).await;
    come(&b).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_token_that_was_open_before_there_were_tokens_is_not_let_in() {
    let stub = Stub::start(Config::default());
    let (say, queue) = tokio::sync::mpsc::channel(4);
    let mut client = AgentServiceClient::new(channel(&stub.network()).await);
    let mut hear = client.connect(ReceiverStream::new(queue)).await.unwrap().into_inner();
    token(&stub, "a");
    say.send(pb::AgentMessage { message: Some(Said::Hello(hello("late"))) }).await.unwrap();
    let status = hear.message().await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(status.message().contains("a token is needed"), "{}", status.message());
    assert!(stub.server().agents().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_call_with_the_token_for_all_clusters_is_let_in_when_there_are_others_by_then() {
    let stub = Stub::start(Config { agent_token: Some(Secret::new("all")), ..Config::default() });
    let (say, queue) = tokio::sync::mpsc::channel(4);
    let mut request = Request::new(ReceiverStream::new(queue));
    request.metadata_mut().insert("authorization", "Bearer all".parse().unwrap());
    let mut client = AgentServiceClient::new(channel(&stub.network()).await);
    let mut hear = client.connect(request).await.unwrap().into_inner();
    token(&stub, "a");
    say.send(pb::AgentMessage { message: Some(Said::Hello(hello("late"))) }).await.unwrap();
    hear.message().await.unwrap();
    assert_eq!(stub.server().agents().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_revoked_before_the_agent_says_who_it_is_lets_nobody_in() {
    let stub = Stub::start(Config::default());
    let token = stub.server().create_token("a".to_owned(), String::new());
    let (say, queue) = tokio::sync::mpsc::channel(4);
    let mut request = Request::new(ReceiverStream::new(queue));
    request.metadata_mut().insert("authorization", format!("Bearer {}", token.token.expose()).parse().unwrap());
    let mut client = AgentServiceClient::new(channel(&stub.network()).await);
    let mut hear = client.connect(request).await.unwrap().into_inner();
    stub.server().revoke_token(&token.id).unwrap();
    say.send(pb::AgentMessage { message: Some(Said::Hello(hello("late"))) }).await.unwrap();
    let status = hear.message().await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unauthenticated, "the token was revoked"));
    assert!(stub.server().agents().is_empty());
}
