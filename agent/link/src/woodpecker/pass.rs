//! The access token: what the agent's own token is exchanged for, and exchanged again before it ends or when the server
//! doesn't accept it any more, as after a restart.

use std::time::Duration;

use piculet_core::retry::{Backoff, Growth};
use piculet_proto::woodpecker as pb;
use piculet_proto::woodpecker::woodpecker_auth_client::WoodpeckerAuthClient;
use tokio::sync::{Mutex, watch};
use tokio::time::{sleep, timeout};
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tracing::debug;

use super::answer::{Trouble, unauthenticated};
use crate::link::{Cause, Ended};
use crate::stream::Token;

/// How long the server may take to say who the agent is.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often the server is asked again that doesn't accept the agent: it has one word for a wrong token and for a
/// database that is busy.
const TRIES: u32 = 4;

/// The pauses between.
const PAUSES: Growth = Growth { initial: Duration::from_millis(200), factor: 3.0, cap: Duration::from_secs(5) };

/// Words with which the server says that it has no agent of this number, or none that anybody may be.
const UNKNOWN_NUMBER: &[&str] = &["AgentID not found", "not a system agent"];

/// The way to access tokens, and the one that is used now.
#[derive(Debug)]
pub(super) struct Pass {
    client: WoodpeckerAuthClient<Channel>,
    agent_token: Token,
    agent_id: i64,
    token: watch::Sender<AsciiMetadataValue>,
    /// Held while a new one is asked for: who else finds the old one refused waits for the new one.
    renewing: Mutex<()>,
}

impl Pass {
    /// Shows the agent's token. `agent_id` is that of an earlier registration; -1: none.
    pub(super) async fn get(
        client: WoodpeckerAuthClient<Channel>,
        agent_token: Token,
        agent_id: i64,
    ) -> Result<Self, NoPass> {
        let answer = authenticate(&client, &agent_token, agent_id).await?;
        let token = watch::Sender::new(header(&answer.access_token)?);
        // From now on the server's own number: with -1 every token would be another agent's.
        Ok(Self { client, agent_token, agent_id: answer.agent_id, token, renewing: Mutex::default() })
    }

    /// The server's number of this agent.
    pub(super) fn agent_id(&self) -> i64 {
        self.agent_id
    }

    /// The token of the moment.
    pub(super) fn token(&self) -> AsciiMetadataValue {
        self.token.borrow().clone()
    }

    /// Gets another token instead of this one, unless somebody else did so already.
    pub(super) async fn renew(&self, refused: &AsciiMetadataValue) -> Result<(), Ended> {
        let _renewing = self.renewing.lock().await;
        if self.token() == *refused {
            debug!("asking for another access token");
            let answer = authenticate(&self.client, &self.agent_token, self.agent_id).await?;
            self.token.send_replace(header(&answer.access_token)?);
        }
        Ok(())
    }
}

/// Why there is no access token.
#[derive(Debug)]
pub(super) enum NoPass {
    /// The server has no agent of this number. Its words.
    UnknownNumber(String),
    /// Anything else.
    Ended(Ended),
}

impl From<Ended> for NoPass {
    fn from(ended: Ended) -> Self {
        Self::Ended(ended)
    }
}

impl From<NoPass> for Ended {
    fn from(no_pass: NoPass) -> Self {
        match no_pass {
            NoPass::UnknownNumber(words) => unauthenticated(&words),
            NoPass::Ended(ended) => ended,
        }
    }
}

async fn authenticate(
    client: &WoodpeckerAuthClient<Channel>,
    agent_token: &Token,
    agent_id: i64,
) -> Result<pb::AuthResponse, NoPass> {
    // Read anew each time: in a cluster files are rotated.
    let agent_token = agent_token.read().await?;
    let mut pauses = Backoff::new(PAUSES, agent_id.unsigned_abs());
    let mut tries = 0;
    loop {
        tries += 1;
        let request = pb::AuthRequest { agent_token: agent_token.expose().to_owned(), agent_id };
        let answer = timeout(PATIENCE, client.clone().auth(Request::new(request))).await;
        let status = match answer {
            Ok(Ok(answer)) => return Ok(answer.into_inner()),
            Ok(Err(status)) => status,
            Err(_) => Status::deadline_exceeded("there was no answer in time"),
        };
        if UNKNOWN_NUMBER.iter().any(|words| status.message().contains(words)) {
            return Err(NoPass::UnknownNumber(status.message().to_owned()));
        }
        match Trouble::of(&status) {
            Trouble::Ended(ended) => return Err(ended.into()),
            // Unlike other calls it is no part of a session that could go on without it.
            Trouble::Again(status) => {
                return Err(Ended::retry(Cause::Broken { reason: status.message().to_owned() }).into());
            }
            Trouble::Busy(_) | Trouble::Refused(_) if tries >= TRIES => return Err(refused(&status).into()),
            Trouble::Busy(_) | Trouble::Refused(_) => sleep(pauses.next()).await,
        }
    }
}

fn refused(status: &Status) -> Ended {
    if status.code() == Code::Unimplemented {
        let reason = format!("no Woodpecker server answers here ('{}')", status.message());
        return Ended::retry(Cause::Protocol { agent: pb::PROTOCOL.unsigned_abs(), reason });
    }
    unauthenticated(status.message())
}

fn header(token: &str) -> Result<AsciiMetadataValue, Ended> {
    let mut value = AsciiMetadataValue::try_from(token).map_err(|_| {
        let reason = "its access token has characters that no header can hold".to_owned();
        Ended::retry(Cause::Fault { reason })
    })?;
    value.set_sensitive(true);
    Ok(value)
}
