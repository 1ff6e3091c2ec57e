//! Lines in a row, as the database keeps them: one message of the protocol-buffers encoding.

use bytes::Bytes;
use jiff::Timestamp;
use piculet_core::report::LogLine;
use prost::Message;

/// Line data of a block, in bytes, at most; a longer line has a block of its own.
const MAX_BYTES: usize = 128 * 1024;

/// Lines whose numbers follow each other.
#[derive(Clone, PartialEq, Message)]
struct Block {
    #[prost(message, repeated, tag = "1")]
    lines: Vec<Line>,
}

#[derive(Clone, PartialEq, Message)]
struct Line {
    /// Nanoseconds since the Unix epoch.
    #[prost(sfixed64, tag = "1")]
    time: i64,
    #[prost(bytes = "bytes", tag = "2")]
    text: Bytes,
}

/// Cuts lines into blocks: the number of the first line, and the block.
pub(super) fn encode(lines: &[LogLine]) -> Vec<(u64, Vec<u8>)> {
    let mut blocks = Vec::new();
    let mut rest = lines;
    while let Some(first) = rest.first().map(|line| line.number) {
        let mut size = 0;
        let fits = |(number, line): &(u64, &LogLine)| {
            size += line.bytes.len();
            line.number == *number && (size <= MAX_BYTES || line.number == first)
        };
        let (run, after) = rest.split_at((first..).zip(rest).take_while(fits).count());
        let line = |line: &LogLine| Line { time: nanoseconds(line.time), text: line.bytes.clone() };
        blocks.push((first, Block { lines: run.iter().map(line).collect() }.encode_to_vec()));
        rest = after;
    }
    blocks
}

/// The lines of a block whose first one has this number.
pub(super) fn decode(first: u64, block: &[u8]) -> Result<impl Iterator<Item = LogLine>, prost::DecodeError> {
    let lines = Block::decode(block)?.lines;
    Ok((first..).zip(lines).map(|(number, line)| LogLine { number, time: time(line.time), bytes: line.text }))
}

/// A moment as the database keeps it.
pub(super) fn nanoseconds(time: Timestamp) -> i64 {
    // Beyond the years 1677 and 2262 it isn't known to the nanosecond.
    i64::try_from(time.as_nanosecond()).unwrap_or(if time < Timestamp::UNIX_EPOCH { i64::MIN } else { i64::MAX })
}

/// And back.
pub(super) fn time(nanoseconds: i64) -> Timestamp {
    Timestamp::from_nanosecond(nanoseconds.into()).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::{MAX_BYTES, decode, encode};
    use bytes::Bytes;
    use jiff::Timestamp;
    use piculet_core::report::LogLine;
    use proptest::prelude::{Strategy, any, prop};
    use proptest::{prop_assert, prop_assert_eq, proptest};

    fn lines() -> impl Strategy<Value = Vec<LogLine>> {
        let line = (0u64..3, any::<i64>(), prop::collection::vec(any::<u8>(), 0..64), 0usize..100);
        prop::collection::vec(line, 1..60).prop_map(|lines| {
            let mut number = 0;
            let mut made = Vec::new();
            for (gap, time, mut bytes, length) in lines {
                // Some are as large as a block or larger.
                if length < 4 {
                    bytes.resize(MAX_BYTES / 3 * (length + 1), b'x');
                }
                number += gap.saturating_sub(1);
                let time = Timestamp::from_nanosecond(time.into()).unwrap_or(Timestamp::UNIX_EPOCH);
                made.push(LogLine { number, time, bytes: Bytes::from(bytes) });
                number += 1;
            }
            made
        })
    }

    proptest! {
        #[test]
        fn what_was_cut_is_whole_again(lines in lines()) {
            let mut again = Vec::new();
            for (first, block) in encode(&lines) {
                let block: Vec<_> = decode(first, &block).unwrap().collect();
                let size: usize = block.iter().map(|line| line.bytes.len()).sum();
                prop_assert!(size <= MAX_BYTES || block.len() == 1);
                again.extend(block);
            }
            prop_assert_eq!(again, lines);
        }
    }
}
