//! What a pipeline can run for.

use std::fmt;
use std::str::FromStr;

/// What happened. `Display` and `FromStr` use the words of pipeline files: `push`, `pull_request` and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// Commits came to a branch.
    Push,
    /// A pull request was opened, or got commits.
    PullRequest,
    /// A pull request was closed or merged.
    PullRequestClosed,
    /// A pull request's title, labels or the like changed.
    PullRequestMetadata,
    /// A tag came.
    Tag,
    /// A release was made.
    Release,
    /// A deployment was asked for.
    Deployment,
    /// It is time.
    Cron,
    /// Somebody wants it.
    Manual,
}

impl Event {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Push,
        Self::PullRequest,
        Self::PullRequestClosed,
        Self::PullRequestMetadata,
        Self::Tag,
        Self::Release,
        Self::Deployment,
        Self::Cron,
        Self::Manual,
    ];

    /// The word of pipeline files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::PullRequest => "pull_request",
            Self::PullRequestClosed => "pull_request_closed",
            Self::PullRequestMetadata => "pull_request_metadata",
            Self::Tag => "tag",
            Self::Release => "release",
            Self::Deployment => "deployment",
            Self::Cron => "cron",
            Self::Manual => "manual",
        }
    }

    /// Whether it is about a pull request.
    pub fn is_pull_request(self) -> bool {
        matches!(self, Self::PullRequest | Self::PullRequestClosed | Self::PullRequestMetadata)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// There is no event of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no event '{0}'; the events are push, pull_request, pull_request_closed, pull_request_metadata, tag, \
     release, deployment, cron and manual"
)]
pub struct UnknownEvent(pub String);

impl FromStr for Event {
    type Err = UnknownEvent;

    fn from_str(text: &str) -> Result<Self, UnknownEvent> {
        Self::ALL.into_iter().find(|event| event.as_str() == text).ok_or_else(|| UnknownEvent(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::{Event, UnknownEvent};

    #[test]
    fn every_event_has_a_word() {
        for event in Event::ALL {
            assert_eq!(event.to_string().parse(), Ok(event));
        }
        let error = "pushed".parse::<Event>().unwrap_err();
        assert_eq!(error, UnknownEvent("pushed".to_owned()));
        for event in Event::ALL {
            assert!(error.to_string().contains(event.as_str()), "{error}");
        }
    }
}
