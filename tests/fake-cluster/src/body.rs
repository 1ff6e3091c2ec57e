//! Bodies of responses: whole, or streamed.

use std::io;

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt};
use http::{Response, StatusCode, header};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use serde_json::Value;

use crate::failure::Failure;

/// The body of a response: whole, or a stream that can break.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// An answer that is known as a whole.
pub(crate) fn whole(code: StatusCode, content_type: &'static str, content: impl Into<Bytes>) -> Response<Body> {
    let body = Full::new(content.into()).map_err(|never| match never {}).boxed_unsync();
    typed(code, content_type, body)
}

pub(crate) fn json(code: StatusCode, value: &Value) -> Response<Body> {
    whole(code, "application/json", value.to_string())
}

pub(crate) fn failure(failure: &Failure) -> Response<Body> {
    let code = StatusCode::from_u16(failure.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(code, &failure.to_status());
    if let Some(seconds) = failure.details.get("retryAfterSeconds").and_then(Value::as_u64) {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// An answer that goes on for as long as `parts` does.
pub(crate) fn streamed(
    content_type: &'static str,
    parts: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
) -> Response<Body> {
    typed(StatusCode::OK, content_type, StreamBody::new(parts.map_ok(Frame::data)).boxed_unsync())
}

fn typed(code: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}

/// What a client sees of a connection that broke.
pub(crate) fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "connection reset by peer")
}
