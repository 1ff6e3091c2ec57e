//! One run of one container: between the runtime, which runs it, and the worker, which keeps its status.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use tokio::sync::{mpsc, oneshot, watch};

use crate::log::ContainerLog;
use crate::runtime::{ContainerIo, CreateError, Exit, Runtime, VolumeFiles, Wish};

/// How many pieces of output wait for the log before the process has to.
const OUTPUT_QUEUE: usize = 64;

/// What happened to a container.
#[derive(Debug)]
pub(super) enum Happened {
    /// Its process runs.
    Started,
    /// Its process has ended, or never came to be.
    Ended(Result<Exit, CreateError>),
}

/// A container to run.
pub(super) struct Run {
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) pod: Arc<Pod>,
    pub(super) name: String,
    pub(super) volumes: VolumeFiles,
    pub(super) secrets: Vec<String>,
    pub(super) log: Arc<ContainerLog>,
    pub(super) wish: watch::Receiver<Wish>,
}

impl Run {
    /// Runs the container to its end and tells what happens to it.
    pub(super) async fn live(self, index: usize, tell: mpsc::Sender<(usize, Happened)>) {
        let (started, mut has_started) = oneshot::channel();
        let (output, mut written) = mpsc::channel(OUTPUT_QUEUE);
        let io = ContainerIo { started, output, wish: self.wish, volumes: self.volumes, secrets: self.secrets };
        let mut running = self.runtime.run(self.pod, self.name, io);
        let mut started = false;
        let outcome = loop {
            tokio::select! {
                biased;
                told = &mut has_started, if !started => {
                    started = true;
                    if told.is_ok() && tell.send((index, Happened::Started)).await.is_err() {
                        return;
                    }
                }
                Some(data) = written.recv() => self.log.append(data),
                outcome = &mut running => break outcome,
            }
        };
        drop(running);
        // What was sent before the end is still in the queue; a child that outlived its parent writes in vain.
        while let Ok(data) = written.try_recv() {
            self.log.append(data);
        }
        if !started && has_started.try_recv().is_ok() && tell.send((index, Happened::Started)).await.is_err() {
            return;
        }
        self.log.close();
        if tell.send((index, Happened::Ended(outcome))).await.is_err() {
            tracing::debug!("a container ended after its cluster");
        }
    }
}
