//! Real sockets on loopback: TLS and its time limits are what this is about.

use std::sync::Arc;
use std::time::Duration;

use axum::serve::Listener as _;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{HANDSHAKE, Incoming, Protocol};
use crate::serve::{Tls, TlsFiles};

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Issuer {
    let mut params = CertificateParams::new([]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Issuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn issue(authority: &Issuer, name: &str) -> (rcgen::Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, format!("{name} itself"));
    (params.signed_by(&key, authority).unwrap(), key)
}

/// A server that demands certificates of the authority.
async fn listen(authority: &Issuer) -> (Incoming, std::net::SocketAddr, TempDir) {
    let folder = TempDir::new().unwrap();
    let (certificate, key) = issue(authority, "localhost");
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let files = TlsFiles {
        certificate: file("tls.crt", certificate.pem()),
        key: file("tls.key", key.serialize_pem()),
        client_authority: Some(file("ca.crt", authority.pem())),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (Incoming::new(listener, Some(Tls::load(files).unwrap()), Protocol::Http2), address, folder)
}

async fn dial(
    address: std::net::SocketAddr,
    authority: &Issuer,
    own: Option<(rcgen::Certificate, KeyPair)>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(authority.der().to_vec())).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
            builder.with_client_auth_cert(vec![certificate.der().clone()], key).unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

#[tokio::test]
async fn a_connection_knows_whose_certificate_was_shown() {
    let authority = authority("ours");
    let (mut incoming, address, _folder) = listen(&authority).await;
    let client = dial(address, &authority, Some(issue(&authority, "agent"))).await.unwrap();
    let (_connection, peer) = incoming.accept().await;
    assert_eq!(peer.address, client.get_ref().0.local_addr().unwrap());
    assert_eq!(peer.certificate.as_deref(), Some("agent itself"));
    assert_eq!(peer.to_string(), format!("{} with the certificate \"agent itself\"", peer.address));
}

#[tokio::test]
async fn who_is_refused_can_read_why() {
    let (authority, stranger, namesake) = (authority("ours"), authority("theirs"), authority("ours"));
    let (mut incoming, address, _folder) = listen(&authority).await;
    for (own, alert) in [
        (None, "CertificateRequired"),
        (Some(issue(&stranger, "agent")), "UnknownCA"),
        (Some(issue(&namesake, "agent")), "DecryptError"),
    ] {
        let mut client = dial(address, &authority, own).await.unwrap();
        // What an agent says at once must not throw the answer away.
        let said = tokio::io::AsyncWriteExt::write_all(&mut client, &[0; 4096]).await;
        let refused = said.and(client.read_u8().await.map(drop)).unwrap_err();
        assert!(refused.to_string().contains(alert), "{refused}");
    }
    assert!(timeout(Duration::from_millis(50), incoming.accept()).await.is_err(), "nobody was let in");
}

#[tokio::test]
async fn handshakes_that_hang_hold_up_nobody() {
    let authority = authority("ours");
    let (mut incoming, address, _folder) = listen(&authority).await;
    let mut hanging = Vec::new();
    for _ in 0..100 {
        hanging.push(TcpStream::connect(address).await.unwrap());
    }
    let dialed = dial(address, &authority, Some(issue(&authority, "agent")));
    timeout(HANDSHAKE / 2, async { (dialed.await.unwrap(), incoming.accept().await) }).await.unwrap();
}

#[tokio::test]
async fn the_socket_is_closed_with_the_last_who_listens() {
    let (incoming, address, _folder) = listen(&authority("ours")).await;
    drop(incoming);
    timeout(Duration::from_secs(10), async { while TcpStream::connect(address).await.is_ok() {} }).await.unwrap();
}
