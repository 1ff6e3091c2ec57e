//! One trace per workflow: what a collector gets, and what steps are told.

mod collector;
mod tree;

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fake_cluster::{Kind, Script};
use piculet::telemetry::inner_spans;
use piculet_core::id::{ServerId, WorkflowId};
use piculet_core::secret::Secret;
use piculet_core::trace::WorkflowTrace;
use piculet_core::workload::{StepSpec, WorkloadSpec};
use piculet_link::message::TraceContext;
use piculet_link::otlp::{OTelSdkResult, Settings, SpanData, SpanExporter, Traces, Wanted};
use server_stub::dispatch::Submission;
use server_stub::server::Config;
use server_stub::stub::Stub;
use tokio::time::Instant;
use tracing_subscriber::layer::SubscriberExt as _;

use self::tree::Tree;
use crate::world::{World, step, workflow};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SUBMITTER: &str = "00f067aa0ba902b7";

/// A collector in memory.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<SpanData>>>);

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memory")
    }
}

impl SpanExporter for Memory {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

impl Memory {
    fn traces(&self, variables: &[(&str, &str)]) -> Traces {
        let endpoint = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://memory:4317")];
        let Ok(Wanted::On(settings)) = Settings::read(endpoint.iter().chain(variables).copied()) else {
            panic!("a collector is named")
        };
        Traces::new(&settings, self.clone())
    }

