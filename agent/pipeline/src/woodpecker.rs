//! Workflow files of Woodpecker, version 3.
//!
//! What Woodpecker 3 runs, runs; what it refuses is refused with what to write instead. Keys that it ignores are
//! ignored too, with a warning; only `secrets` of a step still works, and `pull: always`.
//!
//! Where this differs from Woodpecker, on purpose: steps with the same name get numbers; services get their settings;
//! changed files that are unknown count as matching instead of as none; variables are replaced before the matrix is
//! read, so that `branch: [${CI_REPO_DEFAULT_BRANCH}, x]` works in a file with a matrix.

mod assemble;
mod depends_on;
mod fields;
mod file;
mod legacy;
mod matrix;
mod settings;
mod step;
#[cfg(test)]
mod tests;
mod when;
mod workspace;

use std::collections::BTreeMap;

use self::assemble::{Assembled, Assembly};
use self::file::File;
use self::matrix::Axis;
use crate::compiled::Compiled;
use crate::context::Context;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::environment;
use crate::report::{Report, Span};
use crate::source::SourceFile;
use crate::substitute::{substitute, substitute_or};
use crate::yaml;

/// Compiles a workflow file.
pub(crate) fn compile(file: &SourceFile, context: &Context) -> Result<Compiled, Diagnostics> {
    let secrets: Vec<&str> = context.secrets.values().map(|secret| secret.expose()).collect();
    let text = file.decode().map_err(|refusal| Diagnostics::new(&file.name, vec![*refusal], &secrets))?;
    let compilation = Compilation { context, base_name: base_name(&file.name), text };
    let (axes, mut found) = compilation.axes();
    let mut compiled = Compiled::default();
    let count = axes.len();
    for (index, axis) in axes.into_iter().enumerate() {
        let (assembled, more) = compilation.workflow(&axis, index, count);
        found.extend(more);
        match assembled {
            Some(Assembled::Runs(workflow)) => compiled.workflows.push(*workflow),
            Some(Assembled::Filtered(workflow)) => compiled.filtered.push(workflow),
            None => {}
        }
    }
    let found = Diagnostics::new(&file.name, found, &secrets);
    if found.has_errors() {
        return Err(found);
    }
    compiled.warnings = found;
    Ok(compiled)
}

/// The name of a workflow: that of its file without folders, leading dots and ending.
fn base_name(path: &str) -> String {
    let name = path.rsplit(['/', '\\']).next().unwrap_or_default();
    let name = name.strip_suffix(".yml").or_else(|| name.strip_suffix(".yaml")).unwrap_or(name);
    name.trim_start_matches('.').to_owned()
}

/// A character that YAML allows anywhere in a text, and that nobody writes.
const NO_VALUE: &str = "\u{f8ff}";

struct Compilation<'c> {
    context: &'c Context,
    base_name: String,
    text: &'c str,
}

impl Compilation<'_> {
    /// The combinations of the matrix, at least one, and what is wrong with it.
    fn axes(&self) -> (Vec<Axis>, Vec<Diagnostic>) {
        // The variables of the matrix have no values yet. An empty one could break the YAML around it, so something
        // stands in for it, which is taken out of the matrix again.
        let empty = Axis::new();
        let variables = self.variables(&empty, 1);
        let source = substitute_or(self.text, &|name| variables.all.get(name).map(String::as_str), NO_VALUE);
        let mut report = Report::new(&source);
        let root = yaml::load(&source.text, &mut report);
        let mut axes = root.map(|root| matrix::combinations(&root, &mut report)).unwrap_or_default();
        for value in axes.iter_mut().flat_map(BTreeMap::values_mut) {
            *value = value.replace(NO_VALUE, "");
        }
        if axes.is_empty() {
            axes.push(empty);
        }
        // All else is found again with each combination.
        let found = report.into_found().into_iter().filter(|found| found.code.starts_with("matrix")).collect();
        (axes, found)
    }

    /// The file under one combination of its matrix.
    fn workflow(&self, axis: &Axis, index: usize, count: usize) -> (Option<Assembled>, Vec<Diagnostic>) {
        let variables = self.variables(axis, index + 1);
        let source = substitute(self.text, &|name| variables.all.get(name).map(String::as_str));
        let mut report = Report::new(&source);
        let root = yaml::load(&source.text, &mut report);
        let Some(root) = root.filter(|root| !root.is_null()) else {
            if !report.has_errors() {
                report
                    .error("missing-steps", Span::default(), "the file is empty")
                    .hint("add `steps:` with at least one step that has an `image`");
            }
            return (None, report.into_found());
        };
        let file = File::read(&root, self.context.repository.trusted, &mut report);
        depends_on::check_names(&file.steps, &mut report);
        warn_of_missing_events(&file, &mut report);
        let assembly = Assembly {
            context: self.context,
            file: &file,
            name: if count > 1 { format!("{} ({})", self.base_name, shown(axis)) } else { self.base_name.clone() },
            base_name: self.base_name.clone(),
            axis,
            built_in: &variables.built_in,
            variables: &variables.all,
            span: Span { start: root.span.start, end: root.span.start },
        };
        (Some(assembly.run(&mut report)), report.into_found())
    }

    fn variables(&self, axis: &Axis, number: usize) -> Variables {
        let built_in = environment::variables(self.context, &self.base_name, number);
        let mut all = self.context.variables.clone();
        all.extend(built_in.clone());
        all.extend(axis.clone());
        Variables { built_in, all }
    }
}

struct Variables {
    built_in: BTreeMap<String, String>,
    /// Those of the axis win over built-in ones, and these over a person's.
    all: BTreeMap<String, String>,
}

fn shown(axis: &Axis) -> String {
    axis.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", ")
}

/// A step that runs for every event also runs when a pull request is closed: seldom meant.
fn warn_of_missing_events(file: &File, report: &mut Report<'_>) {
    if file.when.filters_events() {
        return;
    }
    if let Some(step) = file.steps.iter().find(|step| !step.when.filters_events()) {
        report
            .warning("no-event-filter", step.span, format!("step '{}' runs for every event", step.name))
            .hint("say `when: [{event: …}]` for the workflow, or for each step");
    }
}
