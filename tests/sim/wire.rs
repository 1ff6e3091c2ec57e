//! Real gRPC and real requests over the simulated network.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::{Stream, stream};
use hyper_util::rt::TokioIo;
use piculet_link::stream::{Connect, Settings, StreamLink};
use piculet_link::woodpecker::WoodpeckerLink;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;
use turmoil::net::{TcpListener, TcpStream};

/// Where everybody listens.
const PORT: u16 = 1;

/// A connection of the simulated network, as tonic wants it.
#[derive(Debug)]
pub(crate) struct Socket(TcpStream);

impl Connected for Socket {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Listens on this host.
pub(crate) async fn listen() -> io::Result<impl Stream<Item = io::Result<Socket>> + Send> {
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
    Ok(stream::unfold(listener, |listener| async move {
        let accepted = listener.accept().await.map(|(stream, _)| Socket(stream));
        Some((accepted, listener))
    }))
}

async fn dial(host: &'static str) -> io::Result<TokioIo<Socket>> {
    Ok(TokioIo::new(Socket(TcpStream::connect((host, PORT)).await?)))
}

/// The agent's way to the server.
pub(crate) fn link() -> StreamLink<impl Connect> {
    let settings = Settings::new("http://server:1".parse().unwrap());
    StreamLink::with_connector(settings, |endpoint: Endpoint| async move {
        let connected: Result<Channel, tonic::transport::Error> =
            endpoint.connect_with_connector(service_fn(|_| dial("server"))).await;
        connected
    })
}

/// The agent's way to a Woodpecker server.
pub(crate) fn woodpecker_link(
    settings: piculet_link::woodpecker::Settings,
    now: impl Fn() -> jiff::Timestamp + Send + Sync + 'static,
) -> WoodpeckerLink<impl Connect> {
    let connect = |endpoint: Endpoint| async move {
        let connected: Result<Channel, tonic::transport::Error> =
            endpoint.connect_with_connector(service_fn(|_| dial("server"))).await;
        connected
    };
    WoodpeckerLink::with_connector(settings, connect, now)
}

/// The agent's way to a cluster: a connection for each request.
pub(crate) fn kube_client(host: &'static str, namespace: &str) -> kube::Client {
    let service = service_fn(move |request: hyper::Request<kube::client::Body>| async move {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(dial(host).await?).await?;
        // It ends with the answer's body.
        tokio::spawn(connection);
        Ok::<_, tower::BoxError>(sender.send_request(request).await?)
    });
    kube::Client::new(service, namespace)
}

/// Serves a cluster on this host.
pub(crate) async fn serve_cluster(cluster: fake_cluster::FakeCluster) -> io::Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let service = hyper_util::service::TowerToHyperService::new(cluster.connect(fake_cluster::ADMIN));
        tokio::spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .half_close(true)
                .auto_date_header(false)
                .serve_connection(TokioIo::new(Socket(stream)), service);
            // A client that goes breaks its connection.
            let _broken = connection.await;
        });
    }
}
