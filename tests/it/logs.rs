//! Logs from the container to the server.

use std::path::Path;
use std::time::Duration;

use fake_cluster::Script;
use piculet::config::Config;
use piculet_core::outcome::StepState;
use piculet_core::secret::Secret;
use piculet_core::workload::StepSpec;
use server_stub::dispatch::State;

use tokio::time::Instant;

use crate::world::{Running, World, step, workflow};

const MIB: u64 = 1 << 20;

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

/// Little memory for logs, and this much disk.
fn spooling(directory: &Path, disk: u64) -> impl FnOnce(&mut Config) {
    let directory = directory.to_owned();
    move |config| {
        config.logs.memory = 4 << 20;
        config.logs.disk = disk;
        config.logs.directory = Some(directory);
        config.logs.in_flight = 256 << 10;
    }
}

/// Almost nothing gets to the server until the agent has read this many lines.
async fn at_a_trickle(agent: &Running, lines: usize) {
    agent.network.limit(5000);
    while agent.metrics.log_lines.get() < lines as u64 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    agent.network.limit(0);
}

#[tokio::test(start_paused = true)]
async fn a_flood_waits_on_disk_for_a_slow_server_and_delays_nobody() {
    const FLOOD: usize = 200_000;
    const PAUSE: Duration = Duration::from_millis(500);
    let directory = tempfile::tempdir().unwrap();
    let mut world = World::new();
    let agent = world.agent_with(spooling(directory.path(), 64 * MIB));
    world.step_does("flood", Script::new().lines(FLOOD, |i| format!("{i:080}")).exit(0));
    let quiet = (0..20).fold(Script::new(), |script, i| script.wait(PAUSE).line(&format!("line {i}")));
    world.step_does("quiet", quiet.exit(3));
    // Some 5000 lines a second.
    agent.network.limit(500_000);
    let id = world.stub.submit(workflow(vec![vec![step("flood"), step("quiet")]]));

    let (mut arrivals, mut ended, mut memory, mut disk) = (Vec::new(), None, 0, 0);
    while !world.stub.workflow(&id).state.is_final() {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let view = world.stub.workflow(&id);
        if view.steps.iter().any(|step| step.name == "quiet") {
            arrivals.resize(world.stub.log(&id, "quiet").len(), Instant::now());
        }
        if ended.is_none() && view.steps.iter().any(|step| step.state == StepState::Failure) {
            ended = Some((Instant::now(), world.stub.log(&id, "flood").len()));
        }
        memory = memory.max(agent.metrics.log_spooled.get());
        disk = disk.max(agent.metrics.log_spooled_disk.get());
    }
    assert!(memory <= 4 * MIB as i64, "{memory} bytes of memory");
    assert!(disk > 8 * MIB as i64, "{disk} bytes of disk");
    assert_eq!(agent.metrics.log_lines_lost.get(), 0);
    let workflow = world.stub.workflow(&id);
    let log = world.log(&workflow, "flood");
    assert_eq!(log.len(), FLOOD);
    assert!(log.iter().enumerate().all(|(i, line)| *line == format!("{i:080}")));

    let late = |time: Instant, after: u32| time.duration_since(arrivals[0] + PAUSE * after);
    assert_eq!(arrivals.len(), 20);
    for (time, number) in arrivals.iter().zip(0..) {
        assert!(late(*time, number) < Duration::from_secs(1), "line {number} is late by {:?}", late(*time, number));
    }
    let (ended, stored) = ended.unwrap();
    assert!(late(ended, 20) < Duration::from_secs(1), "the report is late by {:?}", late(ended, 20));
    assert!(stored < FLOOD / 2, "the flood had been over by then: {stored} lines");

    agent.shutdown.drain.cancel();
    agent.task.await.unwrap().unwrap();
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is left on the disk");
}

#[tokio::test(start_paused = true)]
async fn what_fits_neither_in_memory_nor_on_disk_is_counted_and_said() {
    const FLOOD: usize = 200_000;
    let directory = tempfile::tempdir().unwrap();
    let mut world = World::new();
    let agent = world.agent_with(spooling(directory.path(), MIB));
    world.step_does("flood", Script::new().lines(FLOOD, |i| format!("{i:080}")).exit(0));
    let id = world.stub.submit(workflow(vec![vec![step("flood")]]));
    at_a_trickle(&agent, FLOOD).await;
    world.stub.ended(&id).await;
    let (mut lost, mut next) = (0, 0);
    for line in world.stub.log(&id, "flood") {
        let text = String::from_utf8_lossy(&line.bytes).into_owned();
        assert_eq!(line.number, next, "{text}");
        next += 1;
        if let Some(words) = text.strip_prefix("[piculet] ") {
            assert!(words.ends_with("both the memory (4 MiB) and the disk (1 MiB) for logs were full."), "{words}");
            let count: u64 = words.split(' ').next().unwrap().parse().unwrap();
            assert!(words.contains(&format!("({} bytes)", count * 80)), "{words}");
            lost += count;
            next += count - 1;
        } else {
            assert_eq!(text, format!("{:080}", line.number));
        }
    }
    assert_eq!(next, FLOOD as u64, "every line is there or counted");
    assert!(lost > 100_000, "{lost}");
    assert_eq!(agent.metrics.log_lines_lost.get(), lost);
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_is_gone_costs_lines_and_nothing_else() {
    const FLOOD: usize = 200_000;
    let directory = tempfile::tempdir().unwrap();
    let mut world = World::new();
    let agent = world.agent_with(spooling(directory.path(), 64 * MIB));
    world.step_does("flood", Script::new().lines(FLOOD, |i| format!("{i:080}")).exit(0));
    world.stub.expect_session().await;
    std::fs::remove_dir_all(directory.path()).unwrap();
    let id = world.stub.submit(workflow(vec![vec![step("flood")]]));
    at_a_trickle(&agent, FLOOD).await;
    let workflow = world.stub.ended(&id).await.state;
    assert_eq!(workflow, State::Success);
    let lost = agent.metrics.log_lines_lost.get();
    let lines = world.stub.log(&id, "flood");
    let (said, kept): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line.bytes.starts_with(b"[piculet]"));
    assert_eq!(kept.len() as u64 + lost, FLOOD as u64);
    assert!(lost > 0 && said.iter().all(|line| line.bytes.ends_with(b"the disk for logs could not be written.")));
}
