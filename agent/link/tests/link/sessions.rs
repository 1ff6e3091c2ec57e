//! From the hello on: credit, heartbeats, life signs.

use std::time::Duration;

use piculet_core::id::ServerId;
use piculet_link::message::{Demand, Hello};
use piculet_link::supervisor::Directive;
use piculet_link::wire::{self, agent::Said};
use piculet_proto::v1::ServerMessage;
use tokio::time::{Instant, sleep, timeout};

use crate::agent::{Plan, identity, start};
use crate::server::{HEARTBEAT, LEASE, key, spec, welcome};

#[tokio::test(start_paused = true)]
async fn a_session_begins_with_all_that_each_side_has_to_know() {
    let (mut agent, _network, mut server) = start(Plan::default());
    assert!(!agent.status.borrow().is_connected());
    let ring = server.ring().await;
    assert_eq!(ring.authorization.as_deref(), Some("Bearer hunter2"));
    let mut call = ring.accept();
    assert_eq!(call.hear_hello().await, Hello { identity: identity(), held: vec![] });
    call.say(wire::server::welcome(welcome([])));
    let expected = Directive::Connected {
        server: ServerId::new("server-1"),
        agent_id: "agent-1".into(),
        session_id: "session-1".into(),
    };
    assert_eq!(agent.directive().await, expected);
    assert_eq!(agent.status.borrow().server, Some(ServerId::new("server-1")));
    assert_eq!(call.hear_demand().await, Demand { free_slots: 2, assigns_received: 0 });
}

#[tokio::test(start_paused = true)]
async fn the_hello_does_not_wait_for_headers() {
    let (mut agent, _network, mut server) = start(Plan::default());
    let mut ring = server.ring().await;
    assert!(matches!(ring.hear().await, Some(Said::Hello(_))), "no header was sent, and the hello is there");
    sleep(Duration::from_secs(15)).await;
    ring.accept().say(wire::server::welcome(welcome([])));
    agent.connected().await;
}

