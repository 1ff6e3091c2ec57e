//! The server's spans, and what they have to wait for.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use piculet_link::otlp::{OTelSdkResult, Open, Settings, SpanData, SpanExporter, Traces, Wanted};
use piculet_proto::v1 as pb;
use server_stub::server::Config;
use server_stub::store::Store;
use server_stub::stub::Stub;

use crate::agent::{RawAgent, accepted, finished, hello, until, workload};

/// How long the disk of these tests takes.
const LATENCY: Duration = Duration::from_secs(2);
/// By then a span that was handed in has come.
const MOMENT: Duration = Duration::from_millis(200);

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
    /// A server that sends its traces there.
    fn stub(&self, store: Store) -> (Stub, Open) {
        let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://memory:4317"), ("OTEL_BSP_SCHEDULE_DELAY", "100")];
        let Ok(Wanted::On(settings)) = Settings::read(variables) else { panic!("a collector is named") };
        let traces = Traces::new(&settings, self.clone());
        let stub = Stub::restart(Config { traces: Some(traces.outlet().clone()), ..Config::default() }, store);
        (stub, traces.open([]))
    }

    fn names(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(|span| span.name.to_string()).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_span_leaves_when_what_ended_it_is_stored() {
    let memory = Memory::default();
    let (stub, _open) = memory.stub(Store::simulated(LATENCY).unwrap());
    let _agent = RawAgent::ready(&stub.network(), hello("agent"), 1).await;
    until(|| stub.server().agents().iter().any(|agent| agent.free_slots == 1)).await;
    stub.server().settled().await;
    stub.submit(workload("w"));
    tokio::time::sleep(LATENCY - MOMENT).await;
    assert_eq!(memory.names(), [""; 0], "a server that is killed now assigns it anew, at another time");
    tokio::time::sleep(2 * MOMENT).await;
    assert_eq!(memory.names(), ["queue"]);
}

#[tokio::test(start_paused = true)]
async fn an_offer_is_told_once_whatever_becomes_of_the_server() {
    let memory = Memory::default();
    let (stub, _open) = memory.stub(Store::in_memory().unwrap());
    let mut agent = RawAgent::ready(&stub.network(), hello("agent"), 1).await;
    stub.expect_session().await.stop_acking();
    stub.submit(workload("taken"));
    let assign = agent.assign().await;
    agent.say(accepted(&assign)).await;
    tokio::time::sleep(MOMENT).await;
    assert_eq!(memory.names(), ["queue", "offer"]);
    let (stub, _open) = memory.stub(stub.kill());
    let mut agent = RawAgent::ready(&stub.network(), hello("agent"), 1).await;
    assert_eq!(agent.assign().await.epoch, 2);
    tokio::time::sleep(MOMENT).await;
    assert_eq!(memory.names(), ["queue", "offer", "queue"]);
    let spans = memory.0.lock().unwrap();
    let ids: BTreeSet<_> = spans.iter().map(|span| span.span_context.span_id().to_bytes()).collect();
    assert_eq!(ids.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_workflow_takes_as_long_as_the_server_saw_whatever_the_clock_of_its_agent_says() {
    let memory = Memory::default();
    let (stub, _open) = memory.stub(Store::in_memory().unwrap());
    let mut agent = RawAgent::ready(&stub.network(), hello("agent"), 1).await;
    let id = stub.submit(workload("w"));
    let assign = agent.take().await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    agent.say(finished(&assign, 2, pb::WorkflowState::Failure)).await;
    tokio::time::sleep(MOMENT).await;
    let view = stub.workflow(&id);
    assert!(view.finished < Some(view.created), "the agent's clock is years behind");
    let spans = memory.0.lock().unwrap();
    let root = spans.iter().find(|span| span.name == "workflow w").unwrap();
    assert_eq!(root.end_time.duration_since(root.start_time).unwrap().as_secs(), 10);
}
