//! A whole workflow.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::net::IpAddr;

use piculet_core::secret::Secret;
use piculet_core::workload::{
    ExtraHost, Port, Problem, Protocol, RegistryAuth, StageSpec, StepSpec, VolumeSpec, WorkloadError, WorkloadSpec,
};
use piculet_proto::v1;
use serde_json::{Map, Value};

use super::state::ClosedSet;

/// For the wire.
pub fn encode(spec: &WorkloadSpec) -> v1::Workload {
    v1::Workload {
        name: spec.name.clone(),
        stages: spec
            .stages
            .iter()
            .map(|stage| v1::Stage { steps: stage.steps.iter().map(encode_step).collect() })
            .collect(),
        labels: spec.labels.clone().into_iter().collect(),
        timeout_seconds: spec.timeout_seconds.unwrap_or(0),
        secrets: spec.secrets.iter().map(|secret| secret.expose().to_owned()).collect(),
        organization: spec.organization,
        workspace: spec.workspace.clone(),
    }
}

fn encode_step(step: &StepSpec) -> v1::Step {
    v1::Step {
        id: step.id.clone(),
        name: step.name.clone(),
        kind: step.kind.encode().into(),
        image: step.image.clone(),
        pull: step.pull,
        entrypoint: step.entrypoint.clone(),
        commands: step.commands.clone(),
        working_dir: step.working_dir.clone(),
        workspace_base: step.workspace_base.clone(),
        environment: step.environment.clone().into_iter().collect(),
        secret_environment: step
            .secret_environment
            .iter()
            .map(|(name, secret)| (name.clone(), secret.expose().to_owned()))
            .collect(),
        needs: step.needs.clone().map(|steps| v1::Needs { steps }),
        on_success: step.on_success,
        on_failure: step.on_failure,
        failure: step.failure.encode().into(),
        detached: step.detached,
        privileged: step.privileged,
        timeout_seconds: step.timeout_seconds.unwrap_or(0),
        max_attempts: step.max_attempts,
        volumes: step
            .volumes
            .iter()
            .map(|volume| v1::Volume {
                claim: volume.claim.clone(),
                path: volume.path.clone(),
                read_only: volume.read_only,
            })
            .collect(),
        ports: step
            .ports
            .iter()
            .map(|port| v1::Port { number: port.number.into(), protocol: protocol_name(port.protocol).to_owned() })
            .collect(),
        dns: step.dns.iter().map(IpAddr::to_string).collect(),
        dns_search: step.dns_search.clone(),
        extra_hosts: step
            .extra_hosts
            .iter()
            .map(|host| v1::ExtraHost { name: host.name.clone(), ip: host.ip.to_string() })
            .collect(),
        registry_auth: step.registry_auth.as_ref().map(|auth| v1::RegistryAuth {
            username: auth.username.clone(),
            password: auth.password.expose().to_owned(),
        }),
        kubernetes_options: match step.kubernetes.is_empty() {
            true => String::new(),
            false => Value::Object(step.kubernetes.clone()).to_string(),
        },
    }
}

fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}

/// From the wire. The result is not yet checked as a whole: that is what
/// [`Workload::new`](piculet_core::workload::Workload::new) does.
///
/// # Errors
/// Every field that can't be read, with its name. No secret's value is told.
pub fn decode(message: v1::Workload) -> Result<WorkloadSpec, WorkloadError> {
    let mut reading = Reading { problems: Vec::new() };
    let stages = message
        .stages
        .into_iter()
        .enumerate()
        .map(|(s, stage)| StageSpec {
            steps: stage
                .steps
                .into_iter()
                .enumerate()
                .map(|(i, step)| reading.step(&format!("stages[{s}].steps[{i}]"), step))
                .collect(),
        })
        .collect();
    let spec = WorkloadSpec {
        name: message.name,
        labels: ordered(message.labels),
        timeout_seconds: some_unless_zero(message.timeout_seconds),
        secrets: message.secrets.into_iter().map(Secret::new).collect(),
        organization: message.organization,
        workspace: message.workspace,
        stages,
    };
    if reading.problems.is_empty() { Ok(spec) } else { Err(WorkloadError { problems: reading.problems }) }
}

/// An assignment without a workload.
pub(super) fn missing() -> WorkloadError {
    let mut reading = Reading { problems: Vec::new() };
    reading.problem("wire-missing", "workload", "is missing");
    WorkloadError { problems: reading.problems }
}

/// Collects what can't be read and goes on, so that all problems are told at once.
struct Reading {
    problems: Vec<Problem>,
}

impl Reading {
    fn problem(&mut self, code: &'static str, field: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem { code, field: field.into(), message: message.into() });
    }

