//! The payload of a workflow: JSON as Woodpecker's server compiles it, to a workload.
//!
//! It is read as Go reads it: keys that nobody knows are skipped, and what is missing or null is empty. Stages without
//! steps are left out: a server writes them where conditions took all steps of a stage away. What only other backends
//! know (networks, devices, `tmpfs`) is skipped, as their own agents for Kubernetes do it.
//!
//! What the operator's settings and Kubernetes make of it is decided later. Here belongs what can't even be understood.

mod json;

use std::collections::BTreeMap;
use std::net::IpAddr;

use piculet_core::secret::Secret;
use piculet_core::workload::{
    ExtraHost, FailurePolicy, Port, Problem, Protocol, RegistryAuth, StageSpec, StepKind, StepSpec, VolumeSpec,
    WorkloadError, WorkloadSpec,
};

/// What a workflow may take whose server says nothing of it, in minutes.
const DEFAULT_TIMEOUT: u64 = 60;

/// The backend whose options are ours.
const BACKEND: &str = "kubernetes";

/// Reads a payload. `minutes` is what the workflow may take; 0: an hour.
///
/// # Errors
/// It is no JSON of that form, or a field makes no sense. No secret's value is told.
pub(super) fn decode(payload: &[u8], minutes: i64) -> Result<WorkloadSpec, WorkloadError> {
    let value = serde_json::from_slice(payload).map_err(|error| unreadable(&error))?;
    let config: json::Config = serde_path_to_error::deserialize(json::without_nulls(value)).map_err(|error| {
        let field = error.path().to_string();
        // The library's own words may quote a secret.
        problem(&field, "the value has a type that no such field has".to_owned())
    })?;
    let mut reading = Reading { volume: &config.volume, problems: Vec::new() };
    let stages = config.pipeline.iter().enumerate().map(|(s, stage)| StageSpec {
        steps: stage
            .steps
            .iter()
            .enumerate()
            .map(|(i, step)| reading.step(&format!("pipeline[{s}].steps[{i}]"), step))
            .collect(),
    });
    let stages: Vec<_> = stages.filter(|stage| !stage.steps.is_empty()).collect();
    let problems = reading.problems;
    if !problems.is_empty() {
        return Err(WorkloadError { problems });
    }
    if stages.is_empty() {
        return Err(problem("pipeline", "it has no steps: nothing can run, and nothing can have succeeded".to_owned()));
    }
    let steps = || config.pipeline.iter().flat_map(|stage| &stage.steps);
    let minutes = u64::try_from(minutes).ok().filter(|minutes| *minutes > 0).unwrap_or(DEFAULT_TIMEOUT);
    Ok(WorkloadSpec {
        name: steps().find_map(|step| step.environment.get("CI_WORKFLOW_NAME").cloned()).unwrap_or_default(),
        labels: steps().flat_map(|step| step.workflow_labels.clone()).collect(),
        timeout_seconds: Some(minutes.saturating_mul(60)),
        secrets: config.secrets.iter().map(|secret| Secret::new(secret.value.as_str())).collect(),
        organization: steps().next().map(|step| step.org_id),
        workspace: volume_name(&config.volume).to_owned(),
        stages,
    })
}

/// Reads steps, and collects what can't be read.
struct Reading<'a> {
    /// The workspace's volume.
    volume: &'a str,
    problems: Vec<Problem>,
}

