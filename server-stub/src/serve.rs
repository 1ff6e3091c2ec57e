//! Listening: gRPC for agents, HTTP for people.

use std::error::Error;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::Stream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tonic::transport::server::{Connected, TcpIncoming};
use tonic::transport::{Certificate, Identity, Server as Transport, ServerTlsConfig};

use crate::server::Server;

/// How often the transport asks whether a quiet connection is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Certificates for the agents' side.
#[derive(Debug)]
pub struct Tls {
    identity: Identity,
    client_authority: Option<Certificate>,
}

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
    /// The certificate or its key can't be used.
    #[error("the TLS certificate or its key can't be used: {0}")]
    Tls(tonic::transport::Error),
    /// The gRPC side ended.
    #[error("the gRPC side broke: {0}")]
    Agents(tonic::transport::Error),
    /// The HTTP side ended.
    #[error("the HTTP side broke: {0}")]
    Api(io::Error),
}

impl Tls {
    /// A certificate chain and its key, both PEM. With `client_authority` only agents with a certificate of that
    /// authority are let in.
    pub fn new(certificate: &[u8], key: &[u8], client_authority: Option<&[u8]>) -> Self {
        Self {
            identity: Identity::from_pem(certificate, key),
            client_authority: client_authority.map(Certificate::from_pem),
        }
    }

    fn config(self) -> ServerTlsConfig {
        let config = ServerTlsConfig::new().identity(self.identity);
        match self.client_authority {
            Some(authority) => config.client_ca_root(authority),
            None => config,
        }
    }
}

/// Opens a listening socket.
///
/// # Errors
/// If the address is in use, or not this machine's.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|source| ServeError::Bind { address, source })
}

impl Server {
    /// Serves agents over `listener` until the server is shut down.
    ///
    /// # Errors
    /// If the certificates can't be used (at once), or the socket breaks.
    pub fn serve_agents(
        &self,
        listener: TcpListener,
        tls: Option<Tls>,
    ) -> Result<impl Future<Output = Result<(), ServeError>> + use<>, ServeError> {
        let mut transport = Transport::builder().http2_keepalive_interval(Some(KEEPALIVE));
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        if let Some(tls) = tls {
            transport = transport.tls_config(tls.config()).map_err(ServeError::Tls)?;
        }
        let serving = transport
            .add_service(self.agent_service())
            .serve_with_incoming_shutdown(incoming, self.going().clone().cancelled_owned());
        Ok(async move { serving.await.map_err(ServeError::Agents) })
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
    pub fn serve_api(&self, listener: TcpListener) -> impl Future<Output = Result<(), ServeError>> + use<> {
        let router = self.api();
        let going = self.going().clone();
        async move {
            let serving = axum::serve(listener, router).with_graceful_shutdown(going.cancelled_owned());
            serving.await.map_err(ServeError::Api)
        }
    }
}
