//! Workflows and agents: submit, list, show, stop.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use piculet_core::id::WorkflowId;
use piculet_link::message::TraceContext;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::error::{ApiError, DiagnosticView, Refused, views};
use super::listing::{ListText, Listing};
use super::schema::{AgentName, WorkflowName};
use super::{AgentList, Asked, WorkflowList};
use crate::mailbox::{Intake, Stop};
use crate::server::Server;
use crate::submission::{Plan, Request};
use crate::view::{LookupError, WorkflowView, find};

/// What was submitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Submitted {
    /// What runs.
    pub workflows: Vec<SubmittedWorkflow>,
    /// What doesn't run, because its conditions don't hold.
    pub filtered: Vec<FilteredView>,
    /// What the authors of the files should know.
    pub warnings: Vec<DiagnosticView>,
    /// The same for people, with the lines of the files; empty if there are none.
    pub warnings_text: String,
}

/// A workflow that was submitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SubmittedWorkflow {
    /// The server's id of it.
    pub id: String,
    /// An id that people can type.
    pub number: u64,
    /// Its name.
    pub name: String,
    /// Steps that don't run, because their conditions don't hold.
    pub skipped: Vec<SkippedView>,
}

/// A workflow that doesn't run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FilteredView {
    /// Its name.
    pub name: String,
    /// Which condition doesn't hold.
    pub why: String,
}

/// A step that doesn't run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SkippedView {
    /// Its name.
    pub name: String,
    /// Which condition doesn't hold.
    pub why: String,
}

/// How a workflow is to be stopped.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelText {
    /// Who or what asks for it, for people.
    #[serde(default)]
    pub reason: Option<String>,
    /// Seconds between SIGTERM and SIGKILL; absent: the agent's own setting.
    #[serde(default)]
    pub grace_seconds: Option<u32>,
}

pub(super) type Body = Result<Bytes, BytesRejection>;

/// Submits workflows.
#[utoipa::path(
    post, path = "/api/workflows", tag = "workflows", request_body = Request,
    responses((status = 201, description = "They are in the queue", body = Submitted), Refused),
)]
pub(super) async fn submit(
    State(server): State<Server>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Submitted>), ApiError> {
    let request: Request = read(&headers, body)?;
    let trace = trace(&headers);
    let prefix = Uuid::new_v4().simple().to_string();
    // Compiling a large file takes a while; agents should not have to wait for it.
    let planned = tokio::task::spawn_blocking(move || request.plan(&prefix, trace)).await;
    let plan = match planned {
        Ok(plan) => plan?,
        Err(_) => {
            let message = "the server broke while it read the files; this is a fault of piculet";
            return Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message));
        }
    };
    let submitted = server.submit_plan(plan)?;
    super::stored(&server).await?;
    Ok((StatusCode::CREATED, Json(submitted)))
}

impl Server {
    /// Submits what was planned.
    ///
    /// # Errors
    /// If there is no room for it, or a workload is too large to be sent.
    pub fn submit_plan(&self, plan: Plan) -> Result<Submitted, crate::dispatch::SubmitError> {
        let texts: Vec<_> = plan.warnings.iter().map(ToString::to_string).collect();
        let warnings = plan.warnings.iter().flat_map(views).collect();
        let filtered = plan.filtered.into_iter().map(|other| FilteredView { name: other.name, why: other.why });
        let filtered = filtered.collect();
        let mut workflows = Vec::new();
        let mut submissions = Vec::new();
        for planned in plan.workflows {
            workflows.push(SubmittedWorkflow {
                id: planned.submission.id.to_string(),
                number: 0,
                name: planned.submission.spec.name.clone(),
                skipped: planned.skipped.into_iter().map(|(name, why)| SkippedView { name, why }).collect(),
            });
            submissions.push(planned.submission);
        }
        self.submit(submissions)?;
        self.look(|dispatcher| {
            for submitted in &mut workflows {
                let workflow = dispatcher.workflow(&WorkflowId::new(submitted.id.as_str()));
                submitted.number = workflow.map_or(0, |workflow| workflow.number);
            }
        });
        Ok(Submitted { workflows, filtered, warnings, warnings_text: texts.join("\n\n") })
    }
}

/// Lists workflows.
#[utoipa::path(
    get, path = "/api/workflows", tag = "workflows", params(ListText),
    responses((status = 200, description = "A page of the list", body = WorkflowList), Refused),
)]
pub(super) async fn list(
    State(server): State<Server>,
    RawQuery(query): RawQuery,
) -> Result<Json<WorkflowList>, ApiError> {
    let listing = Listing::parse(query.as_deref().unwrap_or_default())?;
    let list = listing.list(&server);
    super::in_time(Asked::Look, listing.settled(&server, &list)).await?;
    Ok(Json(list))
}

