//! What went wrong with a call.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use piculet_pipeline::{Diagnostic, Diagnostics, Severity};
use serde::{Deserialize, Serialize};
use utoipa::{IntoResponses, ToSchema};

use crate::dispatch::{CancelError, NoSuchCluster, NoSuchToken, SubmitError};
use crate::log_page::PageError;
use crate::submission::PlanError;
use crate::token::TokenError;
use crate::view::LookupError;

/// An error as the API tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorView {
    /// Stable over releases, for programs that branch.
    pub code: String,
    /// For people; may have several lines.
    pub message: String,
    /// What is wrong with pipeline files, one by one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<DiagnosticView>,
}

/// One thing to say about a pipeline file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DiagnosticView {
    /// The file's name.
    pub file: String,
    /// `error` or `warning`.
    pub severity: String,
    /// Stable over releases.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The first line is 1; `None` if it is about the file as a whole.
    pub line: Option<usize>,
    /// In characters, from 1.
    pub column: Option<usize>,
}

/// How a call is refused.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "it only describes; errors are built as `ApiError`")]
pub(super) enum Refused {
    /// It isn't as it has to be: the code says what.
    #[response(status = "4XX")]
    Caller(ErrorView),
    /// The server can't do it now.
    #[response(status = "5XX")]
    Server(ErrorView),
}

/// An error with its status.
#[derive(Debug)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    pub(super) view: ErrorView,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self { status, view: ErrorView { code: code.to_owned(), message: message.into(), diagnostics: Vec::new() } }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.view)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = header::HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}

pub(super) fn views(diagnostics: &Diagnostics) -> impl Iterator<Item = DiagnosticView> {
    let view = |diagnostic: &Diagnostic| DiagnosticView {
        file: diagnostics.file.clone(),
        severity: match diagnostic.severity {
            Severity::Error => "error".to_owned(),
            Severity::Warning => "warning".to_owned(),
        },
        code: diagnostic.code.to_owned(),
        message: diagnostic.message.clone(),
        hint: diagnostic.hint.clone(),
        line: diagnostic.location.as_ref().map(|place| place.line),
        column: diagnostic.location.as_ref().map(|place| place.column),
    };
    diagnostics.iter().map(view)
}

impl From<PlanError> for ApiError {
    fn from(error: PlanError) -> Self {
        let mut api = Self::new(StatusCode::BAD_REQUEST, error.code(), error.to_string());
        if let PlanError::Files(files) = &error {
            api.view.diagnostics = files.iter().flat_map(views).collect();
        }
        api
    }
}

impl From<SubmitError> for ApiError {
    fn from(error: SubmitError) -> Self {
        let (status, code) = match &error {
            SubmitError::QueueFull(_) => (StatusCode::SERVICE_UNAVAILABLE, "queue-full"),
            SubmitError::TooLarge { .. } => (StatusCode::BAD_REQUEST, "workload-too-large"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<CancelError> for ApiError {
    fn from(error: CancelError) -> Self {
        let (status, code) = match &error {
            CancelError::Unknown(_) => (StatusCode::NOT_FOUND, "workflow-unknown"),
            CancelError::Over { .. } => (StatusCode::CONFLICT, "workflow-over"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<LookupError> for ApiError {
    fn from(error: LookupError) -> Self {
        let (status, code) = match &error {
            LookupError::NoWorkflow(_) => (StatusCode::NOT_FOUND, "workflow-unknown"),
            LookupError::NoStep { .. } => (StatusCode::NOT_FOUND, "step-unknown"),
            LookupError::NoAgent(_) => (StatusCode::NOT_FOUND, "agent-unknown"),
            LookupError::Ambiguous(_) => (StatusCode::CONFLICT, "workflow-ambiguous"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<NoSuchCluster> for ApiError {
    fn from(error: NoSuchCluster) -> Self {
        Self::new(StatusCode::NOT_FOUND, "cluster-unknown", error.to_string())
    }
}

impl From<NoSuchToken> for ApiError {
    fn from(error: NoSuchToken) -> Self {
        Self::new(StatusCode::NOT_FOUND, "token-unknown", error.to_string())
    }
}

impl From<PageError> for ApiError {
    fn from(error: PageError) -> Self {
        match error {
            PageError::Lookup(error) => error.into(),
            PageError::Store(error) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "store", error.to_string()),
        }
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "query-invalid", rejection.body_text())
    }
}

impl From<TokenError> for ApiError {
    fn from(error: TokenError) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorised", error.to_string())
    }
}

pub(super) async fn no_such_call(uri: Uri) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "no-such-call", format!("there is nothing at {}", uri.path()))
}

pub(super) async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    let message = format!("{} can't be called with {method}", uri.path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "wrong-method", message)
}
