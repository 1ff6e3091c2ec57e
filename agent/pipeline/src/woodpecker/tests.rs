use piculet_core::id::WorkflowId;
use piculet_core::secret::Secret;
use piculet_core::workload::Workload;
use proptest::prelude::*;

use super::{base_name, compile};
use crate::compiled::{Compiled, RunsOn};
use crate::context::{Context, Event, Trusted};
use crate::diagnostic::Diagnostics;
use crate::source::SourceFile;

fn run_in(text: impl Into<Vec<u8>>, context: &Context) -> Result<Compiled, Diagnostics> {
    compile(&SourceFile::new("test.yaml", text), context)
}

fn run(text: impl Into<Vec<u8>>) -> Result<Compiled, Diagnostics> {
    let mut context = Context { id_prefix: "test".to_owned(), ..Context::default() };
    context.repository.trusted = Trusted::ALL;
    context.commit.branch = "main".to_owned();
    context.secrets.insert("token".to_owned(), Secret::new("s3cr3t-value"));
    run_in(text, &context)
}

/// The codes of all that is said.
fn codes(text: impl Into<Vec<u8>>) -> Vec<&'static str> {
    let found = match run(text) {
        Ok(compiled) => compiled.warnings,
        Err(found) => found,
    };
    found.iter().map(|found| found.code).collect()
}

const STEPS: &str = "when: [event: push]\nsteps: [{name: a, image: alpine}]\n";

#[test]
fn workflows_are_named_by_their_files() {
    for (path, name) in [
        (".woodpecker.yml", "woodpecker"),
        (".woodpecker/build.yaml", "build"),
        ("a/b/.hidden.yaml", "hidden"),
        ("release.v2.yml", "release.v2"),
        ("noending", "noending"),
    ] {
        assert_eq!(base_name(path), name);
    }
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    assert_eq!(codes(b"steps: \xff".to_vec()), ["not-utf8"]);
    assert_eq!(codes([b"\xef\xbb\xbf", STEPS.as_bytes()].concat()), [""; 0]);
    assert_eq!(codes(vec![b' '; 2 << 20]), ["file-too-large"]);
    for empty in ["", "\n", "# only words\n", "---\n", "~"] {
        assert_eq!(codes(empty), ["missing-steps"], "{empty:?}");
    }
    for scalar in ["text", "- a", "12"] {
        assert!(codes(scalar).contains(&"wrong-type"), "{scalar}");
    }
}

#[test]
fn the_clone_step_is_there_unless_the_file_says_otherwise() {
    let first = |text: &str, event| {
        let context = Context { event, ..Context::default() };
        let compiled = run_in(text, &context).unwrap();
        let step = compiled.workflows[0].spec.stages[0].steps[0].clone();
        (step.name, step.environment.get("PLUGIN_TAGS").cloned())
    };
    let steps = "steps: [{name: a, image: alpine}]\n";
    assert_eq!(first(steps, Event::Push), ("clone".to_owned(), None));
    assert_eq!(first(steps, Event::Tag), ("clone".to_owned(), Some("true".to_owned())));
    assert_eq!(first(&format!("skip_clone: true\n{steps}"), Event::Push).0, "a");
    assert_eq!(first(&format!("clone: [{{name: mine, image: git}}]\n{steps}"), Event::Push).0, "mine");
    assert_eq!(first(&format!("clone: {{git: {{image: git, when: {{event: tag}}}}}}\n{steps}"), Event::Push).0, "a");
    let without = Context { clone_image: String::new(), ..Context::default() };
    assert_eq!(run_in(steps, &without).unwrap().workflows[0].spec.stages.len(), 1);
}

#[test]
fn a_workflow_without_a_step_left_runs_only_what_it_has_besides() {
    let steps = "steps: [{name: a, image: x, when: {event: tag}}]";
    let compiled = run(format!("skip_clone: true\n{steps}")).unwrap();
    assert!(compiled.workflows.is_empty());
    assert_eq!(compiled.filtered[0].why, "no step is left: event is 'push', not tag");
    let compiled = run(steps).unwrap();
    assert_eq!(compiled.workflows[0].spec.stages.len(), 1);
    assert_eq!(compiled.warnings.list[0].message, "no step runs: event is 'push', not tag");
}

