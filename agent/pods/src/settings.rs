//! What the operator decides about every step's objects.
//!
//! The serde form is that of the agent's configuration file: snake case, unknown keys refused. Kubernetes' own values
//! (tolerations, affinity, DNS, host aliases) keep the form that they have in a pod.

mod check;
mod network_policy;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, HostAlias, PodDNSConfig, Toleration};
use serde::{Deserialize, Serialize};

pub use network_policy::{Isolation, NetworkPolicy};

pub(crate) use check::{is_search_domain, toleration_problem};

/// User and group of steps that are nobody in particular. Many images know a user of this number.
const UNPRIVILEGED: i64 = 1000;

/// What stands for all capabilities in a list of those to be without.
const EVERY_CAPABILITY: &str = "ALL";

/// The operator's settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What holds for users and privileges of steps where `security` and `allow_from_step` say nothing: see [`Settings::under`].
    pub profile: Profile,
    /// Where the steps' objects are made.
    pub namespace: String,
    /// Makes them in a namespace for each organization instead: this one's name, a hyphen, and the organization's id.
    pub namespace_per_organization: bool,
    /// The cluster's DNS domain.
    pub cluster_domain: String,
    /// Labels for every pod.
    pub pod_labels: BTreeMap<String, String>,
    /// Annotations for every pod. They win over those of a step.
    pub pod_annotations: BTreeMap<String, String>,
    /// The storage class of workspaces; absent: the cluster's default.
    pub storage_class: Option<String>,
    /// The size of a workspace, as a quantity.
    pub volume_size: String,
    /// Who may mount a workspace at the same time.
    pub access_mode: AccessMode,
    /// Labels that a node must have to get a step.
    pub node_selector: BTreeMap<String, String>,
    /// Taints that steps tolerate.
    #[serde(deserialize_with = "crate::strict::deserialize")]
    pub tolerations: Vec<Toleration>,
    /// Where steps may or should run.
    #[serde(deserialize_with = "crate::strict::deserialize")]
    pub affinity: Option<Affinity>,
    /// Resources of a step that names none, resource by resource.
    pub default_resources: Resources,
    /// The service account of every step. Only where one is named does a step get its token.
    pub service_account: Option<String>,
    /// Users, groups and privileges of steps.
    pub security: Security,
    /// Images whose steps run as the user that the image names, root included: `debian`, `registry.example.org/ci/*`.
    /// Without a tag all tags are meant; `*` stands for any text.
    pub root_images: Vec<String>,
    /// Whom steps may talk to.
    pub network_policy: NetworkPolicy,
    /// Secrets with registry credentials, for every step.
    pub image_pull_secrets: Vec<String>,
    /// The priority class of every step.
    pub priority_class: Option<String>,
    /// The runtime class of every step.
    pub runtime_class: Option<String>,
    /// Where steps look names up; absent: the cluster's way (`ClusterFirst`).
    pub dns_policy: Option<DnsPolicy>,
    /// Name servers, search domains and resolver options, added to those of `dns_policy`.
    #[serde(deserialize_with = "crate::strict::deserialize")]
    pub dns_config: Option<PodDNSConfig>,
    /// Lines for the hosts file of every step.
    #[serde(deserialize_with = "crate::strict::deserialize")]
    pub host_aliases: Vec<HostAlias>,
    /// Seconds between SIGTERM and SIGKILL when a step is stopped.
    pub stop_timeout_seconds: u32,
    /// The image that makes the working directory for steps that run as another user. It needs `mkdir`.
    pub permission_init_image: String,
    /// What a step may decide for itself.
    pub allow_from_step: AllowFromStep,
}

/// What holds for users and privileges of steps where nothing else is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// As the Woodpecker agent has it: each image's own user, which is mostly root.
    #[default]
    Compat,
    /// Pods that the Pod Security level `restricted` takes: a user who is not root, no capabilities, no way to more.
    Hardened,
}

/// Who may mount a workspace at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessMode {
    /// Steps on any node (`ReadWriteMany`).
    #[default]
    Rwx,
    /// Steps on one node (`ReadWriteOnce`): those that run together are placed together.
    Rwo,
}

/// Requests and limits: names of resources, and quantities.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Resources {
    /// What the scheduler reserves.
    pub requests: BTreeMap<String, String>,
    /// What a step may use at most.
    pub limits: BTreeMap<String, String>,
}

/// Users, groups and privileges of steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Security {
    /// No step may run as root; none can undo it. It doesn't hold for `root_images` and `allow_from_step.root`.
    pub run_as_non_root: bool,
    /// The user of steps that name none.
    pub run_as_user: Option<i64>,
    /// The group of steps that name none.
    pub run_as_group: Option<i64>,
    /// The group that owns mounted volumes; null: none.
    pub fs_group: Option<i64>,
    /// When that group is applied; absent: at each mount.
    pub fs_group_change_policy: Option<FsGroupChangePolicy>,
    /// The seccomp profile of steps that name none. A step can't switch it off.
    pub seccomp_profile: Option<ProfileKind>,
    /// Forbids every unprivileged step to gain privileges (setuid programs), unless it may be root.
    pub forbid_privilege_escalation: bool,
    /// Capabilities that every step is without; `ALL` doesn't hold for one that may be root.
    pub drop_capabilities: Vec<String>,
}

/// When the group of a volume is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FsGroupChangePolicy {
    /// At each mount.
    Always,
    /// Only if the volume's root has another one.
    OnRootMismatch,
}

