//! TLS towards a server.

use std::error::Error as _;
use std::path::Path;
use std::sync::Arc;

use http::uri::Authority;
use piculet_link::stream::tls_problem;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::super::exit::Failure;

/// Whom to trust.
pub(super) fn config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, Failure> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            let wrong = |problem: &str| Failure::BadInput(format!("--ca-file: the file {} {problem}", path.display()));
            let pem = super::super::serve::read(path)?;
            let found = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
            let found = found.map_err(|error| wrong(&format!("holds no certificate that can be read: {error}")))?;
            if roots.add_parsable_certificates(found).0 == 0 {
                return Err(wrong("holds no certificate of an authority in PEM"));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::Internal(error.to_string()))?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Shakes hands with the server of an address.
pub(super) async fn connect(
    config: Arc<ClientConfig>,
    authority: &Authority,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, Failure> {
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(host).map_err(|_| {
        Failure::BadInput(format!("--server: {} is no name that a certificate can have", authority.host()))
    })?;
    TlsConnector::from(config).connect(name, stream).await.map_err(|error| {
        let server = authority.to_string();
        match tls_problem(&error) {
            Some(reason) => Failure::Tls { server, reason },
            None => {
                let reason = error.source().map_or_else(|| error.to_string(), ToString::to_string);
                Failure::Unreachable { server, reason }
            }
        }
    })
}
