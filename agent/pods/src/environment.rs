//! The variables that the agent gives a step when it starts, beside those that the server sent.

use std::collections::BTreeMap;

use jiff::Timestamp;
use piculet_core::trace;
use piculet_core::workload::{Step, StepKind};

/// What is known when a step starts, and not before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepStart {
    /// How the workflow stands at this moment.
    pub status: PipelineStatus,
    /// When the agent started the workflow.
    pub workflow_started: Timestamp,
    /// Now.
    pub step_started: Timestamp,
    /// The agent's host name.
    pub machine: String,
    /// The agent's platform: `linux/amd64`.
    pub platform: String,
    /// The node of the workflow's earlier steps, once one was seen on a node.
    pub node: Option<String>,
    /// What the step's process is told of the trace that it runs in; `None`: there is none.
    pub trace: Option<trace::Context>,
}

/// Whether something that counts has failed so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PipelineStatus {
    /// Nothing has.
    Success,
    /// Something has.
    Failure,
}

impl PipelineStatus {
    /// Woodpecker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
        }
    }
}

/// The server's variables under the names that Drone's plugins read.
const DRONE: &[(&str, &str)] = &[
    ("DRONE_BRANCH", "CI_COMMIT_BRANCH"),
    ("DRONE_BUILD_CREATED", "CI_PIPELINE_CREATED"),
    ("DRONE_BUILD_EVENT", "CI_PIPELINE_EVENT"),
    ("DRONE_BUILD_LINK", "CI_PIPELINE_URL"),
    ("DRONE_BUILD_NUMBER", "CI_PIPELINE_NUMBER"),
    ("DRONE_BUILD_PARENT", "CI_PIPELINE_PARENT"),
    ("DRONE_BUILD_STARTED", "CI_PIPELINE_STARTED"),
    ("DRONE_COMMIT", "CI_COMMIT_SHA"),
    ("DRONE_COMMIT_AUTHOR", "CI_COMMIT_AUTHOR"),
    ("DRONE_COMMIT_AUTHOR_AVATAR", "CI_PIPELINE_AVATAR"),
    ("DRONE_COMMIT_AUTHOR_EMAIL", "CI_COMMIT_AUTHOR_EMAIL"),
    ("DRONE_COMMIT_AUTHOR_NAME", "CI_COMMIT_AUTHOR"),
    ("DRONE_COMMIT_BEFORE", "CI_PREV_COMMIT_SHA"),
    ("DRONE_COMMIT_BRANCH", "CI_COMMIT_BRANCH"),
    ("DRONE_COMMIT_LINK", "CI_PIPELINE_FORGE_URL"),
    ("DRONE_COMMIT_MESSAGE", "CI_COMMIT_MESSAGE"),
    ("DRONE_COMMIT_REF", "CI_COMMIT_REF"),
    ("DRONE_COMMIT_SHA", "CI_COMMIT_SHA"),
    ("DRONE_GIT_HTTP_URL", "CI_REPO_CLONE_URL"),
    ("DRONE_PULL_REQUEST", "CI_COMMIT_PULL_REQUEST"),
    ("DRONE_REMOTE_URL", "CI_REPO_CLONE_URL"),
    ("DRONE_REPO", "CI_REPO"),
    ("DRONE_REPO_BRANCH", "CI_REPO_DEFAULT_BRANCH"),
    ("DRONE_REPO_LINK", "CI_REPO_URL"),
    ("DRONE_REPO_NAME", "CI_REPO_NAME"),
    ("DRONE_REPO_OWNER", "CI_REPO_OWNER"),
    ("DRONE_REPO_PRIVATE", "CI_REPO_PRIVATE"),
    ("DRONE_SOURCE_BRANCH", "CI_COMMIT_SOURCE_BRANCH"),
    ("DRONE_STEP_NUMBER", "CI_STEP_NUMBER"),
    ("DRONE_SYSTEM_HOST", "CI_SYSTEM_HOST"),
    ("DRONE_TAG", "CI_COMMIT_TAG"),
    ("DRONE_TARGET_BRANCH", "CI_COMMIT_TARGET_BRANCH"),
    ("PULLREQUEST_DRONE_PULL_REQUEST", "CI_COMMIT_PULL_REQUEST"),
];

/// The variables that the agent adds. They win over the step's own of the same names.
pub fn at_start(step: &Step, start: &StepStart) -> BTreeMap<String, String> {
    let mut added = BTreeMap::new();
    let mut add = |name: &str, value: &str| added.insert(name.to_owned(), value.to_owned());
    if step.spec.kind == StepKind::Plugin {
        add("DRONE_BUILD_STATUS", start.status.as_str());
        add("DRONE_REPO_SCM", "git");
        add("PULLREQUEST_DRONE_PULL_REQUEST", "0");
        for (name, source) in DRONE {
            if let Some(value) = step.spec.environment.get(*source) {
                add(name, value);
            }
        }
    }
    add("CI_MACHINE", &start.machine);
    add("CI_SYSTEM_PLATFORM", &start.platform);
    add("CI_PIPELINE_STATUS", start.status.as_str());
    add("CI_PIPELINE_STARTED", &start.workflow_started.as_second().to_string());
    add("CI_STEP_STARTED", &start.step_started.as_second().to_string());
    add("CI_STEP_TYPE", kind(step.spec.kind));
    add("CI_STEP_NAME", &step.spec.name);
    added
}