/// A seccomp profile that needs no file on the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProfileKind {
    /// The container runtime's own.
    RuntimeDefault,
    /// None.
    Unconfined,
}

/// Where steps look names up, in Kubernetes' words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DnsPolicy {
    /// The cluster's name server.
    ClusterFirst,
    /// As the node does. Services have no host names then.
    Default,
    /// Only what `dns_config` says.
    None,
}

/// Which fields of `backend_options.kubernetes` count. Those without a switch always do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AllowFromStep {
    /// `labels`, and the workflow's own labels on its pods.
    pub labels: bool,
    /// `annotations`.
    pub annotations: bool,
    /// `nodeSelector`.
    pub node_selector: bool,
    /// `tolerations`. The only one that is on by default.
    pub tolerations: bool,
    /// `affinity`.
    pub affinity: bool,
    /// `runtimeClassName`.
    pub runtime_class: bool,
    /// `serviceAccountName`.
    pub service_account: bool,
    /// `secrets`: Secrets of the namespace, which then every workflow can read.
    pub native_secrets: bool,
    /// `securityContext.runAsUser: 0`, whatever `security` says. Without it root is for privileged steps, and for those with
    /// `hostUsers: false`, if `security.run_as_non_root` is off.
    pub root: bool,
    /// Steps that the server calls privileged. Without it a workflow that has one is refused.
    pub privileged: bool,
}

impl Settings {
    /// The settings with what this profile says of users and privileges, instead of what they said of it themselves.
    pub fn under(self, profile: Profile) -> Self {
        let allow_from_step = AllowFromStep { privileged: profile == Profile::Compat, ..self.allow_from_step };
        Self { profile, security: Security::of(profile), allow_from_step, ..self }
    }

    /// The namespace of an organisation, where each has its own. A server says 0 for one that it doesn't name.
    pub fn namespace_of(&self, organization: Option<i64>) -> Option<String> {
        let id = organization.filter(|_| self.namespace_per_organization)?;
        Some(format!("{}-{id}", self.namespace).to_lowercase())
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            profile: Profile::default(),
            namespace: "piculet".to_owned(),
            namespace_per_organization: false,
            cluster_domain: "cluster.local".to_owned(),
            pod_labels: BTreeMap::new(),
            pod_annotations: BTreeMap::new(),
            storage_class: None,
            volume_size: "10G".to_owned(),
            access_mode: AccessMode::default(),
            node_selector: BTreeMap::new(),
            tolerations: Vec::new(),
            affinity: None,
            default_resources: Resources::default(),
            service_account: None,
            security: Security::default(),
            root_images: Vec::new(),
            network_policy: NetworkPolicy::default(),
            image_pull_secrets: Vec::new(),
            priority_class: None,
            runtime_class: None,
            dns_policy: None,
            dns_config: None,
            host_aliases: Vec::new(),
            stop_timeout_seconds: 20,
            permission_init_image: "busybox:stable-musl".to_owned(),
            allow_from_step: AllowFromStep::default(),
        }
    }
}

impl Default for Security {
    fn default() -> Self {
        Self {
            run_as_non_root: false,
            run_as_user: None,
            run_as_group: None,
            fs_group: Some(UNPRIVILEGED),
            fs_group_change_policy: None,
            seccomp_profile: None,
            forbid_privilege_escalation: false,
            drop_capabilities: Vec::new(),
        }
    }
}

impl Default for AllowFromStep {
    fn default() -> Self {
        Self {
            labels: false,
            annotations: false,
            node_selector: false,
            tolerations: true,
            affinity: false,
            runtime_class: false,
            service_account: false,
            native_secrets: false,
            root: false,
            privileged: true,
        }
    }
}

impl Security {
    /// What a profile says.
    pub fn of(profile: Profile) -> Self {
        match profile {
            Profile::Compat => Self::default(),
            Profile::Hardened => Self {
                run_as_non_root: true,
                run_as_user: Some(UNPRIVILEGED),
                run_as_group: Some(UNPRIVILEGED),
                fs_group: Some(UNPRIVILEGED),
                seccomp_profile: Some(ProfileKind::RuntimeDefault),
                forbid_privilege_escalation: true,
                drop_capabilities: vec![EVERY_CAPABILITY.to_owned()],
                ..Self::default()
            },
        }
    }

    /// What is left of it for a step that may be root: what the Pod Security level `baseline` takes.
    pub(crate) fn for_root(self) -> Self {
        let mut drop_capabilities = self.drop_capabilities;
        drop_capabilities.retain(|capability| capability != EVERY_CAPABILITY);
        Self {
            run_as_non_root: false,
            run_as_user: None,
            run_as_group: None,
            forbid_privilege_escalation: false,
            drop_capabilities,
            ..self
        }
    }
}

impl AccessMode {
    /// Kubernetes' word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rwx => "ReadWriteMany",
            Self::Rwo => "ReadWriteOnce",
        }
    }
}

impl FsGroupChangePolicy {
    /// Kubernetes' word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::OnRootMismatch => "OnRootMismatch",
        }
    }
}

impl ProfileKind {
    /// Kubernetes' word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RuntimeDefault => "RuntimeDefault",
            Self::Unconfined => "Unconfined",
        }
    }
}

impl DnsPolicy {
    /// Kubernetes' word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClusterFirst => "ClusterFirst",
            Self::Default => "Default",
            Self::None => "None",
        }
    }
}
