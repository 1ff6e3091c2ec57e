//! Names that Kubernetes accepts, made from text that it may not.
//!
//! The rules are those of the Woodpecker agent, so that policies and dashboards go on working; where its names are
//! illegal at the place of their use (containers, volumes, clashes of two servers), they are made legal here.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use piculet_core::id::{Attempt, ServerId, StepIndex};
use piculet_core::workload::{Step, StepKind, Workload};
use sha2::{Digest, Sha256};

/// The longest name of an object: an RFC 1123 subdomain.
pub const MAX_DNS_NAME: usize = 253;
/// The longest DNS label: names of containers, volumes, services and hosts.
pub const MAX_DNS_LABEL: usize = 63;
/// The longest value of a label, and the longest name part of its key.
pub const MAX_LABEL_VALUE: usize = 63;

/// Hexadecimal digits of SHA-256 that stand in for what was cut off.
const HASH_DIGITS: usize = 16;

/// The names of a workflow's own objects.
///
/// Those that the agent makes hold a hash of the server's identity, the workflow's id and its steps' ids: two servers in
/// one namespace, or a server whose small integer ids start anew, never clash. Woodpecker's servers name the workspace, by
/// a ULID of the workflow's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkflowNames {
    /// The workflow's key: a label value, and part of each name below. At most 41 characters.
    pub key: String,
    /// The anchor, a ConfigMap.
    pub anchor: String,
    /// The claim of the workspace: the server's name for the volume, where it has a legal one.
    pub workspace: String,
    /// The headless Service that gives steps their host names.
    pub service: String,
    /// The NetworkPolicy that keeps the steps apart from others.
    pub network_policy: String,
}

impl WorkflowNames {
    /// Makes the names. The same server and workload always give the same ones.
    pub fn new(server: &ServerId, workload: &Workload) -> Self {
        let mut hash = Sha256::new();
        let ids = workload.steps().iter().map(|step| step.id.as_str());
        for part in [server.as_str(), workload.id.as_str()].into_iter().chain(ids) {
            // The length goes in first: ("ab", "c") and ("a", "bc") differ.
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
        let hash = hex(&hash.finalize());
        let mut id = dns_label(&dns_name(workload.id.as_str()).unwrap_or_default());
        id.truncate(24);
        let id = id.trim_end_matches('-');
        let key = if id.is_empty() { hash } else { format!("{id}-{hash}") };
        Self {
            anchor: format!("wp-{key}"),
            workspace: dns_name(&workload.workspace).unwrap_or_else(|| format!("wp-{key}-default")),
            service: format!("wp-hsvc-{key}"),
            network_policy: format!("wp-{key}"),
            key,
        }
    }
}

/// The names of one attempt at a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepNames {
    /// The pod. On attempt 1 the one that Woodpecker gives it; later ones end with the attempt's number.
    pub pod: String,
    /// The main container.
    pub container: String,
    /// The init container that makes the working directory.
    pub init_container: String,
    /// The Secret with the step's secret variables.
    pub step_secret: String,
    /// The Secret with the credentials for the image's registry.
    pub registry_secret: String,
}

/// The names of a workflow's steps.
#[derive(Debug)]
pub struct Names<'a> {
    workload: &'a Workload,
    /// Steps whose plain pod name another step could get, too, now or at a later attempt: `build` and `build-2` in a
    /// file written by hand. The ids of a real server never are.
    contested: BTreeSet<StepIndex>,
    /// Who has a host name, first come first.
    hosts: BTreeMap<String, Vec<StepIndex>>,
}

impl<'a> Names<'a> {
    /// Looks at all steps, so that no two of them get the same name.
    pub fn new(workload: &'a Workload) -> Self {
        let mut steps = BTreeMap::<String, BTreeSet<StepIndex>>::new();
        for (index, step) in workload.indexed() {
            for base in [pod_base(step), secret_base(step)] {
                steps.entry(prefixed_name(&base)).or_default().insert(index);
            }
        }
        let mut contested = BTreeSet::new();
        for (base, indices) in &steps {
            if indices.len() > 1 {
                contested.extend(indices);
            }
            let attempt_of = base.rsplit_once('-').filter(|(_, n)| n.bytes().all(|b| b.is_ascii_digit()));
            if let Some((other, _)) = attempt_of
                && let Some(others) = steps.get(other)
            {
                contested.extend(indices);
                contested.extend(others);
            }
        }
        let mut hosts = BTreeMap::<String, Vec<StepIndex>>::new();
        for (index, step) in workload.indexed() {
            if let Some(host) = host_name(&step.spec.name) {
                hosts.entry(host).or_default().push(index);
            }
        }
        Self { workload, contested, hosts }
    }

    /// Another step that has the same host name, if one of the two runs beside others: who asks for that name may get
    /// either.
    pub fn host_twin(&self, index: StepIndex) -> Option<&'a Step> {
        let step = self.workload.step(index);
        let twins = self.hosts.get(&host_name(&step.spec.name)?)?;
        let mut others = twins.iter().filter(|twin| **twin != index).map(|twin| self.workload.step(*twin));
        others.find(|other| step.is_detached() || other.is_detached())
    }

    /// The names of one attempt at a step.
    pub fn of(&self, index: StepIndex, attempt: Attempt) -> StepNames {
        let step = self.workload.step(index);
        let mut pod = pod_base(step);
        let mut registry_secret = secret_base(step);
        if self.contested.contains(&index) {
            let hash = short_hash(step.id.as_str());
            pod = format!("{pod}-{hash}");
            registry_secret = format!("{registry_secret}-{hash}");
        }
        if attempt > Attempt::FIRST {
            pod = format!("{pod}-{}", attempt.0);
            registry_secret = format!("{registry_secret}-{}", attempt.0);
        }
        let pod = prefixed_name(&pod);
        StepNames {
            container: dns_label(&pod),
            init_container: dns_label(&format!("init-{pod}")),
            step_secret: prefixed_name(&format!("{pod}-step-secret")),
            registry_secret: prefixed_name(&registry_secret),
            pod,
        }
    }
}

