//! What was written lately: a bounded window, from which watches read and out of which older lists are rebuilt.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::object::Object;

/// What a write did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Added,
    Modified,
    Deleted,
}

/// One write.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) revision: u64,
    pub(crate) what: What,
    /// The version that was written; for a deletion the last one, with the deletion's revision.
    pub(crate) object: Arc<Object>,
    /// The version before.
    pub(crate) before: Option<Arc<Object>>,
}

/// The asked revision has left the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expired {
    pub(crate) asked: u64,
    /// The oldest revision from which one could still read on.
    pub(crate) oldest: u64,
}

/// The window. Revisions in it have no gaps.
#[derive(Debug)]
pub(super) struct History {
    changes: VecDeque<Change>,
    window: usize,
    current: u64,
}

impl History {
    pub(super) fn new(window: usize) -> Self {
        Self { changes: VecDeque::new(), window, current: 0 }
    }

    pub(super) fn current(&self) -> u64 {
        self.current
    }

    pub(super) fn push(&mut self, change: Change) {
        self.current = change.revision;
        self.changes.push_back(change);
        while self.changes.len() > self.window {
            self.changes.pop_front();
        }
    }

    pub(super) fn clear(&mut self) {
        self.changes.clear();
    }

    /// The changes after `revision`, oldest first. A revision of the future has none yet.
    pub(super) fn since(&self, revision: u64) -> Result<impl DoubleEndedIterator<Item = &Change>, Expired> {
        let oldest = self.changes.front().map_or(self.current, |first| first.revision - 1);
        if revision < oldest {
            return Err(Expired { asked: revision, oldest });
        }
        let skip = usize::try_from(revision - oldest).unwrap_or(usize::MAX);
        Ok(self.changes.range(skip.min(self.changes.len())..))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kind::Kind;

    fn change(revision: u64) -> Change {
        let object = Arc::new(Object::new(Kind::Pod, json!({})));
        Change { revision, what: What::Added, object, before: None }
    }

    fn revisions(history: &History, since: u64) -> Result<Vec<u64>, Expired> {
        history.since(since).map(|found| found.map(|change| change.revision).collect())
    }

    #[test]
    fn the_window_forgets_the_oldest_and_says_so() {
        let mut history = History::new(3);
        (1..=5).for_each(|revision| history.push(change(revision)));
        assert_eq!(revisions(&history, 1), Err(Expired { asked: 1, oldest: 2 }));
        assert_eq!(revisions(&history, 2), Ok(vec![3, 4, 5]));
        assert_eq!(revisions(&history, 4), Ok(vec![5]));
        assert_eq!(revisions(&history, 5), Ok(vec![]));
        assert_eq!(revisions(&history, 9), Ok(vec![]));
    }

    #[test]
    fn after_clearing_only_who_has_read_all_may_go_on() {
        let mut history = History::new(3);
        (1..=5).for_each(|revision| history.push(change(revision)));
        history.clear();
        assert_eq!(revisions(&history, 4), Err(Expired { asked: 4, oldest: 5 }));
        assert_eq!(revisions(&history, 5), Ok(vec![]));
        history.push(change(6));
        assert_eq!(revisions(&history, 5), Ok(vec![6]));
    }
}
