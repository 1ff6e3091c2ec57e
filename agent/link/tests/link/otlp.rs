//! What a collector sees of the agent on the wire. What it gets is shown by a real one, in `tests/it`.

use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use http::HeaderMap;
use jiff::Timestamp;
use piculet_core::id::{Epoch, ServerId, WorkflowId};
use piculet_core::trace::{ServerTrace, WorkflowTrace};
use piculet_link::otlp::{self, Settings, Traces, Wanted};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

/// Keeps path and headers of every request, and answers that nobody is known by these (`UNAUTHENTICATED`).
async fn keep(State(requests): State<mpsc::Sender<(String, HeaderMap)>>, request: Request) -> HeaderMap {
    let path = request.uri().path().to_owned();
    requests.send((path, request.headers().clone())).await.unwrap();
    let answer = [("content-type", "application/grpc"), ("grpc-status", "16")];
    answer.into_iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

#[tokio::test]
async fn headers_go_with_every_batch_and_what_is_refused_is_counted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (kept, mut requests) = mpsc::channel(16);
    let routes = Routes::from(Router::new().fallback(keep).with_state(kept));
    let server = Server::builder().add_routes(routes).serve_with_incoming(TcpIncoming::from(listener));
    let server = tokio::spawn(server);

    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Bearer%20hunter2,x-team=a"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "5000"),
    ];
    let Ok(Wanted::On(settings)) = Settings::read(variables) else { panic!("a collector is named") };
    let traces = Traces::new(&settings, otlp::exporter(&settings).await.unwrap());
    let outlet = traces.outlet().clone();
    let trace = WorkflowTrace::new(ServerId::new("s"), WorkflowId::new("7"), None);
    outlet.give([ServerTrace::new(trace, "build").queue(Epoch(1), Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH)]);
    let open = traces.open([]);
    open.close(tokio::time::Instant::now() + Duration::from_secs(10)).await;

    let (path, headers) = requests.recv().await.unwrap();
    assert_eq!(path, "/opentelemetry.proto.collector.trace.v1.TraceService/Export");
    let text = |name: &str| headers[name].to_str().unwrap().to_owned();
    assert_eq!((text("authorization"), text("x-team")), ("Bearer hunter2".to_owned(), "a".to_owned()));
    assert_eq!((outlet.tally().exported(), outlet.tally().failed()), (0, 1), "it was not let in");
    assert!(!format!("{outlet:?} {settings:?}").contains("hunter2"));
    server.abort();
}
