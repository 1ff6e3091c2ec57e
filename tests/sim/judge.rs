//! What must hold, whatever happened.

use std::collections::BTreeMap;
use std::time::Duration;

use fake_cluster::recording::Run;
use fake_cluster::runtime::Exit;
use futures_util::FutureExt as _;
use piculet_core::id::WorkflowId;
use piculet_core::outcome::StepState;
use piculet_core::workload::FailurePolicy;
use server_stub::dispatch::State;
use server_stub::view::{StepView, WorkflowView};

use crate::plan::{Plan, StepPlan, WorkflowPlan};
use crate::world::World;

/// How much later than all that happens everything has to be over: the longest that anything waits for.
const PATIENCE: Duration = Duration::from_secs(30 * 60);

/// Looks at a simulation while it runs, and at its end.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    /// How workflows ended, as it was first seen.
    ends: BTreeMap<String, WorkflowView>,
    pub(crate) violations: Vec<String>,
}

impl Judge {
    /// Looks. True if everything is over, or something is wrong.
    pub(crate) fn look(&mut self, world: &World, plan: &Plan) -> bool {
        let Some(server) = world.server.lock().unwrap().clone() else { return false };
        // What isn't stored may come to nothing, if the server is killed now.
        if !server.is_settled() {
            return false;
        }
        let accepted = world.accepted.lock().unwrap().clone();
        let mut all_over = accepted.len() == plan.workflows.len() || world.is_calm();
        for id in &accepted {
            match server.workflow(id.as_str()) {
                Err(error) => self.violations.push(format!("{id} was accepted and is gone: {error}")),
                Ok(view) if !view.state.is_final() => all_over = false,
                Ok(view) => match self.ends.get(id.as_str()) {
                    None => _ = self.ends.insert(id.to_string(), view),
                    Some(end) if *end != view => {
                        self.violations.push(format!("{id} ended, and then looked different: {end:?}, {view:?}"));
                    }
                    Some(_) => {}
                },
            }
        }
        let last = plan.workflows.iter().map(|workflow| workflow.at).chain(plan.faults.iter().map(|(at, _)| *at)).max();
        let is_late = world.sim.elapsed() > last.unwrap_or_default() + PATIENCE;
        if is_late {
            let open = accepted.iter().filter(|id| !self.ends.contains_key(id.as_str())).map(ToString::to_string);
            let open: Vec<_> = open.collect();
            self.violations
                .push(format!("after {PATIENCE:?} these run: {open:?}, and these are left: {:?}", world.left()));
        }
        (all_over && world.is_calm() && world.left().is_empty()) || !self.violations.is_empty()
    }

    /// Judges what became of everything.
    pub(crate) fn judge(&mut self, world: &World, plan: &Plan) {
        let Some(server) = world.server.lock().unwrap().clone() else {
            self.violations.push("there is no server at the end".to_owned());
            return;
        };
        for workflow in &plan.workflows {
            let Some(view) = self.ends.get(&workflow.name).cloned() else { continue };
            let is_touched =
                workflow.cancelled.is_some() || workflow.steps().any(|step| world.evicted.contains(&step.name));
            if !is_touched {
                self.ended_as_planned(workflow, &view);
            }
            for step in workflow.steps() {
                let Some(shown) = view.steps.iter().find(|shown| shown.name == step.name) else {
                    self.violations.push(format!("{} has no step {}", view.id, step.name));
                    continue;
                };
                let runs: Vec<_> = world.machines.iter().flat_map(|machine| machine.runs(&step.name)).collect();
                let page = server.log_page(&view.id, &step.name, 0, usize::MAX).now_or_never();
                let Some(Ok(page)) = page else {
                    self.violations.push(format!("the log of {} can't be read", step.name));
                    continue;
                };
                let log: Vec<_> = page
                    .lines
                    .iter()
                    .map(|line| (line.number, String::from_utf8_lossy(&line.bytes).into_owned()))
                    .collect();
                let was_evicted = world.evicted.iter().filter(|evicted| **evicted == step.name).count();
                self.told_the_truth(step, shown, &runs);
                self.ran_once(step, &runs, was_evicted);
                let was_ended = was_evicted > 0 || workflow.cancelled.is_some();
                self.has_the_whole_log(step, shown, &runs, &log, was_ended);
            }
        }
        self.nobody_complained(world, plan);
    }

    fn wrong(&mut self, text: String) {
        self.violations.push(text);
    }

    fn ended_as_planned(&mut self, workflow: &WorkflowPlan, view: &WorkflowView) {
        let mut failed = false;
        for stage in &workflow.stages {
            let before = failed;
            for step in stage {
                let expected = match step.exit_code {
                    _ if before => StepState::Skipped,
                    0 => StepState::Success,
                    _ => StepState::Failure,
                };
                failed |= !before && step.exit_code != 0 && step.failure != FailurePolicy::Ignore;
                if let Some(shown) = view.steps.iter().find(|shown| shown.name == step.name)
                    && shown.state != expected
                {
                    self.wrong(format!(
                        "{} should be {expected:?} and is {:?}: {}",
                        step.name, shown.state, shown.error
                    ));
                }
            }
        }
        let expected = if failed { State::Failure } else { State::Success };
        if view.state != expected {
            self.wrong(format!("{} should be {expected:?} and is {:?}: {}", view.id, view.state, view.error));
        }
    }

