//! What runs, as the Woodpecker agent shows it.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use piculet_core::workload::Workload;
use serde_json::{Value, json};
use tokio::time::Instant;

/// How long after its time limit a workflow may still be there before something hangs.
const PATIENCE: Duration = Duration::from_secs(60 * 60);

/// What runs, and how many more may.
#[derive(Debug, Clone, Default)]
pub struct Roster {
    /// How many workflows the agent waits for.
    pub polling: u32,
    /// What runs, by workflow.
    pub running: BTreeMap<String, RunningWorkflow>,
}

/// A workflow that runs.
#[derive(Debug, Clone)]
pub struct RunningWorkflow {
    /// The repository; empty if the workflow doesn't say.
    pub repository: String,
    /// The number of its pipeline, likewise.
    pub pipeline: String,
    /// When it began, on the wall.
    pub started: Timestamp,
    /// The same moment, for its age.
    pub since: Instant,
    /// Its time limit.
    pub timeout: Duration,
}

impl RunningWorkflow {
    /// One that begins. What it belongs to is said by the environment of its first step.
    pub fn new(workload: &Workload, started: Timestamp, timeout: Duration) -> Self {
        let environment = workload.indexed().next().map(|(_, step)| &step.spec.environment);
        let get = |name: &str| environment.and_then(|environment| environment.get(name)).cloned().unwrap_or_default();
        let (repository, pipeline) = (get("CI_REPO"), get("CI_PIPELINE_NUMBER"));
        Self { repository, pipeline, started, since: Instant::now(), timeout }
    }
}

impl Roster {
    /// A workflow that should have ended long ago. A sentence.
    pub(super) fn fault(&self, now: Instant) -> Option<String> {
        let is_late = |run: &RunningWorkflow| now.duration_since(run.since) > run.timeout.saturating_add(PATIENCE);
        let (id, _) = self.running.iter().find(|(_, run)| is_late(run))?;
        Some(format!("workflow {id} is still there more than an hour after its time limit\n"))
    }

    /// As the Woodpecker agent writes it; times in RFC 3339 and nanoseconds.
    pub(super) fn to_json(&self) -> Value {
        let running = self.running.iter().map(|(id, run)| {
            let about = json!({
                "id": id,
                "repository": run.repository,
                "pipeline_number": run.pipeline,
                "pipeline_started": run.started.to_string(),
                "pipeline_timeout": u64::try_from(run.timeout.as_nanos()).unwrap_or(u64::MAX),
            });
            (id.clone(), about)
        });
        json!({
            "polling_count": self.polling,
            "running_count": self.running.len(),
            "running": running.collect::<serde_json::Map<_, _>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use jiff::Timestamp;
    use piculet_core::id::WorkflowId;
    use piculet_core::workload::{StageSpec, StepSpec, Workload, WorkloadSpec};
    use serde_json::json;
    use tokio::time::Instant;

    use super::{Roster, RunningWorkflow};

    const HOUR: Duration = Duration::from_secs(60 * 60);

    fn roster(environment: &[(&str, &str)]) -> Roster {
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let text = || "a".to_owned();
        let step = StepSpec { id: text(), name: text(), image: text(), environment, ..StepSpec::default() };
        let spec = WorkloadSpec { stages: vec![StageSpec { steps: vec![step] }], ..WorkloadSpec::default() };
        let workload = Workload::new(WorkflowId::new("4711"), spec).unwrap();
        let started = "2026-08-22T10:00:00Z".parse::<Timestamp>().unwrap();
        let run = RunningWorkflow::new(&workload, started, HOUR);
        Roster { polling: 2, running: BTreeMap::from([("4711".to_owned(), run)]) }
    }

    #[test]
    fn what_runs_is_shown_as_the_woodpecker_agent_does() {
        let roster = roster(&[("CI_REPO", "octo/cat"), ("CI_PIPELINE_NUMBER", "7")]);
        let about = json!({
            "id": "4711",
            "repository": "octo/cat",
            "pipeline_number": "7",
            "pipeline_started": "2026-08-22T10:00:00Z",
            "pipeline_timeout": 3_600_000_000_000u64,
        });
        let expected = json!({"polling_count": 2, "running_count": 1, "running": {"4711": about}});
        assert_eq!(roster.to_json(), expected);
        assert_eq!(Roster::default().to_json()["running"], json!({}));
        assert_eq!(super::Roster::default().fault(Instant::now()), None);
    }

    #[test]
    fn a_workflow_that_is_there_long_after_its_time_is_a_fault() {
        let roster = roster(&[]);
        let since = roster.running["4711"].since;
        assert_eq!(roster.fault(since + 2 * HOUR), None);
        let fault = roster.fault(since + 2 * HOUR + Duration::from_secs(1)).unwrap();
        assert!(fault.contains("workflow 4711"), "{fault}");
    }
}
