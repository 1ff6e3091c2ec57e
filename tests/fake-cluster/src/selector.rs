//! Label and field selectors, with the grammar of the API server.

use std::collections::BTreeSet;

use crate::failure::Failure;
use crate::kind::Kind;
use crate::object::Object;

/// Which objects a list, a watch or a deletecollection means.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<FieldTerm>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    rule: Rule,
}

/// What a label must be. Only `In`, `Exists` and the comparisons need the label to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Rule {
    In(BTreeSet<String>),
    NotIn(BTreeSet<String>),
    Exists,
    Absent,
    GreaterThan(i64),
    LessThan(i64),
}

#[derive(Debug, Clone)]
struct FieldTerm {
    field: &'static str,
    value: String,
    equal: bool,
}

impl Rule {
    /// Whether a label with this value, or none, satisfies the rule.
    pub(crate) fn allows(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|text| text.parse::<i64>().ok());
        match self {
            Self::In(set) => value.is_some_and(|value| set.contains(value)),
            Self::NotIn(set) => value.is_none_or(|value| !set.contains(value)),
            Self::Exists => value.is_some(),
            Self::Absent => value.is_none(),
            Self::GreaterThan(bound) => number().is_some_and(|number| number > *bound),
            Self::LessThan(bound) => number().is_some_and(|number| number < *bound),
        }
    }
}

impl Selector {
    /// Reads `labelSelector` and `fieldSelector` of a request for `kind`.
    pub(crate) fn parse(kind: Kind, labels: &str, fields: &str) -> Result<Self, Failure> {
        let labels =
            parse_labels(labels).map_err(|why| Failure::bad_request(format!("unable to parse requirement: {why}")))?;
        let fields = parse_fields(kind, fields).map_err(|why| {
            let group = kind.api_version();
            let group = group.strip_suffix("/v1").unwrap_or_default();
            Failure::bad_request(format!(
                "Unable to find \"{group}/v1, Resource={}\" that match label selector \"\", field selector {fields:?}: \
                 {why}",
                kind.plural(),
            ))
        })?;
        Ok(Self { labels, fields })
    }

    pub(crate) fn matches(&self, object: &Object) -> bool {
        let labels = object.labels();
        let label = |key: &str| labels.and_then(|labels| labels.get(key)).and_then(|value| value.as_str());
        self.labels.iter().all(|wanted| wanted.rule.allows(label(&wanted.key)))
            && self.fields.iter().all(|term| (field(object, term.field) == term.value) == term.equal)
    }
}

/// The value of a selectable field, as text.
fn field(object: &Object, path: &str) -> String {
    let at = |path: &str| {
        let found = path.split('.').fold(object.value(), |value, part| &value[part]);
        match found {
            serde_json::Value::Null => String::new(),
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    };
    match (path, at(path).as_str()) {
        ("source", _) => at("source.component"),
        ("spec.hostNetwork" | "spec.unschedulable", "") => "false".to_owned(),
        (_, found) => found.to_owned(),
    }
}

/// The fields by which objects of a kind can be selected.
fn selectable(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Pod => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        Kind::Event => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        Kind::Secret => &["type"],
        Kind::Namespace => &["status.phase"],
        Kind::Node => &["spec.unschedulable"],
        Kind::Service => &["spec.clusterIP", "spec.type"],
        Kind::ConfigMap | Kind::Lease | Kind::NetworkPolicy | Kind::PersistentVolumeClaim | Kind::ServiceAccount => &[],
    }
}