    fn told_the_truth(&mut self, step: &StepPlan, shown: &StepView, runs: &[Run]) {
        let last = runs.last().and_then(|run| run.exit);
        let is_true = match shown.state {
            StepState::Success => last == Some(Exit::Code(0)),
            // One whose image was still being pulled did nothing.
            StepState::Skipped | StepState::Canceled => {
                runs.iter().all(|run| run.exit.is_none() && run.output.is_empty())
            }
            StepState::Pending | StepState::Running => false,
            StepState::Failure | StepState::Killed => true,
        };
        if !is_true {
            self.wrong(format!(
                "{} is shown as {:?}, and its containers ended with {:?}",
                step.name,
                shown.state,
                ends(runs)
            ));
        }
        if let Some(code) = shown.exit_code
            && shown.outcome.as_deref() == Some("exited")
            && last.map(code_of) != Some(code)
        {
            self.wrong(format!("{} is shown with exit code {code}, and ended with {last:?}", step.name));
        }
    }

    fn ran_once(&mut self, step: &StepPlan, runs: &[Run], evicted: usize) {
        let allowed = (1 + evicted).min(step.max_attempts as usize);
        if runs.len() > allowed {
            self.wrong(format!("{} ran {} times, and may have run {allowed} times", step.name, runs.len()));
        }
    }

    /// What the containers printed, in the order in which they ran; and between that only what the agent adds.
    /// `was_ended`: somebody stopped or evicted it.
    fn has_the_whole_log(
        &mut self,
        step: &StepPlan,
        shown: &StepView,
        runs: &[Run],
        log: &[(u64, String)],
        was_ended: bool,
    ) {
        let is_own = |line: &str| line.starts_with("[piculet] ");
        let printed: Vec<String> = runs
            .iter()
            .flat_map(|run| String::from_utf8_lossy(&run.output).lines().map(ToOwned::to_owned).collect::<Vec<_>>())
            .collect();
        let stored: Vec<_> = log.iter().map(|(_, line)| line.clone()).filter(|line| !is_own(line)).collect();
        // A node removes the logs of what was stopped or evicted. Who can't read them in time has to say so.
        let may_lack = was_ended && log.iter().any(|(_, line)| is_own(line) && announces_a_loss(line));
        let differs = (0..printed.len().max(stored.len())).find(|&at| printed.get(at) != stored.get(at));
        if let Some(at) = differs.filter(|_| !may_lack || !is_part(&stored, &printed)) {
            let said: Vec<_> = log.iter().filter(|(_, line)| is_own(line)).collect();
            self.wrong(format!(
                "the log of {} ({:?}) has {} of {} lines, and differs at {at}: printed {:?}, stored {:?}; piculet said {said:?}",
                step.name,
                shown.state,
                stored.len(),
                printed.len(),
                printed.get(at),
                stored.get(at)
            ));
        }
        if let Some(at) = (0..).zip(log).position(|(number, (stored, _))| number != *stored) {
            self.wrong(format!("the log of {} has a hole at {at}", step.name));
        }
        if let Some(complaint) = &shown.log_complaint {
            self.wrong(format!("the log of {}: {complaint}", step.name));
        }
    }

    /// Without a fault nobody has anything to warn of.
    fn nobody_complained(&mut self, world: &World, plan: &Plan) {
        for line in world.diary.lines() {
            let mut words = line.split_whitespace().skip(1);
            let is_complaint = match words.next() {
                Some("ERROR") => true,
                Some("WARN") => plan.faults.is_empty(),
                _ => false,
            };
            if is_complaint {
                self.wrong(format!("somebody complained: {line}"));
            }
        }
    }
}

/// Whether the agent says with this line that some of the log is not there.
fn announces_a_loss(line: &str) -> bool {
    ["is lost", "could not be checked", "may be missing"].iter().any(|words| line.contains(words))
}

/// Whether these lines are among those, in the same order.
fn is_part(some: &[String], all: &[String]) -> bool {
    let mut all = all.iter();
    some.iter().all(|line| all.any(|other| other == line))
}

fn ends(runs: &[Run]) -> Vec<Option<Exit>> {
    runs.iter().map(|run| run.exit).collect()
}

/// The exit code that a kubelet shows.
fn code_of(exit: Exit) -> i32 {
    match exit {
        Exit::Code(code) => code,
        Exit::Signal(signal) => 128 + signal,
        Exit::OutOfMemory => 137,
    }
}

/// The id of a workflow of the plan.
pub(crate) fn id(workflow: &WorkflowPlan) -> WorkflowId {
    WorkflowId::new(workflow.name.as_str())
}
