//! What must hold, whatever happened.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _};
use std::time::Duration;

use fake_cluster::runtime::Exit;
use piculet_core::id::WorkflowId;
use piculet_core::outcome::StepState;
use piculet_core::workload::FailurePolicy;
use server_stub::dispatch::State;

use crate::complaints;
use crate::machine::TimedRun;
use crate::plan::{Plan, StepPlan, WorkflowPlan};
use crate::service::Protocol;
use crate::shown::{Step, Workflow};
use crate::tally::Tally;
use crate::world::{Cancel, EPOCH, World};

/// How much later than all that happens everything has to be over: the longest that anything waits for.
const PATIENCE: Duration = Duration::from_secs(30 * 60);

/// How much later than all that happens an agent that has a workflow would have said so.
const OUT_OF_HAND: Duration = Duration::from_secs(15 * 60);

/// What keeps the answer of a server from its agent.
const LOSES_ANSWERS: &[&str] = &["ServerUnreachable", "ServerDeaf", "ServerMute", "ServerSlow", "ServerKilled"];

/// How long before a workflow's end a stored cancel has to have had its effect, and how long an agent may need to
/// stop what is about to start; if nobody is cut off.
const STOP_TAKES: Duration = Duration::from_secs(5);
/// What keeps agents from hearing of a cancel, or clusters from hearing of it from them.
const DELAYS_STOPS: &[&str] = &[
    "ServerUnreachable",
    "ServerDeaf",
    "ServerMute",
    "ServerSlow",
    "ServerKilled",
    "ClusterUnreachable",
    "AgentKilled",
];
/// What the server says of a workflow whose agent doesn't come back.
const LOST: &str = "went away with the workflow";

/// Looks at a simulation while it runs, and at its end.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    /// Workflows that the server had stored when it was looked at.
    known: BTreeSet<String>,
    /// Workflows that a Woodpecker server gave to an agent, and nobody got.
    out_of_hand: BTreeSet<String>,
    /// How workflows ended, as it was first seen.
    ends: BTreeMap<String, Workflow>,
    pub(crate) violations: Vec<String>,
    pub(crate) tally: Tally,
    /// Of the final views and all logs.
    pub(crate) digest: DefaultHasher,
}

/// What decided how a workflow ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Its plan.
    Planned,
    /// Somebody stopped it, and this became of the wish.
    Cancelled(Cancel),
    /// Its agent is gone.
    Lost,
}

impl Judge {
    /// Looks, once a second. True if everything is over, or something is wrong.
    pub(crate) fn look(&mut self, world: &World, plan: &Plan) -> bool {
        let cancelled = plan.workflows.iter().filter(|workflow| workflow.cancelled.is_some());
        for step in cancelled.flat_map(WorkflowPlan::steps) {
            for machine in &world.machines {
                machine.watch(&step.name, world.sim.elapsed());
            }
        }
        let Some(server) = world.server.lock().unwrap().clone() else { return false };
        // What isn't stored may come to nothing, if the server is killed now.
        if !server.is_settled() {
            return false;
        }
        let accepted = world.answers.lock().unwrap().accepted.clone();
        self.known.extend(accepted.iter().map(ToString::to_string));
        let views: BTreeMap<_, _> = server.workflows().into_iter().map(|view| (view.id.clone(), view)).collect();
        self.known.extend(views.keys().cloned());
        let gone: Vec<_> = self.known.iter().filter(|id| !views.contains_key(*id)).cloned().collect();
        for id in gone {
            self.wrong(format!("the server had {id}, and now it is gone"));
        }
        let last = plan.workflows.iter().map(|workflow| workflow.at).chain(plan.faults.iter().map(|(at, _)| *at)).max();
        let is_late = world.sim.elapsed() > last.unwrap_or_default() + OUT_OF_HAND;
        let mut open = Vec::new();
        for (id, view) in views {
            match self.ends.get(&id) {
                Some(end) if *end != view => {
                    self.violations.push(format!("{id} ended, and then looked different: {end:?}, {view:?}"));
                }
                Some(_) => {}
                None if view.state.is_final() => _ = self.ends.insert(id, view),
                // Woodpecker's server lost it on the way to an agent, and gives it to nobody any more.
                None if view.is_out_of_hand && is_late => _ = self.out_of_hand.insert(id),
                None => open.push(id),
            }
        }
        let left = world.left(&self.lost());
        if world.sim.elapsed() > last.unwrap_or_default() + PATIENCE {
            self.wrong(format!("after {PATIENCE:?} these run: {open:?}, and these are left: {left:?}"));
        }
        (open.is_empty() && world.is_calm() && left.is_empty()) || !self.violations.is_empty()
    }

