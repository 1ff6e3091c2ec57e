//! A workflow as somebody wrote it: plain data, not yet checked.
//!
//! The serde form is that of workload files (`piculet plan`), and of the payload in the cluster. Unknown keys are
//! refused.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::secret::Secret;

/// A whole workflow.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkloadSpec {
    /// The workflow's name, for people.
    #[serde(default)]
    pub name: String,
    /// Labels for placement, and for the objects (`woodpecker-ci.org/*`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Seconds that the whole workflow may take; absent: the agent's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u64>,
    /// Values to mask in logs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<Secret>,
    /// The server's number of the organisation that the workflow belongs to, if it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<i64>,
    /// What the server calls the volume that steps share; empty: the agent names it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub workspace: String,
    /// Stages in order; at least one.
    pub stages: Vec<StageSpec>,
}

/// Steps that may run together.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageSpec {
    /// At least one.
    pub steps: Vec<StepSpec>,
}

/// What a step is. Decides which variables it gets, and whether it is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepKind {
    /// Fetches the source.
    Clone,
    /// Runs beside the other steps, under its name as host name, until they are over.
    Service,
    /// An image with settings and no commands.
    Plugin,
    /// Anything else.
    #[default]
    Commands,
}

/// What a step's failure means for the workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailurePolicy {
    /// The workflow fails; steps that run only on success are skipped.
    #[default]
    Fail,
    /// It is shown, and nothing else.
    Ignore,
    /// The workflow fails, and what runs is stopped at once.
    Cancel,
}

/// One container's worth of work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepSpec {
    /// Unique in the workflow; object names are made from it. ASCII letters, digits and `-`.
    pub id: String,
    /// Free text. One that a `needs` names is unique in the workflow.
    pub name: String,
    /// What it is.
    #[serde(default)]
    pub kind: StepKind,
    /// The container image.
    pub image: String,
    /// Pull the image even if the node has it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub pull: bool,
    /// Replaces the image's entrypoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// Shell commands, run in order by `/bin/sh -e`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<String>,
    /// Absolute path; empty: the image's own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Absolute path of the workspace volume; empty: the step has no workspace.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub workspace_base: String,
    /// Plain variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Variables whose values are secret. A name stands here or in `environment`, not in both.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secret_environment: BTreeMap<String, Secret>,
    /// Absent: wait for all earlier stages. Present: wait for these steps only, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs: Option<Vec<String>>,
    /// Run if nothing that it waited for failed.
    #[serde(default = "yes")]
    pub on_success: bool,
    /// Run if something that it waited for failed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub on_failure: bool,
    /// What its failure means.
    #[serde(default)]
    pub failure: FailurePolicy,
    /// Runs beside the steps after it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub detached: bool,
    /// Runs with all privileges.
    #[serde(default, skip_serializing_if = "is_false")]
    pub privileged: bool,
    /// Seconds that the step may take from its start; absent: no limit of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u64>,
    /// How often it may be started at most, if the cluster ended it; at least 1. A step that never started is always
    /// tried again where that can help, whatever stands here.
    #[serde(default = "one")]
    pub max_attempts: u32,
    /// Persistent volume claims to mount.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<VolumeSpec>,
    /// Ports that it listens on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    /// Name servers, beside the cluster's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<IpAddr>,
    /// Search domains, beside the cluster's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns_search: Vec<String>,
    /// Lines of the hosts file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extra_hosts: Vec<ExtraHost>,
    /// Credentials for the image's registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry_auth: Option<RegistryAuth>,
    /// `backend_options.kubernetes`, decoded by `piculet-pods`.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub kubernetes: serde_json::Map<String, serde_json::Value>,
}

impl Default for StepSpec {
    /// A step of the commands kind that runs on success; id, name and image are empty and have to be set.
    fn default() -> Self {
        Self {
            id: String::new(),
            name: String::new(),
            kind: StepKind::default(),
            image: String::new(),
            pull: false,
            entrypoint: Vec::new(),
            commands: Vec::new(),
            working_dir: String::new(),
            workspace_base: String::new(),
            environment: BTreeMap::new(),
            secret_environment: BTreeMap::new(),
            needs: None,
            on_success: true,
            on_failure: false,
            failure: FailurePolicy::default(),
            detached: false,
            privileged: false,
            timeout_seconds: None,
            max_attempts: 1,
            volumes: Vec::new(),
            ports: Vec::new(),
            dns: Vec::new(),
            dns_search: Vec::new(),
            extra_hosts: Vec::new(),
            registry_auth: None,
            kubernetes: serde_json::Map::new(),
        }
    }
}

/// A persistent volume claim in a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeSpec {
    /// Name of the claim, in the steps' namespace.
    pub claim: String,
    /// Absolute path in the container.
    pub path: String,
    /// Mounted read-only.
    #[serde(default, skip_serializing_if = "is_false")]
    pub read_only: bool,
}

/// A port of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// 1 to 65535.
    pub number: u16,
    /// The transport.
    #[serde(default)]
    pub protocol: Protocol,
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// A line of a hosts file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtraHost {
    /// The host name.
    pub name: String,
    /// Its address.
    pub ip: IpAddr,
}

/// Credentials for a registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryAuth {
    /// The user name.
    pub username: String,
    /// The password or token.
    pub password: Secret,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands skip_serializing_if a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

fn yes() -> bool {
    true
}

fn one() -> u32 {
    1
}
