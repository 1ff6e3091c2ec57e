//! Access tokens, and what else the metadata of a call has to say. The real tokens are JWTs; to agents they are opaque, and
//! these are simpler: the agent's id, the time of issue, and a hash over both and the server's secret.

use std::fmt;

use sha2::{Digest, Sha256};

use super::refusal::Refusal;

/// For how long an access token is valid. Seconds.
pub const TOKEN_LIFE: i64 = 60 * 60;

/// Makes and checks access tokens.
pub struct Access {
    secret: String,
    is_fixed: bool,
    /// How often the secret was made anew.
    round: u64,
}

/// What the metadata of a call say.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Metadata {
    /// The access token.
    pub token: Option<String>,
    /// The name of the agent's host.
    pub hostname: Option<String>,
    /// The protocol that the agent speaks, as it came.
    pub proto_version: Option<String>,
}

// Tokens stay out of what a failing test prints.
impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metadata")
            .field("has_token", &self.token.is_some())
            .field("hostname", &self.hostname)
            .field("proto_version", &self.proto_version)
            .finish()
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("round", &self.round).finish_non_exhaustive()
    }
}

impl Access {
    /// With a fixed secret, or with one that is made of this seed at each start.
    pub(super) fn new(fixed: Option<&str>, seed: u64) -> Self {
        let secret = fixed.map_or_else(|| seed.to_string(), str::to_owned);
        Self { secret, is_fixed: fixed.is_some(), round: 0 }
    }

    /// A token for this agent. `now` is in unix seconds.
    pub fn issue(&self, agent: i64, now: i64) -> String {
        format!("{agent}.{now}.{}", self.seal(agent, now))
    }

    /// The server starts anew: unless its secret is a fixed one, all tokens become invalid.
    pub(super) fn restart(&mut self) {
        if !self.is_fixed {
            self.round += 1;
        }
    }

    /// All tokens become invalid.
    pub(super) fn invalidate(&mut self) {
        self.round += 1;
    }

    /// The agent that a token was issued for.
    fn verify(&self, token: &str, now: i64) -> Result<i64, Refusal> {
        let mut parts = token.split('.');
        let (Some(agent), Some(issued), Some(seal), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Refusal::BadToken("token is malformed"));
        };
        let (Ok(agent), Ok(issued)) = (agent.parse(), issued.parse()) else {
            return Err(Refusal::BadToken("token is malformed"));
        };
        if self.seal(agent, issued) != seal {
            return Err(Refusal::BadToken("signature is invalid"));
        }
        if now < issued {
            return Err(Refusal::BadToken("token is not valid yet"));
        }
        if now >= issued + TOKEN_LIFE {
            return Err(Refusal::BadToken("token is expired"));
        }
        Ok(agent)
    }

    fn seal(&self, agent: i64, issued: i64) -> String {
        let hash = Sha256::digest(format!("{}|{}|{agent}|{issued}", self.secret, self.round));
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Who calls, by the rules for every method but `Auth`: the token first, then the protocol.
    ///
    /// # Errors
    /// If the token is missing or wrong, or the protocol is given and is another one.
    pub fn authorize(&self, metadata: &Metadata, protocol: i32, now: i64) -> Result<i64, Refusal> {
        let agent = self.verify(metadata.token.as_deref().ok_or(Refusal::NoToken)?, now)?;
        if let Some(text) = &metadata.proto_version {
            let spoken: i32 = text.parse().map_err(|_| Refusal::NoVersion(text.clone()))?;
            if spoken != protocol {
                return Err(Refusal::OtherVersion { agent: spoken, server: protocol });
            }
        }
        Ok(agent)
    }
}

#[cfg(test)]
mod tests;
