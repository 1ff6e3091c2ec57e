//! Certificates on both sides.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use piculet_link::link::{Cause, Link as _};
use piculet_link::message::Hello;
use piculet_link::stream::{ClientCertificate, StreamLink, Tls};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::Status;
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use crate::agent::{Agent, Plan, identity, within_an_hour};
use crate::network::Network;
use crate::server::{Server, Store, key};

type Pair = (String, String);

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        Self::named(&format!("authority {}", NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    /// Authorities are found by their names.
    fn named(name: &str) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Certificate and key.
    fn issue(&self, name: &str) -> Pair {
        self.issue_until(name, 4000)
    }

    /// One that is good from 2000 to the beginning of this year.
    fn issue_until(&self, name: &str, year: i32) -> Pair {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(2000, 1, 1), rcgen::date_time_ymd(year, 1, 1));
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }
}

/// What stands on both sides of a connection.
struct Sides {
    authority: Authority,
    folder: TempDir,
    plan: Plan,
    server: ServerTlsConfig,
}

impl Sides {
    /// Both know each other.
    fn good() -> Self {
        let (authority, folder) = (Authority::new(), TempDir::new().unwrap());
        let (certificate, key) = authority.issue("server.test");
        let mut plan = Plan::default();
        plan.stream.server = "https://server.test:9000".parse().unwrap();
        plan.stream.tls = Tls {
            authorities: Some(folder.path().join("ca.pem")),
            certificate: Some(ClientCertificate {
                certificate: folder.path().join("agent.pem"),
                key: folder.path().join("agent.key"),
            }),
            server_name: None,
        };
        let server = ServerTlsConfig::new()
            .identity(Identity::from_pem(certificate, key))
            .client_ca_root(Certificate::from_pem(authority.0.pem()));
        let sides = Self { authority, folder, plan, server };
        sides.trust(&sides.authority);
        sides.show(sides.authority.issue("agent"));
        sides
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Whom the agent trusts.
    fn trust(&self, authority: &Authority) {
        self.write("ca.pem", &authority.0.pem());
    }

    /// What the agent shows.
    fn show(&self, (certificate, key): Pair) {
        self.write("agent.pem", &certificate);
        self.write("agent.key", &key);
    }

    fn server_shows(&mut self, (certificate, key): Pair) {
        self.server = ServerTlsConfig::new()
            .identity(Identity::from_pem(certificate, key))
            .client_ca_root(Certificate::from_pem(self.authority.0.pem()));
    }

    fn start(self) -> (Agent, Network, Server, TempDir) {
        let (network, connections) = Network::new();
        let server = Server::start(connections, Some(self.server));
        (Agent::start(self.plan, &network), network, server, self.folder)
    }

    /// Why the agent gives up at its start, at the first try.
    async fn refused(self) -> Cause {
        let (mut agent, _network, mut server, _folder) = self.start();
        tokio::select! {
            biased;
            _ = server.ring() => panic!("there is a session"),
            changed = agent.status.changed() => changed.unwrap(),
        }
        let cause = agent.status.borrow().last_error.clone().unwrap();
        let given_up = timeout(Duration::from_millis(1), agent.ended()).await;
        assert_eq!(given_up.unwrap_or_else(|_| panic!("it goes on after {cause}")).unwrap_err().cause, cause);
        cause
    }
}

/// What the sentence for people has to say.
fn says(cause: &Cause, words: &[&str]) {
    let told = cause.to_string();
    assert_eq!(cause.code(), "link-tls", "{told}");
    assert!(words.iter().all(|word| told.contains(word)) && !told.contains(".."), "{told}");
}

#[tokio::test(start_paused = true)]
async fn both_sides_show_who_they_are() {
    let (mut agent, _network, mut server, _folder) = Sides::good().start();
    server.session().await;
    agent.connected().await;
}

#[tokio::test(start_paused = true)]
async fn a_server_of_another_authority_is_not_spoken_to() {
    let sides = Sides::good();
    sides.trust(&Authority::new());
    says(&sides.refused().await, &["an authority that is not trusted", "CA file"]);
    let mut sides = Sides::good();
    let (before, anew) = (Authority::named("the same"), Authority::named("the same"));
    sides.trust(&before);
    sides.server_shows(anew.issue("server.test"));
    says(&sides.refused().await, &["of that name", "made anew", "CA file"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_of_another_name_is_not_spoken_to() {
    let mut sides = Sides::good();
    sides.plan.stream.tls.server_name = Some("elsewhere.test".into());
    says(&sides.refused().await, &["is for another name", "elsewhere.test", "server.test"]);
    let mut sides = Sides::good();
    let pair = sides.authority.issue("elsewhere.test");
    sides.server_shows(pair);
    sides.plan.stream.tls.server_name = Some("elsewhere.test".into());
    let (mut agent, _network, mut server, _folder) = sides.start();
    server.session().await;
    agent.connected().await;
}

#[tokio::test(start_paused = true)]
async fn an_expired_server_is_not_spoken_to() {
    let mut sides = Sides::good();
    let pair = sides.authority.issue_until("server.test", 2001);
    sides.server_shows(pair);
    says(&sides.refused().await, &["has expired", "renew it"]);
}

#[tokio::test(start_paused = true)]
async fn an_authority_in_the_place_of_a_server_is_not_spoken_to() {
    let mut sides = Sides::good();
    let mut params = CertificateParams::new(["server.test".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    sides.write("ca.pem", &certificate);
    sides.server_shows((certificate, key.serialize_pem()));
    says(&sides.refused().await, &["the certificate of an authority as its own"]);
}

#[tokio::test(start_paused = true)]
async fn an_agent_without_a_good_certificate_gets_no_session() {
    let mut sides = Sides::good();
    sides.plan.stream.tls.certificate = None;
    says(&sides.refused().await, &["asks for a client certificate"]);
    let sides = Sides::good();
    sides.show(Authority::new().issue("agent"));
    says(&sides.refused().await, &["does not accept the client certificate", "UnknownCA"]);
    let sides = Sides::good();
    sides.show(sides.authority.issue_until("agent", 2001));
    says(&sides.refused().await, &["does not accept the client certificate", "CertificateExpired"]);
}

#[tokio::test(start_paused = true)]
async fn tls_where_none_is_spoken_and_none_where_it_is() {
    let mut sides = Sides::good();
    sides.plan.stream.server = "http://server.test:9000".parse().unwrap();
    says(&sides.refused().await, &["should the address begin with https://"]);

    let (network, connections) = Network::new();
    let _server = Server::start(connections, None);
    let sides = Sides::good();
    let ended = Agent::start(sides.plan, &network).ended().await;
    says(&ended.unwrap_err().cause, &["no TLS is spoken", "http://"]);
}

#[tokio::test(start_paused = true)]
async fn files_that_cannot_be_used_are_named() {
    type Spoil = fn(&mut Sides);
    let spoils: [(Spoil, &[&str]); 5] = [
        (
            |sides| sides.plan.stream.tls.authorities = Some("/nowhere/ca".into()),
            &["certificate authorities '/nowhere/ca'"],
        ),
        (|sides| drop(sides.write("ca.pem", "nothing")), &["ca.pem'", "no certificate in PEM"]),
        (|sides| drop(sides.write("agent.pem", "nothing")), &["agent.pem'", "no certificate in PEM"]),
        (|sides| drop(sides.write("agent.key", "nothing")), &["agent.key'", "no private key in PEM"]),
        (
            |sides| drop(sides.write("agent.key", &sides.authority.issue("agent").1)),
            &["agent.key'", "does not belong to the certificate file", "agent.pem'"],
        ),
    ];
    for (spoil, words) in spoils {
        let mut sides = Sides::good();
        spoil(&mut sides);
        let cause = sides.refused().await;
        let told = cause.to_string();
        assert_eq!(cause.code(), "link-credentials", "{told}");
        assert!(words.iter().all(|word| told.contains(word)), "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn certificates_that_turn_bad_while_workflows_run_are_waited_for() {
    let sides = Sides::good();
    let (good_ca, good) = (sides.authority.0.pem(), sides.authority.issue("agent"));
    let stranger = Authority::new();
    let (mut agent, network, mut server, folder) = sides.start();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let call = server.session().await;
    agent.connected().await;
    call.assign(&key("w1"));
    agent.run().await;
    let spoils: [(&str, &str, &str); 3] = [
        ("ca.pem", &stranger.0.pem(), "link-tls"),
        ("agent.key", &stranger.issue("agent").1, "link-credentials"),
        ("agent.pem", "", "link-credentials"),
    ];
    let mut call = Some(call);
    for (name, text, code) in spoils {
        write(name, text);
        call.take().unwrap().end(Status::unavailable("so that the files are read"));
        assert!(!agent.disconnected().await.is_empty());
        within_an_hour(agent.status.wait_for(|status| status.failures >= 5)).await.unwrap();
        assert_eq!(agent.status.borrow().last_error.as_ref().unwrap().code(), code);
        write("ca.pem", &good_ca);
        write("agent.pem", &good.0);
        write("agent.key", &good.1);
        call = Some(server.resumed(&Store::default()).await);
        agent.connected().await;
    }
    assert!(network.dials() >= 4);
}

#[tokio::test]
async fn a_server_that_shakes_no_hands_is_not_waited_for() {
    // Real sockets, and so real time: the library's own connector is what this is about.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sides = Sides::good();
    let mut stream = sides.plan.stream.clone();
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
