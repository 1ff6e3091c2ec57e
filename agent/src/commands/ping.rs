//! `piculet ping`: asks the agent on this machine whether it is healthy.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::Listen;
use crate::exit::Failure;

/// How long the answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How much of it is read.
const MOST: usize = 4 << 10;

/// Asks for `/healthz` at the address that the agent of the same configuration listens on.
///
/// # Errors
/// Everything but the answer that it is healthy.
pub async fn ping(address: Option<&Listen>) -> Result<(), Failure> {
    let Some(address) = address else {
        return Err(Failure::Unhealthy(
            "health is served nowhere: admin.address is off (or WOODPECKER_HEALTHCHECK is false)".to_owned(),
        ));
    };
    let (host, port) = address.here();
    let said = match timeout(PATIENCE, ask(host, port)).await {
        Ok(said) => said,
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    };
    said.map_err(|reason| Failure::Unhealthy(format!("http://{host}:{port}/healthz: {reason}")))
}

async fn ask(host: &str, port: u16) -> Result<(), String> {
    let words = |error: hyper::Error| error.to_string();
    let stream = TcpStream::connect((host, port)).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(words)?;
    // It ends with the answer; what breaks it the answer tells.
    tokio::spawn(connection);
    let request = Request::get("/healthz").header("host", host).body(Empty::<Bytes>::new());
    let request = request.map_err(|error| error.to_string())?;
    let answer = sender.send_request(request).await.map_err(words)?;
    let status = answer.status();
    if status == http::StatusCode::OK {
        return Ok(());
    }
    let body = Limited::new(answer.into_body(), MOST).collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    Err(format!("{status}: {}", String::from_utf8_lossy(&body).trim()))
}
