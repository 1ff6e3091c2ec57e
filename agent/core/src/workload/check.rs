//! Checking a spec: every problem at once, each with its field and a stable code.

use std::collections::BTreeMap;
use std::fmt;

use super::{Step, StepKind, StepSpec, WorkloadSpec};
use crate::id::{StepId, StepIndex};
use crate::secret::Secret;

/// One thing that is wrong with a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Stable over releases, for people who search and programs that branch.
    pub code: &'static str,
    /// Where: `stages[1].steps[0].image`.
    pub field: String,
    /// What is wrong and what to do, as a sentence. Never holds a secret's value.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} [{}]", self.field, self.message, self.code)
    }
}

/// All that is wrong with a workload; never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct WorkloadError {
    /// In the order of the fields.
    pub problems: Vec<Problem>,
}

impl fmt::Display for WorkloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            write!(f, "{}{problem}", if i == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

struct Check {
    problems: Vec<Problem>,
}

impl Check {
    fn problem(&mut self, code: &'static str, field: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem { code, field: field.into(), message: message.into() });
    }

    fn timeout(&mut self, field: impl Into<String>, seconds: Option<u64>) {
        match seconds {
            Some(0) => {
                self.problem("workload-timeout", field, "a timeout of 0 allows nothing; leave it out for the default")
            }
            Some(MAX_TIMEOUT..) => {
                self.problem("workload-timeout", field, format!("a timeout is less than {MAX_TIMEOUT} s (ten years)"));
            }
            _ => {}
        }
    }
}

/// More steps than any workflow has; what a step waits for takes memory that grows with their square.
const MAX_STEPS: usize = 2_000;

/// Ten years, in seconds: nobody waits for that long, and what is added to it still is a time.
const MAX_TIMEOUT: u64 = 10 * 365 * 24 * 60 * 60;

/// The forge's password, as Woodpecker names it.
const ALWAYS_SECRET: &str = "CI_NETRC_PASSWORD";

/// Checks the whole spec and resolves what each step waits for.
pub(super) fn steps(spec: &WorkloadSpec) -> Result<Vec<Step>, WorkloadError> {
    let mut check = Check { problems: Vec::new() };
    if spec.stages.is_empty() {
        check.problem("workload-no-stages", "stages", "there is no stage; a workflow needs at least one step");
    }
    check.timeout("timeout_seconds", spec.timeout_seconds);
    let count: usize = spec.stages.iter().map(|stage| stage.steps.len()).sum();
    if count > MAX_STEPS {
        check.problem(
            "workload-too-many-steps",
            "stages",
            format!("there are {count} steps; the limit is {MAX_STEPS}"),
        );
        return Err(WorkloadError { problems: check.problems });
    }
    let mut names = BTreeMap::<_, Vec<_>>::new();
    let mut ids = BTreeMap::new();
    let mut flat = Vec::new();
    for (s, stage) in spec.stages.iter().enumerate() {
        if stage.steps.is_empty() {
            check.problem("workload-empty-stage", format!("stages[{s}].steps"), "the stage has no steps; remove it");
        }
        for (i, step) in stage.steps.iter().enumerate() {
            let field = format!("stages[{s}].steps[{i}]");
            one_step(&mut check, &field, step);
            let index = StepIndex(flat.len());
            names.entry(step.name.as_str()).or_default().push(index);
            if ids.insert(step.id.as_str(), index).is_some() {
                check.problem(
                    "workload-duplicate-id",
                    format!("{field}.id"),
                    format!("another step has the id '{}' too", step.id),
                );
            }
            flat.push((s, field, step));
        }
    }
    let after: Vec<Vec<StepIndex>> = flat
        .iter()
        .map(|(stage, field, step)| match &step.needs {
            None => (0..flat.len()).filter(|&i| flat[i].0 < *stage).map(StepIndex).collect(),
            Some(needs) => {
                let mut after = Vec::new();
                for (n, need) in needs.iter().enumerate() {
                    match names.get(need.as_str()).map(Vec::as_slice) {
                        Some(&[index]) => after.push(index),
                        Some(_) => check.problem(
                            "workload-duplicate-name",
                            format!("{field}.needs[{n}]"),
                            format!("there is more than one step named '{need}'; give each a name of its own"),
                        ),
                        None => check.problem(
                            "workload-unknown-need",
                            format!("{field}.needs[{n}]"),
                            format!("there is no step named '{need}'"),
                        ),
                    }
                }
                after.sort_unstable();
                after.dedup();
                after
            }
        })
        .collect();
    if let Some(cycle) = find_cycle(&after) {
        let path: Vec<_> = cycle.iter().map(|&i| format!("'{}'", flat[i].2.name)).collect();
        check.problem(
            "workload-cycle",
            format!("{}.needs", flat[cycle[0]].1),
            format!("the steps wait for each other: {}", path.join(" -> ")),
        );
    }
    if !check.problems.is_empty() {
        return Err(WorkloadError { problems: check.problems });
    }
    Ok(flat
        .into_iter()
        .zip(after)
        .map(|((stage, _, spec), after)| Step {
            id: StepId::new(spec.id.as_str()),
            stage,
            after,
            spec: with_secrets_apart(spec.clone()),
        })
        .collect())
}

fn one_step(check: &mut Check, field: &str, step: &StepSpec) {
    if step.id.is_empty() || !step.id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') || step.id.len() > 40 {
        check.problem("workload-step-id", format!("{field}.id"), "an id has 1 to 40 ASCII letters, digits and '-'");
    }
    if step.name.trim().is_empty() {
        check.problem("workload-step-name", format!("{field}.name"), "the step has no name");
    }
    if step.image.trim().is_empty() {
        check.problem("workload-step-image", format!("{field}.image"), "the step has no image");
    }
    check.timeout(format!("{field}.timeout_seconds"), step.timeout_seconds);
    if step.max_attempts == 0 {
        check.problem("workload-attempts", format!("{field}.max_attempts"), "a step has to be started at least once");
    }
    for (name, path) in [("working_dir", &step.working_dir), ("workspace_base", &step.workspace_base)] {
        if !path.is_empty() && !path.starts_with('/') {
            check.problem("workload-path", format!("{field}.{name}"), format!("'{path}' is not an absolute path"));
        }
    }
    for (v, volume) in step.volumes.iter().enumerate() {
        if volume.claim.is_empty() {
            check.problem("workload-volume", format!("{field}.volumes[{v}].claim"), "the volume names no claim");
        }
        if !volume.path.starts_with('/') {
            check.problem(
                "workload-path",
                format!("{field}.volumes[{v}].path"),
                format!("'{}' is not an absolute path", volume.path),
            );
        }
    }
    for (p, port) in step.ports.iter().enumerate() {
        if port.number == 0 {
            check.problem("workload-port", format!("{field}.ports[{p}].number"), "a port is a number from 1 to 65535");
        }
    }
    for (map, names) in [
        ("environment", step.environment.keys().collect::<Vec<_>>()),
        ("secret_environment", step.secret_environment.keys().collect()),
    ] {
        for name in names {
            if name.is_empty() || name.contains(['=', '\0']) {
                check.problem(
                    "workload-variable",
                    format!("{field}.{map}"),
                    format!("{name:?} can't be the name of a variable"),
                );
            }
        }
    }
    for (name, value) in &step.environment {
        if value.contains('\0') {
            check.problem(
                "workload-variable",
                format!("{field}.environment.{name}"),
                "the value has a NUL byte, which no environment can hold",
            );
        }
        if step.secret_environment.contains_key(name) {
            check.problem(
                "workload-variable",
                format!("{field}.environment.{name}"),
                "the variable stands in secret_environment too",
            );
        }
    }
    for (name, value) in &step.secret_environment {
        if value.expose().contains('\0') {
            check.problem(
                "workload-variable",
                format!("{field}.secret_environment.{name}"),
                "the value has a NUL byte, which no environment can hold",
            );
        }
    }
    if step.kind == StepKind::Plugin && !step.commands.is_empty() {
        check.problem(
            "workload-plugin-commands",
            format!("{field}.commands"),
            "a plugin runs its image's own entrypoint; it can't have commands",
        );
    }
}

