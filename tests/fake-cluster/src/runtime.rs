//! What runs containers on behalf of the fake cluster's kubelet.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::{mpsc, watch};

/// Runs containers: by a script, or as processes of this machine.
pub trait Runtime: fmt::Debug + Send + Sync + 'static {
    /// Runs the container named `container` of `pod` until it ends.
    ///
    /// The kubelet calls this once per container, after the pod was bound. `Err` means that the container could not be
    /// created; the kubelet shows it as waiting with that reason, and calls again after a back-off.
    ///
    /// In `pod` the environment is resolved as the container is to see it: `env` of every container has plain values
    /// only (from `envFrom`, secrets, config maps and fields), and `$(NAME)` is expanded in `env`, `command` and `args`.
    ///
    /// All output must have been sent when the future ends.
    fn run(self: Arc<Self>, pod: Arc<Pod>, container: String, io: ContainerIo) -> RunFuture;

    /// Called once when the pod's object is gone: whatever the runtime keeps for it can go too.
    fn removed(&self, pod: &Pod);

    /// Called once when a persistent volume claim's object is gone: so are its contents.
    fn claim_removed(&self, _namespace: &str, _name: &str) {}
}

/// The future of a container's life.
pub type RunFuture = Pin<Box<dyn Future<Output = Result<Exit, CreateError>> + Send>>;

/// The kubelet's end of a running container.
#[derive(Debug)]
pub struct ContainerIo {
    /// Told once, when the container's process really runs.
    pub started: tokio::sync::oneshot::Sender<()>,
    /// Standard output and standard error, in the order in which they were written. Bounded: a full one slows the process.
    pub output: mpsc::Sender<Bytes>,
    /// What the kubelet wants of the container. Moves from `Run` to `Terminate` to `Kill`, never back.
    pub wish: watch::Receiver<Wish>,
    /// What is in the pod's volumes that are made of objects.
    pub volumes: VolumeFiles,
    /// The values of all secrets that the container gets, in its environment or in files. For hiding them.
    pub secrets: Vec<String>,
}

/// The files of those volumes that are made of secrets, config maps, tokens and fields of the pod: by the volume's
/// name, then by the path within the volume.
pub type VolumeFiles = BTreeMap<String, BTreeMap<String, Bytes>>;
/// What the kubelet wants of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wish {
    /// Go on.
    Run,
    /// End: SIGTERM.
    Terminate,
    /// End at once: SIGKILL.
    Kill,
}

/// How a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// With this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// With this exit code, after the kernel killed a process of it for want of memory: the first one, or another.
    OutOfMemory(i32),
}

/// Why a container could not be created, in the words that Kubernetes uses for a waiting container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateError {
    /// For example `ErrImagePull`, `CreateContainerConfigError`. With `StartError` its process could not be executed: then it is
    /// over, with the exit code 128, and not waiting.
    pub reason: String,
    /// A sentence.
    pub message: String,
}
