//! Delete, deletecollection and eviction.

use std::sync::Arc;

use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::{Api, Asked, list, object_response};
use crate::body::{self, Body};
use crate::disruption::{self, Disruption};
use crate::failure::{Failure, FieldError};
use crate::selector::Selector;
use crate::store::{DeleteOptions, Deletion, Propagation};

impl Api {
    pub(super) fn delete(&self, asked: &Asked) -> Result<Response<Body>, Failure> {
        let kind = asked.resource.kind;
        match self.store.delete(&asked.key(), &options(asked)?)? {
            Deletion::Gone(last) if !kind.returns_deleted() => {
                let details = json!({"name": last.name(), "kind": kind.plural(), "uid": last.uid()});
                Ok(body::json(StatusCode::OK, &success(details)))
            }
            Deletion::Gone(last) | Deletion::Pending(last) => Ok(object_response(StatusCode::OK, &last)),
        }
    }

    pub(super) fn delete_collection(&self, asked: &Asked) -> Result<Response<Body>, Failure> {
        let kind = asked.resource.kind;
        let selector = Selector::parse(kind, &asked.params.label_selector, &asked.params.field_selector)?;
        let options = options(asked)?;
        let mut deleted = Vec::new();
        for object in self.store.list(kind, asked.namespace()) {
            if !selector.matches(&object) {
                continue;
            }
            match self.store.delete(&object.key(), &options) {
                Ok(Deletion::Gone(last) | Deletion::Pending(last)) => deleted.push(Arc::clone(&last)),
                // Somebody else was faster.
                Err(failure) if failure.code == 404 => {}
                Err(failure) => return Err(failure),
            }
        }
        let metadata = json!({"resourceVersion": self.store.current_revision().to_string()});
        Ok(body::whole(StatusCode::OK, "application/json", list::render(kind, &metadata, &deleted)))
    }

    /// The eviction API, in a cluster without disruption budgets: the pod learns why, and is deleted with grace.
    pub(super) fn evict(&self, asked: &Asked) -> Result<Response<Body>, Failure> {
        let eviction = asked.json()?;
        if eviction["kind"].as_str().is_some_and(|kind| kind != "Eviction") {
            return Err(Failure::bad_request(format!("no kind {} is registered for pods/eviction", eviction["kind"])));
        }
        let named = eviction["metadata"]["name"].as_str().unwrap_or_default();
        if named != asked.resource.name {
            return Err(Failure::bad_request("name in URL does not match name in Eviction object"));
        }
        let key = asked.key();
        let mut options = read_options(&eviction["deleteOptions"])?;
        options.dry_run = asked.params.dry_run()?;
        if !options.dry_run {
            disruption::announce(&self.store, &key, Disruption::EVICTION_API)?;
        }
        self.store.delete(&key, &options)?;
        Ok(body::json(StatusCode::CREATED, &success(Value::Null)))
    }
}

fn success(details: Value) -> Value {
    let mut status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"});
    if details.is_null() {
        status["code"] = json!(201);
    } else {
        status["details"] = details;
    }
    status
}

/// The options of the body; without a body those of the query.
fn options(asked: &Asked) -> Result<DeleteOptions, Failure> {
    let mut options = if asked.body.is_empty() {
        DeleteOptions {
            grace: asked.params.grace()?,
            propagation: propagation(asked.params.propagation_policy.as_deref())?,
            ..DeleteOptions::default()
        }
    } else {
        read_options(&asked.json()?)?
    };
    options.dry_run |= asked.params.dry_run()?;
    Ok(options)
}

fn read_options(value: &Value) -> Result<DeleteOptions, Failure> {
    let orphan = value["orphanDependents"].as_bool().map(|orphan| if orphan { "Orphan" } else { "Background" });
    let text = |value: &Value| value.as_str().map(str::to_owned);
    Ok(DeleteOptions {
        grace: value["gracePeriodSeconds"].as_i64(),
        uid: text(&value["preconditions"]["uid"]),
        resource_version: text(&value["preconditions"]["resourceVersion"]),
        propagation: propagation(value["propagationPolicy"].as_str().or(orphan))?,
        dry_run: value["dryRun"].as_array().is_some_and(|runs| !runs.is_empty()),
    })
}

fn propagation(policy: Option<&str>) -> Result<Propagation, Failure> {
    match policy {
        None | Some("" | "Background") => Ok(Propagation::Background),
        Some("Foreground") => Ok(Propagation::Foreground),
        Some("Orphan") => Ok(Propagation::Orphan),
        Some(other) => {
            let supported = ["Background", "Foreground", "Orphan"];
            let error = FieldError::not_supported("propagationPolicy", other, &supported);
            Err(Failure::invalid("DeleteOptions", "meta.k8s.io", "", &[error]))
        }
    }
}
