//! Logs from the container to the server.

use fake_cluster::Script;
use piculet_core::secret::Secret;
use piculet_core::workload::StepSpec;
use server_stub::dispatch::State;

use crate::world::{World, step, workflow};

#[tokio::test(start_paused = true)]
async fn all_of_200_000_lines_are_stored() {
    let mut world = World::new();
    world.agent();
    world.step_does("flood", Script::new().lines(200_000, |i| format!("{i:080}")).exit(0));
    let workflow = world.run(workflow(vec![vec![step("flood")]])).await;
    assert_eq!(workflow.state, State::Success);
    let log = world.log(&workflow, "flood");
    assert_eq!(log.len(), 200_000);
    assert!(log.iter().enumerate().all(|(i, line)| *line == format!("{i:080}")));
    assert_eq!(workflow.steps[0].log_complaint, None);
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_no_text_and_lines_without_end_arrive_as_they_were() {
    let mut world = World::new();
    world.agent();
    let huge = "x".repeat(3 << 20);
    let script = Script::new().print(&b"\xff\xfe raw\n"[..]).print(format!("{huge}\n")).print("progress\rdone").exit(0);
    world.step_does("odd", script);
    let workflow = world.run(workflow(vec![vec![step("odd")]])).await;
    let id = piculet_core::id::WorkflowId::new(workflow.id.as_str());
    let lines = world.stub.log(&id, "odd");
    let sizes: Vec<_> = lines.iter().map(|line| line.bytes.len()).collect();
    assert_eq!(sizes, [6, 1 << 20, 1 << 20, 1 << 20, 13], "a line is cut at 1 MiB");
    assert_eq!(&lines[0].bytes[..], b"\xff\xfe raw");
    assert_eq!(&lines[4].bytes[..], b"progress\rdone");
}

#[tokio::test(start_paused = true)]
async fn secrets_are_masked_before_they_leave_the_agent() {
    let mut world = World::new();
    world.agent();
    world.step_does(
        "tell",
        Script::new().line("the token is hunter2-hunter2, twice").print("hunt").print("er2-hunter2\n").exit(0),
    );
    let tell =
        StepSpec { secret_environment: [("TOKEN".to_owned(), Secret::new("hunter2-hunter2"))].into(), ..step("tell") };
    let workflow = world.run(workflow(vec![vec![tell]])).await;
    assert_eq!(world.log(&workflow, "tell"), ["the token is ********, twice", "********"]);
}
