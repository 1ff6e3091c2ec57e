//! Search in a step's log.

use std::str::Chars;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::super::error::{ApiError, Refused};
use super::super::schema::StepName;
use crate::server::Server;

/// Lines that are looked up at once.
const LINES_AT_ONCE: usize = 1000;
/// One call looks at no more lines than this.
const MAX_LINES: usize = 200_000;
/// One call looks at no more bytes than this.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// The most matches of one answer.
const MAX_MATCHES: usize = 10_000;
/// Matches of an answer where the caller doesn't say how many.
const MATCHES: usize = 1000;
/// How much of a line is shown, in characters.
const EXCERPT: usize = 200;
/// How much of that stands before the match.
const BEFORE: usize = 40;

/// What is searched for.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Wanted {
    /// What a line has to contain, in upper or lower case; colours and other escape sequences in the line don't count.
    text: String,
    /// The first line that is looked at.
    #[serde(default)]
    from: u64,
    /// How many matching lines at most: 1000 unless told, 10,000 at most.
    #[serde(default)]
    count: Option<usize>,
}

/// Lines that match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MatchesView {
    /// In the order of their numbers.
    pub matches: Vec<MatchView>,
    /// The line to go on from.
    pub next: u64,
    /// There are no lines after these yet. Else a bound of this call was reached.
    pub is_last: bool,
}

/// A line that matches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MatchView {
    /// A step's first line is 0.
    pub number: u64,
    /// The part of the line around the first match, without escape sequences.
    pub excerpt: String,
}

/// Searches a step's log.
#[utoipa::path(
    get, path = "/api/workflows/{workflow}/steps/{step}/log/search", tag = "logs", params(StepName, Wanted),
    responses((status = 200, description = "Matching lines", body = MatchesView), Refused),
)]
pub(in super::super) async fn in_step(
    State(server): State<Server>,
    Path((workflow, step)): Path<(String, String)>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<MatchesView>, ApiError> {
    let Query(Wanted { text, from, count }) = wanted?;
    let needle = text.to_lowercase();
    if needle.is_empty() {
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "query-invalid", "'text' has to say what is searched for"));
    }
    let count = count.unwrap_or(MATCHES).min(MAX_MATCHES);
    let mut found = MatchesView { matches: Vec::new(), next: from, is_last: false };
    let (mut lines, mut bytes) = (0, 0);
    while lines < MAX_LINES && bytes < MAX_BYTES && found.matches.len() < count {
        let page = server.log_page(&workflow, &step, found.next, LINES_AT_ONCE).await?;
        if page.lines.is_empty() {
            found.is_last = true;
            break;
        }
        for line in page.lines {
            lines += 1;
            bytes += line.bytes.len();
            found.next = line.number + 1;
            if let Some(excerpt) = excerpt(&line.bytes, &needle) {
                found.matches.push(MatchView { number: line.number, excerpt });
            }
            if found.matches.len() == count || bytes >= MAX_BYTES {
                break;
            }
        }
        // A long log is no reason to keep a thread of the server for itself.
        tokio::task::yield_now().await;
    }
    Ok(Json(found))
}

/// The part of a line around the first match; `needle` is lower case.
fn excerpt(line: &[u8], needle: &str) -> Option<String> {
    let text = visible(&String::from_utf8_lossy(line));
    let lower = text.to_lowercase();
    let (before, _) = lower.split_once(needle)?;
    // Lower case may have another length; the place is good enough for an excerpt.
    let start = before.chars().count().saturating_sub(BEFORE);
    Some(text.chars().skip(start).take(EXCERPT).collect())
}

/// A line without its escape sequences (ECMA-48) and other control characters.
fn visible(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => skip_sequence(&mut rest),
            '\t' => text.push(c),
            c if c.is_control() => {}
            c => text.push(c),
        }
    }
    text
}

/// Passes over what follows an escape character.
fn skip_sequence(rest: &mut Chars<'_>) {
    match rest.next() {
        // A control sequence goes up to its final character,
        Some('[') => while rest.next().is_some_and(|c| !('@'..='~').contains(&c)) {},
        // a string up to BEL or ESC \,
        Some(']' | 'P' | 'X' | '^' | '_') => {
            while let Some(c) = rest.next() {
                match c {
                    '\u{7}' => return,
                    '\u{1b}' => {
                        rest.next();
                        return;
                    }
                    _ => {}
                }
            }
        }
        // and all others have one character more, or some before it.
        Some(' '..='/') => while rest.next().is_some_and(|c| (' '..='/').contains(&c)) {},
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::{excerpt, visible};

    #[test]
    fn what_is_seen_of_a_line() {
        for (line, expected) in [
            ("plain \u{fc}", "plain \u{fc}"),
            ("\u{1b}[1;31mer\u{1b}[0mror", "error"),
            ("\u{1b}]8;;https://a.example\u{7}link\u{1b}]8;;\u{1b}\\ after", "link after"),
            ("\u{1b}(Bx\u{1b}7y\u{1b}", "xy"),
            ("10%\r20%\tz", "10%20%\tz"),
            ("\u{1b}[38;5;196", ""),
            ("\u{1b}]never ended", ""),
        ] {
            assert_eq!(visible(line), expected, "{line:?}");
        }
    }

    #[test]
    fn a_match_is_shown_with_what_is_around_it() {
        assert_eq!(excerpt(b"all is well", "err"), None);
        assert_eq!(excerpt(b"\x1b[31mER\x1b[0mROR: no", "error").as_deref(), Some("ERROR: no"));
        let long = format!("{}needle{}", "a".repeat(1000), "b".repeat(1000));
        let shown = excerpt(long.as_bytes(), "needle").expect("it is in there");
        assert_eq!(shown, format!("{}needle{}", "a".repeat(40), "b".repeat(154)));
    }
}
