//! What is said in the agent's own log while there is no session with the server.

use std::time::Duration;

use piculet_core::retry::Verdict;
use tokio::time::Instant;
use tracing::{debug, error, warn};

use crate::link::{Cause, Ended};

/// How long the same trouble may go on before it is said again.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// How many troubles are told apart. Of further ones the oldest is forgotten, and would be news again.
const TROUBLES: usize = 8;

/// What was said, and when. News are said at once; what stays the same, or takes turns with others, once a minute,
/// however often it is tried.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    said: Vec<(Cause, Instant)>,
}

impl Complaints {
    /// The next session is as if it were the first.
    pub(super) fn forget(&mut self) {
        self.said.clear();
    }

    /// Tells that a session ended, or never began.
    pub(super) fn tell(&mut self, ended: &Ended, again_in: Duration, now: Instant) {
        let Ended { cause, verdict } = ended;
        let (code, again_in) = (cause.code(), again_in.as_secs_f64());
        if !self.is_due(ended, now) {
            debug!(code, again_in, "{cause}");
            return;
        }
        self.said.retain(|(said, _)| !is_same(said, ended));
        if self.said.len() == TROUBLES {
            self.said.remove(0);
        }
        self.said.push((cause.clone(), now));
        if matches!(verdict, Verdict::Retry { .. }) {
            warn!(code, again_in, "{cause} Running workflows go on; their reports wait.");
        } else {
            error!(code, again_in, "{cause} Running workflows go on; their reports wait.");
        }
    }

    fn is_due(&self, ended: &Ended, now: Instant) -> bool {
        let said = self.said.iter().find(|(said, _)| is_same(said, ended));
        said.is_none_or(|(_, at)| now.duration_since(*at) >= SAY_AGAIN)
    }
}

/// A network has many words for one outage; what has to be put right by people is said word for word.
fn is_same(said: &Cause, Ended { cause, verdict }: &Ended) -> bool {
    match verdict {
        Verdict::Retry { .. } => said.code() == cause.code(),
        Verdict::Reauthenticate | Verdict::Fatal => said == cause,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use piculet_core::retry::Verdict;
    use tokio::time::Instant;

    use super::Complaints;
    use crate::link::{Cause, Ended};

    fn broken(reason: &str) -> Ended {
        Ended::retry(Cause::Broken { reason: reason.to_owned() })
    }

    fn refused(reason: &str) -> Ended {
        Ended { cause: Cause::Unauthenticated { reason: reason.to_owned() }, verdict: Verdict::Reauthenticate }
    }

    #[test]
    fn news_are_said_at_once_and_the_rest_once_a_minute() {
        let start = Instant::now();
        let mut complaints = Complaints::default();
        let mut said = Vec::new();
        let mut forgets = Some(200);
        for (second, ended) in [
            (0, broken("a")),
            (1, broken("b")),
            (2, refused("the token is wrong")),
            (3, refused("the token is wrong")),
            (4, refused("the token was revoked")),
            (63, refused("the token was revoked")),
            (64, refused("the token was revoked")),
            (65, refused("the token was revoked")),
            (66, broken("c")),
            (125, broken("c")),
            (126, broken("c")),
            (200, broken("c")),
            (201, broken("c")),
        ] {
            let now = start + Duration::from_secs(second);
            if forgets.is_some_and(|at| second > at) {
                forgets = None;
                complaints.forget();
            }
            if complaints.is_due(&ended, now) {
                said.push(second);
            }
            complaints.tell(&ended, Duration::ZERO, now);
        }
        assert_eq!(said, [0, 2, 4, 64, 66, 126, 200, 201]);
    }

    #[test]
    fn troubles_that_take_turns_are_not_news_each_time() {
        let start = Instant::now();
        let mut complaints = Complaints::default();
        let mut said = Vec::new();
        for second in 0..120 {
            let now = start + Duration::from_secs(second);
            let ended = if second % 2 == 0 { broken("a") } else { refused("the token is wrong") };
            if complaints.is_due(&ended, now) {
                said.push(second);
            }
            complaints.tell(&ended, Duration::ZERO, now);
        }
        assert_eq!(said, [0, 1, 60, 61]);
    }
}
