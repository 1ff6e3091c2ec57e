//! Bad input ends with 2 and a sentence, and runs nothing.

use std::fs;

use tempfile::TempDir;

use crate::ran::{Ran, start};

/// Runs the demo over a file with these bytes.
fn bad(bytes: impl AsRef<[u8]>, arguments: &[&str]) -> Ran {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("bad.yaml"), bytes).unwrap();
    let ran = start(folder.path(), &[&["demo"], arguments, &["bad.yaml"]].concat());
    assert_eq!(ran.code, 2, "{}{}", ran.out, ran.err);
    assert_eq!(ran.out, "");
    ran
}

#[test]
fn broken_yaml() {
    let ran = bad("steps:\n  - name: [\n", &[]);
    assert!(ran.err.contains("bad.yaml:"), "it names the place: {}", ran.err);
}

#[test]
fn bytes_that_are_no_text() {
    assert!(bad(b"steps: \xff\xfe", &[]).err.contains("UTF-8"));
}

#[test]
fn no_steps() {
    assert!(bad("when: [{event: push}]\n", &[]).err.contains("steps"));
    assert!(bad("pipeline: {a: {image: x}}\n", &[]).err.contains("steps"), "the old name is explained");
}

#[test]
fn a_dependency_cycle() {
    let pipeline = "
steps:
  - {name: a, image: x, commands: [echo], depends_on: [b]}
  - {name: b, image: x, commands: [echo], depends_on: [a]}
";
    assert!(bad(pipeline, &[]).err.contains("depends_on"));
}

#[test]
fn a_secret_that_nobody_gave() {
    let pipeline = "steps: [{name: a, image: x, commands: [echo], environment: {T: {from_secret: token}}}]\n";
    assert!(bad(pipeline, &[]).err.contains("token"));
}

#[test]
fn options_that_make_no_sense() {
    let good = "steps: [{name: a, image: x, commands: [echo]}]\n";
    assert!(bad(good, &["--event", "psuh"]).err.contains("psuh"));
    let ran = bad(good, &["--secret", "hunter2"]);
    assert!(!ran.err.contains("hunter2"), "{}", ran.err);
    assert!(bad(good, &["--source", "nowhere"]).err.contains("nowhere"));
}

#[test]
fn a_file_that_is_not_there() {
    let folder = TempDir::new().unwrap();
    let ran = start(folder.path(), &["demo", "nothing.yaml"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("nothing.yaml"), "{}", ran.err);
}
