//! What the operators of an expansion do to a value.

use super::pattern;

type Change = fn(&str) -> String;
type Trim = fn(&str, &str) -> String;
type Replace = fn(&str, &str, &str) -> String;

/// Longer operators first: the first that fits is taken.
pub(super) const CASES: [(&str, Change); 4] = [
    ("^^", |value| value.to_uppercase()),
    ("^", |value| first(value, |c| c.to_uppercase().collect())),
    (",,", |value| value.to_lowercase()),
    (",", |value| first(value, |c| c.to_lowercase().collect())),
];

pub(super) const TRIMS: [(&str, Trim); 4] = [
    ("##", |value, glob| after(value, pattern::starts(value, glob).last().copied())),
    ("#", |value, glob| after(value, pattern::starts(value, glob).first().copied())),
    ("%%", |value, glob| before(value, pattern::ends(value, glob).first().copied())),
    ("%", |value, glob| before(value, pattern::ends(value, glob).last().copied())),
];

pub(super) const REPLACEMENTS: [(&str, Replace); 4] = [
    ("//", |value, from, to| if from.is_empty() { value.to_owned() } else { value.replace(from, to) }),
    ("/#", |value, from, to| value.strip_prefix(from).map_or_else(|| value.to_owned(), |rest| format!("{to}{rest}"))),
    ("/%", |value, from, to| value.strip_suffix(from).map_or_else(|| value.to_owned(), |rest| format!("{rest}{to}"))),
    ("/", |value, from, to| if from.is_empty() { value.to_owned() } else { value.replacen(from, to, 1) }),
];

/// `${X:offset:length}`. What is no number leaves the value whole, as in envsubst.
pub(super) fn part(value: &str, offset: &str, length: Option<&str>) -> String {
    let number = |text: &str| text.trim().parse::<i64>().ok();
    let (Some(offset), Ok(size)) = (number(offset), i64::try_from(value.len())) else {
        return value.to_owned();
    };
    let start = if offset < 0 { (size + offset).max(0) } else { offset.min(size) };
    let end = match length.map(number) {
        None => size,
        Some(None) => return value.to_owned(),
        Some(Some(length)) if length < 0 => size.saturating_add(length),
        Some(Some(length)) => start.saturating_add(length).min(size),
    };
    let byte = |at: i64| usize::try_from(at).map_or(0, |at| value.floor_char_boundary(at));
    value.get(byte(start)..byte(end)).unwrap_or_default().to_owned()
}

fn first(value: &str, change: fn(char) -> String) -> String {
    let mut rest = value.chars();
    rest.next().map_or_else(String::new, |c| change(c) + rest.as_str())
}

fn after(value: &str, at: Option<usize>) -> String {
    value.get(at.unwrap_or(0)..).unwrap_or_default().to_owned()
}

fn before(value: &str, at: Option<usize>) -> String {
    value.get(..at.unwrap_or(value.len())).unwrap_or_default().to_owned()
}
