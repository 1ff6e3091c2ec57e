//! Who may call.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use piculet_core::secret::Secret;

use super::error::ApiError;
use crate::server::Server;
use crate::token;

/// Lets a call through if it may come in. A server that goes can be looked at, and changes no more.
pub(super) async fn let_in(State(server): State<Server>, request: Request, next: Next) -> Response {
    match check(server.config().api_token.as_ref(), request.headers()) {
        Ok(()) if server.going().is_cancelled() && !request.method().is_safe() => {
            let message = "the server is shutting down; try again when it is back";
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "shutting-down", message).into_response()
        }
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

/// Lets a browser have the page. It is the same for everybody and asks for the token itself; and it may be linked to from
/// elsewhere, since it can't be shown inside of another page. Under a name of somebody else it isn't shown.
pub(super) async fn show_page(State(server): State<Server>, request: Request, next: Next) -> Response {
    let checked = if server.config().api_token.is_some() { Ok(()) } else { check_host(request.headers()) };
    match checked {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

/// A call has to have the token. Where none is set, web pages that somebody looks at on this machine have to be kept
/// out. One could reach the server under a name of its own (DNS rebinding): a call has to come to a loopback name. And
/// it could send what browsers send without asking (a form, say): a call may not come from a page of elsewhere.
fn check(wanted: Option<&Secret>, headers: &HeaderMap) -> Result<(), ApiError> {
    let text = |name| text(headers, name);
    if let Some(wanted) = wanted {
        return Ok(token::check(text(header::AUTHORIZATION), wanted)?);
    }
    check_host(headers)?;
    let site = header::HeaderName::from_static("sec-fetch-site");
    if !text(header::ORIGIN).is_none_or(is_loopback_origin) || text(site) == Some("cross-site") {
        let message = "without an API token this server answers no web page of elsewhere";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "origin-refused", message));
    }
    Ok(())
}

fn check_host(headers: &HeaderMap) -> Result<(), ApiError> {
    if text(headers, header::HOST).is_none_or(is_loopback) {
        return Ok(());
    }
    let message = "without an API token this server answers only calls to 127.0.0.1, [::1] and localhost";
    Err(ApiError::new(StatusCode::FORBIDDEN, "host-refused", message))
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).map(|value| value.to_str().unwrap_or_default())
}

/// An origin is a scheme, a host and perhaps a port; or `null`, where a browser keeps it to itself.
fn is_loopback_origin(origin: &str) -> bool {
    origin.split_once("://").is_some_and(|(_, host)| is_loopback(host))
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let address = name.parse::<std::net::IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::{is_loopback, is_loopback_origin};

    #[test]
    fn hosts_as_a_table() {
        for (host, expected) in [
            ("127.0.0.1", true),
            ("127.0.0.1:9080", true),
            ("localhost:9080", true),
            ("LOCALHOST", true),
            ("[::1]:9080", true),
            ("[::1]", true),
            ("evil.example:9080", false),
            ("127.0.0.1.evil.example", false),
            ("localhost.evil.example", false),
            ("192.168.0.1", false),
            ("[::2]:9080", false),
            ("", false),
        ] {
            assert_eq!(is_loopback(host), expected, "{host:?}");
        }
    }

    #[test]
    fn origins_as_a_table() {
        for (origin, expected) in [
            ("http://127.0.0.1:9080", true),
            ("https://localhost", true),
            ("http://[::1]:3000", true),
            ("https://evil.example", false),
            ("http://127.0.0.1.evil.example", false),
            ("http://127.0.0.1@evil.example", false),
            ("null", false),
            ("127.0.0.1", false),
            ("", false),
        ] {
            assert_eq!(is_loopback_origin(origin), expected, "{origin:?}");
        }
    }
}
