//! The connection to a Woodpecker server: TCP, a proxy or a socket; TLS; and the pings that find out when it is dead.

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::Intercept;
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Error};
use tower::service_fn;

use super::{Address, Proxies};
use crate::link::{Cause, Ended};
use crate::stream::{Connect, Tls, classify, credentials};

/// The shortest time between two HTTP/2 pings. gRPC's own client knows no shorter one either.
pub const MIN_KEEP_ALIVE: Duration = Duration::from_secs(10);

/// How to reach a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where it is.
    pub server: Address,
    /// Whom to trust, and who the agent is. Looked at only if the address is encrypted.
    pub tls: Tls,
    /// Takes whatever certificate the server shows. Whoever answers then gets the token, and all secrets.
    pub skip_verify: bool,
    /// The proxies of this machine.
    pub proxies: Proxies,
    /// When a connection counts as dead.
    pub keep_alive: KeepAlive,
    /// How long a connection may take to come about, and then its TLS handshake.
    pub connect_timeout: Duration,
}

/// HTTP/2 pings, by which a dead connection is found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepAlive {
    /// How long nothing may be heard from the server before it is pinged. Servers end connections that ping more often
    /// than they like, so there is a shortest time, and what is less becomes that.
    pub time: Duration,
    /// How long it may take to answer.
    pub timeout: Duration,
}

impl Default for KeepAlive {
    fn default() -> Self {
        Self { time: Duration::from_secs(30), timeout: Duration::from_secs(20) }
    }
}

impl Settings {
    /// The usual times, the roots of the machine, and no proxy.
    pub fn new(server: Address) -> Self {
        Self {
            server,
            tls: Tls::default(),
            skip_verify: false,
            proxies: Proxies::default(),
            keep_alive: KeepAlive::default(),
            connect_timeout: Duration::from_secs(10),
        }
    }
}

/// Connects by `through`: [`Dialer`], or what a test brings. Files are read each time: in a cluster they are rotated.
///
/// # Errors
/// If a file can't be used, nobody answers, or TLS doesn't come about.
pub(super) async fn connect(settings: &Settings, through: &impl Connect) -> Result<Channel, Ended> {
    let endpoint = endpoint(settings).await?;
    through.connect(endpoint).await.map_err(|error| {
        let server = settings.server.to_string();
        classify::transport(&error, |reason| Cause::Unreachable { server, reason })
    })
}

async fn endpoint(settings: &Settings) -> Result<Endpoint, Ended> {
    let endpoint = Endpoint::from(settings.server.uri())
        .connect_timeout(settings.connect_timeout)
        .http2_keep_alive_interval(settings.keep_alive.time.max(MIN_KEEP_ALIVE))
        .keep_alive_timeout(settings.keep_alive.timeout)
        // Servers count a ping without a call against the agent.
        .keep_alive_while_idle(false);
    if !settings.server.is_encrypted() {
        return Ok(endpoint);
    }
    let endpoint = if settings.skip_verify {
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        let tls = settings.tls.trusting_nobody().await?.timeout(settings.connect_timeout);
        endpoint.tls_config_with_verifier(tls, Arc::new(AnyCertificate(algorithms)))
    } else {
        // The library's connect timeout ends with TCP; a server that never shakes hands would be waited for without end.
        endpoint.tls_config(settings.tls.client_config().await?.timeout(settings.connect_timeout))
    };
    endpoint.map_err(|error| credentials::unusable("TLS configuration", &classify::chain(&error)))
}

/// The ways of this machine: TCP, a proxy before it, or the file of a socket.
#[derive(Debug, Clone)]
pub struct Dialer {
    way: Way,
}

#[derive(Debug, Clone)]
enum Way {
    Tcp,
    Proxy(Intercept),
    Socket(PathBuf),
}

impl Dialer {
    /// Takes the way that the settings ask for.
    pub fn new(settings: &Settings) -> Self {
        let way = match (settings.server.socket(), settings.proxies.towards(&settings.server)) {
            (Some(path), _) => Way::Socket(path.to_owned()),
            (None, Some(proxy)) => Way::Proxy(proxy),
            (None, None) => Way::Tcp,
        };
        Self { way }
    }
}

impl Connect for Dialer {
    async fn connect(&self, endpoint: Endpoint) -> Result<Channel, Error> {
        match &self.way {
            Way::Tcp => endpoint.connect().await,
            Way::Proxy(proxy) => {
                let mut tcp = HttpConnector::new();
                tcp.set_nodelay(true);
                let tunnel = Tunnel::new(proxy.uri().clone(), tcp);
                let tunnel = match proxy.basic_auth() {
                    Some(who) => tunnel.with_auth(who.clone()),
                    None => tunnel,
                };
                endpoint.connect_with_connector(tunnel).await
            }
            Way::Socket(path) => {
                let path = path.clone();
                let dial = move |_| {
                    let path = path.clone();
                    async move { UnixStream::connect(path).await.map(TokioIo::new) }
                };
                endpoint.connect_with_connector(service_fn(dial)).await
            }
        }
    }
}

/// Takes every certificate. That whoever shows one has its key is still looked at.
#[derive(Debug)]
struct AnyCertificate(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _between: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
