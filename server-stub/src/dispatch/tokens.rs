//! Tokens by which the agents of one cluster are let in.

use jiff::Timestamp;
use piculet_core::secret::Secret;
use tonic::Status;

use super::Dispatcher;
use crate::clock::Now;
use crate::record::TokenRecord;
use crate::token::digest;

/// A token that was just made.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// Names it; no secret.
    pub id: String,
    /// The token itself. Nobody is told it again.
    pub token: Secret,
}

/// There is no token of that id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no token '{0}'")]
pub struct NoSuchToken(pub String);

impl Dispatcher {
    /// All tokens, also those that were revoked, by id.
    pub fn tokens(&self) -> impl Iterator<Item = &TokenRecord> {
        self.tokens.values()
    }

    /// Lets the agents of a cluster in that have this token.
    pub fn add_token(&mut self, new: &NewToken, cluster: String, note: String, now: Now) {
        let record = TokenRecord {
            id: new.id.clone(),
            cluster,
            note,
            hash: digest(new.token.expose()),
            created: now.time,
            revoked: None,
        };
        self.unsaved.tokens.insert(record.id.clone());
        self.tokens.insert(record.id.clone(), record);
    }

    /// Lets nobody in with this token any more: sessions that were opened with it end. Their agents keep what runs; it
    /// is theirs again when they come back with another token.
    ///
    /// # Errors
    /// If there is no such token.
    pub fn revoke_token(&mut self, id: &str, now: Now) -> Result<Timestamp, NoSuchToken> {
        let token = self.tokens.get_mut(id).ok_or_else(|| NoSuchToken(id.to_owned()))?;
        let revoked = *token.revoked.get_or_insert(now.time);
        self.unsaved.tokens.insert(id.to_owned());
        for instance in self.came_with(id) {
            if let Some(session) = self.agents.get(&instance).and_then(|agent| agent.session) {
                self.end_session(session, Some(Status::unauthenticated("the token was revoked")), now);
            }
        }
        Ok(revoked)
    }

    /// The token with this text; it may have been revoked.
    pub fn token(&self, text: &str) -> Option<&TokenRecord> {
        // Who can tell from the time that this takes how much of a digest is right has learned nothing of the token.
        let hash = digest(text);
        self.tokens.values().find(|token| token.hash == hash)
    }
}
