//! What an outbox puts on a disk, and when: decisions only. Whoever owns the outbox does the [`Job`]s and says what
//! became of them.
//!
//! Memory for logs has two parts. The larger one is for what was pushed. From half of it on, blocks go to the disk; from
//! three quarters on, a disk that keeps up is waited for, a moment at most. The smaller part is for what comes back: so
//! that it always can, however full the other is.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::share;
use crate::id::{RunKey, StepId};
use crate::logs::lines::MAX_LINE;
use crate::logs::spool::{BlockId, Spool, Stored, Why};

/// Blocks that are written at the same time. They are few, so that one that comes back never waits for long.
const WRITES: usize = 2;
/// How long a write is waited for when memory runs short. A disk that needs longer is too slow.
const PATIENCE: Duration = Duration::from_millis(250);
/// How long a disk that failed is left alone.
const REST: Duration = Duration::from_secs(60);
/// A block has at most this part of the memory, so that even the smallest holds some of each step.
const BLOCKS: usize = 32;
/// A block is no larger than this, in bytes. Larger ones would come back for the sake of a few lines.
const LARGEST_BLOCK: usize = 256 * 1024;

/// Something to do with the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// Keep a block. Where that fails, nothing of it may be left.
    Write {
        /// Its name.
        id: BlockId,
        /// Its bytes.
        bytes: Bytes,
    },
    /// Give a block back, and keep it no longer.
    Fetch {
        /// Its name.
        id: BlockId,
        /// How many bytes it has.
        length: usize,
    },
    /// Keep a block no longer.
    Remove {
        /// Its name.
        id: BlockId,
    },
}

/// What became of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// A block was written, or could not be.
    Wrote {
        /// Its name.
        id: BlockId,
        /// Whether it was.
        success: bool,
    },
    /// A block came back, or could not be read.
    Fetched {
        /// Its name.
        id: BlockId,
        /// Its bytes.
        bytes: Option<Bytes>,
    },
    /// A block is gone.
    Removed {
        /// Its name.
        id: BlockId,
    },
}

/// How the memory for logs is divided.
#[derive(Debug, Clone, Copy)]
pub(super) struct Division {
    /// For what was pushed.
    pub(super) pushed: usize,
    /// For what comes back from the disk.
    pub(super) ahead: usize,
}

/// The disk, as far as it is known.
#[derive(Debug)]
pub(super) struct Disk {
    bytes: u64,
    next_id: u64,
    /// What was given out and is not done.
    jobs: BTreeMap<BlockId, Given>,
    /// Blocks that nobody needs any more.
    unneeded: VecDeque<(BlockId, usize)>,
    /// Bytes of all blocks that exist.
    used: u64,
    /// Memory of the blocks that are being written, in bytes.
    writing: usize,
    /// Memory of the blocks that are being read, in bytes.
    fetching: usize,
    /// It failed, and is left alone until then.
    rests_until: Option<Instant>,
}

/// A job that was given out.
#[derive(Debug)]
struct Given {
    length: usize,
    since: Instant,
    /// Whose block it is; `None` for one that nobody needs.
    owner: Option<Owner>,
    is_write: bool,
}

/// Where a block belongs.
#[derive(Debug)]
pub(super) struct Owner {
    pub(super) key: RunKey,
    pub(super) step: StepId,
    pub(super) last_line: u64,
}

/// A block that is to be put in its place.
#[derive(Debug)]
pub(super) enum Arrived {
    /// It was written, or not.
    Written(bool),
    /// It came back, or not.
    Fetched(Option<Bytes>),
}

impl Division {
    /// The division of this much memory.
    pub(super) fn of(memory: usize, has_disk: bool) -> Self {
        // A block of the longest line fits, if that is possible at all.
        let longest = MAX_LINE + 64 * 1024;
        let ahead = if has_disk { (memory / 8).max(longest.min(memory * 3 / 8)) } else { 0 };
        Self { pushed: memory - ahead, ahead }
    }
}

/// The size of a block where there is this much memory, in bytes.
pub(super) fn block_size(memory: usize) -> usize {
    (memory / BLOCKS).clamp(1, LARGEST_BLOCK)
}

impl Disk {
    /// Room for this much; 0 is no disk.
    pub(super) fn new(bytes: u64) -> Self {
        Self {
            bytes,
            next_id: 0,
            jobs: BTreeMap::new(),
            unneeded: VecDeque::new(),
            used: 0,
            writing: 0,
            fetching: 0,
            rests_until: None,
        }
    }

