//! Checking the settings at start, as a whole: what would make the API server refuse every pod is said before the
//! first one.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Toleration;
use piculet_core::workload::Problem;

use super::{DnsPolicy, Settings};
use crate::names::{is_dns_label, is_dns_name, is_label_key, is_label_value};
use crate::quantity;
use crate::{label, limits};

struct Check(Vec<Problem>);

impl Check {
    fn problem(&mut self, code: &'static str, field: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem { code, field: field.into(), message: message.into() });
    }

    fn dns_name(&mut self, field: &str, name: &str) {
        if !is_dns_name(name) {
            self.problem(
                "setting-name",
                field,
                format!("{name:?} can't be the name of an object; use lower-case letters, digits, '-' and '.'"),
            );
        }
    }

    fn label_key(&mut self, field: &str, key: &str) {
        if !is_label_key(key) {
            self.problem(
                "setting-label",
                field,
                format!(
                    "{key:?} is no key; use up to 63 letters, digits, '-', '_' and '.', after 'example.org/' if need be"
                ),
            );
        } else if label::is_reserved(key) {
            self.problem(
                "setting-label-reserved",
                field,
                format!("'{key}' is set by the agent itself; choose another key"),
            );
        }
    }

    fn labels(&mut self, field: &str, labels: &BTreeMap<String, String>) {
        for (key, value) in labels {
            self.label_key(&format!("{field}.{key}"), key);
            self.label_value(&format!("{field}.{key}"), value);
        }
    }

    fn label_value(&mut self, field: &str, value: &str) {
        if !is_label_value(value) {
            self.problem(
                "setting-label",
                field,
                format!(
                    "{value:?} is no label value; use up to 63 letters, digits, '-', '_' and '.', not these at its ends"
                ),
            );
        }
    }

    fn quantity(&mut self, field: &str, quantity: &str) {
        if !quantity::is_quantity(quantity) {
            self.problem(
                "setting-quantity",
                field,
                format!("{quantity:?} is no quantity; write it as '500m', '2' or '10Gi'"),
            );
        }
    }

    fn identity(&mut self, field: &str, id: Option<i64>) {
        if id.is_some_and(|id| !(0..=i64::from(i32::MAX)).contains(&id)) {
            self.problem("setting-id", field, "a user or group is a number from 0 to 2147483647");
        }
    }
}

impl Settings {
    /// Every problem of the settings; empty if they are good.
    pub fn check(&self) -> Vec<Problem> {
        let mut check = Check(Vec::new());
        if !is_dns_label(&self.namespace) {
            let message =
                format!("{:?} can't be a namespace; use up to 63 lower-case letters, digits and '-'", self.namespace);
            check.problem("setting-name", "namespace", message);
        }
        check.dns_name("cluster_domain", &self.cluster_domain);
        check.labels("pod_labels", &self.pod_labels);
        for key in self.pod_annotations.keys() {
            check.label_key(&format!("pod_annotations.{key}"), key);
        }
        for (field, name) in [
            ("storage_class", &self.storage_class),
            ("service_account", &self.service_account),
            ("priority_class", &self.priority_class),
            ("runtime_class", &self.runtime_class),
        ] {
            if let Some(name) = name {
                check.dns_name(field, name);
            }
        }
        check.quantity("volume_size", &self.volume_size);
        if quantity::whole(&self.volume_size) == Some(0) {
            check.problem("setting-quantity", "volume_size", "a workspace without any space is of no use");
        }
        for (key, value) in &self.node_selector {
            // A reserved key may stand here: nodes are not ours.
            if !is_label_key(key) {
                check.problem("setting-label", format!("node_selector.{key}"), format!("{key:?} is no label key"));
            }
            check.label_value(&format!("node_selector.{key}"), value);
        }
        for (i, toleration) in self.tolerations.iter().enumerate() {
            if let Some(message) = toleration_problem(toleration) {
                check.problem("setting-toleration", format!("tolerations[{i}]"), message);
            }
        }
        self.check_resources(&mut check);
        for (i, name) in self.image_pull_secrets.iter().enumerate() {
            check.dns_name(&format!("image_pull_secrets[{i}]"), name);
        }
        check.identity("security.run_as_user", self.security.run_as_user);
        check.identity("security.run_as_group", self.security.run_as_group);
        check.identity("security.fs_group", self.security.fs_group);
        if self.security.run_as_group.is_some() && self.security.run_as_user.is_none() {
            check.problem("setting-group", "security.run_as_group", "container runtimes take a group only with a user");
        }
        for (i, pattern) in self.root_images.iter().enumerate() {
            if pattern.trim().is_empty() {
                check.problem("setting-image", format!("root_images[{i}]"), "the image has no name");
            }
        }
        if self.security.run_as_non_root && self.security.run_as_user == Some(0) {
            check.problem("setting-root", "security.run_as_user", "0 is root, which run_as_non_root forbids");
        }
        self.check_network(&mut check);
        for (field, block) in self.network_policy.blocks() {
            if !is_block(block) {
                check.problem(
                    "setting-address",
                    field,
                    format!("{block:?} is no block of addresses; write 10.1.0.0/16"),
                );
            }
        }
        if self.permission_init_image.trim().is_empty() {
            check.problem("setting-image", "permission_init_image", "the image has no name");
        }
        check.0
    }

