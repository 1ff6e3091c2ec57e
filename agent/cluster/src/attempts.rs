//! One question to the API server, asked until there is an answer or the patience ends.

use std::error::Error as _;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use kube::core::Status;
use piculet_core::retry::{Backoff, Growth, Verdict};
use tokio::time::{Instant, sleep, timeout};

use crate::cluster::Cluster;

/// Between two tries: the API server is near, and most failures are short.
const GROWTH: Growth = Growth { initial: Duration::from_millis(100), factor: 2.0, cap: Duration::from_secs(5) };

/// How long a request may take at least.
const SHORTEST: Duration = Duration::from_secs(1);

/// Why a question has no answer of use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The API server answered, and it will answer the same again.
    #[error("The cluster refused to {what}: {message}")]
    Refused {
        /// What was asked for, with the object.
        what: String,
        /// The HTTP status code.
        code: u16,
        /// Kubernetes' word for the class of error; empty if there is none.
        reason: String,
        /// The cluster's own words.
        message: String,
    },
    /// There was no answer of use for as long as the patience lasted. The request may have been carried out.
    #[error("It was not possible to {what} within {} s: {message}", tried.as_secs())]
    Unreachable {
        /// What was asked for, with the object.
        what: String,
        /// For how long.
        tried: Duration,
        /// What went wrong last.
        message: String,
    },
}

impl CallError {
    /// A stable name.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "cluster-refused",
            Self::Unreachable { .. } => "cluster-unreachable",
        }
    }

    /// What was asked for, with the object.
    pub fn what(&self) -> &str {
        match self {
            Self::Refused { what, .. } | Self::Unreachable { what, .. } => what,
        }
    }

    /// Whether the agent lacks the right to ask this.
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::Refused { code: 403, .. })
    }
}

/// The tries at one thing.
#[derive(Debug)]
pub(crate) struct Attempts {
    what: String,
    request: Duration,
    patience: Duration,
    started: Instant,
    backoff: Backoff,
}

impl Cluster {
    /// Begins to try. `what` completes the sentence 'The cluster refused to …'.
    pub(crate) fn attempts(&self, what: impl Into<String>) -> Attempts {
        self.attempts_within(what, self.limits().patience)
    }

    /// The same with another patience.
    pub(crate) fn attempts_within(&self, what: impl Into<String>, patience: Duration) -> Attempts {
        Attempts {
            what: what.into(),
            request: self.limits().request,
            patience,
            started: Instant::now(),
            backoff: Backoff::new(GROWTH, self.next_seed()),
        }
    }

    /// A thing and the namespace that it is in, for people.
    pub(crate) fn here(&self, thing: impl fmt::Display) -> String {
        format!("{thing} in namespace '{}'", self.namespace())
    }
}

impl Attempts {
    /// Asks until there is an answer.
    pub(crate) async fn ask<T, F>(mut self, mut ask: impl FnMut() -> F) -> Result<T, CallError>
    where
        F: Future<Output = kube::Result<T>>,
    {
        loop {
            if let Some(answer) = self.once(ask()).await? {
                return Ok(answer);
            }
        }
    }

    /// Asks once. If that failed and may go well another time, it waits for that time and gives `None`.
    pub(crate) async fn once<T>(&mut self, ask: impl Future<Output = kube::Result<T>>) -> Result<Option<T>, CallError> {
        // Even when the patience is over, what was asked for gets one try.
        let left = self.patience.saturating_sub(self.started.elapsed());
        let request = self.request.min(left.max(SHORTEST));
        let (verdict, message) = match timeout(request, ask).await {
            Ok(Ok(answer)) => return Ok(Some(answer)),
            Ok(Err(kube::Error::Api(status))) if verdict_of_status(&status) == Verdict::Fatal => {
                return Err(self.refused(&status));
            }
            Ok(Err(error)) => (verdict(&error), describe(&error)),
            Err(_) => (Verdict::RETRY, format!("no answer within {} s", request.as_secs())),
        };
        self.pause(verdict, message).await?;
        Ok(None)
    }

