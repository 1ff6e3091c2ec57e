//! Goes on with a log where its last stream ended: nothing twice, nothing left out.
//!
//! A log can only be asked for from a whole second on, and what comes then is known by its bytes alone. So the cursor
//! remembers what it passed on, and of each further stream it drops exactly that:
//!
//! | the stream | what it does |
//! |---|---|
//! | begins with as many lines as were passed on since that second, the last of them ours | drops them |
//! | shows a line that is certainly new, right after our last one | the file was rotated: goes on from there |
//! | shows a line that is certainly new at its very start | it was rotated, and our last line is no longer in it: announces a gap, goes on |
//! | shows a line that is certainly new after others that were dropped | wants the stream again, and knows then where to begin |
//!
//! Counting comes first because it is right whatever the times are: equal (clocks can be coarse), or going back
//! (standard output and standard error are stamped by two threads; clocks are set). A line that a stream ended in goes
//! on at the byte after the last that was passed on.
//!
//! What the kubelet does (`pkg/kubelet/kuberuntime/logs`): it filters *records*, each by its own time, so that a stream
//! may begin with the rest of a line whose first record is too old, and that has no time before it; it serves the
//! newest file only; it rotates between records.

mod seek;
mod tally;

use std::collections::VecDeque;
use std::hash::Hasher;

use bytes::Bytes;
use fnv::FnvHasher;
use jiff::Timestamp;

use self::seek::{Found, Seek};
use self::tally::{Tally, second_of};
use super::lines::{Part, Splitter};
use super::{Gap, Piece};

/// What a kubelet says in the place of a log that it has no longer, as if it were one.
const UNABLE: &[u8] = b"unable to retrieve container logs for ";

/// How many of the last lines are known by their marks. The two streams of a container are out of order by a few lines.
const RECENT: usize = 64;

/// So many lines before the one that a log has to begin with, and its beginning is missing. A loader complains in fewer.
const COMPLAINTS: u32 = 20;

/// A line, recognised by its time and its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    time: Timestamp,
    hash: Hash,
}

/// The hash of a line's bytes, whole or so far. It doesn't depend on how they were split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Hash(u64);

impl Hash {
    fn new() -> Self {
        Self(FnvHasher::default().finish())
    }

    /// Adds bytes.
    fn add(&mut self, bytes: &[u8]) {
        let mut hasher = FnvHasher::with_key(self.0);
        hasher.write(bytes);
        self.0 = hasher.finish();
    }
}

/// What was passed on of one log.
#[derive(Debug, Clone, Default)]
pub(super) struct Cursor {
    /// The last whole lines, the very last at the back.
    recent: VecDeque<Mark>,
    /// How many whole lines each of the last seconds has, as far as the newest file goes.
    tally: Tally,
    /// The line after the last whole one, if it was begun.
    open: Option<Open>,
    /// Lines after this time may be missing. Said together with the next piece.
    missing: Option<Timestamp>,
    /// Where to begin in a stream that was wanted again.
    again: Option<Again>,
    /// A stream was read, so that another one may repeat it.
    read_before: bool,
    /// What the log has to begin with, until it has begun or is known to lack it.
    beginning: Option<Beginning>,
}

/// The line that a log has to begin with.
#[derive(Debug, Clone)]
struct Beginning {
    line: String,
    /// The time of the first line that was another one, and how many there were: a loader or a shell may complain before.
    others: Option<(Timestamp, u32)>,
}

/// A line that was begun: how many of its bytes were passed on, and their hash.
#[derive(Debug, Clone, Copy)]
struct Open {
    time: Timestamp,
    len: u64,
    hash: Hash,
}

/// Where the new lines begin in a stream that is read a second time.
#[derive(Debug, Clone, Copy)]
struct Again {
    /// After this many sights of our last line; 0: at the start.
    sights: u64,
    /// A line of this time is new. Should a younger one come before that many sights, the file was rotated once more.
    new: Timestamp,
}

/// One stream of the log, asked for with [`Cursor::since`].
#[derive(Debug)]
pub(super) struct Stream {
    splitter: Splitter,
    place: Place,
    /// Lines without a time are passed on. Only in a first stream: nobody could tell later which of them were.
    unstamped: bool,
    /// How many lines without a time were dropped: the rest of an old line, or words of the kubelet's own.
    pub(super) dropped: u64,
    /// What the kubelet said in the place of the log.
    pub(super) excuse: Option<String>,
}

