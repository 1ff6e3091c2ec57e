//! Listening: gRPC for agents, HTTP for people, both with or without TLS.

mod certificate;
mod connection;
mod files;
mod incoming;
mod rotation;

pub use connection::Peer;
pub use files::{TlsError, TlsFile, TlsFiles};
pub use rotation::Tls;

use std::error::Error;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::Stream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tonic::transport::Server as Transport;
use tonic::transport::server::Connected;

use crate::server::Server;
use incoming::{Incoming, Protocol};

/// How often the transport asks whether a quiet connection is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Listening failed.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address can't be used.
    #[error("can't listen on {address}: {source}")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The gRPC side ended.
    #[error("the gRPC side broke: {0}")]
    Agents(tonic::transport::Error),
    /// The HTTP side ended.
    #[error("the HTTP side broke: {0}")]
    Api(io::Error),
}

/// Opens a listening socket.
///
/// # Errors
/// If the address is in use, or not this machine's.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|source| ServeError::Bind { address, source })
}

impl Server {
    /// Serves agents over `listener` until the server is shut down. Each request has its [`Peer`] as an extension.
    ///
    /// # Errors
    /// If the transport breaks.
    pub fn serve_agents(
        &self,
        listener: TcpListener,
        tls: Option<Tls>,
    ) -> impl Future<Output = Result<(), ServeError>> + use<> {
        let serving = Transport::builder()
            .http2_keepalive_interval(Some(KEEPALIVE))
            .add_service(self.agent_service())
            .serve_with_incoming_shutdown(
                Incoming::new(listener, tls, Protocol::Http2),
                self.going().clone().cancelled_owned(),
            );
        let is_serving = self.tasks().token();
        async move {
            let _is_serving = is_serving;
            serving.await.map_err(ServeError::Agents)
        }
    }

    /// Serves agents over connections of any kind, until there are no more and all have ended.
    ///
    /// # Errors
    /// If the transport breaks.
    pub fn serve_with_incoming<I, IO, E>(
        &self,
        incoming: I,
    ) -> impl Future<Output = Result<(), ServeError>> + use<I, IO, E>
    where
        I: Stream<Item = Result<IO, E>>,
        IO: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let serving = Transport::builder().add_service(self.agent_service()).serve_with_incoming(incoming);
        async move { serving.await.map_err(ServeError::Agents) }
    }

    /// Serves the HTTP API over `listener` until the server is shut down.
    ///
    /// # Errors
    /// If the socket breaks.
    pub fn serve_api(
        &self,
        listener: TcpListener,
        tls: Option<Tls>,
    ) -> impl Future<Output = Result<(), ServeError>> + use<> {
        let router = self.api();
        let going = self.going().clone();
        let incoming = Incoming::new(listener, tls, Protocol::Http1);
        // What a call has begun to change is stored before the server is gone.
        let is_serving = self.tasks().token();
        async move {
            let _is_serving = is_serving;
            let serving = axum::serve(incoming, router).with_graceful_shutdown(going.cancelled_owned());
            serving.await.map_err(ServeError::Api)
        }
    }
}
