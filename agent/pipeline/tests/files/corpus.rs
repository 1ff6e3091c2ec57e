//! Real files of other projects, if they are at hand: they are not ours to keep in the repository.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use piculet_core::id::WorkflowId;
use piculet_core::secret::Secret;
use piculet_core::workload::Workload;
use piculet_pipeline::{Compiled, Context, Diagnostics, Event, Severity, SourceFile, compile};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus/woodpecker")
}

/// Says so if the files are not there, past the test harness, which hides what a passing test prints.
fn is_missing() -> bool {
    let missing = !folder().is_dir();
    if missing {
        let text = format!("\n!!! SKIPPED, NOT TESTED: no real files at {}\n\n", folder().display());
        std::io::stderr().write_all(text.as_bytes()).unwrap();
    }
    missing
}

/// Compiles with every secret that the file asks for.
fn with_secrets(file: &SourceFile, mut context: Context) -> Result<Compiled, Diagnostics> {
    loop {
        let result = compile(file, &context);
        let Err(found) = &result else { return result };
        let missing: Vec<String> = found
            .iter()
            .filter(|found| found.code == "missing-secret")
            .filter_map(|found| found.message.split('"').nth(1).map(str::to_owned))
            .collect();
        if missing.is_empty() {
            return result;
        }
        context.secrets.extend(missing.into_iter().map(|name| (name, Secret::new("s3cr3t-value"))));
    }
}

/// What a push to `main` of `acme/shop` gives: the number of workflows, or why there is none. Written by hand from the
/// files, by the rules of Woodpecker 3.
const EXPECTED: &[(&str, &str)] = &[
    ("0xC0ncord__padm_exporter__woodpecker-build", "1"),
    // `echo "…: …"` without quotes around it is a map, which is no command.
    ("Akawatmor__KPS-Enterprise__woodpecker-main", "wrong-type"),
    // Starts with a C comment.
    ("AtomicElectronCreates__BloodHorn-Dev__woodpecker", "yaml-syntax"),
    ("BDX-town__Akkoma__woodpecker-test", "legacy-pipeline"),
    ("Bavarder__Bavarder__woodpecker", "legacy-pipeline"),
    ("BlossomMirrors__iso__woodpecker", "1"),
    ("CatalaLang__catala__woodpecker-main", "1"),
    ("CodeWitchBella__songbook__woodpecker", "1"),
    ("Codycody31__squad-aegis__woodpecker-docker", "1"),
    ("CrystalNET-org__helm-powerdns__woodpecker-helm-release", "event"),
    ("DigiBugCat__cassandra-yt-mcp__woodpecker", "1"),
    ("LarssonOliver__blg__woodpecker-package", "event"),
    ("LarssonOliver__larssonoliver.com__woodpecker-build", "1"),
    ("Multpex__woodpecker-ci-demo__woodpecker", "1"),
    ("Peregrine-Technology-Systems__peregrine-penetrator-scanner__woodpecker-build", "branch"),
    ("SapphicCode__containers__woodpecker-build", "3"),
    ("TheTaqiTahmid__my-portfolio__woodpecker-build", "branch"),
    ("USTC-KnowledgeComputingLab__qmb-public__woodpecker-wheels", "1"),
    // `!contains(…)`: an operator used as a function.
    ("ViktorBarzin__infra__woodpecker-app-stacks", "branch"),
    ("bjodah__chempy__woodpecker-deploy", "1"),
    ("cardinalhq__cardinalhq-otel-collector__woodpecker-image", "branch"),
    ("crowci__crow__woodpecker-test", "legacy-environment"),
    ("deuill__slidge-whatsapp__woodpecker-container", "2"),
    ("deuill__slidge-whatsapp__woodpecker-package", "6"),
    ("dfinity-ops__charts__woodpecker-publish-charts", "legacy-pipeline"),
    ("drycc__controller__woodpecker-build-linux", "legacy-pipeline"),
    ("fourstepper__chloewinkel.com-nextjs__woodpecker-deploy", "legacy-pipeline"),
    ("go-dataspace__run-dsp__woodpecker-build", "1"),
    ("go-dataspace__run-dsp__woodpecker-container", "1"),
    ("inoa-io__inoa-cloud__woodpecker-build", "legacy-environment"),
    ("inoa-io__inoa-cloud__woodpecker-verify", "legacy-environment"),
    ("joshuachp__nixos-config__woodpecker-renovate", "1"),
    ("kokuwaio__keycloak__woodpecker-deploy", "repo"),
    ("konterfai-bot__konterfai__woodpecker-coverage", "1"),
    ("liskvork__liskvork__woodpecker-build", "1"),
    ("opencloud-eu__woodpecker-ci-config-service__woodpecker-docker", "event"),
    // `when: [cron, manual, …]`.
    ("oscarsjlh__oscar-iac-selfhosted__woodpecker-deploy", "when-item"),
    ("simen64__homelab__woodpecker-gitverify-test", "1"),
    ("smelnichenko__chat__woodpecker-cd", "1"),
    ("smelnichenko__chess__woodpecker-ci", "branch"),
    ("smelnichenko__platform__woodpecker-ci", "1"),
    // `echo "…: …"` again.
    ("straightchlorine__portfolio__woodpecker-release", "wrong-type"),
    ("woodpecker-ci__woodpecker__pipeline-schema-.woodpecker-test-workspace", "1"),
    ("woodpecker-ci__woodpecker__schema-test-backend-options", "1"),
    // `golang:${GO_VERSION}` becomes `golang:`, since the key `matri` is no matrix.
    ("woodpecker-ci__woodpecker__schema-test-broken", "yaml-syntax"),
    ("woodpecker-ci__woodpecker__schema-test-cross-workflow-deps-invalid", "dependency-name"),
    ("woodpecker-ci__woodpecker__schema-test-dag", "1"),
    ("woodpecker-ci__woodpecker__schema-test-pipeline-when", "legacy-event"),
    ("woodpecker-ci__woodpecker__schema-test-when", "1"),
    ("woodpecker-ci__woodpecker__woodpecker-docker", "1"),
];