/// Shows a workflow.
#[utoipa::path(
    get, path = "/api/workflows/{workflow}", tag = "workflows", params(WorkflowName),
    responses((status = 200, description = "With its steps", body = WorkflowView), Refused),
)]
pub(super) async fn show(
    State(server): State<Server>,
    Path(workflow): Path<String>,
) -> Result<Json<WorkflowView>, ApiError> {
    Ok(Json(super::stored_workflow(&server, &workflow, Asked::Look).await?))
}

/// Stops a workflow.
#[utoipa::path(
    post, path = "/api/workflows/{workflow}/cancel", tag = "workflows", params(WorkflowName),
    request_body(content = Option<CancelText>, content_type = "application/json", description = "May be empty"),
    responses((status = 200, description = "It is over, or will be soon", body = WorkflowView), Refused),
)]
pub(super) async fn cancel(
    State(server): State<Server>,
    Path(workflow): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<WorkflowView>, ApiError> {
    let is_empty = body.as_ref().is_ok_and(Bytes::is_empty);
    let text: CancelText = if is_empty { CancelText::default() } else { read(&headers, body)? };
    let id = server.look(|dispatcher| find(dispatcher, &workflow).map(|workflow| workflow.id.clone()))?;
    let stop = Stop {
        reason: text.reason.unwrap_or_else(|| "somebody asked for it".to_owned()),
        grace: text.grace_seconds.map(|seconds| Duration::from_secs(seconds.into())),
    };
    let cancelled = server.cancel(&id, stop);
    // That it came too late tells of an end, too.
    let view = super::stored_workflow(&server, id.as_str(), Asked::Change).await?;
    cancelled?;
    Ok(Json(view))
}

/// Lists agents.
#[utoipa::path(
    get, path = "/api/agents", tag = "agents",
    responses((status = 200, description = "All that were heard of lately", body = AgentList), Refused),
)]
pub(super) async fn agents(State(server): State<Server>) -> Json<AgentList> {
    Json(AgentList { agents: server.agents() })
}

/// Lets an agent take no more work.
#[utoipa::path(
    post, path = "/api/agents/{agent}/drain", tag = "agents", params(AgentName),
    responses((status = 200, description = "Whom it concerned", body = AgentList), Refused),
)]
pub(super) async fn drain(
    State(server): State<Server>,
    Path(agent): Path<String>,
) -> Result<Json<AgentList>, ApiError> {
    set_intake(&server, agent, Intake::Closed).await
}

/// Lets an agent take work again.
#[utoipa::path(
    post, path = "/api/agents/{agent}/resume", tag = "agents", params(AgentName),
    responses((status = 200, description = "Whom it concerned", body = AgentList), Refused),
)]
pub(super) async fn resume(
    State(server): State<Server>,
    Path(agent): Path<String>,
) -> Result<Json<AgentList>, ApiError> {
    set_intake(&server, agent, Intake::Open).await
}

/// Tells all agents of that name, id or instance.
async fn set_intake(server: &Server, name: String, intake: Intake) -> Result<Json<AgentList>, ApiError> {
    let mut agents = server.agents();
    agents.retain(|agent| agent.id == name || agent.name == name || agent.instance == name);
    if agents.is_empty() {
        return Err(LookupError::NoAgent(name).into());
    }
    for agent in &agents {
        server.set_intake(&agent.instance, intake);
    }
    super::stored(server).await?;
    let mut told = server.agents();
    told.retain(|agent| agents.iter().any(|other| other.id == agent.id));
    Ok(Json(AgentList { agents: told }))
}

/// The trace that the caller is in, by the headers of W3C trace context.
fn trace(headers: &HeaderMap) -> Option<TraceContext> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let parent = text("traceparent");
    (!parent.is_empty()).then(|| TraceContext { parent, state: text("tracestate") })
}

/// Reads a JSON body.
pub(super) fn read<T: DeserializeOwned>(headers: &HeaderMap, body: Body) -> Result<T, ApiError> {
    // A web page can send other types to any server without asking; JSON it can't.
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if media_type.split(';').next().map(str::trim) != Some("application/json") {
        let message = "the body has to be JSON, and the header 'content-type: application/json' has to say so";
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-json", message));
    }
    let body = body.map_err(|rejection| {
        let code =
            if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE { "body-too-large" } else { "body-unreadable" };
        ApiError::new(rejection.status(), code, rejection.body_text())
    })?;
    serde_json::from_slice(&body)
        .map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, "body-invalid", describe(&error)))
}

/// What is wrong with a body. serde's words repeat values, and a value may be a secret; names are no secrets.
fn describe(error: &serde_json::Error) -> String {
    let place = format!("line {} column {}", error.line(), error.column());
    let words = error.to_string();
    let names_only = ["unknown field", "missing field", "duplicate field"].iter().any(|start| words.starts_with(start));
    match error.classify() {
        _ if names_only => words,
        serde_json::error::Category::Data => format!("a value has the wrong type at {place}"),
        _ => format!("the body is no JSON: it breaks at {place}"),
    }
}
