//! Deleting: preconditions, grace, finalizers, propagation.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{State, Store};
use crate::clock::json_seconds;
use crate::failure::Failure;
use crate::kind::Kind;
use crate::object::{Key, Object};

/// The finalizer with which the garbage collector waits for dependents to go first.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer with which the garbage collector lets dependents go free.
pub(crate) const ORPHAN: &str = "orphan";

/// How a deletion is meant.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeleteOptions {
    pub(crate) grace: Option<i64>,
    pub(crate) uid: Option<String>,
    pub(crate) resource_version: Option<String>,
    pub(crate) propagation: Propagation,
    pub(crate) dry_run: bool,
}

/// What becomes of the objects that the deleted one owns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Propagation {
    #[default]
    Background,
    Foreground,
    Orphan,
}

/// What a deletion did.
#[derive(Debug)]
pub(crate) enum Deletion {
    /// The object is gone; this was its last version.
    Gone(Arc<Object>),
    /// The object is terminating: its grace runs, or a finalizer holds it.
    Pending(Arc<Object>),
}

impl Store {
    /// Deletes an object, or begins to.
    pub(crate) fn delete(&self, key: &Key, options: &DeleteOptions) -> Result<Deletion, Failure> {
        let now = self.clock.now();
        self.write(|state| state.delete(key, options, now))
    }
}

impl State {
    fn delete(&mut self, key: &Key, options: &DeleteOptions, now: Timestamp) -> Result<Deletion, Failure> {
        let present = Arc::clone(self.require(key)?);
        check_preconditions(&present, options)?;
        if options.dry_run {
            return Ok(Deletion::Gone(present));
        }
        if key.kind == Kind::Namespace && present.is_terminating() && !self.may_go(&present) {
            let why = "The system is ensuring all content is removed from this namespace.  Upon completion, this \
                       namespace will automatically be purged by the system.";
            return Err(Failure::conflict(key.kind, &key.name, why));
        }
        let mut next = present.value().clone();
        set_propagation(&mut next, options.propagation);
        match graceful(&present, options, now) {
            Grace::Running => return Ok(Deletion::Pending(present)),
            Grace::Set { until, seconds } => {
                if !present.is_terminating() {
                    grow_generation(&mut next);
                }
                next["metadata"]["deletionTimestamp"] = json_seconds(until);
                next["metadata"]["deletionGracePeriodSeconds"] = seconds.into();
            }
            Grace::None => {
                if !present.is_terminating() {
                    next["metadata"]["deletionTimestamp"] = json_seconds(now);
                }
                next["metadata"]["deletionGracePeriodSeconds"] = json!(0);
                if key.kind == Kind::Namespace {
                    next["status"]["phase"] = "Terminating".into();
                }
            }
        }
        let marked = Object::new(key.kind, next);
        if self.may_go(&marked) {
            // A pod's last version is shown before it goes, marked; other kinds go as they are.
            let last = if key.kind == Kind::Pod { self.put(key.kind, marked.value().clone()) } else { present };
            return Ok(Deletion::Gone(self.remove(&last)));
        }
        if marked.value() == present.value() {
            return Ok(Deletion::Pending(present));
        }
        Ok(Deletion::Pending(self.put(key.kind, marked.value().clone())))
    }
}

fn check_preconditions(present: &Object, options: &DeleteOptions) -> Result<(), Failure> {
    let conflict = |field: &str, asked: &str, is: &str, hint: &str| {
        // Here the server names the kind, not the resource.
        let message = format!(
            "Operation cannot be fulfilled on {} {:?}: the {field} in the precondition ({asked}) does not match the \
             {field} in record ({is}). The object might have been {hint}",
            present.kind().name(),
            present.name(),
        );
        let mut failure = Failure::new(409, "Conflict", message);
        failure.details.insert("name".into(), present.name().into());
        failure.details.insert("kind".into(), present.kind().name().into());
        Err(failure)
    };
    match (&options.uid, &options.resource_version) {
        (Some(uid), _) if uid != present.uid() => conflict("UID", uid, present.uid(), "deleted and then recreated"),
        (_, Some(version)) if version != present.resource_version() => {
            conflict("ResourceVersion", version, present.resource_version(), "modified")
        }
        _ => Ok(()),
    }
}

/// What the grace of a deletion comes to.
enum Grace {
    /// An earlier deletion's grace runs on.
    Running,
    Set {
        until: Timestamp,
        seconds: i64,
    },
    None,
}

/// Only pods know grace: for a pod that no node has, or that has ended, it is zero.
fn graceful(present: &Object, options: &DeleteOptions, now: Timestamp) -> Grace {
    if present.kind() != Kind::Pod {
        return Grace::None;
    }
    let metadata = &present.value()["metadata"];
    let until = |seconds: i64| now.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX);
    if present.is_terminating() {
        let running = metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or_default();
        let begun = metadata["deletionTimestamp"].as_str().and_then(|time| time.parse::<Timestamp>().ok());
        return match options.grace {
            Some(asked) if asked < running => {
                let asked = asked.max(0);
                let earlier = begun.unwrap_or(now) - SignedDuration::from_secs(running - asked);
                Grace::Set { until: earlier, seconds: asked }
            }
            _ if running == 0 => Grace::None,
            _ => Grace::Running,
        };
    }
    let ended = matches!(present.text(&["status", "phase"]), "Succeeded" | "Failed");
    let own = present.value()["spec"]["terminationGracePeriodSeconds"].as_i64();
    let seconds = match options.grace.or(own).unwrap_or_default() {
        _ if ended || present.text(&["spec", "nodeName"]).is_empty() => 0,
        negative if negative < 0 => 1,
        seconds => seconds,
    };
    Grace::Set { until: until(seconds), seconds }
}

fn grow_generation(next: &mut Value) {
    if let Some(generation) = next["metadata"]["generation"].as_i64() {
        next["metadata"]["generation"] = (generation + 1).into();
    }
}

fn set_propagation(next: &mut Value, propagation: Propagation) {
    let wanted = match propagation {
        Propagation::Background => None,
        Propagation::Foreground => Some(FOREGROUND),
        Propagation::Orphan => Some(ORPHAN),
    };
    let mut finalizers: Vec<Value> = next["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    finalizers.retain(|one| one != FOREGROUND && one != ORPHAN);
    finalizers.extend(wanted.map(Value::from));
    if let Value::Object(metadata) = &mut next["metadata"] {
        if finalizers.is_empty() {
            metadata.remove("finalizers");
        } else {
            metadata.insert("finalizers".into(), finalizers.into());
        }
    }
}
