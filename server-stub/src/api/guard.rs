//! Who may call.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use piculet_core::secret::Secret;

use super::error::ApiError;
use crate::server::Server;
use crate::token;

/// Lets a call through if it may come in.
pub(super) async fn let_in(State(server): State<Server>, request: Request, next: Next) -> Response {
    match check(server.config().api_token.as_ref(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

/// A call has to have the token. Where none is set, it has to come to a loopback name: a web page that somebody looks
/// at on this machine could otherwise reach the server under a name of its own (DNS rebinding).
fn check(wanted: Option<&Secret>, headers: &HeaderMap) -> Result<(), ApiError> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    match wanted {
        Some(wanted) => Ok(token::check(text(header::AUTHORIZATION), wanted)?),
        None if text(header::HOST).is_none_or(is_loopback) => Ok(()),
        None => Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "host-refused",
            "without an API token this server answers only calls to 127.0.0.1, [::1] and localhost",
        )),
    }
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
    use super::is_loopback;

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
}
