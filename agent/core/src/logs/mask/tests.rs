use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};
use proptest::prelude::*;

use super::{Mask, Masker};
use crate::secret::Secret;

fn mask(values: &[&str]) -> Mask {
    Mask::new(&values.iter().map(|value| Secret::new(*value)).collect::<Vec<_>>())
}

fn masked(values: &[&str], text: &str) -> String {
    String::from_utf8(mask(values).apply(text.as_bytes())).expect("text and mask are ASCII")
}

/// Every byte of every occurrence is struck out, then each stretch of struck bytes is replaced.
fn naive(values: &[String], text: &[u8]) -> Vec<u8> {
    let mut struck = vec![false; text.len()];
    for value in values.iter().filter(|value| value.len() >= 3) {
        for at in 0..text.len() {
            if text[at..].starts_with(value.as_bytes()) {
                struck[at..at + value.len()].fill(true);
            }
        }
    }
    let mut shown = Vec::new();
    for at in 0..text.len() {
        match struck[at] {
            false => shown.push(text[at]),
            true if at == 0 || !struck[at - 1] => shown.extend(b"********"),
            true => {}
        }
    }
    shown
}

#[test]
fn what_is_hidden() {
    for (values, text, shown) in [
        (&["hunter2"][..], "login hunter2 ok", "login ******** ok"),
        (&["hunter2"], "hunter1 hunter hunter2", "hunter1 hunter ********"),
        (&["hunter2"], "hunterhunter2", "hunter********"),
        // The tail of a longer secret doesn't show behind a shorter one, whatever their order.
        (&["token", "token-of-prod"], "a token-of-prod b", "a ******** b"),
        (&["token-of-prod", "token"], "a token-of-pro b", "a ********-of-pro b"),
        // Nor does that of one that overlaps another, or itself, or begins in its middle.
        (&["abcd", "cdef"], "xabcdefx", "x********x"),
        (&["abab"], "xabababx", "x********x"),
        (&["aXXXXb", "XX"], "aXXXXb aXXXb", "******** aXXXb"),
        (&["one.", "two."], "one.two.one.", "********"),
        (&["one.", "two."], "one. two.", "******** ********"),
        // White space around a value is not a part of it.
        (&["  padded \n"], "(padded)", "(********)"),
        // Each line of a value on its own; the punctuation between them is no secret.
        (&["{\r\n  \"key\": 42,\r\n}\r\n"], "x \"key\": 42, {} }", "x ******** {} }"),
        (&["first line\nsecond line"], "first line\r\nsecond line", "********\r\n********"),
        (&["ab\nabcde\nabc"], "ab abcde abc", "ab ******** abc"),
        // Too short to be one.
        (&["", "  ", "x", "no"], "x no", "x no"),
        (&["pin"], "pin", "********"),
        (&[], "nothing to hide", "nothing to hide"),
    ] {
        assert_eq!(masked(values, text), shown, "{values:?} in {text:?}");
    }
}

#[test]
fn encoded_as_people_do_it() {
    let secret = "correct horse battery";
    for text in [STANDARD.encode(secret), STANDARD.encode(format!("{secret}\n")), STANDARD_NO_PAD.encode(secret)] {
        let shown = masked(&[secret], &text);
        assert_eq!(shown.trim_end_matches('='), "********", "{text}");
    }
    // `user:password`, as in an Authorization header: the first character of the password shares one with the colon.
    let header = STANDARD.encode(format!("me:{secret}"));
    assert_eq!(masked(&[secret], &format!("Basic {header}")), "Basic bWU6********");
    let header = STANDARD.encode(format!("bob:{secret}"));
    assert_eq!(masked(&[secret], &format!("Basic {header}")), "Basic Ym9iOm********==");
    // Characters that the two alphabets write differently.
    let secret = "?>?>?>~~~";
    assert_ne!(STANDARD.encode(secret), URL_SAFE.encode(secret));
    assert_eq!(masked(&[secret], &STANDARD.encode(secret)), "********");
    assert_eq!(masked(&[secret], &URL_SAFE.encode(secret)), "********");
}

#[test]
fn a_form_is_hidden_wherever_reads_split_it() {
    let text = format!("token={};", STANDARD_NO_PAD.encode("hunter2\n"));
    for size in 1..text.len() {
        let mut masker = Masker::new(mask(&["hunter2"]));
        let mut shown = Vec::new();
        for part in text.as_bytes().chunks(size) {
            masker.push(part, &mut |_, part| shown.extend_from_slice(part.bytes()));
        }
        masker.finish(&mut |_, part| shown.extend_from_slice(part.bytes()));
        assert_eq!(String::from_utf8_lossy(&shown), "token=********;");
    }
}

