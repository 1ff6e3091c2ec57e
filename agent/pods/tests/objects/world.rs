//! What the tests build from.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use piculet_core::id::{Attempt, Epoch, InstanceId, ServerId, StepIndex, WorkflowId};
use piculet_core::workload::{StageSpec, StepKind, StepSpec, Workload, WorkloadSpec};
use piculet_pods::{Context, PipelineStatus, Settings, StepObjects, StepStart};
use serde_json::Value;

pub(crate) fn context() -> Context {
    Context {
        server: ServerId::new("ci.example.org"),
        instance: InstanceId::new("agent-7f9c"),
        epoch: Epoch(1),
        machine: "agent-0".to_owned(),
        platform: "linux/amd64".to_owned(),
        time_limit: Duration::from_secs(3600),
        version: "0.1.0".to_owned(),
        deadline: "2026-01-01T01:00:00Z".parse().expect("a time"),
    }
}

pub(crate) fn start() -> StepStart {
    StepStart {
        status: PipelineStatus::Success,
        workflow_started: Timestamp::from_second(1_767_225_600).expect("a time"),
        step_started: Timestamp::from_second(1_767_225_660).expect("a time"),
        machine: "agent-0".to_owned(),
        platform: "linux/amd64".to_owned(),
        node: None,
        trace: None,
    }
}

pub(crate) fn owner() -> OwnerReference {
    OwnerReference {
        api_version: "v1".to_owned(),
        kind: "ConfigMap".to_owned(),
        name: "wp-anchor".to_owned(),
        uid: "0b9f2c1e-0000-4000-8000-000000000001".to_owned(),
        ..OwnerReference::default()
    }
}

pub(crate) fn minimal() -> StepSpec {
    StepSpec {
        id: "01K3CZ8W5T2Q4R6S8V0X1Y3Z5A".to_owned(),
        name: "build".to_owned(),
        image: "busybox:1.37".to_owned(),
        ..StepSpec::default()
    }
}

pub(crate) fn workload(steps: Vec<StepSpec>) -> Workload {
    labelled(steps, &[])
}

pub(crate) fn labelled(steps: Vec<StepSpec>, labels: &[(&str, &str)]) -> Workload {
    let spec = WorkloadSpec {
        name: "ci".to_owned(),
        labels: map(labels),
        timeout_seconds: Some(3600),
        stages: vec![StageSpec { steps }],
        ..WorkloadSpec::default()
    };
    Workload::new(WorkflowId::new("4711"), spec).expect("a good workload")
}

pub(crate) fn service(name: &str) -> StepSpec {
    StepSpec { name: name.to_owned(), kind: StepKind::Service, detached: true, ..minimal() }
}

pub(crate) fn settings(value: Value) -> Settings {
    let settings: Settings = serde_json::from_value(value).expect("well-formed settings");
    assert_eq!(settings.check(), []);
    settings
}

pub(crate) fn options(value: &Value) -> serde_json::Map<String, Value> {
    value.as_object().expect("a map").clone()
}

pub(crate) fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// The first step's objects on its first attempt.
pub(crate) fn first(workload: &Workload, settings: &Settings) -> StepObjects {
    piculet_pods::step(workload, StepIndex(0), Attempt::FIRST, &start(), settings, &context(), Some(&owner()))
        .expect("it can be built")
}

/// The first step's objects, of a workflow of just this step, without any settings.
pub(crate) fn alone(step: StepSpec) -> StepObjects {
    first(&workload(vec![step]), &Settings::default())
}