    /// Waits until it is time for another try.
    ///
    /// # Errors
    /// If there will be none.
    pub(crate) async fn pause(&mut self, verdict: Verdict, message: String) -> Result<(), CallError> {
        let delay = verdict.delay(&mut self.backoff);
        let Some(delay) = delay.filter(|delay| self.started.elapsed() + *delay < self.patience) else {
            let tried = self.started.elapsed();
            return Err(CallError::Unreachable { what: self.what.clone(), tried, message });
        };
        tracing::debug!(what = self.what, error = message, again_in = ?delay, "the cluster gave no answer of use");
        sleep(delay).await;
        Ok(())
    }

    fn refused(&self, status: &Status) -> CallError {
        CallError::Refused {
            what: self.what.clone(),
            code: status.code,
            reason: status.reason.clone(),
            message: status.message.clone(),
        }
    }
}

/// What an error means for trying again.
pub(crate) fn verdict(error: &kube::Error) -> Verdict {
    match error {
        kube::Error::Api(status) => verdict_of_status(status),
        kube::Error::BuildRequest(_) | kube::Error::HttpError(_) => Verdict::Fatal,
        // Connections break, and answers are cut.
        _ => Verdict::RETRY,
    }
}

fn verdict_of_status(status: &Status) -> Verdict {
    let after = status.details.as_ref().map(|details| details.retry_after_seconds).filter(|seconds| *seconds > 0);
    let after = after.map(|seconds| Duration::from_secs(seconds.into()));
    match status.code {
        // Tokens are renewed, and their verification goes through other servers.
        401 => Verdict::Reauthenticate,
        // Two requests used the same quota. An object that exists is an answer.
        409 if !status.is_already_exists() => Verdict::Retry { after },
        408 | 429 | 500 | 502..=504 => Verdict::Retry { after },
        _ => Verdict::Fatal,
    }
}

/// An error in one line, without the client's own wrapping.
pub(crate) fn describe(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return match status.message.as_str() {
            "" => format!("status {}", status.code),
            message => message.to_owned(),
        };
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kube::core::Status;
    use piculet_core::retry::Verdict;

    use super::{describe, verdict};

    fn status(code: u16, reason: &str) -> kube::Error {
        kube::Error::Api(Status::failure("words", reason).with_code(code).boxed())
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for (code, reason) in [
            (429, "TooManyRequests"),
            (500, "InternalError"),
            (502, ""),
            (503, "ServiceUnavailable"),
            (504, "Timeout"),
            (409, "Conflict"),
        ] {
            assert_eq!(verdict(&status(code, reason)), Verdict::RETRY, "{code}");
        }
        assert_eq!(verdict(&status(401, "Unauthorized")), Verdict::Reauthenticate);
        for (code, reason) in [
            (400, "BadRequest"),
            (403, "Forbidden"),
            (404, "NotFound"),
            (409, "AlreadyExists"),
            (422, "Invalid"),
            (501, ""),
        ] {
            assert_eq!(verdict(&status(code, reason)), Verdict::Fatal, "{code}");
        }
        assert_eq!(verdict(&kube::Error::Service("connection reset by peer".into())), Verdict::RETRY);
    }

    #[test]
    fn the_server_says_when() {
        let text = r#"{"kind":"Status","code":429,"reason":"TooManyRequests","details":{"retryAfterSeconds":7}}"#;
        let status: Status = serde_json::from_str(text).unwrap();
        let after = Some(Duration::from_secs(7));
        assert_eq!(verdict(&kube::Error::Api(status.boxed())), Verdict::Retry { after });
    }

    #[test]
    fn errors_are_told_in_the_clusters_words() {
        assert_eq!(describe(&status(403, "Forbidden")), "words");
        let source = std::io::Error::other("connection reset by peer");
        assert_eq!(describe(&kube::Error::ReadEvents(source)), "Error reading events stream: connection reset by peer");
    }
}
