//! What `<<` does: in a mapping it merges other mappings, alone in an item of a sequence it splices other sequences.
//! The second is an extension that Woodpecker's parser has.

use std::collections::HashMap;
use std::rc::Rc;

use super::{Entry, Node, Value};
use crate::report::{Report, Span};

/// What stands in a sequence.
pub(super) enum Item {
    /// One item.
    Node(Rc<Node>),
    /// The items of these sequences.
    Splice { span: Span, sequences: Vec<Rc<Node>> },
}

impl Item {
    pub(super) fn span(&self) -> Span {
        match self {
            Self::Node(node) => node.span,
            Self::Splice { span, .. } => *span,
        }
    }

    pub(super) fn weight(&self) -> usize {
        self.nodes().iter().fold(0, |sum, node| sum.saturating_add(node.weight))
    }

    pub(super) fn height(&self) -> usize {
        self.nodes().iter().map(|node| node.height).max().unwrap_or(0)
    }

    fn nodes(&self) -> &[Rc<Node>] {
        match self {
            Self::Node(node) => std::slice::from_ref(node),
            Self::Splice { sequences, .. } => sequences,
        }
    }
}

/// A sequence of these items.
pub(super) fn sequence(items: Vec<Item>) -> Vec<Rc<Node>> {
    let mut nodes = Vec::with_capacity(items.len());
    for item in items {
        match item {
            Item::Node(node) => nodes.push(node),
            Item::Splice { sequences, .. } => {
                nodes.extend(sequences.iter().flat_map(|sequence| sequence.items().unwrap_or_default()).cloned());
            }
        }
    }
    nodes
}

/// The splice that an item `<<: *list` or `<<: [*list, *other]` of a sequence stands for. A list of maps is spliced
/// too if it is one anchor's; `<<: [*map, *other]` merges maps, as everywhere.
pub(super) fn splice(entries: &[Entry]) -> Option<Item> {
    let [entry] = entries else { return None };
    let items = entry.value.items().filter(|_| is_merge_key(&entry.key))?;
    let is_sequence = |node: &Rc<Node>| matches!(node.value, Value::Sequence(_));
    // An alias' node is written before the key that it stands under.
    let is_alias = entry.value.span.start < entry.key.span.start;
    let sequences = if is_alias {
        vec![Rc::clone(&entry.value)]
    } else if !items.is_empty() && items.iter().all(is_sequence) {
        items.to_vec()
    } else {
        return None;
    };
    Some(Item::Splice { span: entry.key.span, sequences })
}

/// A mapping of these entries: merged ones come last and never replace one that is there.
pub(super) fn mapping(entries: Vec<Entry>, report: &mut Report<'_>) -> Vec<Entry> {
    let mut seen: HashMap<String, Span> = HashMap::new();
    let (merges, mut kept): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| is_merge_key(&entry.key));
    kept.retain(|entry| match seen.insert(entry.name().to_owned(), entry.key.span) {
        None => true,
        Some(first) => {
            report
                .error("yaml-duplicate-key", entry.key.span, format!("the key '{}' stands here twice", entry.name()))
                .hint("remove one of the two");
            report.related(first, "the first one");
            seen.insert(entry.name().to_owned(), first);
            false
        }
    });
    for merge in merges {
        let Some(sources) = sources(&merge.value) else {
            report
                .error("yaml-merge", merge.key.span, format!("`<<` merges maps, but this is {}", merge.value.kind()))
                .hint("write `<<: *anchor` or `<<: [*anchor, *other]`, with anchors of maps");
            continue;
        };
        for entry in sources.into_iter().flatten() {
            if !seen.contains_key(entry.name()) {
                seen.insert(entry.name().to_owned(), entry.key.span);
                kept.push(entry.clone());
            }
        }
    }
    kept
}

/// The entries of the mappings to merge; `None` if there is anything else among them.
fn sources(value: &Rc<Node>) -> Option<Vec<&[Entry]>> {
    match &value.value {
        Value::Mapping(entries) => Some(vec![entries]),
        Value::Sequence(items) => items.iter().map(|item| item.entries()).collect(),
        Value::Scalar(_) => None,
    }
}

fn is_merge_key(key: &Node) -> bool {
    matches!(&key.value, Value::Scalar(scalar) if scalar.plain && scalar.text == "<<")
}
