//! From a file as it is written to a workload: which steps run, in which order, with what.

use std::collections::{BTreeMap, BTreeSet};

use piculet_core::id::WorkflowId;
use piculet_core::workload::{FailurePolicy, StageSpec, StepKind, StepSpec, Workload, WorkloadSpec};

use super::depends_on::stages;
use super::file::File;
use super::settings::{Flat, Secrets, flatten, plugin_variable};
use super::step::Step;
use super::when::{Decision, Facts, Scope};
use super::workspace::Workspace;
use crate::compiled::{CompiledWorkflow, FilteredWorkflow, RunsOn, SkippedStep, WorkflowDependency};
use crate::context::{Context, Event};
use crate::expression::Evaluator;
use crate::report::{Report, Span};
use crate::step_id::step_id;

/// What becomes of a workflow.
pub(super) enum Assembled {
    Runs(Box<CompiledWorkflow>),
    Filtered(FilteredWorkflow),
}

/// A workflow of a file: the file under one combination of its matrix.
pub(super) struct Assembly<'a> {
    pub(super) context: &'a Context,
    pub(super) file: &'a File,
    pub(super) name: String,
    pub(super) base_name: String,
    pub(super) axis: &'a BTreeMap<String, String>,
    /// `CI_*`.
    pub(super) built_in: &'a BTreeMap<String, String>,
    /// All that can be put into the file: built-in ones, the axis, variables.
    pub(super) variables: &'a BTreeMap<String, String>,
    /// Where in the file to say what is about all of it.
    pub(super) span: Span,
}

/// A step that runs.
struct Running<'a> {
    step: &'a Step,
    kind: StepKind,
    on_success: bool,
    on_failure: bool,
}