/// A cycle in the graph, as the indices along it with the first one repeated at the end.
fn find_cycle(after: &[Vec<StepIndex>]) -> Option<Vec<usize>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let mut marks = vec![Mark::New; after.len()];
    for root in 0..after.len() {
        if marks[root] != Mark::New {
            continue;
        }
        // An explicit stack: a file of a hundred thousand steps must not overflow the real one.
        let mut path = vec![(root, 0)];
        marks[root] = Mark::Open;
        while let Some((node, next)) = path.last_mut() {
            match after[*node].get(*next) {
                None => {
                    marks[*node] = Mark::Done;
                    path.pop();
                }
                Some(&StepIndex(to)) => {
                    *next += 1;
                    match marks[to] {
                        Mark::Done => {}
                        Mark::New => {
                            marks[to] = Mark::Open;
                            path.push((to, 0));
                        }
                        Mark::Open => {
                            let from = path.iter().position(|&(node, _)| node == to).unwrap_or(0);
                            let mut cycle: Vec<_> = path.iter().skip(from).map(|&(node, _)| node).collect();
                            cycle.push(to);
                            return Some(cycle);
                        }
                    }
                }
            }
        }
    }
    None
}

/// Servers send the forge's password among the plain variables; it is a secret nevertheless.
fn with_secrets_apart(mut spec: StepSpec) -> StepSpec {
    if let Some(value) = spec.environment.remove(ALWAYS_SECRET) {
        spec.secret_environment.insert(ALWAYS_SECRET.to_owned(), Secret::new(value));
    }
    spec
}

