//! Workflows as they come, run and end while nothing breaks.

use std::time::Duration;

use piculet_core::outcome::{Outcome, StepState, WorkflowState};
use piculet_core::report::Report;
use piculet_link::link::Cause;
use piculet_link::supervisor::{Closed, Directive};
use tokio::time::Instant;

use crate::agent::{Agent, within_an_hour};
use crate::side::Side;

pub(crate) async fn a_workflow_goes_from_its_acceptance_to_its_end<S: Side>() {
    let side = S::start();
    let mut agent = Agent::start(&side, 1);
    let id = side.submit("whole");
    let mut work = agent.accepted().await;
    assert_eq!(work.key.workflow.as_str(), id);
    assert_eq!(side.workflow(&id).state, None);
    work.begin("build").await;
    work.say("build", "one").await;
    work.say("build", "two").await;
    work.exit("build", 7).await;
    work.end("test", StepState::Skipped, None).await;
    work.finish(WorkflowState::Failure, "").await;
    assert_eq!(agent.directive().await, Directive::Concluded(work.key.clone()));
    let shown = side.workflow(&id);
    assert_eq!((shown.state, shown.error.as_str()), (Some(WorkflowState::Failure), ""));
    assert_eq!(shown.steps, [(StepState::Failure, Some(7)), (StepState::Skipped, None)]);
    assert_eq!(side.log(&id, "build"), work.said("build"));
}

pub(crate) async fn no_more_comes_than_was_asked_for<S: Side>() {
    let side = S::start();
    let mut agent = Agent::start(&side, 2);
    for n in 0..5 {
        side.submit(&format!("w{n}"));
    }
    let (first, second) = (agent.assigned().await, agent.assigned().await);
    agent.demand.send_replace(0);
    for work in [&first, &second] {
        work.report(Report::Accepted).await;
        assert_eq!(agent.directive().await, Directive::Confirmed(work.key.clone()));
    }
    assert!(agent.is_left_alone(Duration::from_secs(120)).await);
    first.finish(WorkflowState::Success, "").await;
    assert_eq!(agent.directive().await, Directive::Concluded(first.key.clone()));
    assert!(agent.is_left_alone(Duration::from_secs(60)).await, "the slot is not free yet");
    agent.demand.send_replace(1);
    let _third = agent.accepted().await;
    agent.demand.send_replace(0);
    assert!(agent.is_left_alone(Duration::from_secs(120)).await);
}

pub(crate) async fn a_cancel_is_heard<S: Side>() {
    let side = S::start();
    let mut agent = Agent::start(&side, 1);
    let id = side.submit("cancelled");
    let work = agent.accepted().await;
    work.begin("build").await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    let asked = Instant::now();
    side.cancel(&id);
    assert!(matches!(agent.directive().await, Directive::Cancel { key, .. } if key == work.key));
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    work.end("build", StepState::Killed, Some(Outcome::Cancelled { by: "somebody".to_owned() })).await;
    work.end("test", StepState::Canceled, None).await;
    work.finish(WorkflowState::Killed, "").await;
    let shown = side.ended(&id).await;
    assert_eq!((shown.state, shown.error.as_str()), (Some(WorkflowState::Killed), ""));
    assert_eq!(shown.steps[0].0, StepState::Killed);
}

pub(crate) async fn what_cannot_be_run_ends_as_failed_with_the_reason<S: Side>() {
    let side = S::start();
    let mut agent = Agent::start(&side, 1);
    let id = side.submit("refused");
    let work = agent.assigned().await;
    work.refuse("The workflow can't be run: it has no steps.").await;
    let shown = side.ended(&id).await;
    assert_eq!(shown.state, Some(WorkflowState::Failure));
    assert!(shown.error.contains("it has no steps"), "{shown:?}");
    assert_eq!(agent.directive().await, Directive::Concluded(work.key.clone()));
}

pub(crate) async fn a_drain_lets_what_runs_finish_and_takes_nothing_new<S: Side>() {
    let side = S::start();
    let mut agent = Agent::start(&side, 2);
    let id = side.submit("runs");
    let mut work = agent.accepted().await;
    agent.closer.drain();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let waiting = side.submit("waits");
    assert!(agent.is_left_alone(Duration::from_secs(120)).await);
    work.begin("build").await;
    work.say("build", "last words").await;
    work.exit("build", 0).await;
    work.exit("test", 0).await;
    work.finish(WorkflowState::Success, "").await;
    assert_eq!(side.ended(&id).await.state, Some(WorkflowState::Success));
    assert_eq!(side.workflow(&waiting).state, None);
}

pub(crate) async fn a_close_waits_until_everything_is_there<S: Side>() {
    let side = S::start();
    let mut agent = Agent::start(&side, 1);
    let id = side.submit("closed");
    let mut work = agent.accepted().await;
    for n in 0..5000 {
        work.say("build", &format!("line {n}")).await;
    }
    work.exit("build", 0).await;
    work.exit("test", 0).await;
    work.finish(WorkflowState::Success, "").await;
    agent.closer.close(Instant::now() + Duration::from_secs(60));
    assert_eq!(within_an_hour(agent.running).await.unwrap(), Ok(Closed::Flushed));
    assert_eq!(side.workflow(&id).state, Some(WorkflowState::Success));
    assert_eq!(side.log(&id, "build"), work.said("build"));
}

pub(crate) async fn steps_that_log_side_by_side_lose_and_mix_nothing<S: Side>() {
    let side = S::start();
    let mut agent = Agent::start(&side, 1);
    let id = side.submit("both");
    let mut work = agent.accepted().await;
    for n in 0..3000 {
        work.say("build", &format!("build {n}")).await;
        if n % 3 == 0 {
            work.say("test", &format!("test {n}")).await;
        }
        if n % 100 == 0 {
            tokio::time::sleep(Duration::from_millis(170)).await;
        }
    }
    work.exit("test", 1).await;
    work.exit("build", 0).await;
    work.finish(WorkflowState::Failure, "").await;
    let shown = side.ended(&id).await;
    assert_eq!(shown.steps, [(StepState::Success, Some(0)), (StepState::Failure, Some(1))]);
    assert_eq!(side.log(&id, "build"), work.said("build"));
    assert_eq!(side.log(&id, "test"), work.said("test"));
}

pub(crate) async fn long_lines_arrive_whole<S: Side>() {
    let side = S::start();
    let mut agent = Agent::start(&side, 1);
    let id = side.submit("long");
    let mut work = agent.accepted().await;
    for letter in ["a", "b", "", "c"] {
        work.say("build", &letter.repeat(1024 * 1024)).await;
    }
    work.exit("build", 0).await;
    work.exit("test", 0).await;
    work.finish(WorkflowState::Success, "").await;
    side.ended(&id).await;
    assert!(side.log(&id, "build") == work.said("build"));
}

pub(crate) async fn wrong_credentials_end_an_agent_that_never_had_a_session<S: Side>() {
    let side = S::start();
    let agent = Agent::with(&side, 1, "hunter2");
    let given_up = within_an_hour(agent.running).await.unwrap().unwrap_err();
    assert!(matches!(given_up.cause, Cause::Unauthenticated { .. }), "{given_up:?}");
    assert!(!given_up.to_string().contains("hunter2"));
}
