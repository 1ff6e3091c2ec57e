//! `backend_options.kubernetes` of a step: what its author wants of its pod.
//!
//! Values are taken as Woodpecker takes them: keys in any case, a number for a string, one value for a list. A value
//! that makes no sense is an error; a key that nobody knows, and a field that the operator doesn't allow, are said in
//! the step's log.

mod decode;
mod security;
#[cfg(test)]
mod tests;
mod weak;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, Toleration};
use piculet_core::workload::Problem;
use serde_json::{Map, Value};

pub use security::{Profile, SecurityOptions};

use crate::settings::{AllowFromStep, Resources};

/// What a step asks for.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StepOptions {
    /// Requests and limits.
    pub resources: Resources,
    /// The runtime class.
    pub runtime_class: Option<String>,
    /// The service account.
    pub service_account: Option<String>,
    /// Labels for the pod.
    pub labels: BTreeMap<String, String>,
    /// Annotations for the pod.
    pub annotations: BTreeMap<String, String>,
    /// Labels that the node must have.
    pub node_selector: BTreeMap<String, String>,
    /// Taints that are tolerated, instead of the operator's.
    pub tolerations: Vec<Toleration>,
    /// Instead of the operator's.
    pub affinity: Option<Affinity>,
    /// Users, groups and privileges.
    pub security: SecurityOptions,
    /// Secrets of the namespace.
    pub secrets: Vec<NativeSecret>,
    /// Whether a service mounts the workspace; absent: it does.
    pub workspace_volume: Option<bool>,
    /// False: the pod has a user namespace of its own.
    pub host_users: Option<bool>,
}

/// A Secret of the namespace in a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NativeSecret {
    /// The Secret.
    pub name: String,
    /// How it appears.
    pub target: SecretTarget,
}

/// How a Secret appears in a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretTarget {
    /// Each of its keys as a variable.
    Everything,
    /// One key as a variable.
    Variable {
        /// The key.
        key: String,
        /// The variable's name.
        variable: String,
    },
    /// As a file, or without a key as a folder.
    File {
        /// The key; `None`: all of them.
        key: Option<String>,
        /// The absolute path.
        path: String,
    },
}

/// Decoded options, and what has to be said about them.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// The options that count.
    pub options: StepOptions,
    /// Fields that were left out, each with the reason.
    pub notes: Vec<Problem>,
}

impl StepOptions {
    /// Reads the options; fields begin with `field`, and those that the operator doesn't allow are left out.
    ///
    /// # Errors
    /// Every value that makes no sense, each with its field.
    pub fn decode(field: &str, map: &Map<String, Value>, allow: &AllowFromStep) -> Result<Decoded, Vec<Problem>> {
        let (mut options, mut notes) = decode::options(field, map)?;
        options.forbid(field, allow, &mut notes);
        Ok(Decoded { options, notes })
    }

    /// Leaves out what is not allowed, and says so.
    fn forbid(&mut self, field: &str, allow: &AllowFromStep, notes: &mut Vec<Problem>) {
        let mut is_forbidden = |allowed: bool, is_set: bool, key: &str, switch: &str| {
            let forbidden = is_set && !allowed;
            if forbidden {
                notes.push(Problem {
                    code: "option-not-allowed",
                    field: format!("{field}.{key}"),
                    message: format!(
                        "this agent doesn't let steps set it, so it was left out; its operator can, with allow_from_step.{switch}"
                    ),
                });
            }
            forbidden
        };
        if is_forbidden(allow.labels, !self.labels.is_empty(), "labels", "labels") {
            self.labels.clear();
        }
        if is_forbidden(allow.annotations, !self.annotations.is_empty(), "annotations", "annotations") {
            self.annotations.clear();
        }
        if is_forbidden(allow.node_selector, !self.node_selector.is_empty(), "nodeSelector", "node_selector") {
            self.node_selector.clear();
        }
        if is_forbidden(allow.tolerations, !self.tolerations.is_empty(), "tolerations", "tolerations") {
            self.tolerations.clear();
        }
        if is_forbidden(allow.affinity, self.affinity.is_some(), "affinity", "affinity") {
            self.affinity = None;
        }
        if is_forbidden(allow.runtime_class, self.runtime_class.is_some(), "runtimeClassName", "runtime_class") {
            self.runtime_class = None;
        }
        let is_set = self.service_account.is_some();
        if is_forbidden(allow.service_account, is_set, "serviceAccountName", "service_account") {
            self.service_account = None;
        }
        if is_forbidden(allow.native_secrets, !self.secrets.is_empty(), "secrets", "native_secrets") {
            self.secrets.clear();
        }
    }
}
