//! Our own files: what each compiles to, or what is said of it.

use std::path::PathBuf;

use piculet_core::id::WorkflowId;
use piculet_core::workload::Workload;
use piculet_pipeline::{Context, Diagnostics, Event, SourceFile, Trusted, compile};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/pipelines")
}

fn names() -> Vec<String> {
    let files = std::fs::read_dir(folder()).unwrap();
    let mut names: Vec<_> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn source(name: &str) -> SourceFile {
    SourceFile::new(format!(".woodpecker/{name}"), std::fs::read(folder().join(name)).unwrap())
}

fn context(name: &str) -> Context {
    let mut context = crate::context(Event::Push);
    if name == "bad-trust.yaml" {
        context.repository.trusted = Trusted::default();
    }
    context
}

#[test]
fn every_fixture_gives_what_its_snapshot_says() {
    for name in names() {
        let result = compile(&source(&name), &context(&name));
        assert_eq!(result.is_err(), name.starts_with("bad-"), "{name}: {}", crate::show::result(&result));
        insta::assert_snapshot!(name.trim_end_matches(".yaml"), crate::show::result(&result));
    }
}

#[test]
fn what_compiles_is_a_workload_for_every_event() {
    for name in names() {
        for event in Event::ALL {
            let context = Context { event, ..context(&name) };
            let Ok(compiled) = compile(&source(&name), &context) else { continue };
            for workflow in compiled.workflows {
                Workload::new(WorkflowId::new("1"), workflow.spec).unwrap_or_else(|error| panic!("{name}: {error}"));
            }
        }
    }
}

#[test]
fn ids_differ_between_steps_combinations_and_submissions() {
    let ids = |prefix: &str| -> Vec<String> {
        let context = Context { id_prefix: prefix.to_owned(), ..context("matrix.yaml") };
        let compiled = compile(&source("matrix.yaml"), &context).unwrap();
        let stages = compiled.workflows.iter().flat_map(|workflow| &workflow.spec.stages);
        stages.flat_map(|stage| &stage.steps).map(|step| step.id.clone()).collect()
    };
    let all = [ids("a"), ids("b")].concat();
    let different: std::collections::BTreeSet<_> = all.iter().collect();
    assert_eq!(different.len(), all.len());
    assert_eq!(ids("a"), ids("a"), "the same input gives the same ids");
}

#[test]
fn no_diagnostic_shows_a_secret() {
    let said = |found: &Diagnostics| format!("{found}\n{found:?}");
    for name in names() {
        let shown = match compile(&source(&name), &context(&name)) {
            Ok(compiled) => format!("{} {:?}", said(&compiled.warnings), compiled),
            Err(found) => said(&found),
        };
        for secret in ["p4ssw0rd", "t0ps3cr3t-value"] {
            assert!(!shown.contains(secret), "{name}: {shown}");
        }
    }
}
