//! A server that is slow or busy, or that somebody stands before: what passes by costs nothing.

use std::time::Duration;

use fake_cluster::Script;
use server_stub::woodpecker::Method;
use server_stub::woodpecker::State::{Failure, Killed, Running, Success};
use tokio::time::Instant;
use tonic::Status;

use super::world::{World, ends, job, workflow};

fn locked() -> Status {
    Status::unknown("database is locked")
}

/// A step that runs for this long.
fn long(seconds: u64) -> Script {
    Script::new().wait(Duration::from_secs(seconds)).exit(0)
}

#[tokio::test(start_paused = true)]
async fn a_database_that_is_locked_for_a_minute_costs_no_line_and_no_end() {
    for method in [Method::Init, Method::Update, Method::Log, Method::Done] {
        let mut world = World::new();
        world.agent();
        let script = Script::new().lines(10, |n| format!("line {n}")).wait(Duration::from_secs(70)).line("last");
        world.step_does("build", script.exit(7));
        world.server.refuse(method, &locked(), 1_000_000);
        let id = world.server.submit(workflow("locked", [vec![job("build")], vec![job("after")]]));
        tokio::time::sleep(Duration::from_secs(60)).await;
        world.server.behave();
        let done = world.server.ended(id).await;
        assert_eq!((done.state, ends(&done)["build"]), (Failure, (Failure, 7)), "{method:?}: {done:?}");
        assert_eq!(world.log(&done, "build").len(), 11, "{method:?}");
        world.until_clean().await;
    }
}

#[tokio::test(start_paused = true)]
async fn lines_that_the_server_never_takes_are_announced_in_their_place() {
    let mut world = World::new();
    world.agent_with(|config| config.server.retry_timeout = Some(Duration::from_secs(5)));
    let script = Script::new().lines(10, |n| format!("line {n}")).wait(Duration::from_secs(30)).line("last");
    world.step_does("build", script.exit(0));
    let id = world.server.submit(workflow("refused", [vec![job("build")]]));
    world.until(id, "build", Running).await;
    world.server.refuse(Method::Log, &locked(), 1_000_000);
    // The lines are given up, and what says so is not.
    tokio::time::sleep(Duration::from_secs(8)).await;
    world.server.behave();
    let done = world.server.ended(id).await;
    let log: Vec<_> = world.server.log(id, "build").iter().map(|line| (line.line, line.data.clone())).collect();
    assert_eq!(log, [(0, "[piculet] 10 lines were lost: the server did not take them.".into()), (10, "last".into())]);
    assert_eq!(done.state, Success);
}

