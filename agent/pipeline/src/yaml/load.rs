//! From the events of the parser to the tree.

use std::collections::HashMap;
use std::rc::Rc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};

use super::{Entry, Node, Scalar, Value, merge};
use crate::report::{Report, Span};

/// Collections inside each other. Real files have some 12.
const MAX_HEIGHT: usize = 64;
/// Bytes that a document may take with every alias written out.
const MAX_WEIGHT: usize = 16 << 20;

/// Reads the first document of a text. `None` if there is none, or if it can't be read, which is reported.
pub(crate) fn load(text: &str, report: &mut Report<'_>) -> Option<Rc<Node>> {
    let mut loader = Loader { offsets: Offsets::new(text), open: Vec::new(), anchors: HashMap::new(), root: None };
    let mut documents = 0;
    for event in Parser::new_from_str(text) {
        let (event, place) = match event {
            Ok(event) => event,
            Err(error) => {
                let at = loader.offsets.byte(*error.marker());
                let span = Span { start: at, end: at };
                let replaced = report.replaced_line(span);
                let replaced =
                    replaced.map(|line| format!("with its variables replaced, the line is `{}`", line.trim()));
                let message = format!("this is not valid YAML: {}", error.info());
                report.error("yaml-syntax", span, message).hint =
                    replaced.or_else(|| remedy(error.info()).map(str::to_owned));
                return None;
            }
        };
        let span = Span { start: loader.offsets.byte(place.start), end: loader.offsets.byte(place.end) };
        if let Event::DocumentStart(_) = event {
            documents += 1;
            if documents > 1 {
                report
                    .warning("yaml-several-documents", span, "only the first document of the file is read")
                    .hint("put each workflow into a file of its own");
                break;
            }
        }
        if loader.event(event, span, report).is_err() {
            return None;
        }
    }
    loader.root
}

/// What to do about the mistakes that are made most.
fn remedy(info: &str) -> Option<&'static str> {
    [
        ("tabs disallowed", "indent with spaces"),
        ("mapping values are not allowed", "put a text that holds `: ` between quotes, or look at the indentation"),
        ("unexpected character", "put the text between quotes"),
        ("unknown anchor", "define it further up, with `&` and its name"),
        ("did not find expected", "look at the indentation of this line and the one before"),
    ]
    .into_iter()
    .find(|(part, _)| info.contains(part))
    .map(|(_, remedy)| remedy)
}

/// Reading can't go on; it was reported why.
struct Stop;

struct Loader<'t> {
    offsets: Offsets<'t>,
    open: Vec<Open>,
    /// By the parser's number of the anchor, which is new for each definition. `None` while its node is open.
    anchors: HashMap<usize, Option<Rc<Node>>>,
    root: Option<Rc<Node>>,
}

/// A collection whose end wasn't read yet.
struct Open {
    span: Span,
    anchor: usize,
    content: Content,
}

enum Content {
    Sequence(Vec<merge::Item>),
    Mapping { entries: Vec<Entry>, key: Option<Rc<Node>> },
}

