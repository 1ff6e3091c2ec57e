//! What is mounted into a step: the workspace, claims, and Secrets as files.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    EmptyDirVolumeSource, PersistentVolumeClaimVolumeSource, SecretVolumeSource, Volume, VolumeMount,
};
use piculet_core::workload::StepKind;

use crate::names::{VolumeNames, dns_name};
use crate::options::SecretTarget;
use crate::settings::Profile;
use crate::step::Draft;

/// The home of a user whom the image may not know, and who then has `/`, where nobody but root can write.
const HOME: &str = "/home/ci";

/// The volumes of a pod, and where they are mounted.
#[derive(Debug, Default)]
pub(super) struct Volumes {
    pub(super) volumes: Vec<Volume>,
    pub(super) mounts: Vec<VolumeMount>,
    /// Where the step's home is, if it was given one.
    pub(super) home: Option<String>,
    names: VolumeNames,
    /// The volume of what is mounted already: each claim and each Secret is one, however often it is mounted.
    by_source: BTreeMap<Source, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Claim(String),
    Secret(String),
    /// A folder of this name, as long as the pod is there.
    Folder(&'static str),
}

/// Collects everything that the step mounts, as this user.
pub(super) fn of(draft: &mut Draft<'_>, run_as_user: Option<i64>) -> Volumes {
    let mut volumes = Volumes::default();
    let spec = &draft.step.spec;
    if draft.mounts_workspace() {
        let claim = Source::Claim(draft.build.workflow.workspace.clone());
        volumes.mount(draft, "workspace_base", claim, &spec.workspace_base, None, false);
    }
    if draft.options.workspace_volume == Some(false) && spec.kind != StepKind::Service {
        draft.left_out("workspaceVolume", "it is for services only");
    }
    for (i, volume) in spec.volumes.iter().enumerate() {
        let field = format!("volumes[{i}]");
        if volume.claim.starts_with('/') {
            let message = format!(
                "'{}' is a path on a host; on Kubernetes a volume is a claim, so it was left out",
                volume.claim
            );
            draft.note("volume-host-path", field, message);
            continue;
        }
        match dns_name(&volume.claim) {
            Some(claim) => {
                volumes.mount(draft, &field, Source::Claim(claim), &volume.path, None, volume.read_only);
            }
            None => {
                let message = format!("{:?} can't be the name of a claim", volume.claim);
                draft.problem("volume-claim", format!("{field}.claim"), message);
            }
        }
    }
    for (i, secret) in draft.options.secrets.clone().into_iter().enumerate() {
        if let SecretTarget::File { key, path } = secret.target {
            let field = format!("backend_options.kubernetes.secrets[{i}].target.file");
            volumes.mount(draft, &field, Source::Secret(secret.name), &path, key, true);
        }
    }
    let is_nobody = run_as_user.is_some_and(|user| user != 0);
    if draft.settings.profile == Profile::Hardened && is_nobody {
        volumes.make_writable(draft);
    }
    volumes
}

impl Volumes {
    /// Gives folders to a user who owns nothing in the image: a home, and the base of a workspace that isn't mounted.
    fn make_writable(&mut self, draft: &mut Draft<'_>) {
        let spec = &draft.step.spec;
        if !spec.environment.contains_key("HOME") && !spec.secret_environment.contains_key("HOME") {
            if !self.is_mounted(HOME) {
                self.mount(draft, "HOME", Source::Folder("home"), HOME, None, false);
            }
            self.home = Some(HOME.to_owned());
        }
        if !spec.commands.is_empty() && !spec.workspace_base.is_empty() && !self.is_mounted(&spec.workspace_base) {
            self.mount(draft, "workspace_base", Source::Folder("workspace"), &spec.workspace_base, None, false);
        }
    }

    fn is_mounted(&self, path: &str) -> bool {
        self.mounts.iter().any(|mount| is_same_path(&mount.mount_path, path))
    }

    fn mount(
        &mut self,
        draft: &mut Draft<'_>,
        field: &str,
        source: Source,
        path: &str,
        sub_path: Option<String>,
        read_only: bool,
    ) {
        if path.contains(':') {
            draft.problem("volume-path", field, format!("'{path}' has a ':', which Kubernetes takes for no path"));
        }
        let name = self.volume(&source);
        let there = self.mounts.iter().find(|mount| is_same_path(&mount.mount_path, path));
        if let Some(there) = there {
            // Said twice is not an error; two things at one place are.
            if there.name != name || there.sub_path != sub_path {
                draft.problem("volume-path", field, format!("something else is mounted at '{path}' already"));
            }
            return;
        }
        self.mounts.push(VolumeMount {
            name,
            mount_path: path.to_owned(),
            read_only: read_only.then_some(true),
            sub_path,
            ..VolumeMount::default()
        });
    }

    fn volume(&mut self, source: &Source) -> String {
        if let Some(name) = self.by_source.get(source) {
            return name.clone();
        }
        let mut volume = Volume::default();
        match source {
            Source::Claim(claim) => {
                volume.name = self.names.give(claim);
                let claim_name = claim.clone();
                volume.persistent_volume_claim =
                    Some(PersistentVolumeClaimVolumeSource { claim_name, read_only: None });
            }
            Source::Folder(name) => {
                volume.name = self.names.give(name);
                volume.empty_dir = Some(EmptyDirVolumeSource::default());
            }
            Source::Secret(secret) => {
                volume.name = self.names.give(secret);
                volume.secret =
                    Some(SecretVolumeSource { secret_name: Some(secret.clone()), ..SecretVolumeSource::default() });
            }
        }
        self.by_source.insert(source.clone(), volume.name.clone());
        self.volumes.push(volume);
        self.by_source[source].clone()
    }
}

fn is_same_path(a: &str, b: &str) -> bool {
    a.trim_end_matches('/') == b.trim_end_matches('/')
}
