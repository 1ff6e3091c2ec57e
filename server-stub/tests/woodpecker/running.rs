//! What becomes of workflows and their steps: `Init`, `Update`, `Done`.

use piculet_proto::woodpecker as pb;
use server_stub::woodpecker::{Answer, Compiled, FailureMode, Job, Method, Said, State, Step, Submission};
use tonic::Code;

use crate::agent::{Agent, at, begins, exits, lines, one_step, refused, server, two_steps};

#[tokio::test(start_paused = true)]
async fn a_workflow_runs_to_its_end() {
    let server = server();
    let compiled = two_steps();
    let (build, test) = (compiled.uuid("build"), compiled.uuid("test"));
    let id = server.submit(Submission::from(&compiled).timeout(5));
    let agent = Agent::connect(&server.network()).await;

    let given = agent.take(id).await;
    assert_eq!((given.timeout, given.payload.as_ref()), (5, compiled.to_json().as_slice()));
    let wait = agent.waits(id);
    agent.init(id, at(100, 0)).await.unwrap();
    assert_eq!((server.workflow(id).state, server.workflow(id).pipeline), (State::Running, State::Running));
    for uuid in [&build, &test] {
        agent.update(id, begins(uuid)).await.unwrap();
        agent.log(lines(uuid, 0, &["one", "two"])).await.unwrap();
        agent.extend(id).await.unwrap();
        agent.update(id, exits(uuid, 0)).await.unwrap();
    }
    agent.done(id, at(100, 120)).await.unwrap();

    assert!(!wait.await.unwrap().unwrap());
    let workflow = server.ended(id).await;
    assert_eq!((workflow.state, workflow.started, workflow.finished), (State::Success, 100, 120));
    assert_eq!(workflow.agent, agent.id);
    for name in ["build", "test"] {
        let step = workflow.step(name).unwrap();
        assert_eq!((step.state, step.exit_code, step.finished), (State::Success, 0, 110));
        let text: Vec<_> = server.log(id, name).into_iter().map(|line| (line.line, line.data)).collect();
        assert_eq!(text, [(0, "one".into()), (1, "two".into())]);
    }
    assert_eq!(server.place(id), None);
    assert!(server.faults().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_journal_has_every_call_and_its_answer() {
    let server = server();
    let compiled = one_step();
    let id = server.submit(&compiled);
    let agent = Agent::connect(&server.network()).await.with("hostname", "host-1").with("proto-version", "16");
    agent.begin(id).await;
    agent.log(lines(&compiled.uuid("test"), 3, &["a", "b"])).await.unwrap();
    agent.done(id, at(0, 0)).await.unwrap();
    agent.done(id, at(0, 0)).await.unwrap_err();

    let calls = server.calls();
    let methods: Vec<_> = calls.iter().map(|call| call.said.method()).collect();
    assert_eq!(methods, [Method::Auth, Method::Next, Method::Init, Method::Log, Method::Done, Method::Done]);
    assert!(calls.iter().all(|call| call.agent == Some(agent.id)));
    assert_eq!(calls[1].answer, Answer::Task(id.to_string()));
    assert_eq!(calls[1].metadata.hostname.as_deref(), Some("host-1"));
    assert_eq!(calls[1].metadata.proto_version.as_deref(), Some("16"));
    let Said::Log(groups) = &calls[3].said else { panic!("{calls:?}") };
    assert_eq!((groups.len(), groups[0].first, groups[0].count), (1, 3, 2));
    let text = "workflow was already marked as finished".to_owned();
    assert_eq!(calls[5].answer, Answer::Refused(Code::Unknown, text));
    assert_eq!(server.look(|_, journal| journal.about(id).count()), 4);
    assert!(!format!("{calls:?}").contains("system-token"));
}

#[tokio::test(start_paused = true)]
async fn a_beginning_has_to_be_one() {
    let server = server();
    let id = server.submit(one_step());
    let agent = Agent::connect(&server.network()).await;
    agent.take(id).await;
    let impossible = "agent reported impossible workflow state";
    refused(agent.init(id, at(0, 0)).await, Code::Unknown, impossible);
    let canceled = pb::WorkflowState { canceled: true, ..at(100, 0) };
    refused(agent.init(id, canceled).await, Code::Unknown, impossible);
    assert_eq!(server.workflow(id).state, State::Pending);
    agent.init(id, at(100, 0)).await.unwrap();
    agent.init(id, at(150, 0)).await.unwrap();
    assert_eq!(server.workflow(id).started, 150, "the second one overwrites the start");
    agent.done(id, at(100, 200)).await.unwrap();
    refused(agent.init(id, at(100, 0)).await, Code::Unknown, "workflow was already marked as finished");
    refused(agent.init(99, at(100, 0)).await, Code::Unknown, "sql: no rows in result set");
    let text = "strconv.ParseInt: parsing \"x\": invalid syntax";
    refused(agent.init_text("x", at(100, 0)).await, Code::Unknown, text);
}

#[tokio::test(start_paused = true)]
async fn an_end_has_to_be_one() {
    let server = server();
    let id = server.submit(one_step());
    let agent = Agent::connect(&server.network()).await;
    agent.begin(id).await;
    let canceled = pb::WorkflowState { canceled: true, ..at(0, 200) };
    refused(agent.done(id, canceled).await, Code::Unknown, "agent reported impossible workflow state");
    agent.done(id, at(0, 200)).await.unwrap();
    assert_eq!(server.workflow(id).state, State::Skipped);
    refused(agent.done(id, at(100, 200)).await, Code::Unknown, "workflow was already marked as finished");
}

#[tokio::test(start_paused = true)]
async fn reports_of_steps_are_taken_while_the_workflow_is_active() {
    let server = server();
    let compiled = one_step();
    let test = compiled.uuid("test");
    let id = server.submit(&compiled);
    let agent = Agent::connect(&server.network()).await;
    agent.take(id).await;
    // Even before it begins; the server's clock fills in what is missing.
    agent.update(id, begins(&test)).await.unwrap();
    let now = server.now().time.as_second();
    assert_eq!(server.workflow(id).steps[0].started, now);
    agent.init(id, at(100, 0)).await.unwrap();
    agent.update(id, exits(&test, 3)).await.unwrap();
    agent.update(id, exits(&test, 0)).await.unwrap();
    let step = server.workflow(id).steps.remove(0);
    assert_eq!((step.state, step.exit_code, step.started), (State::Failure, 3, now), "the second end is swallowed");
    refused(agent.update(id, begins("NONE")).await, Code::Unknown, "sql: no rows in result set");
    agent.done(id, at(100, 200)).await.unwrap();
    assert_eq!(server.workflow(id).state, State::Failure);
    let text = "step has state failure and does not expect rpc state updates";
    refused(agent.update(id, exits(&test, 0)).await, Code::Unknown, text);
}

#[tokio::test(start_paused = true)]
async fn reports_of_another_workflows_steps_are_refused() {
    let server = server();
    let (one, two) = (one_step(), two_steps());
    let (first, _) = (server.submit(&one), server.submit(&two));
    let agent = Agent::connect(&server.network()).await;
    agent.begin(first).await;
    let foreign = two.uuid("build");
    let text = format!("agent returned status with step uuid '{foreign}' which does not belong to current pipeline");
    refused(agent.update(first, begins(&foreign)).await, Code::Unknown, &text);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_runs_to_the_end_becomes_a_success() {
    let server = server();
    let compiled = Compiled::new("x")
        .then([Job::service("db", "postgres:16")])
        .then([Job::commands("test", "alpine", ["true"]).failure(FailureMode::Ignore)])
        .then([Job::commands("never", "alpine", ["true"])]);
    let id = server.submit(&compiled);
    let agent = Agent::connect(&server.network()).await;
    agent.begin(id).await;
    agent.update(id, begins(&compiled.uuid("db"))).await.unwrap();
    agent.update(id, begins(&compiled.uuid("test"))).await.unwrap();
    agent.update(id, exits(&compiled.uuid("test"), 1)).await.unwrap();
    let skipped = pb::StepState { skipped: true, ..begins(&compiled.uuid("never")) };
    agent.update(id, skipped).await.unwrap();
    agent.done(id, at(100, 200)).await.unwrap();
    let workflow = server.ended(id).await;
    let ends: Vec<_> = workflow.steps.iter().map(|step| (step.state, step.finished)).collect();
    assert_eq!(ends, [(State::Success, 200), (State::Failure, 110), (State::Skipped, 0)]);
    assert_eq!(workflow.state, State::Success, "the failure was to be ignored");
}

#[tokio::test(start_paused = true)]
async fn a_payload_that_is_none_is_handed_out_as_it_is() {
    let server = server();
    let agent = Agent::connect(&server.network()).await;
    let id = server.submit(Submission::raw("{\"pipeline\": ").steps([Step::new("U", "a")]));
    assert_eq!(agent.take(id).await.payload.as_ref(), b"{\"pipeline\": ");
    agent.update(id, begins("U")).await.unwrap();
    assert_eq!(server.workflow(id).steps[0].state, State::Running);
}
