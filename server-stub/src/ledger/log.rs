//! The log of one step: every line once, by number, and no silent hole.
//!
//! Lines pass through here on their way to the store, and only what is known about them stays.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use piculet_core::logs::spool::{Chunk, Piece};
use piculet_core::report::{LogLine, LogTotal};
use serde::{Deserialize, Serialize};

/// The longest line that is kept; agents cut longer ones at the same length.
const MAX_LINE_BYTES: usize = 1024 * 1024;

/// What a line takes in the store beside its bytes.
pub const LINE_OVERHEAD: u64 = 16;

/// The log of one step.
#[derive(Debug, Default)]
pub struct StepLog {
    known: Known,
    /// The most room that the lines may take, in bytes.
    limit: u64,
    part: Option<Part>,
    /// Lines that the store has not been given yet.
    fresh: Vec<LogLine>,
}

/// What is known about a log beside its lines.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Known {
    /// How many lines are kept.
    kept_lines: u64,
    /// How many bytes they have.
    kept_bytes: u64,
    /// One more than the highest number of a line that is kept.
    kept_until: u64,
    /// Why no more lines are kept, once one was not: what is kept has no hole.
    full: Option<Full>,
    /// Lines that came since.
    unstored_lines: u64,
    /// One more than the highest number that came.
    next: u64,
    /// Numbers below `next` that never came.
    holes: Vec<Range<u64>>,
    end: Option<Total>,
}

/// What the agent said about the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Total {
    lines: u64,
    bytes: u64,
}

/// What there was no more room in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Full {
    /// In this log.
    Log,
    /// In the store.
    Server,
}

/// The beginning of a line of which the rest has not come yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The line's number.
    pub number: u64,
    /// When it was written.
    pub time: Timestamp,
    /// What has come.
    pub bytes: BytesMut,
}

impl StepLog {
    pub(super) fn new(limit: u64) -> Self {
        Self::restored(Known::default(), None, limit)
    }

    /// As it was stored.
    pub(crate) fn restored(known: Known, part: Option<Part>, limit: u64) -> Self {
        Self { known, limit, part, fresh: Vec::new() }
    }

    /// What is to be stored beside the lines.
    pub fn known(&self) -> &Known {
        &self.known
    }

    /// The line of which only a part has come, if there is one.
    pub fn part(&self) -> Option<&Part> {
        self.part.as_ref()
    }

    /// The lines that the store has not been given yet; it is given them now.
    pub(super) fn take_fresh(&mut self) -> Vec<LogLine> {
        std::mem::take(&mut self.fresh)
    }

    /// Takes a chunk. Lines that are there already stay as they are; those that take more than `room` bytes of the
    /// store together are counted and not kept.
    pub(super) fn append(&mut self, chunk: Chunk, mut room: u64) {
        let room = &mut room;
        let mut number = chunk.first_line;
        for piece in chunk.lines {
            if self.part.as_ref().is_some_and(|part| part.number != number) {
                // The rest of that line was lost. What came of it is better than nothing.
                self.complete_part(room);
            }
            number = self.add(number, piece, room);
        }
        if let Some(total) = chunk.end {
            self.complete_part(room);
            self.known.end = Some(Total { lines: total.lines, bytes: total.bytes });
        }
    }

    /// Adds a piece to the line with this number; returns the number of the next piece's line.
    fn add(&mut self, number: u64, piece: Piece, room: &mut u64) -> u64 {
        let part = match self.part.take() {
            None if !piece.continues => {
                self.store(number, piece.time, piece.bytes, room);
                return number.saturating_add(1);
            }
            None => Part { number, time: piece.time, bytes: BytesMut::from(&*piece.bytes) },
            Some(mut part) => {
                let room = MAX_LINE_BYTES.saturating_sub(part.bytes.len());
                part.bytes.extend_from_slice(&piece.bytes[..piece.bytes.len().min(room)]);
                part
            }
        };
        self.part = Some(part);
        if piece.continues {
            return number;
        }
        self.complete_part(room);
        number.saturating_add(1)
    }

    fn complete_part(&mut self, room: &mut u64) {
        if let Some(Part { number, time, bytes }) = self.part.take() {
            self.store(number, time, bytes.freeze(), room);
        }
    }

    /// Drops a line of which only a part has come: whoever reads the log anew sends it whole. True if there
    /// was one.
    pub(super) fn forget_part(&mut self) -> bool {
        self.part.take().is_some()
    }

