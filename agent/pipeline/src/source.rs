//! A pipeline file as text with lines.

use std::ops::Range;

use crate::diagnostic::{Diagnostic, Location, Severity};

/// Larger files are refused. The largest real ones have some 40 KiB.
pub(crate) const MAX_BYTES: usize = 1 << 20;

/// Characters of a line that are kept to be shown.
const WIDEST: usize = 160;
/// Of a wider line, how many characters before the place are kept.
const CONTEXT: usize = 60;

/// A pipeline file as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Its path, for messages; the workflow's name is made from it.
    pub name: String,
    /// Its bytes; UTF-8, with or without a byte order mark, at most 1 MiB.
    pub text: Vec<u8>,
}

impl SourceFile {
    /// A file of this name and content.
    pub fn new(name: impl Into<String>, text: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), text: text.into() }
    }

    /// The file as text, without a byte order mark.
    pub(crate) fn decode(&self) -> Result<&str, Box<Diagnostic>> {
        if self.text.len() > MAX_BYTES {
            return Err(refusal(
                "file-too-large",
                format!("the file has {} bytes", self.text.len()),
                "the limit is 1 MiB",
            ));
        }
        if self.text.starts_with(&[0xff, 0xfe]) || self.text.starts_with(&[0xfe, 0xff]) {
            return Err(refusal("not-utf8", "the file is UTF-16".to_owned(), "save it as UTF-8"));
        }
        let bytes = self.text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&self.text);
        std::str::from_utf8(bytes).map_err(|error| {
            let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = valid.iter().filter(|&&byte| byte == b'\n').count() + 1;
            let column = valid.rsplit(|&byte| byte == b'\n').next().map_or(0, char_count) + 1;
            refusal(
                "not-utf8",
                format!("the file isn't UTF-8: the first bad byte is in line {line}, column {column}"),
                "save it as UTF-8",
            )
        })
    }
}

fn char_count(valid: &[u8]) -> usize {
    // Every character has exactly one byte that isn't a continuation byte.
    valid.iter().filter(|&&byte| byte & 0xc0 != 0x80).count()
}

fn refusal(code: &'static str, message: String, hint: &str) -> Box<Diagnostic> {
    Box::new(Diagnostic {
        code,
        severity: Severity::Error,
        message,
        hint: Some(hint.to_owned()),
        location: None,
        related: Vec::new(),
    })
}

/// Finds the line and column of a place in a text.
#[derive(Debug)]
pub(crate) struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, starts }
    }

    /// Where a range of bytes starts, and how much of its first line it takes.
    pub(crate) fn locate(&self, range: &Range<usize>) -> Location {
        let start = range.start.min(self.text.len());
        let line = self.starts.partition_point(|&at| at <= start) - 1;
        let from = self.starts[line];
        let rest = self.text.get(from..).unwrap_or_default();
        let text = rest.split('\n').next().unwrap_or_default().trim_end_matches('\r');
        let end = from + text.len();
        let count = |range: Range<usize>| self.text.get(range).unwrap_or_default().chars().count();
        let before = count(from..start.min(end));
        let width = count(start.min(end)..range.end.clamp(start.min(end), end));
        let skipped = if text.len() > WIDEST { before.saturating_sub(CONTEXT) } else { 0 };
        Location {
            line: line + 1,
            column: before + 1,
            width: width.clamp(1, (skipped + WIDEST - before).max(1)),
            text: text.chars().skip(skipped).take(WIDEST).collect(),
            skipped,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Lines, MAX_BYTES, SourceFile};

    fn refused(text: impl Into<Vec<u8>>) -> String {
        let refusal = SourceFile::new("x.yaml", text).decode().unwrap_err();
        format!("{}: {}", refusal.code, refusal.message)
    }

    #[test]
    fn bytes_become_text_or_a_reason() {
        assert_eq!(SourceFile::new("x", "\u{feff}a: 1").decode().unwrap(), "a: 1");
        assert_eq!(
            refused(b"a: 1\n\xc3\xa4b: \xe4".to_vec()),
            "not-utf8: the file isn't UTF-8: the first bad byte is in line 2, column 5"
        );
        assert_eq!(refused(b"\xff\xfea\0".to_vec()), "not-utf8: the file is UTF-16");
        assert_eq!(refused(vec![b'#'; MAX_BYTES + 1]), "file-too-large: the file has 1048577 bytes");
    }

    #[test]
    fn lines_and_columns_count_characters_from_1() {
        let lines = Lines::new("one\r\nzw\u{f6}lf: 12\n\nend");
        let at = |range: std::ops::Range<usize>| {
            let found = lines.locate(&range);
            (found.line, found.column, found.width, found.text)
        };
        assert_eq!(at(0..3), (1, 1, 3, "one".to_owned()));
        assert_eq!(at(12..14), (2, 7, 2, "zw\u{f6}lf: 12".to_owned()));
        assert_eq!(at(16..16), (3, 1, 1, String::new()));
        assert_eq!(at(5..100), (2, 1, 9, "zw\u{f6}lf: 12".to_owned()));
        assert_eq!(at(999..1000), (4, 4, 1, "end".to_owned()));
    }

    #[test]
    fn of_a_wide_line_the_part_around_the_place_is_kept() {
        let text = format!("{}KEY{}", "a".repeat(1_000), "b".repeat(1_000));
        let found = Lines::new(&text).locate(&(1_000..2_000));
        assert_eq!((found.column, found.width, found.skipped), (1_001, 100, 940));
        assert_eq!(found.text, format!("{}KEY{}", "a".repeat(60), "b".repeat(97)));
    }
}
