//! Finds all occurrences of many patterns in a stream, also where they overlap.

use std::collections::BTreeSet;

use aho_corasick::Anchored;
use aho_corasick::automaton::{Automaton, StateID};
use aho_corasick::nfa::contiguous::NFA;

/// Every value of two bytes, as bits.
const PAIR_WORDS: usize = (1 << 16) / 64;

/// Patterns, made ready for the search.
pub(super) struct Patterns {
    automaton: NFA,
    start: StateID,
    /// The first two bytes of each pattern. Most of a log can be skipped by looking at them, several times as fast as
    /// the automaton walks.
    beginnings: Box<[u64; PAIR_WORDS]>,
}

impl Patterns {
    /// `None` if there are none. Each has at least two bytes.
    pub(super) fn new(patterns: &BTreeSet<Vec<u8>>) -> Option<Self> {
        if patterns.is_empty() {
            return None;
        }
        let mut beginnings = Box::new([0; PAIR_WORDS]);
        for pattern in patterns {
            let (word, bit) = place([pattern[0], pattern[1]]);
            beginnings[word] |= bit;
        }
        // The standard kind of match reports all that overlap. A prefilter of the library's own starts with each text.
        let built = NFA::builder().prefilter(false).build(patterns);
        let automaton = built.expect("the automaton holds 2^31 states, and a workload has at most some MiB of secrets");
        let start = automaton.start_state(Anchored::No).expect("a search that is not anchored is always supported");
        Some(Self { automaton, start, beginnings })
    }

    /// The state in which no end of what was read is the beginning of a pattern.
    pub(super) fn start(&self) -> StateID {
        self.start
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.automaton.patterns_len()
    }

    /// How many bytes the longest has.
    pub(super) fn longest(&self) -> usize {
        self.automaton.max_pattern_len()
    }

    /// Reads on from a state. `found` gets the end of each occurrence and the length of the longest that ends there,
    /// which covers the others; the beginning may lie before `bytes`. Returns the state after the last byte.
    pub(super) fn search(&self, mut state: StateID, bytes: &[u8], mut found: impl FnMut(usize, usize)) -> StateID {
        let mut at = 0;
        loop {
            if state == self.start {
                at = self.skip(bytes, at);
            }
            let Some(&byte) = bytes.get(at) else { return state };
            at += 1;
            state = self.automaton.next_state(Anchored::No, state, byte);
            if self.automaton.is_special(state) && self.automaton.is_match(state) {
                let ending =
                    (0..self.automaton.match_len(state)).map(|index| self.automaton.match_pattern(state, index));
                found(at, ending.map(|pattern| self.automaton.pattern_len(pattern)).max().unwrap_or(0));
            }
        }
    }

    /// The first place from `at` on where a pattern may begin. That is always so for the last byte.
    fn skip(&self, bytes: &[u8], at: usize) -> usize {
        let begins = |pair: &[u8]| {
            let (word, bit) = place([pair[0], pair[1]]);
            self.beginnings[word] & bit != 0
        };
        let rest = &bytes[at..];
        at + rest.windows(2).position(begins).unwrap_or_else(|| rest.len().saturating_sub(1))
    }
}

/// Where the bit of a pair is.
fn place(pair: [u8; 2]) -> (usize, u64) {
    let pair = u16::from_be_bytes(pair);
    (usize::from(pair / 64), 1 << (pair % 64))
}
