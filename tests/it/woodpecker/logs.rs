//! Lines: when they are at the server, in which order, and how many of them.

use std::time::Duration;

use fake_cluster::Script;
use server_stub::woodpecker::State::{Running, Success};
use server_stub::woodpecker::{Answer, Loss, Method, Said};
use tonic::Status;

use super::world::{World, job, workflow};

#[tokio::test(start_paused = true)]
async fn steady_output_is_at_the_server_within_a_second_and_a_half() {
    let mut world = World::new();
    world.agent();
    let talk = (0..200).fold(Script::new(), |script, n| script.line(&format!("{n}")).wait(Duration::from_millis(200)));
    world.step_does("talk", talk.exit(0));
    let id = world.server.submit(workflow("steady", [vec![job("talk")]]));
    world.until(id, "talk", Running).await;
    let (began, mut latest) = (tokio::time::Instant::now(), Duration::ZERO);
    while !world.server.workflow(id).state.is_terminal() {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let written = (began.elapsed().as_millis() / 200).min(200);
        let stored = world.server.log(id, "talk").len() as u128;
        let missing = u32::try_from(written.saturating_sub(stored)).unwrap();
        latest = latest.max(Duration::from_millis(200) * missing);
    }
    println!("steady output, a line each 0.2 s: at most {latest:?} behind");
    assert!(latest <= Duration::from_millis(1500), "{latest:?}");
    assert_eq!(world.log(&world.server.workflow(id), "talk").len(), 200);
}

#[tokio::test(start_paused = true)]
async fn the_last_line_comes_before_the_steps_end_and_the_workflows_end_comes_last() {
    let mut world = World::new();
    world.agent();
    world.server.delay(Method::Log, Duration::from_secs(3));
    world.step_does("a", Script::new().lines(3000, |n| format!("line {n}")).exit(0));
    world.step_does("b", Script::new().line("first").wait(Duration::from_secs(1)).line("last").exit(4));
    let id = world.server.submit(workflow("order", [vec![job("a"), job("b")], vec![job("c").when(true, true)]]));
    let done = world.server.ended(id).await;
    let calls = world.server.calls();
    let place = |what: &dyn Fn(&Said) -> bool| {
        calls.iter().rposition(|call| call.answer == Answer::Good && what(&call.said)).unwrap()
    };
    let end = place(&|said| matches!(said, Said::Done { .. }));
    for name in ["a", "b"] {
        let uuid = &done.step(name).unwrap().uuid;
        let log = place(&|said| matches!(said, Said::Log(groups) if groups.iter().any(|lines| lines.step == *uuid)));
        let update = place(&|said| matches!(said, Said::Update { step, .. } if step.step_uuid == *uuid && step.exited));
        assert!(log < update && update < end, "{name}: log {log}, end {update}, workflow {end}");
    }
    assert!(calls[end + 1..].iter().all(|call| !matches!(call.said, Said::Update { .. } | Said::Log(_))));
    assert_eq!(world.log(&done, "a").len(), 3000);
    assert_eq!(world.log(&done, "b"), ["first", "last"]);
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_answer_is_lost_doubles_and_loses_nothing() {
    let mut world = World::new();
    world.agent();
    world.step_does("talk", Script::new().lines(50_000, |n| format!("line {n}")).exit(0));
    for method in [Method::Init, Method::Update, Method::Done] {
        world.server.lose_answers(method, &Loss::Break, 2);
    }
    world.server.lose_answers(Method::Log, &Loss::Break, 10);
    world.server.lose_answers(Method::Log, &Loss::Status(Status::unavailable("gone")), 10);
    world.server.refuse(Method::Log, &Status::aborted("try again"), 5);
    let done = world.run(workflow("lost", [vec![job("talk")], vec![job("after")]])).await;
    assert_eq!(done.state, Success, "{done:?}");
    let log = world.log(&done, "talk");
    assert_eq!(log.len(), 50_000);
    assert!(log.iter().enumerate().all(|(n, line)| *line == format!("line {n}")));
}

#[tokio::test(start_paused = true)]
async fn no_call_is_larger_than_the_server_takes_and_no_line_is_cut() {
    let mut world = World::new();
    world.agent();
    let large = "x".repeat(1024 * 1024);
    let script = (0..12).fold(Script::new(), |script, _| script.line(&large)).lines(20_000, |n| format!("{n}"));
    world.step_does("talk", script.exit(0));
    let done = world.run(workflow("large", [vec![job("talk")]])).await;
    assert_eq!(done.state, Success);
    let log = world.log(&done, "talk");
    assert_eq!(log.len(), 12 + 20_000);
    assert!(log[..12].iter().all(|line| *line == large));
    assert!(!world.server.calls().iter().any(|call| matches!(&call.answer, Answer::Refused(..))));
}

#[tokio::test(start_paused = true)]
async fn secrets_are_masked_by_the_longest_match_also_in_base64() {
    let mut world = World::new();
    world.agent();
    let text = "token hunter2-and-more, short hunter2, aHVudGVyMi1hbmQtbW9yZQ==, line-of-key, tok-123";
    world.step_does("clone", Script::new().line(text).exit(0));
    let clone = server_stub::woodpecker::Job::clone_repo().env("CI_NETRC_PASSWORD", "tok-123");
    let compiled = workflow("masked", [vec![clone]])
        .secret("a", "hunter2")
        .secret("b", "hunter2-and-more")
        .secret("key", "BEGIN\nline-of-key\nEND");
    let done = world.run(compiled).await;
    assert_eq!(
        world.log(&done, "clone"),
        ["token ********, short ********, ********==, ********, ********"],
        "no tail of the longer one, and the forge's password is one, too"
    );
}
