//! Takes a log stream with timestamps apart.
//!
//! With `timestamps=true` the kubelet puts `<RFC 3339 time> ` before each line, as long as the line may be: the records
//! of at most 16 KiB that the container runtime made of it are joined, and only the first one's time is shown. The
//! stream comes in frames that are cut anywhere; a part never waits for the rest of its line, so a line of any length
//! costs no memory.

use bytes::{Buf, Bytes};
use jiff::Timestamp;
use jiff::fmt::temporal::DateTimeParser;

/// `2006-01-02T15:04:05.000000000+00:00` has 35 bytes. What has no space after this many is no time.
const MAX_STAMP: usize = 40;

const PARSER: DateTimeParser = DateTimeParser::new();

/// A part of one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// The time before the line; `None` if the line has none.
    pub(super) time: Option<Timestamp>,
    /// The bytes, with the line feed at the end.
    pub(super) bytes: Bytes,
    /// It begins a line.
    pub(super) first: bool,
    /// It ends a line: its last byte is a line feed.
    pub(super) last: bool,
}

/// Makes parts out of the frames of one stream.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    at: At,
    /// The beginning of a time that the last frame ended in.
    head: Vec<u8>,
}

#[derive(Debug, Default)]
enum At {
    /// Before a line's time, or in it.
    #[default]
    Stamp,
    /// In a line.
    Line { time: Option<Timestamp>, first: bool },
}

impl Splitter {
    /// Takes the next frame and gives the parts that it has, in order.
    ///
    /// `part` says whether to go on; if not, the rest of the frame is dropped and the splitter is spent.
    pub(super) fn push(&mut self, mut frame: Bytes, mut part: impl FnMut(Part) -> bool) {
        while !frame.is_empty() {
            match self.at {
                At::Stamp => {
                    let window = &frame[..frame.len().min(MAX_STAMP - self.head.len())];
                    match memchr::memchr2(b' ', b'\n', window) {
                        Some(end) if window[end] == b' ' => {
                            let time = if self.head.is_empty() {
                                stamp(&window[..end])
                            } else {
                                self.head.extend_from_slice(&window[..end]);
                                stamp(&self.head)
                            };
                            if time.is_some() {
                                self.head.clear();
                                frame.advance(end + 1);
                                self.at = At::Line { time, first: true };
                            } else {
                                // What was moved into the head is no longer part of the frame.
                                if !self.head.is_empty() {
                                    frame.advance(end);
                                }
                                if !self.unstamped(&mut part) {
                                    return;
                                }
                            }
                        }
                        None if window.len() + self.head.len() < MAX_STAMP => {
                            self.head.extend_from_slice(window);
                            return;
                        }
                        _ => {
                            if !self.unstamped(&mut part) {
                                return;
                            }
                        }
                    }
                }
                At::Line { time, first } => {
                    let (bytes, last) = match memchr::memchr(b'\n', &frame) {
                        Some(end) => (frame.split_to(end + 1), true),
                        None => (std::mem::take(&mut frame), false),
                    };
                    self.at = if last { At::Stamp } else { At::Line { time, first: false } };
                    if !part(Part { time, bytes, first, last }) {
                        return;
                    }
                }
            }
        }
    }

    /// The line has no time: what was taken for one is its beginning.
    fn unstamped(&mut self, part: &mut impl FnMut(Part) -> bool) -> bool {
        let first = self.head.is_empty();
        self.at = At::Line { time: None, first };
        if first {
            return true;
        }
        let bytes = Bytes::copy_from_slice(&self.head);
        self.head.clear();
        part(Part { time: None, bytes, first: true, last: false })
    }
}

