//! Cuts a step's log into numbered lines.
//!
//! A cut is made at each line feed, and where a line has [`MAX_LINE`] bytes and goes on. Secrets are masked before, so
//! that no cut splits one.

use std::collections::VecDeque;
use std::fmt;

use bytes::Bytes;
use jiff::Timestamp;

use super::mask::{Mask, Masked, Masker, REPLACEMENT};
use crate::report::{LogLine, LogTotal};

/// How many bytes a line has at most, after masking: 1 MiB, as in Woodpecker. A longer one becomes several.
pub const MAX_LINE: usize = 1024 * 1024;

/// A buffer for unfinished lines is kept up to this size: few lines are longer, and every running step has one.
const KEEP: usize = 16 * 1024;

/// Makes the lines of one step out of the bytes of its log.
#[derive(Debug)]
pub struct LineReader {
    mask: Mask,
    masker: Masker,
    times: Times,
    cutter: Cutter,
}

impl LineReader {
    /// A reader at the beginning of a step's log.
    pub fn new(mask: Mask) -> Self {
        Self::with_max_line(mask, MAX_LINE)
    }

    fn with_max_line(mask: Mask, max_line: usize) -> Self {
        Self {
            masker: Masker::new(mask.clone()),
            mask,
            times: Times::default(),
            cutter: Cutter {
                max_line,
                line: Vec::new(),
                time: Timestamp::UNIX_EPOCH,
                total: LogTotal { lines: 0, bytes: 0 },
            },
        }
    }

    /// Reads on: `bytes` belong to a record that was written at `time`. Adds the lines that are complete to `out`.
    ///
    /// A line has the time of its first byte. A carriage return is a byte like any other.
    pub fn push(&mut self, time: Timestamp, bytes: &[u8], out: &mut Vec<LogLine>) {
        self.times.note(time, bytes.len());
        let Self { masker, times, cutter, .. } = self;
        masker.push(bytes, &mut |at, part| cutter.write(at, part, times, out));
        times.forget(masker.released());
    }

    /// Adds what the agent itself has to say, masked too: a line for each line of the text.
    ///
    /// It takes the next number. A line of the step that is unfinished stays so and gets a later one.
    pub fn say(&mut self, text: &str, time: Timestamp, out: &mut Vec<LogLine>) {
        for line in self.mask.apply(text.as_bytes()).split(|byte| *byte == b'\n') {
            if line.is_empty() {
                self.cutter.emit(time, Bytes::new(), out);
            }
            for piece in line.chunks(self.cutter.max_line) {
                self.cutter.emit(time, Bytes::copy_from_slice(piece), out);
            }
        }
    }

    /// Ends the unfinished line, if there is one: nothing more of it will come, because the container is over.
    pub fn flush(&mut self, out: &mut Vec<LogLine>) {
        let Self { masker, times, cutter, .. } = self;
        masker.finish(&mut |at, part| cutter.write(at, part, times, out));
        cutter.end_line(out);
    }

    /// Ends the log. An unfinished line is a line too.
    pub fn finish(mut self, out: &mut Vec<LogLine>) -> LogTotal {
        self.flush(out);
        self.cutter.total
    }
}

/// When the bytes were written that are not decided yet.
#[derive(Debug, Default)]
struct Times {
    /// How many bytes were read.
    read: u64,
    /// In order: until which place in the stream a time holds.
    until: VecDeque<(u64, Timestamp)>,
}

impl Times {
    fn note(&mut self, time: Timestamp, len: usize) {
        if len == 0 {
            return;
        }
        self.read += len as u64;
        match self.until.back_mut() {
            Some((until, last)) if *last == time => *until = self.read,
            _ => self.until.push_back((self.read, time)),
        }
    }

    /// The time of the byte at this place, which must have been read. Nobody asks for an earlier place afterwards.
    fn at(&mut self, place: u64) -> Timestamp {
        self.forget(place);
        self.until.front().map_or(Timestamp::UNIX_EPOCH, |(_, time)| *time)
    }

    /// Nobody asks for a place before this one any more.
    fn forget(&mut self, place: u64) {
        while self.until.pop_front_if(|(until, _)| *until <= place).is_some() {}
    }
}

/// Cuts the masked stream and numbers the lines.
struct Cutter {
    max_line: usize,
    /// The unfinished line.
    line: Vec<u8>,
    /// The time of its first byte.
    time: Timestamp,
    /// What was emitted. The number of the next line is the count of those before it.
    total: LogTotal,
}

impl Cutter {
    fn write(&mut self, at: u64, part: Masked<'_>, times: &mut Times, out: &mut Vec<LogLine>) {
        let mut text = match part {
            Masked::Secret => return self.append(REPLACEMENT, |_| times.at(at), out),
            Masked::Text(text) => text,
        };
        let mut at = at;
        while let Some(end) = memchr::memchr(b'\n', text) {
            self.append(&text[..end], |index| times.at(at + index as u64), out);
            if self.line.is_empty() {
                self.emit(times.at(at + end as u64), Bytes::new(), out);
            } else {
                self.end_line(out);
            }
            text = &text[end + 1..];
            at += end as u64 + 1;
        }
        self.append(text, |index| times.at(at + index as u64), out);
    }

    /// Lengthens the unfinished line. It is cut only when a byte comes that it has no room for: a line of exactly the
    /// maximum is one line.
    fn append(&mut self, text: &[u8], mut time: impl FnMut(usize) -> Timestamp, out: &mut Vec<LogLine>) {
        let mut done = 0;
        while done < text.len() {
            if self.line.len() == self.max_line {
                self.end_line(out);
            }
            if self.line.is_empty() {
                self.time = time(done);
            }
            let more = (text.len() - done).min(self.max_line - self.line.len());
            self.line.extend_from_slice(&text[done..done + more]);
            done += more;
        }
    }

    fn end_line(&mut self, out: &mut Vec<LogLine>) {
        if self.line.is_empty() {
            return;
        }
        // A short line gets memory of its own size, and the buffer stays; a long one takes the buffer with it.
        let bytes = if self.line.capacity() <= KEEP {
            let bytes = Bytes::copy_from_slice(&self.line);
            self.line.clear();
            bytes
        } else {
            Bytes::from(std::mem::take(&mut self.line).into_boxed_slice())
        };
        self.emit(self.time, bytes, out);
    }

    fn emit(&mut self, time: Timestamp, bytes: Bytes, out: &mut Vec<LogLine>) {
        let number = self.total.lines;
        self.total.lines += 1;
        self.total.bytes += bytes.len() as u64;
        out.push(LogLine { number, time, bytes });
    }
}

impl fmt::Debug for Cutter {
    /// Without the text: logs don't belong into the agent's own log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cutter").field("line", &self.line.len()).field("total", &self.total).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
