//! Connections as they come in. Each shakes hands in a task of its own, so one that hangs holds up nobody.

use std::convert::Infallible;
use std::future::{Future, pending};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use rustls::ServerConfig;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::connection::{Connection, Peer};
use super::rotation::Tls;

#[cfg(test)]
mod tests;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes at the same time. More connections wait in the socket's own queue.
const HANDSHAKES: usize = 1024;
/// Connections that nobody has taken yet.
const READY: usize = 16;
/// How long a refused client may take to read why.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long to wait if the machine has no more sockets.
const EXHAUSTED: Duration = Duration::from_secs(1);

/// What is spoken above TLS, as ALPN names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Agents.
    Http2,
    /// People.
    Http1,
}

/// Connections that are ready for their first request. Dropping it closes the listening socket.
#[derive(Debug)]
pub(super) struct Incoming {
    ready: mpsc::Receiver<Connection>,
    address: io::Result<SocketAddr>,
}

impl Protocol {
    fn names(self) -> Vec<Vec<u8>> {
        match self {
            Self::Http2 => vec![b"h2".to_vec()],
            Self::Http1 => vec![b"http/1.1".to_vec()],
        }
    }
}

impl Incoming {
    /// Takes connections from now on. It has to be called within a runtime.
    pub(super) fn new(listener: TcpListener, tls: Option<Tls>, protocol: Protocol) -> Self {
        let (hand_on, ready) = mpsc::channel(READY);
        let address = listener.local_addr();
        match tls {
            None => tokio::spawn(accept(listener, None, pending(), hand_on)),
            Some(tls) => {
                let shake = Shake { current: tls.current(), protocol };
                tokio::spawn(accept(listener, Some(shake), tls.follow(), hand_on))
            }
        };
        Self { ready, address }
    }
}

impl Stream for Incoming {
    type Item = Result<Connection, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.ready.poll_recv(cx).map(|connection| connection.map(Ok))
    }
}

impl axum::serve::Listener for Incoming {
    type Io = Connection;
    type Addr = Peer;

    async fn accept(&mut self) -> (Connection, Peer) {
        match self.ready.recv().await {
            Some(connection) => {
                let peer = connection.peer().clone();
                (connection, peer)
            }
            None => pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Peer> {
        match &self.address {
            Ok(address) => Ok(Peer { address: *address, certificate: None }),
            Err(error) => Err(error.kind().into()),
        }
    }
}

/// How hands are shaken.
#[derive(Debug, Clone)]
struct Shake {
    current: watch::Receiver<Arc<ServerConfig>>,
    protocol: Protocol,
}

/// Takes connections until nobody wants them any more.
async fn accept(
    listener: TcpListener,
    shake: Option<Shake>,
    follow: impl Future<Output = ()>,
    ready: mpsc::Sender<Connection>,
) {
    let mut under_way = JoinSet::new();
    tokio::pin!(follow);
    loop {
        tokio::select! {
            biased;
            () = ready.closed() => return,
            () = &mut follow => {}
            Some(_) = under_way.join_next() => {}
            accepted = listener.accept(), if under_way.len() < HANDSHAKES => match accepted {
                Ok((stream, address)) => {
                    let (shake, ready) = (shake.clone(), ready.clone());
                    under_way.spawn(async move {
                        if let Some(connection) = receive(stream, address, shake).await {
                            // Nobody takes it if the server goes.
                            ready.send(connection).await.ok();
                        }
                    });
                }
                // The client went away while it waited.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::warn!(%error, "no connection can be taken at the moment");
                    sleep(EXHAUSTED).await;
                }
            },
        }
    }
}

/// Makes a connection ready; `None` if it is refused.
async fn receive(stream: TcpStream, address: SocketAddr, shake: Option<Shake>) -> Option<Connection> {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(peer = %address, %error, "a connection is gone already");
        return None;
    }
    let Some(Shake { current, protocol }) = shake else { return Some(Connection::plain(stream, address)) };
    let mut config = ServerConfig::clone(&current.borrow());
    config.alpn_protocols = protocol.names();
    let handshake = TlsAcceptor::from(Arc::new(config)).accept(stream).into_fallible();
    match timeout(HANDSHAKE, handshake).await {
        Ok(Ok(stream)) => Some(Connection::tls(stream, address)),
        Ok(Err((error, stream))) => {
            refused(address, &error);
            part(stream).await;
            None
        }
        Err(_) => {
            tracing::warn!(peer = %address, "refused a connection: no TLS handshake within {} s", HANDSHAKE.as_secs());
            None
        }
    }
}

fn refused(peer: SocketAddr, error: &io::Error) {
    let reason = match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::NoCertificatesPresented) => "it showed no client certificate".to_owned(),
        Some(rustls::Error::InvalidCertificate(problem)) => {
            format!("its client certificate is not accepted: {problem}")
        }
        Some(rustls::Error::InvalidMessage(_)) => "what it speaks is no TLS".to_owned(),
        Some(rustls::Error::AlertReceived(alert)) => format!("it does not accept this server, and says {alert:?}"),
        Some(other) => other.to_string(),
        // Health checks of load balancers come and go without a word.
        None => return tracing::debug!(%peer, %error, "a connection ended before its TLS handshake did"),
    };
    tracing::warn!(%peer, reason, "refused a connection");
}

/// Lets a client read why it is refused. If it is closed while the client still writes, the kernel throws away what the
/// client has not read.
async fn part(mut stream: TcpStream) {
    let parting = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
    };
    // However it ends, the connection does.
    timeout(LAST_WORDS, parting).await.ok();
}
