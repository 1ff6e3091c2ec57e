//! Create, replace and patch.

use http::{Response, StatusCode};
use serde_json::Value;

use super::{Api, Asked, object_response};
use crate::admission;
use crate::body::Body;
use crate::failure::{Failure, FieldError};
use crate::kind::Kind;
use crate::object::Object;
use crate::validate;

const MERGE_PATCH: &str = "application/merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";

/// What is sent to etcd may not be larger.
const LARGEST_OBJECT: usize = 3 << 19;
/// What is sent over the connection to etcd may not be larger.
const LARGEST_MESSAGE: usize = 2 << 20;

impl Api {
    pub(super) fn create(&self, asked: &Asked) -> Result<Response<Body>, Failure> {
        let (kind, namespace) = (asked.resource.kind, asked.resource.namespace.as_str());
        if kind.namespaced() && namespace.is_empty() {
            return Err(Failure::method_not_allowed());
        }
        let object = kind.decode(asked.json()?)?;
        if kind.namespaced() {
            check_namespace(&object, namespace)?;
        }
        if !text(&object["metadata"]["resourceVersion"]).is_empty() {
            return Err(Failure::bad_request("resourceVersion should not be set on objects to be created"));
        }
        let object =
            admission::of_new(&self.store, &self.classes, kind, namespace, self.mutations.apply(kind, object)?)?;
        validate::new_object(kind, &object)?;
        if kind == Kind::Pod {
            admission::pod_security::check(&self.store, namespace, &object)?;
        }
        check_size(&object)?;
        let stored = self.store.create(kind, namespace, object, asked.params.dry_run()?)?;
        Ok(object_response(StatusCode::CREATED, &stored))
    }

    pub(super) fn replace(&self, asked: &Asked) -> Result<Response<Body>, Failure> {
        let kind = asked.resource.kind;
        let object = kind.decode(asked.json()?)?;
        let name = text(&object["metadata"]["name"]);
        if name != asked.resource.name {
            let message =
                format!("the name of the object ({name}) does not match the name on the URL ({})", asked.resource.name);
            return Err(Failure::bad_request(message));
        }
        if kind.namespaced() {
            check_namespace(&object, &asked.resource.namespace)?;
        }
        let key = asked.key();
        if kind.create_on_update() && self.store.get(&key).is_none() {
            let object = admission::of_new(&self.store, &self.classes, kind, &key.namespace, object)?;
            validate::new_object(kind, &object)?;
            let stored = self.store.create(kind, &key.namespace, object, asked.params.dry_run()?)?;
            return Ok(object_response(StatusCode::CREATED, &stored));
        }
        let stored = self.store.update(&key, asked.params.dry_run()?, |present| {
            if text(&object["metadata"]["resourceVersion"]).is_empty() && !kind.unconditional_update() {
                let error = FieldError::invalid("metadata.resourceVersion", 0, "must be specified for an update");
                return Err(Failure::invalid(kind.plural(), kind.group(), present.name(), &[error]));
            }
            next_version(&asked.resource.part, present, object)
        })?;
        Ok(object_response(StatusCode::OK, &stored))
    }

    pub(super) fn patch(&self, asked: &Asked) -> Result<Response<Body>, Failure> {
        let patch = Patch::read(&asked.content_type, &asked.body)?;
        let kind = asked.resource.kind;
        let stored = self.store.update(&asked.key(), asked.params.dry_run()?, |present| {
            let mut patched = present.value().clone();
            patch.apply(&mut patched)?;
            next_version(&asked.resource.part, present, kind.decode(patched)?)
        })?;
        Ok(object_response(StatusCode::OK, &stored))
    }
}

enum Patch {
    Merge(Value),
    Json(json_patch::Patch),
}

