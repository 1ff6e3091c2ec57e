//! What a gRPC status means: one table, and nothing else in the crate looks at codes.

use std::error::Error;
use std::time::Duration;

use piculet_core::retry::Verdict;
use piculet_proto::v1::PROTOCOL;
use tonic::{Code, Status};

use super::trust::{speaks_something_else, tls_problem};
use crate::link::{Cause, Ended};

/// Metadata with which a server asks for patience, in milliseconds; gRPC's own.
const PUSHBACK: &str = "grpc-retry-pushback-ms";
/// No server may ask for more.
const MAX_PUSHBACK: Duration = Duration::from_secs(300);

/// What the end of a call means.
///
/// | status | from | means |
/// |---|---|---|
/// | any, with an error of the transport as its source | this side | the connection broke: again; or TLS: other certificates |
/// | `UNAUTHENTICATED`, `PERMISSION_DENIED` | server | other credentials |
/// | `FAILED_PRECONDITION` | server | another protocol: fatal |
/// | `UNIMPLEMENTED` | server or a proxy | it is no piculet server, or is not there yet: again |
/// | `ABORTED` | server | a newer session of this instance: fatal |
/// | `UNAVAILABLE`, `CANCELLED`, `UNKNOWN` | server or a proxy | it goes away, or broke on its way: again |
/// | all others | server | it is refused: again, for want of anything better |
///
/// A dead HTTP/2 connection surfaces as `UNKNOWN`, and a connection's own errors take on codes that a server uses too;
/// so the source counts before the code.
pub fn classify(status: &Status) -> Ended {
    let reason = match status.source() {
        Some(source) => return transport(source, |reason| Cause::Broken { reason }),
        None => explained(trim(status.message())),
    };
    let (cause, verdict) = match status.code() {
        Code::Unauthenticated | Code::PermissionDenied => (Cause::Unauthenticated { reason }, Verdict::Reauthenticate),
        Code::FailedPrecondition => {
            let reason = format!("the server said '{reason}'");
            (Cause::Protocol { agent: PROTOCOL, reason }, Verdict::Fatal)
        }
        // A proxy says so too, of a path that it doesn't know at the moment.
        Code::Unimplemented => {
            let reason = format!("the server does not know piculet's stream ('{reason}')");
            (Cause::Protocol { agent: PROTOCOL, reason }, retry(status))
        }
        Code::Aborted => (Cause::Replaced { reason }, Verdict::Fatal),
        Code::Unavailable | Code::Cancelled | Code::Unknown => (Cause::Broken { reason }, retry(status)),
        code => (Cause::Refused { status: format!("{code:?}"), reason }, retry(status)),
    };
    Ended { cause, verdict }
}

/// What an error below gRPC means: `otherwise`, if it is no matter of TLS. Certificates are exchanged as tokens are, so
/// what is wrong now may be put right while the agent runs.
pub(crate) fn transport(error: &(dyn Error + 'static), otherwise: impl FnOnce(String) -> Cause) -> Ended {
    match tls_problem(error) {
        Some(reason) => Ended { cause: Cause::Tls { reason }, verdict: Verdict::Reauthenticate },
        None => Ended::retry(otherwise(chain(error))),
    }
}

/// What the end of a call means if it came before a welcome.
pub(super) fn unwelcome(ended: Ended, is_encrypted: bool) -> Ended {
    let Cause::Broken { reason } = &ended.cause else { return ended };
    if is_encrypted {
        // With TLS 1.3 a refused client certificate shows only now, and the server's word for it may get lost.
        let reason = format!(
            "{reason} (before the server said anything; its log may tell that it misses a client certificate, or \
             refuses the one it got)"
        );
        return Ended { cause: Cause::Broken { reason }, ..ended };
    }
    match speaks_something_else(reason) {
        Some(reason) => Ended { cause: Cause::Tls { reason }, verdict: Verdict::Reauthenticate },
        None => ended,
    }
}

fn retry(status: &Status) -> Verdict {
    let pushback = status.metadata().get(PUSHBACK).and_then(|value| value.to_str().ok()?.parse().ok());
    Verdict::Retry { after: pushback.map(|milliseconds| Duration::from_millis(milliseconds).min(MAX_PUSHBACK)) }
}

/// An error with all that is below it; what repeats the one before is left out.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = trim(&error.to_string());
    let mut next = error.source();
    while let Some(error) = next {
        let more = trim(&error.to_string());
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        next = error.source();
    }
    explained(text)
}

