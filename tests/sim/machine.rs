//! What the steps of a plan do, and the account of what they really did.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fake_cluster::recording::{Recording, Run};
use fake_cluster::{Script, ScriptedRuntime};

use crate::plan::StepPlan;

/// The containers of a cluster.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    scripts: Arc<ScriptedRuntime>,
    pub(crate) runtime: Arc<Recording>,
    /// When the runs of watched steps were first seen to have started and ended.
    times: Arc<Mutex<BTreeMap<String, Vec<Times>>>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Times {
    started: Option<Duration>,
    ended: Option<Duration>,
}

/// One container of a step. Its times are known if the step was watched; they are when it was first seen.
#[derive(Debug, Clone)]
pub(crate) struct TimedRun {
    pub(crate) run: Run,
    pub(crate) started: Option<Duration>,
    pub(crate) ended: Option<Duration>,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let scripts = ScriptedRuntime::new();
        Self { runtime: Recording::of(scripts.clone()), scripts, times: Arc::default() }
    }

    /// What a step does from now on.
    pub(crate) fn learns(&self, step: &StepPlan) {
        let mut script = Script::new().pull_takes(step.pull);
        for number in 0..step.lines {
            script = script.line(&step.line(number)).wait(step.pace);
        }
        self.scripts.on_label("step", &step.name, script.exit(step.exit_code));
    }

    /// Looks at a step's runs, to know later when they started and ended.
    pub(crate) fn watch(&self, step: &str, now: Duration) {
        let runs = self.runtime.runs("step", step);
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let times = times.entry(step.to_owned()).or_default();
        times.resize(runs.len(), Times::default());
        for (times, run) in times.iter_mut().zip(&runs) {
            times.started.get_or_insert(now);
            if run.exit.is_some() {
                times.ended.get_or_insert(now);
            }
        }
    }

    /// What ran of a step.
    pub(crate) fn runs(&self, step: &str) -> Vec<TimedRun> {
        let times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let times = times.get(step).into_iter().flatten().copied().chain(std::iter::repeat(Times::default()));
        let runs = self.runtime.runs("step", step).into_iter().zip(times);
        runs.map(|(run, Times { started, ended })| TimedRun { run, started, ended }).collect()
    }
}
