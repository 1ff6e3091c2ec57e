//! `submit --wait --follow`, as a process, against a server of which answers with logs break off.

use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use piculet_core::id::WorkflowId;
use piculet_proto::v1 as pb;
use server_stub::server::{Config, Server};
use server_stub::stub::Stub;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::Notify;

use crate::agent::{RawAgent, finished, hello, log, log_end, step};
use crate::cli::BINARY;

/// When the workflow ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// Before anybody looks at it.
    AtOnce,
    /// When somebody waits for its events.
    WaitedFor,
}

/// What stands before the server.
struct Gate {
    server: Server,
    ends: Ends,
    /// So many answers with logs break off before they tell anything.
    breaking: u32,
    /// How often a log was asked for.
    asked: AtomicU32,
    /// Somebody waits for the events.
    waited_for: Notify,
}

impl Gate {
    async fn pass(self: Arc<Self>, request: Request, next: Next) -> Response {
        let path = request.uri().path().to_owned();
        let call = path.strip_prefix("/api/workflows/").unwrap_or_default();
        if !call.is_empty() && self.ends == Ends::AtOnce {
            let id = call.split('/').next().unwrap_or_default();
            self.server.ended(&WorkflowId::new(id)).await;
        }
        if call.ends_with("/events") {
            self.waited_for.notify_one();
        }
        if call.ends_with("/log") && self.asked.fetch_add(1, Ordering::SeqCst) < self.breaking {
            // Its head goes out first.
            let broken = stream::once(async {
                tokio::task::yield_now().await;
                Err::<Bytes, _>(std::io::Error::other("a fault of this test's making"))
            });
            return Response::new(Body::from_stream(broken));
        }
        next.run(request).await
    }
}

/// Submits a workflow, and follows it to its end. Returns how often its log was asked for, too.
async fn follow(ends: Ends, breaking: u32) -> (Output, u32) {
    let stub = Stub::start(Config::default());
    let (asked, waited_for) = (AtomicU32::new(0), Notify::new());
    let gate = Arc::new(Gate { server: stub.server().clone(), ends, breaking, asked, waited_for });
    let layer = from_fn({
        let gate = Arc::clone(&gate);
        move |request, next| Arc::clone(&gate).pass(request, next)
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(axum::serve(listener, stub.server().api().layer(layer)).into_future());
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("test.yaml");
    std::fs::write(&file, "skip_clone: true\nsteps:\n  - {name: build it, image: alpine, commands: [make]}\n").unwrap();
    let mut submit = Command::new(BINARY);
    submit.args(["submit", "--wait", "--follow", "--server", &address]).arg(&file).kill_on_drop(true);
    let submit = submit.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();

    let mut agent = RawAgent::ready(&stub.network(), hello("agent"), 1).await;
    let assign = agent.take().await;
    agent.say(step(&assign, 2, pb::StepState::Running, None)).await;
    agent.say(log(&assign, 3, 0, &["one", "two"])).await;
    if ends == Ends::WaitedFor {
        gate.waited_for.notified().await;
    }
    agent.say(log_end(&assign, 4, 2, 6)).await;
    agent.say(step(&assign, 5, pb::StepState::Success, Some(0))).await;
    agent.say(finished(&assign, 6, pb::WorkflowState::Success)).await;
    let output = submit.wait_with_output().await.unwrap();
    serving.abort();
    (output, gate.asked.load(Ordering::SeqCst))
}

/// The same; one that hangs has failed. Returns the lines that were printed, and what was said beside them.
async fn followed(ends: Ends, breaking: u32) -> (Vec<String>, String, u32) {
    let patience = std::time::Duration::from_secs(60);
    let (output, asked) = tokio::time::timeout(patience, follow(ends, breaking)).await.expect("it takes too long");
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{error}");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix("[build it] "));
    (lines.map(str::to_owned).collect(), error, asked)
}

#[tokio::test]
async fn one_answer_that_breaks_off_is_no_reason_to_give_up_on_a_log() {
    let (lines, error, _) = followed(Ends::AtOnce, 1).await;
    assert_eq!(lines, ["one", "two"], "{error}");
}

#[tokio::test]
async fn a_log_that_can_not_be_read_is_asked_for_twice() {
    let (lines, error, asked) = followed(Ends::AtOnce, u32::MAX).await;
    assert_eq!((lines.len(), asked), (0, 2), "{error}");
    assert!(error.contains("the server can't tell the rest of the log"), "{error}");
}

#[tokio::test]
async fn a_log_that_can_not_be_read_while_it_grows_is_asked_for_again_at_the_end() {
    let (lines, error, asked) = followed(Ends::WaitedFor, 2).await;
    assert_eq!(lines, ["one", "two"], "{error}");
    assert_eq!((asked, error.matches("broke off").count()), (3, 1), "{error}");
}
