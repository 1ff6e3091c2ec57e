//! Runs containers as processes of this machine, for a demo without Kubernetes.
//!
//! Pipelines are other people's code, so a container is kept apart from the machine. It has no image: it sees the
//! programs that are installed here.
//!
//! # What a container gets
//!
//! - A root of its own. The host's is the lower layer of an overlay, whose upper layer is a scratch folder of the
//!   container. Folders that concern the host alone are empty: homes, `/run`, `/tmp`, `/boot`, host keys, the data of
//!   container runtimes, and the scratch folder itself with what other pods have in it. `/etc/shadow` has no hashes.
//! - Mount, PID, UTS, IPC and cgroup namespaces. `/proc` is new, with everything read-only or hidden in it that concerns
//!   the machine; `/sys` is read-only (empty if the runtime isn't root); `/dev` has the six harmless devices, `pts` and `shm`.
//! - The volumes of its pod, at the paths that it asks for, and its pod's user and groups.
//! - The capabilities of a usual container but MKNOD and NET_RAW, whatever `privileged` says, and no way to get more
//!   (`no_new_privs`). A session without the terminal that the runtime was started from, and no descriptor but its own
//!   output.
//! - The names of its workflow's other pods in `/etc/hosts`. The network is the host's, or with
//!   [`ProcessSettings::offline`] a loopback interface that the pods of a workflow share.
//! - An environment of what the pod says, and `PATH`, `HOME` and `HOSTNAME`.
//!
//! Its command is the first process of the PID namespace: when that ends, or the runtime is killed, the kernel kills all
//! others. Its mounts are gone with its mount namespace.
//!
//! # What was tried against it, as root inside, and fails
//!
//! Mounting, unmounting, remounting a read-only mount for writing, also from a user and mount namespace of its own;
//! `mknod` of a disk, and opening one in `/dev`; writing to `/proc/sys`, `/proc/sysrq-trigger` and `/sys`; tracing or
//! signalling processes of the host; a look at the host's root through `/proc/1/root`, through the working folder or an
//! inherited descriptor; changing the host name, routes or the clock; loading modules; a volume in the place of the
//! programs that set up the container; a symbolic link in the place of a mount point.
//!
//! # What it is not
//!
//! - There is no seccomp filter and no limit of CPU, memory, processes or disk: a step can exhaust the machine, and a
//!   hole in the kernel is a hole here. It is made against accidents and curiosity, not for strangers' code on a
//!   machine that holds secrets.
//! - Without `offline` everything that listens on this machine is in reach, also on loopback and on abstract sockets, and
//!   two workflows' services can't use the same port.
//! - What is installed here can be read, as can all folders that are not named above. More of them can be hidden
//!   ([`ProcessSettings::hidden`]).
//! - SIGTERM goes to all processes of the container, where a kubelet sends it to the first alone. And a command that
//!   neither handles it nor has children ends by it, which the first process of a real container would not.
//! - Where the runtime is not root, there is no other user than root in the container, what other users own on the host
//!   is nobody's, and a volume can't be mounted in a folder of theirs that has no such place yet (`/usr/src/app`).
//! - Root's kernel keyrings are not kept apart.
//! - `readOnlyRootFilesystem`, probes, `seccompProfile` and `hostPath` have no effect or are refused.
//!
//! # `unsafe_host`
//!
//! With [`ProcessSettings::unsafe_host`] nothing of this holds. Commands run as the user that started the runtime, with all
//! that this user may do. The paths of the pod's volumes are replaced, as text, by the folders that stand for them, in
//! the command, the environment and `CI_SCRIPT`; names of other pods don't resolve; users, groups and `readOnly` are ignored;
//! a process that leaves its group (`setsid`) lives on, and all do if the runtime is killed.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use k8s_openapi::api::core::v1::Pod;
use rustix::process::Signal;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::runtime::{ContainerIo, CreateError, Exit, RunFuture, Runtime, Wish};

mod beneath;
mod command;
mod fstab;
mod host;
mod hosts;
mod identity;
mod launch;
mod mask;
mod network;
mod pods;
mod probe;
mod proc;
mod root;
mod running;
mod sandbox;
mod scratch;
mod script;
mod settings;
mod spawner;
mod unprotected;
mod volumes;

use command::{Command, Work};
use launch::Launch;
use mask::Mask;
use pods::Pods;
use sandbox::Means;
use scratch::Scratch;
use spawner::Spawner;

pub use settings::ProcessSettings;

/// Why there can't be a runtime.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The scratch folder can't be used.
    #[error("the scratch folder '{}' can't be used: {source}", folder.display())]
    Scratch {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The source folder can't be used.
    #[error("the source folder '{}' can't be used: {source}", folder.display())]
    Source {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kernel, or a missing tool, does not allow to keep steps apart from this machine.
    #[error(
        "this machine does not allow to keep steps apart from it: {why}. Run as root, or allow user namespaces to other users, and have util-linux installed; or give --unsafe-host, which runs steps unprotected: with your own rights, on all your files"
    )]
    Forbidden {
        /// What was refused, in the words of the tool that tried it.
        why: String,
    },
    /// The machine has no thread for it.
    #[error("the thread that starts processes can't be started: {0}")]
    Thread(#[source] io::Error),
}

/// A runtime whose containers are processes of this machine.
#[derive(Debug)]
pub struct ProcessRuntime {
    settings: ProcessSettings,
    /// `None`: no protection.
    means: Option<Means>,
    spawner: Spawner,
    pods: Arc<Pods>,
    scratch: Arc<Scratch>,
    simulated: Mutex<BTreeSet<String>>,
}

