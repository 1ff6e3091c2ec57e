//! Hides secrets in what the runtime itself writes.

use std::fmt;

/// What stands in the place of a secret.
const HIDDEN: &str = "********";

/// Values that must not be shown.
#[derive(Clone, Default)]
pub(super) struct Mask(Vec<String>);

impl Mask {
    /// Hides these values, and each line of those that have several.
    pub(super) fn new(secrets: impl IntoIterator<Item = String>) -> Self {
        let mut values = Vec::new();
        for secret in secrets {
            values.extend(secret.lines().map(|line| line.trim().to_owned()));
            values.push(secret);
        }
        values.retain(|value| !value.trim().is_empty());
        // The longest first: one secret may be the beginning of another.
        values.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        values.dedup();
        Self(values)
    }

    /// The text without them.
    pub(super) fn hide(&self, text: &str) -> String {
        let mut rest = text;
        let mut shown = String::with_capacity(text.len());
        'next: while !rest.is_empty() {
            for secret in &self.0 {
                if let Some(after) = rest.strip_prefix(secret.as_str()) {
                    shown.push_str(HIDDEN);
                    rest = after;
                    continue 'next;
                }
            }
            let mut letters = rest.chars();
            shown.extend(letters.next());
            rest = letters.as_str();
        }
        shown
    }
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mask({} secrets)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::Mask;

    #[test]
    fn secrets_are_hidden_wherever_they_stand() {
        let mask = Mask::new(["abc", "abcdef", "", "two\nlines\n"].map(str::to_owned));
        for (text, shown) in [
            ("abc", "********"),
            ("xabcdefy", "x********y"),
            ("user:abc@host", "user:********@host"),
            ("only lines here", "only ******** here"),
            ("nothing", "nothing"),
            ("\u{1f426}abc\u{1f426}", "\u{1f426}********\u{1f426}"),
        ] {
            assert_eq!(mask.hide(text), shown, "{text:?}");
        }
        assert_eq!(format!("{mask:?}"), "Mask(5 secrets)");
    }
}
