//! Keeps a step's lines until they are sent, so that a slow server never slows the reading of logs.
//!
//! ```text
//!            ┌ leave next ┐   ┌──── the middle ────┐   ┌ newest ┐
//!  take() ◀──│ block      │ … │ block on disk │ …  │ … │ block  │◀── push()
//!            └────────────┘   └────────────────────┘   └────────┘
//! ```
//!
//! Lines are packed into blocks. A spool has a bound in memory, and whoever owns it may put blocks on a disk and bring
//! them back, see [`Spool::store`] and [`Spool::fetch`]. Where all bounds are reached the newest lines are dropped, and
//! one line in their place says so.

mod disk;
mod loss;
mod segment;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;

use super::block::{Cursor, Draft};
use crate::report::{LogLine, LogTotal};
pub use disk::{BlockId, Hunger, Stored};
use loss::Lost;
pub use loss::Why;
use segment::{Block, Place, Segment};

/// What a line that stands alone costs beside its bytes: its entry in a queue or a map, its reference count, the
/// allocator's part of both. In a block a line costs a few bytes only.
pub const LINE_OVERHEAD: usize = 160;

/// What a block costs beside its bytes, wherever these are, and what lost lines cost.
pub const BLOCK_OVERHEAD: usize = 256;

/// The memory that a block begins with, in bytes: that of a quiet step's few lines.
const FIRST_LINES: usize = 256;

/// How large chunks are, and when they leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    /// Line data of a chunk, in bytes, at most. The protocol allows 32 KiB.
    pub bytes: usize,
    /// Lines of a chunk at most. It bounds chunks of very short lines.
    pub lines: usize,
    /// How long a line waits at most until its chunk may leave, full or not.
    pub period: Duration,
}

impl Batch {
    /// The most memory that a chunk can cost, in bytes.
    pub fn max_cost(&self) -> usize {
        self.bytes + self.lines * LINE_OVERHEAD
    }
}

impl Default for Batch {
    /// 32 KiB, 512 lines, a quarter of a second.
    fn default() -> Self {
        Self { bytes: 32 * 1024, lines: 512, period: Duration::from_millis(250) }
    }
}

/// How a spool packs its lines, and what it names when it has to lose some.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The memory for all logs, in bytes.
    pub memory: usize,
    /// The disk for all logs, in bytes; 0 if there is none.
    pub disk: u64,
    /// The size of a block, in bytes. One with a longer line is larger.
    pub block: usize,
    /// The largest block that may go to the disk, in bytes.
    pub largest: usize,
}

/// Consecutive lines of a step's log, as they are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The number of the first line, or the next number if there is none. The others follow without a gap.
    pub first_line: u64,
    /// The lines. Only a chunk with an `end` may be without.
    pub lines: Vec<Piece>,
    /// The log is over. It tells what the step wrote: a line about lost ones stands for as many as it names.
    pub end: Option<LogTotal>,
}

impl Chunk {
    /// The memory that it costs, in bytes.
    pub fn cost(&self) -> usize {
        self.lines.iter().map(|piece| piece.bytes.len() + LINE_OVERHEAD).sum()
    }
}

/// A line, or a part of one that is larger than a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// When the line was written, by the node's clock.
    pub time: Timestamp,
    /// The bytes without the line end.
    pub bytes: Bytes,
    /// The line goes on in the step's next chunk, which starts with the same number. Only a chunk's last piece may.
    pub continues: bool,
}

/// The lines of one step that wait to be sent.
#[derive(Debug)]
pub struct Spool {
    batch: Batch,
    bounds: Bounds,
    /// In the order of their lines.
    segments: VecDeque<Segment>,
    /// How far the first segment was taken, if it is a block.
    begun: Cursor,
    /// How many bytes of the first line have been taken already.
    taken: usize,
    /// Lines that wait, wherever they are; a run of lost ones is one.
    lines: usize,
    /// Their bytes.
    data: u64,
    /// Memory of what was pushed, in bytes.
    kept: usize,
    /// Memory of what was brought back from the disk, in bytes.
    ahead: usize,
    /// The part of `kept` that could go to the disk.
    movable: usize,
    /// Bytes on disk, or on the way to or from it.
    stored: u64,
    /// When the log ended and with what, until that was taken too.
    end: Option<(Instant, LogTotal)>,
    ended: bool,
    /// All that was handed in, lost lines included.
    total: LogTotal,
}