impl Loader<'_> {
    fn event(&mut self, event: Event<'_>, span: Span, report: &mut Report<'_>) -> Result<(), Stop> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let is_text = tag.is_some_and(|tag| is_text_tag(&tag));
                let plain = style == ScalarStyle::Plain && !is_text;
                let node = Rc::new(Node::new(span, Value::Scalar(Scalar { text: text.into_owned(), plain })));
                self.define(anchor, &node);
                self.add(merge::Item::Node(node), report)
            }
            Event::SequenceStart(anchor, _) => self.open(span, anchor, Content::Sequence(Vec::new()), report),
            Event::MappingStart(anchor, _) => {
                self.open(span, anchor, Content::Mapping { entries: Vec::new(), key: None }, report)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(report),
            Event::Alias(anchor) => match self.anchors.get(&anchor) {
                Some(Some(node)) => {
                    let node = Rc::clone(node);
                    self.add(merge::Item::Node(node), report)
                }
                _ => {
                    report.error("yaml-anchor", span, "the alias stands inside of what it refers to");
                    Err(Stop)
                }
            },
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {
                Ok(())
            }
        }
    }

    fn open(&mut self, span: Span, anchor: usize, content: Content, report: &mut Report<'_>) -> Result<(), Stop> {
        if self.open.len() >= MAX_HEIGHT {
            too_deep(span, report);
            return Err(Stop);
        }
        if anchor > 0 {
            self.anchors.insert(anchor, None);
        }
        self.open.push(Open { span, anchor, content });
        Ok(())
    }

    fn close(&mut self, report: &mut Report<'_>) -> Result<(), Stop> {
        let Some(closed) = self.open.pop() else { return Ok(()) };
        let in_sequence = matches!(self.open.last(), Some(Open { content: Content::Sequence(_), .. }));
        let value = match closed.content {
            Content::Sequence(items) => Value::Sequence(merge::sequence(items)),
            Content::Mapping { entries, .. } => {
                if let Some(splice) = in_sequence.then(|| merge::splice(&entries)).flatten() {
                    return self.add(splice, report);
                }
                Value::Mapping(merge::mapping(entries, report))
            }
        };
        let node = Rc::new(Node::new(closed.span, value));
        self.define(closed.anchor, &node);
        self.add(merge::Item::Node(node), report)
    }

    fn define(&mut self, anchor: usize, node: &Rc<Node>) {
        if anchor > 0 {
            self.anchors.insert(anchor, Some(Rc::clone(node)));
        }
    }

    /// Puts a finished node where it belongs.
    fn add(&mut self, item: merge::Item, report: &mut Report<'_>) -> Result<(), Stop> {
        let span = item.span();
        if item.weight() > MAX_WEIGHT {
            report.error("yaml-too-large", span, "with its aliases written out, this takes more than 16 MiB");
            return Err(Stop);
        }
        if self.open.len() + item.height() > MAX_HEIGHT {
            too_deep(span, report);
            return Err(Stop);
        }
        match (self.open.last_mut().map(|open| &mut open.content), item) {
            (Some(Content::Sequence(items)), item) => items.push(item),
            (Some(Content::Mapping { entries, key }), merge::Item::Node(node)) => match key.take() {
                Some(key) => entries.push(Entry { key, value: node }),
                None if node.text().is_some() => *key = Some(node),
                None => {
                    report.error("yaml-key", node.span, format!("a key has to be a text, not {}", node.kind()));
                    return Err(Stop);
                }
            },
            (None, merge::Item::Node(node)) => self.root = Some(node),
            // A splice is only made for a sequence.
            (_, merge::Item::Splice { .. }) => {}
        }
        Ok(())
    }
}

fn too_deep(span: Span, report: &mut Report<'_>) {
    report.error("yaml-too-deep", span, format!("more than {MAX_HEIGHT} lists and maps lie inside each other here"));
}

fn is_text_tag(tag: &Tag) -> bool {
    tag.is_yaml_core_schema() && tag.suffix == "str" || tag.handle.is_empty() && tag.suffix == "!"
}

/// From the parser's counts of characters to bytes.
struct Offsets<'t> {
    text: &'t str,
    /// The byte at every 64th character; empty if every character has one byte.
    every: Vec<usize>,
}

const STRIDE: usize = 64;

impl<'t> Offsets<'t> {
    fn new(text: &'t str) -> Self {
        let every =
            if text.is_ascii() { Vec::new() } else { text.char_indices().step_by(STRIDE).map(|(at, _)| at).collect() };
        Self { text, every }
    }

    fn byte(&self, marker: Marker) -> usize {
        if self.every.is_empty() {
            return marker.index().min(self.text.len());
        }
        let Some(&from) = self.every.get(marker.index() / STRIDE) else { return self.text.len() };
        let rest = self.text.get(from..).unwrap_or_default();
        rest.char_indices().nth(marker.index() % STRIDE).map_or(self.text.len(), |(at, _)| from + at)
    }
}
