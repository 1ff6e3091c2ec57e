//! Fifty real files, each run alone, against an expectation that was written by hand: `tests/fixtures/corpus`.
//!
//! The files themselves are not part of the project. Where they are missing this says so, loudly, and passes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use tempfile::TempDir;

use crate::ran::{Ran, demo_in, skipped};

/// How many files run at the same time.
const PARALLEL: usize = 3;

/// What is expected of one file.
#[derive(Debug, Default)]
struct Expected {
    refused: bool,
    /// The states of its workflows, sorted: names of matrix workflows are not compared.
    workflows: Vec<String>,
    /// Step or service, and what becomes of it, sorted.
    steps: Vec<(String, String)>,
    secrets: Vec<String>,
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus/woodpecker")
}

fn rows(name: &str) -> Vec<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/corpus").join(name);
    let text = fs::read_to_string(path).unwrap();
    text.lines().skip(1).map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

fn expectations() -> BTreeMap<String, Expected> {
    let mut all = BTreeMap::<String, Expected>::new();
    for row in rows("expected.tsv") {
        let expected = all.entry(row[0].clone()).or_default();
        match row[3].as_str() {
            "file" => expected.refused = row[4] == "refused",
            "workflow" => expected.workflows.push(row[4].clone()),
            _ => expected.steps.push((row[2].clone(), row[4].clone())),
        }
    }
    for row in rows("secrets.tsv") {
        let names = row.get(1).map(String::as_str).unwrap_or_default();
        let names = names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        all.entry(row[0].clone()).or_default().secrets = names;
    }
    for expected in all.values_mut() {
        expected.workflows.sort();
        expected.steps.sort();
    }
    all
}

fn run(file: &Path, source: &Path, secrets: &[String]) -> Option<Ran> {
    let secrets: Vec<_> = secrets.iter().map(|name| format!("{name}=a-dummy-value")).collect();
    let (file, copied) = (file.to_str().unwrap(), source.to_str().unwrap());
    let mut arguments = vec!["--event", "push", "--branch", "main", "--var", "CI_REPO=acme/shop"];
    arguments.extend(["--simulate-plugins", "--offline", "--source", copied, "--timeout", "120"]);
    arguments.extend(secrets.iter().flat_map(|secret| ["--secret", secret.as_str()]));
    arguments.push(file);
    demo_in(source, &arguments)
}

/// What is different; empty if it went as expected.
fn differences(ran: &Ran, expected: &Expected) -> Vec<String> {
    match (expected.refused, ran.code) {
        (true, 2) => return Vec::new(),
        (true, code) => return vec![format!("should be refused, and ended with {code}")],
        (false, 0 | 1) => {}
        (false, code) => return vec![format!("ended with {code}: {}", ran.err)],
    }
    let json = ran.json();
    let workflows: Vec<&Value> = json["workflows"].as_array().unwrap().iter().collect();
    let mut states: Vec<_> =
        workflows.iter().map(|workflow| workflow["state"].as_str().unwrap().replace("skipped", "filtered")).collect();
    states.sort();
    let mut differences = Vec::new();
    if states != expected.workflows {
        differences.push(format!("workflows: {states:?}, expected {:?}", expected.workflows));
    }
    let mut steps: Vec<_> =
        workflows.iter().flat_map(|workflow| workflow["steps"].as_array().unwrap()).map(end).collect();
    steps.sort();
    let (found, wanted): (BTreeSet<_>, BTreeSet<_>) = (steps.iter().collect(), expected.steps.iter().collect());
    differences.extend(found.difference(&wanted).map(|step| format!("unexpected: {step:?}")));
    differences.extend(wanted.difference(&found).map(|step| format!("missing: {step:?}")));
    if differences.is_empty() && steps != expected.steps {
        differences.push(format!("{} steps, expected {}", steps.len(), expected.steps.len()));
    }
    differences
}

fn end(step: &Value) -> (String, String) {
    let skipped_by_when = step["error"] != "";
    let end = match step["state"].as_str().unwrap() {
        _ if step["simulated"] == true => "simulated",
        "success" => "runs-success",
        "failure" | "killed" => "runs-failure",
        "skipped" if skipped_by_when => "skipped-when",
        "skipped" => "skipped-status",
        other => other,
    };
    (step["name"].as_str().unwrap().to_owned(), end.to_owned())
}

#[test]
fn every_file_ends_as_was_foreseen() {
    let corpus = corpus();
    if !corpus.is_dir() {
        skipped(&format!("the corpus of real files is not here ({})", corpus.display()));
        return;
    }
    let source = TempDir::new().unwrap();
    let init = std::process::Command::new("git").args(["init", "-q"]).current_dir(source.path()).status();
    assert!(init.is_ok_and(|status| status.success()), "the source is an empty git repository");
    let expectations = expectations();
    let queue = Mutex::new(expectations.iter());
    let table = Mutex::new(BTreeMap::new());
    let can_run = AtomicBool::new(true);
    std::thread::scope(|scope| {
        for _ in 0..PARALLEL {
            scope.spawn(|| {
                loop {
                    let Some((file, expected)) = queue.lock().unwrap().next() else { return };
                    let Some(ran) = run(&corpus.join(file), source.path(), &expected.secrets) else {
                        can_run.store(false, Ordering::Relaxed);
                        return;
                    };
                    let line = (ran.code, differences(&ran, expected));
                    table.lock().unwrap().insert(file.clone(), line);
                }
            });
        }
    });
    let table = table.into_inner().unwrap();
    for (file, (code, differences)) in &table {
        println!("{} exit {code}  {file}", if differences.is_empty() { "as foreseen" } else { "DIFFERENT  " });
        for difference in differences {
            println!("               {difference}");
        }
    }
    let different = table.values().filter(|(_, differences)| !differences.is_empty()).count();
    assert_eq!(different, 0, "files that ended otherwise than foreseen; see the table above");
    if can_run.into_inner() {
        assert!(!expectations.is_empty(), "something is foreseen");
        assert_eq!(table.len(), expectations.len(), "files that ran");
    } else {
        // That was said already. On such a machine a file ends only by being refused.
        assert!(table.values().all(|(code, _)| *code == 2), "some files ran, and others could not");
    }
}