/// The trace's variables, as OpenTelemetry's tools read them. A step that has a trace of its own keeps it whole.
pub fn of_trace(step: &Step, start: &StepStart) -> BTreeMap<String, String> {
    const PARENT: &str = "TRACEPARENT";
    let spec = &step.spec;
    let has_own = spec.environment.contains_key(PARENT) || spec.secret_environment.contains_key(PARENT);
    let Some(context) = start.trace.as_ref().filter(|_| !has_own) else { return BTreeMap::new() };
    let state = (!context.state.is_empty()).then(|| ("TRACESTATE".to_owned(), context.state.clone()));
    [(PARENT.to_owned(), context.parent())].into_iter().chain(state).collect()
}

fn kind(kind: StepKind) -> &'static str {
    match kind {
        StepKind::Clone => "clone",
        StepKind::Service => "service",
        StepKind::Plugin => "plugin",
        StepKind::Commands => "commands",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;
    use piculet_core::id::{StepIndex, WorkflowId};
    use piculet_core::trace::Context;
    use piculet_core::workload::{StageSpec, StepKind, StepSpec, Workload, WorkloadSpec};

    use super::{PipelineStatus, StepStart, at_start};

    fn workload(kind: StepKind, environment: BTreeMap<String, String>) -> Workload {
        let (id, name, image) = ("01K3".to_owned(), "notify".to_owned(), "plugins/notify".to_owned());
        let step = StepSpec { id, name, image, kind, environment, ..StepSpec::default() };
        let spec = WorkloadSpec { stages: vec![StageSpec { steps: vec![step] }], ..WorkloadSpec::default() };
        Workload::new(WorkflowId::new("1"), spec).unwrap()
    }

    fn start(trace: Option<Context>) -> StepStart {
        StepStart {
            status: PipelineStatus::Failure,
            workflow_started: Timestamp::from_second(1_700_000_000).unwrap(),
            step_started: Timestamp::from_second(1_700_000_060).unwrap(),
            machine: "agent-0".to_owned(),
            platform: "linux/arm64".to_owned(),
            node: None,
            trace,
        }
    }

    fn added(kind: StepKind, environment: &[(&str, &str)]) -> BTreeMap<String, String> {
        let environment = environment.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        at_start(workload(kind, environment).step(StepIndex(0)), &start(None))
    }

    #[test]
    fn a_step_goes_on_with_the_trace_unless_it_has_its_own() {
        let context = |state| Context::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", state).unwrap();
        let of_trace = |environment: &[(&str, &str)], trace| {
            let environment = environment.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
            let (workload, start) = (workload(StepKind::Commands, environment), start(trace));
            super::of_trace(workload.step(StepIndex(0)), &start)
        };
        let set = of_trace(&[], Some(context("a=b")));
        assert_eq!(set["TRACEPARENT"], "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        assert_eq!(set["TRACESTATE"], "a=b");
        assert_eq!(of_trace(&[], Some(context(""))).len(), 1, "an empty state is none");
        assert!(of_trace(&[("TRACEPARENT", "own")], Some(context("a=b"))).is_empty(), "half of ours would be wrong");
        assert!(of_trace(&[], None).is_empty());
    }

    #[test]
    fn every_step_learns_how_the_workflow_stands() {
        let added = added(StepKind::Commands, &[("CI_COMMIT_BRANCH", "main")]);
        let expected = [
            ("CI_MACHINE", "agent-0"),
            ("CI_PIPELINE_STARTED", "1700000000"),
            ("CI_PIPELINE_STATUS", "failure"),
            ("CI_STEP_NAME", "notify"),
            ("CI_STEP_STARTED", "1700000060"),
            ("CI_STEP_TYPE", "commands"),
            ("CI_SYSTEM_PLATFORM", "linux/arm64"),
        ];
        assert_eq!(added, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    }

    #[test]
    fn plugins_get_drones_names_of_what_there_is() {
        let added = added(
            StepKind::Plugin,
            &[("CI_COMMIT_BRANCH", "main"), ("CI_REPO_CLONE_URL", "https://x/y.git"), ("CI_PIPELINE_STARTED", "5")],
        );
        for (name, value) in [
            ("DRONE_BRANCH", Some("main")),
            ("DRONE_COMMIT_BRANCH", Some("main")),
            ("DRONE_REMOTE_URL", Some("https://x/y.git")),
            ("DRONE_GIT_HTTP_URL", Some("https://x/y.git")),
            ("DRONE_BUILD_STARTED", Some("5")),
            ("DRONE_BUILD_STATUS", Some("failure")),
            ("DRONE_REPO_SCM", Some("git")),
            ("PULLREQUEST_DRONE_PULL_REQUEST", Some("0")),
            ("DRONE_TAG", None),
            ("DRONE_PULL_REQUEST", None),
        ] {
            assert_eq!(added.get(name).map(String::as_str), value, "{name}");
        }
        let with_request = self::added(StepKind::Plugin, &[("CI_COMMIT_PULL_REQUEST", "7")]);
        assert_eq!(with_request["PULLREQUEST_DRONE_PULL_REQUEST"], "7");
        assert_eq!(with_request["DRONE_PULL_REQUEST"], "7");
    }
}
