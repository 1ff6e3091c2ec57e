//! A container's volumes: folders of this machine, and where the container wants them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use k8s_openapi::api::core::v1::{Container, KeyToPath, Pod, Volume};

use super::beneath::{self, Node};
use super::config_error;
use crate::runtime::{CreateError, VolumeFiles};

/// Folders that are the container's root itself, or that the kernel fills.
const NOT_TO_MOUNT_IN: &[&str] = &["/proc", "/sys", "/dev"];

/// A folder or file of this machine at a path of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// The volume's folder.
    pub(super) source: PathBuf,
    /// What of it; empty for all.
    pub(super) part: PathBuf,
    /// Absolute, without `.` and `..`.
    pub(super) target: PathBuf,
    pub(super) read_only: bool,
    pub(super) node: Node,
}

/// Where the runtime keeps volumes.
#[derive(Debug)]
pub(super) struct Folders<'a> {
    /// The pod's own, for volumes that live as long as the pod.
    pub(super) of_pod: &'a Path,
    /// Those of the claims that the pod names, by the claims' names.
    pub(super) of_claims: &'a BTreeMap<String, PathBuf>,
}

/// The claims that a pod names.
pub(super) fn claims(pod: &Pod) -> impl Iterator<Item = &str> {
    volumes(pod).filter_map(|volume| Some(volume.persistent_volume_claim.as_ref()?.claim_name.as_str()))
}

/// Makes the volumes that a container mounts, where they aren't there yet. Sorted by target, so that an outer mount
/// comes before one inside of it.
///
/// # Errors
/// A volume of a kind that this runtime doesn't have, a path that can't be a mount point, or an error of the file system.
pub(super) fn make(
    pod: &Pod,
    container: &Container,
    files: &VolumeFiles,
    folders: &Folders<'_>,
) -> Result<Vec<Mount>, CreateError> {
    let mut mounts = Vec::new();
    for wanted in container.volume_mounts.iter().flatten() {
        let name = &wanted.name;
        let Some((index, volume)) = volumes(pod).enumerate().find(|(_, volume)| volume.name == *name) else {
            return Err(config_error(format!("the container mounts the volume '{name}', which its pod does not have")));
        };
        let (source, kept_by_kubelet) = match &volume.persistent_volume_claim {
            Some(claim) => {
                let folder = folders.of_claims.get(&claim.claim_name);
                let missing = || config_error(format!("the claim '{}' has no folder", claim.claim_name));
                (folder.ok_or_else(missing)?.clone(), false)
            }
            None => {
                let folder = folders.of_pod.join(index.to_string());
                let kept = fill(pod, volume, files.get(name), &folder)?;
                (folder, kept)
            }
        };
        let expected = wanted.sub_path.as_deref().or(wanted.sub_path_expr.as_deref()).unwrap_or_default();
        let part = PathBuf::from(expected);
        let node = beneath::ensure(&source, &part, Node::Folder)
            .map_err(|error| config_error(format!("'{expected}' of the volume '{name}' can't be mounted: {error}")))?;
        let of_claim = volume.persistent_volume_claim.as_ref().and_then(|claim| claim.read_only);
        let read_only = kept_by_kubelet || wanted.read_only == Some(true) || of_claim == Some(true);
        mounts.push(Mount { source, part, target: target(&wanted.mount_path)?, read_only, node });
    }
    mounts.sort_by(|a, b| a.target.cmp(&b.target));
    match mounts.windows(2).find(|two| two[0].target == two[1].target) {
        Some(two) => Err(config_error(format!("two volumes are mounted at {}", two[0].target.display()))),
        None => Ok(mounts),
    }
}

fn volumes(pod: &Pod) -> impl Iterator<Item = &Volume> {
    pod.spec.iter().filter_map(|spec| spec.volumes.as_ref()).flatten()
}

/// Checks a mount path and takes `.`, `..` and doubled slashes out of it.
pub(super) fn target(path: &str) -> Result<PathBuf, CreateError> {
    let mut clean = PathBuf::from("/");
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    let is_reserved = NOT_TO_MOUNT_IN.iter().any(|folder| clean.starts_with(folder)) && !clean.starts_with("/dev/shm");
    if path.starts_with('/') && clean != Path::new("/") && !is_reserved {
        Ok(clean)
    } else {
        Err(config_error(format!(
            "a volume can't be mounted at '{path}': the path must be absolute and outside of /proc, /sys and /dev"
        )))
    }
}

/// Makes a volume that lives as long as the pod, if it isn't there yet. True if it holds what the kubelet gave.
fn fill(
    pod: &Pod,
    volume: &Volume,
    files: Option<&BTreeMap<String, Bytes>>,
    folder: &Path,
) -> Result<bool, CreateError> {
    let of_objects = volume.secret.is_some()
        || volume.config_map.is_some()
        || volume.projected.is_some()
        || volume.downward_api.is_some();
    if !of_objects && volume.empty_dir.is_none() {
        return Err(config_error(format!(
            "the volume '{}' is of a kind that processes of this machine can't have; they have claims, emptyDir, secret, configMap, downwardAPI and projected",
            volume.name
        )));
    }
    if folder.exists() {
        return Ok(of_objects);
    }
    let empty = BTreeMap::new();
    write(pod, volume, files.unwrap_or(&empty), folder)
        .map_err(|error| config_error(format!("the volume '{}' could not be made: {error}", volume.name)))?;
    Ok(of_objects)
}

fn write(pod: &Pod, volume: &Volume, files: &BTreeMap<String, Bytes>, folder: &Path) -> io::Result<()> {
    open_folder(folder)?;
    let (mode, items) = modes(volume);
    let group = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref()).and_then(|context| context.fs_group);
    for (path, contents) in files {
        let file = Path::new(path);
        beneath::ensure(folder, file, Node::File)?;
        let file = folder.join(file);
        fs::write(&file, contents)?;
        let mut mode = items.iter().find(|item| item.path == *path).and_then(|item| item.mode).unwrap_or(mode);
        // As a kubelet does: the pod's group may read what its user may read.
        if let Some(group) = group.and_then(|group| u32::try_from(group).ok()) {
            // Without being root there is only one group, and only one user to read it.
            if chown(&file, None, Some(group)).is_ok() {
                mode |= (mode & 0o400) >> 3;
            }
        }
        fs::set_permissions(&file, fs::Permissions::from_mode(mode.unsigned_abs()))?;
    }
    Ok(())
}

/// Makes a folder that every user of a pod may write to. Nobody else gets to it: it lies in the runtime's own.
pub(super) fn open_folder(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777))
}

/// The mode of a volume's files, and the keys that may have another.
fn modes(volume: &Volume) -> (i32, Vec<KeyToPath>) {
    const DEFAULT: i32 = 0o644;
    let (mode, items) = if let Some(secret) = &volume.secret {
        (secret.default_mode, secret.items.clone())
    } else if let Some(map) = &volume.config_map {
        (map.default_mode, map.items.clone())
    } else if let Some(projected) = &volume.projected {
        (projected.default_mode, None)
    } else {
        (volume.downward_api.as_ref().and_then(|own| own.default_mode), None)
    };
    (mode.unwrap_or(DEFAULT), items.unwrap_or_default())
}

#[cfg(test)]
mod tests;
