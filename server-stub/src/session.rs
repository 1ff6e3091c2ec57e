//! The gRPC service: a call becomes a session of the dispatcher.
//!
//! One task reads the agent's messages; what is said to the agent is pulled from its mailbox when the connection has
//! room. So an agent that doesn't read holds up nobody, and no queue grows.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, stream};
use piculet_link::wire::agent::decode;
use piculet_link::wire::server as wire;
use piculet_proto::v1 as pb;
use piculet_proto::v1::agent_service_server::{AgentService, AgentServiceServer};
use piculet_proto::v1::server_message::Message;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::dispatch::{Admission, Post, SessionId};
use crate::hello;
use crate::serve::Peer;
use crate::server::Server;
use crate::token::{TokenError, bearer, is_same};

/// How long a call may be open without a `Hello`.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// How many messages are taken out of a mailbox at once. They wait together for what they tell to be stored.
const MESSAGES_AT_ONCE: usize = 32;
/// With so many bytes of log lines that are not stored yet nothing more is read from agents.
const UNSTORED_LOG_BYTES: u64 = 16 * 1024 * 1024;

/// The stream's service.
#[derive(Debug)]
pub struct Sessions {
    server: Server,
}

type Outgoing = Pin<Box<dyn Stream<Item = Result<pb::ServerMessage, Status>> + Send>>;

/// A session. Dropping it ends it: whoever drops it, the agent hears no more.
struct Opened {
    server: Server,
    id: SessionId,
    waker: Arc<Notify>,
    /// To be said next.
    ready: VecDeque<Post>,
    /// The version of the server's state that has to be stored before that.
    until: u64,
    /// The agent has heard something: its welcome at least.
    is_welcomed: bool,
    /// Cancelled at the end: what the agent still says would bring answers that nobody can give it.
    gone: CancellationToken,
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.gone.cancel();
        self.server.detach(self.id);
    }
}

impl Server {
    /// The gRPC service that agents connect to.
    pub fn agent_service(&self) -> AgentServiceServer<Sessions> {
        AgentServiceServer::new(Sessions { server: self.clone() })
            .max_decoding_message_size(pb::MAX_MESSAGE_BYTES)
            .max_encoding_message_size(pb::MAX_MESSAGE_BYTES)
    }
}

#[tonic::async_trait]
impl AgentService for Sessions {
    type ConnectStream = Outgoing;

    async fn connect(&self, request: Request<Streaming<pb::AgentMessage>>) -> Result<Response<Outgoing>, Status> {
        let server = self.server.clone();
        let (refusal, delays_headers) = server.change(|state, _| (state.script.refusal(), state.script.delays_headers));
        if let Some(status) = refusal {
            return Err(status);
        }
        let admission = authorize(&server, &request)?;
        if server.going().is_cancelled() {
            return Err(Status::unavailable("the server is shutting down"));
        }
        let (opened, mut open) = oneshot::channel();
        let reader = server.clone();
        let peer = request.extensions().get::<Peer>().map_or_else(|| "memory".to_owned(), Peer::to_string);
        server.tasks().spawn(async move { listen(reader, admission, peer, request.into_inner(), opened).await });
        let first = if delays_headers {
            Talk::Answering((&mut open).await.unwrap_or_else(|_| Err(Status::unavailable("the call ended"))))
        } else {
            Talk::Opening(open)
        };
        Ok(Response::new(Box::pin(stream::unfold(first, Talk::next))))
    }
}

/// Lets an agent in by the token for all clusters, or by one of a single cluster.
fn authorize<T>(server: &Server, request: &Request<T>) -> Result<Admission, Status> {
    let header = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
    let refusal = |problem: TokenError| Status::unauthenticated(problem.to_string());
    let for_all = server.config().agent_token.as_ref();
    server.look(|dispatcher| {
        if for_all.is_none() && !server.config().requires_token && dispatcher.tokens().next().is_none() {
            return Ok(Admission::Free);
        }
        let given = bearer(header).map_err(refusal)?;
        if for_all.is_some_and(|token| is_same(given.as_bytes(), token.expose().as_bytes())) {
            return Ok(Admission::AllClusters);
        }
        let token = dispatcher.token(given).ok_or_else(|| refusal(TokenError::Wrong))?;
        if token.revoked.is_some() {
            return Err(refusal(TokenError::Revoked));
        }
        Ok(Admission::Cluster { cluster: token.cluster.clone(), token: token.id.clone() })
    })
}

/// Reads a call from its first message to its end.
async fn listen(
    server: Server,
    admission: Admission,
    peer: String,
    mut inbound: Streaming<pb::AgentMessage>,
    opened: oneshot::Sender<Result<Opened, Status>>,
) {
    let first = tokio::select! {
        biased;
        () = server.going().cancelled() => Err(Status::unavailable("the server is shutting down")),
        first = tokio::time::timeout(HELLO_TIMEOUT, inbound.message()) => match first {
            Ok(message) => message,
            Err(_) => Err(Status::deadline_exceeded(format!("no Hello came within {} s", HELLO_TIMEOUT.as_secs()))),
        },
    };
    let hello = match first.and_then(hello::read) {
        Ok(hello) => hello,
        Err(status) => return refuse(&peer, opened, status),
    };
    let (name, instance) = (hello.identity.name.clone(), hello.identity.instance.to_string());
    let session = server.change(|state, now| {
        let id = state.dispatcher.open(hello.clone(), admission, now)?;
        state.script.session_opened(id, hello);
        Ok((id, Server::attach(state, id)))
    });
    let (id, waker) = match session {
        Ok(session) => session,
        Err(status) => return refuse(&peer, opened, status),
    };
    tracing::info!(agent = name, instance, peer, session = id.0, "session opened");
    let gone = CancellationToken::new();
    let session = Opened {
        server: server.clone(),
        id,
        waker,
        ready: VecDeque::new(),
        until: 0,
        is_welcomed: false,
        gone: gone.clone(),
    };
    if opened.send(Ok(session)).is_err() {
        return;
    }
    let reason = tokio::select! {
        biased;
        () = gone.cancelled() => "the call is over".to_owned(),
        reason = read_messages(&server, id, &mut inbound) => reason,
    };
    tracing::info!(agent = name, instance, session = id.0, reason, "session ended");
}

