//! What a status of a Woodpecker server means: one table, and nothing else looks at codes and words.

use std::error::Error;
use std::fmt;

use piculet_core::retry::Verdict;
use piculet_proto::woodpecker::PROTOCOL;
use tonic::{Code, Status};

use crate::link::{Cause, Ended};
use crate::stream::classify;

/// Why a call was not answered as it should have been.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The session is over: its connection broke, or its credentials are wrong.
    Ended(Ended),
    /// The server, or whoever stands before it, is away for a moment.
    Again(Status),
    /// The server gives a reason that may pass: nearly all of its errors are `UNKNOWN`, a locked database as well.
    Busy(Status),
    /// The server doesn't want it, now or later.
    Refused(Refusal),
}

/// The server's words for something that it doesn't want.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    code: Code,
    message: String,
}

/// Words with which the server says that the workflow is another agent's. The reference server's, since v3.14.
const NOT_OURS: &[&str] = &["is not allowed to interact with workflow", "task assigned to different agent"];

/// The words of a database that has no such thing.
const NO_ROW: &str = "no rows in result set";

/// The words for a workflow that has ended.
const OVER: &str = "already marked as finished";

/// Words that stay true however often something is said.
const FINAL: &[&str] = &[
    OVER,
    "impossible workflow state",
    "can not alter logs",
    NO_ROW,
    "blocked state",
    "task not found",
    "task expired",
];

impl Trouble {
    /// | status | means |
    /// |---|---|
    /// | any, with an error of the transport as its source | the connection broke; or this call alone was reset: again |
    /// | `UNAVAILABLE`, `DEADLINE_EXCEEDED`, `CANCELLED` | the server or a proxy is away: again, without an end |
    /// | `FAILED_PRECONDITION` | the server speaks another protocol |
    /// | `INVALID_ARGUMENT`, `OUT_OF_RANGE`, `RESOURCE_EXHAUSTED`, or words that stay true | the server doesn't want it |
    /// | all others, as a proxy says them too (404 is `UNIMPLEMENTED`, 403 `PERMISSION_DENIED`) | again, for some time |
    ///
    /// `UNAUTHENTICATED` is answered with another token before anybody asks here.
    pub(super) fn of(status: &Status) -> Self {
        if let Some(source) = status.source() {
            return if is_reset(source) { Self::Again(status.clone()) } else { Self::Ended(classify(status)) };
        }
        let refusal = || Self::Refused(Refusal { code: status.code(), message: status.message().to_owned() });
        match status.code() {
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => Self::Again(status.clone()),
            Code::InvalidArgument | Code::OutOfRange | Code::ResourceExhausted => refusal(),
            Code::FailedPrecondition => {
                let (agent, reason) = (PROTOCOL.unsigned_abs(), format!("the server said '{}'", status.message()));
                Self::Ended(Ended { cause: Cause::Protocol { agent, reason }, verdict: Verdict::Fatal })
            }
            _ if NOT_OURS.iter().chain(FINAL).any(|words| status.message().contains(words)) => refusal(),
            _ => Self::Busy(status.clone()),
        }
    }

    /// A token that the server just gave is not accepted by it.
    pub(super) fn fresh_token_refused() -> Self {
        let reason = "it refuses access tokens that it just gave; do several servers with different secrets \
                      (WOODPECKER_GRPC_SECRET) answer at this address?";
        Self::Ended(unauthenticated(reason))
    }
}

/// The server doesn't accept the agent's own token.
pub(super) fn unauthenticated(reason: &str) -> Ended {
    let reason = reason.trim().trim_end_matches('.').to_owned();
    Ended { cause: Cause::Unauthenticated { reason }, verdict: Verdict::Reauthenticate }
}

/// Whether only this one call was ended, by whoever stands between.
fn is_reset(source: &(dyn Error + 'static)) -> bool {
    let mut next = Some(source);
    while let Some(error) = next {
        if error.downcast_ref::<h2::Error>().is_some_and(h2::Error::is_reset) {
            return true;
        }
        next = error.source();
    }
    false
}

impl Refusal {
    /// It was asked for again and again, and the time for that is over.
    pub(super) fn given_up(status: &Status) -> Self {
        Self { code: status.code(), message: status.message().to_owned() }
    }

    /// The workflow is another agent's.
    pub(super) fn is_not_ours(&self) -> bool {
        NOT_OURS.iter().any(|words| self.message.contains(words))
    }

    /// The workflow is over for the server.
    pub(super) fn is_over(&self) -> bool {
        self.message.contains(OVER)
    }

    /// What it was asked about is not there. Of calls that name only the agent: the agent itself.
    pub(super) fn is_about_nobody(&self) -> bool {
        self.message.contains(NO_ROW)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.code, self.message)
    }
}

#[cfg(test)]
mod tests {
    use tonic::{Code, Status};

    use super::Trouble;

    #[test]
    fn the_table() {
        for (code, words, means) in [
            (Code::Unavailable, "bad gateway", "again"),
            (Code::DeadlineExceeded, "", "again"),
            (Code::Cancelled, "context canceled", "again"),
            (Code::Aborted, "", "busy"),
            (Code::DataLoss, "", "busy"),
            (Code::Unknown, "database is locked", "busy"),
            (Code::Internal, "", "busy"),
            (Code::PermissionDenied, "grpc-status header missing, mapped from HTTP status code 403", "busy"),
            (Code::Unimplemented, "grpc-status header missing, mapped from HTTP status code 404", "busy"),
            (Code::Unknown, "workflow was already marked as finished", "refused"),
            (Code::Unknown, "agent is not allowed to interact with workflow 7", "refused, not ours"),
            (Code::Unknown, "task assigned to different agent", "refused, not ours"),
            (Code::Unknown, "sql: no rows in result set", "refused"),
            (Code::Unknown, "can not alter logs: pipeline is over", "refused"),
            (Code::ResourceExhausted, "message too large", "refused"),
            (Code::FailedPrecondition, "version mismatch", "ended"),
        ] {
            let told = match Trouble::of(&Status::new(code, words)) {
                Trouble::Ended(_) => "ended".to_owned(),
                Trouble::Again(_) => "again".to_owned(),
                Trouble::Busy(_) => "busy".to_owned(),
                Trouble::Refused(refusal) => {
                    format!("refused{}", if refusal.is_not_ours() { ", not ours" } else { "" })
                }
            };
            assert_eq!(told, means, "{code:?} {words}");
        }
        let broken = Status::from_error(Box::new(std::io::Error::from(std::io::ErrorKind::BrokenPipe)));
        assert!(matches!(Trouble::of(&broken), Trouble::Ended(_)));
    }
}