#[test]
fn real_files_compile_or_are_refused_as_expected() {
    if is_missing() {
        return;
    }
    for (name, expected) in EXPECTED {
        let file = SourceFile::new(*name, std::fs::read(folder().join(format!("{name}.yaml"))).unwrap());
        let result = with_secrets(&file, crate::context(Event::Push));
        let outcome = match &result {
            Ok(Compiled { workflows, .. }) if !workflows.is_empty() => workflows.len().to_string(),
            Ok(compiled) => compiled.filtered[0].why.clone(),
            Err(found) => {
                let errors = found.iter().filter(|found| found.severity == Severity::Error);
                errors.map(|found| found.code).collect::<Vec<_>>().join(" ")
            }
        };
        assert!(outcome.starts_with(expected), "{name}: expected {expected}, got {outcome}");
    }
}

#[test]
fn every_real_file_ends_quickly_for_every_event() {
    if is_missing() {
        return;
    }
    let mut files = 0;
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(EXPECTED.iter().any(|(known, _)| *known == name), "{name} has no expectation");
        let file = SourceFile::new(name.clone(), std::fs::read(&path).unwrap());
        files += 1;
        for event in Event::ALL {
            let started = clock();
            let result = with_secrets(&file, crate::context(event));
            assert!(clock().duration_since(started).unwrap() < Duration::from_secs(10), "{name}, {event}");
            for workflow in result.map(|compiled| compiled.workflows).unwrap_or_default() {
                let what = format!("{}, {event}", workflow.name);
                Workload::new(WorkflowId::new("1"), workflow.spec).unwrap_or_else(|error| panic!("{what}: {error}"));
            }
        }
    }
    assert_eq!(files, EXPECTED.len());
}

#[expect(clippy::disallowed_methods, reason = "a test that nothing hangs has to look at a clock")]
fn clock() -> SystemTime {
    SystemTime::now()
}