#[test]
fn outcomes_of_other_workflows_come_from_two_keys() {
    let runs_on =
        |text: &str| run(format!("{text}\nsteps: [{{name: a, image: alpine}}]")).unwrap().workflows[0].runs_on;
    let on = |success, failure| RunsOn { success, failure };
    assert_eq!(runs_on("when: {event: push}"), on(true, false));
    assert_eq!(runs_on("when: {event: push, status: failure}"), on(false, true));
    assert_eq!(runs_on("when: {event: push, status: [success, failure]}"), on(true, true));
    assert_eq!(runs_on("when: {event: push}\nruns_on: failure"), on(false, true));
    assert_eq!(runs_on("when: {event: push}\nruns_on: [success, failure]"), on(true, true));
}

#[test]
fn the_key_of_a_service_is_its_name_but_a_step_may_have_another() {
    let text = "
when: [event: push]
services: {db: {image: postgres, name: other}}
steps: {key: {image: alpine, name: own}, plain: {image: alpine}}
";
    let spec = run(text).unwrap().workflows.remove(0).spec;
    let names: Vec<_> = spec.stages.iter().flat_map(|stage| &stage.steps).map(|step| step.name.as_str()).collect();
    assert_eq!(names, ["clone", "db", "own", "plain"]);
}

#[test]
fn matrices_are_bounded_and_in_order() {
    let names = |matrix: &str| -> Vec<String> {
        let compiled = run(format!("matrix: {matrix}\n{STEPS}")).unwrap();
        compiled.workflows.into_iter().map(|workflow| workflow.name).collect()
    };
    assert_eq!(names("{}"), ["test"]);
    assert_eq!(names("{A: [1]}"), ["test"]);
    assert_eq!(
        names("{B: [x, y], A: [1, 1.10]}"),
        ["test (A=1, B=x)", "test (A=1.10, B=x)", "test (A=1, B=y)", "test (A=1.10, B=y)"]
    );
    assert_eq!(names("{A: [1, 2], include: [{A: 3, B: 4}, {C: 5}]}"), ["test (A=3, B=4)", "test (C=5)"]);
    assert_eq!(names("{include: [a, b]}"), ["test (include=a)", "test (include=b)"]);
    let many = "{A: [1, 2, 3, 4], B: [1, 2, 3, 4], C: [1, 2]}";
    assert_eq!(names(many).len(), 27);
    assert_eq!(names(many)[26], "test (A=4, B=2, C=1)");
    assert_eq!(codes(format!("matrix: {many}\n{STEPS}")), ["matrix-size"]);
    assert_eq!(codes(format!("matrix: [a]\n{STEPS}")), ["matrix-type"]);
}

