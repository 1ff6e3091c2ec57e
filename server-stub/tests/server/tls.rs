//! Certificates on both sides of the program, and their exchange while it runs.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use piculet_proto::v1::agent_message::Message as Said;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use server_stub::serve::{Tls, TlsFiles, bind};
use server_stub::server::{Config, Server};
use server_stub::store::Store;
use tempfile::TempDir;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Error, Identity};

use crate::agent::{RawAgent, call_over, hello};
use crate::cli::{BINARY, Served, ended};

/// Between two looks at the files.
const PERIOD: Duration = Duration::from_millis(10);

struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Exchanges certificate, key and authority in one moment, as Kubernetes does: the names stay, and behind them one
    /// link is put in the place of another.
    fn mount(&self, version: u32, (certificate, key): &(String, String), client_authority: &Authority) -> TlsFiles {
        let folder = format!("..version-{version}");
        fs::create_dir(self.path(&folder)).unwrap();
        for (name, text) in [("tls.crt", certificate), ("tls.key", key), ("ca.crt", &client_authority.0.pem())] {
            self.write(&format!("{folder}/{name}"), text);
            // They are there already from the second time on.
            std::os::unix::fs::symlink(format!("..data/{name}"), self.path(name)).ok();
        }
        std::os::unix::fs::symlink(&folder, self.path("..next")).unwrap();
        fs::rename(self.path("..next"), self.path("..data")).unwrap();
        TlsFiles {
            certificate: self.path("tls.crt"),
            key: self.path("tls.key"),
            client_authority: Some(self.path("ca.crt")),
        }
    }
}

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
    fn issue(&self, name: &str) -> (String, String) {
        self.issue_with(name, |_| {})
    }

    fn issue_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        change(&mut params);
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }
}

async fn dial(address: &str, authority: &Authority, own: Option<(String, String)>) -> Result<Channel, Error> {
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority.0.pem()));
    if let Some((certificate, key)) = own {
        tls = tls.identity(Identity::from_pem(certificate, key));
    }
    let address = address.replace("127.0.0.1", "localhost");
    Endpoint::from_shared(address)?.tls_config(tls)?.connect().await
}

