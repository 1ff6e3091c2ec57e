//! What a status of a Woodpecker server means: one table, and nothing else looks at codes and words.

use std::error::Error as _;
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
    /// The server asks for another try.
    Busy(Status),
    /// The server doesn't want it.
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

/// Words that stay true however often something is said.
const FINAL: &[&str] = &[
    "already marked as finished",
    "impossible workflow state",
    "can not alter logs",
    "no rows in result set",
    "is blocked",
    "task not found",
    "task expired",
];

impl Trouble {
    /// | status | means |
    /// |---|---|
    /// | any, with an error of the transport as its source | the connection broke |
    /// | `UNAVAILABLE`, `DEADLINE_EXCEEDED`, `CANCELLED` | the server or a proxy is away: again, without an end |
    /// | `ABORTED`, `DATA_LOSS` | again, for some time |
    /// | `FAILED_PRECONDITION` | the server speaks another protocol |
    /// | all others | the server doesn't want it. Nearly everything is `UNKNOWN` with a text |
    ///
    /// `UNAUTHENTICATED` is answered with another token before anybody asks here.
    pub(super) fn of(status: &Status) -> Self {
        if status.source().is_some() {
            return Self::Ended(classify(status));
        }
        match status.code() {
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => Self::Again(status.clone()),
            Code::Aborted | Code::DataLoss => Self::Busy(status.clone()),
            Code::FailedPrecondition => {
                let (agent, reason) = (PROTOCOL.unsigned_abs(), format!("the server said '{}'", status.message()));
                Self::Ended(Ended { cause: Cause::Protocol { agent, reason }, verdict: Verdict::Fatal })
            }
            code => Self::Refused(Refusal { code, message: status.message().to_owned() }),
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

impl Refusal {
    /// It was asked for again and again, and the time for that is over.
    pub(super) fn given_up(status: &Status) -> Self {
        Self { code: status.code(), message: status.message().to_owned() }
    }

    /// The workflow is another agent's.
    pub(super) fn is_not_ours(&self) -> bool {
        NOT_OURS.iter().any(|words| self.message.contains(words))
    }

    /// Saying it again can't help.
    pub(super) fn is_final(&self) -> bool {
        let may_pass = matches!(self.code, Code::Unknown | Code::Internal);
        !may_pass || self.is_not_ours() || FINAL.iter().any(|words| self.message.contains(words))
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
            (Code::Unknown, "database is locked", "refused"),
            (Code::Unknown, "workflow was already marked as finished", "refused finally"),
            (Code::Unknown, "agent is not allowed to interact with workflow 7", "refused finally, not ours"),
            (Code::Unknown, "task assigned to different agent", "refused finally, not ours"),
            (Code::Unknown, "sql: no rows in result set", "refused finally"),
            (Code::Unknown, "can not alter logs: pipeline is over", "refused finally"),
            (Code::ResourceExhausted, "message too large", "refused finally"),
            (Code::PermissionDenied, "", "refused finally"),
            (Code::Unimplemented, "", "refused finally"),
            (Code::FailedPrecondition, "version mismatch", "ended"),
        ] {
            let told = match Trouble::of(&Status::new(code, words)) {
                Trouble::Ended(_) => "ended".to_owned(),
                Trouble::Again(_) => "again".to_owned(),
                Trouble::Busy(_) => "busy".to_owned(),
                Trouble::Refused(refusal) => format!(
                    "refused{}{}",
                    if refusal.is_final() { " finally" } else { "" },
                    if refusal.is_not_ours() { ", not ours" } else { "" }
                ),
            };
            assert_eq!(told, means, "{code:?} {words}");
        }
        let broken = Status::from_error(Box::new(std::io::Error::from(std::io::ErrorKind::BrokenPipe)));
        assert!(matches!(Trouble::of(&broken), Trouble::Ended(_)));
    }
}
