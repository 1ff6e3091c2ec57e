//! Settings and variables as text: what a value of any type becomes in an environment.

use std::collections::BTreeMap;

use piculet_core::secret::Secret;

use super::step::Parameter;
use crate::report::{Report, Span};
use crate::yaml::{Node, Resolved, Value, go_float};

/// The secrets of a repository, found whatever the case of their name.
pub(super) struct Secrets<'c>(BTreeMap<String, &'c Secret>);

/// A variable's value.
pub(super) enum Flat {
    Plain(String),
    /// The value of a secret, or something that holds one.
    Secret(Secret),
}

impl<'c> Secrets<'c> {
    pub(super) fn new(secrets: &'c BTreeMap<String, Secret>) -> Self {
        Self(secrets.iter().map(|(name, value)| (name.to_lowercase(), value)).collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&'c Secret> {
        self.0.get(&name.to_lowercase()).copied()
    }
}

/// `PLUGIN_` and the name in capitals.
pub(super) fn plugin_variable(name: &str) -> String {
    format!("PLUGIN_{}", name.replace(['.', '-'], "_").to_uppercase())
}

/// The value of a parameter as text: lists of plain values joined by commas, other lists and maps as JSON, `from_secret`
/// replaced wherever it stands. `None` for null, or if a secret is missing, which is reported.
pub(super) fn flatten(
    parameter: &Parameter,
    owner: &str,
    secrets: &Secrets<'_>,
    report: &mut Report<'_>,
) -> Option<Flat> {
    let mut resolver = Resolver { owner, secrets, report, used: false, missing: false };
    let text = resolver.text(&parameter.value)?;
    match (resolver.missing, resolver.used) {
        (true, _) => None,
        (false, true) => Some(Flat::Secret(Secret::new(text))),
        (false, false) => {
            warn_of_number(parameter, &text, owner, report);
            Some(Flat::Plain(text))
        }
    }
}

struct Resolver<'r, 't, 'c> {
    owner: &'r str,
    secrets: &'r Secrets<'c>,
    report: &'r mut Report<'t>,
    used: bool,
    missing: bool,
}

impl Resolver<'_, '_, '_> {
    fn text(&mut self, node: &Node) -> Option<String> {
        if let Some(secret) = self.secret(node) {
            return Some(secret);
        }
        match &node.value {
            Value::Scalar(scalar) => plain(&scalar.resolve()),
            Value::Sequence(items) if items.iter().all(|item| item.text().is_some()) => {
                let texts = items.iter().map(|item| self.text(item).unwrap_or_default());
                Some(texts.collect::<Vec<_>>().join(","))
            }
            _ => Some(self.json(node).to_string()),
        }
    }

    fn json(&mut self, node: &Node) -> serde_json::Value {
        if let Some(secret) = self.secret(node) {
            return serde_json::Value::String(secret);
        }
        match &node.value {
            Value::Scalar(_) => node.json(),
            Value::Sequence(items) => serde_json::Value::Array(items.iter().map(|item| self.json(item)).collect()),
            Value::Mapping(entries) => {
                entries.iter().map(|entry| (entry.name().to_owned(), self.json(&entry.value))).collect()
            }
        }
    }

    /// The value that a map with the key `from_secret` stands for; nothing much if there is none.
    fn secret(&mut self, node: &Node) -> Option<String> {
        let name = node.get("from_secret")?;
        let Some(text) = name.text().filter(|_| !name.is_null()) else {
            let message = format!("`from_secret` has to be the name of a secret, not {}", name.kind());
            self.report.error("wrong-type", name.span, message);
            self.missing = true;
            return Some(String::new());
        };
        match self.secrets.get(text) {
            Some(secret) => {
                self.used = true;
                Some(secret.expose().to_owned())
            }
            None => {
                missing(self.owner, text, name.span, self.report);
                self.missing = true;
                Some(String::new())
            }
        }
    }
}

/// Says that there is no such secret.
fn missing(owner: &str, name: &str, span: Span, report: &mut Report<'_>) {
    let message = format!("secret \"{}\" not found; {owner} needs it", name.to_lowercase());
    report.error("missing-secret", span, message).hint("add the secret to the repository, or remove its use");
}

fn plain(value: &Resolved<'_>) -> Option<String> {
    match value {
        Resolved::Null => None,
        Resolved::Bool(value) => Some(value.to_string()),
        Resolved::Integer(value) => Some(value.to_string()),
        Resolved::Float(value) => Some(go_float(*value)),
        Resolved::Text(text) => Some((*text).to_owned()),
    }
}