/// A session over a connection of its own; an error if the server doesn't let it in.
async fn session(address: &str, authority: &Authority, own: (String, String)) -> Result<RawAgent, String> {
    let channel = dial(address, authority, Some(own)).await.map_err(|error| format!("{error:?}"))?;
    // A second one of the same name would take the first one's place.
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("agent-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    call_over(channel, None, vec![Said::Hello(hello(&name))]).await.map_err(|status| format!("{status:?}"))
}

/// A server in this process, whose certificates lie in files.
async fn start(files: TlsFiles) -> (Server, String) {
    let server = Server::start(Config::default(), Store::in_memory().unwrap()).unwrap();
    let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = format!("https://{}", listener.local_addr().unwrap());
    let tls = Tls::load(files).unwrap().checked_every(PERIOD);
    tokio::spawn(server.serve_agents(listener, Some(tls)));
    (server, address)
}

/// Whether a session goes on: what the agent asks for is answered.
async fn lives(agent: &mut RawAgent) -> bool {
    agent.demand(0).await;
    tokio::time::timeout(PERIOD, agent.end()).await.is_err()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_come_in_with_the_right_certificates_only() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (certificate, key) = authority.issue("localhost");
    let files = Files::new();
    let options = [
        ("--tls-cert", files.write("server.pem", &certificate)),
        ("--tls-key", files.write("server.key", &key)),
        ("--tls-client-ca", files.write("ca.pem", &authority.0.pem())),
    ];
    let options: Vec<_> = options.iter().flat_map(|(option, file)| [*option, file.as_str()]).collect();
    let served = Served::start(&options);
    assert!(served.agents.starts_with("https://127.0.0.1:"), "{}", served.agents);

    session(&served.agents, &authority, authority.issue("agent")).await.unwrap();
    let unknown = dial(&served.agents, &stranger, Some(authority.issue("agent"))).await;
    assert!(unknown.is_err(), "the agent doesn't know it");
    // With TLS 1.3 the client learns only after its own handshake that it is refused; whether it has made its call by
    // then, and so is told why, is a matter of chance.
    let refused = session(&served.agents, &authority, stranger.issue("agent")).await;
    assert!(refused.is_err(), "the server doesn't know its authority");
    let channel = dial(&served.agents, &authority, None).await.unwrap();
    assert!(call_over(channel, None, vec![Said::Hello(hello("agent"))]).await.is_err(), "it has none");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_client_is_in_the_log_with_address_and_reason() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue("localhost");
    let files = Files::new();
    let mut child = Command::new(BINARY)
        .args(["serve", "--in-memory", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--log", "warn"])
        .args(["--tls-cert", &files.write("server.pem", &certificate), "--tls-key", &files.write("server.key", &key)])
        .args(["--tls-client-ca", &files.write("ca.pem", &authority.0.pem())])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("agents: ").unwrap();
    // A health check says nothing, and nothing is said about it.
    drop(TcpStream::connect(address.strip_prefix("https://").unwrap()).unwrap());
    let mut clear = TcpStream::connect(address.strip_prefix("https://").unwrap()).unwrap();
    clear.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    clear.read_to_end(&mut Vec::new()).ok();
    let from = clear.local_addr().unwrap();
    assert!(session(address, &authority, Authority::new().issue("agent")).await.is_err());
    let channel = dial(address, &authority, None).await.unwrap();
    assert!(call_over(channel, None, vec![Said::Hello(hello("agent"))]).await.is_err());
    // It logs when it has told the client; so it is waited for.
    let (found, lines) = std::sync::mpsc::sync_channel(16);
    let err = BufReader::new(child.stderr.take().unwrap());
    std::thread::spawn(move || err.lines().map_while(Result::ok).try_for_each(|line| found.send(line)));
    let from = from.to_string();
    let mut wanted =
        vec![[from.as_str(), "no TLS"], ["127.0.0.1:", "is not accepted"], ["127.0.0.1:", "no client cert"]];
    // The library dials more than once if it finds the connection closed.
    while !wanted.is_empty() {
        let line = lines.recv_timeout(Duration::from_secs(30)).unwrap_or_else(|_| panic!("{wanted:?} are not said"));
        assert!(line.contains("refused a connection"), "{line}");
        wanted.retain(|words| !words.iter().all(|word| line.contains(word)));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn files_that_cannot_be_used_end_it_with_79_and_are_named() {
    let (authority, files) = (Authority::new(), Files::new());
    let (certificate, key) = authority.issue("localhost");
    let (good, good_key) = (files.write("good.pem", &certificate), files.write("good.key", &key));
    let (garbage, other_key) =
        (files.write("garbage.pem", "no PEM"), files.write("other.key", &authority.issue("x").1));
    let nowhere = files.path("nowhere.pem").to_str().unwrap().to_owned();
    for (options, words) in [
        (vec!["--tls-cert", &garbage, "--tls-key", &good_key], ["--tls-cert", "garbage.pem", "no certificate in PEM"]),
        (vec!["--tls-cert", &good, "--tls-key", &garbage], ["--tls-key", "garbage.pem", "no private key in PEM"]),
        (vec!["--tls-cert", &nowhere, "--tls-key", &good_key], ["--tls-cert", "nowhere.pem", "can't be read"]),
        (vec!["--tls-cert", &good, "--tls-key", &other_key], ["--tls-key", "other.key", "good.pem"]),
        (
            vec!["--tls-cert", &good, "--tls-key", &good_key, "--tls-client-ca", &garbage],
            ["--tls-client-ca", "garbage.pem", "no certificate in PEM"],
        ),
        (vec!["--http-tls-cert", &good, "--http-tls-key", &other_key], ["--http-tls-key", "other.key", "good.pem"]),
    ] {
        let mut command = Command::new(BINARY);
        command.args(["serve", "--in-memory", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"]).args(&options);
        let failed = ended(command).code(79);
        let error = String::from_utf8(failed.get_output().stderr.clone()).unwrap();
        assert!(error.starts_with("error[tls]: ") && words.iter().all(|word| error.contains(word)), "{error}");
    }
    let mut half = Command::new(BINARY);
    half.args(["serve", "--in-memory", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--tls-cert", &good]);
    ended(half).code(2);
}

#[test]
fn an_expired_certificate_is_said_and_no_reason_not_to_start() {
    let files = Files::new();
    let (certificate, key) = Authority::new().issue_with("localhost", |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    let mut child = Command::new(BINARY)
        .args(["serve", "--in-memory", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--log", "error"])
        .args(["--tls-cert", &files.write("old.pem", &certificate), "--tls-key", &files.write("old.key", &key)])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    assert!(line.starts_with("agents: https://"), "{line}");
    child.kill().unwrap();
    child.wait().unwrap();
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(log.contains("ERROR") && log.contains("old.pem") && log.contains("expired at 2021-01-01"), "{log}");
}

/// A connection whose hands are shaken.
fn connected(
    address: &str,
    trusted: &[&Authority],
    own: Option<&(String, String)>,
) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    for authority in trusted {
        roots.add(CertificateDer::from(authority.0.der().to_vec())).unwrap();
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_webpki_verifier(verifier);
    let mut config = match own {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
            config.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connection = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap();
    let socket = TcpStream::connect(address.strip_prefix("https://").unwrap()).unwrap();
    let mut stream = StreamOwned::new(connection, socket);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).unwrap();
    }
    stream
}

/// The certificate that a new connection is shown.
fn shown(address: &str, trusted: &[&Authority]) -> CertificateDer<'static> {
    connected(address, trusted, None).conn.peer_certificates().unwrap()[0].clone().into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_back_shows_its_certificate_again() {
    let (authority, files) = (Authority::new(), Files::new());
    let (_server, address) = start(files.mount(1, &authority.issue("localhost"), &authority)).await;
    let mut stream = connected(&address, &[&authority], Some(&authority.issue("agent")));
    // Tickets would come before the first frame, which follows the client's preface.
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    assert_eq!(stream.conn.tls13_tickets_received(), 0, "with one it would not have to");
}

/// Here the clock is real: a hang is a failure before long.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), what).await.expect("it takes too long")
}

async fn until_shown(address: &str, trusted: &[&Authority], before: &CertificateDer<'static>) {
    soon(async {
        while shown(address, trusted) == *before {
            tokio::time::sleep(PERIOD).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_certificate_is_for_new_connections_and_the_old_ones_stay() {
    let (authority, files) = (Authority::new(), Files::new());
    let mounted = files.mount(1, &authority.issue("localhost"), &authority);
    let (_server, address) = start(mounted).await;
    let mut agent = session(&address, &authority, authority.issue("agent")).await.unwrap();
    let first = shown(&address, &[&authority]);
    assert_eq!(shown(&address, &[&authority]), first);

    // Half of it, or something that is none, changes nothing.
    let key = authority.issue("localhost").1;
    fs::write(files.path("tls.key"), key).unwrap();
    tokio::time::sleep(10 * PERIOD).await;
    assert_eq!(shown(&address, &[&authority]), first);
    session(&address, &authority, authority.issue("agent-2")).await.unwrap();

    files.mount(2, &authority.issue("localhost"), &authority);
    until_shown(&address, &[&authority], &first).await;
    assert!(lives(&mut agent).await);
    session(&address, &authority, authority.issue("agent-3")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_authority_of_clients_counts_for_new_connections() {
    let (old, new, files) = (Authority::new(), Authority::new(), Files::new());
    let pair = old.issue("localhost");
    let (_server, address) = start(files.mount(1, &pair, &old)).await;
    let mut agent = session(&address, &old, old.issue("agent")).await.unwrap();
    assert!(session(&address, &old, new.issue("agent-2")).await.is_err());

    files.mount(2, &pair, &new);
    soon(async {
        while session(&address, &old, new.issue("agent-2")).await.is_err() {
            tokio::time::sleep(PERIOD).await;
        }
    })
    .await;
    assert!(session(&address, &old, old.issue("agent-3")).await.is_err());
    assert!(lives(&mut agent).await);
}

#[test]
fn the_api_can_be_spoken_to_over_tls() {
    let (authority, files) = (Authority::new(), Files::new());
    let (certificate, key) = authority.issue("localhost");
    let (certificate, key) = (files.write("api.pem", &certificate), files.write("api.key", &key));
    let (ca, other) = (files.write("ca.pem", &authority.0.pem()), files.write("other.pem", &Authority::new().0.pem()));
    let served = Served::start(&["--http-tls-cert", &certificate, "--http-tls-key", &key]);
    let plain = Served::start(&[]);
    let api = served.api.replace("127.0.0.1", "localhost");
    assert!(api.starts_with("https://localhost:"), "{api}");
    let list = |server: &str, options: &[&str]| {
        let mut command = Command::new(BINARY);
        command.args(["list", "--server", server]).args(options);
        command
    };
    ended(list(&api, &["--ca-file", &ca])).success();
    for (server, ca_file, exit, words) in [
        (api.as_str(), Some(&other), 79, "from an authority that is not trusted"),
        (&api, None, 79, "from an authority that is not trusted"),
        (&served.api, Some(&ca), 79, "is for another name"),
        (&api.replace("https", "http"), None, 79, "should --server begin with https://?"),
        (&plain.api.replace("http", "https"), Some(&ca), 79, "no TLS is spoken at this address"),
        (&plain.agents.replace("http", "https"), Some(&ca), 79, "no TLS is spoken at this address"),
        (&plain.api, Some(&ca), 2, "has to begin with https://"),
        (&api, Some(&key), 2, "no certificate of an authority"),
    ] {
        let options = ca_file.map_or_else(Vec::new, |ca| vec!["--ca-file", ca.as_str()]);
        let failed = ended(list(server, &options)).code(exit);
        let error = String::from_utf8(failed.get_output().stderr.clone()).unwrap();
        assert!(error.contains(words), "{server}: {error}");
    }
}
