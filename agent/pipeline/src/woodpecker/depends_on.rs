//! `depends_on`: of workflows and of steps.

use std::collections::{BTreeMap, BTreeSet};

use super::fields::Fields;
use super::step::Step;
use crate::report::{Report, Span};
use crate::yaml::{Node, Value};

/// Among how many names the one that was meant is looked for.
const MAX_NEAR: usize = 50;

/// Something to wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dependency {
    pub(super) name: String,
    pub(super) optional: bool,
    pub(super) span: Span,
}

/// A name, or a list of names and of `{name, optional}`.
pub(super) fn read(node: &Node, what: &str, report: &mut Report<'_>) -> Vec<Dependency> {
    let one = |node: &Node, report: &mut Report<'_>| match &node.value {
        Value::Scalar(scalar) if !node.is_null() => {
            Some(Dependency { name: scalar.text.clone(), optional: false, span: node.span })
        }
        Value::Mapping(_) => {
            let mut keys = Fields::of(node, format!("an item of {what}"), report)?;
            let optional = keys.boolean("optional", report);
            let Some(name) = keys.take("name") else {
                report
                    .error("dependency-name", node.span, format!("an item of {what} has no `name`"))
                    .hint("write the name, or `{name: …, optional: true}`");
                return None;
            };
            let span = name.span;
            let name = super::fields::text(name, &keys.what("name"), report)?;
            keys.warn_of_rest(&["name", "optional"], report);
            Some(Dependency { name, optional, span })
        }
        _ => {
            report.error("wrong-type", node.span, format!("an item of {what} has to be a name, not {}", node.kind()));
            None
        }
    };
    match &node.value {
        Value::Sequence(items) => items.iter().filter_map(|item| one(item, report)).collect(),
        _ => one(node, report).into_iter().collect(),
    }
}

/// Checks that every dependency of these steps names one of them, whether it runs or not.
pub(super) fn check_names(steps: &[Step], report: &mut Report<'_>) {
    let known: BTreeSet<&str> = steps.iter().map(|step| step.name.as_str()).collect();
    for step in steps {
        for dependency in step.depends_on.iter().flatten() {
            if known.contains(dependency.name.as_str()) {
                continue;
            }
            let message = format!("step '{}' depends on '{}', but there is no such step", step.name, dependency.name);
            let names: Vec<&str> = steps.iter().map(|step| step.name.as_str()).take(MAX_NEAR).collect();
            let near = super::fields::nearest(&dependency.name, &names);
            let diagnostic = if dependency.optional {
                report.warning("unknown-dependency", dependency.span, message)
            } else {
                report.error("unknown-dependency", dependency.span, message)
            };
            if let Some(near) = near {
                diagnostic.hint(format!("did you mean '{near}'?"));
            }
        }
    }
}

/// In which order the steps run: groups of indices, each group after the one before.
///
/// One step after another, as long as none of them says `depends_on`, not even an empty one. Else by levels: those
/// without dependencies first, then those that depend on them only, and so on.
pub(super) fn stages(all: &[Step], running: &[&Step], report: &mut Report<'_>) -> Vec<Vec<usize>> {
    if running.iter().all(|step| step.depends_on.is_none()) {
        return (0..running.len()).map(|index| vec![index]).collect();
    }
    let mut by_name: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, step) in running.iter().enumerate() {
        if let Some(first) = by_name.insert(&step.name, index) {
            let message = format!("two steps are named '{}', and steps depend on each other by name", step.name);
            report.error("duplicate-name", step.span, message).hint("give each step a name of its own");
            report.related(running[first].span, "the first one");
        }
    }
    let waits: Vec<Vec<usize>> = running.iter().map(|step| dependencies(step, all, &by_name, report)).collect();
    let mut level: Vec<Option<usize>> = vec![None; running.len()];
    let mut stages: Vec<Vec<usize>> = Vec::new();
    loop {
        let is_ready =
            |&index: &usize| level[index].is_none() && waits[index].iter().all(|&other| level[other].is_some());
        let ready: Vec<usize> = (0..running.len()).filter(is_ready).collect();
        if ready.is_empty() {
            break;
        }
        for &index in &ready {
            level[index] = Some(stages.len());
        }
        stages.push(ready);
    }
    if let Some(stuck) = level.iter().position(Option::is_none) {
        cycle(running, &waits, stuck, &level, report);
    }
    stages
}

fn dependencies(step: &Step, all: &[Step], by_name: &BTreeMap<&str, usize>, report: &mut Report<'_>) -> Vec<usize> {
    let mut waits = Vec::new();
    for dependency in step.depends_on.iter().flatten() {
        match by_name.get(dependency.name.as_str()) {
            Some(&index) => waits.push(index),
            // Unknown names were told before, for all steps.
            None if dependency.optional || !all.iter().any(|other| other.name == dependency.name) => {}
            None => {
                report
                    .error(
                        "filtered-dependency",
                        dependency.span,
                        format!(
                            "step '{}' depends on '{}', which doesn't run here because of its `when`",
                            step.name, dependency.name
                        ),
                    )
                    .hint(format!(
                        "give both the same `when`, or write `{{name: {}, optional: true}}`",
                        dependency.name
                    ));
            }
        }
    }
    waits
}

/// Reports the circle that a step waits in or for.
fn cycle(running: &[&Step], waits: &[Vec<usize>], stuck: usize, level: &[Option<usize>], report: &mut Report<'_>) {
    let mut path = vec![stuck];
    let from = loop {
        let last = path[path.len() - 1];
        // A step without a level waits for another one without a level.
        let Some(&next) = waits[last].iter().find(|&&other| level[other].is_none()) else { return };
        if let Some(from) = path.iter().position(|&index| index == next) {
            path.push(next);
            break from;
        }
        path.push(next);
    };
    let names: Vec<String> = path.iter().skip(from).map(|&index| format!("'{}'", running[index].name)).collect();
    let (step, next) = (running[path[from]], &running[path[from + 1]].name);
    let dependency = step.depends_on.iter().flatten().find(|dependency| dependency.name == *next);
    let span = dependency.map_or(step.span, |dependency| dependency.span);
    report.error("dependency-cycle", span, format!("the steps wait for each other: {}", names.join(" -> ")));
}
