//! How an agent comes to its number, its token and its place at the server.

use std::time::Duration;

use fake_cluster::Script;
use piculet::exit::Failure;
use piculet_core::secret::Secret;
use server_stub::woodpecker::State::{Running, Success};
use server_stub::woodpecker::{Answer, Method, Owner, Said};
use tonic::{Code, Status};

use super::world::{World, job, workflow};

#[tokio::test(start_paused = true)]
async fn the_number_is_kept_over_restarts_and_a_new_one_is_got_when_the_server_lost_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent.conf");
    let mut world = World::new();
    for n in 0..3 {
        let kept = file.clone();
        let agent = world.agent_with(move |config| config.server.id_file = Some(kept));
        assert_eq!(world.run(workflow(&format!("w{n}"), [vec![job("a")]])).await.state, Success);
        agent.shutdown.drain.cancel();
        agent.task.await.unwrap().unwrap();
    }
    assert_eq!(world.server.agents().len(), 1, "one row, however often it starts");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), r#"{"agent_id":1}"#);
    assert_eq!(world.count(Method::UnregisterAgent), 0);

    world.server.delete_agent(1);
    let kept = file.clone();
    world.agent_with(move |config| config.server.id_file = Some(kept));
    assert_eq!(world.run(workflow("w", [vec![job("a")]])).await.state, Success);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), r#"{"agent_id":2}"#);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_somebody_deletes_gets_a_new_number_and_goes_on() {
    let mut world = World::new();
    world.agent();
    assert_eq!(world.run(workflow("first", [vec![job("a")]])).await.agent, 1);
    world.server.delete_agent(1);
    let done = world.run(workflow("idle", [vec![job("a")]])).await;
    assert_eq!((done.state, done.agent), (Success, 2));

    // What a deleted agent ran is nobody's. Its slot must not be lost with it, nor its pods stay.
    world.step_does("long", Script::new().forever());
    for n in 0..2 {
        let id = world.server.submit(workflow(&format!("busy{n}"), [vec![job("long")]]));
        world.until(id, "long", Running).await;
    }
    world.server.delete_agent(2);
    let done = world.run(workflow("after", [vec![job("a")]])).await;
    assert_eq!((done.state, done.agent), (Success, 3));
    world.until_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_start_that_gets_no_further_makes_no_second_agent() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent.conf");
    let mut world = World::new();
    world.server.refuse(Method::RegisterAgent, &Status::permission_denied("no"), 5);
    let kept = file.clone();
    world.agent_with(move |config| config.server.id_file = Some(kept));
    assert_eq!(world.run(workflow("w", [vec![job("a")]])).await.state, Success);
    assert_eq!(world.server.agents().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_token_ends_the_agent_and_one_that_turns_wrong_does_not() {
    let mut world = World::new();
    let agent = world.agent_with(|config| config.server.token = Some(Secret::new("wrong")));
    let ended = agent.task.await.unwrap();
    assert!(matches!(&ended, Err(Failure::Unauthorised(words)) if !words.contains("wrong")), "{ended:?}");

    world.agent();
    assert_eq!(world.run(workflow("a", [vec![job("a")]])).await.state, Success);
    world.server.refuse(
        Method::Auth,
        &Status::unknown("agent could not auth: individual agent not found by token"),
        20,
    );
    world.server.restart();
    assert_eq!(world.run(workflow("b", [vec![job("a")]])).await.state, Success);
}

#[tokio::test(start_paused = true)]
async fn an_agent_with_a_token_of_its_own_is_that_agent() {
    let mut world = World::new();
    let id = world.server.add_agent_token("my-own-token", Owner::Org(3));
    world.agent_with(|config| config.server.token = Some(Secret::new("my-own-token")));
    let done = world.run(workflow("w", [vec![job("a")]])).await;
    assert_eq!((done.state, done.agent), (Success, id));
}

#[tokio::test(start_paused = true)]
async fn another_protocol_is_an_error_with_both_versions() {
    let mut world = World::with(server_stub::woodpecker::Config {
        protocol: 14,
        version: "3.12.0".to_owned(),
        ..server_stub::woodpecker::Config::default()
    });
    let ended = world.agent().task.await.unwrap();
    assert!(
        matches!(&ended, Err(Failure::Protocol(words)) if words.contains("16") && words.contains("14") && words.contains("3.12.0")),
        "{ended:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_access_token_is_renewed_every_half_hour_and_once_for_all_when_it_is_refused() {
    let mut world = World::new();
    world.agent_with(|config| config.agent.max_workflows = 4);
    world.server.wait_for("four polls", |_, journal| (journal.of(Method::Next).count() >= 4).then_some(())).await;
    assert_eq!(world.count(Method::Auth), 1);
    tokio::time::sleep(Duration::from_secs(65 * 60)).await;
    assert_eq!(world.count(Method::Auth), 3, "at 30 and at 60 minutes");
    world.server.invalidate_tokens();
    for n in 0..8 {
        assert_eq!(world.run(workflow(&format!("w{n}"), [vec![job("a")]])).await.state, Success);
    }
    assert_eq!(world.count(Method::Auth), 4, "whoever finds it refused waits for the same new one");
    let refused = world
        .server
        .calls()
        .into_iter()
        .filter(|call| matches!(call.answer, Answer::Refused(Code::Unauthenticated, _)));
    assert!(refused.count() > 0);
}

#[tokio::test(start_paused = true)]
async fn what_the_agent_is_stands_in_its_row_and_comes_with_its_calls() {
    let mut world = World::new();
    world.agent_with(|config| {
        config.agent.max_workflows = 7;
        config.agent.labels = [("gpu".to_owned(), "yes".to_owned()), ("repo".to_owned(), "acme/*".to_owned())].into();
    });
    world.server.wait_for("a poll", |_, journal| journal.of(Method::Next).next().map(drop)).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let agent = &world.server.agents()[0];
    assert_eq!((agent.name.as_str(), agent.backend.as_str(), agent.capacity), ("agent-1", "kubernetes", 7));
    assert_eq!(agent.platform, piculet::site::own_platform());
    assert_eq!(agent.custom_labels.len(), 2);
    assert!(!agent.version.is_empty());
    for call in world.server.calls() {
        if let Said::Next(labels) = &call.said {
            let platform = piculet::site::own_platform();
            for (name, value) in [
                ("hostname", "agent-1"),
                ("platform", platform.as_str()),
                ("backend", "kubernetes"),
                ("repo", "acme/*"),
                ("gpu", "yes"),
            ] {
                assert_eq!(labels.get(name).map(String::as_str), Some(value));
            }
        }
        if call.said.method() != Method::Auth {
            assert_eq!(call.metadata.hostname.as_deref(), Some("agent-1"), "{:?}", call.said);
            // What asks for the version must not be refused for want of the right one.
            let expected = (call.said.method() != Method::Version).then_some("16");
            assert_eq!(call.metadata.proto_version.as_deref(), expected);
        }
    }
    let healthy = world.count(Method::ReportHealth);
    assert!((5..=8).contains(&healthy), "each ten seconds: {healthy}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_gives_out_nothing_for_now_is_asked_again() {
    let mut world = World::new();
    world.agent();
    world.server.wait_for("a poll", |_, journal| journal.of(Method::Next).next().map(drop)).await;
    world.server.set_no_schedule(1, true);
    let id = world.server.submit(workflow("w", [vec![job("a")]]));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(world.count(Method::Next) < 200, "{}", world.count(Method::Next));
    world.server.set_no_schedule(1, false);
    world.server.refuse(Method::Next, &Status::unknown("database is locked"), 3);
    assert_eq!(world.server.ended(id).await.state, Success);
}

#[tokio::test(start_paused = true)]
async fn pings_are_so_rare_that_no_server_minds() {
    // What the server answers keeps pings away; also what it takes the longest time for that the agent waits.
    for slowness in [0, 29].map(Duration::from_secs) {
        let mut world = World::new();
        let agent = world.agent();
        world.server.wait_for("a poll", |_, journal| journal.of(Method::Next).next().map(drop)).await;
        world.server.delay(Method::ReportHealth, slowness);
        tokio::time::sleep(Duration::from_secs(3 * 60 * 60)).await;
        assert!(!agent.task.is_finished());
        assert_eq!(world.count(Method::Version), 1, "one session in three hours");
    }
}
