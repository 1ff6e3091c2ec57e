//! The description of the API (OpenAPI 3.1), made from the very types and calls.

use axum::Json;
use axum::extract::State;
use piculet_core::outcome::StepState;
use piculet_core::workload::StepKind;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{OpenApi as Document, SecurityRequirement};
use utoipa::{IntoParams, Modify, OpenApi};

use super::error::ErrorView;
use super::events::StandingView;
use super::logs::{AnewView, EndView, LineView};
use crate::server::Server;

/// What stands above the calls.
#[derive(Debug, OpenApi)]
#[openapi(
    info(
        title = "piculet-server",
        description = "Workflows, their logs and the agents that run them. An error is an `ErrorView`, whatever its status.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(StandingView, AnewView, LineView, EndView, ErrorView)),
    modifiers(&Token),
    tags(
        (name = "workflows", description = "Submit, list, show, stop"),
        (name = "logs", description = "What steps print"),
        (name = "events", description = "What happens, as it happens"),
        (name = "agents", description = "Who runs workflows"),
        (name = "clusters", description = "Where they run"),
        (name = "tokens", description = "Who is let in as an agent"),
        (name = "description", description = "This document"),
    ),
)]
pub(super) struct Head;

/// The token that the API may ask for.
struct Token;

impl Modify for Token {
    fn modify(&self, document: &mut Document) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("Needed if the server was started with `--api-token-file`."))
            .build();
        let components = document.components.get_or_insert_default();
        components.security_schemes.insert("token".to_owned(), SecurityScheme::Http(scheme).into());
        let none = SecurityRequirement::default();
        document.security = Some(vec![none, SecurityRequirement::new("token", [""; 0])]);
    }
}

/// Names a workflow.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it only describes")]
pub(super) struct WorkflowName {
    /// Its number, its id, a beginning of its id that no other shares, or its name (of several the newest).
    workflow: String,
}

/// Names a step.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it only describes")]
pub(super) struct StepName {
    /// The workflow: its number, its id, a beginning of its id that no other shares, or its name.
    workflow: String,
    /// The step's id or name.
    step: String,
}

/// Names a cluster.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it only describes")]
pub(super) struct ClusterName {
    /// The name of the cluster.
    cluster: String,
}

/// Names a token.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it only describes")]
pub(super) struct TokenName {
    /// The id of the token.
    token: String,
}

/// Names agents.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it only describes")]
pub(super) struct AgentName {
    /// A name, an id, or the identity of a process: all agents that have it.
    agent: String,
}

/// This description of the API.
#[utoipa::path(
    get, path = "/api/openapi.json", tag = "description",
    responses((status = 200, description = "OpenAPI 3.1", body = Object)),
)]
pub(super) async fn describe(State(server): State<Server>) -> Json<Document> {
    Json(server.described_api().1)
}

/// The words for the state of a step. `piculet-core` knows nothing of schemas.
pub(crate) fn step_state() -> ObjectBuilder {
    use StepState::{Canceled, Failure, Killed, Pending, Running, Skipped, Success};
    let states = [Pending, Running, Success, Failure, Killed, Skipped, Canceled].map(StepState::as_str);
    words(states.map(str::to_owned), "In Woodpecker's words.")
}

/// The words for what a step is.
pub(crate) fn step_kind() -> ObjectBuilder {
    let kinds = [StepKind::Clone, StepKind::Service, StepKind::Plugin, StepKind::Commands];
    let word = |kind| serde_json::to_value(kind).ok().and_then(|word| word.as_str().map(str::to_owned));
    words(kinds.into_iter().filter_map(word), "What it is.")
}

fn words(words: impl IntoIterator<Item = String>, description: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).description(Some(description)).enum_values(Some(words))
}