#[tokio::test(start_paused = true)]
async fn a_proxy_whose_server_is_just_exchanged_costs_nothing() {
    for status in [
        Status::unimplemented("grpc-status header missing, mapped from HTTP status code 404"),
        Status::permission_denied("grpc-status header missing, mapped from HTTP status code 403"),
        Status::unavailable("grpc-status header missing, mapped from HTTP status code 502"),
    ] {
        for method in [Method::Next, Method::Init, Method::Wait, Method::Update, Method::Log, Method::Done] {
            let mut world = World::new();
            world.agent();
            world.step_does("build", Script::new().line("x").exit(7));
            world.server.refuse(method, &status, 3);
            let done = world.run(workflow("proxy", [vec![job("build")]])).await;
            assert_eq!((done.state, ends(&done)["build"]), (Failure, (Failure, 7)), "{method:?} {status:?}");
            assert_eq!(world.log(&done, "build"), ["x"], "{method:?} {status:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancel_is_heard_after_the_server_was_busy() {
    let mut world = World::new();
    world.agent();
    world.step_does("long", long(600));
    world.server.refuse(Method::Wait, &locked(), 40);
    let id = world.server.submit(workflow("locked", [vec![job("long")]]));
    world.until(id, "long", Running).await;
    tokio::time::sleep(Duration::from_secs(500)).await;
    world.server.cancel(id);
    assert_eq!(world.server.ended(id).await.state, Killed);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_each_15_s_keeps_the_lease() {
    let mut world = World::new();
    world.agent();
    world.step_does("long", long(600));
    let id = world.server.submit(workflow("flap", [vec![job("long")]]));
    world.until(id, "long", Running).await;
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_secs(15)).await;
        world.server.break_connections();
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    world.server.cancel(id);
    assert_eq!(world.server.ended(id).await.state, Killed, "it could be cancelled");
}

#[tokio::test(start_paused = true)]
async fn a_break_of_half_a_minute_keeps_the_lease() {
    let mut world = World::new();
    let agent = world.agent();
    world.step_does("long", long(600));
    let id = world.server.submit(workflow("flap", [vec![job("long")]]));
    world.until(id, "long", Running).await;
    tokio::time::sleep(Duration::from_secs(18)).await;
    agent.network.cut_for(Duration::from_secs(30)).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    world.server.cancel(id);
    assert_eq!(world.server.ended(id).await.state, Killed, "it could be cancelled");
}

#[tokio::test(start_paused = true)]
async fn a_server_whose_answers_take_25_s_keeps_its_session() {
    let mut world = World::new();
    world.agent();
    world.step_does("long", long(600));
    let id = world.server.submit(workflow("slow", [vec![job("long")]]));
    world.until(id, "long", Running).await;
    world.server.delay(Method::ReportHealth, Duration::from_secs(25));
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(world.count(Method::Version), 1, "one session");
    world.server.cancel(id);
    assert_eq!(world.server.ended(id).await.state, Killed);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_cannot_be_renewed_for_a_while_is_used_on() {
    let mut world = World::new();
    world.agent();
    world.server.wait_for("a poll", |_, journal| journal.of(Method::Next).next().map(drop)).await;
    let failing = Status::unknown("agent could not auth: database is locked");
    world.server.refuse(Method::Auth, &failing, 10);
    tokio::time::sleep(Duration::from_secs(35 * 60)).await;
    assert_eq!(world.count(Method::Version), 1, "one session");
    assert_eq!(world.run(workflow("after", [vec![job("a")]])).await.state, Success);
}

#[tokio::test(start_paused = true)]
async fn a_busy_server_makes_no_new_agent_of_a_known_one_and_ends_none() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent.conf");
    let mut world = World::new();
    for start in 0..3 {
        let path = file.clone();
        world.server.refuse(Method::Auth, &Status::unknown("agent could not auth: database is locked"), 2);
        let agent = world.agent_with(move |config| config.server.id_file = Some(path));
        assert_eq!(world.run(workflow(&format!("w{start}"), [vec![job("a")]])).await.state, Success);
        agent.shutdown.drain.cancel();
        agent.task.await.unwrap().unwrap();
    }
    assert_eq!(world.server.agents().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_ends_quiet_calls_after_a_minute_delays_no_work() {
    let mut world = World::new();
    world.agent_with(|config| config.agent.max_workflows = 1);
    world.server.wait_for("a poll", |_, journal| journal.of(Method::Next).next().map(drop)).await;
    world.server.delay(Method::Next, Duration::from_secs(60));
    world.server.refuse(Method::Next, &Status::unavailable("504"), 30);
    world.server.set_no_schedule(1, true);
    tokio::time::sleep(Duration::from_secs(30 * 60)).await;
    let polls = world.count(Method::Next);
    assert!(polls >= 29, "no pause grows from minute to minute: {polls}");
    world.server.set_no_schedule(1, false);
    let asked = Instant::now();
    assert_eq!(world.run(workflow("w", [vec![job("a")]])).await.state, Success);
    assert!(
        asked.elapsed() < Duration::from_secs(2 * 60),
        "one call that ends in vain, one that does not: {:?}",
        asked.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn many_short_workflows_on_few_slots_all_run() {
    let mut world = World::new();
    world.agent_with(|config| config.agent.max_workflows = 10);
    world.step_does("work", long(1));
    let ids: Vec<_> = (0..300).map(|n| world.server.submit(workflow(&format!("w{n}"), [vec![job("work")]]))).collect();
    for id in ids {
        let done = world.server.ended(id).await;
        assert_eq!((done.state, done.error.as_str()), (Success, ""));
    }
}
