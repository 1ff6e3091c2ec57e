//! Keeps a step's lines until they are sent, so that a slow server never slows the reading of logs.
//!
//! A spool has a bound. Where it is reached the newest lines are dropped, and one line in their place says so.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;

use crate::report::{LogLine, LogTotal};

/// What a line costs beside its bytes: its entry in a queue, its reference count, the allocator's part of both.
pub const LINE_OVERHEAD: usize = 160;

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
        self.lines.iter().map(|piece| cost(&piece.bytes)).sum()
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
    memory: usize,
    waiting: VecDeque<Waiting>,
    /// How many bytes of the first line have been taken already.
    taken: usize,
    /// Line data that waits, in bytes.
    data: usize,
    /// Memory that is used, in bytes.
    bytes: usize,
    /// When the log ended and with what, until that was taken too.
    end: Option<(Instant, LogTotal)>,
    ended: bool,
    /// All that was handed in, lost lines included.
    total: LogTotal,
}

#[derive(Debug)]
struct Waiting {
    since: Instant,
    entry: Entry,
}

#[derive(Debug)]
enum Entry {
    Line(LogLine),
    Lost(Lost),
}

/// A run of lines that were dropped.
#[derive(Debug)]
struct Lost {
    /// The number of the first one.
    number: u64,
    /// The time of the first one.
    time: Timestamp,
    lines: u64,
    bytes: u64,
}

impl Spool {
    /// An empty spool. `memory` is the bound that lost lines name, in bytes.
    pub fn new(batch: Batch, memory: usize) -> Self {
        // A chunk without room for anything would never end.
        let batch = Batch { bytes: batch.bytes.max(1), lines: batch.lines.max(1), ..batch };
        Self {
            batch,
            memory,
            waiting: VecDeque::new(),
            taken: 0,
            data: 0,
            bytes: 0,
            end: None,
            ended: false,
            total: LogTotal { lines: 0, bytes: 0 },
        }
    }

    /// Adds the next line, if it costs no more than `room`. Else the line is lost, and the log will say so.
    ///
    /// Once lines were lost, all that follow are lost too until there is some room again: one long hole can be
    /// understood, a hundred short ones can't. After [`Spool::end`] nothing is added.
    ///
    /// Returns whether the line was kept.
    pub fn push(&mut self, line: LogLine, now: Instant, room: usize) -> bool {
        if self.ended {
            return false;
        }
        self.total = LogTotal { lines: line.number + 1, bytes: self.total.bytes + line.bytes.len() as u64 };
        let cost = cost(&line.bytes);
        match self.waiting.back_mut() {
            Some(Waiting { entry: Entry::Lost(lost), .. }) if room < cost.max(self.bytes / 8) => {
                lost.lines += 1;
                lost.bytes += line.bytes.len() as u64;
                false
            }
            _ if room < cost => {
                let lost = Lost { number: line.number, time: line.time, lines: 1, bytes: line.bytes.len() as u64 };
                self.bytes += LINE_OVERHEAD;
                self.waiting.push_back(Waiting { since: now, entry: Entry::Lost(lost) });
                false
            }
            _ => {
                self.bytes += cost;
                self.data += line.bytes.len();
                self.waiting.push_back(Waiting { since: now, entry: Entry::Line(line) });
                true
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

    /// The memory that is used, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.end.is_none()
    }

    /// Whether the log ended and all of it was taken.
    pub fn is_over(&self) -> bool {
        self.ended && self.is_empty()
    }

    /// When the next chunk may leave: at once (a time in the past) if it is full or the log is over, a period after
    /// its first line came otherwise. `None` if nothing waits.
    pub fn due(&self) -> Option<Instant> {
        let first = self.waiting.front().map(|waiting| waiting.since);
        let full = self.data >= self.batch.bytes || self.waiting.len() >= self.batch.lines;
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
        let first_line = match (self.waiting.front(), self.end) {
            (Some(waiting), _) => waiting.entry.number(),
            (None, Some((_, total))) => total.lines,
            (None, None) => return None,
        };
        let mut lines = Vec::new();
        let mut number = first_line;
        let mut room = self.batch.bytes;
        while lines.len() < self.batch.lines {
            self.announce();
            // After lost lines the numbers go on with a gap, which only a new chunk can express.
            let Some(Waiting { entry: Entry::Line(line), .. }) = self.waiting.front() else { break };
            let rest = line.bytes.slice(self.taken..);
            if line.number != number || (rest.len() > room && !lines.is_empty()) {
                break;
            }
            let time = line.time;
            if rest.len() > room {
                // It fits into no chunk: it fills one after the other.
                self.taken += room;
                self.data -= room;
                lines.push(Piece { time, bytes: rest.slice(..room), continues: true });
                break;
            }
            self.bytes -= cost(&line.bytes);
            self.data -= rest.len();
            self.taken = 0;
            self.waiting.pop_front();
            room -= rest.len();
            number += 1;
            lines.push(Piece { time, bytes: rest, continues: false });
        }
        let end = if self.waiting.is_empty() { self.end.take().map(|(_, total)| total) } else { None };
        Some(Chunk { first_line, lines, end })
    }

    /// Puts lost lines at the front into words. Whatever is lost from now on is another loss.
    fn announce(&mut self) {
        if let Some(Waiting { entry, .. }) = self.waiting.front_mut()
            && let Entry::Lost(lost) = entry
        {
            let line = lost.announcement(self.memory);
            self.bytes += line.bytes.len();
            self.data += line.bytes.len();
            *entry = Entry::Line(line);
        }
    }
}

impl Entry {
    fn number(&self) -> u64 {
        match self {
            Self::Line(line) => line.number,
            Self::Lost(lost) => lost.number,
        }
    }
}

impl Lost {
    /// The line that stands in the place of the lost ones.
    fn announcement(&self, memory: usize) -> LogLine {
        let (lines, were) = if self.lines == 1 { ("line", "was") } else { ("lines", "were") };
        let text = format!(
            "[piculet] {} {lines} ({}) of this log {were} lost here: the server took them too slowly and the memory for logs ({}) was full.",
            self.lines,
            Size(self.bytes),
            Size(memory as u64),
        );
        LogLine { number: self.number, time: self.time, bytes: Bytes::from(text) }
    }
}

/// A number of bytes, for people.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MIB: u64 = 1024 * 1024;
        match self.0 {
            1 => f.write_str("1 byte"),
            bytes if bytes > 0 && bytes.is_multiple_of(MIB) => write!(f, "{} MiB", bytes / MIB),
            bytes => write!(f, "{bytes} bytes"),
        }
    }
}

/// The memory that a line costs.
fn cost(bytes: &Bytes) -> usize {
    bytes.len() + LINE_OVERHEAD
}

#[cfg(test)]
mod tests;
