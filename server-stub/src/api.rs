//! The HTTP API for people and programs: JSON in, JSON out.
//!
//! | call | does |
//! |---|---|
//! | `POST /api/workflows` | submits a [`Request`](crate::submission::Request); the answer is [`Submitted`] |
//! | `GET /api/workflows?state=&name=&label=&order=&before=&after=&limit=` | lists workflows, page by page ([`WorkflowList`]) |
//! | `GET /api/workflows/{workflow}` | shows one, with its steps |
//! | `POST /api/workflows/{workflow}/cancel` | stops it; the body is a [`CancelText`] or empty |
//! | `GET /api/workflows/{workflow}/log?follow=` | what happens in it, one [`LogEvent`] a line |
//! | `GET /api/workflows/{workflow}/steps/{step}/log?from=&count=&follow=` | a page of a step's log ([`LogPageView`]); with `follow` as above |
//! | `GET /api/workflows/{workflow}/steps/{step}/log.txt` | a step's log as its bytes |
//! | `GET /api/workflows/{workflow}/steps/{step}/log/search?text=&from=&count=` | lines of a step's log with a text ([`MatchesView`]) |
//! | `GET /api/workflows/{workflow}/events?lines=` | what happens in it, as server-sent events |
//! | `GET /api/workflows/{workflow}/steps/{step}/events?from=&round=` | what happens in a step, as server-sent events |
//! | `GET /api/agents` | lists agents |
//! | `POST /api/agents/{agent}/drain` | lets an agent take no more work |
//! | `POST /api/agents/{agent}/resume` | lets it work again |
//! | `GET /api/clusters` | lists clusters |
//! | `POST /api/clusters/{cluster}/drain` | lets all agents of a cluster take no more work |
//! | `POST /api/clusters/{cluster}/resume` | lets them work again |
//! | `POST /api/clusters/{cluster}/lose` | gives a cluster up: what it has starts anew elsewhere |
//! | `GET /api/tokens` | lists the tokens of agents |
//! | `POST /api/tokens` | makes one; the body is a [`TokenRequest`] |
//! | `POST /api/tokens/{token}/revoke` | lets nobody in with it any more |
//! | `GET /api/openapi.json` | describes all of this (OpenAPI 3.1) |
//!
//! The web page is at `/`.
//!
//! An answer comes when what it tells is stored, but for agents, who are shown as they are at the moment, as is what a
//! cluster has of them; if that takes too long, it is 503 and `not-stored`. A workflow is named by its number, its id, a
//! beginning of its id, or its name; a step by its id or name. An error is an [`ErrorView`]. No answer has anything of a
//! workload but names and labels.

mod clusters;
mod error;
mod events;
mod guard;
mod listing;
mod logs;
pub(crate) mod schema;
mod tokens;
mod workflows;

pub use clusters::{ClusterList, LostCluster};
pub use error::{DiagnosticView, ErrorView};
pub use events::StandingView;
pub use logs::search::{MatchView, MatchesView};
pub use logs::{AnewView, EndView, LineView, LogEvent, LogPageView};
pub use tokens::{CreatedToken, TokenList, TokenRequest, TokenView};
pub use workflows::{CancelText, FilteredView, SkippedView, Submitted, SubmittedWorkflow};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use piculet_core::id::WorkflowId;
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::page;
use crate::server::{STORE_PATIENCE, Server};
use crate::view::{AgentView, WorkflowView};

/// The largest body that is read.
const MAX_BODY_BYTES: usize = 32 * 1024 * 1024;

/// Some workflows.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct WorkflowList {
    /// The oldest first, unless the newest were asked for.
    pub workflows: Vec<WorkflowView>,
    /// What to give as `after` (or `before`, if the newest come first) for the next page; `None`: there is none.
    #[serde(default)]
    pub next: Option<u64>,
}

/// All agents.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct AgentList {
    /// By name.
    pub agents: Vec<AgentView>,
}

/// What somebody asked for who waits for the store.
#[derive(Debug, Clone, Copy)]
enum Asked {
    /// To change something.
    Change,
    /// To be told something.
    Look,
}

/// Waits until all that happened so far is stored, what the caller changed among it.
async fn stored(server: &Server) -> Result<(), error::ApiError> {
    in_time(Asked::Change, server.settled()).await
}

/// A workflow, named as in [`Server::workflow`], as it is stored.
async fn stored_workflow(server: &Server, name: &str, asked: Asked) -> Result<WorkflowView, error::ApiError> {
    let view = server.workflow(name)?;
    in_time(asked, server.settled_for(&WorkflowId::new(view.id.as_str()))).await?;
    Ok(view)
}

async fn in_time(asked: Asked, stored: impl Future<Output = ()>) -> Result<(), error::ApiError> {
    tokio::time::timeout(STORE_PATIENCE, stored).await.map_err(|_| {
        let seconds = STORE_PATIENCE.as_secs();
        let message = match asked {
            Asked::Change => {
                format!("the server could not store this for {seconds} s, and goes on trying; it counts when it is stored")
            }
            Asked::Look => format!(
                "what changed here last could not be stored for {seconds} s, and nobody is told of it before; the server \
                 goes on trying"
            ),
        };
        error::ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "not-stored", message)
    })
}

impl Server {
    /// The HTTP API, and the web page that calls it.
    pub fn api(&self) -> Router {
        let (calls, _) = self.described_api();
        let page = page::router().layer(from_fn_with_state(self.clone(), guard::show_page));
        calls
            .fallback(error::no_such_call)
            .method_not_allowed_fallback(error::wrong_method)
            .layer(from_fn_with_state(self.clone(), guard::let_in))
            .merge(page)
            .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
            .with_state(self.clone())
    }

    /// The calls, and their description.
    fn described_api(&self) -> (Router<Self>, utoipa::openapi::OpenApi) {
        OpenApiRouter::with_openapi(schema::Head::openapi())
            .routes(routes!(workflows::list, workflows::submit))
            .routes(routes!(workflows::show))
            .routes(routes!(workflows::cancel))
            .routes(routes!(logs::of_workflow))
            .routes(routes!(logs::of_step))
            .routes(routes!(logs::raw::of_step))
            .routes(routes!(logs::search::in_step))
            .routes(routes!(events::of_workflow))
            .routes(routes!(events::of_step))
            .routes(routes!(workflows::agents))
            .routes(routes!(workflows::drain))
            .routes(routes!(workflows::resume))
            .routes(routes!(clusters::list))
            .routes(routes!(clusters::drain))
            .routes(routes!(clusters::resume))
            .routes(routes!(clusters::lose))
            .routes(routes!(tokens::list, tokens::create))
            .routes(routes!(tokens::revoke))
            .routes(routes!(schema::describe))
            .split_for_parts()
    }
}
