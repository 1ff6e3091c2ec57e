//! What a spool consists of: blocks of lines, wherever their bytes are, and the places of lost ones.

use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;

use super::disk::BlockId;
use super::loss::Lost;
use crate::logs::block::{self, Cursor, Record};
use crate::report::LogLine;

/// A part of a spool.
#[derive(Debug)]
pub(super) enum Segment {
    /// Lines.
    Block(Block),
    /// Lines that were dropped; there may be more of them.
    Lost(Lost),
    /// A run of lost lines, in words.
    Announced {
        /// When the first of them came.
        since: Instant,
        /// The words.
        line: LogLine,
    },
}

/// Consecutive lines.
#[derive(Debug)]
pub(super) struct Block {
    /// The number of the first one that was not taken.
    pub(super) first_line: u64,
    /// How many were not taken; at least one.
    pub(super) lines: u64,
    /// The bytes of those.
    pub(super) data: u64,
    /// When the block was begun.
    pub(super) since: Instant,
    /// The time of the first line.
    pub(super) time: Timestamp,
    pub(super) place: Place,
}

/// Where the bytes of a block are.
#[derive(Debug)]
pub(super) enum Place {
    /// In memory, and more lines come.
    Open {
        /// The records.
        buffer: Vec<u8>,
        /// Where the next one goes.
        end: Cursor,
    },
    /// In memory; they may go to the disk.
    Sealed(Bytes),
    /// In memory, where they stay: some were taken already, or they are too many for the disk.
    Pinned(Bytes),
    /// In memory until the disk has them. Whoever writes them accounts for the memory.
    Writing(BlockId, Bytes),
    /// On the disk: this many.
    Stored(BlockId, usize),
    /// On the way back. Whoever reads them accounts for the memory.
    Fetching(BlockId, usize),
    /// In memory again.
    Ahead(Bytes),
}

impl Segment {
    /// The number of its first line that was not taken.
    pub(super) fn first_line(&self) -> u64 {
        match self {
            Self::Block(block) => block.first_line,
            Self::Lost(lost) => lost.number(),
            Self::Announced { line, .. } => line.number,
        }
    }

    /// When the line at this place came; `None` if it is not in memory.
    pub(super) fn since(&self, begun: Cursor) -> Option<Instant> {
        match self {
            Self::Block(block) => {
                let record = block::read(block.place.bytes()?, begun)?;
                Some(block.since + Duration::from_micros(record.arrival))
            }
            Self::Lost(lost) => Some(lost.since()),
            Self::Announced { since, .. } => Some(*since),
        }
    }

    /// The line at this place, if it is in memory and in words.
    pub(super) fn read(&self, begun: Cursor) -> Option<Record<'_>> {
        match self {
            Self::Block(block) => block::read(block.place.bytes()?, begun),
            Self::Lost(_) => None,
            Self::Announced { line, .. } => {
                Some(Record { time: line.time, arrival: 0, bytes: &line.bytes, next: Cursor::default() })
            }
        }
    }
}

impl Block {
    /// The number after its last line.
    pub(super) fn next_line(&self) -> u64 {
        self.first_line + self.lines
    }

    /// The line at this place was taken.
    pub(super) fn taken(&mut self, begun: Cursor) {
        let bytes = self.place.bytes().and_then(|bytes| block::read(bytes, begun)).map_or(0, |line| line.bytes.len());
        self.first_line += 1;
        self.lines -= 1;
        self.data -= bytes as u64;
    }
}

impl Place {
    /// The bytes, if they are in memory.
    pub(super) fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Open { buffer, .. } => Some(buffer),
            Self::Sealed(bytes) | Self::Pinned(bytes) | Self::Writing(_, bytes) | Self::Ahead(bytes) => Some(bytes),
            Self::Stored(..) | Self::Fetching(..) => None,
        }
    }

    /// The memory that the spool accounts for: of what was pushed, and of what was brought back.
    pub(super) fn memory(&self) -> (usize, usize) {
        match self {
            Self::Open { buffer, .. } => (buffer.capacity(), 0),
            Self::Sealed(bytes) | Self::Pinned(bytes) => (bytes.len(), 0),
            Self::Ahead(bytes) => (0, bytes.len()),
            Self::Writing(..) | Self::Stored(..) | Self::Fetching(..) => (0, 0),
        }
    }
}
