//! What can't fit is refused before anything is created, with the limit, the step and the field.

use std::collections::BTreeMap;

use piculet_core::id::{Attempt, StepIndex, WorkflowId};
use piculet_core::secret::Secret;
use piculet_core::workload::{
    ExtraHost, RegistryAuth, StageSpec, StepKind, StepSpec, VolumeSpec, Workload, WorkloadSpec,
};
use piculet_pods::{Settings, plan, step};
use serde_json::json;

use crate::world::{context, map, minimal, options, service, settings, start, workload};

/// What the plan says about one step: its codes, and its words.
fn refused(spec: StepSpec, settings: &Settings) -> (Vec<&'static str>, String) {
    let workload = workload(vec![spec]);
    let error = plan(&workload, settings, &context()).expect_err("it can't be planned");
    let built = step(&workload, StepIndex(0), Attempt::FIRST, &start(), settings, &context(), None);
    assert!(built.is_err(), "the step alone is refused, too");
    (error.problems.iter().map(|problem| problem.code).collect(), error.to_string())
}

fn refusal(spec: StepSpec) -> (Vec<&'static str>, String) {
    refused(spec, &Settings::default())
}

#[test]
fn an_environment_of_2_mib_is_refused() {
    let environment: BTreeMap<_, _> = (0..20).map(|i| (format!("BIG_{i}"), "x".repeat(100 * 1024))).collect();
    let (codes, words) = refusal(StepSpec { environment, ..minimal() });
    assert_eq!(codes, ["object-too-large"]);
    assert!(words.starts_with("step 'build': environment: the Pod needs some 2"), "{words}");
    assert!(words.contains("1.5 MiB"), "{words}");
}

#[test]
fn one_variable_above_128_kib_is_refused_by_name() {
    let value = "x".repeat(128 * 1024);
    let (codes, words) = refusal(StepSpec { environment: map(&[("BIG", &value)]), ..minimal() });
    assert_eq!(codes, ["variable-too-large"]);
    assert!(words.contains("step 'build': environment.BIG: ") && words.contains("128 KiB"), "{words}");

    let secret_environment = [("SECRET".to_owned(), Secret::new("hunter2".repeat(20_000)))].into();
    let (codes, words) = refusal(StepSpec { secret_environment, ..minimal() });
    assert_eq!(codes, ["variable-too-large"]);
    assert!(words.contains("secret_environment.SECRET") && !words.contains("hunter2"), "{words}");
}

#[test]
fn the_agents_own_values_count_at_their_longest() {
    // 131072 bytes less the name, '=' and the NUL byte: the name of the step just fits, one more letter doesn't.
    let longest = 131_072 - "CI_STEP_NAME".len() - 2;
    let named = |length| workload(vec![StepSpec { name: "x".repeat(length), ..minimal() }]);
    assert!(plan(&named(longest), &Settings::default(), &context()).is_ok());
    let error = plan(&named(longest + 1), &Settings::default(), &context()).expect_err("it doesn't fit");
    assert!(error.problems[0].field.ends_with("environment.CI_STEP_NAME"), "{}", error.problems[0].field);
}

#[test]
fn secrets_above_1_mib_are_refused() {
    let secret_environment = (0..11).map(|i| (format!("SECRET_{i}"), Secret::new("x".repeat(100 * 1024)))).collect();
    let (codes, words) = refusal(StepSpec { secret_environment, ..minimal() });
    assert_eq!(codes, ["secret-too-large"]);
    assert!(words.contains("step 'build': secret_environment: ") && words.contains("1 MiB"), "{words}");
}

#[test]
fn a_script_that_fits_into_no_pod_is_refused() {
    let (codes, words) = refusal(StepSpec { commands: vec!["true ".repeat(85_000)], ..minimal() });
    assert_eq!(codes, ["script-too-large"]);
    assert!(words.contains("step 'build': commands: ") && words.contains("1048576"), "{words}");
}

#[test]
fn a_script_above_128_kib_fits_into_several_variables() {
    let long = StepSpec { commands: vec!["true ".repeat(60_000)], ..minimal() };
    assert!(plan(&workload(vec![long]), &Settings::default(), &context()).is_ok());
}

#[test]
fn an_argument_above_128_kib_is_refused() {
    let entrypoint = vec!["/bin/echo".to_owned(), "x".repeat(128 * 1024)];
    let (codes, words) = refusal(StepSpec { entrypoint, ..minimal() });
    assert_eq!(codes, ["argument-too-large"]);
    assert!(words.contains("step 'build': entrypoint[1]: "), "{words}");
}

