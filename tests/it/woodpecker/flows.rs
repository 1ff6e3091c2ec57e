//! What workflows end as: the acceptance list of the Woodpecker agent's own tests, with real containers' behaviour in the
//! place of its dummy backend.

use std::time::Duration;

use fake_cluster::Script;
use server_stub::woodpecker::State::{Canceled, Failure, Killed, Pending, Running, Skipped, Success};
use server_stub::woodpecker::{Compiled, FailureMode, Job, Method};

use super::world::{World, ends, job, workflow};

#[tokio::test(start_paused = true)]
async fn a_workflow_begins_logs_and_ends_in_this_order() {
    let mut world = World::new();
    world.agent();
    world.step_does("build", Script::new().line("one").line("two").wait(Duration::from_secs(2)).line("last").exit(0));
    let done = world.run(workflow("simple", [vec![Job::clone_repo()], vec![job("build")], vec![job("test")]])).await;
    assert_eq!((done.state, done.error.as_str()), (Success, ""));
    assert_eq!(ends(&done), [("clone", (Success, 0)), ("build", (Success, 0)), ("test", (Success, 0))].into());
    assert_eq!(world.log(&done, "build"), ["one", "two", "last"]);
    let said = world.said(&done);
    assert_eq!((said.first().unwrap().as_str(), said.last().unwrap().as_str()), ("init", "done \"\""));
    let of = |step: &str| -> Vec<_> {
        said.iter().filter(|said| said.split(' ').any(|word| word == step)).map(String::as_str).collect()
    };
    assert_eq!(of("clone"), ["clone begins", "clone exited 0"]);
    assert_eq!(of("build"), ["build begins", "log build 0+2", "log build 2+1", "build exited 0"]);
    assert_eq!(of("test"), ["test begins", "test exited 0"]);
    assert_eq!(done.agent, world.server.agents()[0].id);
    world.until_clean().await;
    assert_eq!(world.server.faults(), [] as [&str; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_failing_step_fails_the_workflow_without_an_error_of_its_own() {
    let mut world = World::new();
    world.agent();
    world.step_does("build", Script::new().exit(1));
    world.step_does("notify", Script::new().exit(2));
    let stages = [
        vec![job("build")],
        vec![job("test")],
        vec![job("notify").when(false, true)],
        vec![job("always").when(true, true)],
    ];
    let done = world.run(workflow("failure", stages)).await;
    assert_eq!((done.state, done.error.as_str()), (Failure, ""));
    assert_eq!(
        ends(&done),
        [("build", (Failure, 1)), ("test", (Skipped, 0)), ("notify", (Failure, 2)), ("always", (Success, 0))].into()
    );
    let said = world.said(&done);
    assert_eq!(said.iter().filter(|said| said.starts_with("test")).collect::<Vec<_>>(), ["test skipped 0"]);
}

#[tokio::test(start_paused = true)]
async fn an_ignored_failure_is_shown_and_counts_for_nothing() {
    let mut world = World::new();
    world.agent();
    world.step_does("lint", Script::new().exit(3));
    let stages =
        [vec![job("lint").failure(FailureMode::Ignore)], vec![job("test")], vec![job("notify").when(false, true)]];
    let done = world.run(workflow("ignore", stages)).await;
    assert_eq!(done.state, Success);
    assert_eq!(ends(&done), [("lint", (Failure, 3)), ("test", (Success, 0)), ("notify", (Skipped, 0))].into());
}

#[tokio::test(start_paused = true)]
async fn steps_of_a_stage_run_together_and_all_are_heard_out() {
    let mut world = World::new();
    world.agent();
    for (name, code) in [("a", 0), ("b", 5), ("c", 0)] {
        world.step_does(name, Script::new().wait(Duration::from_secs(10)).line(name).exit(code));
    }
    let done = world.run(workflow("together", [vec![job("a"), job("b"), job("c")], vec![job("join")]])).await;
    assert_eq!(
        ends(&done),
        [("a", (Success, 0)), ("b", (Failure, 5)), ("c", (Success, 0)), ("join", (Skipped, 0))].into()
    );
    assert!(done.finished - done.started < 20, "one after the other takes half a minute");
    for name in ["a", "b", "c"] {
        assert_eq!(world.log(&done, name), [name]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_runs_beside_the_steps_and_its_failure_harms_nobody() {
    let mut world = World::new();
    world.agent();
    world.step_does("db", Script::new().line("up").forever().on_sigterm(Duration::ZERO, "bye\n", 0));
    world.step_does("cache", Script::new().line("up").exit(9));
    let stages = [
        vec![
            Job::service("db", "postgres").failure(FailureMode::Ignore),
            Job::service("cache", "redis").failure(FailureMode::Ignore),
        ],
        vec![job("background").detach().failure(FailureMode::Ignore)],
        vec![job("test")],
    ];
    world.step_does("background", Script::new().forever());
    let done = world.run(workflow("service", stages)).await;
    assert_eq!(done.state, Success);
    let ends = ends(&done);
    assert_eq!((ends["db"], ends["cache"], ends["test"]), ((Success, 0), (Failure, 9), (Success, 0)));
    assert_eq!(world.log(&done, "db"), ["up", "bye"], "its last words, too");
    let said = world.said(&done);
    for name in ["db", "cache", "background"] {
        assert_eq!(said.iter().filter(|said| said.starts_with(&format!("{name} begins"))).count(), 1, "{said:?}");
        assert_eq!(said.iter().filter(|said| said.starts_with(&format!("{name} exited"))).count(), 1, "{said:?}");
    }
    assert!(said.last().unwrap().starts_with("done"), "the ends of services come before the workflow's: {said:?}");
    world.until_clean().await;
}

#[tokio::test(start_paused = true)]
async fn out_of_memory_is_a_failure_with_its_reason() {
    let mut world = World::new();
    world.agent();
    world.step_does("build", Script::new().out_of_memory());
    let done = world.run(workflow("memory", [vec![job("build")]])).await;
    assert_eq!((done.state, ends(&done)["build"]), (Failure, (Failure, 137)));
    assert!(done.step("build").unwrap().error.contains("out of memory"), "{done:?}");
}

#[tokio::test(start_paused = true)]
async fn a_cancel_stops_what_runs_and_says_nothing_of_what_was_never_reached() {
    let mut world = World::new();
    world.agent();
    world.step_does("long", Script::new().line("begins").forever().on_sigterm(Duration::ZERO, "bye\n", 143));
    let first = vec![job("long"), Job::service("db", "postgres"), job("background").detach()];
    let id = world.server.submit(workflow("cancel", [first, vec![job("later")]]));
    world.step_does("background", Script::new().forever());
    world.step_does("db", Script::new().forever());
    world.until(id, "long", Running).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let asked = tokio::time::Instant::now();
    assert!(world.server.cancel(id));
    let done = world.server.ended(id).await;
    assert!(asked.elapsed() < Duration::from_secs(30), "{:?}", asked.elapsed());
    assert_eq!((done.state, done.error.as_str()), (Killed, ""));
    let ends = ends(&done);
    assert_eq!(["long", "db", "background"].map(|step| ends[step].0), [Killed; 3], "{done:?}");
    let said = world.said(&done);
    assert_eq!(said.last().unwrap(), "done canceled \"\"");
    assert!(!said.iter().any(|said| said.starts_with("later")), "{said:?}");
    assert!(matches!(ends["later"].0, Killed | Canceled), "the server closes it itself");
    let log = world.log(&done, "long");
    assert_eq!(log, ["begins", "bye", "[piculet] Stopped: somebody cancelled it on the server."]);
    world.until_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_workflow_that_takes_too_long_says_so() {
    let mut world = World::new();
    world.agent();
    world.step_does("long", Script::new().forever());
    let submission = server_stub::woodpecker::Submission::from(workflow("late", [vec![job("long")]])).timeout(2);
    let id = world.server.submit(submission);
    let done = world.server.ended(id).await;
    assert_eq!(done.state, Killed);
    assert!(done.error.contains("time limit"), "{done:?}");
    assert!(done.step("long").unwrap().error.contains("time limit"), "{done:?}");
    assert!((120..200).contains(&(done.finished - done.started)), "{done:?}");
}

#[tokio::test(start_paused = true)]
async fn a_step_that_cannot_start_says_why() {
    let mut world = World::new();
    world.agent();
    world.step_does("build", Script::new().pull_fails("no such image"));
    let done = world.run(workflow("pull", [vec![job("build")], vec![job("test")]])).await;
    assert_eq!(done.state, Failure);
    let build = done.step("build").unwrap();
    assert_eq!(build.state, Failure);
    assert!(build.error.contains("no such image"), "{build:?}");
    assert_eq!(done.step("test").unwrap().state, Skipped);
    println!("an image that can't be pulled: {} s", done.finished - done.started);
    assert!(done.finished - done.started < 70, "limits.pull_again: {done:?}");
    assert!(done.error.contains("no such image"), "it is seen where the workflow is looked at: {done:?}");
    world.until_clean().await;
}

#[tokio::test(start_paused = true)]
async fn workflows_share_the_slots_and_no_more_is_asked_for() {
    let mut world = World::new();
    world.agent_with(|config| config.agent.max_workflows = 3);
    world.step_does("work", Script::new().wait(Duration::from_secs(60)).exit(0));
    let ids: Vec<_> = (0..8).map(|n| world.server.submit(workflow(&format!("w{n}"), [vec![job("work")]]))).collect();
    tokio::time::sleep(Duration::from_secs(30)).await;
    let states: Vec<_> = ids.iter().map(|id| world.server.workflow(*id).state).collect();
    assert_eq!(states.iter().filter(|state| **state == Running).count(), 3);
    assert_eq!(states.iter().filter(|state| **state == Pending).count(), 5);
    for id in ids {
        assert_eq!(world.server.ended(id).await.state, Success);
    }
    let agent = world.server.agents()[0].id;
    world.server.look(|_, journal| {
        assert_eq!(journal.most_polls(agent), 3, "as many polls as slots");
        assert_eq!(journal.most_waits(), 3);
    });
    assert_eq!(world.count(Method::Init), 8);
}

#[tokio::test(start_paused = true)]
async fn workflows_that_come_together_take_all_slots_and_nothing_more_is_asked_for() {
    let mut world = World::new();
    let agent = world.agent_with(|config| config.agent.max_workflows = 5);
    world.step_does("work", Script::new().forever());
    world.server.wait_for("five polls", |_, journal| (journal.of(Method::Next).count() == 5).then_some(())).await;
    // All answers arrive in the same moment.
    agent.network.freeze();
    let ids: Vec<_> = (0..9).map(|n| world.server.submit(workflow(&format!("w{n}"), [vec![job("work")]]))).collect();
    tokio::time::sleep(Duration::from_secs(3)).await;
    agent.network.mend();
    tokio::time::sleep(Duration::from_secs(30)).await;
    let running = ids.iter().filter(|id| world.server.workflow(**id).state == Running).count();
    assert_eq!((running, world.count(Method::Next)), (5, 5));
}

#[tokio::test(start_paused = true)]
async fn one_workflow_that_fails_is_nothing_to_the_others() {
    let mut world = World::new();
    world.agent();
    world.step_does("bad", Script::new().wait(Duration::from_secs(2)).exit(1));
    world.step_does("good", Script::new().wait(Duration::from_secs(5)).line("done").exit(0));
    let ids = ["bad", "good"].map(|step| world.server.submit(workflow(step, [vec![job(step)]])));
    let (bad, good) = (world.server.ended(ids[0]).await, world.server.ended(ids[1]).await);
    assert_eq!((bad.state, good.state), (Failure, Success));
    assert!((bad.started - good.started).abs() <= 1, "side by side: {bad:?} {good:?}");
    assert_eq!(world.log(&good, "good"), ["done"]);
}

#[tokio::test(start_paused = true)]
async fn only_an_agent_with_the_label_gets_the_workflow() {
    let mut world = World::new();
    world.agent();
    world.agent_with(|config| drop(config.agent.labels.insert("gpu".to_owned(), "yes".to_owned())));
    for n in 0..4 {
        let done = world.run(workflow(&format!("w{n}"), [vec![job("a")]]).label("gpu", "yes")).await;
        let agent = world.server.agents().into_iter().find(|agent| agent.id == done.agent).unwrap();
        assert_eq!(agent.name, "agent-2");
        assert_eq!(agent.custom_labels, [("gpu".to_owned(), "yes".to_owned())].into());
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_and_what_has_no_steps_fail_with_a_sentence() {
    let mut world = World::new();
    world.agent();
    let unreadable = server_stub::woodpecker::Submission::raw(b"{\"pipeline\": [".to_vec());
    let id = world.server.submit(unreadable);
    let done = world.server.ended(id).await;
    assert_eq!(done.state, Failure);
    assert_eq!(
        done.error,
        "The workflow can't be run: payload: the server's description of the workflow ends too early (line 1, column 14) [payload]"
    );
    let done = world.run(Compiled::new("empty").then([])).await;
    assert_eq!(done.state, Failure);
    assert!(done.error.contains("it has no steps"), "{done:?}");
    let done = world.run(Compiled::new("skipped").then([]).then([job("build")]).then([])).await;
    assert_eq!((done.state, ends(&done)["build"]), (Success, (Success, 0)), "an empty first stage harms nobody");
    assert_eq!(world.run(workflow("after", [vec![job("a")]])).await.state, Success, "the agent goes on");
}
