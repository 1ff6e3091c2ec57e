//! YAML as a tree that knows its positions.
//!
//! What pipeline files need beyond plain YAML is resolved while the tree is built: aliases (an anchor may be defined
//! again), `<<` merges in a mapping, and `<<` in a sequence, which splices other sequences into it. What is hostile
//! is refused by its size: depth, and the bytes that all aliases together stand for.

mod load;
mod merge;
mod scalar;
#[cfg(test)]
mod tests;

use std::rc::Rc;

pub(crate) use self::load::load;
pub(crate) use self::scalar::{Resolved, go_float};

use crate::report::Span;

/// A node with everything below it. Nodes that an alias stands for are shared.
#[derive(Debug)]
pub(crate) struct Node {
    /// Where it is written; of a collection, where it starts.
    pub(crate) span: Span,
    pub(crate) value: Value,
    /// Bytes that it would take if nothing were shared.
    weight: usize,
    /// How many nodes lie above each other, itself included.
    height: usize,
}

/// What a node is.
#[derive(Debug)]
pub(crate) enum Value {
    Scalar(Scalar),
    Sequence(Vec<Rc<Node>>),
    Mapping(Vec<Entry>),
}

/// A single value.
#[derive(Debug)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    /// Written without quotes, so that it may be something else than text.
    pub(crate) plain: bool,
}

/// A key with its value. Keys are scalars, unique in their mapping.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: Rc<Node>,
    pub(crate) value: Rc<Node>,
}

impl Entry {
    /// The key's text.
    pub(crate) fn name(&self) -> &str {
        self.key.text().unwrap_or_default()
    }
}

impl Node {
    fn new(span: Span, value: Value) -> Self {
        let (own, below) = match &value {
            Value::Scalar(scalar) => (scalar.text.len(), (0, 0)),
            Value::Sequence(items) => (0, sums(items.iter())),
            Value::Mapping(entries) => (0, sums(entries.iter().flat_map(|entry| [&entry.key, &entry.value]))),
        };
        let weight = below.0.saturating_add(own).saturating_add(NODE_WEIGHT);
        Self { span, value, weight, height: below.1 + 1 }
    }

    /// A text that stands for what was written in another way.
    pub(crate) fn of_text(span: Span, text: impl Into<String>) -> Rc<Self> {
        Rc::new(Self::new(span, Value::Scalar(Scalar { text: text.into(), plain: false })))
    }

    /// The text of a scalar, as it is written, whatever it resolves to.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(scalar) => Some(&scalar.text),
            _ => None,
        }
    }

    /// Whether it is `null`, `~` or nothing at all.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar) if scalar.resolve() == Resolved::Null)
    }

    /// The entries of a mapping.
    pub(crate) fn entries(&self) -> Option<&[Entry]> {
        match &self.value {
            Value::Mapping(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value of a mapping's key.
    pub(crate) fn get(&self, name: &str) -> Option<&Rc<Node>> {
        self.entries()?.iter().find(|entry| entry.name() == name).map(|entry| &entry.value)
    }

    /// The items of a sequence.
    pub(crate) fn items(&self) -> Option<&[Rc<Node>]> {
        match &self.value {
            Value::Sequence(items) => Some(items),
            _ => None,
        }
    }

    /// What it is, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a map",
            Value::Scalar(scalar) => match scalar.resolve() {
                Resolved::Null => "nothing",
                Resolved::Bool(_) => "a boolean",
                Resolved::Integer(_) | Resolved::Float(_) => "a number",
                Resolved::Text(_) => "a text",
            },
        }
    }

    /// As JSON; keys as their text.
    pub(crate) fn json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Scalar(scalar) => match scalar.resolve() {
                Resolved::Null => Json::Null,
                Resolved::Bool(value) => Json::Bool(value),
                Resolved::Integer(value) => i64::try_from(value)
                    .map(Json::from)
                    .or_else(|_| u64::try_from(value).map(Json::from))
                    .unwrap_or_else(|_| Json::String(scalar.text.clone())),
                Resolved::Float(value) => {
                    serde_json::Number::from_f64(value).map_or_else(|| Json::String(scalar.text.clone()), Json::Number)
                }
                Resolved::Text(text) => Json::String(text.to_owned()),
            },
            Value::Sequence(items) => Json::Array(items.iter().map(|item| item.json()).collect()),
            Value::Mapping(entries) => {
                Json::Object(entries.iter().map(|entry| (entry.name().to_owned(), entry.value.json())).collect())
            }
        }
    }
}

/// What a node costs apart from its text.
const NODE_WEIGHT: usize = 64;

fn sums<'n>(nodes: impl Iterator<Item = &'n Rc<Node>>) -> (usize, usize) {
    nodes.fold((0, 0), |(weight, height): (usize, usize), node| {
        (weight.saturating_add(node.weight), height.max(node.height))
    })
}
