//! What an outbox puts on a disk, and when: decisions only. Whoever owns the outbox does the [`Job`]s and says what
//! became of them.
//!
//! Memory for logs has two parts. The larger one is for what was pushed. From half of it on, blocks go to the disk; from
//! three quarters on, a disk that keeps up is waited for, a moment at most. The smaller part is for what comes back: so
//! that it always can, however full the other is, and however much of it came back before it can leave.

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
/// How long nothing is written after a write failed, and a block is left alone that could not be removed.
const REST: Duration = Duration::from_secs(60);
/// How long a block is left alone that could not be read. Longer than most bad moments: a lack of open files, say.
const READ_REST: Duration = Duration::from_secs(20);
/// So many reads of a block fail before it is lost. One that hangs has failed, and so has the next while it does.
const READ_TRIES: u32 = 3;
/// A disk that gives nothing back for so long, although it is asked, has lost all that is on it: logs have to end.
const READS_END: Duration = Duration::from_secs(600);
/// Failures that are further apart than this say nothing about the time between them.
const READS_GAP: Duration = Duration::from_secs(60);
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
    /// Give a block back. It stays where it is.
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
    /// A block came back.
    Fetched {
        /// Its name.
        id: BlockId,
        /// Its bytes.
        bytes: Bytes,
    },
    /// A block could not be read.
    Unread {
        /// Its name.
        id: BlockId,
        /// It is not there any more, so that nobody has to try again.
        gone: bool,
    },
    /// A block was not tried to be read, because the disk is still busy with others. That says nothing about this one,
    /// but a disk that is always busy has lost all that is on it.
    Untried {
        /// Its name.
        id: BlockId,
    },
    /// A block was removed, or could not be.
    Removed {
        /// Its name.
        id: BlockId,
        /// Whether it is gone.
        success: bool,
    },
}

/// How the memory for logs is divided.
#[derive(Debug, Clone, Copy)]
pub(super) struct Division {
    /// For what was pushed.
    pub(super) pushed: usize,
    /// For what comes back from the disk.
    pub(super) ahead: usize,
    /// The largest block that may go to the disk. So much of `ahead` is only for blocks that are the first of their log.
    pub(super) largest: usize,
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
    /// Those of them that could not be removed, and when each is tried again, the earliest first.
    unremoved: VecDeque<(Instant, BlockId, usize)>,
    /// Bytes of all blocks that exist.
    used: u64,
    /// Memory of the blocks that are being written, in bytes.
    writing: usize,
    /// Memory of the blocks that are being read, in bytes.
    fetching: usize,
    /// A write failed, and there is no other one until then.
    writes_rest_until: Option<Instant>,
    /// Blocks that could not be read so far.
    unread: BTreeMap<BlockId, Unread>,
    /// Since when all reads fail, and when the last one did.
    reads_fail: Option<(Instant, Instant)>,
}

/// A block that could not be read so far.
#[derive(Debug)]
struct Unread {
    tries: u32,
    /// When it is tried again.
    again: Instant,
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
    /// It came back.
    Fetched(Bytes),
    /// It could not be read.
    Unread(Verdict),
}

/// What follows from a read that failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is tried again.
    Again,
    /// The block is lost; `true` if it is still on the disk.
    Lost(bool),
    /// The block is lost, and with it all others.
    AllLost,
}

impl Division {
    /// The division of this much memory.
    pub(super) fn of(memory: usize, has_disk: bool) -> Self {
        // A block of the longest line fits, and a usual one beside it, if that is possible at all.
        let (longest, usual) = (MAX_LINE + 64 * 1024, block_size(memory));
        let ahead = if has_disk { (memory / 8).max((longest + usual).min(memory * 3 / 8)) } else { 0 };
        Self { pushed: memory - ahead, ahead, largest: longest.min(ahead.saturating_sub(usual)) }
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
            unremoved: VecDeque::new(),
            used: 0,
            writing: 0,
            fetching: 0,
            writes_rest_until: None,
            unread: BTreeMap::new(),
            reads_fail: None,
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
        self.bytes > 0
            && !is_before(now, self.writes_rest_until)
            && self.jobs.values().filter(|job| job.is_write).count() < WRITES
    }