    fn check_resources(&self, check: &mut Check) {
        for (kind, quantities) in
            [("requests", &self.default_resources.requests), ("limits", &self.default_resources.limits)]
        {
            for (name, quantity) in quantities {
                let field = format!("default_resources.{kind}.{name}");
                if !quantity::is_resource(name) {
                    let message = format!(
                        "{name:?} is no resource; use cpu, memory, ephemeral-storage, or one like nvidia.com/gpu"
                    );
                    check.problem("setting-resource", &field, message);
                }
                check.quantity(&field, quantity);
            }
        }
        for (name, request) in &self.default_resources.requests {
            let limit = self.default_resources.limits.get(name).and_then(|limit| quantity::parse(limit));
            if let (Some(request), Some(limit)) = (quantity::parse(request), limit)
                && request > limit
            {
                let field = format!("default_resources.requests.{name}");
                check.problem("setting-resource", field, "the request is greater than the limit");
            }
        }
    }

    fn check_network(&self, check: &mut Check) {
        for (i, alias) in self.host_aliases.iter().enumerate() {
            if alias.ip.parse::<IpAddr>().is_err() {
                let message = format!("{:?} is no IP address", alias.ip);
                check.problem("setting-address", format!("host_aliases[{i}].ip"), message);
            }
            for (h, name) in alias.hostnames.iter().flatten().enumerate() {
                check.dns_name(&format!("host_aliases[{i}].hostnames[{h}]"), name);
            }
        }
        let servers = self.dns_config.iter().flat_map(|dns| dns.nameservers.iter().flatten());
        for (i, server) in servers.clone().enumerate() {
            if server.parse::<IpAddr>().is_err() {
                let message = format!("{server:?} is no IP address");
                check.problem("setting-address", format!("dns_config.nameservers[{i}]"), message);
            }
        }
        if servers.clone().count() > limits::NAME_SERVERS {
            let message = format!("a pod can have {} name servers", limits::NAME_SERVERS);
            check.problem("setting-dns", "dns_config.nameservers", message);
        }
        if self.dns_policy == Some(DnsPolicy::None) && servers.count() == 0 {
            let message = "without a name server here, steps could not look up any name";
            check.problem("setting-dns", "dns_config.nameservers", message);
        }
        let searches = self.dns_config.iter().flat_map(|dns| dns.searches.iter().flatten());
        for (i, domain) in searches.enumerate() {
            if !is_search_domain(domain) {
                let message = format!("{domain:?} is no domain");
                check.problem("setting-dns", format!("dns_config.searches[{i}]"), message);
            }
        }
    }
}

/// Whether the text is a block of addresses, as `10.1.0.0/16`, or `fd00::/8`.
fn is_block(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let most = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    bits.parse::<u8>().is_ok_and(|bits| bits <= most)
}

/// Whether a resolver takes the text as a search domain: a DNS name, with a dot at its end if one likes.
pub(crate) fn is_search_domain(domain: &str) -> bool {
    domain == "." || is_dns_name(domain.strip_suffix('.').unwrap_or(domain))
}

/// What the API server would say about a toleration.
pub(crate) fn toleration_problem(toleration: &Toleration) -> Option<String> {
    let key = toleration.key.as_deref().unwrap_or_default();
    let value = toleration.value.as_deref().unwrap_or_default();
    let effect = toleration.effect.as_deref().unwrap_or_default();
    if !key.is_empty() && !is_label_key(key) {
        return Some(format!("the key {key:?} is no label key"));
    }
    if !matches!(effect, "" | "NoSchedule" | "PreferNoSchedule" | "NoExecute") {
        return Some(format!("the effect {effect:?} is none of NoSchedule, PreferNoSchedule and NoExecute"));
    }
    if toleration.toleration_seconds.is_some() && effect != "NoExecute" {
        return Some("tolerationSeconds needs the effect NoExecute".to_owned());
    }
    match toleration.operator.as_deref().unwrap_or_default() {
        "Exists" if !value.is_empty() => Some("the operator Exists takes no value".to_owned()),
        "Exists" => None,
        "" | "Equal" if key.is_empty() => Some("without a key the operator must be Exists".to_owned()),
        "" | "Equal" if !is_label_value(value) => Some(format!("the value {value:?} is no label value")),
        "" | "Equal" => None,
        operator => Some(format!("the operator {operator:?} is neither Exists nor Equal")),
    }
}