/// Reads a time as the kubelet writes it: RFC 3339 with any number of digits after the second, in any zone.
fn stamp(text: &[u8]) -> Option<Timestamp> {
    // The parser takes more than RFC 3339. A date alone or a week date is a word of the line.
    if text.len() < 20 || text[4] != b'-' || text[7] != b'-' || text[10] != b'T' || text.contains(&b'[') {
        return None;
    }
    PARSER.parse_timestamp(text).ok()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::{Part, Splitter, stamp};

    /// The parts of a stream, joined again to `(time, line)`.
    fn lines<'a>(frames: impl IntoIterator<Item = &'a [u8]>) -> Vec<(Option<String>, String)> {
        let mut splitter = Splitter::default();
        let mut parts: Vec<Part> = Vec::new();
        for frame in frames {
            splitter.push(Bytes::copy_from_slice(frame), |part| {
                parts.push(part);
                true
            });
        }
        let mut lines: Vec<(Option<String>, String)> = Vec::new();
        for part in parts {
            let text = String::from_utf8(part.bytes.to_vec()).unwrap();
            assert_eq!(part.last, text.ends_with('\n'));
            if part.first {
                lines.push((part.time.map(|time| time.to_string()), text));
            } else {
                lines.last_mut().unwrap().1.push_str(&text);
            }
        }
        lines
    }

    const STREAM: &str = "2026-08-22T10:00:00.000000001Z hello\n\
        2026-08-22T12:00:00.5+02:00 \n\
        no time\n\
        \n\
        2026-08-22 is a date\n\
        averylongwordthatisnotimeandhasnospacesatallinit\n\
        2026-08-22T10:00:02Z 2026-08-22T10:00:00Z its own\n\
        2026-08-22T10:00:03.25Z unfinished";

    fn expected() -> Vec<(Option<String>, String)> {
        let line = |time: Option<&str>, text: &str| (time.map(str::to_owned), text.to_owned());
        vec![
            line(Some("2026-08-22T10:00:00.000000001Z"), "hello\n"),
            line(Some("2026-08-22T10:00:00.5Z"), "\n"),
            line(None, "no time\n"),
            line(None, "\n"),
            line(None, "2026-08-22 is a date\n"),
            line(None, "averylongwordthatisnotimeandhasnospacesatallinit\n"),
            line(Some("2026-08-22T10:00:02Z"), "2026-08-22T10:00:00Z its own\n"),
            line(Some("2026-08-22T10:00:03.25Z"), "unfinished"),
        ]
    }

    #[test]
    fn lines_have_the_time_before_them() {
        assert_eq!(lines([STREAM.as_bytes()]), expected());
    }

    #[test]
    fn a_frame_ends_anywhere() {
        assert_eq!(lines(STREAM.as_bytes().chunks(1)), expected());
        for cut in 0..STREAM.len() {
            let (head, tail) = STREAM.as_bytes().split_at(cut);
            assert_eq!(lines([head, tail]), expected(), "cut at {cut}");
        }
    }

    #[test]
    fn a_part_shares_the_memory_of_its_frame() {
        let frame = Bytes::from_static(b"2026-08-22T10:00:02Z text\n");
        let mut parts = Vec::new();
        Splitter::default().push(frame.clone(), |part| {
            parts.push(part);
            true
        });
        assert_eq!(parts[0].bytes.as_ptr(), frame[21..].as_ptr());
    }

    #[test]
    fn only_a_whole_time_with_a_zone_is_one() {
        assert!(stamp(b"2026-08-22T10:00:00Z").is_some());
        assert!(stamp(b"2026-08-22T10:00:00.123456789+14:00").is_some());
        for text in ["2026-08-22", "2026-08-22T10:00:00", "20260822T100000Z+00:00", "2026-13-22T10:00:00Z", ""] {
            assert_eq!(stamp(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_come_out_again(bytes in proptest::collection::vec(any::<u8>(), 0..200), size in 1usize..50) {
            let mut splitter = Splitter::default();
            let mut out = Vec::new();
            for frame in bytes.chunks(size) {
                splitter.push(Bytes::copy_from_slice(frame), |part| {
                    assert!(!part.bytes.is_empty());
                    out.extend_from_slice(&part.bytes);
                    true
                });
            }
            out.extend_from_slice(&splitter.head);
            prop_assert_eq!(out, bytes);
        }
    }
}
