//! The words of the conventions for what became of steps and workflows.

use super::recorder::PodTimes;
use super::span::{Attribute, Status, Value, convention};
use crate::id::{PodUid, StepId, WorkflowId};
use crate::outcome::{Outcome, StepState, WorkflowState};

/// What is done with a pipeline.
pub(super) const ACTION: &str = "RUN";

const SUCCESS: &str = "success";
const FAILURE: &str = "failure";
const ERROR: &str = "error";
const TIMEOUT: &str = "timeout";
const CANCELLATION: &str = "cancellation";
const SKIP: &str = "skip";

pub(super) fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

pub(super) fn number(number: u64) -> Value {
    Value::Number(i64::try_from(number).unwrap_or(i64::MAX))
}

/// The name of a run's span.
pub(super) fn run_name(pipeline: &str) -> String {
    if pipeline.is_empty() { ACTION.to_owned() } else { format!("{ACTION} {pipeline}") }
}

/// The name of the server's span of a workflow.
pub(super) fn workflow_name(name: &str) -> String {
    if name.is_empty() { "workflow".to_owned() } else { format!("workflow {name}") }
}

/// What the conventions call a step's end.
pub(super) fn task_result(state: StepState, outcome: Option<&Outcome>) -> &'static str {
    match state {
        StepState::Success => SUCCESS,
        StepState::Skipped => SKIP,
        StepState::Canceled => CANCELLATION,
        StepState::Pending | StepState::Running | StepState::Failure | StepState::Killed => match outcome {
            Some(Outcome::DeadlineExceeded { .. }) => TIMEOUT,
            Some(Outcome::Cancelled { .. }) => CANCELLATION,
            Some(Outcome::Exited { .. } | Outcome::Signaled { .. } | Outcome::OomKilled { .. }) => FAILURE,
            _ => ERROR,
        },
    }
}

/// What the conventions call a workflow's end. `is_cut`: something went wrong apart from the steps.
pub(super) fn pipeline_result(state: WorkflowState, is_cut: bool, is_out_of_time: bool) -> &'static str {
    match state {
        WorkflowState::Success => SUCCESS,
        WorkflowState::Failure if is_cut => ERROR,
        WorkflowState::Failure => FAILURE,
        WorkflowState::Pending | WorkflowState::Running | WorkflowState::Killed => {
            if is_out_of_time {
                TIMEOUT
            } else {
                CANCELLATION
            }
        }
    }
}

/// Whether a result asks for a class of error.
pub(super) fn is_failure(result: &str) -> bool {
    matches!(result, FAILURE | ERROR | TIMEOUT)
}

/// What an outcome means for a span.
pub(super) fn status(outcome: Option<&Outcome>) -> Status {
    match outcome {
        Some(outcome) if !outcome.is_success() => Status::Error(outcome.class().into()),
        _ => Status::Unset,
    }
}

pub(super) fn error_type(outcome: Option<&Outcome>) -> Option<Attribute> {
    let failed = outcome.filter(|outcome| !outcome.is_success())?;
    Some((convention::ERROR_TYPE, text(failed.class())))
}

pub(super) fn exit_code(outcome: Option<&Outcome>) -> Option<Attribute> {
    Some((convention::EXIT_CODE, Value::Number(i64::from(outcome?.exit_code()?))))
}

pub(super) fn pipeline(name: &str, id: &WorkflowId) -> [Attribute; 2] {
    [(convention::PIPELINE_NAME, text(name)), (convention::PIPELINE_RUN_ID, text(id.as_str()))]
}

pub(super) fn task(name: &str, id: &StepId, result: &str) -> [Attribute; 3] {
    [
        (convention::TASK_NAME, text(name)),
        (convention::TASK_RUN_ID, text(id.as_str())),
        (convention::TASK_RESULT, text(result)),
    ]
}

/// An image as name and tag: `registry:5000/a/b:1@sha256:0` is `registry:5000/a/b` and `1`.
pub(super) fn image(image: &str) -> Vec<Attribute> {
    let (image, _digest) = image.split_once('@').unwrap_or((image, ""));
    let (name, tag) = match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (image, None),
    };
    let tags = tag.map(|tag| (convention::IMAGE_TAGS, Value::Texts(vec![tag.to_owned()])));
    [(convention::IMAGE_NAME, text(name))].into_iter().chain(tags).collect()
}

/// Where an attempt ran.
pub(super) fn pod(namespace: &str, times: Option<&PodTimes>, uid: Option<&PodUid>) -> Vec<Attribute> {
    let uid = uid.map(|uid| (convention::POD_UID, text(uid.as_str())));
    let mut attributes: Vec<_> = [(convention::NAMESPACE, text(namespace))].into_iter().chain(uid).collect();
    if let Some(times) = times {
        attributes.push((convention::POD_NAME, text(&times.name)));
        attributes.push((convention::CONTAINER_NAME, text(&times.container)));
        attributes.extend(times.node.as_deref().map(|node| (convention::NODE_NAME, text(node))));
    }
    attributes
}