impl Assembly<'_> {
    pub(super) fn run(self, report: &mut Report<'_>) -> Assembled {
        let platform = self.file.labels.get("platform").map(String::as_str);
        let platform = platform.or(Some(self.context.system.platform.as_str())).filter(|platform| !platform.is_empty());
        let expressions = Evaluator::new(self.variables);
        let facts = Facts { context: self.context, axis: self.axis, expressions: &expressions, platform };
        let (on_success, on_failure) = match self.file.when.decide(&facts, Scope::Workflow, report) {
            // What is wrong in the steps is told as well.
            Decision::Skipped(_) if report.has_errors() => (true, false),
            Decision::Skipped(why) => return self.filtered(why),
            Decision::Runs { on_success, on_failure } => (on_success, on_failure),
        };
        let mut skipped = Vec::new();
        let default_clone = self.default_clone();
        let clone = match &default_clone {
            Some(step) => vec![Running { step, kind: StepKind::Clone, on_success: true, on_failure: false }],
            None if self.file.skip_clone => Vec::new(),
            None => self.running(&self.file.clone, StepKind::Clone, &facts, &mut skipped, report),
        };
        let mut services = self.running(&self.file.services, StepKind::Service, &facts, &mut skipped, report);
        drop_twins(&mut services, report);
        let others = skipped.len();
        let steps = self.running(&self.file.steps, StepKind::Commands, &facts, &mut skipped, report);
        if steps.is_empty() {
            let reasons: BTreeSet<&str> = skipped.iter().skip(others).map(|step| step.why.as_str()).collect();
            let reasons = reasons.into_iter().collect::<Vec<_>>().join("; ");
            if clone.is_empty() && services.is_empty() {
                return self.filtered(format!("no step is left: {reasons}"));
            }
            // The others run nevertheless, as in Woodpecker: workflows that depend on this one wait for its success.
            if !report.has_errors() {
                report.warning("no-step-left", self.span, format!("no step runs: {reasons}"));
            }
        }
        let order: Vec<&Step> = steps.iter().map(|running| running.step).collect();
        let levels = stages(&self.file.steps, &order, report);
        let mut groups: Vec<Vec<Running<'_>>> = clone.into_iter().map(|step| vec![step]).collect();
        if !services.is_empty() {
            groups.push(services);
        }
        let mut steps: Vec<Option<Running<'_>>> = steps.into_iter().map(Some).collect();
        groups.extend(levels.iter().map(|level| level.iter().filter_map(|&index| steps[index].take()).collect()));
        let spec = self.spec(groups, report);
        let says = |status: &str| self.file.runs_on.iter().any(|word| word == status);
        Assembled::Runs(Box::new(CompiledWorkflow {
            runs_on: RunsOn {
                success: if self.file.runs_on.is_empty() { on_success } else { says("success") },
                failure: on_failure || says("failure"),
            },
            name: self.name,
            base_name: self.base_name,
            axis: self.axis.clone(),
            spec,
            labels: self.file.labels.clone(),
            depends_on: self
                .file
                .depends_on
                .iter()
                .map(|other| WorkflowDependency { name: other.name.clone(), optional: other.optional })
                .collect(),
            concurrency: self.file.concurrency.clone(),
            skipped,
        }))
    }

    fn filtered(self, why: String) -> Assembled {
        let Self { name, base_name, axis, .. } = self;
        Assembled::Filtered(FilteredWorkflow { name, base_name, axis: axis.clone(), why })
    }

    /// The clone step that every workflow has unless it says otherwise.
    fn default_clone(&self) -> Option<Step> {
        if self.file.skip_clone || !self.file.clone.is_empty() || self.context.clone_image.is_empty() {
            return None;
        }
        let tags = self.context.event == Event::Tag;
        Some(Step::default_clone(&self.context.clone_image, tags, self.span))
    }

    /// Those of a section that run; the others are noted with the reason.
    fn running<'s>(
        &self,
        steps: &'s [Step],
        kind: StepKind,
        facts: &Facts<'_>,
        skipped: &mut Vec<SkippedStep>,
        report: &mut Report<'_>,
    ) -> Vec<Running<'s>> {
        let mut running = Vec::new();
        for step in steps {
            let kind = if kind == StepKind::Commands && step.is_plugin() { StepKind::Plugin } else { kind };
            match step.when.decide(facts, Scope::Step, report) {
                Decision::Runs { on_success, on_failure } => {
                    running.push(Running { step, kind, on_success, on_failure });
                }
                Decision::Skipped(why) => skipped.push(SkippedStep { name: step.name.clone(), why }),
            }
        }
        running
    }

    fn spec(&self, groups: Vec<Vec<Running<'_>>>, report: &mut Report<'_>) -> WorkloadSpec {
        let workspace = Workspace::new(self.file, self.context);
        let secrets = Secrets::new(&self.context.secrets);
        let mut names = Names::of_services(&groups);
        let mut position = 0;
        let mut stages = Vec::new();
        for group in groups {
            let mut steps = Vec::new();
            for running in &group {
                let name = names.unique(running, report);
                steps.push(self.step(running, name, position, &workspace, &secrets, report));
                position += 1;
            }
            stages.push(StageSpec { steps });
        }
        let spec = WorkloadSpec {
            name: self.name.clone(),
            labels: self.labels(),
            timeout_seconds: self.context.timeout_seconds,
            secrets: self.context.secrets.values().cloned().collect(),
            stages,
            ..WorkloadSpec::default()
        };
        // What compiled also runs: the agent's own check is the last word.
        if !report.has_errors()
            && let Err(error) = Workload::new(WorkflowId::new(""), spec.clone())
        {
            for problem in error.problems {
                report.error(problem.code, self.span, format!("{}: {}", problem.field, problem.message));
            }
        }
        spec
    }

    /// The file's labels, and what the server adds to them for those who look at pods.
    fn labels(&self) -> BTreeMap<String, String> {
        let repository = &self.context.repository;
        let mut labels = self.file.labels.clone();
        let own = [
            ("repo-full-name", repository.full_name()),
            ("repo-name", repository.name.clone()),
            ("branch", repository.default_branch.clone()),
            ("commit-branch", self.context.commit.branch.clone()),
            ("event", self.context.event.to_string()),
            ("forge-id", self.context.forge.kind.clone()),
            ("repo-forge-id", repository.remote_id.clone()),
        ];
        let own = own.into_iter().filter(|(_, value)| !value.is_empty());
        labels.extend(own.map(|(key, value)| (format!("woodpecker-ci.org/{key}"), value)));
        labels
    }

    fn step(
        &self,
        running: &Running<'_>,
        name: String,
        position: usize,
        workspace: &Workspace,
        secrets: &Secrets<'_>,
        report: &mut Report<'_>,
    ) -> StepSpec {
        let step = running.step;
        let detached = step.detach || running.kind == StepKind::Service;
        let mut spec = StepSpec {
            id: step_id(&self.context.id_prefix, &self.name, position),
            name,
            kind: running.kind,
            image: step.image.clone(),
            pull: step.pull,
            entrypoint: step.entrypoint.clone(),
            commands: step.commands.clone(),
            working_dir: workspace.working_dir(step),
            workspace_base: workspace.base(step),
            environment: self.built_in.clone(),
            on_success: running.on_success,
            on_failure: running.on_failure,
            // Nobody waits for its end, so its end can't fail anything.
            failure: if detached { FailurePolicy::Ignore } else { step.failure },
            detached: step.detach,
            privileged: step.privileged,
            volumes: step.volumes.clone(),
            ports: step.ports.clone(),
            dns: step.dns.clone(),
            dns_search: step.dns_search.clone(),
            extra_hosts: step.extra_hosts.clone(),
            kubernetes: step.kubernetes.clone(),
            ..StepSpec::default()
        };
        if !step.is_plugin() {
            spec.environment.extend(self.variables.clone());
        }
        let kind = match running.kind {
            StepKind::Clone => "clone",
            StepKind::Service => "service",
            StepKind::Plugin => "plugin",
            StepKind::Commands => "commands",
        };
        for (variable, value) in [
            ("CI_WORKSPACE", workspace.source(step)),
            ("CI_STEP_NAME", step.name.clone()),
            ("CI_STEP_NUMBER", position.to_string()),
            ("CI_STEP_TYPE", kind.to_owned()),
        ] {
            spec.environment.insert(variable.to_owned(), value);
        }
        add_parameters(step, &mut spec, secrets, report);
        spec
    }
}

