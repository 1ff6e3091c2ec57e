//! The connection below the stream.

use std::future::Future;
use std::time::Duration;

use tonic::transport::{Channel, Endpoint, Error};

use super::Settings;
use super::credentials;
use crate::link::Ended;

/// The shortest time between two HTTP/2 pings. With less, servers answer `too_many_pings` and close the connection.
pub const MIN_KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Brings about connections. Called once per session.
pub trait Connect: Send + Sync + 'static {
    /// Connects as the endpoint says.
    fn connect(&self, endpoint: Endpoint) -> impl Future<Output = Result<Channel, Error>> + Send;
}

/// TCP and TLS of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Network;

impl Connect for Network {
    async fn connect(&self, endpoint: Endpoint) -> Result<Channel, Error> {
        endpoint.connect().await
    }
}

impl<F, R> Connect for F
where
    F: Fn(Endpoint) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Channel, Error>> + Send,
{
    fn connect(&self, endpoint: Endpoint) -> impl Future<Output = Result<Channel, Error>> + Send {
        self(endpoint)
    }
}

/// The endpoint of the settings. Credentials are read each time: files in a cluster are rotated.
pub(super) async fn build(settings: &Settings) -> Result<Endpoint, Ended> {
    let endpoint = Endpoint::from(settings.server.uri().clone())
        .connect_timeout(settings.connect_timeout)
        .http2_keep_alive_interval(settings.keep_alive.max(MIN_KEEP_ALIVE))
        .keep_alive_timeout(settings.keep_alive_timeout)
        // The one call is always open, but between two messages of it hours may pass.
        .keep_alive_while_idle(true);
    if !settings.server.is_encrypted() {
        return Ok(endpoint);
    }
    // The library's connect timeout ends with TCP; a server that never shakes hands would be waited for without end.
    let tls = settings.tls.client_config().await?.timeout(settings.connect_timeout);
    endpoint
        .tls_config(tls)
        .map_err(|error| credentials::unusable("TLS configuration", &super::classify::chain(&error)))
}