impl Spool {
    /// An empty spool.
    pub fn new(batch: Batch, bounds: Bounds) -> Self {
        // A chunk without room for anything would never end.
        let batch = Batch { bytes: batch.bytes.max(1), lines: batch.lines.max(1), ..batch };
        Self {
            batch,
            bounds,
            segments: VecDeque::new(),
            begun: Cursor::default(),
            taken: 0,
            lines: 0,
            data: 0,
            kept: 0,
            ahead: 0,
            movable: 0,
            stored: 0,
            end: None,
            ended: false,
            total: LogTotal { lines: 0, bytes: 0 },
        }
    }

    /// Adds the next line, if that needs no more memory than `room`. Else the line is lost, and the log will say so,
    /// and `why`.
    ///
    /// Once lines were lost, all that follow are lost too until there is some room again: one long hole can be
    /// understood, a hundred short ones can't. After [`Spool::end`] nothing is added.
    ///
    /// Returns whether the line was kept.
    pub fn push(&mut self, line: &LogLine, now: Instant, room: usize, why: Why) -> bool {
        if self.ended {
            return false;
        }
        let data = line.bytes.len() as u64;
        self.total = LogTotal { lines: line.number + 1, bytes: self.total.bytes + data };
        let loses = matches!(self.segments.back(), Some(Segment::Lost(lost)) if lost.grows());
        let kept = (!loses || room >= self.kept / 8) && self.pack(line, now, room);
        if kept {
            self.lines += 1;
            self.data += data;
        } else if let Some(Segment::Lost(lost)) = self.segments.back_mut()
            && loses
        {
            lost.add(data);
        } else {
            self.lines += 1;
            self.kept += BLOCK_OVERHEAD;
            self.segments.push_back(Segment::Lost(Lost::new(line, now, why)));
        }
        kept
    }

    /// Appends a line to the last block, or to a new one.
    fn pack(&mut self, line: &LogLine, now: Instant, room: usize) -> bool {
        let limit = self.bounds.block;
        if let Some(Segment::Block(block)) = self.segments.back_mut()
            && block.next_line() == line.number
            && let Place::Open { buffer, end } = &mut block.place
        {
            let draft = Draft::new(*end, line.time, micros(now.saturating_duration_since(block.since)), &line.bytes);
            let len = buffer.len() + draft.len();
            if len <= limit {
                let before = buffer.capacity();
                if len > before {
                    // As a vector grows by itself, but no further than the block does, or the room.
                    let capacity = len.max((before * 2).min(limit)).min(before.saturating_add(room));
                    if capacity < len {
                        return false;
                    }
                    buffer.reserve_exact(capacity - buffer.len());
                }
                *end = draft.append(buffer);
                self.kept = self.kept - before + buffer.capacity();
                block.lines += 1;
                block.data += line.bytes.len() as u64;
                return true;
            }
        }
        let draft = Draft::new(Cursor::default(), line.time, 0, &line.bytes);
        if BLOCK_OVERHEAD + draft.len() > room {
            return false;
        }
        self.seal();
        let capacity = draft.len().max(FIRST_LINES.min(limit)).min(room - BLOCK_OVERHEAD);
        let mut buffer = Vec::with_capacity(capacity);
        let end = draft.append(&mut buffer);
        self.kept += BLOCK_OVERHEAD + buffer.capacity();
        let data = line.bytes.len() as u64;
        let block = Block {
            first_line: line.number,
            lines: 1,
            data,
            since: now,
            time: line.time,
            place: Place::Open { buffer, end },
        };
        self.segments.push_back(Segment::Block(block));
        true
    }

    /// Ends the last block: it gets no more lines.
    fn seal(&mut self) {
        let is_begun = self.is_begun(self.segments.len().saturating_sub(1));
        if let Some(Segment::Block(Block { place, .. })) = self.segments.back_mut()
            && let Place::Open { buffer, .. } = place
        {
            let capacity = buffer.capacity();
            let bytes = Bytes::from(std::mem::take(buffer).into_boxed_slice());
            self.kept = self.kept - capacity + bytes.len();
            if is_begun || bytes.len() > self.bounds.largest {
                *place = Place::Pinned(bytes);
            } else {
                self.movable += bytes.len();
                *place = Place::Sealed(bytes);
            }
        }
    }

    /// The log is over: its last chunk will say so. Only the first call counts.
    pub fn end(&mut self, total: LogTotal, now: Instant) {
        if !self.ended {
            self.ended = true;
            self.end = Some((now, total));
        }
    }

    /// The log is over with what was handed in, because nobody is left who could say so.
    pub fn abandon(&mut self, now: Instant) {
        self.end(self.total, now);
    }

    /// The memory of what was pushed and is neither on disk nor on the way to it, in bytes.
    pub fn kept(&self) -> usize {
        self.kept
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty() && self.end.is_none()
    }

