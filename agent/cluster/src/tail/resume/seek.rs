//! Finds the place in a stream where what is new begins.

use std::collections::VecDeque;

use jiff::Timestamp;

use super::tally::Tally;
use super::{Again, Hash, Mark, Part};

/// The way through lines that were passed on before.
#[derive(Debug)]
pub(super) struct Seek {
    /// The last whole line that was passed on.
    last: Mark,
    /// The stream shows lines from this second on.
    second: i64,
    /// How many lines there are up to the last one, if that is known and was not found wrong.
    want: Option<u64>,
    /// The recent lines are all that were passed on since that second.
    recent_is_all: bool,
    again: Option<Again>,
    /// Lines so far.
    lines: u64,
    /// How often the last line came, and how many lines came after it.
    sights: u64,
    after: u64,
    tally: Tally,
    hash: Hash,
}

/// What a part of a line turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// It was passed on before, or that is not known yet.
    Nothing,
    /// It is the end of our last line, in the place where it was expected: what follows is new.
    Last,
    /// It begins a new line, right after our last one.
    NewAfterLast,
    /// It begins a new line, and the stream shows none before it.
    NewAtStart,
    /// It is new, and so may be lines before it that were dropped.
    NewBefore,
}

impl Seek {
    /// `want` lines were passed on since this second, the last of `recent` at their end.
    pub(super) fn new(
        last: Mark,
        second: i64,
        want: Option<u64>,
        recent: &VecDeque<Mark>,
        again: Option<Again>,
    ) -> Self {
        Self {
            last,
            second,
            want,
            recent_is_all: want.is_some_and(|lines| lines <= recent.len() as u64),
            again,
            lines: 0,
            sights: 0,
            after: 0,
            tally: Tally::starting(second),
            hash: Hash::new(),
        }
    }

    pub(super) fn second(&self) -> i64 {
        self.second
    }

    /// Where to begin if the stream ended now: behind the last sight of our last line, if anything came there.
    pub(super) fn unread(&self) -> Option<Again> {
        let unread = self.again.is_none() && self.want.is_none() && self.sights > 0 && self.after > 0;
        unread.then_some(Again { sights: self.sights, new: Timestamp::MAX })
    }

    /// How often our last line came.
    pub(super) fn sights(&self) -> u64 {
        self.sights
    }

    /// Whether nothing came after our last line.
    pub(super) fn ends_with_last(&self) -> bool {
        self.sights > 0 && self.after == 0
    }

    /// The lines of this file so far, if the count that was known doesn't hold for it.
    pub(super) fn take_tally(&mut self) -> Option<Tally> {
        (self.want != Some(self.lines)).then(|| std::mem::take(&mut self.tally))
    }

    /// Takes the next part. `recent` are the last lines that were passed on.
    pub(super) fn take(&mut self, time: Timestamp, part: &Part, recent: &VecDeque<Mark>) -> Found {
        if part.first {
            let new = match self.again {
                Some(again) => time > again.new,
                None => self.is_new(time) && !recent.iter().any(|mark| mark.time == time),
            };
            if new {
                return match (self.ends_with_last(), self.lines) {
                    (true, _) if self.again.is_none() => Found::NewAfterLast,
                    (false, 0) => Found::NewAtStart,
                    _ => Found::NewBefore,
                };
            }
            self.hash = Hash::new();
        }
        self.hash.add(&part.bytes);
        if !part.last {
            return Found::Nothing;
        }

        let mark = Mark { time, hash: self.hash };
        self.lines += 1;
        self.tally.add(time);
        if mark == self.last {
            self.sights += 1;
            self.after = 0;
        } else {
            self.after += 1;
        }
        if let Some(again) = self.again {
            return if self.ends_with_last() && self.sights == again.sights { Found::Last } else { Found::Nothing };
        }
        if self.want == Some(self.lines) {
            if mark == self.last {
                return Found::Last;
            }
            // The file was rotated: the count holds no longer.
            self.want = None;
        }
        if !recent.contains(&mark) && self.is_new(time) { Found::NewBefore } else { Found::Nothing }
    }

    /// Whether a line of this time that is none of the recent ones is new for certain.
    fn is_new(&self, time: Timestamp) -> bool {
        self.recent_is_all || time > self.last.time
    }
}