    /// The ids of workflows that ended because nobody came back for them.
    fn lost(&self) -> BTreeSet<String> {
        self.ends.values().filter(|end| end.error.contains(LOST)).map(|end| end.id.clone()).collect()
    }

    /// Judges what became of everything.
    pub(crate) fn judge(&mut self, world: &World, plan: &Plan) {
        let Some(server) = world.server.lock().unwrap().clone() else {
            self.wrong("there is no server at the end".to_owned());
            return;
        };
        let (refused, cancels) = {
            let answers = world.answers.lock().unwrap();
            (answers.refused.clone(), answers.cancels.clone())
        };
        for refused in refused {
            self.wrong(format!("the server refused {refused}"));
        }
        for workflow in &plan.workflows {
            let Some(view) = self.ends.get(&workflow.name).cloned() else {
                if self.out_of_hand.contains(&workflow.name) && plan.has(LOSES_ANSWERS) {
                    self.tally.add("workflows lost on the way to an agent", 1);
                } else if !plan.has(&["ServerKilled"]) {
                    self.wrong(format!("the server doesn't know {}", workflow.name));
                }
                continue;
            };
            format!("{view:?}").hash(&mut self.digest);
            self.tally.add(&format!("workflows {:?}", view.state), 1);
            let fate = self.fate(world, &view, cancels.get(&workflow.name).copied());
            let evicted = |step: &StepPlan| world.evicted.iter().filter(|evicted| **evicted == step.name).count();
            let has_attempts_left = |step: &StepPlan| evicted(step) < step.max_attempts as usize;
            let is_planned = matches!(fate, Fate::Planned | Fate::Cancelled(Cancel::Late));
            if is_planned && workflow.steps().all(has_attempts_left) {
                self.ended_as_planned(workflow, &view);
            }
            for step in workflow.steps() {
                let Some(shown) = view.steps.iter().find(|shown| shown.name == step.name) else {
                    self.wrong(format!("{} has no step {}", view.id, step.name));
                    continue;
                };
                let runs: Vec<_> = world.machines.iter().flat_map(|machine| machine.runs(&step.name)).collect();
                let Some(log) = server.log(&view.id, &step.name) else {
                    self.wrong(format!("the log of {} can't be read", step.name));
                    continue;
                };
                log.hash(&mut self.digest);
                let was_evicted = evicted(step);
                self.tally.add("steps run", usize::from(!runs.is_empty()));
                self.tally.add("lines compared", log.len());
                self.tally.add("pods evicted", was_evicted);
                self.ran_once(step, &runs, was_evicted);
                self.spoke_once(step, &log);
                if fate == Fate::Lost {
                    self.has_nothing_else(step, &runs, &log);
                    continue;
                }
                // Of steps that it takes for pending Woodpecker's server decides itself when somebody cancels.
                let is_servers_word = world.protocol == Protocol::Woodpecker
                    && matches!(fate, Fate::Cancelled(_))
                    && shown.state == StepState::Canceled;
                if !is_servers_word {
                    self.told_the_truth(step, shown, &runs);
                }
                if is_planned && shown.state == StepState::Failure {
                    self.told_why(step, shown, &runs, was_evicted);
                }
                if was_evicted > 0 {
                    self.tally.add("retries after eviction", runs.len().saturating_sub(1));
                    if is_planned && has_attempts_left(step) {
                        self.was_tried_again(step, &runs);
                    }
                }
                if let Fate::Cancelled(Cancel::Stored(at)) = fate
                    && !is_servers_word
                {
                    self.ended_before(step, shown, &runs, at, was_evicted);
                }
                let was_ended = was_evicted > 0 || !is_planned;
                self.has_the_whole_log(step, shown, &runs, &log, was_ended, plan.has(&["ClusterUnreachable"]));
            }
            if let Fate::Cancelled(Cancel::Stored(at)) = fate {
                let has_stopped = matches!(view.state, State::Killed | State::Canceled);
                self.tally.add("cancels that took effect", usize::from(has_stopped));
                if !plan.has(DELAYS_STOPS) {
                    self.stopped(world, workflow, &view, at);
                }
            }
        }
        for line in complaints::unexplained(&world.diary.lines(), plan) {
            self.wrong(format!("somebody complained: {line}"));
        }
    }

