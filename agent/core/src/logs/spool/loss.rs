//! Lines that had to be dropped, and what the log says in their place.

use std::fmt;
use std::time::Instant;

use bytes::Bytes;
use jiff::Timestamp;

use super::Bounds;
use crate::report::LogLine;

/// Why lines are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The memory is full, and there is no disk.
    Memory,
    /// The memory is full, and so is the disk.
    MemoryAndDisk,
    /// The memory is full, and the disk can't be written.
    DiskFails,
    /// The memory is full, and the disk takes what it gets too slowly.
    DiskIsSlow,
    /// They were on the disk, and it didn't give them back.
    Unreadable,
}

/// A run of lines that were dropped.
#[derive(Debug)]
pub(super) struct Lost {
    /// The number of the first one.
    number: u64,
    /// The time of the first one.
    time: Timestamp,
    /// When the first one came.
    since: Instant,
    lines: u64,
    bytes: u64,
    why: Why,
}

impl Lost {
    /// One line.
    pub(super) fn new(line: &LogLine, since: Instant, why: Why) -> Self {
        Self::run(line.number, line.time, since, 1, line.bytes.len() as u64, why)
    }

    /// Consecutive lines.
    pub(super) fn run(number: u64, time: Timestamp, since: Instant, lines: u64, bytes: u64, why: Why) -> Self {
        Self { number, time, since, lines, bytes, why }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// Whether the next line, if it is lost too, belongs to this run.
    pub(super) fn grows(&self) -> bool {
        self.why != Why::Unreadable
    }

    /// One more.
    pub(super) fn add(&mut self, bytes: u64) {
        self.lines += 1;
        self.bytes += bytes;
    }

    /// The line that stands in the place of the lost ones.
    pub(super) fn announcement(&self, bounds: &Bounds) -> LogLine {
        let (lines, were) = if self.lines == 1 { ("line", "was") } else { ("lines", "were") };
        let (memory, disk) = (Size(bounds.memory as u64), Size(bounds.disk));
        let why = match self.why {
            Why::Memory => format!("the server took them too slowly and the memory for logs ({memory}) was full"),
            Why::MemoryAndDisk => format!(
                "the server took them too slowly, and both the memory ({memory}) and the disk ({disk}) for logs were full"
            ),
            Why::DiskFails => format!(
                "the server took them too slowly, the memory for logs ({memory}) was full, and the disk for logs could not be written"
            ),
            Why::DiskIsSlow => format!(
                "the server took them too slowly, the memory for logs ({memory}) was full, and the disk for logs was too slow"
            ),
            Why::Unreadable => "they were on the agent's disk and could not be read back".to_owned(),
        };
        let text =
            format!("[piculet] {} {lines} ({}) of this log {were} lost here: {why}.", self.lines, Size(self.bytes));
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
