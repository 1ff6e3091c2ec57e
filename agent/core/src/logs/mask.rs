//! Hides secrets in a stream of bytes.
//!
//! Every byte that belongs to an occurrence of a secret is taken out, also where occurrences overlap; each stretch of
//! such bytes becomes one [`REPLACEMENT`]. The result doesn't depend on how the stream was split into reads: bytes
//! that may be the beginning of a secret are held until that is known. A line feed decides it, since no pattern
//! contains one.

mod forms;
mod patterns;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use aho_corasick::automaton::StateID;

use crate::secret::Secret;
use patterns::Patterns;

/// What stands in a log in the place of a secret.
pub const REPLACEMENT: &[u8] = b"********";

/// Bytes that are searched at once: bounds the copy that is made while something is held.
const SLICE: usize = 16 * 1024;

/// Which texts to hide: the secrets of one workflow. Cheap to clone.
///
/// Hidden are, for each value without the white space around it:
/// - the value, if it has at least 3 bytes;
/// - of a value with several lines: each line of at least 4 bytes, without the white space around it;
/// - its base64 forms, see [`Mask::unencoded`].
///
/// The search keeps the values in a form of its own, which is not wiped from memory as a [`Secret`] is.
#[derive(Clone)]
pub struct Mask {
    /// Without patterns there is nothing to search for.
    patterns: Option<Arc<Patterns>>,
    unencoded: usize,
    unmasked: usize,
}

impl Mask {
    /// Builds the mask. It takes 8 KiB of memory, some 12 bytes for each byte of the values, and 100 to 200 for each
    /// byte that is hidden in its encoded forms too.
    pub fn new<'a>(values: impl IntoIterator<Item = &'a Secret>) -> Self {
        let forms = forms::of(values.into_iter().map(Secret::expose));
        let patterns = Patterns::new(&forms.patterns).map(Arc::new);
        Self { patterns, unencoded: forms.unencoded, unmasked: forms.unmasked }
    }

    /// How many values are hidden in their plain form only.
    ///
    /// A value is also hidden where it was encoded as base64: in the standard and the URL-safe alphabet, with and
    /// without padding, with and without a line feed after it, at each of the three places that it can have in the
    /// groups of an encoding, and, where it begins the encoding, broken into lines of 64 or 76 characters. The
    /// characters at its borders that carry bits of its neighbours too may stay. This takes memory, so it is done from
    /// the shortest value on until those have 64 KiB together; the rest is counted here.
    pub fn unencoded(&self) -> usize {
        self.unencoded
    }

    /// How many values are not hidden at all: they have fewer than 3 bytes, and hiding them would leave no log to read.
    pub fn unmasked(&self) -> usize {
        self.unmasked
    }

    /// Hides secrets in a whole text.
    pub fn apply(&self, text: &[u8]) -> Vec<u8> {
        let mut masked = Vec::with_capacity(text.len());
        let mut masker = Masker::new(self.clone());
        let mut write = |_, part: Masked<'_>| masked.extend_from_slice(part.bytes());
        masker.push(text, &mut write);
        masker.finish(&mut write);
        masked
    }
}

impl fmt::Debug for Mask {
    /// The automaton's own `Debug` would spell out the secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let patterns = self.patterns.as_ref().map_or(0, |patterns| patterns.count());
        f.debug_struct("Mask").field("patterns", &patterns).field("unencoded", &self.unencoded).finish()
    }
}

/// A part of the masked stream.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Masked<'a> {
    /// Bytes as they were read.
    Text(&'a [u8]),
    /// A stretch of secret bytes.
    Secret,
}

impl<'a> Masked<'a> {
    /// What is shown.
    pub(super) fn bytes(self) -> &'a [u8] {
        match self {
            Self::Text(text) => text,
            Self::Secret => REPLACEMENT,
        }
    }
}

