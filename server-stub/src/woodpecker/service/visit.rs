//! One call, from its first byte to its answer.

use std::future::pending;

use prost::Message;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use super::Recorded;
use crate::woodpecker::MAX_MESSAGE_BYTES;
use crate::woodpecker::access::Metadata;
use crate::woodpecker::faults::Loss;
use crate::woodpecker::journal::{Answer, Call, Method, Said};
use crate::woodpecker::line::Breaker;
use crate::woodpecker::refusal::Refusal;
use crate::woodpecker::server::Server;

/// A call that is under way. Dropped without an answer, it was abandoned.
pub(super) struct Visit {
    server: Server,
    number: usize,
    method: Method,
    agent: i64,
    metadata: Metadata,
    connection: CancellationToken,
    is_over: bool,
}

impl Visit {
    /// Writes a call down, lets it go wrong if that is wanted, and finds out who calls.
    pub(super) async fn begin<R: Message>(
        server: &Server,
        request: Request<R>,
        said: impl FnOnce(&R) -> Said,
    ) -> Result<(Self, R), Status> {
        let metadata = read(request.metadata());
        let connection = request.extensions().get::<Breaker>().map(|breaker| breaker.0.clone()).unwrap_or_default();
        let message = request.into_inner();
        let said = said(&message);
        let method = said.method();
        let (number, delay, refusal) = server.change(|state, now| {
            let answer = Answer::Pending;
            let number = state.journal.begin(Call { at: now, agent: None, metadata: metadata.clone(), said, answer });
            (number, state.faults.delay_of(method), state.faults.take_refusal(method))
        });
        let server = server.clone();
        let mut visit = Self { server, number, method, agent: 0, metadata, connection, is_over: false };
        if let Some(delay) = delay {
            tokio::time::sleep(delay).await;
        }
        if let Some(status) = refusal {
            visit.record(Answer::from(&status));
            return Err(status);
        }
        let length = message.encoded_len();
        let caller = if length > MAX_MESSAGE_BYTES {
            Err(Refusal::TooLarge(length))
        } else if method == Method::Auth {
            return Ok((visit, message));
        } else {
            visit.server.change(|state, now| {
                let model = &state.model;
                model.access.authorize(&visit.metadata, model.protocol, now.time.as_second())
            })
        };
        match caller {
            Ok(agent) => {
                visit.agent = agent;
                visit.identify(agent);
                Ok((visit, message))
            }
            Err(refusal) => {
                let status = Status::from(refusal);
                visit.record(Answer::from(&status));
                Err(status)
            }
        }
    }

    /// Who calls; nobody, for `Auth`.
    pub(super) fn agent(&self) -> i64 {
        self.agent
    }

    /// What the agent's host says that its name is.
    pub(super) fn hostname(&self) -> Option<String> {
        self.metadata.hostname.clone()
    }

    /// It was found out who calls.
    pub(super) fn identify(&self, agent: i64) {
        self.server.change(|state, _| state.journal.identify(self.number, agent));
    }

    /// The call is done: its answer goes out, unless it is to be lost.
    pub(super) async fn end<T: Recorded>(mut self, result: Result<T, Refusal>) -> Result<Response<T>, Status> {
        match self.server.change(|state, _| state.faults.take_loss(self.method)) {
            Some(Loss::Status(status)) => self.lose(status),
            Some(Loss::Break) => {
                self.record(Answer::Lost);
                self.connection.cancel();
                pending().await
            }
            None => {
                let result = result.map_err(Status::from);
                self.record(match &result {
                    Ok(answer) => answer.recorded(),
                    Err(status) => Answer::from(status),
                });
                result.map(Response::new)
            }
        }
    }

    /// The call ends with this status instead of its answer.
    pub(super) fn lose<T>(mut self, status: Status) -> Result<Response<T>, Status> {
        self.record(Answer::Lost);
        Err(status)
    }

    /// The server has gone while the call was under way. Nobody will read this.
    pub(super) fn gone(self) -> Status {
        drop(self);
        Status::unavailable("the server has gone")
    }

    fn record(&mut self, answer: Answer) {
        self.is_over = true;
        self.server.change(|state, _| state.journal.end(self.number, answer));
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if !self.is_over {
            self.record(Answer::Abandoned);
        }
    }
}

fn read(metadata: &MetadataMap) -> Metadata {
    let text = |key: &str| Some(String::from_utf8_lossy(metadata.get(key)?.as_bytes()).into_owned());
    Metadata { token: text("token"), hostname: text("hostname"), proto_version: text("proto-version") }
}