    fn fate(&mut self, world: &World, view: &Workflow, cancel: Option<Cancel>) -> Fate {
        let killed = view.agent.as_deref().and_then(|agent| world.killed.get(agent)).copied();
        let is_lost = view.error.contains(LOST);
        let ended_after = |at: Duration| finished(view) > at + Duration::from_secs(2);
        if is_lost != killed.is_some_and(ended_after) {
            self.wrong(format!("{}: its agent was killed at {killed:?}, and it ended: {view:?}", view.id));
        }
        if !is_lost {
            return cancel.map_or(Fate::Planned, Fate::Cancelled);
        }
        if view.state != State::Failure && !(cancel.is_some() && view.state == State::Killed) {
            self.wrong(format!("{} was lost with its agent, and is {:?}", view.id, view.state));
        }
        Fate::Lost
    }

    fn wrong(&mut self, text: String) {
        self.violations.push(text);
    }

    fn ended_as_planned(&mut self, workflow: &WorkflowPlan, view: &Workflow) {
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

    /// A step that was evicted and may run again does, and that run decides.
    fn was_tried_again(&mut self, step: &StepPlan, runs: &[TimedRun]) {
        let last = runs.last().and_then(|run| run.run.exit);
        if last != Some(Exit::Code(step.exit_code)) {
            self.wrong(format!("{} was evicted, had attempts left, and ended with {:?}", step.name, ends(runs)));
        }
    }

    /// A step that had ended by itself before its workflow was stopped keeps its end.
    fn ended_before(&mut self, step: &StepPlan, shown: &Step, runs: &[TimedRun], cancel: Duration, evicted: usize) {
        let Some(TimedRun { run, ended: Some(ended), .. }) = runs.last() else { return };
        let expected = if step.exit_code == 0 { StepState::Success } else { StepState::Failure };
        let ended_itself = evicted == 0 && run.exit == Some(Exit::Code(step.exit_code)) && *ended < cancel;
        if ended_itself && shown.state != expected {
            self.wrong(format!(
                "{} ended at {ended:?}, before the cancel at {cancel:?}, and is {:?}: {}",
                step.name, shown.state, shown.error
            ));
        }
    }

    /// A cancel that was stored while the workflow ran stops it, and nothing starts any more.
    fn stopped(&mut self, world: &World, workflow: &WorkflowPlan, view: &Workflow, cancel: Duration) {
        let has_stopped = matches!(view.state, State::Killed | State::Canceled);
        if finished(view) > cancel + STOP_TAKES && !has_stopped {
            self.wrong(format!("{} was cancelled at {cancel:?}, and ended as {view:?}", view.id));
        }
        for step in workflow.steps() {
            for run in world.machines.iter().flat_map(|machine| machine.runs(&step.name)) {
                if has_stopped && run.started.is_some_and(|started| started > cancel + STOP_TAKES) {
                    self.wrong(format!("{} started at {:?}, after the cancel at {cancel:?}", step.name, run.started));
                }
            }
        }
    }

    /// The agent doesn't repeat itself.
    fn spoke_once(&mut self, step: &StepPlan, log: &[(u64, String)]) {
        for (line, next) in log.iter().zip(log.iter().skip(1)) {
            if is_own(&line.1) && line.1 == next.1 {
                self.wrong(format!("the log of {} says twice: {}", step.name, line.1));
            }
        }
    }

    /// What is stored of a step whose agent is gone was printed, in that order.
    fn has_nothing_else(&mut self, step: &StepPlan, runs: &[TimedRun], log: &[(u64, String)]) {
        let stored: Vec<_> = log.iter().map(|(_, line)| line.clone()).filter(|line| !is_own(line)).collect();
        if !is_cut_short(&stored, runs) {
            self.wrong(format!("the log of {}, whose agent is gone, has lines that were never printed", step.name));
        }
    }

    fn told_the_truth(&mut self, step: &StepPlan, shown: &Step, runs: &[TimedRun]) {
        let last = runs.last().and_then(|run| run.run.exit);
        let is_true = match shown.state {
            StepState::Success => last == Some(Exit::Code(0)),
            // One whose image was still being pulled did nothing.
            StepState::Skipped | StepState::Canceled => {
                runs.iter().all(|run| run.run.exit.is_none() && run.run.output.is_empty())
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

    /// Nobody stopped it: it failed by its own exit code, or by the eviction that ended its last run. Of one that was
    /// evicted in the moment of its end a kubelet says that it was evicted.
    fn told_why(&mut self, step: &StepPlan, shown: &Step, runs: &[TimedRun], evicted: usize) {
        let last = runs.last().and_then(|run| run.run.exit);
        let expected = match last {
            Some(Exit::Code(_)) if evicted == 0 => "exited",
            Some(Exit::Signal(_)) if evicted > 0 => "evicted",
            _ => return,
        };
        if shown.outcome.as_deref() != Some(expected) {
            self.wrong(format!("{} was {expected} ({last:?}), and is shown as {:?}", step.name, shown.outcome));
        }
    }

    fn ran_once(&mut self, step: &StepPlan, runs: &[TimedRun], evicted: usize) {
        let allowed = (1 + evicted).min(step.max_attempts as usize);
        if runs.len() > allowed {
            self.wrong(format!("{} ran {} times, and may have run {allowed} times", step.name, runs.len()));
        }
    }

    /// What the containers printed, in the order in which they ran; and between that only what the agent adds.
    /// `was_ended`: somebody stopped or evicted it. `was_cut_off`: some cluster could not be reached for a while.
    fn has_the_whole_log(
        &mut self,
        step: &StepPlan,
        shown: &Step,
        runs: &[TimedRun],
        log: &[(u64, String)],
        was_ended: bool,
        was_cut_off: bool,
    ) {
        let printed = printed(runs);
        let stored: Vec<_> = log.iter().map(|(_, line)| line.clone()).filter(|line| !is_own(line)).collect();
        // A node removes the logs of what was stopped or evicted. Who can't read them in time has to say so.
        let announced = log.iter().map(|(_, line)| line).find(|line| is_own(line) && announces_a_loss(line));
        let may_lack = was_ended && announced.is_some();
        let differs = (0..printed.len().max(stored.len())).find(|&at| printed.get(at) != stored.get(at));
        if let Some(at) = differs.filter(|_| !may_lack || !is_cut_short(&stored, runs)) {
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
        if let Some(line) = announced.filter(|_| differs.is_none() && !was_ended && !was_cut_off) {
            self.wrong(format!("the log of {} is whole, and says: {line}", step.name));
        }
        if let Some(at) = (0..).zip(log).position(|(number, (stored, _))| number != *stored) {
            self.wrong(format!("the log of {} has a hole at {at}", step.name));
        }
        if let Some(complaint) = &shown.log_complaint {
            self.wrong(format!("the log of {}: {complaint}", step.name));
        }
    }
}

fn is_own(line: &str) -> bool {
    line.starts_with("[piculet] ")
}

/// All that the containers printed, in the order in which they ran.
fn printed(runs: &[TimedRun]) -> Vec<String> {
    runs.iter().flat_map(lines).collect()
}

fn lines(run: &TimedRun) -> Vec<String> {
    String::from_utf8_lossy(&run.run.output).lines().map(ToOwned::to_owned).collect()
}

/// When a workflow ended, by the time of the simulation.
fn finished(view: &Workflow) -> Duration {
    let finished = view.finished.unwrap_or(EPOCH);
    Duration::try_from(finished.duration_since(EPOCH)).unwrap_or_default()
}

/// Whether the agent says with this line that some of the log is not there.
fn announces_a_loss(line: &str) -> bool {
    ["is lost", "could not be checked", "may be missing", "could not be read"].iter().any(|words| line.contains(words))
}

/// Whether these are the lines of the runs, each of them whole or cut off at its end.
fn is_cut_short(stored: &[String], runs: &[TimedRun]) -> bool {
    // All places up to which the runs so far can account for what is stored: runs print the same lines again, so that
    // where one was cut off is not always clear.
    let reached = runs.iter().fold(BTreeSet::from([0]), |reached, run| {
        let printed = lines(run);
        let ends = reached.into_iter().flat_map(|at: usize| {
            let same = printed.iter().zip(&stored[at..]).take_while(|(printed, stored)| printed == stored).count();
            at..=at + same
        });
        ends.collect()
    });
    reached.contains(&stored.len())
}

fn ends(runs: &[TimedRun]) -> Vec<Option<Exit>> {
    runs.iter().map(|run| run.run.exit).collect()
}

/// The exit code that a kubelet shows.
fn code_of(exit: Exit) -> i32 {
    match exit {
        Exit::Code(code) => code,
        Exit::Signal(signal) => 128 + signal,
        Exit::OutOfMemory(code) => code,
    }
}

/// The id of a workflow of the plan.
pub(crate) fn id(workflow: &WorkflowPlan) -> WorkflowId {
    WorkflowId::new(workflow.name.as_str())
}