/// Where a stream is.
#[derive(Debug)]
enum Place {
    /// Among lines that were passed on before.
    Known(Box<Seek>),
    /// In the line that the last stream ended in, `left` bytes before what is new. Our last line was seen `sights` times.
    Begun { left: u64, hash: Hash, sights: u64 },
    /// Behind all that.
    New,
}

/// What to do after a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Give the next frame.
    Frame,
    /// Drop this stream and open it again: lines went by before it was clear that they were new.
    Stream,
}

/// What a frame brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Passed {
    /// Comes before the pieces.
    pub(super) gap: Option<Gap>,
    /// New bytes of the log, in order.
    pub(super) pieces: Vec<Piece>,
}

impl Stream {
    /// Whether all that was passed on before was seen in it, so that what comes further is new.
    pub(super) fn is_level(&self) -> bool {
        match &self.place {
            Place::Known(seek) => seek.ends_with_last(),
            Place::Begun { .. } => false,
            Place::New => true,
        }
    }
}

impl Cursor {
    /// Of a log that has to begin with this line, if that is known.
    pub(super) fn new(first_line: Option<String>) -> Self {
        let beginning = first_line.map(|line| Beginning { line, others: None });
        Self { beginning, ..Self::default() }
    }

    /// Why a log that has ended may lack its beginning.
    pub(super) fn doubt(&self) -> Option<&'static str> {
        match self.beginning.as_ref()?.others {
            None => Some("the node shows nothing of it"),
            Some(_) => Some("it does not begin with the step's first command"),
        }
    }

    /// From when on to ask for the log: a whole second, at least one before the last line. `None`: from its start.
    ///
    /// The step back covers clocks that are set back a little while no stream is open.
    pub(super) fn since(&self) -> Option<Timestamp> {
        self.second().and_then(|second| Timestamp::from_second(second).ok())
    }

    fn second(&self) -> Option<i64> {
        let last = self.recent.back().map(|mark| mark.time);
        let open = self.open.map(|open| open.time);
        last.into_iter().chain(open).map(second_of).min().map(|second| second - 1)
    }

    /// The time of the last line that was passed on, wholly or in part.
    pub(super) fn reached(&self) -> Option<Timestamp> {
        self.open.map(|open| open.time).or_else(|| self.recent.back().map(|mark| mark.time))
    }

    /// A stream begins.
    pub(super) fn stream(&mut self) -> Stream {
        let unstamped = !std::mem::replace(&mut self.read_before, true);
        let place = match (self.recent.back(), self.second(), self.again.take()) {
            (_, None, _) => Place::New,
            (_, Some(second), Some(Again { sights: 0, .. })) => {
                self.rotated(second);
                Place::New
            }
            (Some(last), Some(second), again) => match self.tally.since(second) {
                Some(0) => self.behind(None, 0),
                lines => Place::Known(Box::new(Seek::new(*last, second, lines, &self.recent, again))),
            },
            (None, Some(_), _) => self.behind(None, 0),
        };
        Stream { splitter: Splitter::default(), place, unstamped, dropped: 0, excuse: None }
    }

    /// Takes the next frame of a stream and adds what is new in it.
    pub(super) fn push(&mut self, stream: &mut Stream, frame: Bytes, passed: &mut Passed) -> Next {
        let mut next = Next::Frame;
        let Stream { splitter, place, unstamped, dropped, excuse } = stream;
        splitter.push(frame, |part| {
            match part.time {
                None if part.first && part.bytes.starts_with(UNABLE) => {
                    *excuse = Some(String::from_utf8_lossy(&part.bytes).trim_end().to_owned());
                }
                None if *unstamped => {
                    let time = self.reached().unwrap_or(Timestamp::UNIX_EPOCH);
                    passed.pieces.push(Piece { time, bytes: part.bytes });
                }
                None => *dropped += u64::from(part.first),
                Some(time) => next = self.part(place, time, part, passed),
            }
            next == Next::Frame
        });
        next
    }

    /// A stream ended. Says whether all of it was passed on; if not, open it again.
    pub(super) fn end(&mut self, stream: &Stream) -> Next {
        match &stream.place {
            Place::Known(seek) if seek.unread().is_some() => {
                self.again = seek.unread();
                Next::Stream
            }
            _ => Next::Frame,
        }
    }

    fn part(&mut self, place: &mut Place, time: Timestamp, part: Part, passed: &mut Passed) -> Next {
        if let Place::Known(seek) = place {
            match seek.take(time, &part, &self.recent) {
                Found::Nothing => return Next::Frame,
                Found::Last => {
                    *place = self.behind(seek.take_tally(), seek.sights());
                    return Next::Frame;
                }
                Found::NewAfterLast => *place = self.behind(seek.take_tally(), seek.sights()),
                Found::NewAtStart => {
                    let second = seek.second();
                    *place = if self.open.is_some_and(|open| open.time == time) {
                        self.behind(Some(Tally::starting(second)), 0)
                    } else {
                        self.rotated(second);
                        Place::New
                    };
                }
                Found::NewBefore => {
                    self.again = Some(Again { sights: seek.sights(), new: time });
                    return Next::Stream;
                }
            }
        }
        match place {
            Place::Begun { left, hash, sights } => {
                let Some(open) = self.open.filter(|open| open.time == time) else {
                    self.abandon();
                    *place = Place::New;
                    self.pass(time, part, passed);
                    return Next::Frame;
                };
                let known = usize::try_from(*left).unwrap_or(usize::MAX).min(part.bytes.len());
                hash.add(&part.bytes[..known]);
                *left -= known as u64;
                if *left > 0 && !part.last {
                    return Next::Frame;
                }
                if *left > 0 || *hash != open.hash {
                    // Another line of the same time.
                    self.again = Some(Again { sights: *sights, new: time });
                    self.abandon();
                    return Next::Stream;
                }
                *place = Place::New;
                if known < part.bytes.len() {
                    self.pass(time, Part { bytes: part.bytes.slice(known..), first: false, ..part }, passed);
                }
            }
            _ => self.pass(time, part, passed),
        }
        Next::Frame
    }

    fn pass(&mut self, time: Timestamp, part: Part, passed: &mut Passed) {
        if let Some(after) = self.missing.take() {
            passed.gap = Some(Gap { after: Some(after), until: time });
        }
        if part.first
            && let Some(until) = self.lacks_its_beginning(time, &part.bytes)
        {
            passed.gap = Some(Gap { after: None, until });
        }
        let begun = self.open.take().filter(|_| !part.first);
        let mut hash = begun.map_or_else(Hash::new, |open| open.hash);
        hash.add(&part.bytes);
        if part.last {
            if self.recent.len() == RECENT {
                self.recent.pop_front();
            }
            self.recent.push_back(Mark { time, hash });
            self.tally.add(time);
        } else {
            let len = begun.map_or(0, |open| open.len) + part.bytes.len() as u64;
            self.open = Some(Open { time, len, hash });
        }
        passed.pieces.push(Piece { time, bytes: part.bytes });
    }

    /// The time of the first line, if it is clear now that it was not the first that was written.
    fn lacks_its_beginning(&mut self, time: Timestamp, line: &[u8]) -> Option<Timestamp> {
        let Beginning { line: wanted, others } = self.beginning.as_mut()?;
        if begins_with(line, wanted.as_bytes()) {
            self.beginning = None;
            return None;
        }
        let (first, count) = others.get_or_insert((time, 0));
        *count += 1;
        let lacks = (*count == COMPLAINTS).then_some(*first);
        if lacks.is_some() {
            self.beginning = None;
        }
        lacks
    }

    /// Our last whole line was found. `tally` counts the lines up to it, if the file is another one.
    fn behind(&mut self, tally: Option<Tally>, sights: u64) -> Place {
        if let Some(tally) = tally {
            self.tally = tally;
        }
        match self.open {
            Some(open) => Place::Begun { left: open.len, hash: Hash::new(), sights },
            None => Place::New,
        }
    }

    /// The newest file has none of our lines: those between may be missing.
    fn rotated(&mut self, second: i64) {
        self.abandon();
        self.tally = Tally::starting(second);
    }

    /// The rest of the line that was begun can't be found.
    fn abandon(&mut self) {
        self.missing = self.missing.or_else(|| self.reached());
        self.open = None;
    }
}

/// Whether a line begins as it has to, as far as these bytes of it go.
fn begins_with(bytes: &[u8], line: &[u8]) -> bool {
    match bytes.strip_suffix(b"\n") {
        Some(whole) => whole == line,
        None => line.starts_with(bytes) || bytes.starts_with(line),
    }
}

#[cfg(test)]
mod tests;
