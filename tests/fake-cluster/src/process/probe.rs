//! Finds out how containers can be kept apart on this machine, by trying.

use std::collections::BTreeMap;

use bytes::Bytes;
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::command::Command;
use super::identity::Identity;
use super::launch::view;
use super::network::Namespace;
use super::root::Root;
use super::sandbox::{Means, Sandbox};
use super::scratch::{self, Scratch};
use super::script::{Preamble, become_command};
use super::spawner::Spawner;
use super::{ProcessError, ProcessSettings};
use crate::runtime::{Exit, Wish};

/// The first means that works, the best first.
///
/// # Errors
/// What the first try was refused.
pub(super) async fn means(
    settings: &ProcessSettings,
    spawner: &Spawner,
    scratch: &Scratch,
) -> Result<Means, ProcessError> {
    let is_root = rustix::process::geteuid().is_root();
    let mut first_error = None;
    // A root inside of a container may have lost the right to mount, and get it back in a user namespace.
    for user_namespace in [false, true].into_iter().skip(usize::from(!is_root)) {
        for in_memory in [false, true] {
            let means = Means { user_namespace, in_memory };
            match attempt(settings, spawner, scratch, means).await {
                Ok(()) => return Ok(means),
                Err(why) => {
                    tracing::debug!(?means, why, "containers can't be kept apart like this");
                    first_error.get_or_insert(why);
                }
            }
        }
    }
    Err(ProcessError::Forbidden { why: first_error.unwrap_or_default() })
}

/// Runs a container that does nothing.
async fn attempt(settings: &ProcessSettings, spawner: &Spawner, scratch: &Scratch, means: Means) -> Result<(), String> {
    let folder = scratch.fresh("probe");
    let result = run(settings, spawner, scratch, means, &folder).await;
    scratch::remove(&folder);
    result
}

async fn run(
    settings: &ProcessSettings,
    spawner: &Spawner,
    scratch: &Scratch,
    means: Means,
    folder: &std::path::Path,
) -> Result<(), String> {
    let view = view(settings, scratch, means).map_err(|error| format!("it can't be looked at: {error}"))?;
    let root = Root {
        folder,
        view: &view,
        pod: &Pod::default(),
        mounts: &[],
        work_folder: "/",
        offline: settings.offline,
        user_namespace: means.user_namespace,
    };
    let mount_points = root.lay_out().map_err(|error| format!("a root can't be laid out: {error}"))?;
    std::fs::write(root.hosts(), "").map_err(|error| format!("a root can't be laid out: {error}"))?;
    let network = if settings.offline {
        Some(Namespace::new(spawner, means.user_namespace).await.map_err(|error| error.to_string())?)
    } else {
        None
    };
    let sandbox = Sandbox {
        means,
        folder,
        host_name: "probe",
        mount_points: &mount_points,
        identity: &Identity::root(),
        network: network.as_ref(),
    };
    let command = Command { words: vec!["/bin/true".to_owned()], folder: "/".to_owned() };
    let script = become_command(&Preamble::NewRoot, &command, &BTreeMap::new());
    let running = sandbox.start(spawner, script).await.map_err(|error| error.to_string())?;
    let (output, mut said) = mpsc::channel::<Bytes>(1);
    let (_wish, wished) = watch::channel(Wish::Run);
    let never = CancellationToken::new();
    let listen = async {
        let mut all = Vec::new();
        while let Some(data) = said.recv().await {
            all.extend_from_slice(&data);
        }
        String::from_utf8_lossy(&all).trim().to_owned()
    };
    let attend = async {
        let exit = running.attend(&output, wished, &never).await;
        drop(output);
        exit
    };
    match tokio::join!(attend, listen) {
        (Ok(Exit::Code(0)), _) => Ok(()),
        (exit, said) => Err(format!("a container that does nothing ended with {exit:?}: {said}")),
    }
}
