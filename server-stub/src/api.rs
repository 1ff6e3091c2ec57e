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
//!
//! A workflow is named by its number, its id, a beginning of its id, or its name; a step by its id or name. An error is
//! an [`ErrorView`]. No answer has anything of a workload but names and labels.

mod error;
mod guard;
mod logs;
mod workflows;

pub use error::ErrorView;
pub use logs::{EndView, LineView, LogEvent, LogPageView};
pub use workflows::{CancelText, FilteredView, SkippedView, Submitted, SubmittedWorkflow};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};

use crate::server::Server;
use crate::view::{AgentView, WorkflowView};

/// The largest body that is read.
const MAX_BODY_BYTES: usize = 32 * 1024 * 1024;

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
            .fallback(error::no_such_call)
            .method_not_allowed_fallback(error::wrong_method)
            .layer(from_fn_with_state(self.clone(), guard::let_in))
            .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
            .with_state(self.clone())
    }
}