#[cfg(test)]
mod tests {
    use super::super::{Port, Protocol, StageSpec, StepKind, StepSpec, VolumeSpec, Workload, WorkloadSpec};
    use crate::id::{StepIndex, WorkflowId};
    use crate::secret::Secret;

    fn step(name: &str) -> StepSpec {
        StepSpec { id: format!("id-{name}"), name: name.to_owned(), image: "alpine".to_owned(), ..StepSpec::default() }
    }

    fn spec(stages: Vec<Vec<StepSpec>>) -> WorkloadSpec {
        WorkloadSpec {
            stages: stages.into_iter().map(|steps| StageSpec { steps }).collect(),
            ..WorkloadSpec::default()
        }
    }

    fn problems(spec: WorkloadSpec) -> Vec<(String, &'static str)> {
        let error = Workload::new(WorkflowId::new("1"), spec).unwrap_err();
        error.problems.into_iter().map(|problem| (problem.field, problem.code)).collect()
    }

    #[test]
    fn a_step_waits_for_all_earlier_stages_or_for_what_it_needs() {
        let needs = StepSpec { needs: Some(vec!["b".to_owned(), "b".to_owned()]), ..step("d") };
        let workload =
            Workload::new(WorkflowId::new("1"), spec(vec![vec![step("a"), step("b")], vec![step("c"), needs]]));
        let workload = workload.unwrap();
        let after: Vec<_> = workload.steps().iter().map(|step| step.after.clone()).collect();
        let (a, b) = (StepIndex(0), StepIndex(1));
        assert_eq!(after, [vec![], vec![], vec![a, b], vec![b]]);
        assert_eq!(workload.steps()[2].stage, 1);
    }

    #[test]
    fn a_timeout_is_a_time_that_somebody_waits_for() {
        let a = StepSpec { timeout_seconds: Some(u64::MAX), ..step("a") };
        let mut spec = spec(vec![vec![a]]);
        spec.timeout_seconds = Some(u64::MAX / 2);
        let expected = [
            ("timeout_seconds".to_owned(), "workload-timeout"),
            ("stages[0].steps[0].timeout_seconds".to_owned(), "workload-timeout"),
        ];
        assert_eq!(problems(spec), expected);
    }

    #[test]
    fn the_forges_password_is_a_secret_wherever_it_stands() {
        let a = StepSpec { environment: [("CI_NETRC_PASSWORD".to_owned(), "hunter2".to_owned())].into(), ..step("a") };
        let workload = Workload::new(WorkflowId::new("1"), spec(vec![vec![a]])).unwrap();
        assert!(workload.steps()[0].spec.environment.is_empty());
        assert_eq!(workload.masked_values().map(Secret::expose).collect::<Vec<_>>(), ["hunter2"]);
    }