    /// Whether there may be something to bring back.
    pub(super) fn has_any(&self) -> bool {
        self.used > 0
    }

    /// Whether a block may be read now.
    pub(super) fn gives(&self, id: BlockId, now: Instant) -> bool {
        self.unread.get(&id).is_none_or(|unread| unread.again <= now)
    }

    /// When something is tried again that failed, if that is later than now.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let reads = self.unread.values().map(|unread| unread.again);
        let removals = self.unremoved.front().map(|(again, ..)| *again);
        reads.chain(removals).filter(|again| *again > now).min()
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
        } else if is_before(now, self.writes_rest_until) {
            Why::DiskFails
        } else if room < spool.next_store().unwrap_or(block) as u64 {
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
        let (id, length) = self.unneeded.pop_front().or_else(|| {
            let (_, id, length) = self.unremoved.pop_front_if(|(again, ..)| *again <= now)?;
            Some((id, length))
        })?;
        self.jobs.insert(id, Given { length, since: now, owner: None, is_write: false });
        Some(Job::Remove { id })
    }

    /// Nobody needs this block any more.
    pub(super) fn forget(&mut self, id: BlockId, length: usize) {
        self.unread.remove(&id);
        self.unneeded.push_back((id, length));
    }

    /// A job is done. Returns what came of it, for whom, and how many bytes it was about.
    pub(super) fn done(&mut self, done: Done, now: Instant) -> Option<(BlockId, usize, Owner, Arrived)> {
        let (Done::Wrote { id, .. }
        | Done::Fetched { id, .. }
        | Done::Unread { id, .. }
        | Done::Untried { id }
        | Done::Removed { id, .. }) = done;
        let Given { length, owner, .. } = self.jobs.remove(&id)?;
        let arrived = match done {
            Done::Wrote { success, .. } => {
                self.writing -= length;
                self.writes_rest_until = (!success).then(|| now + REST);
                if !success {
                    self.used -= length as u64;
                }
                Arrived::Written(success)
            }
            Done::Fetched { bytes, .. } => {
                self.fetching -= length;
                self.unread.remove(&id);
                self.reads_fail = None;
                Arrived::Fetched(bytes)
            }
            Done::Unread { gone, .. } => {
                self.fetching -= length;
                if gone {
                    self.unread.remove(&id);
                    self.used -= length as u64;
                    Arrived::Unread(Verdict::Lost(false))
                } else {
                    Arrived::Unread(self.unread(id, true, now))
                }
            }
            Done::Untried { .. } => {
                self.fetching -= length;
                Arrived::Unread(self.unread(id, false, now))
            }
            Done::Removed { success, .. } => {
                if success {
                    self.used -= length as u64;
                } else {
                    self.unremoved.push_back((now + REST, id, length));
                }
                return None;
            }
        };
        owner.map(|owner| (id, length, owner, arrived))
    }

    /// A block could not be read, if it was tried at all, and may be there nevertheless.
    fn unread(&mut self, id: BlockId, tried: bool, now: Instant) -> Verdict {
        let since = match self.reads_fail {
            Some((since, last)) if now.saturating_duration_since(last) <= READS_GAP => since,
            _ => now,
        };
        if now.saturating_duration_since(since) >= READS_END {
            self.unread.clear();
            self.reads_fail = None;
            return Verdict::AllLost;
        }
        self.reads_fail = Some((since, now));
        let unread = self.unread.entry(id).or_insert(Unread { tries: 0, again: now });
        unread.tries += u32::from(tried);
        unread.again = now + READ_REST;
        if unread.tries < READ_TRIES { Verdict::Again } else { Verdict::Lost(true) }
    }
}

fn is_before(now: Instant, until: Option<Instant>) -> bool {
    until.is_some_and(|until| now < until)
}