#[test]
fn encoded_and_broken_into_lines() {
    let secret = "-----BEGIN KEY-----\nMC4CAQAwBQM4CAQAwBQYDK2VwBCIEIJ1pZCq3Xg3sYq\nc5GvXhQ8T1yLk2mB7nRwZzV0\n-----END KEY-----\n";
    let encoded = STANDARD.encode(secret);
    for width in [64, 76] {
        let lines: Vec<&[u8]> = encoded.as_bytes().chunks(width).collect();
        assert!(lines.len() > 1);
        for line in lines {
            let shown = masked(&[secret], std::str::from_utf8(line).expect("base64"));
            assert_eq!(shown.trim_end_matches('='), "********", "{line:?}");
        }
    }
}

#[test]
fn encodings_have_a_budget_and_plain_texts_have_none() {
    let long = "0123456789abcdef".repeat(4096 - 1);
    let longer = "fedcba9876543210".repeat(4096);
    let mask = mask(&[&longer, &long, "short one"]);
    assert_eq!(mask.unencoded(), 1);
    assert_eq!(mask.apply(STANDARD.encode("short one").as_bytes()), b"********");
    assert_eq!(mask.apply(STANDARD.encode(&long).as_bytes()), b"********");
    assert_eq!(mask.apply(STANDARD.encode(&longer).as_bytes()), STANDARD.encode(&longer).as_bytes());
    assert_eq!(mask.apply(longer.as_bytes()), b"********");
}

#[test]
fn only_what_a_secret_may_begin_in_is_held() {
    let mut masker = Masker::new(mask(&["hunter2"]));
    for (text, held) in [("no beginning", ""), (" but hun", " but hun"), ("\nhun", "hun"), ("ter2;", "")] {
        masker.push(text.as_bytes(), &mut |_, _| {});
        assert_eq!(masker.held, held.as_bytes(), "after {text:?}");
    }
}

#[test]
fn debug_hides_secrets_and_what_is_held() {
    let mut masker = Masker::new(mask(&["hunter2"]));
    masker.push(b"hunter", &mut |_, _| {});
    assert_eq!(masker.held, b"hunter");
    let debug = format!("{masker:?}");
    assert!(!debug.contains("hunt") && !debug.contains("104"), "{debug}");
}

#[test]
fn a_stream_after_another_begins_anew() {
    let mut masker = Masker::new(mask(&["hunter2"]));
    let mut shown = Vec::new();
    for text in ["hunter2", "hunter2", "hun", "ter2"] {
        masker.push(text.as_bytes(), &mut |_, part| shown.extend_from_slice(part.bytes()));
        masker.finish(&mut |_, part| shown.extend_from_slice(part.bytes()));
    }
    assert_eq!(shown, b"****************hunter2");
}

proptest! {
    #[test]
    fn no_split_changes_what_is_shown(
        values in prop::collection::vec("[abc]{0,8}", 0..6),
        text in prop::collection::vec("[abc]{0,12}|[abc\n]{0,40}", 0..8),
    ) {
        let mask = Mask::new(&values.iter().map(Secret::new).collect::<Vec<_>>());
        let longest = values.iter().map(String::len).max().unwrap_or(0).max(1);
        let mut masker = Masker::new(mask);
        let mut shown = Vec::new();
        for part in &text {
            masker.push(part.as_bytes(), &mut |_, part| shown.extend_from_slice(part.bytes()));
            // Base64 forms are longer than what they encode.
            prop_assert!(masker.held.len() < longest * 2);
        }
        masker.finish(&mut |_, part| shown.extend_from_slice(part.bytes()));
        prop_assert!(masker.held.is_empty() && masker.found.is_empty());
        let text = text.concat();
        prop_assert_eq!(String::from_utf8(shown), String::from_utf8(naive(&values, text.as_bytes())));
    }

    #[test]
    fn every_character_of_an_encoding_that_is_the_secrets_alone_is_hidden(
        before in "[0-9]{0,5}", secret in "[a-z?>~]{4,90}", after in "[0-9]{0,5}", url_safe: bool,
    ) {
        let text = format!("{before}{secret}{after}");
        let text = if url_safe { URL_SAFE.encode(text) } else { STANDARD.encode(text) };
        // 8 bits for each byte, 6 for each character.
        let first = (before.len() * 8).div_ceil(6);
        let end = (before.len() + secret.len()) * 8 / 6;
        let shown = masked(&[&secret], &text);
        let (head, tail) = shown.split_once("********").expect("something is hidden");
        prop_assert_eq!(head, text.get(..first).unwrap_or_default());
        // A character that only half belongs to the secret may be hidden or not.
        let rest = text.get(end..).unwrap_or_default();
        prop_assert!(rest.ends_with(tail) && rest.len() - tail.len() <= 2, "{} {}", text, shown);
    }
}

#[test]
fn what_is_too_short_to_hide_is_counted() {
    let mask = mask(&["ab", " x ", "x", "", "abc"]);
    assert_eq!((mask.unmasked(), mask.unencoded()), (2, 0));
}
