//! Who a container's process is, and what it may do.

use k8s_openapi::api::core::v1::{Container, Pod};

use crate::runtime::CreateError;

/// The capabilities that a container has: those of a usual container runtime, without MKNOD, and without NET_RAW, as
/// the network may be the host's.
const CAPABILITIES: &[&str] = &[
    "audit_write",
    "chown",
    "dac_override",
    "fowner",
    "fsetid",
    "kill",
    "net_bind_service",
    "setfcap",
    "setgid",
    "setpcap",
    "setuid",
    "sys_chroot",
];

/// User, groups and capabilities of a container's process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) user: u32,
    pub(super) group: u32,
    groups: Vec<u32>,
    capabilities: Vec<&'static str>,
}

impl Identity {
    /// Root, with the capabilities of a usual container.
    pub(super) fn root() -> Self {
        Self { user: 0, group: 0, groups: Vec::new(), capabilities: CAPABILITIES.to_vec() }
    }

    /// What the security contexts of pod and container say. `privileged` and added capabilities give nothing.
    ///
    /// # Errors
    /// A user other than root where only root can be had, or root where the pod forbids it.
    pub(super) fn of(pod: &Pod, container: &Container, only_root: bool) -> Result<Self, CreateError> {
        let of_pod = pod.spec.as_ref().and_then(|spec| spec.security_context.clone()).unwrap_or_default();
        let of_container = container.security_context.clone().unwrap_or_default();
        let user = id(of_container.run_as_user.or(of_pod.run_as_user))?;
        let group = id(of_container.run_as_group.or(of_pod.run_as_group))?;
        let must_not_be_root = of_container.run_as_non_root.or(of_pod.run_as_non_root) == Some(true);
        if must_not_be_root && user == 0 {
            return Err(wrong(
                "container has runAsNonRoot and its process would run as root: set runAsUser".to_owned(),
            ));
        }
        let mut groups = Vec::new();
        for group in of_pod.fs_group.into_iter().chain(of_pod.supplemental_groups.into_iter().flatten()) {
            groups.push(id(Some(group))?);
        }
        if only_root && (user != 0 || group != 0) {
            return Err(wrong(format!(
                "the process can't run as user {user} and group {group}: this cluster was started by a user who is not root, so that its containers know no other user than root"
            )));
        }
        let dropped = of_container.capabilities.and_then(|capabilities| capabilities.drop).unwrap_or_default();
        let is_dropped = |name: &str| {
            dropped.iter().any(|dropped| {
                let dropped = dropped.to_ascii_lowercase();
                dropped == "all" || dropped.strip_prefix("cap_").unwrap_or(&dropped) == name
            })
        };
        let capabilities = CAPABILITIES.iter().copied().filter(|name| !is_dropped(name)).collect();
        // In a user namespace of one user there are no other groups either.
        let groups = if only_root { Vec::new() } else { groups };
        Ok(Self { user, group, groups, capabilities })
    }

    /// The home folder that a container runtime would give to the process.
    pub(super) fn home(&self, accounts: &str) -> String {
        if self.user == 0 {
            return "/root".to_owned();
        }
        let user = self.user.to_string();
        let mut lines = accounts.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let home = lines.find(|fields| fields.get(2) == Some(&user.as_str())).and_then(|fields| fields.get(5).copied());
        home.unwrap_or("/").to_owned()
    }

    /// The arguments that make `setpriv` turn a process into this one, for good.
    pub(super) fn setpriv(&self, only_root: bool) -> Vec<String> {
        let mut arguments = Vec::new();
        if !only_root {
            arguments.extend([format!("--reuid={}", self.user), format!("--regid={}", self.group)]);
            let groups: Vec<String> = self.groups.iter().map(u32::to_string).collect();
            arguments.push(if groups.is_empty() {
                "--clear-groups".to_owned()
            } else {
                format!("--groups={}", groups.join(","))
            });
        }
        let kept: String = self.capabilities.iter().map(|name| format!(",+{name}")).collect();
        arguments.extend([
            format!("--bounding-set=-all{kept}"),
            "--inh-caps=-all".to_owned(),
            "--ambient-caps=-all".to_owned(),
            "--no-new-privs".to_owned(),
        ]);
        arguments
    }
}

fn id(id: Option<i64>) -> Result<u32, CreateError> {
    u32::try_from(id.unwrap_or(0)).map_err(|_| wrong(format!("{} is no user or group", id.unwrap_or(0))))
}

fn wrong(message: String) -> CreateError {
    CreateError { reason: "CreateContainerConfigError".to_owned(), message }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{Container, Pod};
    use serde_json::json;

    use super::Identity;

    fn identity(pod: serde_json::Value, container: serde_json::Value, only_root: bool) -> Result<Identity, String> {
        let pod: Pod = serde_json::from_value(json!({ "spec": { "containers": [], "securityContext": pod } })).unwrap();
        let container: Container =
            serde_json::from_value(json!({ "name": "step", "securityContext": container })).unwrap();
        Identity::of(&pod, &container, only_root).map_err(|error| error.message)
    }

    #[test]
    fn a_container_is_root_without_the_dangerous_capabilities_even_if_privileged() {
        let privileged = json!({ "privileged": true, "capabilities": { "add": ["SYS_ADMIN"] } });
        let found = identity(json!({}), privileged, false).unwrap();
        assert_eq!(found, Identity::root());
        let arguments = found.setpriv(false);
        assert_eq!(arguments[..3], ["--reuid=0", "--regid=0", "--clear-groups"]);
        assert!(arguments.iter().all(|argument| !argument.contains("sys_admin")), "{arguments:?}");
        assert!(arguments.contains(&"--no-new-privs".to_owned()));
    }

    #[test]
    fn the_containers_word_goes_before_the_pods() {
        let pod = json!({ "runAsUser": 1000, "runAsGroup": 1001, "fsGroup": 1002, "supplementalGroups": [1003] });
        let container = json!({ "runAsUser": 2000, "capabilities": { "drop": ["CAP_CHOWN", "setuid"] } });
        let found = identity(pod.clone(), container, false).unwrap();
        let arguments = found.setpriv(false);
        assert_eq!(arguments[..3], ["--reuid=2000", "--regid=1001", "--groups=1002,1003"]);
        assert!(!arguments[3].contains("chown") && !arguments[3].contains("setuid"), "{arguments:?}");
        assert_eq!(found.home("a:x:1:1::/a:/bin/sh\nann:x:2000:1::/srv/ann:/bin/sh\n"), "/srv/ann");
        assert_eq!(found.home(""), "/");
        let none = identity(pod, json!({ "capabilities": { "drop": ["ALL"] } }), false).unwrap();
        assert_eq!(none.setpriv(false)[3], "--bounding-set=-all");
    }

    #[test]
    fn what_cannot_be_had_is_refused() {
        let refused = identity(json!({ "runAsNonRoot": true }), json!({}), false).unwrap_err();
        assert!(refused.contains("runAsNonRoot"), "{refused}");
        let refused = identity(json!({ "runAsUser": 1000 }), json!({}), true).unwrap_err();
        assert!(refused.contains("user 1000"), "{refused}");
        assert!(identity(json!({ "runAsUser": -1 }), json!({}), false).is_err());
        assert!(identity(json!({ "fsGroup": 1000 }), json!({}), true).unwrap().groups.is_empty());
    }
}