fn parse_fields(kind: Kind, text: &str) -> Result<Vec<FieldTerm>, String> {
    let mut terms = Vec::new();
    for term in text.split(',').filter(|term| !term.is_empty()) {
        let (name, value, equal) = if let Some((name, value)) = term.split_once("!=") {
            (name, value, false)
        } else if let Some((name, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
            (name, value, true)
        } else {
            return Err(format!("invalid selector: '{text}'; can't understand '{term}'"));
        };
        let known = ["metadata.name", "metadata.namespace"];
        let field = known.iter().chain(selectable(kind)).find(|known| **known == name);
        let Some(field) = field else { return Err(format!("field label not supported: {name}")) };
        terms.push(FieldTerm { field, value: value.to_owned(), equal });
    }
    Ok(terms)
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Open,
    Close,
    Comma,
    Not,
    Equals,
    NotEquals,
    Greater,
    Less,
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text.chars().peekable();
    while let Some(letter) = rest.next() {
        let token = match letter {
            letter if letter.is_whitespace() => continue,
            '(' => Token::Open,
            ')' => Token::Close,
            ',' => Token::Comma,
            '>' => Token::Greater,
            '<' => Token::Less,
            '!' if rest.next_if_eq(&'=').is_some() => Token::NotEquals,
            '!' => Token::Not,
            '=' => {
                rest.next_if_eq(&'=');
                Token::Equals
            }
            letter => {
                let mut word = String::from(letter);
                while let Some(next) = rest.next_if(|next| !next.is_whitespace() && !"(),!=<>".contains(*next)) {
                    word.push(next);
                }
                Token::Word(word)
            }
        };
        tokens.push(token);
    }
    tokens
}

fn parse_labels(text: &str) -> Result<Vec<Requirement>, String> {
    let mut tokens = tokens(text).into_iter().peekable();
    let mut requirements = Vec::new();
    while tokens.peek().is_some() {
        requirements.push(requirement(&mut tokens)?);
        match tokens.next() {
            None => break,
            Some(Token::Comma) if tokens.peek().is_some() => {}
            Some(other) => return Err(format!("found '{other:?}', expected: ',' or 'end of string'")),
        }
    }
    Ok(requirements)
}

fn requirement(tokens: &mut std::iter::Peekable<std::vec::IntoIter<Token>>) -> Result<Requirement, String> {
    let absent = tokens.next_if_eq(&Token::Not).is_some();
    let Some(Token::Word(key)) = tokens.next() else { return Err("expected a label key".into()) };
    if absent {
        return Ok(Requirement { key, rule: Rule::Absent });
    }
    let rule = match tokens.peek() {
        None | Some(Token::Comma) => Rule::Exists,
        Some(_) => match tokens.next() {
            Some(Token::Equals) => Rule::In([value(tokens)].into()),
            Some(Token::NotEquals) => Rule::NotIn([value(tokens)].into()),
            Some(Token::Greater) => Rule::GreaterThan(bound(tokens)?),
            Some(Token::Less) => Rule::LessThan(bound(tokens)?),
            Some(Token::Word(word)) if word == "in" => Rule::In(set(tokens)?),
            Some(Token::Word(word)) if word == "notin" => Rule::NotIn(set(tokens)?),
            other => {
                return Err(format!("found '{other:?}', expected: in, notin, =, ==, !=, gt, lt"));
            }
        },
    };
    Ok(Requirement { key, rule })
}

/// A value may be empty: `key=` selects the empty label.
fn value(tokens: &mut std::iter::Peekable<std::vec::IntoIter<Token>>) -> String {
    match tokens.next_if(|token| matches!(token, Token::Word(_))) {
        Some(Token::Word(word)) => word,
        _ => String::new(),
    }
}

fn bound(tokens: &mut std::iter::Peekable<std::vec::IntoIter<Token>>) -> Result<i64, String> {
    let text = value(tokens);
    text.parse().map_err(|_| format!("for 'Gt', 'Lt' operators, the value must be an integer, not {text:?}"))
}

fn set(tokens: &mut std::iter::Peekable<std::vec::IntoIter<Token>>) -> Result<BTreeSet<String>, String> {
    if tokens.next() != Some(Token::Open) {
        return Err("expected: '('".into());
    }
    let mut set = BTreeSet::new();
    loop {
        set.insert(value(tokens));
        match tokens.next() {
            Some(Token::Comma) => {}
            Some(Token::Close) => return Ok(set),
            other => return Err(format!("found '{other:?}', expected: ',', or ')'")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod() -> Object {
        let labels = json!({"app": "web", "tier": "1", "empty": ""});
        Object::new(
            Kind::Pod,
            json!({"metadata": {"name": "p", "namespace": "ns", "labels": labels}, "spec": {"nodeName": "n1"}}),
        )
    }

    fn matches(labels: &str, fields: &str) -> bool {
        Selector::parse(Kind::Pod, labels, fields).expect("a selector").matches(&pod())
    }

    #[test]
    fn labels_are_selected_as_the_api_server_does() {
        let hits = [
            "",
            "app=web",
            "app==web",
            "app!=db",
            "missing!=x",
            "app",
            "!missing",
            "app in (db, web)",
            "empty=",
            "app notin (db),tier",
            "missing notin (x)",
            "tier>0",
            "tier<2",
            " app = web , tier in (1)",
            "empty in (,x)",
        ];
        let misses =
            ["app=db", "app!=web", "missing", "!app", "app in (db)", "app notin (web)", "missing=", "tier>1", "app>1"];
        for text in hits {
            assert!(matches(text, ""), "{text:?} selects the pod");
        }
        for text in misses {
            assert!(!matches(text, ""), "{text:?} does not select the pod");
        }
    }

    #[test]
    fn fields_are_selected_by_name_and_unknown_ones_are_refused() {
        assert!(matches("", "metadata.name=p,spec.nodeName!=n2,spec.hostNetwork=false"));
        assert!(!matches("", "metadata.name==q"));
        let refused = Selector::parse(Kind::Pod, "", "spec.color=red").expect_err("an unknown field");
        assert_eq!(
            refused.message,
            "Unable to find \"/v1, Resource=pods\" that match label selector \"\", field selector \"spec.color=red\": \
             field label not supported: spec.color"
        );
    }

    #[test]
    fn broken_selectors_are_refused() {
        for text in ["app in web", "app in (web", "=x", "app web", "a=b,", "tier>x"] {
            assert!(Selector::parse(Kind::Pod, text, "").is_err(), "{text:?} is refused");
        }
    }
}