/// A mistake that a library puts into words which nobody understands.
fn explained(reason: String) -> String {
    if reason.contains("invalid compression flag") {
        format!("{reason} (no gRPC server answers at this address; is it the port for agents?)")
    } else {
        reason
    }
}

/// Without the full stop, which the sentence around it brings.
fn trim(text: &str) -> String {
    let text = text.trim().trim_end_matches('.');
    if text.is_empty() { "it gave no reason".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::Duration;

    use piculet_core::retry::Verdict;
    use tonic::metadata::MetadataMap;
    use tonic::{Code, Status};

    use super::classify;

    #[test]
    fn the_table() {
        let again = Verdict::RETRY;
        for (code, cause, verdict) in [
            (Code::Ok, "link-refused", again),
            (Code::Cancelled, "link-broken", again),
            (Code::Unknown, "link-broken", again),
            (Code::InvalidArgument, "link-refused", again),
            (Code::DeadlineExceeded, "link-refused", again),
            (Code::NotFound, "link-refused", again),
            (Code::AlreadyExists, "link-refused", again),
            (Code::PermissionDenied, "link-unauthenticated", Verdict::Reauthenticate),
            (Code::ResourceExhausted, "link-refused", again),
            (Code::FailedPrecondition, "link-protocol", Verdict::Fatal),
            (Code::Aborted, "link-replaced", Verdict::Fatal),
            (Code::OutOfRange, "link-refused", again),
            (Code::Unimplemented, "link-protocol", again),
            (Code::Internal, "link-refused", again),
            (Code::Unavailable, "link-broken", again),
            (Code::DataLoss, "link-refused", again),
            (Code::Unauthenticated, "link-unauthenticated", Verdict::Reauthenticate),
        ] {
            let ended = classify(&Status::new(code, "words."));
            assert_eq!((ended.cause.code(), ended.verdict), (cause, verdict), "{code:?}");
            let sentence = ended.cause.to_string();
            assert!(sentence.contains("words") && !sentence.contains(".."), "{sentence}");
        }
    }

    #[test]
    fn an_error_of_the_transport_is_no_word_of_the_server() {
        for code in (0..=16).map(Code::from_i32) {
            let mut status = Status::new(code, "h2 protocol error");
            status.set_source(std::sync::Arc::new(io::Error::other("broken pipe")));
            let ended = classify(&status);
            assert_eq!((ended.cause.code(), ended.verdict), ("link-broken", Verdict::RETRY), "{code:?}");
            assert_eq!(ended.cause.to_string(), "The connection to the server broke: broken pipe.");
        }
    }

    #[test]
    fn the_usual_mistake_is_put_into_words() {
        let said = |words: &str| classify(&Status::new(Code::Internal, words)).cause.to_string();
        assert!(said("received message with invalid compression flag: 123").contains("the port for agents"));
    }

    #[test]
    fn a_server_may_ask_for_patience_within_reason() {
        let verdict = |milliseconds: &str| {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-retry-pushback-ms", milliseconds.parse().unwrap());
            classify(&Status::with_metadata(Code::Unavailable, "full", metadata)).verdict
        };
        assert_eq!(verdict("1500"), Verdict::Retry { after: Some(Duration::from_millis(1500)) });
        assert_eq!(verdict("99999999999"), Verdict::Retry { after: Some(Duration::from_secs(300)) });
        assert_eq!(verdict("-1"), Verdict::RETRY);
        assert_eq!(verdict("soon"), Verdict::RETRY);
    }
}
