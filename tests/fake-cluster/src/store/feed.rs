//! Waking those who wait for writes of certain kinds.

use crate::kind::Kind;
use crate::latest;

/// The revision of the latest write of each kind.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Revisions {
    of: [u64; Kind::ALL.len()],
    /// How often the history was thrown away: everybody who reads it has to look.
    expirations: u64,
}

impl Revisions {
    pub(super) fn set(&mut self, kind: Kind, revision: u64) {
        self.of[kind as usize] = revision;
    }

    pub(super) fn expire(&mut self) {
        self.expirations += 1;
    }

    fn latest(&self, kinds: &[Kind]) -> (u64, u64) {
        (kinds.iter().map(|kind| self.of[*kind as usize]).max().unwrap_or_default(), self.expirations)
    }
}

/// Tells of writes of some kinds. Several writes may be told as one.
#[derive(Debug)]
pub(crate) struct Feed {
    revisions: latest::Receiver<Revisions>,
    kinds: Vec<Kind>,
    seen: (u64, u64),
}

impl Feed {
    pub(super) fn new(revisions: latest::Receiver<Revisions>, kinds: &[Kind]) -> Self {
        let seen = revisions.borrow().latest(kinds);
        Self { revisions, kinds: kinds.to_vec(), seen }
    }

    /// What is written from now on is news. To be called before looking, so that nothing falls between.
    pub(crate) fn mark(&mut self) {
        self.seen = self.revisions.borrow().latest(&self.kinds);
    }

    /// Waits for news. `false` when the store is gone.
    pub(crate) async fn changed(&mut self) -> bool {
        let Self { revisions, kinds, seen } = self;
        revisions.wait_for(|now| now.latest(kinds) != *seen).await.is_ok()
    }
}
