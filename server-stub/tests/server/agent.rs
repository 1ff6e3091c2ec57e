//! An agent of which every message is written by the test.

use std::future::Future;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use piculet_core::workload::{StageSpec, StepSpec, WorkloadSpec};
use piculet_proto::v1 as pb;
use piculet_proto::v1::agent_message::Message as Said;
use piculet_proto::v1::agent_service_client::AgentServiceClient;
use piculet_proto::v1::server_message::Message as Heard;
use server_stub::stub::Network;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

/// A call, by hand.
pub(crate) struct RawAgent {
    say: mpsc::Sender<pb::AgentMessage>,
    hear: Streaming<pb::ServerMessage>,
    pub(crate) welcome: pb::Welcome,
    assigns_received: u64,
}

pub(crate) async fn channel(network: &Network) -> Channel {
    let network = network.clone();
    let connector = tower::service_fn(move |_| {
        let connection = network.dial().map(TokioIo::new);
        async move { connection }
    });
    Endpoint::from_static("http://server.test").connect_with_connector(connector).await.unwrap()
}

pub(crate) fn hello(instance: &str) -> pb::Hello {
    pb::Hello {
        protocol: pb::PROTOCOL,
        agent_name: instance.to_owned(),
        instance_id: instance.to_owned(),
        agent_version: "test".to_owned(),
        cluster: Some(pb::Cluster {
            name: format!("cluster-of-{instance}"),
            uid: format!("uid-of-{instance}"),
            version: "v1.34.4".into(),
        }),
        capacity: 4,
        ..pb::Hello::default()
    }
}

pub(crate) fn labelled(mut hello: pb::Hello, labels: &[(&str, &str)]) -> pb::Hello {
    hello.labels = labels.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
    hello
}

/// A call whose first messages are these; `Ok` if the server welcomes it.
pub(crate) async fn call(network: &Network, token: Option<&str>, first: Vec<Said>) -> Result<RawAgent, Status> {
    call_over(channel(network).await, token, first).await
}

pub(crate) async fn call_over(channel: Channel, token: Option<&str>, first: Vec<Said>) -> Result<RawAgent, Status> {
    let (say, queue) = mpsc::channel(64);
    for message in first {
        say.send(pb::AgentMessage { message: Some(message) }).await.unwrap();
    }
    let mut request = Request::new(ReceiverStream::new(queue));
    if let Some(token) = token {
        let value = MetadataValue::try_from(format!("Bearer {token}")).unwrap();
        request.metadata_mut().insert("authorization", value);
    }
    let mut hear = AgentServiceClient::new(channel).connect(request).await?.into_inner();
    match within(next(&mut hear)).await? {
        Some(Heard::Welcome(welcome)) => Ok(RawAgent { say, hear, welcome, assigns_received: 0 }),
        other => panic!("expected Welcome, got {other:?}"),
    }
}

async fn next(hear: &mut Streaming<pb::ServerMessage>) -> Result<Option<Heard>, Status> {
    let message = hear.message().await?;
    Ok(message.map(|message| message.message.expect("a message has content")))
}

/// Hours by the paused clock are nothing; a hang is a failure.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(3600), future).await.expect("it takes too long")
}