/// Puts settings, variables and secrets into the environment of a step; later ones win.
fn add_parameters(step: &Step, spec: &mut StepSpec, secrets: &Secrets<'_>, report: &mut Report<'_>) {
    let owner = format!("{} '{}'", step.section.one(), step.name);
    for secret in &step.secrets {
        match secrets.get(&secret.source) {
            Some(value) => set(spec, &secret.target, Flat::Secret(value.clone())),
            None => {
                let message = format!("{owner} runs without the secret \"{}\": there is none", secret.source);
                report.warning("missing-legacy-secret", secret.span, message);
            }
        }
    }
    let settings = step.settings.iter().map(|setting| (plugin_variable(&setting.name), setting));
    let variables = step.environment.iter().map(|variable| (variable.name.clone(), variable));
    for (name, parameter) in settings.chain(variables) {
        if name.is_empty() || name.contains(['=', '\0']) {
            let message = format!("{:?} of {owner} can't be the name of a variable", parameter.name);
            report.error("variable-name", parameter.span, message);
        } else if let Some(value) = flatten(parameter, &owner, secrets, report) {
            set(spec, &name, value);
        }
    }
}

fn set(spec: &mut StepSpec, name: &str, value: Flat) {
    spec.environment.remove(name);
    spec.secret_environment.remove(name);
    match value {
        Flat::Plain(value) => drop(spec.environment.insert(name.to_owned(), value)),
        Flat::Secret(value) => drop(spec.secret_environment.insert(name.to_owned(), value)),
    }
}

/// Of services with the same name only the first runs: a name is a host name.
fn drop_twins(services: &mut Vec<Running<'_>>, report: &mut Report<'_>) {
    let mut seen: BTreeMap<&str, Span> = BTreeMap::new();
    services.retain(|running| match seen.insert(&running.step.name, running.step.span) {
        None => true,
        Some(first) => {
            let message =
                format!("a second service '{}' is left out: a service is found by its name", running.step.name);
            report.warning("duplicate-service", running.step.span, message).hint("give it another name");
            report.related(first, "the first one");
            seen.insert(&running.step.name, first);
            false
        }
    });
}

/// Gives every step of a workflow a name of its own. Services keep theirs, since others reach them by it.
struct Names {
    taken: BTreeSet<String>,
}

impl Names {
    fn of_services(groups: &[Vec<Running<'_>>]) -> Self {
        let services = groups.iter().flatten().filter(|running| running.kind == StepKind::Service);
        Self { taken: services.map(|running| running.step.name.clone()).collect() }
    }

    fn unique(&mut self, running: &Running<'_>, report: &mut Report<'_>) -> String {
        let name = &running.step.name;
        if running.kind == StepKind::Service || self.taken.insert(name.clone()) {
            return name.clone();
        }
        let numbered = (2..).map(|number| format!("{name} ({number})")).find(|name| !self.taken.contains(name));
        let numbered = numbered.unwrap_or_default();
        self.taken.insert(numbered.clone());
        if !report.has_errors() {
            let message = format!("another step or service is named '{name}' too; this one is shown as '{numbered}'");
            report.warning("repeated-name", running.step.span, message);
        }
        numbered
    }
}
