//! Certificates on both sides.

use std::path::PathBuf;
use std::time::Duration;

use piculet_link::link::Link as _;
use piculet_link::message::Hello;
use piculet_link::stream::{ClientCertificate, StreamLink, Tls};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use crate::agent::{Agent, Plan, identity};
use crate::network::Network;
use crate::server::Server;

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Certificate and key.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

/// A server that demands a certificate of its authority, and a folder for files.
fn start(authority: &Authority) -> (Network, Server, TempDir) {
    let (network, connections) = Network::new();
    let (certificate, key) = authority.issue("server.test");
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(certificate, key))
        .client_ca_root(Certificate::from_pem(authority.0.pem()));
    (network, Server::start(connections, Some(tls)), TempDir::new().unwrap())
}

fn plan(folder: &TempDir, trusted: &Authority, own: (String, String)) -> Plan {
    let file = |name: &str, text: &str| -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let mut plan = Plan::default();
    plan.stream.server = "https://server.test:9000".parse().unwrap();
    plan.stream.tls = Tls {
        authorities: Some(file("ca.pem", &trusted.0.pem())),
        certificate: Some(ClientCertificate { certificate: file("agent.pem", &own.0), key: file("agent.key", &own.1) }),
        server_name: None,
    };
    plan
}

#[tokio::test(start_paused = true)]
async fn both_sides_show_who_they_are() {
    let authority = Authority::new();
    let (network, mut server, folder) = start(&authority);
    let mut agent = Agent::start(plan(&folder, &authority, authority.issue("agent")), &network);
    server.session().await;
    agent.connected().await;
}

#[tokio::test(start_paused = true)]
async fn a_server_of_another_authority_is_not_spoken_to() {
    let authority = Authority::new();
    let (network, _server, folder) = start(&authority);
    let mut agent = Agent::start(plan(&folder, &Authority::new(), authority.issue("agent")), &network);
    agent.status.changed().await.unwrap();
    let error = agent.status.borrow().last_error.clone().unwrap();
    assert_eq!(error.code(), "link-unreachable");
    let told = error.to_string();
    assert!(told.contains("https://server.test:9000") && told.contains("invalid peer certificate"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_server_of_another_name_is_not_spoken_to() {
    let authority = Authority::new();
    let (network, _server, folder) = start(&authority);
    let mut plan = plan(&folder, &authority, authority.issue("agent"));
    plan.stream.tls.server_name = Some("elsewhere.test".into());
    let mut agent = Agent::start(plan, &network);
    agent.status.changed().await.unwrap();
    let told = agent.status.borrow().last_error.clone().unwrap().to_string();
    assert!(told.contains("elsewhere.test"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn an_agent_without_a_good_certificate_gets_no_session() {
    let authority = Authority::new();
    let (network, mut server, folder) = start(&authority);
    let mut agent = Agent::start(plan(&folder, &authority, Authority::new().issue("agent")), &network);
    tokio::select! {
        biased;
        _ = server.ring() => panic!("the server took a certificate of another authority"),
        changed = agent.status.changed() => changed.unwrap(),
    }
    assert_eq!(agent.status.borrow().last_error.clone().unwrap().code(), "link-broken");
}

#[tokio::test(start_paused = true)]
async fn certificate_files_that_are_none_are_named() {
    let authority = Authority::new();
    let (network, _server, folder) = start(&authority);
    let mut plan = plan(&folder, &authority, authority.issue("agent"));
    plan.stream.tls.authorities = Some(folder.path().join("nowhere.pem"));
    let told = Agent::start(plan, &network).ended().await.unwrap_err().to_string();
    assert!(told.contains("file of certificate authorities '") && told.contains("nowhere.pem"), "{told}");
}

#[tokio::test]
async fn a_server_that_shakes_no_hands_is_not_waited_for() {
    // Real sockets, and so real time: the library's own connector is what this is about.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let folder = TempDir::new().unwrap();
    let authority = Authority::new();
    let mut stream = plan(&folder, &authority, authority.issue("agent")).stream;
    stream.server = format!("https://{}", listener.local_addr().unwrap()).parse().unwrap();
    stream.connect_timeout = Duration::from_millis(100);
    let (_outgoing, to_link) = mpsc::channel(1);
    let (from_link, _incoming) = mpsc::channel(1);
    let hello = Hello { identity: identity(), held: vec![] };
    let mut link = StreamLink::new(stream);
    let ended = timeout(Duration::from_secs(10), link.run(hello, to_link, from_link)).await.unwrap();
    assert_eq!(ended.cause.code(), "link-unreachable");
    drop(listener);
}