impl Patch {
    fn read(content_type: &str, content: &[u8]) -> Result<Self, Failure> {
        let broken = |error: serde_json::Error| Failure::bad_request(format!("error decoding patch: {error}"));
        match content_type {
            MERGE_PATCH => serde_json::from_slice(content).map(Self::Merge).map_err(broken),
            JSON_PATCH => serde_json::from_slice(content).map(Self::Json).map_err(broken),
            _ => Err(Failure::unsupported_media(&format!("{JSON_PATCH}, {MERGE_PATCH}"))),
        }
    }

    fn apply(&self, object: &mut Value) -> Result<(), Failure> {
        match self {
            Self::Merge(patch) => {
                json_patch::merge(object, patch);
                Ok(())
            }
            // The server does not say which operation failed, not even which `test`.
            Self::Json(patch) => json_patch::patch(object, patch).map_err(|_| {
                Failure::new(422, "Invalid", "the server rejected our request due to an error in our request")
            }),
        }
    }
}

/// What an update makes of an object: checks its preconditions, and keeps what this update may not touch.
fn next_version(part: &str, present: &Object, mut next: Value) -> Result<Value, Failure> {
    let kind = present.kind();
    let version = text(&next["metadata"]["resourceVersion"]);
    if !version.is_empty() && version != present.resource_version() {
        return Err(Failure::modified(kind, present.name()));
    }
    let uid = text(&next["metadata"]["uid"]);
    if !uid.is_empty() && uid != present.uid() {
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: /registry/{}/{}/{}, ResourceVersion: 0, AdditionalErrorMsg: \
             Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            kind.plural(),
            present.namespace(),
            present.name(),
            present.uid(),
        );
        return Err(Failure::conflict(kind, present.name(), why));
    }
    for field in ["name", "namespace"] {
        if next["metadata"][field] != present.value()["metadata"][field] {
            let error =
                FieldError::invalid(format!("metadata.{field}"), next["metadata"][field].clone(), "field is immutable");
            return Err(Failure::invalid(kind.name(), kind.group(), present.name(), &[error]));
        }
    }
    let before = present.value();
    match part {
        "status" => {
            next["spec"] = before["spec"].clone();
            for field in ["finalizers", "ownerReferences"] {
                restore(&mut next["metadata"], &before["metadata"], field);
            }
            restore(&mut next, before, "spec");
        }
        // Only here may a namespace lose the finalizer of its spec.
        "finalize" => {}
        _ => {
            if kind.has_status() {
                restore(&mut next, before, "status");
            }
            if kind == Kind::Namespace {
                restore(&mut next, before, "spec");
            }
        }
    }
    restore(&mut next["metadata"], &before["metadata"], "generation");
    if let (Some(generation), true) = (before["metadata"]["generation"].as_i64(), next["spec"] != before["spec"]) {
        next["metadata"]["generation"] = (generation + 1).into();
    }
    let next = admission::of_update(kind, next);
    validate::update(kind, before, &next)?;
    check_size(&next)?;
    Ok(next)
}

fn restore(next: &mut Value, before: &Value, field: &str) {
    match (before.get(field), next) {
        (Some(value), next) => next[field] = value.clone(),
        (None, Value::Object(next)) => {
            next.remove(field);
        }
        (None, _) => {}
    }
}

fn check_namespace(object: &Value, namespace: &str) -> Result<(), Failure> {
    let said = text(&object["metadata"]["namespace"]);
    if said.is_empty() || said == namespace {
        return Ok(());
    }
    Err(Failure::bad_request("the namespace of the provided object does not match the namespace sent on the request"))
}

/// etcd has limits of its own, and the server hands on its words.
fn check_size(object: &Value) -> Result<(), Failure> {
    let size = object.to_string().len();
    if size > LARGEST_MESSAGE {
        let why = format!("trying to send message larger than max ({size} vs. {LARGEST_MESSAGE})");
        return Err(Failure::new(500, "", format!("rpc error: code = ResourceExhausted desc = {why}")));
    }
    if size > LARGEST_OBJECT {
        return Err(Failure::new(500, "", "etcdserver: request is too large"));
    }
    Ok(())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