/// Lets the others run until the condition holds.
pub(crate) async fn until(condition: impl Fn() -> bool) {
    within(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

impl RawAgent {
    pub(crate) async fn connect(network: &Network, hello: pb::Hello) -> Self {
        call(network, None, vec![Said::Hello(hello)]).await.unwrap()
    }

    /// Connected, with free slots.
    pub(crate) async fn ready(network: &Network, hello: pb::Hello, free_slots: u32) -> Self {
        let agent = Self::connect(network, hello).await;
        agent.demand(free_slots).await;
        agent
    }

    pub(crate) async fn say(&self, message: Said) {
        self.say.send(pb::AgentMessage { message: Some(message) }).await.unwrap();
    }

    /// To say something from another task.
    pub(crate) fn speaker(&self) -> mpsc::Sender<pb::AgentMessage> {
        self.say.clone()
    }

    pub(crate) async fn demand(&self, free_slots: u32) {
        self.demand_after(free_slots, self.assigns_received).await;
    }

    pub(crate) async fn demand_after(&self, free_slots: u32, assigns_received: u64) {
        self.say(Said::Demand(pb::Demand { free_slots, assigns_received })).await;
    }

    /// The next message, pings included.
    pub(crate) async fn hear_all(&mut self) -> Heard {
        within(next(&mut self.hear)).await.unwrap().expect("the call goes on")
    }

    /// The next message that is no ping; pings are answered.
    pub(crate) async fn hear(&mut self) -> Heard {
        within(async {
            loop {
                match next(&mut self.hear).await {
                    Ok(Some(Heard::Ping(_))) => self.say(Said::Heartbeat(pb::Heartbeat::default())).await,
                    Ok(Some(message)) => return message,
                    Ok(None) => panic!("the server ended the call"),
                    Err(status) => panic!("the server ended the call: {status}"),
                }
            }
        })
        .await
    }

    /// How the server ends the call; what it says before is passed over.
    pub(crate) async fn end(&mut self) -> Status {
        within(async {
            loop {
                match next(&mut self.hear).await {
                    Ok(Some(_)) => {}
                    Ok(None) => return Status::ok(""),
                    Err(status) => return status,
                }
            }
        })
        .await
    }

    pub(crate) async fn assign(&mut self) -> pb::Assign {
        match self.hear().await {
            Heard::Assign(assign) => {
                self.assigns_received += 1;
                assign
            }
            other => panic!("expected Assign, got {other:?}"),
        }
    }

    pub(crate) async fn ack(&mut self) -> (String, u64, u64) {
        match self.hear().await {
            Heard::Ack(ack) => (ack.workflow_id, ack.epoch, ack.sequence),
            other => panic!("expected Ack, got {other:?}"),
        }
    }

    /// Nothing is said for a while, by the paused clock.
    pub(crate) async fn hears_nothing(&mut self) {
        let quiet = async {
            let heard = self.hear().await;
            panic!("expected nothing, got {heard:?}");
        };
        tokio::time::timeout(Duration::from_secs(20), quiet).await.expect_err("nothing is said");
    }

    /// Takes the next workflow.
    pub(crate) async fn take(&mut self) -> pb::Assign {
        let assign = self.assign().await;
        self.accept(&assign).await;
        assign
    }

    /// Accepts an assignment and waits until that is acknowledged.
    pub(crate) async fn accept(&mut self, assign: &pb::Assign) {
        self.say(accepted(assign)).await;
        assert_eq!(self.ack().await, (assign.workflow_id.clone(), assign.epoch, 1));
    }
}

pub(crate) fn stamp(assign: &pb::Assign, sequence: u64) -> Option<pb::Stamp> {
    Some(pb::Stamp { workflow_id: assign.workflow_id.clone(), epoch: assign.epoch, sequence })
}

pub(crate) fn held(assign: &pb::Assign, acknowledged: u64) -> pb::Held {
    pb::Held { workflow_id: assign.workflow_id.clone(), epoch: assign.epoch, acknowledged }
}

pub(crate) fn accepted(assign: &pb::Assign) -> Said {
    Said::Accepted(pb::Accepted { stamp: stamp(assign, 1) })
}

pub(crate) fn refused(assign: &pb::Assign, reason: &str, is_final: bool) -> Said {
    Said::Refused(pb::Refused { stamp: stamp(assign, 1), reason: reason.to_owned(), r#final: is_final, full: false })
}

/// The id of the workload's first step: `build`, unless the server gave it another one.
fn first_step(assign: &pb::Assign) -> String {
    let stages = assign.workload.iter().flat_map(|workload| &workload.stages);
    stages.flat_map(|stage| &stage.steps).next().expect("there is a step").id.clone()
}

pub(crate) fn step(assign: &pb::Assign, sequence: u64, state: pb::StepState, exit_code: Option<i32>) -> Said {
    Said::StepUpdate(pb::StepUpdate {
        stamp: stamp(assign, sequence),
        step_id: first_step(assign),
        state: state.into(),
        attempt: 1,
        started_unix_nano: Some(1_700_000_000_000_000_000),
        finished_unix_nano: exit_code.map(|_| 1_700_000_001_000_000_000),
        outcome: if exit_code.is_some() { pb::OutcomeClass::Exited } else { pb::OutcomeClass::Unspecified }.into(),
        exit_code,
        error: String::new(),
    })
}

pub(crate) fn log(assign: &pb::Assign, sequence: u64, first_line: u64, lines: &[&str]) -> Said {
    let bytes: Vec<_> = lines.iter().map(|line| line.as_bytes()).collect();
    log_bytes(assign, sequence, first_line, &bytes)
}

pub(crate) fn log_bytes(assign: &pb::Assign, sequence: u64, first_line: u64, lines: &[&[u8]]) -> Said {
    let lines = lines.iter().map(|line| pb::LogLine {
        time_unix_nano: 1_700_000_000_000_000_000,
        data: line.to_vec().into(),
        continues: false,
    });
    Said::LogChunk(pb::LogChunk {
        stamp: stamp(assign, sequence),
        step_id: first_step(assign),
        first_line,
        lines: lines.collect(),
        end: None,
    })
}

pub(crate) fn log_end(assign: &pb::Assign, sequence: u64, total_lines: u64, total_bytes: u64) -> Said {
    Said::LogChunk(pb::LogChunk {
        stamp: stamp(assign, sequence),
        step_id: first_step(assign),
        first_line: total_lines,
        lines: Vec::new(),
        end: Some(pb::LogEnd { total_lines, total_bytes }),
    })
}

pub(crate) fn finished(assign: &pb::Assign, sequence: u64, state: pb::WorkflowState) -> Said {
    Said::Finished(pb::Finished {
        stamp: stamp(assign, sequence),
        state: state.into(),
        started_unix_nano: 1_700_000_000_000_000_000,
        finished_unix_nano: 1_700_000_002_000_000_000,
        error: String::new(),
    })
}

/// A workload of one step, `build`.
pub(crate) fn workload(name: &str) -> WorkloadSpec {
    let step = StepSpec {
        id: "build".to_owned(),
        name: "build it".to_owned(),
        image: "alpine".to_owned(),
        commands: vec!["true".to_owned()],
        ..StepSpec::default()
    };
    WorkloadSpec { name: name.to_owned(), stages: vec![StageSpec { steps: vec![step] }], ..WorkloadSpec::default() }
}

pub(crate) fn wanting(name: &str, labels: &[(&str, &str)]) -> WorkloadSpec {
    let labels = labels.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
    WorkloadSpec { labels, ..workload(name) }
}
