//! A step, a service or a clone step as it is written.

mod resources;

use std::net::IpAddr;
use std::rc::Rc;

use piculet_core::workload::{ExtraHost, FailurePolicy, Port, VolumeSpec};

use super::depends_on::{self, Dependency};
use super::fields::{self, Fields};
use super::when::{Scope, When};
use crate::context::Trusted;
use crate::report::{Report, Span};
use crate::yaml::{Node, Value};

/// Keys of a step.
const KEYS: [&str; 23] = [
    "backend_options",
    "commands",
    "depends_on",
    "detach",
    "devices",
    "directory",
    "dns",
    "dns_search",
    "entrypoint",
    "environment",
    "extra_hosts",
    "failure",
    "image",
    "name",
    "network_mode",
    "ports",
    "privileged",
    "pull",
    "secrets",
    "settings",
    "tmpfs",
    "volumes",
    "when",
];

/// Where in the file it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Clone,
    Service,
    Step,
}

impl Section {
    /// The key of the section.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Clone => "clone",
            Self::Service => "services",
            Self::Step => "steps",
        }
    }

    /// What one of it is called.
    pub(super) fn one(self) -> &'static str {
        match self {
            Self::Clone => "clone step",
            Self::Service => "service",
            Self::Step => "step",
        }
    }
}

/// A step, a service or a clone step.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) section: Section,
    pub(super) name: String,
    /// Where it gets its name.
    pub(super) span: Span,
    pub(super) image: String,
    pub(super) commands: Vec<String>,
    pub(super) entrypoint: Vec<String>,
    pub(super) settings: Vec<Parameter>,
    pub(super) environment: Vec<Parameter>,
    pub(super) secrets: Vec<LegacySecret>,
    pub(super) directory: String,
    pub(super) pull: bool,
    pub(super) privileged: bool,
    pub(super) detach: bool,
    pub(super) failure: FailurePolicy,
    pub(super) when: When,
    /// Absent is not the same as empty.
    pub(super) depends_on: Option<Vec<Dependency>>,
    pub(super) volumes: Vec<VolumeSpec>,
    pub(super) ports: Vec<Port>,
    pub(super) dns: Vec<IpAddr>,
    pub(super) dns_search: Vec<String>,
    pub(super) extra_hosts: Vec<ExtraHost>,
    pub(super) kubernetes: serde_json::Map<String, serde_json::Value>,
}

/// A setting or a variable.
#[derive(Debug, Clone)]
pub(super) struct Parameter {
    pub(super) name: String,
    pub(super) span: Span,
    pub(super) value: Rc<Node>,
}

/// An item of `secrets`, as version 2 knew it: the secret becomes a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LegacySecret {
    pub(super) source: String,
    pub(super) target: String,
    pub(super) span: Span,
}

impl Step {
    /// Whether its image alone decides what it does.
    pub(super) fn is_plugin(&self) -> bool {
        self.commands.is_empty() && self.entrypoint.is_empty() && self.environment.is_empty()
    }

    /// The clone step of a file that names none.
    pub(super) fn default_clone(image: &str, tags: bool, span: Span) -> Self {
        let setting =
            |name: &str, value: &str| Parameter { name: name.to_owned(), span, value: Node::of_text(span, value) };
        let mut step = Self::new(Section::Clone, "clone".to_owned(), span);
        step.image = image.to_owned();
        step.settings.push(setting("depth", "0"));
        if tags {
            step.settings.push(setting("tags", "true"));
        }
        step
    }

    fn new(section: Section, name: String, span: Span) -> Self {
        Self {
            section,
            name,
            span,
            image: String::new(),
            commands: Vec::new(),
            entrypoint: Vec::new(),
            settings: Vec::new(),
            environment: Vec::new(),
            secrets: Vec::new(),
            directory: String::new(),
            pull: false,
            privileged: false,
            detach: false,
            failure: FailurePolicy::Fail,
            when: When::default(),
            depends_on: None,
            volumes: Vec::new(),
            ports: Vec::new(),
            dns: Vec::new(),
            dns_search: Vec::new(),
            extra_hosts: Vec::new(),
            kubernetes: serde_json::Map::new(),
        }
    }

    /// Reads one; `None` if it is no map, which is reported.
    pub(super) fn read(
        node: &Rc<Node>,
        key: Option<&Node>,
        position: usize,
        section: Section,
        trusted: Trusted,
        report: &mut Report<'_>,
    ) -> Option<Self> {
        let (name, span) = name(node, key, position, section);
        let owner = format!("{} '{name}'", section.one());
        if node.is_null() {
            report.error("missing-image", span, format!("{owner} is empty; it needs at least an image"));
            return None;
        }
        let mut fields = Fields::of(node, owner, report)?;
        fields.take("name");
        let mut step = Self::new(section, name, span);
        step.image = fields.text("image", report).unwrap_or_default();
        step.commands = words(&mut fields, "commands", report);
        step.entrypoint = words(&mut fields, "entrypoint", report);
        step.settings = parameters(&mut fields, "settings", report);
        step.environment = parameters(&mut fields, "environment", report);
        step.secrets = legacy_secrets(&mut fields, report);
        step.directory = fields.text("directory", report).unwrap_or_default();
        step.pull = pull(&mut fields, report);
        step.privileged = fields.boolean("privileged", report);
        step.detach = fields.boolean("detach", report);
        step.failure = failure(&mut fields, report);
        step.when = fields.take("when").map(|when| When::read(when, Scope::Step, report)).unwrap_or_default();
        step.depends_on = fields.take("depends_on").map(|value| {
            let what = fields.what("depends_on");
            depends_on::read(value, &what, report)
        });
        step.read_resources(&mut fields, trusted, report);
        step.check(trusted, report);
        fields.warn_of_rest(&KEYS, report);
        Some(step)
    }

