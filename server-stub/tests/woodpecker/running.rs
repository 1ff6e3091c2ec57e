//! What becomes of workflows and their steps: `Init`, `Update`, `Done`.

use server_stub::woodpecker::{Answer, Method, Said, State, Submission};
use tonic::Code;

use crate::agent::{Agent, at, begins, exits, lines, one_step, server, two_steps};

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
