//! Logs: pages, and streams of one JSON object a line.

pub(super) mod raw;
pub(super) mod search;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use jiff::Timestamp;
use piculet_core::report::LogLine;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Asked;
use super::error::{ApiError, Refused};
use super::schema::{StepName, WorkflowName};
use crate::dispatch::State as WorkflowState;
use crate::follow::{Follow, FollowError, News};
use crate::server::Server;
use crate::view::{StepView, WorkflowView};

/// The most lines of one page.
const MAX_PAGE_LINES: usize = 10_000;
/// Lines of a page where the caller doesn't say how many.
const PAGE_LINES: usize = 1000;
/// A stream is sent in pieces of about this many bytes.
const PIECE_BYTES: usize = 64 * 1024;

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LineView {
    /// The name of the step that printed it.
    pub step: String,
    /// A step's first line is 0.
    pub number: u64,
    /// By the node's clock.
    pub time: Timestamp,
    /// Without the line end. Bytes that are no UTF-8 are shown as U+FFFD.
    pub text: String,
    /// Some bytes were no UTF-8.
    #[serde(default, skip_serializing_if = "is_false")]
    pub lossy: bool,
}

/// Some lines of a step's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogPageView {
    /// In the order of their numbers; a number that lacks is missing.
    pub lines: Vec<LineView>,
    /// The number to ask for next.
    pub next: u64,
    /// There are no lines after these, and none will come.
    pub is_last: bool,
    /// What is wrong with the log, if something is.
    pub complaint: Option<String>,
}

/// A line of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogEvent {
    /// The workflow began from nothing: what was told of its steps before doesn't count. Comes first in each round but
    /// the first.
    Anew(AnewView),
    /// A step printed a line.
    Line(LineView),
    /// A step changed its state. That it ended comes after its last line.
    Step(StepView),
    /// The workflow is over. The last.
    End(EndView),
}

/// A workflow's new beginning, after its cluster was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AnewView {
    /// Counts how often it began from nothing, from 1.
    pub round: u64,
}

/// A workflow's end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EndView {
    /// A final state.
    pub state: WorkflowState,
    /// What went wrong apart from the steps; empty if nothing did.
    pub error: String,
}

/// What part of a log is wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    /// The first line; a step's first is 0.
    #[serde(default)]
    from: u64,
    /// How many lines at most: 1000 unless told, 10,000 at most. A page ends at 4 MiB too.
    #[serde(default)]
    count: Option<usize>,
    /// Given: a stream of one `LogEvent` a line. `true`: it goes on until the end.
    #[serde(default)]
    follow: Option<bool>,
}

/// Whether a stream goes on.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Whole {
    /// Go on until the workflow is over; else what is known is told.
    #[serde(default)]
    follow: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands skip_serializing_if a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

impl LineView {
    pub(super) fn new(step: &str, line: &LogLine) -> Self {
        let text = String::from_utf8_lossy(&line.bytes);
        let lossy = matches!(text, std::borrow::Cow::Owned(_));
        Self { step: step.to_owned(), number: line.number, time: line.time, text: text.into_owned(), lossy }
    }
}

impl EndView {
    pub(super) fn of(workflow: &WorkflowView) -> Self {
        Self { state: workflow.state, error: workflow.error.clone() }
    }
}

/// What happened in a workflow, one JSON object a line.
///
/// An answer that breaks off is not the whole: a log can't be read, what happened last can't be stored, or the workflow
/// was forgotten meanwhile. Nor is one with `follow` that ends without an `end`: the server went.
#[utoipa::path(
    get, path = "/api/workflows/{workflow}/log", tag = "logs",
    params(WorkflowName, Whole),
    responses((status = 200, description = "One `LogEvent` a line", body = LogEvent, content_type = "application/x-ndjson"), Refused),
)]
pub(super) async fn of_workflow(
    State(server): State<Server>,
    Path(workflow): Path<String>,
    whole: Result<Query<Whole>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(whole) = whole?;
    // Who follows waits as long as it takes.
    if !whole.follow {
        super::stored_workflow(&server, &workflow, Asked::Look).await?;
    }
    Ok(stream_of(server.follow(&workflow, None, 0, whole.follow)?))
}

/// A page of a step's log; with `follow` what happens in the step, one JSON object a line.
///
/// A stream that breaks off is not the whole, as with that of a workflow; nor is one with `follow=true` that ends with
/// neither an `end` nor a final state of the step.
#[utoipa::path(
    get, path = "/api/workflows/{workflow}/steps/{step}/log", tag = "logs",
    params(StepName, Part),
    responses(
        (status = 200, description = "A page, or one `LogEvent` a line", content(
            (LogPageView = "application/json"), (LogEvent = "application/x-ndjson"),
        )),
        Refused,
    ),
)]
pub(super) async fn of_step(
    State(server): State<Server>,
    Path((workflow, step)): Path<(String, String)>,
    part: Result<Query<Part>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(part) = part?;
    if let Some(waits) = part.follow {
        if !waits {
            super::stored_workflow(&server, &workflow, Asked::Look).await?;
        }
        return Ok(stream_of(server.follow(&workflow, Some(&step), part.from, waits)?));
    }
    let count = part.count.unwrap_or(PAGE_LINES).min(MAX_PAGE_LINES);
    let workflow = server.workflow(&workflow)?.id;
    let page = server.log_page(&workflow, &step, part.from, count).await?;
    // Lines come from the store; that no more will come has to be there, too.
    if page.is_last || page.complaint.is_some() {
        super::stored_workflow(&server, &workflow, Asked::Look).await?;
    }
    let view = LogPageView {
        is_last: page.is_last,
        lines: page.lines.iter().map(|line| LineView::new(&page.step, line)).collect(),
        next: page.next,
        complaint: page.complaint,
    };
    Ok(Json(view).into_response())
}

fn stream_of(follow: Follow) -> Response {
    let pieces = stream::try_unfold(follow, |mut follow| async move {
        let Some(first) = follow.next().await? else { return Ok(None) };
        let mut piece = event(first);
        while piece.len() < PIECE_BYTES
            && let Some(news) = follow.ready()
        {
            piece.extend_from_slice(&event(news));
        }
        Ok::<_, FollowError>(Some((Bytes::from(piece), follow)))
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(pieces)).into_response()
}

fn event(news: News) -> Vec<u8> {
    let event = match news {
        News::Anew { round } => LogEvent::Anew(AnewView { round }),
        News::Line { step, line } => LogEvent::Line(LineView::new(&step, &line)),
        News::Step(step) => LogEvent::Step(step),
        News::End(workflow) => LogEvent::End(EndView::of(&workflow)),
    };
    // These types have neither maps with keys that are no strings nor anything that fails by itself.
    let mut line = serde_json::to_vec(&event).unwrap_or_default();
    line.push(b'\n');
    line
}
