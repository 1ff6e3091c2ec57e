//! A network in memory between agents and a server, that can break.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

/// Bytes under way in each direction.
const BUFFER_BYTES: usize = 64 * 1024;

/// A channel to be.
pub type Connecting = Pin<Box<dyn Future<Output = Result<Channel, tonic::transport::Error>> + Send>>;

/// Where a network leads to.
pub(crate) trait Host: fmt::Debug + Send + Sync {
    /// Serves a connection, in a task of its own.
    fn receive(&self, connection: DuplexStream);

    /// What the tasks of the network are counted with.
    fn tasks(&self) -> &TaskTracker;
}

/// A network that leads to one server. Clones are the same network.
#[derive(Debug, Clone)]
pub struct Network {
    host: Arc<dyn Host>,
    weather: watch::Sender<Weather>,
}

/// The network can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the network is cut")]
pub struct NetworkError;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Weather {
    sky: Sky,
    /// How often connections were broken: a connection lives as long as this stays the same.
    cuts: u64,
    /// Bytes that arrive in a second, in each direction; 0: as many as there are.
    rate: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Sky {
    /// Bytes arrive.
    #[default]
    Fair,
    /// Bytes go nowhere, and nobody is told.
    Frozen,
    /// No connection can be made.
    Cut,
}

impl Network {
    pub(crate) fn to(host: impl Host + 'static) -> Self {
        Self { host: Arc::new(host), weather: watch::Sender::new(Weather::default()) }
    }

    /// What a link dials with whose server is at the end of this network.
    pub fn connector(&self) -> impl Fn(Endpoint) -> Connecting + Send + Sync + 'static + use<> {
        let network = self.clone();
        move |endpoint| {
            let network = network.clone();
            let pipe = service_fn(move |_| std::future::ready(network.dial().map(TokioIo::new)));
            Box::pin(async move { endpoint.connect_with_connector(pipe).await })
        }
    }

    /// Opens a connection: the client's end of it.
    ///
    /// # Errors
    /// While the network is cut.
    pub fn dial(&self) -> Result<DuplexStream, NetworkError> {
        if self.weather.borrow().sky == Sky::Cut {
            return Err(NetworkError);
        }
        let (client, near) = tokio::io::duplex(BUFFER_BYTES);
        let (far, server) = tokio::io::duplex(BUFFER_BYTES);
        self.host.receive(server);
        let (near_read, near_write) = tokio::io::split(near);
        let (far_read, far_write) = tokio::io::split(far);
        self.host.tasks().spawn(carry(near_read, far_write, self.weather.clone()));
        self.host.tasks().spawn(carry(far_read, near_write, self.weather.clone()));
        Ok(client)
    }

    /// Breaks all connections; new ones can't be made. Both sides see it.
    pub fn cut(&self) {
        self.weather.send_modify(|weather| {
            weather.sky = Sky::Cut;
            weather.cuts += 1;
        });
    }

    /// Lets no more bytes arrive in a second than this, in each direction; 0: as many as there are.
    pub fn limit(&self, bytes_per_second: u32) {
        self.weather.send_modify(|weather| weather.rate = bytes_per_second);
    }

    /// Stops all bytes. Neither side is told.
    pub fn freeze(&self) {
        self.weather.send_modify(|weather| weather.sky = Sky::Frozen);
    }

    /// Ends what [`Network::cut`] or [`Network::freeze`] began. Connections that were cut stay broken.
    pub fn mend(&self) {
        self.weather.send_modify(|weather| weather.sky = Sky::Fair);
    }

    /// Breaks all connections, and allows new ones after this time.
    pub async fn cut_for(&self, duration: Duration) {
        self.cut();
        tokio::time::sleep(duration).await;
        self.mend();
    }
}

/// Carries bytes one way, as the weather allows. Returning drops both halves: the connection is broken when both
/// directions have returned.
async fn carry(mut from: ReadHalf<DuplexStream>, mut to: WriteHalf<DuplexStream>, weather: watch::Sender<Weather>) {
    let cuts = weather.borrow().cuts;
    let mut until_cut = weather.subscribe();
    let broken = until_cut.wait_for(|weather| weather.cuts != cuts);
    let mut until_fair = weather.subscribe();
    let carried = async {
        let mut buffer = vec![0; BUFFER_BYTES];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let rate = until_fair.borrow().rate;
            if rate > 0 {
                tokio::time::sleep(Duration::from_secs(count as u64) / rate).await;
            }
            // The sender is alive as long as this function runs, so the wait can't fail.
            if until_fair.wait_for(|weather| weather.sky == Sky::Fair).await.is_err()
                || to.write_all(&buffer[..count]).await.is_err()
            {
                return;
            }
        }
        // The peer may be gone too.
        to.shutdown().await.ok();
    };
    tokio::select! {
        biased;
        _ = broken => {}
        () = carried => {}
    }
}
