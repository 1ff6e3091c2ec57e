//! The kubelet's own expansion of `$(NAME)` in variables and commands, and how to switch it off.

/// Escapes the text so that the kubelet hands exactly it to the container.
///
/// The kubelet replaces `$(NAME)` by the variable's value and `$$` by `$`, in `env[].value`, `command` and `args`. It
/// leaves a `$` before anything else alone.
pub(crate) fn literal(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        escaped.push(c);
        if c == '$' && matches!(chars.peek(), Some('$' | '(')) {
            escaped.push('$');
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::literal;

    /// What the kubelet does, by the API's documentation of `EnvVar.value`; every variable is set to `X`.
    fn expand(text: &str) -> String {
        let bytes = text.as_bytes();
        let (mut out, mut i) = (Vec::new(), 0);
        while let Some(&byte) = bytes.get(i) {
            match (byte, bytes.get(i + 1)) {
                (b'$', Some(b'$')) => {
                    out.push(b'$');
                    i += 2;
                }
                (b'$', Some(b'(')) if bytes.iter().skip(i + 2).any(|&b| b == b')') => {
                    out.push(b'X');
                    i += bytes.iter().skip(i).position(|&b| b == b')').expect("it was just found") + 1;
                }
                _ => {
                    out.push(byte);
                    i += 1;
                }
            }
        }
        String::from_utf8(out).expect("only ASCII was taken out")
    }

    #[test]
    fn references_are_escaped_and_nothing_else_is_touched() {
        assert_eq!(literal("see $(CI_REPO)"), "see $$(CI_REPO)");
        assert_eq!(literal("$HOME ${HOME} 5$"), "$HOME ${HOME} 5$");
        assert_eq!(literal("$$(A)"), "$$$$(A)");
        assert_eq!(literal("kill $$"), "kill $$$");
    }

    proptest! {
        #[test]
        fn the_kubelet_gives_back_the_text(text in "[$()A-Cé ]{0,24}") {
            prop_assert_eq!(expand(&literal(&text)), text);
        }
    }
}
