//! `securityContext` of a step.

use serde_json::Value;

use super::decode::Reader;
use super::weak;
use crate::settings::FsGroupChangePolicy;

/// Users, groups and privileges that a step asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SecurityOptions {
    /// False takes the privileges from a privileged step; true gives none.
    pub privileged: Option<bool>,
    /// The step must not run as root.
    pub run_as_non_root: Option<bool>,
    /// The user.
    pub run_as_user: Option<i64>,
    /// The group.
    pub run_as_group: Option<i64>,
    /// The group that owns mounted volumes.
    pub fs_group: Option<i64>,
    /// When that group is applied.
    pub fs_group_change_policy: Option<FsGroupChangePolicy>,
    /// Filters system calls.
    pub seccomp_profile: Option<Profile>,
    /// Confines programs.
    pub apparmor_profile: Option<Profile>,
    /// Whether a process may gain privileges.
    pub allow_privilege_escalation: Option<bool>,
    /// Capabilities to be without.
    pub drop_capabilities: Vec<String>,
}

/// A seccomp or AppArmor profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Profile {
    /// The container runtime's own.
    RuntimeDefault,
    /// None.
    Unconfined,
    /// One of the node's.
    Localhost(String),
}

impl Profile {
    /// Kubernetes' word.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::RuntimeDefault => "RuntimeDefault",
            Self::Unconfined => "Unconfined",
            Self::Localhost(_) => "Localhost",
        }
    }

    /// The name of the node's profile.
    pub fn localhost(&self) -> Option<&str> {
        match self {
            Self::Localhost(name) => Some(name),
            Self::RuntimeDefault | Self::Unconfined => None,
        }
    }
}

pub(super) fn read(reader: &mut Reader, field: &str, value: &Value) -> SecurityOptions {
    let mut options = SecurityOptions::default();
    reader.object(field, value, |reader, key, field, value| {
        match key {
            "privileged" => options.privileged = reader.take(field, weak::boolean(value)),
            "runasnonroot" => options.run_as_non_root = reader.take(field, weak::boolean(value)),
            "runasuser" => options.run_as_user = reader.take(field, id(value)),
            "runasgroup" => options.run_as_group = reader.take(field, id(value)),
            "fsgroup" => options.fs_group = reader.take(field, id(value)),
            "fsgroupchangepolicy" => options.fs_group_change_policy = reader.take(field, policy(value)).flatten(),
            "seccompprofile" => options.seccomp_profile = seccomp(reader, field, value),
            "apparmorprofile" => options.apparmor_profile = profile(reader, field, value),
            "allowprivilegeescalation" => {
                options.allow_privilege_escalation = reader.take(field, weak::boolean(value));
            }
            "capabilities" => options.drop_capabilities = capabilities(reader, field, value),
            _ => return false,
        }
        true
    });
    options
}

/// Kubernetes takes user and group ids from 0 to 2147483647.
fn id(value: &Value) -> Result<i64, String> {
    weak::integer(value).and_then(|id| {
        if (0..=i64::from(i32::MAX)).contains(&id) {
            Ok(id)
        } else {
            Err(weak::expected("an id from 0 to 2147483647", value))
        }
    })
}

fn policy(value: &Value) -> Result<Option<FsGroupChangePolicy>, String> {
    match weak::string(value)?.as_str() {
        "" => Ok(None),
        "Always" => Ok(Some(FsGroupChangePolicy::Always)),
        "OnRootMismatch" => Ok(Some(FsGroupChangePolicy::OnRootMismatch)),
        _ => Err(weak::expected("Always or OnRootMismatch", value)),
    }
}

/// A seccomp profile of the node is a file below the kubelet's own folder for them.
fn seccomp(reader: &mut Reader, field: &str, value: &Value) -> Option<Profile> {
    let profile = profile(reader, field, value)?;
    let path = profile.localhost().unwrap_or_default();
    if path.starts_with('/') || path.split('/').any(|part| part == "..") {
        reader.problem(field, format!("the localhostProfile {path:?} is not a relative path without '..'"));
    }
    Some(profile)
}

fn profile(reader: &mut Reader, field: &str, value: &Value) -> Option<Profile> {
    let (mut kind, mut localhost) = (String::new(), String::new());
    reader.object(field, value, |reader, key, field, value| {
        match key {
            "type" => kind = reader.take(field, weak::string(value)).unwrap_or_default(),
            "localhostprofile" => localhost = reader.take(field, weak::string(value)).unwrap_or_default(),
            _ => return false,
        }
        true
    });
    let profile = match kind.as_str() {
        "" => return None,
        "RuntimeDefault" => Profile::RuntimeDefault,
        "Unconfined" => Profile::Unconfined,
        "Localhost" if localhost.is_empty() => {
            reader.problem(field, "the type Localhost needs a localhostProfile");
            return None;
        }
        "Localhost" => return Some(Profile::Localhost(localhost)),
        other => {
            reader.problem(field, format!("the type {other:?} is none of RuntimeDefault, Localhost and Unconfined"));
            return None;
        }
    };
    if !localhost.is_empty() {
        reader.problem(field, "a localhostProfile needs the type Localhost");
    }
    Some(profile)
}

fn capabilities(reader: &mut Reader, field: &str, value: &Value) -> Vec<String> {
    let mut dropped = Vec::new();
    reader.object(field, value, |reader, key, field, value| {
        if key == "drop" {
            dropped = reader.strings(field, value);
        }
        key == "drop"
    });
    dropped
}
