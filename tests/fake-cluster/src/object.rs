//! One stored version of one object.

use std::sync::OnceLock;

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::kind::Kind;

/// Where an object is: no two objects share a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    /// Its kind.
    pub(crate) kind: Kind,
    /// Its namespace; empty for kinds of the cluster's own scope.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) name: String,
}

impl Key {
    /// The key of an object.
    pub(crate) fn new(kind: Kind, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { kind, namespace: namespace.into(), name: name.into() }
    }
}

/// One version of an object. Never changes: the next version is another value.
#[derive(Debug)]
pub(crate) struct Object {
    kind: Kind,
    value: Value,
    /// The object's JSON without the braces and without `kind` and `apiVersion`, rendered at most once.
    rendered: OnceLock<Bytes>,
}

impl Object {
    pub(crate) fn new(kind: Kind, value: Value) -> Self {
        Self { kind, value, rendered: OnceLock::new() }
    }

    /// Its kind.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// The whole object as JSON.
    pub(crate) fn value(&self) -> &Value {
        &self.value
    }

    pub(crate) fn key(&self) -> Key {
        Key::new(self.kind, self.namespace(), self.name())
    }

    /// `metadata.name`.
    pub(crate) fn name(&self) -> &str {
        self.meta("name")
    }

    /// `metadata.namespace`, or nothing.
    pub(crate) fn namespace(&self) -> &str {
        self.meta("namespace")
    }

    /// `metadata.uid`.
    pub(crate) fn uid(&self) -> &str {
        self.meta("uid")
    }

    /// `metadata.resourceVersion`.
    pub(crate) fn resource_version(&self) -> &str {
        self.meta("resourceVersion")
    }

    /// Whether a deletion has begun.
    pub(crate) fn is_terminating(&self) -> bool {
        !self.meta("deletionTimestamp").is_empty()
    }

    pub(crate) fn labels(&self) -> Option<&Map<String, Value>> {
        self.value["metadata"]["labels"].as_object()
    }

    pub(crate) fn finalizers(&self) -> impl Iterator<Item = &str> {
        list(&self.value["metadata"]["finalizers"]).filter_map(Value::as_str)
    }

    /// The text at a path of field names, for example `["spec", "nodeName"]`; empty if there is none.
    pub(crate) fn text(&self, path: &[&str]) -> &str {
        path.iter().fold(&self.value, |value, field| &value[*field]).as_str().unwrap_or_default()
    }

    fn meta(&self, field: &str) -> &str {
        self.value["metadata"][field].as_str().unwrap_or_default()
    }

    /// The whole object, for a GET or a watch event.
    pub(crate) fn write_whole(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(
            format!(r#"{{"kind":"{}","apiVersion":"{}","#, self.kind.name(), self.kind.api_version()).as_bytes(),
        );
        into.extend_from_slice(self.rendered());
        into.push(b'}');
    }

    /// The object as an item of a list: built-in kinds leave out `kind` and `apiVersion` there.
    pub(crate) fn write_item(&self, into: &mut Vec<u8>) {
        into.push(b'{');
        into.extend_from_slice(self.rendered());
        into.push(b'}');
    }

    fn rendered(&self) -> &Bytes {
        self.rendered.get_or_init(|| {
            let mut fields = self.value.clone();
            if let Value::Object(fields) = &mut fields {
                fields.remove("kind");
                fields.remove("apiVersion");
            }
            let whole = Bytes::from(fields.to_string());
            whole.slice(1..whole.len().saturating_sub(1))
        })
    }
}

/// The elements of a JSON array; nothing if it is none.
pub(crate) fn list(value: &Value) -> std::slice::Iter<'_, Value> {
    value.as_array().map_or_else(Default::default, |array| array.iter())
}
