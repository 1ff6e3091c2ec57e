//! What is said in the agent's own log about its disk for log lines.

use std::io::ErrorKind;

use piculet_core::logs::spool::BlockId;
use piculet_core::outbox::Done;

/// What was said. Writes, reads and removals are told apart: each may fail while the others work.
#[derive(Debug, Default)]
pub(super) struct Said {
    writes_fail: bool,
    reads_fail: bool,
    /// This block could not be removed. Others may be all the time.
    unremoved: Option<BlockId>,
}

/// Something that people should know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// Something begins to fail.
    Fails(&'static str),
    /// It works again.
    Works(&'static str),
}

impl Said {
    /// What to say about a job that is over, if that was not said before.
    pub(super) fn news(&mut self, done: &Done) -> Option<News> {
        match done {
            Done::Wrote { success, .. } => {
                let was_failing = std::mem::replace(&mut self.writes_fail, !success);
                change(
                    was_failing,
                    !success,
                    "log lines can't be kept on disk; memory alone keeps them now, and what it is too small for is lost, as the logs will say",
                    "log lines can be kept on disk again",
                )
            }
            Done::Fetched { .. } | Done::Unread { .. } | Done::Untried { .. } => {
                let fails = !matches!(done, Done::Fetched { .. });
                let was_failing = std::mem::replace(&mut self.reads_fail, fails);
                let trouble = if matches!(done, Done::Unread { gone: true, .. }) {
                    "log lines on disk are gone, as the logs will say"
                } else {
                    "log lines on disk can't be read; that is tried again, and what can't be read then is lost, as the logs will say"
                };
                change(was_failing, fails, trouble, "log lines on disk can be read again")
            }
            Done::Removed { id, success } => {
                let before = self.unremoved;
                if *success {
                    self.unremoved.take_if(|unremoved| unremoved == id);
                } else {
                    self.unremoved.get_or_insert(*id);
                }
                change(
                    before.is_some(),
                    self.unremoved.is_some(),
                    "log lines that nobody needs can't be removed from the disk; that is tried again",
                    "log lines that nobody needs can be removed from the disk again",
                )
            }
        }
    }
}

fn change(was_failing: bool, fails: bool, trouble: &'static str, relief: &'static str) -> Option<News> {
    match (was_failing, fails) {
        (false, true) => Some(News::Fails(trouble)),
        (true, false) => Some(News::Works(relief)),
        _ => None,
    }
}

/// What to do about it.
pub(super) fn remedy(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "make room on it, or lower logs.disk",
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => "let the agent's user write there",
        ErrorKind::NotFound => "somebody removed the folder; a restart of the agent makes a new one",
        ErrorKind::TimedOut => "look whether the disk is alive, or set logs.directory to another one",
        _ => "look whether the disk works, or set logs.directory to another one",
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use piculet_core::logs::spool::BlockId;
    use piculet_core::outbox::Done;

    use super::{News, Said};

    const ONE: BlockId = BlockId(1);
    const TWO: BlockId = BlockId(2);

    /// For each job `-` if it begins to fail, `+` if it works again, else `.`.
    fn said(jobs: &[Done]) -> String {
        let mut said = Said::default();
        let news = jobs.iter().map(|done| match said.news(done) {
            Some(News::Fails(_)) => '-',
            Some(News::Works(_)) => '+',
            None => '.',
        });
        news.collect()
    }

    #[test]
    fn writes_that_work_say_nothing_about_reads_and_removals_that_fail() {
        let wrote = |success| Done::Wrote { id: ONE, success };
        let fetched = || Done::Fetched { id: TWO, bytes: Bytes::new() };
        let unread = || Done::Unread { id: TWO, gone: false };
        assert_eq!(said(&[wrote(true), unread(), wrote(true), unread(), wrote(true), fetched()]), ".-...+");
        assert_eq!(said(&[unread(), wrote(false), Done::Untried { id: TWO }, fetched(), wrote(true)]), "--.++");
        let stays = || Done::Removed { id: ONE, success: false };
        assert_eq!(said(&[stays(), wrote(true), fetched(), stays()]), "-...");
    }

    #[test]
    fn one_block_that_stays_is_said_once_until_it_goes() {
        let removed = |id, success| Done::Removed { id, success };
        let jobs = [(ONE, false), (TWO, true), (ONE, false), (TWO, false), (ONE, true), (TWO, true)];
        assert_eq!(said(&jobs.map(|(id, success)| removed(id, success))), "-...+.");
    }
}
