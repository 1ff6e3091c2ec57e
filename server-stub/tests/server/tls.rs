//! Certificates on the agents' side of the program.

use std::path::PathBuf;
use std::process::Command;

use piculet_proto::v1::agent_message::Message as Said;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Error, Identity};

use crate::agent::{call_over, hello};
use crate::cli::{BINARY, Served, ended};

struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path: PathBuf = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

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

async fn dial(served: &Served, authority: &Authority, own: Option<(String, String)>) -> Result<Channel, Error> {
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority.0.pem()));
    if let Some((certificate, key)) = own {
        tls = tls.identity(Identity::from_pem(certificate, key));
    }
    let address = served.agents.replace("127.0.0.1", "localhost");
    Endpoint::from_shared(address)?.tls_config(tls)?.connect().await
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

    let first = || vec![Said::Hello(hello("agent"))];
    let channel = dial(&served, &authority, Some(authority.issue("agent"))).await.unwrap();
    assert!(call_over(channel, None, first()).await.is_ok());
    assert!(dial(&served, &stranger, Some(authority.issue("agent"))).await.is_err(), "the agent doesn't know it");
    for own in [None, Some(stranger.issue("agent"))] {
        // With TLS 1.3 the client learns only from the first answer that its certificate was refused.
        if let Ok(channel) = dial(&served, &authority, own).await {
            assert!(call_over(channel, None, first()).await.is_err(), "the server doesn't know it");
        }
    }
}

#[test]
fn certificates_that_are_none_are_bad_input() {
    let files = Files::new();
    let garbage = files.write("garbage.pem", "no certificate");
    let serve = |more: &[&str]| {
        let mut command = Command::new(BINARY);
        command.args(["serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--tls-cert", &garbage]).args(more);
        ended(command)
    };
    let failed = serve(&["--tls-key", &garbage]).code(2);
    let error = String::from_utf8(failed.get_output().stderr.clone()).unwrap();
    assert!(error.starts_with("error[tls]: "), "{error}");
    serve(&[]).code(2);
}