/// A version like 3.10 is a number to YAML, and arrives as 3.1.
fn warn_of_number(parameter: &Parameter, text: &str, owner: &str, report: &mut Report<'_>) {
    if let Value::Scalar(scalar) = &parameter.value.value
        && matches!(scalar.resolve(), Resolved::Integer(_) | Resolved::Float(_))
        && scalar.text != text
    {
        report
            .warning(
                "number-changes",
                parameter.value.span,
                format!("'{}' of {owner} becomes '{text}', because it is a number", parameter.name),
            )
            .hint(format!("write \"{}\" to keep it as it is", scalar.text));
    }
}

#[cfg(test)]
mod tests {
    use piculet_core::secret::Secret;

    use super::{Flat, Secrets, flatten, plugin_variable};
    use crate::report::Report;
    use crate::substitute::Substituted;
    use crate::woodpecker::step::Parameter;
    use crate::yaml;

    fn flat(text: &str) -> (String, Vec<String>) {
        let source = Substituted::none(text);
        let mut report = Report::new(&source);
        let value = yaml::load(text, &mut report).unwrap();
        let secrets =
            [("Token", "s3cr3t"), ("quoted", "a\"b")].map(|(name, value)| (name.to_owned(), Secret::new(value)));
        let secrets = secrets.into();
        let parameter = Parameter { name: "x".to_owned(), span: value.span, value };
        let shown = match flatten(&parameter, "step 'a'", &Secrets::new(&secrets), &mut report) {
            None => "-".to_owned(),
            Some(Flat::Plain(text)) => text,
            Some(Flat::Secret(secret)) => format!("secret: {}", secret.expose()),
        };
        (shown, report.into_found().into_iter().map(|found| format!("{}: {}", found.code, found.message)).collect())
    }

    #[test]
    fn values_become_text() {
        for (value, expected) in [
            ("text", "text"),
            ("'1.10'", "1.10"),
            ("true", "true"),
            ("yes", "yes"),
            ("12", "12"),
            ("1.5", "1.5"),
            ("~", "-"),
            ("[a, 1, true, ~, 2.5]", "a,1,true,,2.5"),
            ("[]", ""),
            ("{b: [1, x], a: {c: ~}}", r#"{"a":{"c":null},"b":[1,"x"]}"#),
            ("[a, {b: c}]", r#"["a",{"b":"c"}]"#),
            ("[[a], b]", r#"[["a"],"b"]"#),
            ("{from_secret: TOKEN}", "secret: s3cr3t"),
            ("[a, {from_secret: token}]", r#"secret: ["a","s3cr3t"]"#),
            ("{user: u, password: {from_secret: quoted}}", r#"secret: {"password":"a\"b","user":"u"}"#),
        ] {
            assert_eq!(flat(value), (expected.to_owned(), Vec::new()), "{value}");
        }
    }

    #[test]
    fn what_gets_lost_is_told() {
        let number = |from: &str, to: &str| {
            format!("number-changes: 'x' of step 'a' becomes '{to}', because it is a number (from {from})")
        };
        for (value, text) in [("3.10", "3.1"), ("0x10", "16"), ("010", "8"), ("1_000", "1000"), ("1e6", "1e+06")] {
            let (shown, found) = flat(value);
            assert_eq!((shown.as_str(), found.len()), (text, 1), "{value}");
            assert_eq!(format!("{} (from {value})", found[0]), number(value, text));
        }
        let missing = "missing-secret: secret \"nope\" not found; step 'a' needs it";
        assert_eq!(flat("{from_secret: NOPE}"), ("-".to_owned(), vec![missing.to_owned()]));
        assert_eq!(flat("[{from_secret: NOPE}, {from_secret: token}]"), ("-".to_owned(), vec![missing.to_owned()]));
        let wrong = "wrong-type: `from_secret` has to be the name of a secret, not a list";
        assert_eq!(flat("{from_secret: [a]}"), ("-".to_owned(), vec![wrong.to_owned()]));
    }

    #[test]
    fn names_of_settings_become_variables() {
        assert_eq!(plugin_variable("dry_run"), "PLUGIN_DRY_RUN");
        assert_eq!(plugin_variable("description-short.x"), "PLUGIN_DESCRIPTION_SHORT_X");
    }
}
