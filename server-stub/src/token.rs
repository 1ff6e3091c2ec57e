//! Bearer tokens.

use piculet_core::secret::Secret;

/// Why a caller is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    /// None was sent.
    #[error("a token is needed: send the header 'authorization: Bearer <token>'")]
    Missing,
    /// It is another one.
    #[error("the token is wrong")]
    Wrong,
}

/// Compares an `authorization` header with the token that is asked for.
///
/// # Errors
/// If it is missing, or another one.
pub(crate) fn check(header: Option<&str>, token: &Secret) -> Result<(), TokenError> {
    let header = header.ok_or(TokenError::Missing)?;
    let (scheme, given) = header.split_once(' ').ok_or(TokenError::Wrong)?;
    let is_right = scheme.eq_ignore_ascii_case("bearer") && is_same(given.trim().as_bytes(), token.expose().as_bytes());
    if is_right { Ok(()) } else { Err(TokenError::Wrong) }
}

/// Compares without telling by the time it takes how much of it is right.
fn is_same(given: &[u8], wanted: &[u8]) -> bool {
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
