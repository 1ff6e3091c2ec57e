//! Creating and replacing.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{State, Store};
use crate::clock::json_seconds;
use crate::failure::Failure;
use crate::kind::Kind;
use crate::object::{Key, Object};

/// `metadata.generateName` is cut so that five letters fit into a name of 63 characters.
const LONGEST_PREFIX: usize = 58;
/// How many generated names are tried before the server gives up.
const GENERATED_NAMES: usize = 8;

impl Store {
    /// Stores a new object, which was checked and defaulted before. With `dry_run` nothing is stored.
    pub(crate) fn create(
        &self,
        kind: Kind,
        namespace: &str,
        value: Value,
        dry_run: bool,
    ) -> Result<Arc<Object>, Failure> {
        let now = self.clock.now();
        self.write(|state| {
            let mut value = state.named(kind, namespace, value)?;
            if kind.namespaced() {
                state.admit_into(kind, namespace, value["metadata"]["name"].as_str().unwrap_or_default())?;
            }
            let metadata = &mut value["metadata"];
            if kind.namespaced() {
                metadata["namespace"] = namespace.into();
            }
            metadata["uid"] = state.entropy.uid().to_string().into();
            metadata["creationTimestamp"] = json_seconds(now);
            if kind == Kind::Pod {
                metadata["generation"] = json!(1);
            }
            for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "managedFields"] {
                if let Value::Object(metadata) = metadata {
                    metadata.remove(field);
                }
            }
            if dry_run {
                return Ok(Arc::new(Object::new(kind, value)));
            }
            Ok(state.put(kind, value))
        })
    }

    /// Stores the next version of an object: what `change` makes of the present one.
    ///
    /// The fields that only the server writes keep their values. A version that is equal to the present one is not
    /// stored. An object whose deletion waited for its last finalizer goes with the update that removes it.
    pub(crate) fn update(
        &self,
        key: &Key,
        dry_run: bool,
        change: impl FnOnce(&Object) -> Result<Value, Failure>,
    ) -> Result<Arc<Object>, Failure> {
        self.write(|state| {
            let present = Arc::clone(state.require(key)?);
            let mut next = change(&present)?;
            for field in
                ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion"]
            {
                keep(&mut next["metadata"], &present.value()["metadata"], field);
            }
            if next == *present.value() {
                return Ok(present);
            }
            if dry_run {
                return Ok(Arc::new(Object::new(key.kind, next)));
            }
            let stored = Object::new(key.kind, next);
            if state.may_go(&stored) {
                return Ok(state.remove(&Arc::new(stored)));
            }
            Ok(state.put(key.kind, stored.value().clone()))
        })
    }
}

impl State {
    /// Gives the object a name if it only brought a prefix, and refuses a name that is taken.
    fn named(&mut self, kind: Kind, namespace: &str, mut value: Value) -> Result<Value, Failure> {
        let name = value["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        if !name.is_empty() {
            return if self.objects.contains_key(&Key::new(kind, namespace, name.as_str())) {
                Err(Failure::already_exists(kind, &name))
            } else {
                Ok(value)
            };
        }
        let prefix: String =
            value["metadata"]["generateName"].as_str().unwrap_or_default().chars().take(LONGEST_PREFIX).collect();
        let mut generated = String::new();
        for _ in 0..GENERATED_NAMES {
            generated = format!("{prefix}{}", self.entropy.suffix());
            if !self.objects.contains_key(&Key::new(kind, namespace, generated.as_str())) {
                value["metadata"]["name"] = generated.into();
                return Ok(value);
            }
        }
        Err(Failure::already_exists(kind, &generated))
    }

    /// Whether new content may enter the namespace.
    fn admit_into(&self, kind: Kind, namespace: &str, name: &str) -> Result<(), Failure> {
        let owner = self.require(&Key::new(Kind::Namespace, "", namespace))?;
        if owner.is_terminating() {
            let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
            let cause = format!("namespace {namespace} is being terminated");
            return Err(Failure::forbidden(kind, name, why).with_cause("NamespaceTerminating", &cause));
        }
        Ok(())
    }

    /// Whether nothing holds a terminating object any more.
    pub(super) fn may_go(&self, object: &Object) -> bool {
        object.is_terminating()
            && object.finalizers().next().is_none()
            && object.value()["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or_default() == 0
            && object.value()["spec"]["finalizers"]
                .as_array()
                .is_none_or(|held| object.kind() != Kind::Namespace || held.is_empty())
    }
}

fn keep(next: &mut Value, present: &Value, field: &str) {
    match (present.get(field), next) {
        (Some(value), next) => next[field] = value.clone(),
        (None, Value::Object(next)) => {
            next.remove(field);
        }
        (None, _) => {}
    }
}
