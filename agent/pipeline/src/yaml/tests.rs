use std::rc::Rc;

use proptest::prelude::*;

use super::{Node, go_float, load};
use crate::diagnostic::Diagnostics;
use crate::report::Report;
use crate::substitute::Substituted;

fn read(text: &str) -> (Option<Rc<Node>>, Diagnostics) {
    let source = Substituted::none(text);
    let mut report = Report::new(&source);
    let node = load(text, &mut report);
    (node, Diagnostics::new("x.yaml", report.into_found(), &[]))
}

fn json(text: &str) -> serde_json::Value {
    let (node, found) = read(text);
    assert!(found.is_empty(), "{found}");
    node.unwrap().json()
}

fn codes(text: &str) -> Vec<String> {
    read(text)
        .1
        .iter()
        .map(|found| {
            let place = found.location.as_ref().unwrap();
            format!("{}:{}: {}", place.line, place.column, found.code)
        })
        .collect()
}

#[test]
fn scalars_resolve_as_in_gos_decoder() {
    for (text, expected) in [
        ("[~, null, '', \"\", Null, nil]", r#"[null,null,"","",null,"nil"]"#),
        ("[true, True, yes, on, 'true', !!str true, ! true]", r#"[true,true,"yes","on","true","true","true"]"#),
        ("[1, -2, +3, 0x1F, 0o17, 017, 0b101, 1_000, -0x10]", "[1,-2,3,31,15,15,5,1000,-16]"),
        ("[1.5, .5, 3., 1e3, 08, 1_0.5, 1.14]", "[1.5,0.5,3.0,1000.0,8.0,10.5,1.14]"),
        (
            "[18446744073709551615, 18446744073709551616, -9223372036854775808]",
            "[18446744073709551615,1.8446744073709552e+19,-9223372036854775808]",
        ),
        (
            "[1.2.3, v1, 1-2, 0x, 12:30, 2025-01-01, '1', .]",
            r#"["1.2.3","v1","1-2","0x","12:30","2025-01-01","1","."]"#,
        ),
        ("[.inf, -.inf, .nan, 1e, +, 0b2, +-1]", r#"[".inf","-.inf",".nan","1e","+","0b2","+-1"]"#),
        ("a: |\n  x\n  y\nb: >-\n  x\n  y", r#"{"a":"x\ny\n","b":"x y"}"#),
    ] {
        assert_eq!(json(text).to_string(), expected, "{text}");
    }
    for (value, expected) in
        [(3.10, "3.1"), (1e6, "1e+06"), (123_456.5, "123456.5"), (0.000_01, "1e-05"), (0.5, "0.5"), (-2.0, "-2")]
    {
        assert_eq!(go_float(value), expected);
    }
}

#[test]
fn aliases_merges_and_splices_are_resolved() {
    for (text, expected) in [
        ("a: &x 1\nb: *x\nc: &x 2\nd: *x", r#"{"a":1,"b":1,"c":2,"d":2}"#),
        ("base: &b {x: 1, y: 2}\nc:\n  y: 3\n  <<: *b", r#"{"base":{"x":1,"y":2},"c":{"y":3,"x":1}}"#),
        ("- &a {x: 1}\n- &b {x: 2, y: 2}\n- {<<: [*a, *b], z: 3}", r#"[{"x":1},{"x":2,"y":2},{"z":3,"x":1,"y":2}]"#),
        ("- &a {x: 1}\n- {<<: *a, <<: {y: 2}}", r#"[{"x":1},{"x":1,"y":2}]"#),
        ("- &a {x: 1}\n- <<: *a", r#"[{"x":1},{"x":1}]"#),
        ("- &a {x: 1}\n- <<: [*a]", r#"[{"x":1},{"x":1}]"#),
        ("a: &l [1, 2]\nb:\n- 0\n- <<: *l\n- 3", r#"{"a":[1,2],"b":[0,1,2,3]}"#),
        ("a: &l [1]\nb: &m [2]\nc:\n- <<: [*l, *m]\n- 3", r#"{"a":[1],"b":[2],"c":[1,2,3]}"#),
        ("a: &w [{path: x}]\nwhen:\n- <<: *w\n- path: y", r#"{"a":[{"path":"x"}],"when":[{"path":"x"},{"path":"y"}]}"#),
        ("a: &l [1]\nb: &m\n- <<: *l\n- 2\nc:\n- <<: *m", r#"{"a":[1],"b":[1,2],"c":[1,2]}"#),
        ("a: &e []\nb: [1, {<<: *e}]", r#"{"a":[],"b":[1]}"#),
        ("a: {'<<': 1}", r#"{"a":{"<<":1}}"#),
        ("1: a\ntrue: b\n~: c", r#"{"1":"a","true":"b","~":"c"}"#),
    ] {
        let expected: serde_json::Value = serde_json::from_str(expected).unwrap();
        assert_eq!(json(text), expected, "{text}");
    }
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (text, expected) in [
        ("a: [1, 2", "1:9: yaml-syntax"),
        ("a: b: c", "1:5: yaml-syntax"),
        ("\u{e4}\u{f6}: *nothing", "1:5: yaml-syntax"),
        ("a: 1\nb: 2\na: 3", "3:1: yaml-duplicate-key"),
        ("a: 1\r\nb: \u{e4}\r\na: 3\r\n", "3:1: yaml-duplicate-key"),
        ("a: &x [*x]", "1:8: yaml-anchor"),
        ("a:\n  <<: text", "2:3: yaml-merge"),
        ("a: &x {b: 1}\nc:\n  <<: [*x, 1]", "3:3: yaml-merge"),
        ("? [a]\n: b", "1:3: yaml-key"),
        ("a: 1\n---\nb: 2", "2:1: yaml-several-documents"),
    ] {
        assert_eq!(codes(text), [expected], "{text}");
    }
    assert!(read("# only a comment\n").0.is_none_or(|node| node.is_null()));
}

#[test]
fn common_mistakes_have_a_remedy() {
    for (text, remedy) in [
        ("a:\n\t- b", "indent with spaces"),
        ("a: b: c", "put a text that holds `: ` between quotes, or look at the indentation"),
        ("a: @b", "put the text between quotes"),
        ("a: *b", "define it further up, with `&` and its name"),
        ("a:\n  - b\n c: d", "look at the indentation of this line and the one before"),
    ] {
        assert_eq!(read(text).1.list[0].hint.as_deref(), Some(remedy), "{text}");
    }
}

#[test]
fn bombs_are_refused() {
    let mut laughs = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
    for level in 1..12 {
        let before = format!("*a{}, ", level - 1).repeat(9);
        laughs.extend([format!("a{level}: &a{level} [{before}]\n")]);
    }
    assert_eq!(
        codes(&laughs).iter().map(|code| code.split(' ').nth(1).unwrap()).collect::<Vec<_>>(),
        ["yaml-too-large"]
    );

    let mut merged = "m0: &m0 {k: v}\n".to_owned();
    for level in 1..200 {
        merged.extend([format!("m{level}: &m{level} {{<<: *m{}, n: *m{}}}\n", level - 1, level - 1)]);
    }
    assert!(codes(&merged)[0].contains("yaml-too"), "{:?}", codes(&merged));

    let mut tower = "a0: &a0 []\n".to_owned();
    for level in 1..100 {
        tower.extend([format!("a{level}: &a{level} [*a{}]\n", level - 1)]);
    }
    assert!(codes(&tower)[0].ends_with("yaml-too-deep"));

    for deep in ["[".repeat(100_000), "{a: ".repeat(100_000), "- ".repeat(100_000), "a:\n ".repeat(3)] {
        assert!(!codes(&deep).is_empty() || read(&deep).0.is_some());
    }
    let big = format!("a: &a {}\nb: [{}]", "x".repeat(500_000), "*a, ".repeat(100_000));
    assert!(codes(&big)[0].ends_with("yaml-too-large"));
}

#[test]
fn places_are_bytes_whatever_the_alphabet() {
    let text = format!("{}\nkey: \u{1f600}\u{e4}b\nnext: [x, y]", "# \u{1f600}".repeat(100));
    let (node, _) = read(&text);
    let node = node.unwrap();
    let value = node.get("next").unwrap().items().unwrap()[1].clone();
    assert_eq!(text.get(value.span.start..value.span.end), Some("y"));
    let smile = node.get("key").unwrap();
    assert_eq!(text.get(smile.span.start..smile.span.end), Some("\u{1f600}\u{e4}b"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_text_is_read_or_refused(text in r#"([a-c\n :\-,\[\]\{\}&*!|>'"%@#?~<\t\r]|<<: |&a |\*a|- |\n  |---\n|\PC){0,80}"#) {
        let (node, found) = read(&text);
        prop_assert!(node.is_some() || !found.is_empty() || text.trim().is_empty() || text.contains(['#', '%', '-', '.']));
        if let Some(node) = node {
            prop_assert!(node.json().to_string().len() < 1 << 20);
        }
    }
}
