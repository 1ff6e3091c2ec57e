//! Lines by which a program says that it lacks a right.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

/// What programs and their libraries print. Not the beginning: it is a capital here and none there.
const WORDS: [&str; 6] =
    ["ermission denied", "peration not permitted", "EACCES", "EPERM", "are you root?", "superuser privileges"];

/// All of them at once: every line of every log is searched. `None` can't be, since they are few and short.
static SEARCH: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| AhoCorasick::new(WORDS).ok());

/// Whether the line says that something was denied to the step.
pub fn is_denial(line: &[u8]) -> bool {
    SEARCH.as_ref().is_some_and(|search| search.is_match(line))
}

#[cfg(test)]
mod tests {
    use super::is_denial;

    #[test]
    fn programs_say_it_in_these_words() {
        for line in [
            "E: Could not open lock file /var/lib/dpkg/lock-frontend - open (13: Permission denied)",
            "mkdir: can't create directory '/opt/x': Permission denied",
            "npm error Error: EACCES: permission denied, mkdir '/usr/local/lib/node_modules/x'",
            "Error: EPERM: operation not permitted, chown '/work'",
            "chown: changing ownership of 'x': Operation not permitted",
            "dpkg: error: requested operation requires superuser privilege; are you root?",
            "Error: This command has to be run with superuser privileges (under the root user on most systems).",
        ] {
            assert!(is_denial(line.as_bytes()), "{line}");
        }
        for line in ["", "FAIL: TestLogin", "permission granted", "\u{fffd}"] {
            assert!(!is_denial(line.as_bytes()), "{line}");
        }
    }
}