    /// What is wrong with it as a whole.
    fn check(&self, trusted: Trusted, report: &mut Report<'_>) {
        let owner = format!("{} '{}'", self.section.one(), self.name);
        if self.image.trim().is_empty() {
            report.error("missing-image", self.span, format!("{owner} has no image")).hint("add `image: …`");
        }
        if self.privileged && !trusted.security {
            resources::not_trusted(&owner, "privileged", "security", self.span, report);
        }
        if self.settings.is_empty() {
            return;
        }
        for (other, present) in [("commands", !self.commands.is_empty()), ("entrypoint", !self.entrypoint.is_empty())] {
            if present {
                report
                    .error(
                        "settings-and-commands",
                        self.span,
                        format!("{owner} has `settings` and `{other}`: it can't be a plugin and not be one"),
                    )
                    .hint("keep one of them; variables for commands go under `environment`");
            }
        }
        if !self.environment.is_empty() {
            report
                .warning(
                    "settings-and-environment",
                    self.span,
                    format!("{owner} has `settings` and `environment`, so it does not count as a plugin"),
                )
                .hint("move all of it under `settings`");
        }
    }
}

/// The name and where it comes from. The key of a service is its host name, whatever `name` says.
fn name(node: &Node, key: Option<&Node>, position: usize, section: Section) -> (String, Span) {
    let own = node.get("name").filter(|name| !name.is_null());
    let own = own.and_then(|name| name.text().map(|text| (text, name.span)));
    let key_name = key.and_then(|key| key.text().map(|text| (text, key.span)));
    let (first, second) = if section == Section::Service { (key_name, own) } else { (own, key_name) };
    let named = [first, second].into_iter().flatten().find(|(text, _)| !text.trim().is_empty());
    named.map_or_else(|| (format!("step-{position}"), node.span), |(text, span)| (text.to_owned(), span))
}

fn words(fields: &mut Fields<'_>, name: &str, report: &mut Report<'_>) -> Vec<String> {
    fields.texts(name, report).into_iter().map(|item| item.text).collect()
}

/// A map of anything.
fn parameters(fields: &mut Fields<'_>, key: &str, report: &mut Report<'_>) -> Vec<Parameter> {
    let what = fields.what(key);
    let Some(value) = fields.take(key) else { return Vec::new() };
    match &value.value {
        Value::Mapping(entries) => entries
            .iter()
            .map(|entry| Parameter {
                name: entry.name().to_owned(),
                span: entry.key.span,
                value: Rc::clone(&entry.value),
            })
            .collect(),
        Value::Sequence(_) if key == "environment" => {
            report
                .error(
                    "legacy-environment",
                    value.span,
                    "`environment` is a list; since Woodpecker 3 it has to be a map",
                )
                .hint("write `NAME: value` for each");
            Vec::new()
        }
        _ => {
            report.error("wrong-type", value.span, format!("{what} has to be a map, not {}", value.kind()));
            Vec::new()
        }
    }
}

fn legacy_secrets(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Vec<LegacySecret> {
    let what = fields.what("secrets");
    let Some(entry) = fields.take_entry("secrets") else { return Vec::new() };
    report
        .warning(
            "legacy-secrets",
            entry.key.span,
            format!("{what} is no longer a key of Woodpecker 3, which ignores it"),
        )
        .hint("write `environment: {NAME: {from_secret: name}}`");
    let one = |item: &Rc<Node>, report: &mut Report<'_>| {
        if item.entries().is_none() {
            let source = fields::text(item, &format!("each item of {what}"), report)?;
            return Some(LegacySecret { target: source.to_uppercase(), source, span: item.span });
        }
        let mut keys = Fields::of(item, format!("an item of {what}"), report)?;
        let (source, target) = (keys.text("source", report)?, keys.text("target", report));
        keys.warn_of_rest(&["source", "target"], report);
        Some(LegacySecret { target: target.as_ref().unwrap_or(&source).to_uppercase(), source, span: item.span })
    };
    match entry.value.items() {
        Some(items) => items.iter().filter_map(|item| one(item, report)).collect(),
        None => one(&entry.value, report).into_iter().collect(),
    }
}

fn pull(fields: &mut Fields<'_>, report: &mut Report<'_>) -> bool {
    let what = fields.what("pull");
    let Some(value) = fields.take("pull") else { return false };
    if value.text() == Some("always") {
        report
            .warning("legacy-pull", value.span, format!("{what} is 'always', the old word for true"))
            .hint("write true");
        return true;
    }
    fields::boolean(value, &what, report).unwrap_or(false)
}

fn failure(fields: &mut Fields<'_>, report: &mut Report<'_>) -> FailurePolicy {
    let what = fields.what("failure");
    let Some(value) = fields.take("failure") else { return FailurePolicy::Fail };
    match fields::text(value, &what, report).as_deref() {
        Some("ignore") => FailurePolicy::Ignore,
        Some("cancel") => FailurePolicy::Cancel,
        Some("fail") | None => FailurePolicy::Fail,
        Some(other) => {
            report.warning(
                "unknown-failure",
                value.span,
                format!("{what} is '{other}', which counts as fail; there are fail, ignore and cancel"),
            );
            FailurePolicy::Fail
        }
    }
}
