//! Calls of the HTTP API.

mod tls;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::uri::{Authority, Scheme};
use http::{Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use piculet_core::secret::Secret;
use rustls::ClientConfig;
use serde::Serialize;
use serde::de::DeserializeOwned;
use server_stub::api::ErrorView;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::exit::Failure;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may be quiet before the other end is asked whether it is still there.
const PROBE_AFTER: Duration = Duration::from_secs(30);
/// How often it is asked again.
const PROBE_INTERVAL: Duration = Duration::from_secs(10);
/// How many questions without an answer are the end of the connection.
const PROBES: u32 = 3;

/// Which server, and with which token.
#[derive(Debug, clap::Args)]
pub(super) struct Target {
    /// The server's HTTP address.
    #[arg(long, value_name = "URL", env = "PICULET_SERVER_API", default_value = "http://127.0.0.1:9080")]
    server: Uri,
    /// A file with the token that the server's HTTP API asks for.
    #[arg(long, value_name = "FILE", env = "PICULET_SERVER_API_TOKEN_FILE")]
    api_token_file: Option<PathBuf>,
    /// A file with the authorities, PEM, to trust for https instead of the machine's.
    #[arg(long, value_name = "FILE", env = "PICULET_SERVER_API_CA_FILE")]
    ca_file: Option<PathBuf>,
}

/// Speaks to one server.
#[derive(Debug)]
pub(super) struct Client {
    authority: Authority,
    /// With https only.
    tls: Option<Arc<ClientConfig>>,
    token: Option<Secret>,
}

/// An answer that comes line by line.
#[derive(Debug)]
pub(super) struct Lines {
    server: String,
    body: Incoming,
    rest: BytesMut,
}

impl Target {
    pub(super) fn client(&self) -> Result<Client, Failure> {
        let token = self.api_token_file.as_deref().map(super::serve::read_token).transpose()?;
        let scheme = self.server.scheme().filter(|&scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS);
        match (self.server.authority(), scheme) {
            (Some(authority), Some(scheme)) if matches!(self.server.path(), "" | "/") => {
                let is_encrypted = *scheme == Scheme::HTTPS;
                if self.ca_file.is_some() && !is_encrypted {
                    let text = "--ca-file: there is no TLS with http://; --server has to begin with https://";
                    return Err(Failure::BadInput(text.to_owned()));
                }
                let tls = is_encrypted.then(|| tls::config(self.ca_file.as_deref())).transpose()?;
                Ok(Client { authority: authority.clone(), tls, token })
            }
            _ => Err(Failure::BadInput(format!(
                "--server {} is no address of the HTTP API; it looks like http://127.0.0.1:9080",
                self.server
            ))),
        }
    }
}

/// All but what is unreserved in a URI (RFC 3986, section 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A part of a path, whatever is in it.
pub(super) fn segment(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

impl Client {
    /// Asks.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.answer(self.call(Method::GET, path, Bytes::new()).await?).await
    }

    /// Tells.
    pub(super) async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        let body = serde_json::to_vec(body).map_err(|error| Failure::Internal(error.to_string()))?;
        self.answer(self.call(Method::POST, path, body.into()).await?).await
    }

    /// Asks for lines, as they come.
    pub(super) async fn lines(&self, path: &str) -> Result<Lines, Failure> {
        let response = self.call(Method::GET, path, Bytes::new()).await?;
        if !response.status().is_success() {
            return Err(self.refusal(response).await?);
        }
        Ok(Lines { server: self.authority.to_string(), body: response.into_body(), rest: BytesMut::new() })
    }

    async fn call(&self, method: Method, path: &str, body: Bytes) -> Result<Response<Incoming>, Failure> {
        let usual = if self.tls.is_some() { 443 } else { 80 };
        let port = self.authority.port_u16().unwrap_or(usual);
        let host = self.authority.host().trim_start_matches('[').trim_end_matches(']');
        let connect = async {
            let stream = connect(host, port).await.map_err(|error| self.unreachable(error))?;
            match &self.tls {
                None => self.speak(stream).await,
                Some(config) => self.speak(tls::connect(Arc::clone(config), &self.authority, stream).await?).await,
            }
        };
        let mut sender = match timeout(CONNECT_TIMEOUT, connect).await {
            Ok(sender) => sender?,
            Err(_) => return Err(self.unreachable(format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()))),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.authority.as_str())
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.expose()));
        }
        let request = request.body(Full::new(body)).map_err(|error| Failure::BadInput(error.to_string()))?;
        sender.send_request(request).await.map_err(|error| {
            if error.is_parse() && self.tls.is_none() {
                let reason = "what answers speaks no HTTP; should --server begin with https://?".to_owned();
                return Failure::Tls { server: self.authority.to_string(), reason };
            }
            self.unreachable(error)
        })
    }

    /// Speaks HTTP over a connection.
    async fn speak<S>(&self, stream: S) -> Result<SendRequest<Full<Bytes>>, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(|error| self.unreachable(error))?;
        // It ends with the answer; what goes wrong there is seen by whoever waits for that.
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn answer<T: DeserializeOwned>(&self, response: Response<Incoming>) -> Result<T, Failure> {
        if !response.status().is_success() {
            return Err(self.refusal(response).await?);
        }
        let body = response.into_body().collect().await.map_err(|error| self.unreachable(error))?.to_bytes();
        serde_json::from_slice(&body).map_err(|error| self.unreachable(format!("its answer makes no sense: {error}")))
    }

    async fn refusal(&self, response: Response<Incoming>) -> Result<Failure, Failure> {
        let status = response.status();
        let body = response.into_body().collect().await.map_err(|error| self.unreachable(error))?.to_bytes();
        let error = serde_json::from_slice(&body).unwrap_or_else(|_| not_ours(status));
        Ok(Failure::Refused { status, error })
    }

    fn unreachable(&self, reason: impl ToString) -> Failure {
        Failure::Unreachable { server: self.authority.to_string(), reason: reason.to_string() }
    }
}