/// Masks one stream.
pub(super) struct Masker {
    mask: Mask,
    /// The state of the search after the last byte read; `None` before the first one.
    state: Option<StateID>,
    /// Bytes read and not released: what a secret may still begin in. Fewer than the longest pattern has.
    held: Vec<u8>,
    /// Secret stretches, as ranges of `held`: in order, neither overlapping nor touching.
    found: Vec<Range<usize>>,
    /// How many bytes were released: the place of the first held byte in the stream.
    released: u64,
    /// The last byte released was secret, so that a stretch that begins at the next one has been replaced already.
    inside: bool,
}

impl Masker {
    pub(super) fn new(mask: Mask) -> Self {
        Self { mask, state: None, held: Vec::new(), found: Vec::new(), released: 0, inside: false }
    }

    /// Reads on. `emit` gets the parts that are decided, each with the place in the stream where it begins.
    pub(super) fn push(&mut self, bytes: &[u8], emit: &mut impl FnMut(u64, Masked<'_>)) {
        let Some(patterns) = self.mask.patterns.clone() else {
            return self.release(bytes, bytes.len(), emit);
        };
        for slice in bytes.chunks(SLICE) {
            self.read(&patterns, slice, emit);
        }
    }

    /// The stream is over: releases what is held. Another one may follow.
    pub(super) fn finish(&mut self, emit: &mut impl FnMut(u64, Masked<'_>)) {
        let held = std::mem::take(&mut self.held);
        self.release(&held, held.len(), emit);
        self.state = None;
        self.inside = false;
    }

    /// How many bytes are decided, and were emitted.
    pub(super) fn released(&self) -> u64 {
        self.released
    }

    fn read(&mut self, patterns: &Patterns, bytes: &[u8], emit: &mut impl FnMut(u64, Masked<'_>)) {
        let held = self.held.len();
        let before = self.state.unwrap_or_else(|| patterns.start());
        let state = patterns.search(before, bytes, |end, length| {
            note(&mut self.found, held + end - length..held + end);
        });
        self.state = Some(state);

        let total = held + bytes.len();
        let decided = if state == patterns.start() {
            // The usual case, and nothing has to be copied.
            total
        } else {
            let after_line_feed = memchr::memrchr(b'\n', bytes).map_or(0, |at| held + at + 1);
            after_line_feed.max((total + 1).saturating_sub(patterns.longest()))
        };

        if self.held.is_empty() {
            self.release(bytes, decided, emit);
            self.held.extend_from_slice(&bytes[decided..]);
        } else {
            let mut held = std::mem::take(&mut self.held);
            held.extend_from_slice(bytes);
            self.release(&held, decided, emit);
            held.drain(..decided);
            self.held = held;
        }
    }

    /// Emits the first `decided` bytes of `text`, which begins with what is held.
    fn release(&mut self, text: &[u8], decided: usize, emit: &mut impl FnMut(u64, Masked<'_>)) {
        let mut at = 0;
        for stretch in self.found.iter().take_while(|stretch| stretch.start < decided) {
            if at < stretch.start {
                emit(self.released + at as u64, Masked::Text(&text[at..stretch.start]));
                self.inside = false;
            }
            if !self.inside {
                emit(self.released + stretch.start as u64, Masked::Secret);
                self.inside = true;
            }
            at = stretch.end.min(decided);
        }
        if at < decided {
            emit(self.released + at as u64, Masked::Text(&text[at..decided]));
            self.inside = false;
        }
        self.released += decided as u64;
        self.found.retain_mut(|stretch| {
            *stretch = stretch.start.saturating_sub(decided)..stretch.end.saturating_sub(decided);
            stretch.start < stretch.end
        });
    }
}

/// Adds a stretch that ends where the last one does, or after it.
fn note(found: &mut Vec<Range<usize>>, mut stretch: Range<usize>) {
    while let Some(last) = found.pop_if(|last| stretch.start <= last.end) {
        stretch.start = stretch.start.min(last.start);
    }
    found.push(stretch);
}

impl fmt::Debug for Masker {
    /// What is held may be a part of a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Masker").field("mask", &self.mask).field("held", &self.held.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