impl ProcessRuntime {
    /// Makes a runtime, after it has tried whether this machine allows what it needs. Needs a tokio runtime.
    ///
    /// # Errors
    /// A folder can't be used, or the machine does not allow it; see [`ProcessSettings::unsafe_host`].
    pub async fn new(mut settings: ProcessSettings) -> Result<Arc<Self>, ProcessError> {
        if let Some(folder) = &settings.source {
            let source = |source| ProcessError::Source { folder: folder.clone(), source };
            let folder = fs::canonicalize(folder).map_err(source)?;
            fs::read_dir(&folder).map_err(source)?;
            settings.source = Some(folder);
        }
        let unusable = |source| ProcessError::Scratch { folder: settings.scratch.clone(), source };
        let scratch = Arc::new(Scratch::new(&settings.scratch).map_err(unusable)?);
        let spawner = Spawner::start().map_err(ProcessError::Thread)?;
        let means = if settings.unsafe_host { None } else { Some(probe::means(&settings, &spawner, &scratch).await?) };
        let pods = Pods::new(Arc::clone(&scratch));
        Ok(Arc::new(Self { settings, means, spawner, pods, scratch, simulated: Mutex::default() }))
    }

    /// The names of the pods that were simulated, not run: their logs begin with `[simulated]`.
    pub fn simulated(&self) -> BTreeSet<String> {
        self.simulated.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn run_container(self: Arc<Self>, pod: Arc<Pod>, name: String, io: ContainerIo) -> Result<Exit, CreateError> {
        let launch = Launch::new(Arc::clone(&pod), &name, io.volumes, self.means)?;
        let mask = Mask::new(io.secrets.into_iter().chain(self.settings.masked.iter().cloned()));
        let work = Work::of(&launch.container, &launch.environment, &self.settings, &mask);
        if work.is_simulated() {
            let name = pod.metadata.name.clone().unwrap_or_default();
            self.simulated.lock().unwrap_or_else(PoisonError::into_inner).insert(name);
        }
        let begin = Begin { started: io.started, output: &io.output };
        match work {
            Work::Fail(sentence) => {
                begin.with(sentence).await;
                Ok(Exit::Code(1))
            }
            Work::Show(text) => {
                begin.with(text).await;
                Ok(Exit::Code(0))
            }
            Work::Wait(text) => {
                begin.with(text).await;
                Ok(wait(io.wish).await)
            }
            Work::CopySource { notice, command } => self.run_command(launch, command, notice, begin, io.wish).await,
            Work::Run(command) => self.run_command(launch, command, String::new(), begin, io.wish).await,
        }
    }

    async fn run_command(
        &self,
        launch: Launch,
        command: Command,
        notice: String,
        begin: Begin<'_>,
        wish: watch::Receiver<Wish>,
    ) -> Result<Exit, CreateError> {
        // The pod's folder stays as long as this does.
        let stay = Arc::new(self.pods.enter(&launch.pod));
        let gone = stay.shared.gone.clone();
        let running = tokio::select! {
            biased;
            running = launch.start(self, &stay, command) => running?,
            () = killed(wish.clone(), &gone) => return Ok(Exit::Signal(Signal::KILL.as_raw())),
        };
        let output = begin.output;
        begin.with(notice).await;
        running.attend(output, wish, &gone).await.map_err(create_error)
    }
}

impl Runtime for ProcessRuntime {
    fn run(self: Arc<Self>, pod: Arc<Pod>, container: String, io: ContainerIo) -> RunFuture {
        Box::pin(self.run_container(pod, container, io))
    }

    fn removed(&self, pod: &Pod) {
        self.pods.removed(pod);
    }

    fn claim_removed(&self, namespace: &str, name: &str) {
        if let Some(folder) = self.scratch.forget_claim(namespace, name) {
            pods::remove_later(folder);
        }
    }
}

/// A container that is about to begin.
struct Begin<'a> {
    started: oneshot::Sender<()>,
    output: &'a mpsc::Sender<Bytes>,
}

impl Begin<'_> {
    /// Tells the kubelet that it runs, and writes the runtime's own lines before the command's.
    async fn with(self, text: String) {
        let is_heard = self.started.send(()).is_ok();
        if is_heard && !text.is_empty() && self.output.send(text.into()).await.is_err() {
            tracing::debug!("a container's log is not wanted");
        }
    }
}

/// A service that is not there ends when it is told to, as a good one would.
async fn wait(mut wish: watch::Receiver<Wish>) -> Exit {
    match wish.wait_for(|wish| *wish > Wish::Run).await.map(|wish| *wish) {
        Ok(Wish::Run | Wish::Terminate) => Exit::Code(0),
        Ok(Wish::Kill) | Err(_) => Exit::Signal(Signal::KILL.as_raw()),
    }
}

/// Ends when a container is to be killed. A kubelet that is gone wants nothing to go on.
async fn killed(mut wish: watch::Receiver<Wish>, gone: &CancellationToken) {
    tokio::select! {
        biased;
        wished = wish.wait_for(|wish| *wish == Wish::Kill) => drop(wished),
        () = gone.cancelled() => {}
    }
}

/// The pod can't be run as it is written.
fn config_error(message: String) -> CreateError {
    CreateError { reason: "CreateContainerConfigError".to_owned(), message }
}

/// The machine does not do what the container needs.
fn create_error(error: impl fmt::Display) -> CreateError {
    CreateError { reason: "CreateContainerError".to_owned(), message: error.to_string() }
}
