//! The log of one step: every line once, by number, and no silent hole.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use piculet_core::logs::spool::{Chunk, LINE_OVERHEAD, Piece};
use piculet_core::report::{LogLine, LogTotal};

/// The longest line that is kept; agents cut longer ones at the same length.
const MAX_LINE_BYTES: usize = 1024 * 1024;

/// Some lines in a row, and what follows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPage {
    /// In the order of their numbers; a number that lacks is missing.
    pub lines: Vec<LogLine>,
    /// The number to ask for next.
    pub next: u64,
    /// There are no lines after these, and none will come.
    pub is_last: bool,
}

/// The log of one step.
#[derive(Debug)]
pub struct StepLog {
    lines: BTreeMap<u64, (Timestamp, Bytes)>,
    stored_bytes: u64,
    /// The most memory that the lines may cost, in bytes.
    limit: u64,
    /// Why no more lines are kept, once one was not: what is kept has no hole.
    full: Option<Full>,
    /// Lines that came since.
    unstored_lines: u64,
    /// One more than the highest number that came.
    next: u64,
    /// Numbers below `next` that never came.
    holes: Vec<Range<u64>>,
    part: Option<Part>,
    end: Option<LogTotal>,
}

/// What there was no more room in.
#[derive(Debug, Clone, Copy)]
enum Full {
    /// In this log.
    Log,
    /// In the memory for all logs.
    Server,
}

/// The beginning of a line of which the rest has not come yet.
#[derive(Debug)]
struct Part {
    number: u64,
    time: Timestamp,
    bytes: BytesMut,
}

impl StepLog {
    pub(super) fn new(limit: u64) -> Self {
        Self {
            lines: BTreeMap::new(),
            stored_bytes: 0,
            limit,
            full: None,
            unstored_lines: 0,
            next: 0,
            holes: Vec::new(),
            part: None,
            end: None,
        }
    }

    /// Takes a chunk. Lines that are there already stay as they are; those that cost more than `room` bytes of memory
    /// together are counted and not kept.
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
            self.end = Some(total);
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

    /// Drops a line of which only a part has come: whoever reads the log anew sends it whole.
    pub(super) fn forget_part(&mut self) {
        self.part = None;
    }

    fn store(&mut self, number: u64, time: Timestamp, bytes: Bytes, room: &mut u64) {
        if !self.take_number(number) {
            return;
        }
        let cost = line_cost(&bytes);
        if self.memory() + cost > self.limit {
            self.full.get_or_insert(Full::Log);
        } else if cost > *room {
            self.full.get_or_insert(Full::Server);
        }
        if self.full.is_some() {
            self.unstored_lines += 1;
            return;
        }
        *room -= cost;
        self.stored_bytes += bytes.len() as u64;
        self.lines.insert(number, (time, bytes));
    }

    /// Marks a number as come. False if it had come before.
    fn take_number(&mut self, number: u64) -> bool {
        if number >= self.next {
            if number > self.next {
                self.holes.push(self.next..number);
            }
            self.next = number.saturating_add(1);
            return true;
        }
        let Some(at) = self.holes.iter().position(|hole| hole.contains(&number)) else { return false };
        let hole = self.holes[at].clone();
        let rest = [hole.start..number, number + 1..hole.end];
        self.holes.splice(at..=at, rest.into_iter().filter(|part| !part.is_empty()));
        true
    }

    /// How many whole lines have come without a hole before them.
    pub fn whole_lines(&self) -> u64 {
        self.holes.first().map_or(self.next, |hole| hole.start)
    }

    /// How many lines are kept.
    pub fn line_count(&self) -> u64 {
        self.lines.len() as u64
    }

    /// What the agent said about the whole; `None` as long as more may come.
    pub fn end(&self) -> Option<LogTotal> {
        self.end
    }

    /// What the lines cost in memory, in bytes.
    pub fn memory(&self) -> u64 {
        self.stored_bytes + self.line_count() * LINE_OVERHEAD as u64
    }

    /// What the lines of a chunk will cost in memory at most, in bytes. A line counts when it is whole.
    pub(super) fn cost(&self, chunk: &Chunk) -> u64 {
        if self.full.is_some() {
            return 0;
        }
        let part = self.part.as_ref().map_or(0, |part| line_cost(&part.bytes));
        let cost = part + chunk.lines.iter().map(|piece| line_cost(&piece.bytes)).sum::<u64>();
        cost.min(self.limit.saturating_sub(self.memory()))
    }

    /// How many lines never came, as far as that is known.
    pub fn missing_lines(&self) -> u64 {
        let holes: u64 = self.holes.iter().map(|hole| hole.end - hole.start).sum();
        let tail = self.end.map_or(0, |end| end.lines.saturating_sub(self.next));
        holes + tail
    }

    /// How many lines came when the log was full and were not kept.
    pub fn unstored_lines(&self) -> u64 {
        self.unstored_lines
    }

    /// What is wrong with the log, as a sentence. `is_over`: nothing can come any more.
    pub fn complaint(&self, is_over: bool) -> Option<String> {
        let missing = self.missing_lines();
        if missing > 0 {
            return Some(format!("{missing} lines of this log never came from the agent."));
        }
        if let Some(full) = self.full {
            let room = match full {
                Full::Log => format!("has room for {} bytes of a step's log", self.limit),
                Full::Server => "had no room left for the logs of all workflows".to_owned(),
            };
            return Some(format!("{} more lines came and were not kept: the server {room}.", self.unstored_lines));
        }
        let Some(end) = self.end else {
            return (is_over && self.next > 0).then(|| "The agent never said that this log is complete.".to_owned());
        };
        if end.lines < self.next {
            return Some(format!("The agent counted {} lines and sent {}.", end.lines, self.next));
        }
        (end.bytes != self.stored_bytes)
            .then(|| format!("The agent counted {} bytes in this log and sent {}.", end.bytes, self.stored_bytes))
    }

    /// At most `count` lines from a number on.
    pub fn page(&self, from: u64, count: usize) -> LogPage {
        let lines: Vec<_> = self
            .lines
            .range(from..)
            .take(count)
            .map(|(&number, (time, bytes))| LogLine { number, time: *time, bytes: bytes.clone() })
            .collect();
        let next = lines.last().map_or(from, |line| line.number + 1);
        let is_last = self.end.is_some() && self.lines.range(next..).next().is_none();
        LogPage { lines, next, is_last }
    }
}

fn line_cost(bytes: &[u8]) -> u64 {
    (bytes.len() + LINE_OVERHEAD) as u64
}
