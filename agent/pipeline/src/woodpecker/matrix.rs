//! `matrix`: one workflow per combination.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::report::Report;
use crate::yaml::Node;

/// Woodpecker makes no more, and doesn't say so.
const MAX_COMBINATIONS: usize = 27;
/// Of more axes, Woodpecker ignores the rest.
const MAX_AXES: usize = 12;

/// A value for each axis.
pub(super) type Axis = BTreeMap<String, String>;

/// The combinations, in the order of the file: the last axis changes fastest. None if there is no matrix.
pub(super) fn combinations(root: &Node, report: &mut Report<'_>) -> Vec<Axis> {
    let Some(matrix) = root.get("matrix").filter(|matrix| !matrix.is_null()) else { return Vec::new() };
    let Some(axes) = matrix.entries() else {
        report.error("matrix-type", matrix.span, format!("`matrix` has to be a map, not {}", matrix.kind()));
        return Vec::new();
    };
    let included = matrix.get("include").and_then(|include| include.items());
    let included = included.filter(|items| !items.is_empty() && items.iter().all(|item| item.entries().is_some()));
    let mut list = match included {
        Some(items) => items.iter().map(|item| include(item, report)).collect(),
        None => {
            if axes.len() > MAX_AXES {
                let message = format!("the matrix has {} axes; only the first {MAX_AXES} count", axes.len());
                report.warning("matrix-axes", matrix.span, message);
            }
            let mut list = vec![Axis::new()];
            for axis in axes.iter().take(MAX_AXES) {
                list = product(&list, axis.name(), &values(axis.name(), &axis.value, report));
            }
            list
        }
    };
    if list.len() > MAX_COMBINATIONS {
        report
            .warning(
                "matrix-size",
                matrix.span,
                format!("only the first {MAX_COMBINATIONS} combinations of the matrix run"),
            )
            .hint("name the wanted ones under `include`, or split the workflow");
        list.truncate(MAX_COMBINATIONS);
    }
    list.retain(|axis| !axis.is_empty());
    list
}

/// Every combination so far with every value. One more than can be used is enough to know that there are too many.
fn product(list: &[Axis], name: &str, values: &[String]) -> Vec<Axis> {
    let with = |axis: &Axis, value: &String| {
        let mut axis = axis.clone();
        axis.insert(name.to_owned(), value.clone());
        axis
    };
    list.iter().flat_map(|axis| values.iter().map(move |value| with(axis, value))).take(MAX_COMBINATIONS + 1).collect()
}

fn values(name: &str, node: &Rc<Node>, report: &mut Report<'_>) -> Vec<String> {
    let Some(items) = node.items() else {
        report
            .error("matrix-axis", node.span, format!("the axis '{name}' has to be a list, not {}", node.kind()))
            .hint(format!("write `{name}: [value, value]`"));
        return Vec::new();
    };
    if items.is_empty() {
        report.error("matrix-axis", node.span, format!("the axis '{name}' has no values, so nothing would run"));
    }
    items.iter().filter_map(|item| value(name, item, report)).collect()
}

fn include(item: &Node, report: &mut Report<'_>) -> Axis {
    let entries = item.entries().unwrap_or_default();
    let pair = |(name, node): (&str, &Rc<Node>)| Some((name.to_owned(), value(name, node, report)?));
    entries.iter().map(|entry| (entry.name(), &entry.value)).filter_map(pair).collect()
}

fn value(name: &str, node: &Node, report: &mut Report<'_>) -> Option<String> {
    let text = node.text();
    if text.is_none() {
        report.error(
            "matrix-axis",
            node.span,
            format!("a value of the axis '{name}' has to be a text, not {}", node.kind()),
        );
    }
    text.filter(|_| !node.is_null()).map(str::to_owned)
}