    fn store(&mut self, number: u64, time: Timestamp, bytes: Bytes, room: &mut u64) {
        if !self.take_number(number) {
            return;
        }
        let size = line_size(&bytes);
        if self.size() + size > self.limit {
            self.known.full.get_or_insert(Full::Log);
        } else if size > *room {
            self.known.full.get_or_insert(Full::Server);
        }
        if self.known.full.is_some() {
            self.known.unstored_lines += 1;
            return;
        }
        *room -= size;
        self.known.kept_lines += 1;
        self.known.kept_bytes += bytes.len() as u64;
        self.known.kept_until = self.known.kept_until.max(number + 1);
        self.fresh.push(LogLine { number, time, bytes });
    }

    /// Marks a number as come. False if it had come before.
    fn take_number(&mut self, number: u64) -> bool {
        let Known { next, holes, .. } = &mut self.known;
        if number >= *next {
            if number > *next {
                holes.push(*next..number);
            }
            *next = number.saturating_add(1);
            return true;
        }
        let Some(at) = holes.iter().position(|hole| hole.contains(&number)) else { return false };
        let hole = holes[at].clone();
        let rest = [hole.start..number, number + 1..hole.end];
        holes.splice(at..=at, rest.into_iter().filter(|part| !part.is_empty()));
        true
    }

    /// How many whole lines have come without a hole before them.
    pub fn whole_lines(&self) -> u64 {
        self.known.holes.first().map_or(self.known.next, |hole| hole.start)
    }

    /// How many lines are kept.
    pub fn line_count(&self) -> u64 {
        self.known.kept_lines
    }

    /// One more than the highest number of a line that is kept.
    pub fn kept_until(&self) -> u64 {
        self.known.kept_until
    }

    /// What the agent said about the whole; `None` as long as more may come.
    pub fn end(&self) -> Option<LogTotal> {
        self.known.end.map(|Total { lines, bytes }| LogTotal { lines, bytes })
    }

    /// The room that the lines take, in bytes.
    pub fn size(&self) -> u64 {
        self.known.kept_bytes + self.known.kept_lines * LINE_OVERHEAD
    }

    /// The room that the lines of a chunk will take at most, in bytes. A line counts when it is whole.
    pub(super) fn size_of(&self, chunk: &Chunk) -> u64 {
        if self.known.full.is_some() {
            return 0;
        }
        let part = self.part.as_ref().map_or(0, |part| line_size(&part.bytes));
        let size = part + chunk.lines.iter().map(|piece| line_size(&piece.bytes)).sum::<u64>();
        size.min(self.limit.saturating_sub(self.size()))
    }

    /// How many lines never came, as far as that is known.
    pub fn missing_lines(&self) -> u64 {
        let holes: u64 = self.known.holes.iter().map(|hole| hole.end - hole.start).sum();
        let tail = self.known.end.map_or(0, |end| end.lines.saturating_sub(self.known.next));
        holes + tail
    }

    /// How many lines came when the log was full and were not kept.
    pub fn unstored_lines(&self) -> u64 {
        self.known.unstored_lines
    }

    /// What is wrong with the log, as a sentence. `is_over`: nothing can come any more.
    pub fn complaint(&self, is_over: bool) -> Option<String> {
        let Known { full, next, kept_bytes, unstored_lines, end, .. } = &self.known;
        let missing = self.missing_lines();
        if missing > 0 {
            return Some(format!("{missing} lines of this log never came from the agent."));
        }
        if let Some(full) = full {
            let room = match full {
                Full::Log => format!("has room for {} bytes of a step's log", self.limit),
                Full::Server => "had no room left for the logs of all workflows".to_owned(),
            };
            return Some(format!("{unstored_lines} more lines came and were not kept: the server {room}."));
        }
        let Some(end) = end else {
            return (is_over && *next > 0).then(|| "The agent never said that this log is complete.".to_owned());
        };
        if end.lines < *next {
            return Some(format!("The agent counted {} lines and sent {next}.", end.lines));
        }
        (end.bytes != *kept_bytes)
            .then(|| format!("The agent counted {} bytes in this log and sent {kept_bytes}.", end.bytes))
    }
}

fn line_size(bytes: &[u8]) -> u64 {
    bytes.len() as u64 + LINE_OVERHEAD
}
