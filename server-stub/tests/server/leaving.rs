//! The server goes: what it took it keeps, and then it takes no more.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::json;
use server_stub::server::Config;
use server_stub::store::Store;
use server_stub::stub::Stub;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::api::{call, get, json_of, post};

#[tokio::test(start_paused = true)]
async fn a_server_that_goes_can_be_looked_at_and_changes_no_more() {
    let stub = Stub::start(Config::default());
    stub.server().shut_down(Duration::from_secs(1)).await;
    let (status, error) = json_of(call(&stub, post("/api/workflows", "{}")).await).await;
    assert_eq!((status, error["code"].as_str()), (StatusCode::SERVICE_UNAVAILABLE, Some("shutting-down")));
    let (status, _) = json_of(call(&stub, get("/api/workflows")).await).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn what_a_call_changes_that_was_open_when_the_server_went_is_stored() {
    let stub = Stub::restart(Config::default(), Store::simulated(Duration::from_millis(100)).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(stub.server().serve_api(listener, None));
    let file = "skip_clone: true\nsteps:\n  - name: a\n    image: alpine\n    commands: [make]\n";
    let body = json!({ "files": [{ "name": "late.yaml", "text": file }] }).to_string();

    let mut connection = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /api/workflows HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         expect: 100-continue\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    // The server says so when it wants the body: the call is open.
    let mut goes_on = [0; 25];
    connection.read_exact(&mut goes_on).await.unwrap();
    assert_eq!(&goes_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    let server = stub.server().clone();
    let gone = tokio::spawn(async move { server.shut_down(Duration::from_secs(10)).await });
    stub.server().going().cancelled().await;
    // A server that waited for nothing would be done by now.
    tokio::time::sleep(Duration::from_millis(300)).await;
    connection.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201 Created"), "{answer}");
    gone.await.unwrap();
    assert_eq!(stub.kill().load().unwrap().workflows.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_goes_waits_once_for_all() {
    let stub = Stub::restart(Config::default(), Store::simulated(Duration::from_secs(3000)).unwrap());
    stub.submit(crate::agent::workload("w"));
    // Somebody connects and says nothing.
    let _silent = stub.network().dial().unwrap();
    let start = tokio::time::Instant::now();
    assert!(!stub.server().shut_down(Duration::from_secs(20)).await, "the disk took nothing");
    assert_eq!(start.elapsed().as_secs(), 20);
    let stub = Stub::start(Config::default());
    let _silent = stub.network().dial().unwrap();
    let start = tokio::time::Instant::now();
    assert!(stub.server().shut_down(Duration::from_secs(20)).await);
    assert_eq!(start.elapsed().as_secs(), 10, "what is begun has half of the time, so that the disk has the rest");
}