    fn step(&mut self, field: &str, step: v1::Step) -> StepSpec {
        StepSpec {
            kind: self.in_set(step.kind, || format!("{field}.kind")),
            failure: self.in_set(step.failure, || format!("{field}.failure")),
            ports: self.ports(field, step.ports),
            dns: self.addresses(field, &step.dns),
            extra_hosts: self.hosts(field, step.extra_hosts),
            kubernetes: self.kubernetes(field, &step.kubernetes_options),
            id: step.id,
            name: step.name,
            image: step.image,
            pull: step.pull,
            entrypoint: step.entrypoint,
            commands: step.commands,
            working_dir: step.working_dir,
            workspace_base: step.workspace_base,
            environment: ordered(step.environment),
            secret_environment: step
                .secret_environment
                .into_iter()
                .map(|(name, value)| (name, Secret::new(value)))
                .collect(),
            needs: step.needs.map(|needs| needs.steps),
            on_success: step.on_success,
            on_failure: step.on_failure,
            detached: step.detached,
            privileged: step.privileged,
            timeout_seconds: some_unless_zero(step.timeout_seconds),
            max_attempts: step.max_attempts.max(1),
            volumes: step
                .volumes
                .into_iter()
                .map(|volume| VolumeSpec { claim: volume.claim, path: volume.path, read_only: volume.read_only })
                .collect(),
            dns_search: step.dns_search,
            registry_auth: step
                .registry_auth
                .map(|auth| RegistryAuth { username: auth.username, password: Secret::new(auth.password) }),
        }
    }

    fn in_set<T: ClosedSet + Default>(&mut self, number: i32, field: impl FnOnce() -> String) -> T {
        T::decode(number).unwrap_or_else(|problem| {
            self.problem("wire-enum", field(), problem.to_string());
            T::default()
        })
    }

    fn ports(&mut self, field: &str, ports: Vec<v1::Port>) -> Vec<Port> {
        let mut read = Vec::with_capacity(ports.len());
        for (p, port) in ports.into_iter().enumerate() {
            let number = u16::try_from(port.number).ok().filter(|&number| number != 0);
            if number.is_none() {
                let message = format!("{} is no port; ports are numbers from 1 to 65535", port.number);
                self.problem("wire-port", format!("{field}.ports[{p}].number"), message);
            }
            let protocol = match port.protocol.as_str() {
                "" | "tcp" => Some(Protocol::Tcp),
                "udp" => Some(Protocol::Udp),
                "sctp" => Some(Protocol::Sctp),
                other => {
                    let message = format!("{other:?} is none of 'tcp', 'udp' and 'sctp'");
                    self.problem("wire-protocol", format!("{field}.ports[{p}].protocol"), message);
                    None
                }
            };
            read.extend(number.zip(protocol).map(|(number, protocol)| Port { number, protocol }));
        }
        read
    }

    fn addresses(&mut self, field: &str, addresses: &[String]) -> Vec<IpAddr> {
        let mut read = Vec::with_capacity(addresses.len());
        for (a, address) in addresses.iter().enumerate() {
            read.extend(self.address(format!("{field}.dns[{a}]"), address));
        }
        read
    }

    fn hosts(&mut self, field: &str, hosts: Vec<v1::ExtraHost>) -> Vec<ExtraHost> {
        let mut read = Vec::with_capacity(hosts.len());
        for (h, host) in hosts.into_iter().enumerate() {
            let ip = self.address(format!("{field}.extra_hosts[{h}].ip"), &host.ip);
            read.extend(ip.map(|ip| ExtraHost { name: host.name, ip }));
        }
        read
    }

    fn address(&mut self, field: String, text: &str) -> Option<IpAddr> {
        let address = text.parse().ok();
        if address.is_none() {
            self.problem("wire-address", field, format!("{text:?} is no IP address"));
        }
        address
    }

    fn kubernetes(&mut self, field: &str, text: &str) -> Map<String, Value> {
        let mut problem = |message: &dyn Display| {
            self.problem("wire-json", format!("{field}.kubernetes_options"), message.to_string());
            Map::new()
        };
        if text.is_empty() {
            return Map::new();
        }
        // First any value, then an object: a type error of serde_json would repeat the text, and with it a secret.
        match serde_json::from_str(text) {
            Ok(Value::Object(map)) => map,
            Ok(_) => problem(&"is JSON, but no object"),
            Err(error) => problem(&format_args!("is no JSON: {error}")),
        }
    }
}

fn ordered(map: HashMap<String, String>) -> BTreeMap<String, String> {
    map.into_iter().collect()
}

fn some_unless_zero(seconds: u64) -> Option<u64> {
    (seconds != 0).then_some(seconds)
}

#[cfg(test)]
mod tests;
