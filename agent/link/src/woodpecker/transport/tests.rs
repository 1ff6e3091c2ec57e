use std::future::ready;
use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use futures_util::stream;
use hyper_util::rt::TokioIo;
use piculet_proto::woodpecker::woodpecker_auth_client::WoodpeckerAuthClient;
use piculet_proto::woodpecker::woodpecker_auth_server::{WoodpeckerAuth, WoodpeckerAuthServer};
use piculet_proto::woodpecker::{AuthRequest, AuthResponse};
use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional, duplex};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::oneshot;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};
use tower::service_fn;

use super::{Dialer, Settings, connect};
use crate::link::{Cause, Ended};
use crate::stream::Tls;
use crate::woodpecker::{Address, Proxies};

/// A server that answers one question.
struct Answering;

#[tonic::async_trait]
impl WoodpeckerAuth for Answering {
    async fn auth(&self, _: Request<AuthRequest>) -> Result<Response<AuthResponse>, Status> {
        Ok(Response::new(AuthResponse { status: "ok".to_owned(), ..AuthResponse::default() }))
    }
}

/// Whether the server at the other end answers.
async fn answers(channel: Channel) -> bool {
    let answer = WoodpeckerAuthClient::new(channel).auth(AuthRequest::default()).await;
    answer.is_ok_and(|answer| answer.into_inner().status == "ok")
}

/// A certificate that signs itself, and its key.
fn self_signed(name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new([name.to_owned()]).unwrap().self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// Serves on a port of this machine, with TLS if there is a certificate. Gives the port.
async fn serve(certificate: Option<&(String, String)>) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut server = Server::builder();
    if let Some((certificate, key)) = certificate {
        let identity = Identity::from_pem(certificate, key);
        server = server.tls_config(ServerTlsConfig::new().identity(identity)).unwrap();
    }
    let router = server.add_service(WoodpeckerAuthServer::new(Answering));
    tokio::spawn(router.serve_with_incoming(TcpIncoming::from(listener)));
    port
}

fn settings(address: &str, is_encrypted: bool) -> Settings {
    Settings::new(address.parse::<Address>().unwrap().encrypted(is_encrypted).unwrap())
}

async fn dial(settings: &Settings) -> Result<Channel, Ended> {
    connect(settings, &Dialer::new(settings)).await
}

/// Trusts this certificate and no other.
fn trusting(folder: &TempDir, certificate: &str) -> Tls {
    let path: PathBuf = folder.path().join("ca.pem");
    std::fs::write(&path, certificate).unwrap();
    Tls { authorities: Some(path), ..Tls::default() }
}

#[tokio::test]
async fn a_server_without_tls_is_reached_by_tcp() {
    let port = serve(None).await;
    for address in [format!("127.0.0.1:{port}"), format!("dns:///127.0.0.1:{port}"), format!("http://127.0.0.1:{port}")]
    {
        assert!(answers(dial(&settings(&address, false)).await.unwrap()).await, "{address}");
    }
}

#[tokio::test]
async fn a_certificate_is_verified_unless_somebody_says_otherwise() {
    let certificate = self_signed("127.0.0.1");
    let port = serve(Some(&certificate)).await;
    let folder = TempDir::new().unwrap();
    let mut settings = settings(&format!("127.0.0.1:{port}"), true);
    // Another authority than its own.
    settings.tls = trusting(&folder, &self_signed("127.0.0.1").0);
    let refused = dial(&settings).await.unwrap_err();
    assert!(matches!(&refused.cause, Cause::Tls { reason } if reason.contains("authority")), "{refused:?}");
    settings.skip_verify = true;
    assert!(answers(dial(&settings).await.unwrap()).await);
    settings.skip_verify = false;
    settings.tls = trusting(&folder, &certificate.0);
    assert!(answers(dial(&settings).await.unwrap()).await);
}

