//! A step's log as its bytes, to be saved or piped.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::{BufMut, BytesMut};
use futures_util::stream;

use super::super::error::{ApiError, Refused};
use super::super::schema::StepName;
use super::super::{Asked, stored_workflow};
use crate::log_page::PageError;
use crate::server::Server;

/// Lines that are looked up at once.
const LINES_AT_ONCE: usize = 1000;
/// The longest name of a file that is proposed, in characters.
const MAX_NAME: usize = 100;

/// Why a log could not be told to its end.
#[derive(Debug, thiserror::Error)]
enum RawError {
    /// The log is gone, or can't be read.
    #[error(transparent)]
    Page(#[from] PageError),
    /// The lines that come next are of another run than those that came.
    #[error(
        "the workflow began anew before all of this log was told, since its cluster was given up; ask for it again"
    )]
    Anew,
}

/// A step's log as text: the bytes of each line as the step printed them, and a line feed.
///
/// An answer that breaks off is not the whole: the log can't be read, or the workflow was forgotten or began anew
/// meanwhile.
#[utoipa::path(
    get, path = "/api/workflows/{workflow}/steps/{step}/log.txt", tag = "logs", params(StepName),
    responses((status = 200, description = "All lines that are there", body = String, content_type = "text/plain"), Refused),
)]
pub(in super::super) async fn of_step(
    State(server): State<Server>,
    Path((workflow, step)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    // Lines come from the store; the round that they are said to be of has to be there, too.
    let workflow = stored_workflow(&server, &workflow, Asked::Look).await?;
    let round = workflow.round;
    let first = server.log_page(&workflow.id, &step, 0, 0).await?;
    let disposition = format!("attachment; filename=\"{}-{}.log\"", workflow.number, file_name(&first.step));
    let pieces = stream::try_unfold((0, workflow.id, step), move |(from, id, step)| {
        let server = server.clone();
        async move {
            // An error breaks the body: what came so far is not the whole.
            let page = server.log_page(&id, &step, from, LINES_AT_ONCE).await?;
            if page.round != round {
                return Err(RawError::Anew);
            }
            if page.lines.is_empty() {
                return Ok(None);
            }
            let mut piece = BytesMut::with_capacity(page.lines.iter().map(|line| line.bytes.len() + 1).sum());
            for line in page.lines {
                piece.extend_from_slice(&line.bytes);
                piece.put_u8(b'\n');
            }
            Ok(Some((piece.freeze(), (page.next, id, step))))
        }
    });
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CONTENT_DISPOSITION, disposition.as_str()),
        // Whatever a step prints is text, and nothing that a browser may run.
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, Body::from_stream(pieces)).into_response())
}

/// A name that is a file's name everywhere.
fn file_name(step: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    step.chars().take(MAX_NAME).map(safe).collect()
}

#[cfg(test)]
mod tests {
    use super::file_name;

    #[test]
    fn any_step_gets_a_file_name() {
        assert_eq!(file_name("build it"), "build-it");
        assert_eq!(file_name("a\"; x=\"../\r\n\u{fc}"), "a---x--..----");
        assert_eq!(file_name(&"x".repeat(300)).len(), 100);
    }
}
