use std::collections::{BTreeMap, BTreeSet};

use piculet_core::secret::Secret;
use piculet_core::workload::{StageSpec, StepSpec, WorkloadSpec};

use super::{ContextText, FileText, Plan, PlanError, Request};

fn file(name: &str, text: &str) -> FileText {
    FileText { name: format!(".woodpecker/{name}.yaml"), text: text.to_owned() }
}

fn plan(files: Vec<FileText>) -> Result<Plan, PlanError> {
    Request { files, ..Request::default() }.plan("sub", None)
}

const STEPS: &str = "skip_clone: true\nsteps:\n  - {name: one, image: alpine, commands: [true]}\n";

#[test]
fn files_of_a_pipeline_wait_for_each_other() {
    let deploy = format!("depends_on: [build, test]\nwhen: {{status: [success, failure]}}\n{STEPS}");
    let build = format!("matrix: {{GO: [\"1\", \"2\"]}}\n{STEPS}");
    let plan = plan(vec![file("deploy", &deploy), file("build", &build), file("test", STEPS)]).unwrap();
    let names: Vec<_> = plan.workflows.iter().map(|planned| planned.submission.id.as_str()).collect();
    assert_eq!(names, ["sub-0", "sub-1", "sub-2", "sub-3"]);
    let after: Vec<_> = plan.workflows[0].submission.condition.after.iter().map(|id| id.as_str()).collect();
    assert_eq!(after, ["sub-1", "sub-2", "sub-3"], "all of a matrix, and the other");
    assert!(plan.workflows[0].submission.condition.on_failure);
    assert!(!plan.workflows[1].submission.condition.on_failure);
}

#[test]
fn a_limit_counts_runs_of_the_workflow_or_the_group() {
    let alone = format!("concurrency: 1\n{STEPS}");
    let group = format!("concurrency: {{limit: 2, group: deploys}}\n{STEPS}");
    let plan = plan(vec![file("alone", &alone), file("grouped", &group), file("free", STEPS)]).unwrap();
    let throttles: Vec<_> = plan
        .workflows
        .iter()
        .map(|planned| planned.submission.condition.throttle.as_ref().map(|t| (t.group.as_str(), t.limit)))
        .collect();
    assert_eq!(throttles, [Some(("local/pipeline:alone", 1)), Some(("local/pipeline:deploys", 2)), None]);
}

#[test]
fn what_is_wrong_with_every_file_is_told() {
    let error = plan(vec![file("a", "steps: ["), file("b", STEPS), file("c", "steps: {}")]).unwrap_err();
    assert_eq!(error.code(), "pipeline-invalid");
    let text = error.to_string();
    assert!(text.contains(".woodpecker/a.yaml") && text.contains(".woodpecker/c.yaml"), "{text}");
    assert!(!text.contains(".woodpecker/b.yaml"), "{text}");
}

#[test]
fn workflows_that_wait_for_each_other_are_refused() {
    let a = format!("depends_on: [b]\n{STEPS}");
    let b = format!("depends_on: [a]\n{STEPS}");
    let error = plan(vec![file("a", &a), file("b", &b), file("c", STEPS)]).unwrap_err();
    assert_eq!(error.to_string(), "the workflows wait for each other: 'a', 'b'");
}

#[test]
fn nothing_is_nothing() {
    assert_eq!(plan(Vec::new()).unwrap_err().code(), "nothing-to-run");
    let filtered = plan(vec![file("a", &format!("when: {{event: tag}}\n{STEPS}"))]).unwrap();
    assert_eq!((filtered.workflows.len(), filtered.filtered.len()), (0, 1));
}

#[test]
fn an_unknown_event_is_told() {
    let context = ContextText { event: "shove".to_owned(), ..ContextText::default() };
    let error = Request { files: vec![file("a", STEPS)], context, ..Request::default() }.plan("sub", None).unwrap_err();
    assert_eq!(error.code(), "context-invalid");
    assert!(error.to_string().contains("shove"), "{error}");
}

#[test]
fn no_error_tells_a_secret() {
    let context = ContextText {
        secrets: BTreeMap::from([("TOKEN".to_owned(), Secret::new("hunter2hunter2"))]),
        ..ContextText::default()
    };
    let text = "steps:\n  - {name: one, image: alpine, commands: [echo hunter2hunter2], nonsense: [}\n";
    let error = Request { files: vec![file("a", text)], context, ..Request::default() }.plan("sub", None).unwrap_err();
    assert!(!error.to_string().contains("hunter2hunter2"), "{error}");
}

/// The ids of all steps.
fn step_ids(plan: &Plan) -> Vec<&str> {
    let stages = plan.workflows.iter().flat_map(|planned| &planned.submission.spec.stages);
    stages.flat_map(|stage| &stage.steps).map(|step| step.id.as_str()).collect()
}

#[track_caller]
fn assert_own_ids(plan: &Plan, count: usize) {
    let ids = step_ids(plan);
    assert_eq!((ids.len(), ids.iter().collect::<BTreeSet<_>>().len()), (count, count), "{ids:?}");
    let is_name = |id: &&str| id.len() <= 40 && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    assert!(ids.iter().all(is_name), "{ids:?}");
}

#[test]
fn workflows_with_the_same_name_have_steps_with_different_ids() {
    let named = |name: &str, text: &str| FileText { name: name.to_owned(), text: text.to_owned() };
    let deploy = format!("depends_on: [build]\n{STEPS}");
    let files = vec![
        named("a/.woodpecker/build.yaml", STEPS),
        named("b/.woodpecker/build.yaml", STEPS),
        named("a/.woodpecker/build.yml", STEPS),
        named("a/.woodpecker/build.yml", STEPS),
        named("deploy.yaml", &deploy),
    ];
    let plan = plan(files).unwrap();
    assert_own_ids(&plan, 5);
    let after: Vec<_> = plan.workflows[4].submission.condition.after.iter().map(|id| id.as_str()).collect();
    assert_eq!(after, ["sub-0", "sub-1", "sub-2", "sub-3"], "all of that name");
}

#[test]
fn equal_combinations_of_a_matrix_have_steps_with_different_ids() {
    for matrix in ["{GO: [\"1.21\", \"1.21\"]}", "{include: [{GO: \"1.21\"}, {GO: \"1.21\"}]}"] {
        let plan = plan(vec![file("build", &format!("matrix: {matrix}\n{STEPS}"))]).unwrap();
        assert_own_ids(&plan, 2);
    }
}

#[test]
fn workloads_get_ids_of_their_own() {
    let step = |id: &str, name: &str| StepSpec {
        id: id.to_owned(),
        name: name.to_owned(),
        image: "alpine".to_owned(),
        ..StepSpec::default()
    };
    let spec = WorkloadSpec {
        name: "w".to_owned(),
        stages: vec![StageSpec { steps: vec![step("a", "one")] }, StageSpec { steps: vec![step("b", "two")] }],
        ..WorkloadSpec::default()
    };
    let labels = BTreeMap::from([("team".to_owned(), "core".to_owned())]);
    let request = Request { workloads: vec![spec.clone(); 12], labels, ..Request::default() };
    let plan = request.plan("0123456789abcdef0123456789abcdef", None).unwrap();
    assert_own_ids(&plan, 24);
    assert_eq!(plan.workflows[1].submission.spec.labels["team"], "core");

    let wrong = WorkloadSpec { stages: Vec::new(), ..spec };
    let error = Request { workloads: vec![wrong], ..Request::default() }.plan("sub", None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the workload 'w' can't be run: stages: there is no stage; a workflow needs at least one step [workload-no-stages]"
    );
}