    /// Whether the log ended and all of it was taken.
    pub fn is_over(&self) -> bool {
        self.ended && self.is_empty()
    }

    /// When the next chunk may leave: at once (a time in the past) if it is full or the log is over, a period after
    /// its first line came otherwise. `None` if nothing waits, or if what leaves next has to come from the disk first.
    pub fn due(&self) -> Option<Instant> {
        let first = match self.segments.front() {
            Some(segment) => Some(segment.since(self.begun)?),
            None => None,
        };
        let full = self.data >= self.batch.bytes as u64 || self.lines >= self.batch.lines;
        match self.end {
            Some((ended, _)) => Some(first.unwrap_or(ended)),
            None => first.map(|since| if full { since } else { since + self.batch.period }),
        }
    }

    /// Takes the next chunk, if it may leave now.
    pub fn take(&mut self, now: Instant) -> Option<Chunk> {
        if self.due()? > now {
            return None;
        }
        let first_line = match (self.segments.front(), self.end) {
            (Some(segment), _) => segment.first_line(),
            (None, Some((_, total))) => total.lines,
            (None, None) => return None,
        };
        // One buffer for all pieces: what is left of a block can be freed, whenever the server acknowledges.
        let mut buffer = Vec::new();
        let mut cuts = Vec::new();
        let mut number = first_line;
        while cuts.len() < self.batch.lines {
            self.announce();
            let Some((segment, line)) =
                self.segments.front().and_then(|segment| Some((segment, segment.read(self.begun)?)))
            else {
                break;
            };
            let rest = line.bytes.get(self.taken..).unwrap_or_default();
            let room = self.batch.bytes - buffer.len();
            // After lost lines the numbers go on with a gap, which only a new chunk can express.
            if segment.first_line() != number || (rest.len() > room && !cuts.is_empty()) {
                break;
            }
            // What fits into no chunk fills one after the other.
            let continues = rest.len() > room;
            let (part, next) = (&rest[..rest.len().min(room)], line.next);
            buffer.extend_from_slice(part);
            self.data -= part.len() as u64;
            cuts.push((line.time, buffer.len(), continues));
            self.pin_front();
            if continues {
                self.taken += room;
                break;
            }
            self.taken = 0;
            self.advance(next);
            number += 1;
        }
        let end = if self.segments.is_empty() { self.end.take().map(|(_, total)| total) } else { None };
        let buffer = Bytes::from(buffer);
        let mut begin = 0;
        let lines = cuts.into_iter().map(|(time, until, continues)| {
            let bytes = buffer.slice(begin..until);
            begin = until;
            Piece { time, bytes, continues }
        });
        Some(Chunk { first_line, lines: lines.collect(), end })
    }

    /// Puts lost lines at the front into words. Whatever is lost from now on is another loss.
    fn announce(&mut self) {
        if let Some(segment) = self.segments.front_mut()
            && let Segment::Lost(lost) = segment
        {
            let line = lost.announcement(&self.bounds);
            self.kept += line.bytes.len();
            self.data += line.bytes.len() as u64;
            *segment = Segment::Announced { since: lost.since(), line };
        }
    }

    /// The first line was taken to its end.
    fn advance(&mut self, next: Cursor) {
        self.lines -= 1;
        match self.segments.front_mut() {
            Some(Segment::Block(block)) if block.lines > 1 => {
                block.taken(self.begun);
                self.begun = next;
            }
            Some(_) => self.drop_front(),
            None => {}
        }
    }

    fn drop_front(&mut self) {
        self.begun = Cursor::default();
        match self.segments.pop_front() {
            Some(Segment::Block(block)) => {
                let (kept, ahead) = block.place.memory();
                self.kept -= kept + BLOCK_OVERHEAD;
                self.ahead -= ahead;
                if let Place::Writing(_, bytes) = &block.place {
                    self.stored -= bytes.len() as u64;
                }
            }
            Some(Segment::Announced { line, .. }) => self.kept -= line.bytes.len() + BLOCK_OVERHEAD,
            Some(Segment::Lost(_)) => self.kept -= BLOCK_OVERHEAD,
            None => {}
        }
    }

    /// Whether a part of this segment was taken already.
    fn is_begun(&self, index: usize) -> bool {
        index == 0 && (self.taken > 0 || !self.begun.is_at_begin())
    }
}

/// The block, if the segment is one.
fn block_of(segment: Option<&mut Segment>) -> Option<&mut Block> {
    match segment {
        Some(Segment::Block(block)) => Some(block),
        _ => None,
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
