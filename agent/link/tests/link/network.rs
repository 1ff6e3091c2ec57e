//! A line between agent and server that can be cut and frozen.

use std::future::ready;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWriteExt as _, DuplexStream, copy, duplex, split};
use tokio::sync::{mpsc, watch};
use tonic::transport::{Channel, Endpoint, Error};
use tower::service_fn;

/// As much as a socket's buffers would hold.
const BUFFER: usize = 64 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Up,
    /// What is sent arrives nowhere, and nobody is told.
    Frozen,
    /// Connections break, and new ones are refused.
    Cut,
}

/// The only way from the agent to its server.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    line: Arc<watch::Sender<Line>>,
    accepted: mpsc::Sender<io::Result<DuplexStream>>,
    dials: Arc<AtomicUsize>,
}

impl Network {
    /// A line, and the server's end of it.
    pub(crate) fn new() -> (Self, mpsc::Receiver<io::Result<DuplexStream>>) {
        let (accepted, connections) = mpsc::channel(8);
        (Self { line: Arc::new(watch::channel(Line::Up).0), accepted, dials: Arc::default() }, connections)
    }

    pub(crate) fn cut(&self) {
        self.line.send_replace(Line::Cut);
    }

    pub(crate) fn freeze(&self) {
        self.line.send_replace(Line::Frozen);
    }

    pub(crate) fn repair(&self) {
        self.line.send_replace(Line::Up);
    }

    /// How often a connection was tried for.
    pub(crate) fn dials(&self) -> usize {
        self.dials.load(Ordering::Relaxed)
    }

    /// For [`StreamLink::with_connector`](piculet_link::stream::StreamLink::with_connector).
    pub(crate) async fn connect(self, endpoint: Endpoint) -> Result<Channel, Error> {
        self.dials.fetch_add(1, Ordering::Relaxed);
        let line = *self.line.borrow();
        let connection = match line {
            Line::Cut => Err(io::Error::from(io::ErrorKind::ConnectionRefused)),
            Line::Up | Line::Frozen => {
                let ((agent, near), (far, server)) = (duplex(BUFFER), duplex(BUFFER));
                tokio::spawn(relay(near, far, self.line.subscribe()));
                self.accepted.send(Ok(server)).await.expect("the server accepts until the end of the test");
                Ok(TokioIo::new(agent))
            }
        };
        let mut connection = Some(connection);
        endpoint
            .connect_with_connector(service_fn(move |_| {
                ready(connection.take().unwrap_or_else(|| Err(io::ErrorKind::NotConnected.into())))
            }))
            .await
    }
}

/// Carries both ways until both have ended. What was said before a side hung up arrives, though nobody reads what the
/// other side says: a refusal is just that.
async fn carry(near: &mut DuplexStream, far: &mut DuplexStream) {
    let ((mut near_read, mut near_write), (mut far_read, mut far_write)) = (split(near), split(far));
    let there = async {
        copy(&mut near_read, &mut far_write).await.ok();
        far_write.shutdown().await.ok();
    };
    let back = async {
        copy(&mut far_read, &mut near_write).await.ok();
        near_write.shutdown().await.ok();
    };
    tokio::join!(there, back);
}

async fn relay(mut near: DuplexStream, mut far: DuplexStream, mut line: watch::Receiver<Line>) {
    loop {
        let state = *line.borrow_and_update();
        match state {
            Line::Cut => return,
            Line::Frozen => {}
            Line::Up => tokio::select! {
                () = carry(&mut near, &mut far) => return,
                _ = line.changed() => continue,
            },
        }
        if line.changed().await.is_err() {
            return;
        }
    }
}
