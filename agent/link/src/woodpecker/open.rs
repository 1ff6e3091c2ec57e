//! The beginning of a session: who the agent is, whether both speak the same protocol, and what the agent can do.

use piculet_core::retry::Verdict;
use piculet_proto::woodpecker as pb;
use piculet_proto::woodpecker::woodpecker_auth_client::WoodpeckerAuthClient;
use piculet_proto::woodpecker::woodpecker_client::WoodpeckerClient;
use tracing::{info, warn};

use super::answer::unauthenticated;
use super::calls::{Calls, Failed};
use super::id_file::{self, NOBODY};
use super::pass::{NoPass, Pass};
use super::{WoodpeckerLink, transport};
use crate::link::{Cause, Ended};
use crate::message::{Hello, Identity};
use crate::stream::Connect;

/// What a workflow may weigh: a server sends what it has, and gRPC's usual 4 MiB would leave a larger one stuck in its
/// queue for ever.
const MAX_MESSAGE_BYTES: usize = 64 * 1024 * 1024;

/// The backend, as servers and labels name it.
const BACKEND: &str = "kubernetes";

impl<C: Connect> WoodpeckerLink<C> {
    /// Dials and registers.
    pub(super) async fn open(&mut self, hello: &Hello) -> Result<Calls, Ended> {
        let Some(token) = self.settings.token.clone() else {
            return Err(unauthenticated("the agent has no token"));
        };
        let channel = transport::connect(&self.settings.transport, &self.connect).await?;
        let known = self.agent_id.unwrap_or_else(|| self.settings.id_file.as_deref().map_or(NOBODY, id_file::read));
        let auth = WoodpeckerAuthClient::new(channel.clone());
        let pass = match Pass::get(auth.clone(), token.clone(), known).await {
            // Its workflows are nobody's then. What the server takes of them it takes from the new one.
            Err(NoPass::UnknownNumber(reason)) if known != NOBODY => {
                warn!(agent_id = known, reason, "the server does not know this agent's number; it gets a new one");
                Pass::get(auth, token, NOBODY).await?
            }
            pass => pass?,
        };
        // Before anything else can go wrong: an agent that never gets further must not be a new one each time.
        self.keep(pass.agent_id());
        let client = WoodpeckerClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let (hostname, budget) = (&self.settings.hostname, self.settings.retry_timeout);
        let calls = Calls::new(client, pass.into(), hostname, budget, self.settings.seed);
        let version = calls.version().await.map_err(|failed| self.not_open("Version", failed))?;
        if version.grpc_version != pb::PROTOCOL {
            let reason = format!(
                "the server, Woodpecker '{}', speaks version {}; v3.14 and those after it are known to fit",
                version.server_version, version.grpc_version
            );
            let agent = pb::PROTOCOL.unsigned_abs();
            return Err(Ended { cause: Cause::Protocol { agent, reason }, verdict: Verdict::Fatal });
        }
        let agent_id = calls
            .register(self.info(&hello.identity))
            .await
            .map_err(|failed| self.not_open("RegisterAgent", failed))?;
        self.keep(agent_id);
        info!(agent_id, server_version = version.server_version, "registered with the Woodpecker server");
        Ok(calls)
    }

    /// What `Next` asks for: the usual labels, and the operator's over them.
    pub(super) fn filter(&self, identity: &Identity) -> pb::Filter {
        let usual = [
            ("hostname", self.settings.hostname.as_str()),
            ("platform", self.settings.platform.as_str()),
            ("backend", BACKEND),
            ("repo", "*"),
        ];
        let usual = usual.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let own = identity.labels.iter().map(|(name, value)| (name.clone(), value.clone()));
        pb::Filter { labels: usual.into_iter().chain(own).collect() }
    }

    fn info(&self, identity: &Identity) -> pb::AgentInfo {
        pb::AgentInfo {
            platform: self.settings.platform.clone(),
            capacity: i32::try_from(identity.capacity).unwrap_or(i32::MAX),
            backend: BACKEND.to_owned(),
            version: identity.version.clone(),
            custom_labels: identity.labels.clone().into_iter().collect(),
        }
    }

    /// Keeps the server's number of this agent.
    fn keep(&mut self, agent_id: i64) {
        if self.agent_id == Some(agent_id) {
            return;
        }
        self.agent_id = Some(agent_id);
        if let Some(path) = &self.settings.id_file {
            let written = id_file::write(path, agent_id);
            self.is_stateless = written.is_err();
            if let Err(error) = written {
                warn!(path = %path.display(), %error, "the server's number of this agent can't be kept; it takes leave when it ends");
            }
        }
    }

    fn not_open(&self, call: &str, failed: Failed) -> Ended {
        match failed {
            Failed::Ended(ended) => ended,
            Failed::Refused(refusal) => Ended::retry(Cause::Refused {
                status: format!("an error of {call} at {}", self.settings.transport.server),
                reason: refusal.to_string(),
            }),
        }
    }
}
