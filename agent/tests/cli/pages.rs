//! What the documentation says of the repository.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Every `path::function` of a page.
fn named(page: &str) -> BTreeSet<(&str, &str)> {
    // What stands between two backticks is each second part.
    let quoted = page.split('`').skip(1).step_by(2);
    quoted.filter_map(|text| text.split_once("::").filter(|(path, _)| Path::new(path).extension().is_some())).collect()
}

/// Whether a file has a test of this name: a function behind an attribute that makes it one.
fn has_test(text: &str, name: &str) -> bool {
    let mut is_test = false;
    for line in text.lines().map(str::trim_start) {
        let is_attribute = line.starts_with("#[");
        is_test |= is_attribute && line.contains("test");
        let signature = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
        if is_test && signature.and_then(|rest| rest.split_once('(')).is_some_and(|(found, _)| found == name) {
            return true;
        }
        is_test &= is_attribute || line.starts_with("//");
    }
    false
}

#[test]
fn every_test_that_the_page_of_conformance_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = fs::read_to_string(root.join("agent/docs/woodpecker-conformance.md")).unwrap();
    let named = named(&page);
    assert!(named.len() > 100, "it names {} tests", named.len());
    let missing = named.into_iter().filter(|(path, name)| {
        let text = fs::read_to_string(root.join(path)).unwrap_or_default();
        !has_test(&text, name)
    });
    let missing: Vec<_> = missing.map(|(path, name)| format!("{path}::{name}")).collect();
    assert!(missing.is_empty(), "these are not there:\n{}", missing.join("\n"));
}

#[test]
fn only_tests_count_as_tests() {
    let text = "fn helper() {}\n#[test]\nfn one() {}\n    #[tokio::test(start_paused = true)]\n    // Why.\n    \
                async fn two() {}\nproptest! {\n    #[test]\n    fn three(\n        x in 0..1,\n    ) {}\n}\nfn later() {}\n";
    for (name, is_there) in
        [("one", true), ("two", true), ("three", true), ("helper", false), ("later", false), ("thr", false)]
    {
        assert_eq!(has_test(text, name), is_there, "{name}");
    }
    assert_eq!(named("a `b/c.rs::d` and `e::f` and `g`"), [("b/c.rs", "d")].into());
}
