//! Consecutive lines in one buffer: a line costs its bytes and a few more, in memory and on disk.
//!
//! A record is the line's length, its time and its arrival, the latter two as differences to the record before, and then
//! the line. Numbers have seven bits per byte, the lowest first; the last byte's highest bit is 0.

use jiff::Timestamp;

/// The most bytes of a record beside the line: three numbers of 64 bits.
const MAX_HEADER: usize = 30;

/// A place between two records, and what the differences up to it add up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Cursor {
    at: usize,
    /// Nanoseconds since the Unix epoch.
    time: i64,
    /// Microseconds since the block was begun.
    arrival: u64,
}

/// A record that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record<'a> {
    /// When the line was written.
    pub(super) time: Timestamp,
    /// When it came, in microseconds since the block was begun.
    pub(super) arrival: u64,
    /// The line.
    pub(super) bytes: &'a [u8],
    /// Where the next record begins.
    pub(super) next: Cursor,
}

/// A record that can be appended.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    header: [u8; MAX_HEADER],
    header_len: usize,
    bytes: &'a [u8],
    next: Cursor,
}

impl Cursor {
    /// Whether it is the beginning of its block.
    pub(super) fn is_at_begin(&self) -> bool {
        self.at == 0
    }
}

impl<'a> Draft<'a> {
    /// The record that follows `end`. Times outside of the years 1677 to 2262, which can't be sent either, become the
    /// nearest that fits.
    pub(super) fn new(end: Cursor, time: Timestamp, arrival: u64, bytes: &'a [u8]) -> Self {
        let time = nanoseconds(time);
        // A clock that went back is no reason for an error: the line counts as having come with the one before.
        let arrival = arrival.max(end.arrival);
        let difference = time.wrapping_sub(end.time);
        let mut draft = Self { header: [0; MAX_HEADER], header_len: 0, bytes, next: end };
        draft.put(bytes.len() as u64);
        draft.put((difference.wrapping_shl(1) ^ (difference >> 63)).cast_unsigned());
        draft.put(arrival - end.arrival);
        draft.next = Cursor { at: end.at + draft.len(), time, arrival };
        draft
    }

    /// Its size, in bytes.
    pub(super) fn len(&self) -> usize {
        self.header_len + self.bytes.len()
    }

    /// Appends it to the block at whose end it belongs; returns the new end.
    pub(super) fn append(&self, block: &mut Vec<u8>) -> Cursor {
        block.extend_from_slice(&self.header[..self.header_len]);
        block.extend_from_slice(self.bytes);
        self.next
    }

    fn put(&mut self, mut number: u64) {
        loop {
            let low = number.to_le_bytes()[0] & 0x7F;
            number >>= 7;
            self.header[self.header_len] = if number == 0 { low } else { low | 0x80 };
            self.header_len += 1;
            if number == 0 {
                return;
            }
        }
    }
}

/// The record at a place. `None` at the block's end, and where no record is.
pub(super) fn read(block: &[u8], cursor: Cursor) -> Option<Record<'_>> {
    let mut rest = block.get(cursor.at..)?;
    let len = usize::try_from(get(&mut rest)?).ok()?;
    let difference = get(&mut rest)?;
    let difference = (difference >> 1).cast_signed() ^ -(difference & 1).cast_signed();
    let time = cursor.time.wrapping_add(difference);
    let arrival = cursor.arrival.checked_add(get(&mut rest)?)?;
    let (bytes, rest) = rest.split_at_checked(len)?;
    let next = Cursor { at: block.len() - rest.len(), time, arrival };
    // Every i64 lies within the range of a timestamp.
    let time = Timestamp::from_nanosecond(i128::from(time)).unwrap_or_default();
    Some(Record { time, arrival, bytes, next })
}

/// Lines and their bytes, if the whole block consists of records.
pub(super) fn measure(block: &[u8]) -> Option<(u64, u64)> {
    let (mut cursor, mut lines, mut bytes) = (Cursor::default(), 0, 0);
    while cursor.at < block.len() {
        let record = read(block, cursor)?;
        lines += 1;
        bytes += record.bytes.len() as u64;
        cursor = record.next;
    }
    Some((lines, bytes))
}

fn get(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (first, others) = rest.split_first()?;
        *rest = others;
        number |= u64::from(first & 0x7F) << shift;
        if first & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn nanoseconds(time: Timestamp) -> i64 {
    let nanoseconds = time.as_nanosecond();
    i64::try_from(nanoseconds).unwrap_or(if nanoseconds < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::{Cursor, Draft, measure, read};

    proptest! {
        #[test]
        fn what_was_written_is_read(
            lines in prop::collection::vec(
                (any::<i64>(), 0u64..1 << 40, prop::collection::vec(any::<u8>(), 0..300)), 0..20),
        ) {
            let (mut block, mut end) = (Vec::new(), Cursor::default());
            let mut latest = 0;
            for (time, arrival, bytes) in &lines {
                latest = latest.max(*arrival);
                let time = Timestamp::from_nanosecond(i128::from(*time)).expect("every i64 is one");
                let draft = Draft::new(end, time, *arrival, bytes);
                let before = block.len();
                end = draft.append(&mut block);
                prop_assert_eq!(block.len() - before, draft.len());
            }
            let sum = lines.iter().map(|(.., bytes)| bytes.len() as u64).sum();
            prop_assert_eq!(measure(&block), Some((lines.len() as u64, sum)));
            let (mut cursor, mut latest) = (Cursor::default(), 0);
            for (time, arrival, bytes) in &lines {
                let record = read(&block, cursor).expect("a record");
                latest = latest.max(*arrival);
                prop_assert_eq!(record.time.as_nanosecond(), i128::from(*time));
                prop_assert_eq!((record.arrival, record.bytes), (latest, &bytes[..]));
                cursor = record.next;
            }
            prop_assert_eq!(read(&block, cursor), None);
        }

        /// Whatever a disk gives back: no panic, and never more than there is.
        #[test]
        fn nonsense_is_no_block(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some((lines, sum)) = measure(&bytes) {
                prop_assert!(lines * 3 + sum <= bytes.len() as u64);
            }
        }
    }

    #[test]
    fn a_line_of_a_flood_costs_a_few_bytes_more_than_it_has() {
        let (mut block, mut end) = (Vec::new(), Cursor::default());
        for number in 0..1000_i64 {
            let time = Timestamp::from_nanosecond(i128::from(1_790_000_000_000_000_000 + number * 1_000_000));
            end = Draft::new(end, time.expect("in range"), 0, &[b'x'; 80]).append(&mut block);
        }
        assert!(block.len() < 1000 * (80 + 5) + 10, "{}", block.len());
    }

    #[test]
    fn a_block_that_was_cut_short_is_none() {
        let mut block = Vec::new();
        Draft::new(Cursor::default(), Timestamp::UNIX_EPOCH, 0, b"hello").append(&mut block);
        assert_eq!(measure(&block), Some((1, 5)));
        block.pop();
        assert_eq!(measure(&block), None);
    }
}
