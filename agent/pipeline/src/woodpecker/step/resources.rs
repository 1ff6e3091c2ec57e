//! What a step wants from outside of its container: volumes, ports, name servers, options of the cluster.

use piculet_core::workload::{ExtraHost, Port, Protocol, VolumeSpec};

use super::{Section, Step};
use crate::context::Trusted;
use crate::report::{Report, Span};
use crate::woodpecker::fields::{Fields, Text};

/// Keys that only other backends know.
const OTHER_BACKENDS: [&str; 3] = ["devices", "network_mode", "tmpfs"];

impl Step {
    pub(super) fn read_resources(&mut self, fields: &mut Fields<'_>, trusted: Trusted, report: &mut Report<'_>) {
        for key in OTHER_BACKENDS {
            let what = fields.what(key);
            if let Some(entry) = fields.take_entry(key) {
                report.warning("other-backend", entry.key.span, format!("{what} has no meaning on Kubernetes"));
            }
        }
        let owner = fields.owner.clone();
        let mut take = |key: &str, is_trusted: bool, level: &str, report: &mut Report<'_>| {
            let values = fields.texts(key, report);
            match values.first() {
                Some(first) if !is_trusted => {
                    not_trusted(&owner, key, level, first.span, report);
                    Vec::new()
                }
                _ => values,
            }
        };
        let volumes = take("volumes", trusted.volumes, "volumes", report);
        let dns = take("dns", trusted.network, "network", report);
        let search = take("dns_search", trusted.network, "network", report);
        let hosts = take("extra_hosts", trusted.network, "network", report);
        let ports = take("ports", true, "", report);
        self.volumes = volumes.iter().filter_map(|text| volume(&owner, text, report)).collect();
        self.dns_search = search.into_iter().map(|text| text.text).collect();
        self.ports = ports.iter().filter_map(|text| port(&owner, text, report)).collect();
        self.extra_hosts = hosts.iter().filter_map(|text| host(&owner, text, report)).collect();
        for server in dns {
            match server.text.trim().parse() {
                Ok(ip) => self.dns.push(ip),
                Err(_) => {
                    let message = format!("`dns` of {owner}: '{}' is not an IP address", server.text);
                    report.error("bad-dns", server.span, message);
                }
            }
        }
        if self.section == Section::Service && self.depends_on.take().is_some() {
            report.warning("service-depends-on", self.span, format!("`depends_on` of {owner} is ignored"));
        }
        self.read_backend_options(fields, report);
    }

    fn read_backend_options(&mut self, fields: &mut Fields<'_>, report: &mut Report<'_>) {
        let what = fields.what("backend_options");
        let Some(options) = fields.take("backend_options") else { return };
        let Some(mut backends) = Fields::of(options, what, report) else { return };
        let Some(kubernetes) = backends.take("kubernetes") else { return };
        match kubernetes.json() {
            serde_json::Value::Object(map) => self.kubernetes = map,
            _ => {
                let what = backends.what("kubernetes");
                report.error(
                    "wrong-type",
                    kubernetes.span,
                    format!("{what} has to be a map, not {}", kubernetes.kind()),
                );
            }
        }
    }
}

/// Says that the repository may not use a key.
pub(super) fn not_trusted(owner: &str, key: &str, level: &str, span: Span, report: &mut Report<'_>) {
    report
        .error("not-trusted", span, format!("{owner} uses `{key}`, for which the repository is not trusted"))
        .hint(format!("an administrator of the server can trust the repository with its {level}"));
}

/// `claim:path[:mode]`.
fn volume(owner: &str, text: &Text, report: &mut Report<'_>) -> Option<VolumeSpec> {
    let mut parts = text.text.splitn(3, ':');
    let (source, path, mode) = (parts.next().unwrap_or_default(), parts.next(), parts.next().unwrap_or_default());
    let Some(path) = path else {
        report.warning(
            "anonymous-volume",
            text.span,
            format!("{owner} runs without the volume '{}': it has no name", text.text),
        );
        return None;
    };
    if source.starts_with(['/', '.', '~']) || source.is_empty() {
        report
            .warning(
                "host-volume",
                text.span,
                format!("{owner} runs without the volume '{}': steps can't see paths of a node", text.text),
            )
            .hint("on Kubernetes a volume is the name of a persistent volume claim: `claim:/path`");
        return None;
    }
    if !path.starts_with('/') {
        report.error("bad-volume", text.span, format!("{owner}: '{path}' is not an absolute path"));
        return None;
    }
    let read_only = mode.split(',').any(|option| option == "ro");
    Some(VolumeSpec { claim: source.to_owned(), path: path.to_owned(), read_only })
}

/// `number[/protocol]`.
fn port(owner: &str, text: &Text, report: &mut Report<'_>) -> Option<Port> {
    let (number, protocol) = text.text.split_once('/').unwrap_or((&text.text, "tcp"));
    let protocol = match protocol.to_lowercase().as_str() {
        "tcp" | "" => Some(Protocol::Tcp),
        "udp" => Some(Protocol::Udp),
        "sctp" => Some(Protocol::Sctp),
        _ => None,
    };
    let number = number.trim().parse().ok().filter(|&number: &u16| number > 0);
    let port = number.zip(protocol).map(|(number, protocol)| Port { number, protocol });
    if port.is_none() {
        report
            .error("bad-port", text.span, format!("`ports` of {owner}: '{}' is not a port", text.text))
            .hint("write a number from 1 to 65535, or `53/udp`");
    }
    port
}

/// `name:address`.
fn host(owner: &str, text: &Text, report: &mut Report<'_>) -> Option<ExtraHost> {
    let host = text.text.split_once(':').and_then(|(name, ip)| {
        let ip = ip.trim().trim_start_matches('[').trim_end_matches(']').parse().ok()?;
        (!name.trim().is_empty()).then(|| ExtraHost { name: name.trim().to_owned(), ip })
    });
    if host.is_none() {
        report
            .error("bad-host", text.span, format!("`extra_hosts` of {owner}: '{}' is not a host", text.text))
            .hint("write `name:address`, with an IP address");
    }
    host
}
