//! Whether conditions hold, and if not, why.

use std::collections::BTreeMap;

use super::{Condition, Filter, MatrixFilter, PathFilter, Scope, When};
use crate::context::{Context, Event};
use crate::expression::Evaluator;
use crate::report::Report;

/// What conditions look at.
pub(in crate::woodpecker) struct Facts<'a> {
    pub(in crate::woodpecker) context: &'a Context,
    /// The combination of the matrix.
    pub(in crate::woodpecker) axis: &'a BTreeMap<String, String>,
    /// For `evaluate`.
    pub(in crate::woodpecker) expressions: &'a Evaluator,
    /// Where the steps will run, if that is known.
    pub(in crate::woodpecker) platform: Option<&'a str>,
}

/// What comes of conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::woodpecker) enum Decision {
    /// They hold; says after what outcome of the steps before.
    Runs { on_success: bool, on_failure: bool },
    /// They don't, for this reason.
    Skipped(String),
}

/// Why a condition doesn't hold, or what about it can't be known.
#[derive(Default)]
struct Finding {
    why: Option<String>,
    undecided: Vec<(&'static str, &'static str)>,
}

impl When {
    /// Decides. What can't be known counts as holding, which is reported; an expression without a value is an error.
    pub(in crate::woodpecker) fn decide(&self, facts: &Facts<'_>, scope: Scope, report: &mut Report<'_>) -> Decision {
        if self.conditions.is_empty() {
            return Decision::Runs { on_success: true, on_failure: false };
        }
        let (mut holds, mut on_success, mut on_failure) = (false, false, false);
        let mut reasons: Vec<String> = Vec::new();
        for condition in &self.conditions {
            // An expression is always looked at: a mistake in it shows up before the day when it is needed.
            let evaluated = condition.evaluate.as_ref().map(|code| match facts.expressions.evaluate(&code.text) {
                Ok(value) => value,
                Err(error) => {
                    let diagnostic = report.error("evaluate", code.span, error.message);
                    diagnostic.hint = error.hint;
                    false
                }
            });
            let mut finding = condition.test(facts, scope);
            if finding.why.is_none() && evaluated == Some(false) {
                finding.why = Some("`evaluate` is false".to_owned());
            }
            match finding.why {
                Some(why) if !reasons.contains(&why) => reasons.push(why),
                Some(_) => {}
                None => {
                    holds = true;
                    // A condition that doesn't hold has no say: woodpecker-ci/woodpecker, pull requests 6183 and 6436.
                    let says = |status: &str| condition.status.iter().any(|word| word == status);
                    on_success |= condition.status.is_empty() || says("success");
                    on_failure |= says("failure");
                    for (key, unknown) in finding.undecided {
                        let message = format!("`{key}` counts as matching, here and below: {unknown}");
                        report.warning_once("undecided-condition", condition.span, message);
                    }
                }
            }
        }
        if holds { Decision::Runs { on_success, on_failure } } else { Decision::Skipped(reasons.join("; ")) }
    }
}

impl Condition {
    fn test(&self, facts: &Facts<'_>, scope: Scope) -> Finding {
        let mut finding = Finding::default();
        let context = facts.context;
        let event = context.event;
        if let Some(wanted) = self.event.as_ref().filter(|wanted| !wanted.contains(&event)) {
            let wanted: Vec<&str> = wanted.iter().map(|event| event.as_str()).collect();
            finding.add(Some(format!("event is '{event}', not {}", either(&wanted))));
        }
        finding.add(self.repo.mismatch("repo", &context.repository.full_name()));
        finding.add(self.reference.mismatch("ref", &context.commit.reference(event)));
        if event != Event::Tag {
            finding.add(self.branch.mismatch("branch", &context.commit.branch));
        }
        finding.known(&self.instance, "instance", &context.system.host, "the server has no host name here");
        finding.known(&self.platform, "platform", facts.platform.unwrap_or_default(), "the platform is not known yet");
        if event == Event::Cron {
            finding.known(&self.cron, "cron", &context.pipeline.cron, "the cron job has no name here");
        }
        if let Some(path) = self.path.as_ref().filter(|_| event == Event::Push || event.is_pull_request()) {
            match &context.commit.changed_files {
                _ if path.is_ignored(&context.commit.message) => {}
                Some(files) => finding.add(path.mismatch(files)),
                None => finding.undecided.push(("path", "the changed files are unknown")),
            }
        }
        if scope == Scope::Step {
            finding.add(self.matrix.mismatch(facts.axis));
            finding.add((context.local && self.local == Some(false)).then(|| "`local` is false".to_owned()));
        }
        finding
    }
}

impl Finding {
    fn add(&mut self, why: Option<String>) {
        if self.why.is_none() {
            self.why = why;
        }
    }

    fn known(&mut self, filter: &Filter, key: &'static str, value: &str, unknown: &'static str) {
        if value.is_empty() {
            if !filter.include.is_empty() || !filter.exclude.is_empty() {
                self.undecided.push((key, unknown));
            }
        } else {
            self.add(filter.mismatch(key, value));
        }
    }
}

impl Filter {
    fn mismatch(&self, key: &str, value: &str) -> Option<String> {
        if self.exclude.iter().any(|glob| glob.matches(value)) {
            return Some(format!("{key} is '{value}', which is excluded"));
        }
        if self.include.is_empty() || self.include.iter().any(|glob| glob.matches(value)) {
            return None;
        }
        let wanted: Vec<&str> = self.include.iter().map(|glob| glob.pattern()).collect();
        Some(format!("{key} is '{value}', not {}", either(&wanted)))
    }
}

impl MatrixFilter {
    fn mismatch(&self, axis: &BTreeMap<String, String>) -> Option<String> {
        let value = |name: &String| axis.get(name).map_or("", String::as_str);
        if !self.exclude.is_empty() && self.exclude.iter().all(|(name, glob)| glob.matches(value(name))) {
            return Some("this combination of the matrix is excluded".to_owned());
        }
        let (name, glob) = self.include.iter().find(|(name, glob)| !glob.matches(value(name)))?;
        Some(format!("{name} is '{}', not {}", value(name), glob.pattern()))
    }
}

impl PathFilter {
    fn is_ignored(&self, message: &str) -> bool {
        !self.ignore_message.is_empty() && message.to_lowercase().contains(&self.ignore_message.to_lowercase())
    }

    fn mismatch(&self, files: &[String]) -> Option<String> {
        if files.is_empty() {
            return (!self.on_empty).then(|| "no file changed".to_owned());
        }
        let Filter { include, exclude, .. } = &self.filter;
        let is_excluded = |file: &String| exclude.iter().any(|glob| glob.matches(file));
        if !exclude.is_empty() && files.iter().all(is_excluded) {
            return Some("every changed file is excluded".to_owned());
        }
        let is_included = |file: &String| include.iter().any(|glob| glob.matches(file));
        (!include.is_empty() && !files.iter().any(is_included)).then(|| "no file changed that `path` names".to_owned())
    }
}

/// `a, b or c`.
fn either(words: &[&str]) -> String {
    match words {
        [] => "any known one".to_owned(),
        [one] => (*one).to_owned(),
        [rest @ .., last] => format!("{} or {last}", rest.join(", ")),
    }
}