#[tokio::test]
async fn a_name_that_the_certificate_does_not_have_is_refused_unless_somebody_says_otherwise() {
    let certificate = self_signed("ci.example.test");
    let port = serve(Some(&certificate)).await;
    let folder = TempDir::new().unwrap();
    let mut settings = settings(&format!("127.0.0.1:{port}"), true);
    settings.tls = trusting(&folder, &certificate.0);
    let refused = dial(&settings).await.unwrap_err();
    assert!(matches!(&refused.cause, Cause::Tls { reason } if reason.contains("another name")), "{refused:?}");
    settings.tls.server_name = Some("ci.example.test".to_owned());
    assert!(answers(dial(&settings).await.unwrap()).await);
    settings.tls.server_name = None;
    settings.skip_verify = true;
    assert!(answers(dial(&settings).await.unwrap()).await);
}

#[tokio::test]
async fn a_file_of_authorities_that_holds_none_is_told() {
    let folder = TempDir::new().unwrap();
    let mut settings = settings("127.0.0.1:1", true);
    settings.tls = trusting(&folder, "nothing");
    let refused = dial(&settings).await.unwrap_err();
    assert!(matches!(&refused.cause, Cause::Credentials { reason, .. } if reason.contains("PEM")), "{refused:?}");
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
    let refused = dial(&settings(&closed.to_string(), false)).await.unwrap_err();
    assert!(
        matches!(&refused.cause, Cause::Unreachable { server, .. } if *server == closed.to_string()),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_server_may_be_a_socket() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("ci.sock");
    let address = format!("unix://{}", path.display());
    assert!(matches!(dial(&settings(&address, false)).await.unwrap_err().cause, Cause::Unreachable { .. }));
    let listener = UnixListener::bind(&path).unwrap();
    let incoming = stream::unfold(listener, |listener| async {
        let stream = listener.accept().await.map(|(stream, _)| stream);
        Some((stream, listener))
    });
    let router = Server::builder().add_service(WoodpeckerAuthServer::new(Answering));
    tokio::spawn(router.serve_with_incoming(Box::pin(incoming)));
    assert!(answers(dial(&settings(&address, false)).await.unwrap()).await);
}

/// An HTTP proxy that takes one connection and leads it to `port`. Gives its own port, and what it was asked.
async fn proxy(port: u16) -> (u16, oneshot::Receiver<String>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let own = listener.local_addr().unwrap().port();
    let (asked, question) = oneshot::channel();
    tokio::spawn(async move {
        let (mut inside, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(inside.read_u8().await.unwrap());
        }
        asked.send(String::from_utf8(request).unwrap()).unwrap();
        let mut outside = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        inside.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let _ends_with_the_test = copy_bidirectional(&mut inside, &mut outside).await;
    });
    (own, question)
}

#[tokio::test]
async fn a_proxy_leads_to_the_server_and_tls_is_spoken_through_it() {
    let certificate = self_signed("ci.example.test");
    let port = serve(Some(&certificate)).await;
    let (proxy, question) = proxy(port).await;
    let folder = TempDir::new().unwrap();
    let mut settings = settings("ci.example.test:9000", true);
    settings.tls = trusting(&folder, &certificate.0);
    settings.proxies = Proxies::new(&format!("http://me:hunter2@127.0.0.1:{proxy}"), "").unwrap();
    assert!(answers(dial(&settings).await.unwrap()).await);
    let question = question.await.unwrap().to_lowercase();
    assert!(question.starts_with("connect ci.example.test:9000 http/1.1\r\n"), "{question}");
    assert!(question.contains("\r\nproxy-authorization: basic "), "{question}");
    assert!(!format!("{settings:?} {:?}", Dialer::new(&settings)).contains("hunter2"));
}

#[tokio::test]
async fn a_test_may_bring_its_own_connection() {
    let (ours, theirs) = duplex(1 << 16);
    let router = Server::builder().add_service(WoodpeckerAuthServer::new(Answering));
    let incoming = stream::iter([Ok::<_, io::Error>(theirs)]);
    tokio::spawn(router.serve_with_incoming(incoming));
    let ours = Arc::new(Mutex::new(Some(ours)));
    let pipe = move |endpoint: Endpoint| {
        let ours = Arc::clone(&ours);
        async move {
            let take = move |_| {
                let ours = ours.lock().unwrap().take().map(TokioIo::new);
                ready(ours.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound)))
            };
            endpoint.connect_with_connector(service_fn(take)).await
        }
    };
    let channel = connect(&settings("ci:9000", false), &pipe).await.unwrap();
    assert!(answers(channel).await);
}
