//! `Log`: which lines are taken, and which get lost without a word.

use server_stub::woodpecker::Server;
use tonic::Code;

use crate::agent::{Agent, at, begins, exits, lines, one_step, pass, refused, server, two_steps};

const CLOSED: &str = "can not alter logs: agent can not append logs to a step that is marked not running";

fn texts(server: &Server, id: i64, step: &str) -> Vec<(i32, String)> {
    let text = |data: &[u8]| String::from_utf8_lossy(data).into_owned();
    server.log(id, step).iter().map(|line| (line.line, text(&line.data))).collect()
}

#[tokio::test(start_paused = true)]
async fn lines_of_several_steps_are_sorted_out() {
    let server = server();
    let compiled = two_steps();
    let (build, test) = (compiled.uuid("build"), compiled.uuid("test"));
    let id = server.submit(&compiled);
    let agent = Agent::connect(&server.network()).await;
    agent.begin(id).await;
    agent.log([lines(&build, 1, &["b1"]), lines(&test, 0, &["t0"]), lines(&build, 0, &["b0"])].concat()).await.unwrap();
    assert_eq!(texts(&server, id, "build"), [(0, "b0".to_owned()), (1, "b1".to_owned())]);
    assert_eq!(texts(&server, id, "test"), [(0, "t0".to_owned())]);
    let line = server.log(id, &build).remove(0);
    assert_eq!((line.time, line.kind), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_batch_with_a_known_line_is_lost_without_a_word() {
    let server = server();
    let compiled = one_step();
    let test = compiled.uuid("test");
    let id = server.submit(&compiled);
    let agent = Agent::connect(&server.network()).await;
    agent.begin(id).await;
    let ten: Vec<String> = (0..10).map(|number| number.to_string()).collect();
    let ten: Vec<&str> = ten.iter().map(String::as_str).collect();
    agent.log(lines(&test, 0, &ten)).await.unwrap();
    agent.log(lines(&test, 8, &["8'", "9'", "10'", "11'"])).await.unwrap();
    assert_eq!(server.log(id, "test").len(), 10);
    for (number, text) in (8..).zip(["8'", "9'", "10'", "11'"]) {
        agent.log(lines(&test, number, &[text])).await.unwrap();
    }
    let last: Vec<_> = texts(&server, id, "test").split_off(8);
    assert_eq!(last, [(8, "8"), (9, "9"), (10, "10'"), (11, "11'")].map(|(line, text)| (line, text.to_owned())));
}

#[tokio::test(start_paused = true)]
async fn errors_of_all_but_the_last_group_are_swallowed() {
    let server = server();
    let compiled = one_step();
    let test = compiled.uuid("test");
    let id = server.submit(&compiled);
    let agent = Agent::connect(&server.network()).await;
    agent.begin(id).await;
    let none = "could not find step with uuid NONE in store: sql: no rows in result set";
    refused(agent.log(lines("NONE", 0, &["x"])).await, Code::Unknown, none);
    agent.log([lines("NONE", 0, &["x"]), lines(&test, 0, &["a"])].concat()).await.unwrap();
    let result = agent.log([lines(&test, 1, &["b"]), lines("NONE", 0, &["x"])].concat()).await;
    refused(result, Code::Unknown, none);
    assert_eq!(server.log(id, "test").len(), 2);
    agent.log(Vec::new()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn lines_are_taken_from_the_beginning_until_five_minutes_after_the_end() {
    let server = server();
    let compiled = one_step();
    let test = compiled.uuid("test");
    let id = server.submit(&compiled);
    let agent = Agent::connect(&server.network()).await;
    agent.take(id).await;
    refused(agent.log(lines(&test, 0, &["too early"])).await, Code::Unknown, CLOSED);
    let now = server.now().time.as_second();
    agent.init(id, at(now, 0)).await.unwrap();
    agent.log(lines(&test, 0, &["before the step began"])).await.unwrap();
    agent.update(id, begins(&test)).await.unwrap();
    agent.update(id, exits(&test, 0)).await.unwrap();
    agent.log(lines(&test, 1, &["after the step ended"])).await.unwrap();
    agent.done(id, at(now, now)).await.unwrap();
    pass(299).await;
    agent.log(lines(&test, 2, &["late"])).await.unwrap();
    pass(1).await;
    refused(agent.log(lines(&test, 3, &["too late"])).await, Code::Unknown, CLOSED);
    assert_eq!(server.log(id, "test").len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_step_that_runs_takes_lines_though_its_pipeline_was_cancelled_long_ago() {
    let server = server();
    let compiled = one_step();
    let test = compiled.uuid("test");
    let id = server.submit(&compiled);
    let agent = Agent::connect(&server.network()).await;
    agent.begin(id).await;
    agent.update(id, begins(&test)).await.unwrap();
    server.cancel(id);
    pass(600).await;
    agent.log(lines(&test, 0, &["still here"])).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn lines_of_another_agents_workflow_are_refused() {
    let server = server();
    let network = server.network();
    let compiled = one_step();
    let id = server.submit(&compiled);
    let (ours, other) = (Agent::connect(&network).await, Agent::connect(&network).await);
    ours.begin(id).await;
    let text = format!("agent is not allowed to interact with workflow: agentId={} workflowID={id}", other.id);
    refused(other.log(lines(&compiled.uuid("test"), 0, &["x"])).await, Code::Unknown, &text);
    assert!(server.log(id, "test").is_empty());
}
