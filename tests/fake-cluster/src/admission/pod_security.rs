//! The Pod Security levels that namespaces ask for by a label, in the words of the API server's own plugin.
//!
//! Checks of fields that the cluster in memory does not keep (SELinux, sysctls, Windows) are left out.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::failure::Failure;
use crate::kind::Kind;
use crate::object::{Key, list};
use crate::store::Store;

const LEVEL: &str = "pod-security.kubernetes.io/enforce";
const VERSION: &str = "pod-security.kubernetes.io/enforce-version";

/// Capabilities that the level `baseline` lets containers add.
const DEFAULT_CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Volumes that the level `restricted` takes.
const VOLUMES: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// Refuses a new pod that its namespace's level forbids.
pub(crate) fn check(store: &Store, namespace: &str, pod: &Value) -> Result<(), Failure> {
    let Some(home) = store.get(&Key::new(Kind::Namespace, "", namespace)) else { return Ok(()) };
    let label = |name: &str| home.value()["metadata"]["labels"][name].as_str();
    let is_restricted = match label(LEVEL) {
        Some("restricted") => true,
        Some("baseline") => false,
        _ => return Ok(()),
    };
    let pod = Pod { spec: &pod["spec"], name: pod["metadata"]["name"].as_str().unwrap_or_default() };
    let found: Vec<_> = pod.violations(is_restricted).into_iter().flatten().collect();
    if found.is_empty() {
        return Ok(());
    }
    let level = if is_restricted { "restricted" } else { "baseline" };
    let policy = format!("{level}:{}", label(VERSION).unwrap_or("latest"));
    Err(Failure::forbidden(Kind::Pod, pod.name, format!("violates PodSecurity {policy:?}: {}", found.join(", "))))
}

struct Pod<'a> {
    spec: &'a Value,
    name: &'a str,
}

impl<'a> Pod<'a> {
    /// Each as `reason (detail)`, in the order of the plugin.
    fn violations(&self, is_restricted: bool) -> Vec<Option<String>> {
        let mut found = vec![
            self.setters(
                "/securityContext/appArmorProfile/type",
                |value| matches!(value.as_str(), Some("" | "RuntimeDefault" | "Localhost")),
                "forbidden AppArmor profile",
                "AppArmor profile type to",
            ),
            (!is_restricted).then(|| self.added_capabilities()).flatten(),
            self.host_namespaces(),
            (!is_restricted).then(|| self.host_paths()).flatten(),
            self.host_ports(),
            self.bad("privileged", "must not set securityContext.privileged=true", |container| {
                container["securityContext"]["privileged"] == true
            }),
        ];
        if !is_restricted {
            found.push(self.seccomp_setters());
            return found;
        }
        found.extend([
            self.bad(
                "allowPrivilegeEscalation != false",
                "must set securityContext.allowPrivilegeEscalation=false",
                |one| one["securityContext"]["allowPrivilegeEscalation"] != false,
            ),
            self.capabilities(),
            self.volumes(),
            self.run_as_non_root(),
            self.run_as_user(),
            self.seccomp_setters().or_else(|| self.without_seccomp()),
        ]);
        found
    }

