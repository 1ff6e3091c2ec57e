//! The agent is told to stop: what runs may finish for a while, and is ended in order after that.

use std::time::Duration;

use fake_cluster::Script;
use piculet::exit::Failure;
use server_stub::woodpecker::State::{Killed, Pending, Running, Success};
use server_stub::woodpecker::{FailureMode, Job, Method};

use super::world::{World, ends, job, workflow};

#[tokio::test(start_paused = true)]
async fn what_runs_may_finish_and_nothing_new_is_taken() {
    let mut world = World::new();
    let agent = world.agent_with(|config| config.shutdown.drain_timeout = Duration::from_secs(600));
    world.step_does("long", Script::new().line("begins").wait(Duration::from_secs(60)).line("ends").exit(0));
    let id = world.server.submit(workflow("long", [vec![job("long")], vec![job("after")]]));
    world.until(id, "long", Running).await;
    agent.shutdown.drain.cancel();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let waiting = world.server.submit(workflow("waiting", [vec![job("a")]]));
    let done = world.server.ended(id).await;
    assert_eq!((done.state, world.log(&done, "long")), (Success, vec!["begins".to_owned(), "ends".to_owned()]));
    assert!(matches!(agent.task.await.unwrap(), Ok(())));
    assert_eq!(world.server.workflow(waiting).state, Pending);
    assert_eq!(world.left(), [] as [&str; 0]);
}

#[tokio::test(start_paused = true)]
async fn what_takes_too_long_is_ended_as_killed_with_its_log_and_nothing_left() {
    let mut world = World::new();
    let agent = world.agent_with(|config| config.agent.max_workflows = 5);
    world.step_does("long", Script::new().line("begins").forever().on_sigterm(Duration::from_secs(2), "bye\n", 143));
    world.step_does("db", Script::new().forever());
    let stages =
        || [vec![Job::service("db", "postgres").failure(FailureMode::Ignore)], vec![job("long")], vec![job("never")]];
    let ids: Vec<_> = (0..5).map(|n| world.server.submit(workflow(&format!("w{n}"), stages()))).collect();
    for id in &ids {
        world.until(*id, "long", Running).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let asked = tokio::time::Instant::now();
    agent.shutdown.drain.cancel();
    let ended = agent.task.await.unwrap();
    assert!(matches!(ended, Err(Failure::Unfinished(5))), "{ended:?}");
    assert!(asked.elapsed() < Duration::from_secs(30), "Kubernetes waits for half a minute: {:?}", asked.elapsed());
    for id in ids {
        let done = world.server.workflow(id);
        assert_eq!(done.state, Killed, "{done:?}");
        assert_eq!(ends(&done)["long"].0, Killed, "not a success, as the server would close it: {done:?}");
        let why = &done.step("long").unwrap().error;
        assert_eq!(why, "Stopped: the agent that ran it was shut down.");
        let log = world.log(&done, "long");
        assert_eq!(log[..2], ["begins", "bye"], "{log:?}");
        assert!(world.said(&done).last().unwrap().starts_with("done canceled"));
    }
    assert_eq!(world.left(), [] as [&str; 0]);
    assert_eq!(world.server.agents().len(), 0, "an agent whose number is kept nowhere takes leave");
}

#[tokio::test(start_paused = true)]
async fn an_agent_for_one_workflow_ends_after_it_with_its_whole_log() {
    for keeps_to_itself in [false, true] {
        let mut world = World::new();
        world.step_does("talk", Script::new().lines(5000, |n| format!("line {n}")).exit(0));
        let agent = world.agent_with(|config| {
            config.agent.single_workflow = true;
            config.agent.max_workflows = 1;
        });
        if keeps_to_itself {
            let id = world.server.submit(server_stub::woodpecker::Submission::raw(b"no json".to_vec()));
            assert!(matches!(agent.task.await.unwrap(), Ok(())));
            assert!(world.server.workflow(id).error.contains("is no JSON"));
            continue;
        }
        let ids = ["one", "two"].map(|name| world.server.submit(workflow(name, [vec![job("talk")]])));
        assert!(matches!(agent.task.await.unwrap(), Ok(())));
        let done = world.server.workflow(ids[0]);
        assert_eq!((done.state, world.log(&done, "talk").len()), (Success, 5000));
        assert_eq!(world.server.workflow(ids[1]).state, Pending);
        assert_eq!(world.count(Method::Init), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_signal_ends_at_once() {
    let mut world = World::new();
    let agent = world.agent();
    world.step_does("long", Script::new().forever());
    let id = world.server.submit(workflow("long", [vec![job("long")]]));
    world.until(id, "long", Running).await;
    agent.shutdown.drain.cancel();
    agent.shutdown.abort.cancel();
    assert!(matches!(agent.task.await.unwrap(), Err(Failure::Aborted)));
}