/// A connection that breaks if its other end vanishes while it is quiet: who follows a workflow hears nothing for hours,
/// and that is no trouble, but a machine that went down without a word is.
async fn connect(host: &str, port: u16) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    let probes = TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_INTERVAL).with_retries(PROBES);
    // A system that has no such probes is no reason not to speak.
    SockRef::from(&stream).set_tcp_keepalive(&probes).ok();
    Ok(stream)
}

/// An error that the API didn't tell: something else listens there, or stands between.
fn not_ours(status: StatusCode) -> ErrorView {
    ErrorView {
        code: "foreign-answer".to_owned(),
        message: format!("the answer was {status}, and not one of a piculet-server"),
        diagnostics: Vec::new(),
    }
}

impl Lines {
    /// The next line; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            if let Some(end) = self.rest.iter().position(|&byte| byte == b'\n') {
                let line = self.rest.split_to(end + 1).freeze();
                return Ok(Some(line.slice(..end)));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => self.rest.extend_from_slice(&frame.into_data().unwrap_or_default()),
                Some(Err(error)) => return Err(self.cut(error)),
            }
        }
    }

    /// The answer is not whole.
    pub(super) fn cut(&self, reason: impl ToString) -> Failure {
        Failure::Cut { server: self.server.clone(), reason: reason.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use socket2::SockRef;
    use tokio::net::TcpListener;

    use super::{PROBE_AFTER, PROBE_INTERVAL, PROBES, connect, segment};

    #[test]
    fn a_segment_holds_any_text() {
        assert_eq!(segment("build it/\u{fc}?"), "build%20it%2F%C3%BC%3F");
        assert_eq!(segment("a-Z_0.9~"), "a-Z_0.9~");
    }

    #[tokio::test]
    async fn a_connection_notices_when_its_other_end_vanishes() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let stream = connect("127.0.0.1", listener.local_addr().unwrap().port()).await.unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), PROBE_AFTER);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), PROBE_INTERVAL);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), PROBES);
    }
}
