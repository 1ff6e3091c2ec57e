//! The access token: what the agent's own token is exchanged for, and exchanged again before it ends or when the server
//! doesn't accept it any more, as after a restart.

use std::time::Duration;

use piculet_core::secret::Secret;
use piculet_proto::woodpecker as pb;
use piculet_proto::woodpecker::woodpecker_auth_client::WoodpeckerAuthClient;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tracing::debug;

use super::answer::{Trouble, unauthenticated};
use crate::link::{Cause, Ended};

/// How long the server may take to say who the agent is.
const PATIENCE: Duration = Duration::from_secs(20);

/// The way to access tokens, and the one that is used now.
#[derive(Debug)]
pub(super) struct Pass {
    client: WoodpeckerAuthClient<Channel>,
    agent_token: Secret,
    agent_id: i64,
    /// Held while a new one is asked for: who else finds the old one refused waits for the new one.
    token: Mutex<AsciiMetadataValue>,
}

impl Pass {
    /// Shows the agent's token. `agent_id` is that of an earlier registration; -1: none.
    pub(super) async fn get(
        client: WoodpeckerAuthClient<Channel>,
        agent_token: Secret,
        agent_id: i64,
    ) -> Result<Self, Trouble> {
        let answer = authenticate(&client, &agent_token, agent_id).await?;
        let token = Mutex::new(header(&answer.access_token)?);
        // From now on the server's own number: with -1 every token would be another agent's.
        Ok(Self { client, agent_token, agent_id: answer.agent_id, token })
    }

    /// The server's number of this agent.
    pub(super) fn agent_id(&self) -> i64 {
        self.agent_id
    }

    pub(super) async fn token(&self) -> AsciiMetadataValue {
        self.token.lock().await.clone()
    }

    /// Gets another token instead of this one, unless somebody else did so already.
    pub(super) async fn renew(&self, refused: &AsciiMetadataValue) -> Result<(), Trouble> {
        let mut token = self.token.lock().await;
        if *token == *refused {
            debug!("asking for another access token");
            let answer = authenticate(&self.client, &self.agent_token, self.agent_id).await?;
            *token = header(&answer.access_token)?;
        }
        Ok(())
    }
}

async fn authenticate(
    client: &WoodpeckerAuthClient<Channel>,
    agent_token: &Secret,
    agent_id: i64,
) -> Result<pb::AuthResponse, Trouble> {
    let request = pb::AuthRequest { agent_token: agent_token.expose().to_owned(), agent_id };
    let answer = timeout(PATIENCE, client.clone().auth(Request::new(request))).await;
    let status = match answer {
        Ok(Ok(answer)) => return Ok(answer.into_inner()),
        Ok(Err(status)) => status,
        Err(_) => Status::deadline_exceeded("there was no answer in time"),
    };
    Err(match Trouble::of(&status) {
        Trouble::Refused(_) if status.code() == Code::Unimplemented => Trouble::Ended(Ended::retry(Cause::Protocol {
            agent: pb::PROTOCOL.unsigned_abs(),
            reason: format!("no Woodpecker server answers here ('{}')", status.message()),
        })),
        Trouble::Refused(_) => Trouble::Ended(unauthenticated(status.message())),
        // Unlike other calls it is no part of a session that could go on without it.
        Trouble::Again(status) | Trouble::Busy(status) => {
            Trouble::Ended(Ended::retry(Cause::Broken { reason: status.message().to_owned() }))
        }
        ended @ Trouble::Ended(_) => ended,
    })
}

fn header(token: &str) -> Result<AsciiMetadataValue, Trouble> {
    let mut value = AsciiMetadataValue::try_from(token).map_err(|_| {
        let reason = "its access token has characters that no header can hold".to_owned();
        Trouble::Ended(Ended::retry(Cause::Fault { reason }))
    })?;
    value.set_sensitive(true);
    Ok(value)
}
