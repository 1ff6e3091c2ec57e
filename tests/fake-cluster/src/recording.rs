//! A runtime that writes down what really ran: what containers printed and how they ended, also if nobody was told.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::mpsc;

use crate::runtime::{ContainerIo, Exit, RunFuture, Runtime};

/// Plays what another runtime plays, and keeps an account of it.
pub struct Recording {
    runtime: Arc<dyn Runtime>,
    runs: Mutex<Vec<Run>>,
}

/// One container that ran, or was tried.
#[derive(Debug, Clone)]
pub struct Run {
    /// Its pod, as it was when it started.
    pub pod: Arc<Pod>,
    /// Its name.
    pub container: String,
    /// What it printed so far.
    pub output: Vec<u8>,
    /// How it ended, if it has.
    pub exit: Option<Exit>,
}

impl Run {
    /// The value of a label of its pod.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.pod.metadata.labels.as_ref()?.get(key).map(String::as_str)
    }
}

impl Recording {
    /// Writes down what `runtime` does.
    #[must_use]
    pub fn of(runtime: Arc<dyn Runtime>) -> Arc<Self> {
        Arc::new(Self { runtime, runs: Mutex::default() })
    }

    /// What ran in pods with this label, in the order of the starts.
    #[must_use]
    pub fn runs(&self, key: &str, value: &str) -> Vec<Run> {
        self.lock().iter().filter(|run| run.label(key) == Some(value)).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Run>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, at: usize, change: impl FnOnce(&mut Run)) {
        if let Some(run) = self.lock().get_mut(at) {
            change(run);
        }
    }
}

impl Runtime for Recording {
    fn run(self: Arc<Self>, pod: Arc<Pod>, container: String, io: ContainerIo) -> RunFuture {
        let at = {
            let mut runs = self.lock();
            runs.push(Run { pod: Arc::clone(&pod), container: container.clone(), output: Vec::new(), exit: None });
            runs.len() - 1
        };
        let (output, mut written) = mpsc::channel::<Bytes>(1);
        let kubelet = io.output.clone();
        let running = Arc::clone(&self.runtime).run(pod, container, ContainerIo { output, ..io });
        Box::pin(async move {
            let carry = async {
                while let Some(bytes) = written.recv().await {
                    self.change(at, |run| run.output.extend_from_slice(&bytes));
                    if kubelet.send(bytes).await.is_err() {
                        return;
                    }
                }
            };
            let (exit, ()) = tokio::join!(running, carry);
            if let Ok(exit) = exit {
                self.change(at, |run| run.exit = Some(exit));
            }
            exit
        })
    }

    fn removed(&self, pod: &Pod) {
        self.runtime.removed(pod);
    }

    fn claim_removed(&self, namespace: &str, name: &str) {
        self.runtime.claim_removed(namespace, name);
    }
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording").field("runtime", &self.runtime).field("runs", &self.lock().len()).finish()
    }
}
