//! `${VARIABLES}` in the text of a pipeline file, replaced before the text is read as YAML.
//!
//! The forms are those of `drone/envsubst`, which Woodpecker and Drone use:
//!
//! | form | value |
//! |---|---|
//! | `${X}` | of `X`, nothing if there is none |
//! | `${X:-word}` `${X-word}` `${X:=word}` `${X=word}` | `word` if `X` is empty |
//! | `${X:?word}` `${X?word}` `${X:+word}` `${X+word}` | the same, unlike in a shell; a warning says so |
//! | `${X:offset}` `${X:offset:length}` | a part, in bytes; a negative number counts from the end |
//! | `${X#glob}` `${X##glob}` `${X%glob}` `${X%%glob}` | without the shortest or longest start or end |
//! | `${X/a/b}` `${X//a/b}` `${X/#a/b}` `${X/%a/b}` | first, every, leading, trailing `a` replaced by `b` |
//! | `${X^}` `${X^^}` `${X,}` `${X,,}` | first letter or all, upper or lower case |
//! | `${#X}` | the length in bytes |
//! | `$$` | `$` |
//!
//! Words may hold further `${…}`. `$X` without braces is left to the shell. A value of several lines is put in as one
//! quoted string, or it would break the YAML around it.

mod expansion;
mod operators;
mod pattern;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::ops::Range;

use self::expansion::Expansion;
use crate::diagnostic::Severity;

/// The longest text that a file may become, in bytes.
const MAX_TEXT: usize = 4 << 20;
/// After so many mistakes the rest of the text is left as it is; so many warnings are given.
const MAX_PROBLEMS: usize = 50;

/// A text after substitution, which knows where each part of it came from.
#[derive(Debug, Default)]
pub(crate) struct Substituted<'t> {
    /// Before.
    pub(crate) original: &'t str,
    /// After.
    pub(crate) text: String,
    /// What was wrong; such places stayed as they were.
    pub(crate) problems: Vec<Problem>,
    pieces: Vec<Piece>,
}

/// Something wrong with a substitution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) code: &'static str,
    pub(crate) severity: Severity,
    /// In the original.
    pub(crate) place: Range<usize>,
    pub(crate) message: String,
    pub(crate) hint: String,
}

/// A part of the text that came from one place.
#[derive(Debug)]
struct Piece {
    /// Where it starts in the new text.
    start: usize,
    original: Range<usize>,
    /// Copied byte by byte; else it stands for the whole place.
    copied: bool,
}

impl<'t> Substituted<'t> {
    /// The text as it is, nothing replaced.
    #[cfg(test)]
    pub(crate) fn none(original: &'t str) -> Self {
        let whole = Piece { start: 0, original: 0..original.len(), copied: true };
        Self { original, text: original.to_owned(), problems: Vec::new(), pieces: vec![whole] }
    }

    /// Where a range of the new text came from.
    pub(crate) fn original_range(&self, range: Range<usize>) -> Range<usize> {
        if range.start >= self.text.len() {
            return self.original.len()..self.original.len();
        }
        let start = self.original_place(range.start);
        if range.is_empty() {
            return start.start..start.start;
        }
        start.start..self.original_place(range.end - 1).end
    }

    /// Where one byte of the new text came from.
    fn original_place(&self, at: usize) -> Range<usize> {
        let after = self.pieces.partition_point(|piece| piece.start <= at);
        let Some(piece) = after.checked_sub(1).and_then(|index| self.pieces.get(index)) else {
            return 0..0;
        };
        if piece.copied {
            let place = (piece.original.start + (at - piece.start)).min(piece.original.end);
            place..(place + 1).min(piece.original.end).max(place)
        } else {
            piece.original.clone()
        }
    }

    fn push(&mut self, text: &str, original: Range<usize>, copied: bool) {
        if text.is_empty() {
            return;
        }
        self.pieces.push(Piece { start: self.text.len(), original, copied });
        self.text.push_str(text);
    }
}

/// Replaces all variables of a text. `lookup` gives a variable's value, or `None` if there is none.
pub(crate) fn substitute<'t, 'v>(original: &'t str, lookup: &dyn Fn(&str) -> Option<&'v str>) -> Substituted<'t> {
    substitute_or(original, lookup, "")
}

/// The same, but what has no value becomes `missing`.
pub(crate) fn substitute_or<'t, 'v>(
    original: &'t str,
    lookup: &dyn Fn(&str) -> Option<&'v str>,
    missing: &str,
) -> Substituted<'t> {
    let mut done = Substituted { original, ..Substituted::default() };
    let mut unknown = BTreeSet::new();
    let (mut mistakes, mut warnings) = (0, 0);
    let mut at = 0;
    while let Some(found) = original.get(at..).and_then(|rest| rest.find('$')).map(|offset| at + offset) {
        done.push(original.get(at..found).unwrap_or_default(), at..found, true);
        let rest = original.get(found..).unwrap_or_default();
        if rest.starts_with("$$") {
            done.push("$", found..found + 2, false);
            at = found + 2;
        } else if rest.starts_with("${") && mistakes < MAX_PROBLEMS {
            let mut expansion = Expansion::new(original, found + 2, lookup, missing);
            match expansion.value() {
                Ok(value) => {
                    at = expansion.at();
                    if warnings < MAX_PROBLEMS {
                        let more = expansion.warnings(found..at, &mut unknown);
                        done.problems.extend(more.into_iter().take(MAX_PROBLEMS - warnings));
                        warnings = done.problems.len() - mistakes;
                    }
                    done.push(&value, found..at, false);
                }
                Err(problem) => {
                    mistakes += 1;
                    done.problems.push(problem);
                    done.push("${", found..found + 2, true);
                    at = found + 2;
                }
            }
        } else {
            done.push("$", found..found + 1, true);
            at = found + 1;
        }
        if done.text.len() > MAX_TEXT {
            done.problems.push(too_large(found..at));
            return done;
        }
    }
    done.push(original.get(at..).unwrap_or_default(), at..original.len(), true);
    done
}

fn too_large(place: Range<usize>) -> Problem {
    Problem {
        code: "substitution-too-large",
        severity: Severity::Error,
        place,
        message: "here the file grows beyond 4 MiB, because of the variables that were put in".to_owned(),
        hint: "put large values into files, not into variables".to_owned(),
    }
}