#[test]
fn annotations_above_256_kib_are_refused() {
    let annotations = json!({"annotations": {"a": "x".repeat(300 * 1024)}});
    let allowed = settings(json!({"allow_from_step": {"annotations": true}}));
    let (codes, words) = refused(StepSpec { kubernetes: options(&annotations), ..minimal() }, &allowed);
    assert_eq!(codes, ["annotations-too-large"]);
    assert!(words.contains("256 KiB"), "{words}");
}

#[test]
fn an_id_that_fits_nowhere_is_refused() {
    let spec = WorkloadSpec { stages: vec![StageSpec { steps: vec![minimal()] }], ..WorkloadSpec::default() };
    let workload = Workload::new(WorkflowId::new("x".repeat(300 * 1024)), spec).expect("a good workload");
    let error = plan(&workload, &Settings::default(), &context()).expect_err("it can't be planned");
    assert!(error.problems.iter().all(|problem| problem.code == "annotations-too-large"), "{error}");
}

#[test]
fn every_step_is_checked_and_every_problem_told() {
    let bad = |id: &str, name: &str| StepSpec {
        id: id.to_owned(),
        name: name.to_owned(),
        kubernetes: options(&json!({"hostUsers": "maybe", "resources": {"limits": {"memory": "4 GB"}}})),
        ..minimal()
    };
    let workload = workload(vec![bad("a", "one"), minimal(), bad("b", "two")]);
    let error = plan(&workload, &Settings::default(), &context()).expect_err("it can't be planned");
    let mut fields: Vec<_> = error.problems.iter().map(|problem| problem.field.as_str()).collect();
    fields.sort_unstable();
    assert_eq!(
        fields,
        [
            "step 'one': backend_options.kubernetes.hostUsers",
            "step 'one': backend_options.kubernetes.resources.limits.memory",
            "step 'two': backend_options.kubernetes.hostUsers",
            "step 'two': backend_options.kubernetes.resources.limits.memory",
        ]
    );
}

#[test]
fn what_the_api_server_would_refuse_is_refused_with_its_field() {
    let ip = "10.0.0.1".parse().expect("an address");
    let volume =
        |claim: &str, path: &str| VolumeSpec { claim: claim.to_owned(), path: path.to_owned(), read_only: false };
    for (spec, code, field) in [
        (StepSpec { environment: map(&[("GRÜN", "1")]), ..minimal() }, "variable-name", "environment.GRÜN"),
        (StepSpec { volumes: vec![volume("!!!", "/a")], ..minimal() }, "volume-claim", "volumes[0].claim"),
        (StepSpec { volumes: vec![volume("a", "/a:b")], ..minimal() }, "volume-path", "volumes[0]"),
        (StepSpec { volumes: vec![volume("a", "/x"), volume("b", "/x/")], ..minimal() }, "volume-path", "volumes[1]"),
        (StepSpec { dns_search: vec!["a b".to_owned()], ..minimal() }, "dns-search", "dns_search[0]"),
        (
            StepSpec { dns_search: (0..32).map(|i| format!("d{i}.example")).collect(), ..minimal() },
            "dns-search",
            "dns_search",
        ),
        (StepSpec { dns: (1..5).map(|i| [10, 0, 0, i].into()).collect(), ..minimal() }, "dns-servers", "dns"),
        (
            StepSpec { extra_hosts: vec![ExtraHost { name: "my_host".to_owned(), ip }], ..minimal() },
            "host-name",
            "extra_hosts[0].name",
        ),
        (
            StepSpec {
                image: "${IMAGE}".to_owned(),
                registry_auth: Some(RegistryAuth { username: "a".to_owned(), password: Secret::new("pw") }),
                ..minimal()
            },
            "image-registry",
            "image",
        ),
    ] {
        let workload = workload(vec![spec]);
        let error = plan(&workload, &Settings::default(), &context()).expect_err(field);
        let found: Vec<_> = error.problems.iter().map(|problem| (problem.code, problem.field.as_str())).collect();
        let field = format!("step 'build': {field}");
        assert_eq!(found, [(code, field.as_str())]);
    }
}

#[test]
fn one_thing_mounted_twice_at_a_place_is_no_problem() {
    let volume = || VolumeSpec { claim: "a".to_owned(), path: "/x".to_owned(), read_only: false };
    let workload = workload(vec![StepSpec { volumes: vec![volume(), volume()], ..minimal() }]);
    assert!(plan(&workload, &Settings::default(), &context()).is_ok());
}

#[test]
fn as_many_steps_as_a_workflow_may_have_are_planned() {
    let steps = (0..1999).map(|i| StepSpec {
        id: format!("step-{i}"),
        name: format!("step {i}"),
        kind: StepKind::Commands,
        ..minimal()
    });
    let workload = workload(steps.chain([service("db")]).collect());
    let plan = plan(&workload, &Settings::default(), &context()).expect("it can be planned");
    assert_eq!(plan.notes.len(), 0);
}