    fn containers(&self) -> impl Iterator<Item = &'a Value> {
        list(&self.spec["initContainers"]).chain(list(&self.spec["containers"]))
    }

    /// The names of the containers that are like this.
    fn names(&self, is_bad: impl Fn(&Value) -> bool) -> Vec<&'a str> {
        self.containers().filter(|one| is_bad(one)).filter_map(|one| one["name"].as_str()).collect()
    }

    fn bad(&self, reason: &str, detail: &str, is_bad: impl Fn(&Value) -> bool) -> Option<String> {
        let names = self.names(is_bad);
        (!names.is_empty()).then(|| format!("{reason} ({} {detail})", containers(&names)))
    }

    /// Pod and containers that set a field to what isn't good; and these values.
    fn said(&self, pointer: &str, is_good: impl Fn(&Value) -> bool) -> Option<(String, BTreeSet<String>)> {
        let mut values = BTreeSet::new();
        let mut is_bad = |value: &Value| {
            let found = value.pointer(pointer).filter(|value| !value.is_null() && !is_good(value));
            values.extend(found.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)));
            found.is_some()
        };
        let of_pod = is_bad(self.spec).then(|| "pod".to_owned());
        let mut names = Vec::new();
        for container in self.containers() {
            if is_bad(container) {
                names.extend(container["name"].as_str());
            }
        }
        let of_containers = (!names.is_empty()).then(|| containers(&names));
        let setters: Vec<_> = of_pod.into_iter().chain(of_containers).collect();
        (!setters.is_empty()).then(|| (setters.join(" and "), values))
    }

    fn setters(&self, pointer: &str, is_good: impl Fn(&Value) -> bool, reason: &str, what: &str) -> Option<String> {
        let (setters, values) = self.said(pointer, is_good)?;
        let plural = if what.starts_with("AppArmor") && values.len() > 1 { "s" } else { "" };
        Some(format!("{reason}{plural} ({setters} must not set {what} {})", quoted(&values)))
    }

    fn host_namespaces(&self) -> Option<String> {
        let used = ["hostNetwork", "hostPID", "hostIPC"].into_iter().filter(|name| self.spec[name] == true);
        let used: Vec<_> = used.map(|name| format!("{name}=true")).collect();
        (!used.is_empty()).then(|| format!("host namespaces ({})", used.join(", ")))
    }

    fn host_paths(&self) -> Option<String> {
        let names = list(&self.spec["volumes"]).filter(|volume| !volume["hostPath"].is_null());
        let names: Vec<_> = names.filter_map(|volume| volume["name"].as_str()).collect();
        let volumes = plural("volume", names.len());
        (!names.is_empty()).then(|| format!("hostPath volumes ({volumes} {})", quoted(&names)))
    }

    fn host_ports(&self) -> Option<String> {
        let ports = |container: &Value| -> BTreeSet<String> {
            let ports = list(&container["ports"]).map(|port| port["hostPort"].as_i64().unwrap_or_default());
            ports.filter(|port| *port != 0).map(|port| port.to_string()).collect()
        };
        let names = self.names(|container| !ports(container).is_empty());
        let all: BTreeSet<String> = self.containers().flat_map(ports).collect();
        let uses = if names.len() == 1 { "uses" } else { "use" };
        let what = plural("hostPort", all.len());
        let all = all.into_iter().collect::<Vec<_>>().join(", ");
        (!names.is_empty()).then(|| format!("hostPort ({} {uses} {what} {all})", containers(&names)))
    }

    fn added_capabilities(&self) -> Option<String> {
        self.adding("non-default capabilities", |name| DEFAULT_CAPABILITIES.contains(&name))
            .map(|(reason, detail)| format!("{reason} ({detail})"))
    }

    fn adding<'r>(&self, reason: &'r str, may: impl Fn(&str) -> bool) -> Option<(&'r str, String)> {
        let forbidden = |container: &Value| -> BTreeSet<String> {
            let added = list(&container["securityContext"]["capabilities"]["add"]).filter_map(Value::as_str);
            added.filter(|name| !may(name)).map(str::to_owned).collect()
        };
        let names = self.names(|container| !forbidden(container).is_empty());
        let all: BTreeSet<String> = self.containers().flat_map(forbidden).collect();
        (!names.is_empty()).then(|| {
            (
                reason,
                format!("{} must not include {} in securityContext.capabilities.add", containers(&names), quoted(&all)),
            )
        })
    }

    fn capabilities(&self) -> Option<String> {
        let keeps = self
            .names(|container| !list(&container["securityContext"]["capabilities"]["drop"]).any(|name| name == "ALL"));
        let keeps = (!keeps.is_empty())
            .then(|| format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", containers(&keeps)));
        let adds = self.adding("", |name| name == "NET_BIND_SERVICE").map(|(_, detail)| detail);
        let details: Vec<_> = keeps.into_iter().chain(adds).collect();
        (!details.is_empty()).then(|| format!("unrestricted capabilities ({})", details.join("; ")))
    }

    fn volumes(&self) -> Option<String> {
        let sources = |volume: &Value| -> Vec<String> {
            volume.as_object().into_iter().flatten().map(|(key, _)| key.clone()).filter(|key| key != "name").collect()
        };
        let is_bad = |volume: &&Value| !sources(volume).iter().any(|source| VOLUMES.contains(&source.as_str()));
        let bad: Vec<_> = list(&self.spec["volumes"]).filter(is_bad).collect();
        let names: Vec<_> = bad.iter().filter_map(|volume| volume["name"].as_str()).collect();
        let kinds: BTreeSet<_> = bad.iter().flat_map(|volume| sources(volume)).collect();
        let uses = if names.len() == 1 { "uses" } else { "use" };
        let (volumes, types) = (plural("volume", names.len()), plural("restricted volume type", kinds.len()));
        let detail = format!("{volumes} {} {uses} {types} {}", quoted(&names), quoted(&kinds));
        (!names.is_empty()).then(|| format!("restricted volume types ({detail})"))
    }

    fn run_as_non_root(&self) -> Option<String> {
        const POINTER: &str = "/securityContext/runAsNonRoot";
        if let Some((setters, _)) = self.said(POINTER, |value| value == true) {
            return Some(format!("runAsNonRoot != true ({setters} must not set securityContext.runAsNonRoot=false)"));
        }
        let by_pod = self.spec.pointer(POINTER) == Some(&Value::Bool(true));
        let names = self.names(|container| !by_pod && container.pointer(POINTER).is_none_or(Value::is_null));
        (!names.is_empty()).then(|| {
            format!("runAsNonRoot != true (pod or {} must set securityContext.runAsNonRoot=true)", containers(&names))
        })
    }

    fn run_as_user(&self) -> Option<String> {
        let (setters, _) = self.said("/securityContext/runAsUser", |value| value != 0)?;
        Some(format!("runAsUser=0 ({setters} must not set runAsUser=0)"))
    }

    fn seccomp_setters(&self) -> Option<String> {
        self.setters(SECCOMP, is_seccomp, "seccompProfile", "securityContext.seccompProfile.type to")
    }

    fn without_seccomp(&self) -> Option<String> {
        let by_pod = self.spec.pointer(SECCOMP).is_some_and(is_seccomp);
        let names = self.names(|container| !by_pod && container.pointer(SECCOMP).is_none_or(Value::is_null));
        (!names.is_empty()).then(|| {
            let what = "must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"";
            format!("seccompProfile (pod or {} {what})", containers(&names))
        })
    }
}

const SECCOMP: &str = "/securityContext/seccompProfile/type";

fn is_seccomp(value: &Value) -> bool {
    matches!(value.as_str(), Some("RuntimeDefault" | "Localhost"))
}

/// `container "a"`, `containers "a", "b"`.
fn containers(names: &[&str]) -> String {
    format!("{} {}", plural("container", names.len()), quoted(names))
}

fn plural(word: &str, count: usize) -> String {
    format!("{word}{}", if count == 1 { "" } else { "s" })
}

fn quoted<T: std::fmt::Display>(texts: impl IntoIterator<Item = T>) -> String {
    texts.into_iter().map(|text| format!("\"{text}\"")).collect::<Vec<_>>().join(", ")
}
