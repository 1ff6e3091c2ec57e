//! The pod of a step.

mod network;
mod placement;
mod resources;
mod security;
mod variables;
mod volumes;

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Capabilities, ResourceRequirements, SecurityContext};
use k8s_openapi::api::core::v1::{Container, LocalObjectReference, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::expansion::literal;
use crate::settings::Profile;
use crate::step::Draft;
use crate::{limits, script};

pub(crate) use security::for_step as security_for;

/// Seconds that a pod may live beyond the workflow's time, before the kubelet ends it without being asked.
const DEADLINE_SLACK: u64 = 60;

/// The pod, and the values that its step's Secret must hold.
pub(crate) fn spec(draft: &mut Draft<'_>, has_registry_secret: bool) -> (PodSpec, BTreeMap<String, ByteString>) {
    let security_context = security::of_pod(draft);
    let run_as_user = security_context.as_ref().and_then(|pod| pod.run_as_user);
    let volumes = volumes::of(draft, run_as_user);
    let variables = variables::of(draft, volumes.home.as_deref());
    let (settings, step) = (draft.settings, draft.step);
    let service_account = draft.options.service_account.clone().or_else(|| settings.service_account.clone());
    let container = Container {
        name: draft.names.container.clone(),
        image: Some(step.spec.image.trim().to_owned()),
        image_pull_policy: step.spec.pull.then(|| "Always".to_owned()),
        command: command(draft),
        working_dir: working_dir(draft),
        env: some(variables.env),
        env_from: some(variables.env_from),
        ports: network::ports(draft),
        resources: resources::of(draft),
        security_context: security::of_container(draft),
        volume_mounts: some(volumes.mounts),
        ..Container::default()
    };
    let init_container = init_container(draft, &container, run_as_user);
    let stop_timeout = u64::from(settings.stop_timeout_seconds);
    let spec = PodSpec {
        active_deadline_seconds: Some({
            // The API server takes no more than 31 bits.
            let seconds = draft.build.context.time_limit.as_secs().saturating_add(stop_timeout + DEADLINE_SLACK);
            i64::from(i32::try_from(seconds).unwrap_or(i32::MAX))
        }),
        affinity: placement::affinity(draft),
        automount_service_account_token: Some(service_account.is_some()),
        dns_config: network::dns_config(draft),
        dns_policy: settings.dns_policy.map(|policy| policy.as_str().to_owned()),
        enable_service_links: Some(false),
        host_aliases: network::host_aliases(draft),
        host_users: draft.options.host_users,
        hostname: network::host_name(draft),
        image_pull_secrets: some(pull_secrets(draft, has_registry_secret)),
        init_containers: init_container.map(|container| vec![container]),
        node_selector: some_map(placement::node_selector(draft)),
        priority_class_name: settings.priority_class.clone(),
        restart_policy: Some("Never".to_owned()),
        runtime_class_name: draft.options.runtime_class.clone().or_else(|| settings.runtime_class.clone()),
        security_context,
        service_account_name: service_account,
        subdomain: Some(draft.build.workflow.service.clone()),
        termination_grace_period_seconds: Some(i64::from(settings.stop_timeout_seconds)),
        tolerations: some(placement::tolerations(draft)),
        volumes: some(volumes.volumes),
        containers: vec![container],
        ..PodSpec::default()
    };
    (spec, variables.secret_values)
}

/// What the container runs; `None`: what its image says.
fn command(draft: &mut Draft<'_>) -> Option<Vec<String>> {
    let spec = &draft.step.spec;
    if spec.entrypoint.is_empty() {
        let script = script::variables(&spec.working_dir, &spec.commands);
        return (!spec.commands.is_empty())
            .then(|| script::command(&script).iter().map(|word| literal(word)).collect());
    }
    for (i, word) in spec.entrypoint.iter().enumerate() {
        draft.problems.extend(limits::argument(&format!("entrypoint[{i}]"), word));
    }
    Some(spec.entrypoint.iter().map(|word| literal(word)).collect())
}

/// Where the container starts. A script enters the working directory itself, after having made it.
fn working_dir(draft: &Draft<'_>) -> Option<String> {
    let spec = &draft.step.spec;
    let dir = if spec.commands.is_empty() { &spec.working_dir } else { &spec.workspace_base };
    (!dir.is_empty()).then(|| dir.clone())
}

fn pull_secrets(draft: &Draft<'_>, has_registry_secret: bool) -> Vec<LocalObjectReference> {
    let own = has_registry_secret.then(|| draft.names.registry_secret.clone());
    let names = draft.settings.image_pull_secrets.iter().cloned().chain(own);
    names.map(|name| LocalObjectReference { name }).collect()
}

/// Makes the working directory as the step's own user: the kubelet would make it as root.
fn init_container(draft: &Draft<'_>, container: &Container, run_as_user: Option<i64>) -> Option<Container> {
    run_as_user.filter(|user| *user != 0)?;
    let dir = container.working_dir.as_deref()?;
    let covers = |mount: &str| {
        let below = dir.strip_prefix(mount.trim_end_matches('/'));
        below.is_some_and(|rest| rest.starts_with('/') && rest.len() > 1)
    };
    let mounts: Vec<_> =
        container.volume_mounts.iter().flatten().filter(|mount| covers(&mount.mount_path)).cloned().collect();
    if mounts.is_empty() {
        return None;
    }
    let little = BTreeMap::from(
        [("cpu", "5m"), ("memory", "12Mi")].map(|(name, size)| (name.to_owned(), Quantity(size.to_owned()))),
    );
    let pull_policy = match draft.settings.profile {
        Profile::Compat => "Always",
        // It runs before nearly every plugin, and always does the same.
        Profile::Hardened => "IfNotPresent",
    };
    Some(Container {
        name: draft.names.init_container.clone(),
        image: Some(draft.settings.permission_init_image.clone()),
        image_pull_policy: Some(pull_policy.to_owned()),
        command: Some(["mkdir", "-p", "--", dir].map(literal).to_vec()),
        resources: Some(ResourceRequirements { requests: Some(little.clone()), limits: Some(little), claims: None }),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities { add: None, drop: Some(vec!["ALL".to_owned()]) }),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(mounts),
        ..Container::default()
    })
}

/// An empty list is left out.
fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

/// An empty map is left out.
fn some_map<K, V>(map: BTreeMap<K, V>) -> Option<BTreeMap<K, V>> {
    (!map.is_empty()).then_some(map)
}
