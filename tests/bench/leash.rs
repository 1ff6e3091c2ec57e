//! Containers that print a line, and end when they are let go.

use std::sync::Arc;

use bytes::Bytes;
use fake_cluster::runtime::{ContainerIo, Exit, RunFuture, Runtime, Wish};
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::watch;

#[derive(Debug)]
pub(crate) struct Leash {
    let_go: watch::Sender<bool>,
}

impl Leash {
    pub(crate) fn new(let_go: bool) -> Arc<Self> {
        Arc::new(Self { let_go: watch::Sender::new(let_go) })
    }

    /// From now on containers end at once.
    pub(crate) fn let_go(&self) {
        self.let_go.send_replace(true);
    }
}

impl Runtime for Leash {
    fn run(self: Arc<Self>, _: Arc<Pod>, _: String, io: ContainerIo) -> RunFuture {
        let ContainerIo { started, output, mut wish, .. } = io;
        let mut let_go = self.let_go.subscribe();
        Box::pin(async move {
            // Nobody listens only when the cluster ends.
            started.send(()).ok();
            output.send(Bytes::from_static(b"one line\n")).await.ok();
            tokio::select! {
                biased;
                _ = let_go.wait_for(|let_go| *let_go) => Ok(Exit::Code(0)),
                _ = wish.wait_for(|wish| *wish != Wish::Run) => Ok(Exit::Signal(15)),
            }
        })
    }

    fn removed(&self, _: &Pod) {}
}