    /// How many bytes it may hold.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of all blocks that exist.
    pub(super) fn used(&self) -> u64 {
        self.used
    }

    /// Memory of blocks on the way to it, in bytes.
    pub(super) fn writing(&self) -> usize {
        self.writing
    }

    /// Memory of blocks on the way back, in bytes.
    pub(super) fn fetching(&self) -> usize {
        self.fetching
    }

    /// Whether a block may be written now.
    pub(super) fn takes(&self, now: Instant) -> bool {
        self.bytes > 0 && !self.rests(now) && self.jobs.values().filter(|job| job.is_write).count() < WRITES
    }

    /// Whether there may be something to bring back.
    pub(super) fn has_any(&self) -> bool {
        self.used > 0
    }

    /// Whether a spool's next block has room.
    pub(super) fn has_room(&self, spool: &Spool) -> bool {
        let room = share(self.bytes.saturating_sub(self.used), spool.stored());
        spool.next_store().is_some_and(|length| length as u64 <= room)
    }

    /// Why there is no room for one more line of a spool.
    pub(super) fn why(&self, spool: &Spool, block: usize, now: Instant) -> Why {
        let room = share(self.bytes.saturating_sub(self.used), spool.stored());
        if self.bytes == 0 {
            Why::Memory
        } else if self.rests(now) {
            Why::DiskFails
        } else if room < block as u64 {
            Why::MemoryAndDisk
        } else {
            Why::DiskIsSlow
        }
    }

    /// Until when the disk is worth waiting for.
    pub(super) fn waited_for(&self, now: Instant) -> Option<Instant> {
        let oldest = self.jobs.values().filter(|job| job.is_write).map(|job| job.since).min()?;
        Some(oldest + PATIENCE).filter(|until| *until > now)
    }

    /// A name for the next block.
    pub(super) fn name(&mut self) -> BlockId {
        self.next_id += 1;
        BlockId(self.next_id)
    }

    /// Gives a block out to be written.
    pub(super) fn write(&mut self, key: RunKey, step: StepId, block: Stored, now: Instant) -> Job {
        let Stored { id, bytes, length, last_line } = block;
        self.used += length as u64;
        self.writing += length;
        let owner = Some(Owner { key, step, last_line });
        self.jobs.insert(id, Given { length, since: now, owner, is_write: true });
        Job::Write { id, bytes }
    }

    /// Has a block brought back.
    pub(super) fn fetch(&mut self, key: RunKey, step: StepId, block: &Stored, now: Instant) -> Job {
        let Stored { id, length, last_line, .. } = *block;
        self.fetching += length;
        let owner = Some(Owner { key, step, last_line });
        self.jobs.insert(id, Given { length, since: now, owner, is_write: false });
        Job::Fetch { id, length }
    }

    /// The next block that nobody needs.
    pub(super) fn remove(&mut self, now: Instant) -> Option<Job> {
        let (id, length) = self.unneeded.pop_front()?;
        self.jobs.insert(id, Given { length, since: now, owner: None, is_write: false });
        Some(Job::Remove { id })
    }

    /// Nobody needs this block any more.
    pub(super) fn forget(&mut self, id: BlockId, length: usize) {
        self.unneeded.push_back((id, length));
    }

    /// A job is done. Returns what came of it, for whom, and how many bytes it was about.
    pub(super) fn done(&mut self, done: Done, now: Instant) -> Option<(BlockId, usize, Owner, Arrived)> {
        let (id, arrived) = match done {
            Done::Wrote { id, success } => (id, Arrived::Written(success)),
            Done::Fetched { id, bytes } => (id, Arrived::Fetched(bytes)),
            Done::Removed { id } => (id, Arrived::Fetched(None)),
        };
        let Given { length, owner, is_write, .. } = self.jobs.remove(&id)?;
        match &arrived {
            Arrived::Written(success) => {
                self.writing -= length;
                self.rests_until = if *success { None } else { Some(now + REST) };
            }
            Arrived::Fetched(bytes) if owner.is_some() => {
                self.fetching -= length;
                if bytes.is_none() {
                    self.rests_until = Some(now + REST);
                }
            }
            Arrived::Fetched(_) => {}
        }
        if !is_write || matches!(arrived, Arrived::Written(false)) {
            self.used -= length as u64;
        }
        owner.map(|owner| (id, length, owner, arrived))
    }

    fn rests(&self, now: Instant) -> bool {
        self.rests_until.is_some_and(|until| now < until)
    }
}
