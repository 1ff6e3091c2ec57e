//! Reading a log as a kubelet does.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;

use super::file::{LogFile, Place, Segment};
use super::{ContainerLog, nanoseconds};
use crate::clock::seconds;
use crate::latest;

/// How much is handed out at a time.
const CHUNK: usize = 64 << 10;

/// What of a log is asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct LogOptions {
    /// Go on until the container has ended.
    pub(crate) follow: bool,
    /// Each line begins with its time.
    pub(crate) timestamps: bool,
    /// No records from before this time.
    pub(crate) since: Option<Timestamp>,
    /// Only so many of the last records.
    pub(crate) tail: Option<usize>,
    /// No more bytes than this.
    pub(crate) limit: Option<usize>,
}

/// One reader of a log.
#[derive(Debug)]
pub(crate) struct Reader {
    log: Arc<ContainerLog>,
    file: Arc<LogFile>,
    place: Place,
    follow: bool,
    timestamps: bool,
    since: Option<i64>,
    left: usize,
    /// Whether the next record begins a line: only then its time is written.
    line_begins: bool,
    /// The number of rotations that the reader knows of. It looks for new files only from the moment on at which it
    /// reached the end of a file for the first time: a kubelet sets up its file watch there.
    watching: Option<u64>,
    changed: latest::Receiver<()>,
    clock_face: ClockFace,
}

impl Reader {
    pub(crate) fn new(log: Arc<ContainerLog>, options: &LogOptions) -> Self {
        let changed = log.changed.subscribe();
        let file = log.newest();
        let place = options.tail.map_or_else(Place::default, |records| file.tail(records));
        Self {
            log,
            file,
            place,
            follow: options.follow,
            timestamps: options.timestamps,
            since: options.since.map(nanoseconds),
            left: options.limit.unwrap_or(usize::MAX),
            line_begins: true,
            watching: None,
            changed,
            clock_face: ClockFace::default(),
        }
    }

    /// The next bytes; `None` when the log, as far as it was asked for, has ended.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.left == 0 {
                return None;
            }
            self.changed.borrow_and_update();
            let (open, rotations) = {
                let state = self.log.lock();
                (state.open, state.rotations)
            };
            if let Some(segment) = self.file.segment(self.place.segment) {
                let mut chunk = self.render(&segment);
                if chunk.is_empty() {
                    continue;
                }
                chunk.truncate(self.left);
                self.left -= chunk.len();
                return Some(chunk);
            }
            // At the end of a container that has ended a kubelet looks for no new file.
            if !self.follow || !open {
                return None;
            }
            match self.watching {
                Some(known) if known != rotations => {
                    self.file = Arc::clone(&self.log.lock().file);
                    self.place = Place::default();
                    self.watching = Some(rotations);
                    continue;
                }
                Some(_) => {}
                None => self.watching = Some(rotations),
            }
            if self.changed.changed().await.is_err() {
                return None;
            }
        }
    }

    /// The next bytes of a segment; moves the place behind them.
    fn render(&mut self, segment: &Segment) -> Bytes {
        if !self.timestamps && self.since.is_none() {
            let end = segment.data.len().min(self.place.offset + CHUNK);
            let chunk = segment.data.slice(self.place.offset..end);
            self.place.offset = end;
            self.leave_if_read(segment);
            return chunk;
        }
        let mut chunk = BytesMut::new();
        while self.place.offset < segment.data.len() && chunk.len() < CHUNK {
            let end = segment.end_of_record(self.place.offset);
            let time = segment.time_of(self.place.record);
            if self.since.is_none_or(|since| time >= since) {
                if self.timestamps && self.line_begins {
                    self.clock_face.write(&mut chunk, time);
                }
                chunk.extend_from_slice(segment.data.get(self.place.offset..end).unwrap_or_default());
            }
            self.line_begins = !segment.partial;
            self.place.offset = end;
            self.place.record += 1;
        }
        self.leave_if_read(segment);
        chunk.freeze()
    }

    fn leave_if_read(&mut self, segment: &Segment) {
        if self.place.offset >= segment.data.len() {
            self.place = Place { segment: self.place.segment + 1, ..Place::default() };
        }
    }
}

/// Writes times; keeps the last second's text, since most records share it.
#[derive(Debug, Default)]
struct ClockFace {
    second: Option<(i64, String)>,
}

impl ClockFace {
    /// RFC 3339 with nine digits of the second, and a space.
    fn write(&mut self, into: &mut BytesMut, nanoseconds: i64) {
        let (second, fraction) = (nanoseconds.div_euclid(1_000_000_000), nanoseconds.rem_euclid(1_000_000_000));
        if self.second.as_ref().is_none_or(|(known, _)| *known != second) {
            let text = seconds(Timestamp::from_second(second).unwrap_or(Timestamp::MAX));
            self.second = Some((second, text.trim_end_matches('Z').to_owned()));
        }
        into.extend_from_slice(self.second.as_ref().map_or("", |(_, text)| text).as_bytes());
        into.extend_from_slice(format!(".{fraction:09}Z ").as_bytes());
    }
}
