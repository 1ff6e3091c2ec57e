//! Globs of conditions, by the rules of the doublestar library: `*` stays within a path segment, `**` crosses them.

use globset::{GlobBuilder, GlobMatcher};

/// One pattern.
#[derive(Debug, Clone)]
pub(crate) struct Glob {
    pattern: String,
    matchers: Vec<GlobMatcher>,
}

impl Glob {
    /// Reads a pattern; the error is a sentence about it.
    pub(crate) fn new(pattern: &str) -> Result<Self, String> {
        let matcher = |pattern: &str| {
            GlobBuilder::new(pattern)
                .literal_separator(true)
                .backslash_escape(true)
                .empty_alternates(true)
                .build()
                .map(|glob| glob.compile_matcher())
                .map_err(|error| format!("the pattern '{pattern}' can't be read: {}", error.kind()))
        };
        let mut matchers = vec![matcher(pattern)?];
        // In doublestar `a/**` matches `a` too.
        if let Some(parent) = pattern.strip_suffix("/**").filter(|parent| !parent.is_empty()) {
            matchers.extend(matcher(parent).ok());
        }
        Ok(Self { pattern: pattern.to_owned(), matchers })
    }

    pub(crate) fn matches(&self, text: &str) -> bool {
        self.matchers.iter().any(|matcher| matcher.is_match(text))
    }

    pub(crate) fn pattern(&self) -> &str {
        &self.pattern
    }
}

#[cfg(test)]
mod tests {
    use super::Glob;

    #[test]
    fn patterns_match_as_in_doublestar() {
        for (pattern, matching, others) in [
            ("main", &["main"][..], &["mainline", "a/main", ""][..]),
            ("*", &["main", ""], &["a/b"]),
            ("**", &["main", "a/b/c"], &[]),
            ("release/*", &["release/1.0"], &["release", "release/1/2"]),
            ("release/**", &["release/1.0", "release/1/2", "release"], &["releases"]),
            ("**/*.go", &["main.go", "a/b/c.go"], &["main.rs"]),
            ("a/**/z", &["a/z", "a/b/z", "a/b/c/z"], &["a/bz"]),
            ("refs/tags/v**", &["refs/tags/v1"], &["refs/tags/v1/x", "refs/tags/1"]),
            ("v*.*.*", &["v1.2.3"], &["v1.2"]),
            ("{main,dev*}", &["main", "develop"], &["other"]),
            ("v[0-9]", &["v1"], &["vx"]),
            ("v[!0-9]", &["vx"], &["v1"]),
            ("v[^0-9]", &["vx"], &["v1"]),
            ("?", &["a"], &["/", "ab"]),
            (r"\*", &["*"], &["a"]),
            (r"*\/*", &["a/b"], &["a", "a/b/c"]),
            (".woodpecker/*.yml", &[".woodpecker/a.yml"], &[".woodpecker/a/b.yml"]),
            ("", &[""], &["a"]),
        ] {
            let glob = Glob::new(pattern).unwrap();
            for text in matching {
                assert!(glob.matches(text), "{pattern} matches {text}");
            }
            for text in others {
                assert!(!glob.matches(text), "{pattern} does not match {text}");
            }
        }
    }

    #[test]
    fn a_bad_pattern_is_told() {
        assert!(Glob::new("[a").unwrap_err().contains("the pattern '[a' can't be read"));
        assert!(Glob::new("{a").is_err());
    }
}
