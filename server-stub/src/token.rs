//! Bearer tokens.

use piculet_core::secret::Secret;
use sha2::{Digest as _, Sha256};

/// Why a caller is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    /// None was sent.
    #[error("a token is needed: send the header 'authorization: Bearer <token>'")]
    Missing,
    /// It is another one.
    #[error("the token is wrong")]
    Wrong,
    /// It was right once.
    #[error("the token was revoked")]
    Revoked,
}

/// Compares an `authorization` header with the token that is asked for.
///
/// # Errors
/// If it is missing, or another one.
pub(crate) fn check(header: Option<&str>, token: &Secret) -> Result<(), TokenError> {
    let given = bearer(header)?;
    if is_same(given.as_bytes(), token.expose().as_bytes()) { Ok(()) } else { Err(TokenError::Wrong) }
}

/// The token in an `authorization` header.
///
/// # Errors
/// If there is none.
pub(crate) fn bearer(header: Option<&str>) -> Result<&str, TokenError> {
    let (scheme, given) = header.ok_or(TokenError::Missing)?.split_once(' ').ok_or(TokenError::Wrong)?;
    let given = given.trim();
    if scheme.eq_ignore_ascii_case("bearer") && !given.is_empty() { Ok(given) } else { Err(TokenError::Wrong) }
}

/// What is kept of a token: its SHA-256, in hexadecimal digits. Tokens are random, so nothing slower is needed.
pub(crate) fn digest(token: &str) -> String {
    Sha256::digest(token).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Compares without telling by the time it takes how much of it is right.
pub(crate) fn is_same(given: &[u8], wanted: &[u8]) -> bool {
    given.len() == wanted.len() && given.iter().zip(wanted).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::{TokenError, check};
    use piculet_core::secret::Secret;

    #[test]
    fn tokens_as_a_table() {
        let token = Secret::new("s3cret");
        for (header, expected) in [
            (Some("Bearer s3cret"), Ok(())),
            (Some("bearer s3cret"), Ok(())),
            (None, Err(TokenError::Missing)),
            (Some("s3cret"), Err(TokenError::Wrong)),
            (Some("Bearer s3cre"), Err(TokenError::Wrong)),
            (Some("Bearer s3creT"), Err(TokenError::Wrong)),
            (Some("Basic s3cret"), Err(TokenError::Wrong)),
            (Some("Bearer "), Err(TokenError::Wrong)),
        ] {
            assert_eq!(check(header, &token), expected, "{header:?}");
        }
    }
}
