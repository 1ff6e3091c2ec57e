//! The HTTP API for people and programs: JSON in, JSON out.
//!
//! | call | does |
//! |---|---|
//! | `POST /api/workflows` | submits a [`Request`](crate::submission::Request); the answer is [`Submitted`] |
//! | `GET /api/workflows` | lists workflows, the oldest first |
//! | `GET /api/workflows/{workflow}` | shows one, with its steps |
//! | `POST /api/workflows/{workflow}/cancel` | stops it; the body is a [`CancelText`] or empty |
//! | `GET /api/workflows/{workflow}/log?follow=` | what happens in it, one [`LogEvent`] a line |
//! | `GET /api/workflows/{workflow}/steps/{step}/log?from=&count=&follow=` | a page of a step's log ([`LogPageView`]); with `follow` as above |
//! | `GET /api/agents` | lists agents |
//! | `POST /api/agents/{agent}/drain`, `…/resume` | lets an agent take no more work, or work again |
//! | `GET /api/clusters` | lists clusters |
//! | `POST /api/clusters/{cluster}/drain`, `…/resume` | lets all agents of a cluster take no more work, or work again |
//! | `POST /api/clusters/{cluster}/lose` | gives a cluster up: what it has starts anew elsewhere |
//! | `GET /api/tokens` | lists the tokens of agents |
//! | `POST /api/tokens` | makes one; the body is a [`TokenRequest`] |
//! | `POST /api/tokens/{token}/revoke` | lets nobody in with it any more |
//!
//! An answer about a change comes when it is stored. A workflow is named by its number, its id, a beginning of its id, or its name; a step by its id or name. An error is
//! an [`ErrorView`]. No answer has anything of a workload but names and labels.

mod clusters;
mod error;
mod guard;
mod logs;
mod tokens;
mod workflows;

pub use clusters::{ClusterList, LostCluster};
pub use error::ErrorView;
pub use logs::{EndView, LineView, LogEvent, LogPageView};
pub use tokens::{CreatedToken, TokenList, TokenRequest, TokenView};
pub use workflows::{CancelText, FilteredView, SkippedView, Submitted, SubmittedWorkflow};

use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};

use crate::server::Server;
use crate::view::{AgentView, WorkflowView};

/// The largest body that is read.
const MAX_BODY_BYTES: usize = 32 * 1024 * 1024;
/// How long a caller waits for a change to be stored.
const STORE_PATIENCE: Duration = Duration::from_secs(20);

/// All workflows.
#[derive(Debug, Serialize, Deserialize)]
pub struct WorkflowList {
    /// The oldest first.
    pub workflows: Vec<WorkflowView>,
}

/// All agents.
#[derive(Debug, Serialize, Deserialize)]
pub struct AgentList {
    /// By name.
    pub agents: Vec<AgentView>,
}

/// Waits until what was changed is stored.
async fn stored(server: &Server) -> Result<(), error::ApiError> {
    tokio::time::timeout(STORE_PATIENCE, server.settled()).await.map_err(|_| {
        let message = format!(
            "the server could not store this for {} s, and goes on trying; it counts when it is stored",
            STORE_PATIENCE.as_secs()
        );
        error::ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "not-stored", message)
    })
}

impl Server {
    /// The HTTP API.
    pub fn api(&self) -> Router {
        Router::new()
            .route("/api/workflows", get(workflows::list).post(workflows::submit))
            .route("/api/workflows/{workflow}", get(workflows::show))
            .route("/api/workflows/{workflow}/cancel", post(workflows::cancel))
            .route("/api/workflows/{workflow}/log", get(logs::of_workflow))
            .route("/api/workflows/{workflow}/steps/{step}/log", get(logs::of_step))
            .route("/api/agents", get(workflows::agents))
            .route("/api/agents/{agent}/drain", post(workflows::drain))
            .route("/api/agents/{agent}/resume", post(workflows::resume))
            .route("/api/clusters", get(clusters::list))
            .route("/api/clusters/{cluster}/drain", post(clusters::drain))
            .route("/api/clusters/{cluster}/resume", post(clusters::resume))
            .route("/api/clusters/{cluster}/lose", post(clusters::lose))
            .route("/api/tokens", get(tokens::list).post(tokens::create))
            .route("/api/tokens/{token}/revoke", post(tokens::revoke))
            .fallback(error::no_such_call)
            .method_not_allowed_fallback(error::wrong_method)
            .layer(from_fn_with_state(self.clone(), guard::let_in))
            .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
            .with_state(self.clone())
    }
}