    fn tree(&self) -> Tree {
        Tree::of_data(&self.0.lock().unwrap())
    }
}

/// Puts a workflow into the queue, as somebody would who is in that trace.
fn submit(world: &World, spec: WorkloadSpec, flags: &str) -> WorkflowId {
    let trace = TraceContext { parent: format!("00-{TRACE}-{SUBMITTER}-{flags}"), state: "vendor=1".to_owned() };
    let id = WorkflowId::new("traced");
    let submission = Submission { trace: Some(trace), ..Submission::new(id.clone(), spec) };
    world.stub.server().submit(vec![submission]).unwrap();
    id
}

/// Two steps beside each other, and one after them.
fn parallel() -> WorkloadSpec {
    workflow(vec![vec![step("unit"), step("lint")], vec![step("publish")]])
}

/// The value of a variable in the pod of a step, while it is there.
fn variable(world: &World, step: &str, name: &str) -> Option<String> {
    let pods = world.cluster.objects(Kind::Pod);
    let pod = pods.iter().find(|pod| pod["metadata"]["labels"]["step"] == step).expect("the step has a pod");
    let env = pod["spec"]["containers"][0]["env"].as_array().unwrap();
    env.iter().find(|one| one["name"] == name).map(|one| one["value"].as_str().unwrap().to_owned())
}

async fn seconds(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_workflow_is_one_trace_from_its_acceptance_to_its_last_object() {
    let (mut world, memory) = (World::of_today(), Memory::default());
    let agent = world.agent_tracing(|_| {}, Some(memory.traces(&[])));
    let slow = |seconds, code| {
        let script = Script::new().pull_takes(Duration::from_secs(3)).wait(Duration::from_secs(seconds)).line("x");
        script.exit(code)
    };
    world.step_does("unit", slow(10, 0));
    world.step_does("lint", slow(20, 0));
    world.step_does("publish", slow(5, 7));
    let id = submit(&world, parallel(), "01");
    seconds(8).await;
    let told = variable(&world, "lint", "TRACEPARENT").unwrap();
    assert_eq!(variable(&world, "lint", "TRACESTATE").as_deref(), Some("vendor=1"));
    world.stub.ended(&id).await;
    world.until_clean().await;
    agent.shutdown.drain.cancel();
    agent.task.await.unwrap().unwrap();

    let tree = memory.tree();
    println!("{tree}");
    assert!(tree.rows.iter().all(|row| row.trace == TRACE), "one trace, and it is the submitter's");
    assert_eq!(tree.one("RUN test").parent, SUBMITTER);
    let attempt = "attempt(create schedule sandbox pull init run drain)";
    let page = include_str!("../../agent/docs/traces.md");
    for name in tree.rows.iter().flat_map(|row| row.attributes.keys()) {
        assert!(page.contains(&format!("`{name}`")), "{name} is not documented");
    }
    let expected = format!("RUN test(accept prepare unit({attempt}) lint({attempt}) publish({attempt}) teardown)");
    assert_eq!(tree.shape(), expected);
    let [unit, lint, publish] = ["unit", "lint", "publish"].map(|name| tree.one(name));
    assert_eq!(unit.start, lint.start, "they run beside each other");
    assert!(publish.start >= lint.end, "and this one after both");
    let of_lint = tree.below(lint);
    assert_eq!(told, format!("00-{TRACE}-{}-01", of_lint.one("run").id), "what a step does lies under its container");
    assert_eq!(of_lint.one("run").seconds(), 20);
    assert!((2..=3).contains(&of_lint.one("pull").seconds()), "Kubernetes writes whole seconds");
    let run = tree.one("RUN test");
    assert_eq!(run.attribute("cicd.pipeline.result"), "failure");
    assert_eq!(run.attribute("cicd.pipeline.run.id"), "traced");
    assert_eq!((run.attribute("error.type"), publish.attribute("error.type")), ("exited", "exited"));
    assert_eq!(publish.attribute("cicd.pipeline.task.run.result"), "failure");
    assert_eq!(unit.attribute("cicd.pipeline.task.run.result"), "success");
    assert_eq!(of_lint.one("attempt").attribute("k8s.namespace.name"), "ci");
    assert_ne!(of_lint.one("attempt").attribute("k8s.pod.uid"), "");
}

#[tokio::test(start_paused = true)]
async fn without_a_submitters_trace_the_ids_are_derived() {
    let config = Config { server_id: Some("the-server".to_owned()), ..Config::default() };
    let (mut world, memory) = (World::with(Stub::start(config)), Memory::default());
    let agent = world.agent_tracing(|_| {}, Some(memory.traces(&[])));
    world.run(parallel()).await;
    agent.shutdown.drain.cancel();
    agent.task.await.unwrap().unwrap();
    let tree = memory.tree();
    let run = tree.one("RUN test");
    assert_eq!(run.parent, "", "it is the first of its trace");
    let trace =
        WorkflowTrace::new(ServerId::new("the-server"), WorkflowId::new(run.attribute("cicd.pipeline.run.id")), None);
    assert_eq!(run.trace, trace.id().to_string());
}

#[tokio::test(start_paused = true)]
async fn who_does_not_record_is_followed_and_steps_are_told() {
    let (mut world, memory) = (World::new(), Memory::default());
    let agent = world.agent_tracing(|_| {}, Some(memory.traces(&[])));
    world.step_does("unit", Script::new().wait(Duration::from_secs(10)).exit(0));
    let id = submit(&world, parallel(), "00");
    seconds(5).await;
    let told = variable(&world, "unit", "TRACEPARENT").unwrap();
    assert!(told.starts_with(&format!("00-{TRACE}-")) && told.ends_with("-00"), "{told}");
    world.stub.ended(&id).await;
    agent.shutdown.drain.cancel();
    agent.task.await.unwrap().unwrap();
    assert_eq!(memory.tree().rows.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn without_traces_a_step_is_told_what_the_server_said_or_nothing() {
    let mut world = World::new();
    world.agent();
    world.runtime.on_all(Script::new().wait(Duration::from_secs(10)).exit(0));
    let own = StepSpec { environment: [("TRACEPARENT".to_owned(), "own".to_owned())].into(), ..step("lint") };
    let id = submit(&world, workflow(vec![vec![step("unit"), own]]), "01");
    seconds(5).await;
    assert_eq!(variable(&world, "unit", "TRACEPARENT").unwrap(), format!("00-{TRACE}-{SUBMITTER}-01"));
    assert_eq!(variable(&world, "lint", "TRACEPARENT").as_deref(), Some("own"), "a step's own trace wins");
    assert_eq!(variable(&world, "lint", "TRACESTATE"), None, "and nothing of ours is mixed in");
    world.stub.ended(&id).await;
    world.until_clean().await;
    let id = world.stub.submit(parallel());
    seconds(5).await;
    assert_eq!(variable(&world, "unit", "TRACEPARENT"), None);
    world.stub.ended(&id).await;
}

#[tokio::test(start_paused = true)]
async fn no_secret_no_command_and_no_variable_is_in_a_trace() {
    const CANARY: &str = "canary-7f3a";
    let (mut world, memory) = (World::new(), Memory::default());
    let agent = world.agent_tracing(|_| {}, Some(memory.traces(&[])));
    let text = || CANARY.to_owned();
    let leaky = StepSpec {
        commands: vec![format!("echo {CANARY}")],
        environment: [("PLAIN".to_owned(), text())].into(),
        secret_environment: [("TOKEN".to_owned(), Secret::new(CANARY))].into(),
        ..step("leaky")
    };
    world.step_does("leaky", Script::new().line(CANARY).exit(1));
    world.step_does("never", Script::new().cannot_be_created("CreateContainerConfigError", CANARY));
    let spec = workflow(vec![vec![leaky, step("never")]]);
    let workflow = world.run(WorkloadSpec { secrets: vec![Secret::new(CANARY)], ..spec }).await;
    assert!(workflow.steps[1].error.contains("CreateContainerConfigError"), "the cluster said it: {workflow:?}");
    agent.shutdown.drain.cancel();
    agent.task.await.unwrap().unwrap();
    let spans = memory.0.lock().unwrap();
    assert!(spans.len() > 10, "{}", spans.len());
    assert!(!format!("{spans:?}").contains(CANARY));
}

#[tokio::test(start_paused = true)]
async fn a_collector_that_never_answers_holds_up_no_workflow() {
    #[derive(Debug)]
    struct Deaf;
    impl SpanExporter for Deaf {
        async fn export(&self, _batch: Vec<SpanData>) -> OTelSdkResult {
            std::future::pending().await
        }
    }
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://deaf:4317"), ("OTEL_BSP_MAX_QUEUE_SIZE", "3")];
    let Ok(Wanted::On(settings)) = Settings::read(variables) else { panic!("a collector is named") };
    let traces = Traces::new(&settings, Deaf);
    let tally = traces.outlet().tally();
    let mut world = World::new();
    let agent = world.agent_tracing(|_| {}, Some(traces));
    let begun = Instant::now();
    for _ in 0..5 {
        world.run(parallel()).await;
    }
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(8), "five workflows of 1 s or less: {took:?}");
    let begun = Instant::now();
    agent.shutdown.drain.cancel();
    agent.task.await.unwrap().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(33), "no longer than the last reports may take");
    assert!(tally.dropped() > 100 && tally.failed() <= 6 && tally.exported() == 0, "{tally:?}");
}

#[tokio::test(start_paused = true)]
async fn requests_lie_below_what_they_are_made_for() {
    let (mut world, memory) = (World::of_today(), Memory::default());
    let traces = memory.traces(&[]);
    let subscriber = tracing_subscriber::registry().with(inner_spans(traces.outlet()));
    // As long as there is one dispatcher, tracing asks whatever thread comes to an event first whether anybody wants it, and
    // the threads of other tests don't.
    let _another = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
    let _guard = tracing::subscriber::set_default(subscriber);
    let agent = world.agent_tracing(|_| {}, Some(traces));
    let id = submit(&world, workflow(vec![vec![step("unit")]]), "01");
    world.stub.ended(&id).await;
    world.until_clean().await;
    agent.shutdown.drain.cancel();
    agent.task.await.unwrap().unwrap();
    let tree = memory.tree();
    println!("{tree}");
    let of = |part: &str| {
        let requests = tree.below(tree.one(part)).rows.into_iter().filter(|row| row.name == "apply");
        requests.map(|row| row.attribute("k8s.object.kind").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(of("prepare"), ["ConfigMap", "PersistentVolumeClaim", "Service"]);
    assert_eq!(of("create"), ["Pod"]);
    assert_ne!(tree.one("connect").trace, TRACE, "a connection belongs to no workflow");
}
