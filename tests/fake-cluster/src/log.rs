//! The log of one container, as containerd writes it and a kubelet reads it.
//!
//! A line becomes a record when its newline came, or when the container ended; a long line becomes several records of
//! [`RECORD`] bytes. Every record has its own time. Records that came together are kept as they came, without copying:
//! a hundred containers that print the same bytes share them.

mod file;
mod reader;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;

use crate::clock::Clock;
use crate::latest;
use file::{LogFile, Segment};

pub(crate) use reader::{LogOptions, Reader};

/// A record holds no more of a line than this.
pub(crate) const RECORD: usize = 16 << 10;
/// How often a kubelet looks whether a log file has grown too large.
const ROTATION_CHECK: Duration = Duration::from_secs(10);

/// How logs are kept.
#[derive(Debug, Clone, Copy)]
pub struct LogSettings {
    /// A file that has grown beyond this many bytes is rotated away, and with it what was not read yet.
    /// `None`: never. The default is a kubelet's: 10 MiB.
    pub rotate_at: Option<usize>,
    /// How much later than the record before it a record is at least. Zero gives records of one instant the same time.
    pub tick: Duration,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { rotate_at: Some(10 << 20), tick: Duration::from_nanos(100) }
    }
}

/// The log of one container.
#[derive(Debug)]
pub(crate) struct ContainerLog {
    state: Mutex<State>,
    changed: latest::Sender<()>,
    clock: Clock,
    settings: LogSettings,
}

#[derive(Debug)]
struct State {
    file: Arc<LogFile>,
    /// How often the log was rotated.
    rotations: u64,
    size: usize,
    checked: Timestamp,
    /// The beginning of a line whose newline has not come yet.
    pending: BytesMut,
    /// The time of the latest record, in nanoseconds.
    last: i64,
    open: bool,
}

impl ContainerLog {
    pub(crate) fn new(clock: Clock, settings: LogSettings) -> Self {
        let now = clock.now();
        let state = State {
            file: Arc::default(),
            rotations: 0,
            size: 0,
            checked: now,
            pending: BytesMut::new(),
            last: 0,
            open: true,
        };
        Self { state: Mutex::new(state), changed: latest::Sender::new(()), clock, settings }
    }

    /// Takes what the container wrote.
    pub(crate) fn append(&self, data: Bytes) {
        let now = self.clock.now();
        {
            let mut state = self.lock();
            state.rotate_if_due(now, &self.settings);
            state.take(data, nanoseconds(now), self.tick());
        }
        self.changed.send_replace(());
    }

    /// The container has ended: what it wrote last becomes a record even without a newline.
    pub(crate) fn close(&self) {
        let now = self.clock.now();
        {
            let mut state = self.lock();
            // It was looked after also while nothing was written.
            state.rotate_if_due(now, &self.settings);
            let now = nanoseconds(now);
            let rest = state.pending.split().freeze();
            if !rest.is_empty() {
                state.push_line(rest, now, self.tick());
            }
            state.open = false;
        }
        self.changed.send_replace(());
    }

    /// The newest file, which is all that a kubelet serves.
    fn newest(&self) -> Arc<LogFile> {
        let mut state = self.lock();
        if state.open {
            state.rotate_if_due(self.clock.now(), &self.settings);
        }
        Arc::clone(&state.file)
    }

    fn tick(&self) -> i64 {
        i64::try_from(self.settings.tick.as_nanos()).unwrap_or(i64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn rotate_if_due(&mut self, now: Timestamp, settings: &LogSettings) {
        let Some(limit) = settings.rotate_at else { return };
        if now.duration_since(self.checked).unsigned_abs() < ROTATION_CHECK {
            return;
        }
        self.checked = now;
        if self.size > limit {
            self.file = Arc::default();
            self.rotations += 1;
            self.size = 0;
        }
    }

    fn take(&mut self, mut data: Bytes, now: i64, tick: i64) {
        if !self.pending.is_empty() {
            let end = memchr::memchr(b'\n', &data).map_or(data.len(), |end| end + 1);
            let head = data.split_to(end);
            self.pending.extend_from_slice(&head);
            if head.ends_with(b"\n") {
                let line = self.pending.split().freeze();
                self.push_line(line, now, tick);
            }
        }
        let whole = memchr::memrchr(b'\n', &data).map_or(0, |end| end + 1);
        let lines = data.split_to(whole);
        self.pending.extend_from_slice(&data);
        self.push_lines(lines, now, tick);
        while self.pending.len() > RECORD {
            let part = self.pending.split_to(RECORD).freeze();
            self.push(part, 1, true, now, tick);
        }
    }

    /// Takes whole lines. Runs of lines that are not too long stay in one piece.
    fn push_lines(&mut self, lines: Bytes, now: i64, tick: i64) {
        let (mut start, mut run, mut count) = (0, 0, 0);
        for newline in memchr::memchr_iter(b'\n', &lines) {
            if newline - start > RECORD {
                self.push(lines.slice(run..start), count, false, now, tick);
                self.push_line(lines.slice(start..=newline), now, tick);
                (run, count) = (newline + 1, 0);
            } else {
                count += 1;
            }
            start = newline + 1;
        }
        self.push(lines.slice(run..start), count, false, now, tick);
    }

    /// Takes one line of any length, with or without its newline.
    fn push_line(&mut self, mut line: Bytes, now: i64, tick: i64) {
        if !line.ends_with(b"\n") {
            line = [line.as_ref(), b"\n"].concat().into();
        }
        while line.len() > RECORD + 1 {
            let part = line.split_to(RECORD);
            self.push(part, 1, true, now, tick);
        }
        self.push(line, 1, false, now, tick);
    }

    fn push(&mut self, data: Bytes, records: usize, partial: bool, now: i64, tick: i64) {
        if data.is_empty() {
            return;
        }
        let first = if self.last == 0 { now } else { now.max(self.last.saturating_add(tick)) };
        let more = i64::try_from(records - 1).unwrap_or(i64::MAX);
        self.last = first.saturating_add(tick.saturating_mul(more));
        self.size += data.len();
        self.file.push(Segment { data, records, partial, first, tick });
    }
}

/// Nanoseconds since the epoch of Unix, for as long as 64 bits can count them.
fn nanoseconds(time: Timestamp) -> i64 {
    i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
