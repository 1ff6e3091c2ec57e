//! One log file: records in the order in which they were written.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// A log file. Grows at its end only.
#[derive(Debug, Default)]
pub(super) struct LogFile {
    segments: Mutex<Vec<Segment>>,
}

/// Records that came together: whole lines, or one part of a line.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    /// The records one after the other. A record that is no part ends with its newline.
    pub(super) data: Bytes,
    pub(super) records: usize,
    /// One record that does not end its line.
    pub(super) partial: bool,
    /// The first record's time, in nanoseconds; each further one is `tick` later.
    pub(super) first: i64,
    pub(super) tick: i64,
}

/// A place between two records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: usize,
    /// Records of the segment that lie before it, and their bytes.
    pub(super) record: usize,
    pub(super) offset: usize,
}

impl Segment {
    pub(super) fn time_of(&self, record: usize) -> i64 {
        self.first.saturating_add(self.tick.saturating_mul(i64::try_from(record).unwrap_or(i64::MAX)))
    }

    /// The end of the record that begins at `offset`.
    pub(super) fn end_of_record(&self, offset: usize) -> usize {
        let rest = self.data.get(offset..).unwrap_or_default();
        memchr::memchr(b'\n', rest).map_or(self.data.len(), |newline| offset + newline + 1)
    }
}

impl LogFile {
    pub(super) fn push(&self, segment: Segment) {
        self.lock().push(segment);
    }

    pub(super) fn segment(&self, index: usize) -> Option<Segment> {
        self.lock().get(index).cloned()
    }

    /// The place before the last `records` records.
    pub(super) fn tail(&self, records: usize) -> Place {
        let segments = self.lock();
        let mut left = records;
        for (index, segment) in segments.iter().enumerate().rev() {
            if left < segment.records {
                let skip = segment.records - left;
                let offset = (0..skip).fold(0, |offset, _| segment.end_of_record(offset));
                return Place { segment: index, record: skip, offset };
            }
            left -= segment.records;
        }
        Place::default()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Segment>> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
