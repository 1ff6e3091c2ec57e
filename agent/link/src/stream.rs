//! The link over piculet's own stream: one bidirectional gRPC call, as `proto/agent.proto` describes it.

mod address;
pub(crate) mod classify;
pub(crate) mod credentials;
mod endpoint;
mod trust;

use std::fmt;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use piculet_core::retry::Verdict;
use piculet_proto::v1::agent_service_client::AgentServiceClient;
use piculet_proto::v1::server_message::Message;
use piculet_proto::v1::{self, MAX_MESSAGE_BYTES, PROTOCOL};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Streaming};
use tracing::{Instrument as _, info_span, warn};

pub use address::{Address, BadAddress};
pub use classify::classify;
pub use credentials::{ClientCertificate, Mismatch, Tls, Token, is_pair};
pub use endpoint::{Connect, MIN_KEEP_ALIVE, Network};
pub use trust::tls_problem;

use crate::link::{Cause, Ended, Link};
use crate::message::{Hello, Incoming, Outgoing};
use crate::wire::{self, Fault};

/// How to reach a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where it is.
    pub server: Address,
    /// What the agent shows to the server; `None`: nothing, or its client certificate alone.
    pub token: Option<Token>,
    /// Looked at for `https` only.
    pub tls: Tls,
    /// Time between two HTTP/2 pings. Servers end connections that ping more often than they like, so less than
    /// [`MIN_KEEP_ALIVE`] becomes that.
    pub keep_alive: Duration,
    /// How long the answer to one may take.
    pub keep_alive_timeout: Duration,
    /// How long a connection may take to come about, and then its TLS handshake.
    pub connect_timeout: Duration,
    /// How long the server may take from the connection to its welcome.
    pub welcome_timeout: Duration,
}

impl Settings {
    /// The usual times, no token, and the roots of the machine.
    pub fn new(server: Address) -> Self {
        Self {
            server,
            token: None,
            tls: Tls::default(),
            keep_alive: Duration::from_secs(30),
            keep_alive_timeout: Duration::from_secs(20),
            connect_timeout: Duration::from_secs(10),
            welcome_timeout: Duration::from_secs(20),
        }
    }
}

/// The link over the stream.
pub struct StreamLink<C = Network> {
    settings: Settings,
    connect: C,
}

impl<C> fmt::Debug for StreamLink<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamLink").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl StreamLink {
    /// Over the network.
    pub fn new(settings: Settings) -> Self {
        Self::with_connector(settings, Network)
    }
}

impl<C: Connect> StreamLink<C> {
    /// Over whatever `connect` brings: pipes in tests, a simulated network.
    pub fn with_connector(settings: Settings, connect: C) -> Self {
        Self { settings, connect }
    }

    /// Dials, says hello, and waits for the server's welcome.
    async fn open(
        &self,
        hello: Hello,
        outgoing: mpsc::Receiver<Outgoing>,
        incoming: &mpsc::Sender<Incoming>,
    ) -> Result<Streaming<v1::ServerMessage>, Ended> {
        let endpoint = endpoint::build(&self.settings).await?;
        let authorization = match &self.settings.token {
            Some(token) => Some(token.authorization().await?),
            None => None,
        };
        let channel = self.connect.connect(endpoint).await.map_err(|error| {
            let server = self.settings.server.to_string();
            classify::transport(&error, |reason| Cause::Unreachable { server, reason })
        })?;
        let after = self.settings.welcome_timeout;
        match timeout(after, greet(channel, authorization, hello, outgoing)).await {
            Err(_) => Err(Ended::retry(Cause::Silent { after })),
            Ok(Err(ended)) => Err(classify::unwelcome(ended, self.settings.server.is_encrypted())),
            Ok(Ok((welcome, messages))) => {
                incoming.send(welcome).await.map_err(|_| Ended::retry(Cause::Closed))?;
                Ok(messages)
            }
        }
    }
}

impl<C: Connect> Link for StreamLink<C> {
    async fn run(
        &mut self,
        hello: Hello,
        outgoing: mpsc::Receiver<Outgoing>,
        incoming: mpsc::Sender<Incoming>,
    ) -> Ended {
        let span = info_span!(target: "piculet::trace", "connect", "server.address" = %self.settings.server);
        match self.open(hello, outgoing, &incoming).instrument(span).await {
            Ok(messages) => listen(messages, incoming).await,
            Err(ended) => ended,
        }
    }
}

/// Says hello. The answer is the server's welcome, and what it says after that.
async fn greet(
    channel: Channel,
    authorization: Option<AsciiMetadataValue>,
    hello: Hello,
    outgoing: mpsc::Receiver<Outgoing>,
) -> Result<(Incoming, Streaming<v1::ServerMessage>), Ended> {
    // The hello is queued before the call is awaited: some servers send no headers before they have read it.
    let said = stream::iter([wire::agent::hello(hello)]).chain(ReceiverStream::new(outgoing).map(wire::agent::encode));
    let mut request = Request::new(said);
    if let Some(authorization) = authorization {
        request.metadata_mut().insert("authorization", authorization);
    }
    let mut client = AgentServiceClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let mut messages = client.connect(request).await.map_err(|status| classify(&status))?.into_inner();
    let first = match messages.message().await {
        Ok(Some(first)) => first,
        Ok(None) => return Err(Ended::retry(Cause::Closed)),
        Err(status) => return Err(classify(&status)),
    };
    // Before anything else is read: another protocol may mean anything by the other fields.
    if let Some(Message::Welcome(v1::Welcome { protocol, .. })) = first.message
        && protocol != PROTOCOL
    {
        let reason = format!("the server speaks version {protocol}");
        return Err(Ended { cause: Cause::Protocol { agent: PROTOCOL, reason }, verdict: Verdict::Fatal });
    }
    match wire::server::decode(first).map_err(fault)? {
        Some(welcome @ Incoming::Welcome(_)) => Ok((welcome, messages)),
        _ => Err(Ended::retry(Cause::Fault { reason: "Its first message is no welcome.".to_owned() })),
    }
}

/// Hands on what the server says, until the end.
async fn listen(mut messages: Streaming<v1::ServerMessage>, incoming: mpsc::Sender<Incoming>) -> Ended {
    loop {
        let message = match messages.message().await {
            Ok(Some(message)) => message,
            Ok(None) => return Ended::retry(Cause::Closed),
            Err(status) => return classify(&status),
        };
        match wire::server::decode(message) {
            Ok(Some(message)) => {
                if incoming.send(message).await.is_err() {
                    return Ended::retry(Cause::Closed);
                }
            }
            Ok(None) => warn!("the server said something that this version of piculet does not know; it is skipped"),
            Err(error) => return fault(error),
        }
    }
}

fn fault(error: Fault) -> Ended {
    Ended::retry(Cause::Fault { reason: error.to_string() })
}
