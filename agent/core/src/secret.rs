//! Text that must not be shown.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// A secret value: `Debug` hides it, there is no `Display`, and its memory is wiped when it is dropped.
///
/// It serialises as its plain text, because workload files and the sealed payload have to carry it; whoever prints
/// a value that contains one goes through [`Secret::expose`] and can be found by that name.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text, for the places that must have it: Secret objects, masks, the wire.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Whether a text can be sent as a token, by whoever has one: a word of printable ASCII.
pub fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn debug_hides_the_text() {
        assert_eq!(format!("{:?}", vec![Secret::new("hunter2")]), "[[secret]]");
    }
}