#[test]
fn a_matrix_may_use_variables_and_be_used_anywhere() {
    let text = "
when: [{event: push, branch: [${CI_COMMIT_BRANCH}, x]}]
matrix:
  TAG: [\"${CI_COMMIT_TAG}\", \"${OTHER:-latest}\", \"${CI_COMMIT_BRANCH}\"]
steps:
  - {name: a, image: \"alpine\", commands: [echo ${TAG}]}
  - name: b
    image: golang:${TAG:-1}
";
    let compiled = run(text).unwrap();
    let values: Vec<_> = compiled.workflows.iter().map(|workflow| workflow.axis["TAG"].as_str()).collect();
    assert_eq!(values, ["", "latest", "main"]);
}

#[test]
fn what_is_said_of_every_combination_is_said_once() {
    let found = codes("when: [event: push]\nmatrix: {A: [1, 2, 3]}\nsteps: [{name: a, image: alpine, imgae: x}]");
    assert_eq!(found, ["unknown-key"]);
}

#[test]
fn secrets_are_found_in_any_case_and_all_of_them_are_masked() {
    let text =
        "when: [event: push]\nsteps: [{name: a, image: x, environment: {T: {from_secret: ToKeN}}, commands: [x]}]";
    let spec = run(text).unwrap().workflows.remove(0).spec;
    assert_eq!(spec.stages[1].steps[0].secret_environment["T"].expose(), "s3cr3t-value");
    let spec = run(STEPS).unwrap().workflows.remove(0).spec;
    assert_eq!(spec.secrets, [Secret::new("s3cr3t-value")]);
}

#[test]
fn plugins_get_neither_the_matrix_nor_variables() {
    let mut context = Context::default();
    context.variables.insert("MINE".to_owned(), "1".to_owned());
    let text = "matrix: {AXIS: [1]}\nsteps:\n- {name: p, image: x}\n- {name: c, image: x, commands: [x]}";
    let spec = run_in(text, &context).unwrap().workflows.remove(0).spec;
    let has = |stage: usize, name: &str| spec.stages[stage].steps[0].environment.contains_key(name);
    assert_eq!([has(1, "MINE"), has(1, "AXIS"), has(1, "CI")], [false, false, true]);
    assert_eq!([has(2, "MINE"), has(2, "AXIS"), has(2, "CI")], [true, true, true]);
}

#[test]
fn names_of_variables_are_checked() {
    assert_eq!(
        codes("when: [event: push]\nsteps: [{name: a, image: x, environment: {'A=B': 1, '': 2}}]"),
        ["variable-name", "variable-name"]
    );
}

#[test]
fn what_the_agent_would_refuse_is_refused_here() {
    // A value with a NUL byte has no place in an environment, but in YAML.
    let text = "when: [event: push]\nsteps: [{name: a, image: x, environment: {A: \"x\\0y\"}}]";
    assert_eq!(codes(text), ["workload-variable"]);
}

#[test]
fn size_is_bounded() {
    let many: String = (0..2_001).map(|step| format!("- {{name: s{step}, image: alpine}}\n")).collect();
    assert!(codes(format!("when: [event: push]\nsteps:\n{many}")).contains(&"too-many-steps"));
    let chain: String =
        (1..2_000).map(|step| format!("- {{name: s{step}, image: a, depends_on: s{}}}\n", step - 1)).collect();
    let compiled =
        run(format!("when: [event: push]\nskip_clone: true\nsteps:\n- {{name: s0, image: a}}\n{chain}")).unwrap();
    assert_eq!(compiled.workflows[0].spec.stages.len(), 2_000);
    let keys: String = (0..50_000).map(|key| format!("k{key}: 1, ")).collect();
    let found = codes(format!("{{when: [event: push], {keys}steps: [{{name: a, image: x}}]}}"));
    assert_eq!(found, ["unknown-key"; 21]);
}

/// A file that uses most of the language.
const KITCHEN_SINK: &str = "
variables:
  - &image golang:${GO:-1}
  - &list [a, b]
when:
  - event: [push, manual]
    branch: {include: [${CI_COMMIT_BRANCH}, x], exclude: y}
    path: {include: ['**'], on_empty: true}
matrix: {GO: [1, 2], include: [{GO: 3}]}
labels: {platform: linux/amd64}
clone: {git: {image: git, settings: {depth: 1}}}
services:
  - {name: db, image: postgres, ports: [5432], environment: {A: b}}
steps:
  one: {image: *image, commands: [<<: *list, make], environment: {T: {from_secret: token}}}
  two:
    <<: &more {image: alpine, directory: x}
    settings: {a: [1, {b: c}], d: {from_secret: token}}
    depends_on: [one, {name: gone, optional: true}]
    when: [{evaluate: 'CI_COMMIT_BRANCH contains \"m\"', status: [success, failure]}]
    backend_options: {kubernetes: {resources: {limits: {cpu: 1}}}}
";

#[test]
fn the_kitchen_sink_compiles() {
    assert_eq!(run(KITCHEN_SINK).unwrap().workflows.len(), 1);
}

fn ends_well(text: impl Into<Vec<u8>>) {
    match run(text) {
        Ok(compiled) => {
            assert!(!compiled.warnings.has_errors());
            for workflow in compiled.workflows {
                Workload::new(WorkflowId::new("1"), workflow.spec).unwrap();
            }
        }
        Err(found) => {
            assert!(found.has_errors());
            assert!(!found.to_string().contains("s3cr3t-value"));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_bytes_end_well(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        ends_well(bytes);
    }

    #[test]
    fn any_change_to_a_good_file_ends_well(
        at in 0..KITCHEN_SINK.len(),
        removed in 0usize..12,
        added in r#"(\PC|[\n :\-,\[\]{}&*'"$#|>]|<<: |: |\n  |\$\{|~|12){0,6}"#,
    ) {
        let (before, rest) = KITCHEN_SINK.as_bytes().split_at(at);
        let after = rest.get(removed..).unwrap_or_default();
        ends_well([before, added.as_bytes(), after].concat());
    }

    #[test]
    fn any_value_anywhere_ends_well(
        key in "(when|steps|services|clone|matrix|labels|depends_on|workspace|concurrency|runs_on|skip_clone|image|\
                commands|settings|environment|secrets|volumes|ports|dns|entrypoint|failure|detach|backend_options)",
        value in r#"(~|1|x|\[\]|\{\}|\[~\]|\[1, x\]|\{a: ~\}|\[\[\]\]|\{a: \{b: c\}\}|\[\{a: b\}\]|'')"#,
        in_step in any::<bool>(),
    ) {
        let text = if in_step {
            format!("when: [event: push]\nsteps:\n- name: a\n  image: alpine\n  {key}: {value}\n")
        } else {
            format!("{STEPS}{key}: {value}\n")
        };
        ends_well(text);
    }
}
