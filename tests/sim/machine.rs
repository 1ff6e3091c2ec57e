//! What the steps of a plan do, and the account of what they really did.

use std::sync::Arc;

use fake_cluster::recording::{Recording, Run};
use fake_cluster::{Script, ScriptedRuntime};

use crate::plan::StepPlan;

/// The containers of a cluster.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    scripts: Arc<ScriptedRuntime>,
    pub(crate) runtime: Arc<Recording>,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let scripts = ScriptedRuntime::new();
        Self { runtime: Recording::of(scripts.clone()), scripts }
    }

    /// What a step does from now on.
    pub(crate) fn learns(&self, step: &StepPlan) {
        let mut script = Script::new().pull_takes(step.pull);
        for number in 0..step.lines {
            script = script.line(&step.line(number)).wait(step.pace);
        }
        self.scripts.on_label("step", &step.name, script.exit(step.exit_code));
    }

    /// What ran of a step.
    pub(crate) fn runs(&self, step: &str) -> Vec<Run> {
        self.runtime.runs("step", step)
    }
}
