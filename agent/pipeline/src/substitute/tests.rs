use proptest::prelude::*;

use super::{Substituted, substitute};
use crate::diagnostic::Severity;

const VARIABLES: [(&str, &str); 8] = [
    ("SHA", "9f2c0d6e8b1a4c7f"),
    ("TAG", "v1.2.3"),
    ("FILE", "src/lib/main.tar.gz"),
    ("NAME", "hELLO wORLD"),
    ("WORD", "\u{e4}pfel"),
    ("EMPTY", ""),
    ("node-version", "22"),
    ("LINES", "one\n\"two\"\t\u{1}"),
];

fn lookup(name: &str) -> Option<&'static str> {
    VARIABLES.iter().find(|(other, _)| *other == name).map(|(_, value)| *value)
}

fn replaced(text: &str) -> String {
    let done = substitute(text, &lookup);
    let errors: Vec<_> = done.problems.iter().filter(|problem| problem.severity == Severity::Error).collect();
    assert!(errors.is_empty(), "{text}: {errors:?}");
    done.text
}

#[test]
fn every_form_gives_its_value() {
    for (text, expected) in [
        ("no variables", "no variables"),
        ("a ${TAG} b ${TAG}", "a v1.2.3 b v1.2.3"),
        ("$TAG is for the shell", "$TAG is for the shell"),
        ("${NOTHING}", ""),
        ("$${TAG} $$TAG $$$${TAG}", "${TAG} $TAG $${TAG}"),
        ("$$${TAG}", "$v1.2.3"),
        ("cost: 5$", "cost: 5$"),
        ("keep \\/ and \\\\ and \\${TAG}", "keep \\/ and \\\\ and \\v1.2.3"),
        ("${#SHA} ${#WORD} ${#NOTHING}", "16 6 0"),
        ("${SHA:0:7} ${SHA:8} ${SHA:-4}", "9f2c0d6 8b1a4c7f 9f2c0d6e8b1a4c7f"),
        ("${SHA: -4} ${SHA:2:-10} ${SHA:0:99} ${SHA:99:1}", "4c7f 2c0d 9f2c0d6e8b1a4c7f "),
        ("${SHA:x} ${SHA:1:y} ${WORD:1:3}", "9f2c0d6e8b1a4c7f 9f2c0d6e8b1a4c7f \u{e4}pf"),
        ("${TAG%.*} ${TAG%%.*} ${TAG#v} ${TAG##*.}", "v1.2 v1 1.2.3 3"),
        ("${FILE##*/} ${FILE#*/} ${FILE%/*} ${FILE%%/*}", "main.tar.gz lib/main.tar.gz src/lib src"),
        ("${FILE%.t?r.gz} ${FILE%.[a-t]*} ${FILE%.[!a-t]*}", "src/lib/main src/lib/main.tar src/lib/main.tar.gz"),
        ("${FILE#nothing} ${FILE#[} ${FILE#}", "src/lib/main.tar.gz src/lib/main.tar.gz src/lib/main.tar.gz"),
        (
            "${FILE/a/A} ${FILE//a/A} ${FILE/#src/x} ${FILE/%gz/y}",
            "src/lib/mAin.tar.gz src/lib/mAin.tAr.gz x/lib/main.tar.gz src/lib/main.tar.y",
        ),
        (
            "${FILE//\\//-} ${FILE/.tar/} ${FILE/.tar} ${FILE//}",
            "src-lib-main.tar.gz src/lib/main.gz src/lib/main.gz src/lib/main.tar.gz",
        ),
        (
            "${NAME^} ${NAME^^} ${NAME,} ${NAME,,} ${WORD^^}",
            "HELLO wORLD HELLO WORLD hELLO wORLD hello world \u{c4}PFEL",
        ),
        ("${EMPTY:-a b} ${NOTHING-c} ${EMPTY:=d} ${NOTHING=e} ${TAG:-f}", "a b c d e v1.2.3"),
        ("${NOTHING:?g} ${NOTHING?h} ${TAG:+i} ${TAG+j}", "g h v1.2.3 v1.2.3"),
        ("${A:-${B:-${TAG^^}}-x} ${A:-}", "V1.2.3-x "),
        ("${SHA:0:${#TAG}}", "9f2c0d"),
        ("${node-version} ${node-version%2} ${no-version}", "22 2 version"),
        ("${A:-$$x}", "$x"),
        ("message: ${LINES}", r#"message: "one\n\"two\"\t\x01""#),
    ] {
        assert_eq!(replaced(text), expected, "{text}");
    }
}

#[test]
fn a_bad_form_is_told_with_its_place_and_left_as_it_is() {
    for (text, place, message) in [
        ("a ${} b", 2..5, "`${}` is no form of substitution that pipeline files know"),
        ("${list[@]}", 0..10, "`${list[@]}` is no form of substitution that pipeline files know"),
        ("x: ${!name}", 3..11, "`${!name}` is no form of substitution that pipeline files know"),
        ("${@}", 0..4, "`${@}` is no form of substitution that pipeline files know"),
        ("${TAG^^^}", 0..9, "`${TAG^^^}` is no form of substitution that pipeline files know"),
        ("${#}", 0..4, "`${#}` is no form of substitution that pipeline files know"),
        ("${TAG\nx}", 0..2, "`${` is no form of substitution that pipeline files know"),
        ("ok ${TAG:-never closed", 3..5, "this `${` is never closed"),
        (&format!("{}{}", "${a:-".repeat(17), "}".repeat(17)), 0..2, "more than 16 `${` inside each other"),
    ] {
        let done = substitute(text, &lookup);
        let problem = &done.problems[0];
        assert_eq!((problem.code, problem.severity), ("bad-substitution", Severity::Error), "{text}");
        assert_eq!((problem.place.clone(), problem.message.as_str()), (place, message), "{text}");
    }
    assert_eq!(substitute("a ${} ${TAG}", &lookup).text, "a ${} v1.2.3");
}

#[test]
fn what_a_shell_would_do_otherwise_is_a_warning() {
    let warnings = |text: &str| -> Vec<_> {
        substitute(text, &lookup).problems.into_iter().map(|problem| (problem.code, problem.place)).collect()
    };
    assert_eq!(warnings("${x} ${x} ${y}"), [("unknown-variable", 0..4), ("unknown-variable", 10..14)]);
    assert_eq!(warnings("${TAG:+x}"), [("unlike-shell", 0..9)]);
    assert_eq!(warnings("${x:-1} ${CI_COMMIT_TAG} ${CI} ${EMPTY}"), []);
}

#[test]
fn many_warnings_stop_nothing_but_themselves() {
    let text: String = (0..100).map(|i| format!("${{x{i}}}")).collect();
    let text = format!("{text}${{TAG}}");
    let done = substitute(&text, &lookup);
    assert_eq!((done.text.as_str(), done.problems.len()), ("v1.2.3", 50));
    let nested = format!("${{y:-{text}}}");
    assert_eq!(substitute(&nested, &lookup).problems.len(), 50);
}

#[test]
fn places_are_found_again() {
    let done = substitute("a: ${TAG} $$ ${NOTHING}z\nb: ${SHA}", &lookup);
    assert_eq!(done.text, "a: v1.2.3 $ z\nb: 9f2c0d6e8b1a4c7f");
    assert_eq!(done.original_range(0..1), 0..1);
    assert_eq!(done.original_range(4..5), 3..9, "inside a value: the whole variable");
    assert_eq!(done.original_range(0..9), 0..9);
    assert_eq!(done.original_range(10..11), 10..12);
    assert_eq!(done.original_range(12..13), 23..24);
    assert_eq!(done.original_range(14..17), 25..28);
    assert_eq!(done.original_range(17..33), 28..34);
    assert_eq!(done.original_range(33..33), 34..34, "the end of the text");
    let none = Substituted::none("a: ${TAG}");
    assert_eq!((none.text.as_str(), none.original_range(3..9)), ("a: ${TAG}", 3..9));
}

#[test]
fn something_can_stand_in_for_what_is_missing() {
    let done = super::substitute_or("${A} ${A:-d} ${TAG} ${EMPTY} ${A:-${B}}", &lookup, "?");
    assert_eq!(done.text, "? d v1.2.3  ?");
}

#[test]
fn growth_is_bounded() {
    let big = "x".repeat(1 << 20);
    let text = "${BIG}".repeat(100);
    let done = substitute(&text, &|name| (name == "BIG").then_some(big.as_str()));
    assert_eq!(done.problems.last().map(|problem| problem.code), Some("substitution-too-large"));
    assert!(done.text.len() < 6 << 20);
    for inner in [format!("${{A:-{text}}}"), "${BIG//x/${BIG}}".to_owned()] {
        let done = substitute(&inner, &|name| (name == "BIG").then_some(big.as_str()));
        assert_eq!(done.problems.first().map(|problem| problem.code), Some("substitution-too-large"));
    }
}

#[test]
fn hostile_text_is_no_work() {
    for text in ["${a:-".repeat(50_000), "${a#".repeat(50_000), "${a".repeat(50_000), "$".repeat(200_001)] {
        assert!(substitute(&text, &lookup).problems.len() <= super::MAX_PROBLEMS);
    }
    let stars = "*a".repeat(200);
    let value = "a".repeat(20_000);
    let text = format!("${{A%%{stars}}}${{A##{stars}}}");
    assert_eq!(substitute(&text, &|_| Some(value.as_str())).text, "");
}

proptest! {
    #[test]
    fn any_text_can_be_substituted(text in r"(\PC|[$\{\}:/#%^,\\\n-]|\$\{|\$\{TAG|\$\$){0,60}") {
        let done = substitute(&text, &lookup);
        for at in 0..=done.text.len() {
            let range = done.original_range(at..(at + 3).min(done.text.len()));
            prop_assert!(range.start <= range.end && range.end <= text.len());
        }
    }

    #[test]
    fn text_without_dollars_stays(text in "[^$]*") {
        let done = substitute(&text, &lookup);
        prop_assert_eq!(&done.text, &text);
        prop_assert!(done.problems.is_empty());
    }

    #[test]
    fn escaped_text_comes_back(text in r"[a-z$\{\}:-]*") {
        let escaped = text.replace('$', "$$");
        prop_assert_eq!(substitute(&escaped, &lookup).text, text);
    }
}