#[tokio::test(start_paused = true)]
async fn neither_headers_nor_welcome_are_waited_for_without_end() {
    let plan = Plan::default();
    let patience = plan.stream.welcome_timeout;
    let (agent, _network, mut server) = start(plan);
    let ring = server.ring().await;
    let asked = Instant::now();
    let no_welcome = server.ring().await;
    assert!(asked.elapsed() >= patience && asked.elapsed() < patience + Duration::from_secs(1));
    assert_eq!(agent.status.borrow().last_error.as_ref().map(|cause| cause.code()), Some("link-silent"));
    drop(ring);
    let mut call = no_welcome.accept();
    call.hear_hello().await;
    let asked = Instant::now();
    server.ring().await;
    assert!(asked.elapsed() >= patience && asked.elapsed() < patience + Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn credit_says_which_assignments_it_knows() {
    let (mut agent, _network, mut server) = start(Plan::default());
    let mut call = server.session().await;
    agent.connected().await;
    assert_eq!(call.hear_demand().await, Demand { free_slots: 2, assigns_received: 0 });
    call.assign(&key("w1"));
    let assignment = agent.run().await;
    assert_eq!((assignment.key, assignment.spec), (key("w1"), Ok(spec())));
    assert_eq!(assignment.server, ServerId::new("server-1"));
    agent.demand.send_replace(1);
    assert_eq!(call.hear_demand().await, Demand { free_slots: 1, assigns_received: 1 });
    // A slot was taken and another one given back in the same moment: the server subtracts one too many until told.
    call.assign(&key("w2"));
    agent.run().await;
    agent.demand.send_replace(1);
    assert_eq!(call.hear_demand().await, Demand { free_slots: 1, assigns_received: 2 });
    // The same again: there is nothing to say.
    agent.demand.send_replace(1);
    agent.demand.send_replace(4);
    assert_eq!(call.hear_demand().await, Demand { free_slots: 4, assigns_received: 2 });
}

#[tokio::test(start_paused = true)]
async fn heartbeats_say_what_is_held_and_answer_pings() {
    let (mut agent, _network, mut server) = start(Plan::default());
    let mut call = server.session().await;
    let began = Instant::now();
    agent.connected().await;
    call.hear_demand().await;
    assert_eq!(call.hear().await, Some(Said::Heartbeat(vec![])));
    assert_eq!(began.elapsed().as_secs(), HEARTBEAT.as_secs());
    call.assign(&key("w1"));
    agent.run().await;
    call.say(wire::server::ping());
    let Some(Said::Heartbeat(held)) = call.hear().await else { panic!("no answer") };
    assert_eq!(held.iter().map(|held| &held.key).collect::<Vec<_>>(), [&key("w1")]);
    assert_eq!(began.elapsed().as_secs(), HEARTBEAT.as_secs(), "the answer comes at once");
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_left_for_a_new_session() {
    let (mut agent, _network, mut server) = start(Plan::default());
    let mut call = server.session().await;
    agent.connected().await;
    sleep(LEASE - Duration::from_secs(1)).await;
    call.say(wire::server::ping());
    let last_word = Instant::now();
    assert_eq!(agent.disconnected().await, "Nothing came from the server for 30 s.");
    assert_eq!(last_word.elapsed().as_secs(), LEASE.as_secs());
    // The agent spoke all the time; that is no sign of the server's life.
    assert!(matches!(call.hear().await, Some(Said::Demand(_))));
    assert!(matches!(call.hear().await, Some(Said::Heartbeat(_))));
    server.session().await;
    agent.connected().await;
}

#[tokio::test(start_paused = true)]
async fn a_line_that_swallows_everything_is_noticed() {
    let (mut agent, network, mut server) = start(Plan::default());
    let call = server.session().await;
    agent.connected().await;
    let pinging = tokio::spawn(async move {
        loop {
            call.say(wire::server::ping());
            sleep(HEARTBEAT).await;
        }
    });
    sleep(LEASE * 4).await;
    assert!(agent.status.borrow().is_connected());
    network.freeze();
    agent.disconnected().await;
    pinging.abort();
    network.repair();
    server.session().await;
    agent.connected().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_newer_server_may_say_is_skipped() {
    let (mut agent, _network, mut server) = start(Plan::default());
    let call = server.session().await;
    agent.connected().await;
    call.say(ServerMessage { message: None });
    call.say(wire::server::drain());
    call.say(wire::server::resume());
    assert_eq!(agent.directive().await, Directive::Drain);
    assert_eq!(agent.directive().await, Directive::Resume);
}

#[tokio::test(start_paused = true)]
async fn a_workload_may_be_larger_than_what_grpc_takes_by_default() {
    let (mut agent, _network, mut server) = start(Plan::default());
    let call = server.session().await;
    agent.connected().await;
    let mut spec = spec();
    spec.stages[0].steps[0].commands = vec!["x".repeat(7 * 1024 * 1024)];
    call.say(wire::server::assign(&key("w1"), &spec, None));
    assert_eq!(agent.run().await.spec, Ok(spec));
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_does_not_look_blocks_nobody() {
    let (mut agent, _network, mut server) = start(Plan::default());
    let mut call = server.session().await;
    agent.connected().await;
    call.hear_demand().await;
    let keys: Vec<_> = (0..500).map(|number| key(&format!("w{number:03}"))).collect();
    for key in &keys {
        call.assign(key);
    }
    // Far beyond the lease: a server that is not listened to is not silent.
    sleep(LEASE * 4).await;
    for key in &keys {
        agent.report(key, piculet_core::report::Report::Accepted).await;
    }
    assert!(agent.status.borrow().is_connected());
    for key in &keys {
        assert_eq!(agent.run().await.key, *key);
    }
    let idle = timeout(Duration::from_secs(5), agent.directive()).await;
    assert!(idle.is_err(), "{idle:?}");
}