fn pod_base(step: &Step) -> String {
    match step.spec.kind {
        StepKind::Service => format!("wp-svc-{}-{}", step.id, step.spec.name),
        StepKind::Clone | StepKind::Plugin | StepKind::Commands => secret_base(step),
    }
}

fn secret_base(step: &Step) -> String {
    format!("wp-{}", step.id)
}

/// The DNS name of a text that starts with `wp-`.
fn prefixed_name(text: &str) -> String {
    dns_name(text).expect("the prefix alone makes a legal name")
}

/// Names for a pod's volumes: DNS labels, each given out once.
#[derive(Debug, Default)]
pub struct VolumeNames(BTreeSet<String>);

impl VolumeNames {
    /// A name for the volume that mounts the object `object`; its own one where that is legal and free.
    pub fn give(&mut self, object: &str) -> String {
        let mut name = dns_label(object);
        if self.0.contains(&name) {
            name = dns_label(&format!("{name}-{}", short_hash(&format!("{}/{object}", self.0.len()))));
        }
        self.0.insert(name.clone());
        name
    }
}

/// The text as an RFC 1123 subdomain, which names most objects; `None` if nothing legal is left of it.
pub fn dns_name(text: &str) -> Option<String> {
    let mut name = String::with_capacity(text.len());
    let mut separator = None;
    for c in text.chars().map(simple_lower) {
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            if let Some(separator) = separator.take()
                && !name.is_empty()
            {
                name.push(separator);
            }
            name.push(c);
        } else {
            separator = Some(if c == '.' || separator == Some('.') { '.' } else { '-' });
        }
    }
    if name.len() > MAX_DNS_NAME {
        name.truncate(MAX_DNS_NAME - 1 - HASH_DIGITS);
        let kept = name.trim_end_matches(['-', '.']);
        name = format!("{kept}-{}", short_hash(text));
    }
    (!name.is_empty()).then_some(name)
}

/// The text as a label value. Nothing may be left of it: an empty value is legal.
pub fn label_value(text: &str) -> String {
    let mut value = String::with_capacity(text.len());
    // A lone separator stays what it is, several together become a dash.
    let mut separator = None;
    for c in text.chars().map(simple_lower) {
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            if let Some(separator) = separator.take()
                && !value.is_empty()
            {
                value.push(separator);
            }
            value.push(c);
        } else {
            separator = Some(if separator.is_none() && matches!(c, '_' | '.') { c } else { '-' });
        }
    }
    if value.len() > MAX_LABEL_VALUE {
        value.truncate(MAX_LABEL_VALUE - 1 - HASH_DIGITS);
        let kept = value.trim_end_matches(['-', '_', '.']);
        value = format!("{kept}-{}", short_hash(text));
    }
    value
}

/// The text as a host name; `None` if nothing legal is left of it.
pub fn host_name(text: &str) -> Option<String> {
    let mut name = dns_name(text)?.replace('.', "-");
    name.truncate(MAX_DNS_LABEL);
    let name = name.trim_matches('-');
    is_dns_label(name).then(|| name.to_owned())
}

/// A DNS name as a DNS label: without dots, at most 63 characters.
pub fn dns_label(name: &str) -> String {
    let label = name.replace('.', "-");
    if label.len() <= MAX_DNS_LABEL {
        return label;
    }
    let mut kept = label;
    kept.truncate(MAX_DNS_LABEL - 1 - HASH_DIGITS);
    format!("{}-{}", kept.trim_end_matches('-'), short_hash(name))
}

/// Whether the text is an RFC 1123 label.
pub fn is_dns_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty()
        && text.len() <= MAX_DNS_LABEL
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Whether the text is an RFC 1123 subdomain. Its labels may be longer than 63, as the API server has it.
pub fn is_dns_name(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= MAX_DNS_NAME && text.split('.').all(label)
}

/// Whether the text can be a label's value.
pub fn is_label_value(text: &str) -> bool {
    text.is_empty() || is_qualified_part(text)
}

/// Whether the text can be the key of a label or an annotation.
pub fn is_label_key(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_dns_name(prefix) && is_qualified_part(name),
        None => is_qualified_part(text),
    }
}

/// Whether the text can be the key of an entry of a Secret or ConfigMap.
pub fn is_data_key(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_DNS_NAME
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && text != "."
        && !text.starts_with("..")
}

/// Whether the text can be the name of an environment variable: printable ASCII without `=`, since Kubernetes 1.32.
pub fn is_variable_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'=')
}

/// The first 16 hexadecimal digits of the text's SHA-256.
pub fn short_hash(text: &str) -> String {
    hex(&Sha256::digest(text))
}

fn is_qualified_part(text: &str) -> bool {
    let ends = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    text.len() <= MAX_LABEL_VALUE
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && ends(text.bytes().next())
        && ends(text.bytes().next_back())
}

fn hex(hash: &[u8]) -> String {
    hash.iter().take(HASH_DIGITS / 2).map(|byte| format!("{byte:02x}")).collect()
}

/// One lower-case character for each character, as Go's `strings.ToLower` has it.
fn simple_lower(c: char) -> char {
    c.to_lowercase().next().unwrap_or(c)
}