fn refuse(peer: &str, opened: oneshot::Sender<Result<Opened, Status>>, status: Status) {
    tracing::info!(peer, code = ?status.code(), reason = status.message(), "refused a call");
    // Nobody listens if the agent is gone already.
    opened.send(Err(status)).ok();
}

/// Hands each message to the dispatcher; returns why there are no more.
async fn read_messages(server: &Server, id: SessionId, inbound: &mut Streaming<pb::AgentMessage>) -> String {
    let end = |status| server.change(|state, now| state.dispatcher.end_session(id, status, now));
    loop {
        let message = match inbound.message().await {
            Ok(Some(message)) => message,
            Ok(None) => {
                end(None);
                return "the agent ended the call".to_owned();
            }
            Err(status) => {
                end(None);
                return format!("the connection broke: {}", status.message());
            }
        };
        let said = match decode(message) {
            Ok(Some(said)) => said,
            Ok(None) => {
                tracing::warn!(
                    session = id.0,
                    "the agent said something that this version does not know; it is skipped"
                );
                continue;
            }
            Err(fault) => {
                end(Some(Status::invalid_argument(fault.to_string())));
                return fault.to_string();
            }
        };
        let heard = server.change(|state, now| {
            let copy = state.script.records().then(|| said.clone());
            let effect = state.dispatcher.hear(id, said, now)?;
            if let Some(said) = copy {
                state.script.heard(id, said, effect);
            }
            Ok::<_, Status>(())
        });
        if let Err(status) = heard {
            return status.message().to_owned();
        }
        if server.look(|dispatcher| dispatcher.unsaved_log_bytes()) > UNSTORED_LOG_BYTES {
            // It may say that it lives as often as it likes: nobody listens.
            server.change(|state, now| state.dispatcher.set_listening(id, false, now));
            server.settled().await;
            server.change(|state, now| state.dispatcher.set_listening(id, true, now));
        }
    }
}

/// What a call says, step by step.
enum Talk {
    /// `Hello` has not been read yet.
    Opening(oneshot::Receiver<Result<Opened, Status>>),
    /// It has, and nothing was said yet.
    Answering(Result<Opened, Status>),
    /// The session is open.
    Open(Opened),
    /// All was said.
    Over,
}

type Said = Result<pb::ServerMessage, Status>;

impl Talk {
    async fn next(self) -> Option<(Said, Self)> {
        let opened = match self {
            Self::Opening(open) => open.await.unwrap_or_else(|_| Err(Status::unavailable("the call ended"))),
            Self::Answering(opened) => opened,
            Self::Open(session) => return session.next().await,
            Self::Over => return None,
        };
        match opened {
            Ok(session) => session.next().await,
            Err(status) => Some((Err(status), Self::Over)),
        }
    }
}

impl Opened {
    async fn next(mut self) -> Option<(Said, Talk)> {
        loop {
            if self.ready.is_empty() {
                self.fetch();
            }
            if let Some(ping) = self.stored().await {
                return Some((Ok(ping), Talk::Open(self)));
            }
            match self.ready.pop_front() {
                Some(Post::Message(message)) => {
                    self.is_welcomed = true;
                    return Some((Ok(*message), Talk::Open(self)));
                }
                Some(Post::End(Some(status))) => return Some((Err(status), Talk::Over)),
                Some(Post::End(None)) => return None,
                Some(Post::Nothing) | None => self.waker.notified().await,
            }
        }
    }

    /// Takes what there is to say out of the mailbox.
    fn fetch(&mut self) {
        let Self { server, id, ready, .. } = self;
        server.change(|state, _| {
            while ready.len() < MESSAGES_AT_ONCE {
                let post = state.dispatcher.post(*id);
                let is_last = !matches!(post, Post::Message(_));
                ready.push_back(post);
                if is_last {
                    break;
                }
            }
        });
        self.until = if ready.iter().any(tells_something) { server.version() } else { 0 };
    }

    /// Waits until all that is said next is stored. As long as that takes the agent is told that the server lives, which
    /// depends on no disk.
    async fn stored(&self) -> Option<pb::ServerMessage> {
        tokio::select! {
            biased;
            () = self.server.stored(self.until) => None,
            () = self.server.later(self.server.config().timing.heartbeat), if self.is_welcomed => Some(wire::ping()),
        }
    }
}

fn tells_something(post: &Post) -> bool {
    match post {
        Post::Message(message) => !matches!(message.message, Some(Message::Ping(_))),
        Post::End(_) => true,
        Post::Nothing => false,
    }
}
