//! Names, addresses and ports of a step.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{ContainerPort, HostAlias, PodDNSConfig};
use piculet_core::workload::Protocol;

use super::some;
use crate::limits::{NAME_SERVERS, SEARCH_CHARACTERS, SEARCH_DOMAINS};
use crate::names::{self, is_dns_name};
use crate::settings::is_search_domain;
use crate::step::Draft;

/// The name under which the other steps find this one.
pub(super) fn host_name(draft: &mut Draft<'_>) -> Option<String> {
    let name = names::host_name(&draft.step.spec.name);
    if name.is_none() && draft.step.is_detached() {
        draft.note(
            "host-name-missing",
            "name",
            "no letter or digit of it can stand in a host name, so other steps can't reach this one by name",
        );
    }
    name
}

/// The search domain that makes steps find each other, the operator's additions, and the step's.
pub(super) fn dns_config(draft: &mut Draft<'_>) -> Option<PodDNSConfig> {
    let settings = draft.settings;
    let spec = &draft.step.spec;
    for (i, domain) in spec.dns_search.iter().enumerate() {
        if !is_search_domain(domain) {
            draft.problem("dns-search", format!("dns_search[{i}]"), format!("{domain:?} is no domain"));
        }
    }
    let operators = settings.dns_config.clone().unwrap_or_default();
    let service = &draft.build.workflow.service;
    let own = format!("{service}.{}.svc.{}", settings.namespace, settings.cluster_domain);
    let searches = distinct(
        [own].into_iter().chain(operators.searches.into_iter().flatten()).chain(spec.dns_search.iter().cloned()),
    );
    let name_servers =
        distinct(operators.nameservers.into_iter().flatten().chain(spec.dns.iter().map(ToString::to_string)));
    if name_servers.len() > NAME_SERVERS {
        let message =
            format!("with the operator's there are {} name servers; a pod can have {NAME_SERVERS}", name_servers.len());
        draft.problem("dns-servers", "dns", message);
    }
    let characters = searches.iter().map(String::len).sum::<usize>() + searches.len() - 1;
    if searches.len() > SEARCH_DOMAINS || characters > SEARCH_CHARACTERS {
        let message = format!(
            "with the operator's there are {} search domains of {characters} characters; a pod can have {SEARCH_DOMAINS} of {SEARCH_CHARACTERS}",
            searches.len()
        );
        draft.problem("dns-search", "dns_search", message);
    }
    Some(PodDNSConfig { nameservers: some(name_servers), searches: some(searches), options: operators.options })
}

/// Lines of the hosts file: one for each address.
pub(super) fn host_aliases(draft: &mut Draft<'_>) -> Option<Vec<HostAlias>> {
    let mut aliases = draft.settings.host_aliases.clone();
    for (i, host) in draft.step.spec.extra_hosts.iter().enumerate() {
        let name = host.name.to_lowercase();
        if !is_dns_name(&name) {
            let message = format!("{:?} can't be a host name", host.name);
            draft.problem("host-name", format!("extra_hosts[{i}].name"), message);
        }
        let ip = host.ip.to_string();
        match aliases.iter_mut().find(|alias| alias.ip == ip) {
            Some(alias) => {
                let names = alias.hostnames.get_or_insert_default();
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            None => aliases.push(HostAlias { ip, hostnames: Some(vec![name]) }),
        }
    }
    some(aliases)
}

/// The ports that the step says it listens on; others can be reached just as well.
pub(super) fn ports(draft: &Draft<'_>) -> Option<Vec<ContainerPort>> {
    let mut seen = BTreeSet::new();
    let ports = draft.step.spec.ports.iter().map(|port| (port.number, protocol(port.protocol)));
    let ports = ports.filter(|port| seen.insert(*port)).map(|(number, protocol)| ContainerPort {
        container_port: i32::from(number),
        protocol: Some(protocol.to_owned()),
        ..ContainerPort::default()
    });
    some(ports.collect())
}

fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
        Protocol::Sctp => "SCTP",
    }
}

/// Each text once, where it stood first.
fn distinct(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    texts.filter(|text| seen.insert(text.clone())).collect()
}
