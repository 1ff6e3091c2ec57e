//! The texts by which a secret could be read in a log.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// A shorter value is no secret, and hiding it would make every log unreadable.
const MIN_VALUE: usize = 3;
/// A shorter line of a longer value is punctuation: the braces of a JSON file, the `---` of a YAML one.
const MIN_LINE: usize = 4;
/// Fewer characters of base64 stand for less than three bytes.
const MIN_ENCODED: usize = 4;
/// How many bytes of values are hidden in their encoded forms too: each costs up to 13 states of the automaton.
const ENCODED_BUDGET: usize = 64 * 1024;
/// Bytes that base64 encodes together: what comes before a text shifts its encoding by 0, 1 or 2 of them.
const GROUP: usize = 3;
/// Where encoders break lines: PEM and `openssl base64`, MIME and `base64` of the GNU coreutils.
const LINE_WIDTHS: [usize; 2] = [64, 76];

/// What the secrets of a workflow look like in a log.
pub(super) struct Forms {
    /// Each has three bytes or more, and none is a line feed.
    pub(super) patterns: BTreeSet<Vec<u8>>,
    /// How many values have their plain forms only.
    pub(super) unencoded: usize,
    /// How many values are too short for any form.
    pub(super) unmasked: usize,
}

/// The forms of these values.
pub(super) fn of<'a>(values: impl Iterator<Item = &'a str>) -> Forms {
    // The order is that of the budget: the shortest values are the tokens and passwords.
    let mut values: Vec<&str> = values.map(str::trim).filter(|value| !value.is_empty()).collect();
    values.sort_unstable_by_key(|value| (value.len(), *value));
    values.dedup();
    let unmasked = values.iter().take_while(|value| value.len() < MIN_VALUE).count();
    values.drain(..unmasked);

    let mut forms = Forms { patterns: BTreeSet::new(), unencoded: 0, unmasked };
    let mut budget = ENCODED_BUDGET;
    for value in values {
        forms.patterns.extend(plain(value));
        match budget.checked_sub(value.len()) {
            Some(rest) => {
                budget = rest;
                forms.patterns.extend(encoded(value.as_bytes()));
                // As `echo` writes it, and as most files end.
                forms.patterns.extend(encoded(&[value.as_bytes(), b"\n"].concat()));
            }
            None => forms.unencoded += 1,
        }
    }
    forms
}

/// The value itself, or its lines if it has several.
fn plain(value: &str) -> impl Iterator<Item = Vec<u8>> {
    let min = if value.contains('\n') { MIN_LINE } else { MIN_VALUE };
    value.split('\n').map(str::trim).filter(move |line| line.len() >= min).map(|line| line.as_bytes().to_vec())
}

/// The base64 forms of a text, alone and as a part of a longer one.
fn encoded(text: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let mut forms = Vec::new();
    for alphabet in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
        for before in 0..GROUP {
            let form = aligned(text, before, &alphabet);
            // The last character is the text's alone only if nothing follows. The form without it is found anyway.
            let shared = usize::from(!(before + text.len()).is_multiple_of(GROUP));
            forms.push(form[..form.len() - shared].to_vec());
            forms.push(form);
        }
        let whole = aligned(text, 0, &alphabet);
        for width in LINE_WIDTHS.into_iter().filter(|width| *width < whole.len()) {
            forms.extend(whole.chunks(width).map(<[u8]>::to_vec));
        }
    }
    forms.into_iter().filter(|form| form.len() >= MIN_ENCODED)
}

/// The encoding of a text after `before` other bytes, from the first character on that carries bits of the text only.
fn aligned(text: &[u8], before: usize, alphabet: &GeneralPurpose) -> Vec<u8> {
    let form = alphabet.encode([&[0; GROUP][..before], text].concat()).into_bytes();
    // 8 bits for each byte before, 6 for each character.
    form[(before * 8).div_ceil(6)..].to_vec()
}
