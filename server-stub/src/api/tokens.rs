//! Tokens of agents: make, list, revoke.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use piculet_core::secret::Secret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::{ApiError, Refused};
use super::schema::TokenName;
use super::workflows::{Body, read};
use crate::record::TokenRecord;
use crate::server::Server;

/// The longest name of a cluster, and the longest note, in bytes.
const MAX_TEXT: usize = 253;

/// What a new token is for.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// The name of the cluster whose agents will have it, as this server shall know it.
    pub cluster: String,
    /// For people.
    #[serde(default)]
    pub note: String,
}

/// A token that was just made.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct CreatedToken {
    /// The token itself: what an agent has as `server.token`. Nobody is told it again.
    #[schema(value_type = String)]
    pub token: Secret,
    /// What stays known of it.
    #[serde(flatten)]
    pub view: TokenView,
}

/// What is known of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenView {
    /// Names it; no secret.
    pub id: String,
    /// The cluster whose agents have it.
    pub cluster: String,
    /// For people.
    pub note: String,
    /// When it was made.
    pub created: Timestamp,
    /// When it was revoked; `None` if it lets agents in.
    pub revoked: Option<Timestamp>,
}

/// All tokens.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct TokenList {
    /// The oldest first.
    pub tokens: Vec<TokenView>,
}

impl From<&TokenRecord> for TokenView {
    fn from(record: &TokenRecord) -> Self {
        let TokenRecord { id, cluster, note, hash: _, created, revoked } = record.clone();
        Self { id, cluster, note, created, revoked }
    }
}

/// Lists the tokens of agents, without the tokens themselves.
#[utoipa::path(
    get, path = "/api/tokens", tag = "tokens",
    responses((status = 200, description = "Also those that were revoked", body = TokenList), Refused),
)]
pub(super) async fn list(State(server): State<Server>) -> Result<Json<TokenList>, ApiError> {
    let mut tokens: Vec<TokenView> = server.look(|dispatcher| dispatcher.tokens().map(TokenView::from).collect());
    tokens.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
    super::in_time(super::Asked::Look, server.settled_for_operators()).await?;
    Ok(Json(TokenList { tokens }))
}

/// Makes a token for the agents of a cluster.
#[utoipa::path(
    post, path = "/api/tokens", tag = "tokens", request_body = TokenRequest,
    responses((status = 201, description = "It is told this once", body = CreatedToken), Refused),
)]
pub(super) async fn create(
    State(server): State<Server>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<CreatedToken>), ApiError> {
    let TokenRequest { cluster, note } = read(&headers, body)?;
    let is_name = !cluster.is_empty() && cluster.trim() == cluster && !cluster.contains(char::is_control);
    if !is_name || cluster.len() > MAX_TEXT || note.len() > MAX_TEXT {
        let message = format!(
            "'cluster' has to be a name of 1 to {MAX_TEXT} bytes without white space around it, and 'note' may have as many"
        );
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "token-invalid", message));
    }
    let new = server.create_token(cluster, note);
    super::stored(&server).await?;
    Ok((StatusCode::CREATED, Json(CreatedToken { token: new.token, view: view(&server, &new.id)? })))
}

/// Lets nobody in with a token any more.
#[utoipa::path(
    post, path = "/api/tokens/{token}/revoke", tag = "tokens", params(TokenName),
    responses((status = 200, description = "It is revoked", body = TokenView), Refused),
)]
pub(super) async fn revoke(State(server): State<Server>, Path(id): Path<String>) -> Result<Json<TokenView>, ApiError> {
    server.revoke_token(&id)?;
    super::stored(&server).await?;
    Ok(Json(view(&server, &id)?))
}

fn view(server: &Server, id: &str) -> Result<TokenView, ApiError> {
    let view = server.look(|dispatcher| dispatcher.tokens().find(|token| token.id == id).map(TokenView::from));
    view.ok_or_else(|| crate::dispatch::NoSuchToken(id.to_owned()).into())
}