    #[test]
    fn every_problem_is_told_with_its_field() {
        let bad = StepSpec {
            id: "no spaces".to_owned(),
            name: " ".to_owned(),
            image: String::new(),
            working_dir: "src".to_owned(),
            timeout_seconds: Some(0),
            max_attempts: 0,
            ports: vec![Port { number: 0, protocol: Protocol::Tcp }],
            volumes: vec![VolumeSpec { claim: String::new(), path: "x".to_owned(), read_only: false }],
            environment: [("A=B".to_owned(), "1".to_owned()), ("N".to_owned(), "a\0b".to_owned())].into(),
            secret_environment: [("N".to_owned(), Secret::new("s"))].into(),
            ..step("bad")
        };
        let plugin = StepSpec { kind: StepKind::Plugin, commands: vec!["true".to_owned()], ..step("plugin") };
        let twin = StepSpec {
            id: plugin.id.clone(),
            needs: Some(vec!["nobody".to_owned(), "plugin".to_owned()]),
            ..step("plugin")
        };
        let mut spec = spec(vec![vec![bad], vec![], vec![plugin, twin]]);
        spec.timeout_seconds = Some(0);
        let expected = [
            ("timeout_seconds", "workload-timeout"),
            ("stages[0].steps[0].id", "workload-step-id"),
            ("stages[0].steps[0].name", "workload-step-name"),
            ("stages[0].steps[0].image", "workload-step-image"),
            ("stages[0].steps[0].timeout_seconds", "workload-timeout"),
            ("stages[0].steps[0].max_attempts", "workload-attempts"),
            ("stages[0].steps[0].working_dir", "workload-path"),
            ("stages[0].steps[0].volumes[0].claim", "workload-volume"),
            ("stages[0].steps[0].volumes[0].path", "workload-path"),
            ("stages[0].steps[0].ports[0].number", "workload-port"),
            ("stages[0].steps[0].environment", "workload-variable"),
            ("stages[0].steps[0].environment.N", "workload-variable"),
            ("stages[0].steps[0].environment.N", "workload-variable"),
            ("stages[1].steps", "workload-empty-stage"),
            ("stages[2].steps[0].commands", "workload-plugin-commands"),
            ("stages[2].steps[1].id", "workload-duplicate-id"),
            ("stages[2].steps[1].needs[0]", "workload-unknown-need"),
            ("stages[2].steps[1].needs[1]", "workload-duplicate-name"),
        ];
        assert_eq!(problems(spec), expected.map(|(field, code)| (field.to_owned(), code)));
    }

    #[test]
    fn steps_may_have_the_same_name_where_nobody_is_named() {
        let twins = vec![vec![step("test"), StepSpec { id: "other".into(), ..step("test") }]];
        assert!(Workload::new(WorkflowId::new("1"), spec(twins)).is_ok());
    }

    #[test]
    fn no_stages_is_a_problem() {
        assert_eq!(problems(spec(vec![])), [("stages".to_owned(), "workload-no-stages")]);
    }

    #[test]
    fn a_cycle_is_told_with_its_path() {
        let needs = |name: &str, need: &str| StepSpec { needs: Some(vec![need.to_owned()]), ..step(name) };
        let cycle = spec(vec![vec![step("x"), needs("a", "b"), needs("b", "c"), needs("c", "a")]]);
        let error = Workload::new(WorkflowId::new("1"), cycle).unwrap_err();
        assert_eq!(
            error.to_string(),
            "stages[0].steps[1].needs: the steps wait for each other: 'a' -> 'b' -> 'c' -> 'a' [workload-cycle]"
        );
        let itself = spec(vec![vec![needs("a", "a")]]);
        assert_eq!(problems(itself), [("stages[0].steps[0].needs".to_owned(), "workload-cycle")]);
        // An explicit `needs` on a later stage can close a circle with the stages themselves.
        let back = spec(vec![vec![needs("a", "b")], vec![step("b")]]);
        assert_eq!(problems(back), [("stages[0].steps[0].needs".to_owned(), "workload-cycle")]);
    }

    #[test]
    fn a_long_chain_does_not_overflow_the_stack() {
        let chain: Vec<_> = (0..500_000usize).map(|i| i.checked_sub(1).map(StepIndex).into_iter().collect()).collect();
        assert_eq!(super::find_cycle(&chain), None);
    }

    #[test]
    fn too_many_steps_are_refused_before_anything_is_made_of_them() {
        let steps = (0..2_001).map(|i| step(&i.to_string())).collect();
        assert_eq!(problems(spec(vec![steps])), [("stages".to_owned(), "workload-too-many-steps")]);
    }
}