impl Reading<'_> {
    fn step(&mut self, field: &str, step: &json::Step) -> StepSpec {
        let mut environment = step.environment.clone();
        // The server lists them twice.
        environment.retain(|name, _| !step.secret_mapping.contains_key(name));
        let (workspace_base, volumes) = self.volumes(step);
        StepSpec {
            id: step.uuid.clone(),
            name: step.name.clone(),
            kind: kind(&step.kind),
            image: step.image.clone(),
            pull: step.pull,
            entrypoint: step.entrypoint.clone(),
            commands: step.commands.clone(),
            working_dir: step.working_dir.clone(),
            workspace_base,
            environment,
            secret_environment: secrets(&step.secret_mapping),
            needs: None,
            on_success: step.on_success,
            on_failure: step.on_failure,
            failure: failure(&step.failure),
            detached: step.detach,
            privileged: step.privileged,
            timeout_seconds: None,
            max_attempts: 1,
            volumes,
            ports: step
                .ports
                .iter()
                .enumerate()
                .filter_map(|(i, port)| self.port(&format!("{field}.ports[{i}]"), port))
                .collect(),
            dns: self.addresses(&format!("{field}.dns"), &step.dns),
            dns_search: step.dns_search.clone(),
            extra_hosts: step
                .extra_hosts
                .iter()
                .enumerate()
                .filter_map(|(i, host)| self.host(&format!("{field}.extra_hosts[{i}]"), host))
                .collect(),
            registry_auth: registry_auth(&step.auth_config),
            kubernetes: self.options(field, step),
        }
    }

    /// Where the workspace is mounted, and what else is.
    fn volumes(&self, step: &json::Step) -> (String, Vec<VolumeSpec>) {
        let mut base = String::new();
        let mut others = Vec::new();
        for entry in &step.volumes {
            let (source, path, mode) = parts(entry);
            // The first mount of the workspace is the one that steps start in; further ones are plain mounts of it.
            if source == volume_name(self.volume) && base.is_empty() {
                base = path.to_owned();
            } else {
                let read_only = mode.split(',').any(|flag| flag == "ro");
                others.push(VolumeSpec { claim: source.to_owned(), path: path.to_owned(), read_only });
            }
        }
        (base, others)
    }

    fn port(&mut self, field: &str, port: &json::Port) -> Option<Port> {
        let Ok(number @ 1..) = u16::try_from(port.number) else {
            self.problem(
                &format!("{field}.number"),
                format!("{} is no port; that is a number from 1 to 65535", port.number),
            );
            return None;
        };
        let protocol = match port.protocol.to_ascii_lowercase().as_str() {
            "" | "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            "sctp" => Protocol::Sctp,
            other => {
                self.problem(&format!("{field}.protocol"), format!("{other:?} is no protocol; write tcp, udp or sctp"));
                return None;
            }
        };
        Some(Port { number, protocol })
    }

    fn addresses(&mut self, field: &str, texts: &[String]) -> Vec<IpAddr> {
        let read = |(i, text): (usize, &String)| self.address(&format!("{field}[{i}]"), text);
        texts.iter().enumerate().filter_map(read).collect()
    }

    fn host(&mut self, field: &str, host: &json::Host) -> Option<ExtraHost> {
        let ip = self.address(&format!("{field}.ip"), &host.ip)?;
        Some(ExtraHost { name: host.name.clone(), ip })
    }

    fn address(&mut self, field: &str, text: &str) -> Option<IpAddr> {
        let address = text.trim().parse().ok();
        if address.is_none() {
            self.problem(field, format!("{text:?} is no IP address, and Kubernetes takes nothing else here"));
        }
        address
    }

    fn options(&mut self, field: &str, step: &json::Step) -> serde_json::Map<String, serde_json::Value> {
        match step.backend_options.get(BACKEND) {
            None | Some(serde_json::Value::Null) => serde_json::Map::new(),
            Some(serde_json::Value::Object(options)) => options.clone(),
            Some(_) => {
                self.problem(&format!("{field}.backend_options.{BACKEND}"), "it has to be a map of options".to_owned());
                serde_json::Map::new()
            }
        }
    }

    fn problem(&mut self, field: &str, message: String) {
        self.problems.push(Problem { code: "payload", field: field.to_owned(), message });
    }
}

fn problem(field: &str, message: String) -> WorkloadError {
    WorkloadError { problems: vec![Problem { code: "payload", field: field.to_owned(), message }] }
}

/// Where it is no JSON; without the text that stands there, which may be secret.
fn unreadable(error: &serde_json::Error) -> WorkloadError {
    let what = if error.is_eof() { "ends too early" } else { "is no JSON" };
    let message =
        format!("the server's description of the workflow {what} (line {}, column {})", error.line(), error.column());
    problem("payload", message)
}

/// `cache` is a kind of the protocol that no server sends today; like every unknown one it is run as it stands.
fn kind(text: &str) -> StepKind {
    match text {
        "clone" => StepKind::Clone,
        "service" => StepKind::Service,
        "plugin" => StepKind::Plugin,
        _ => StepKind::Commands,
    }
}

fn failure(text: &str) -> FailurePolicy {
    match text {
        "ignore" => FailurePolicy::Ignore,
        "cancel" => FailurePolicy::Cancel,
        _ => FailurePolicy::Fail,
    }
}

fn secrets(mapping: &BTreeMap<String, String>) -> BTreeMap<String, Secret> {
    mapping.iter().map(|(name, value)| (name.clone(), Secret::new(value.as_str()))).collect()
}

fn registry_auth(auth: &json::Auth) -> Option<RegistryAuth> {
    let is_whole = !auth.username.is_empty() && !auth.password.is_empty();
    is_whole.then(|| RegistryAuth { username: auth.username.clone(), password: Secret::new(auth.password.as_str()) })
}

/// Source, path and mode of `source:path[:mode]`; a path alone is a source of its own name.
fn parts(entry: &str) -> (&str, &str, &str) {
    match entry.split_once(':') {
        Some((source, rest)) => {
            let (path, mode) = rest.split_once(':').unwrap_or((rest, ""));
            (source, path, mode)
        }
        // Not taken for a path on a host, which nothing on Kubernetes mounts.
        None => (entry.trim_start_matches('/'), entry, ""),
    }
}

/// What stands before the first `:`.
fn volume_name(volume: &str) -> &str {
    parts(volume).0
}

#[cfg(test)]
mod tests;
