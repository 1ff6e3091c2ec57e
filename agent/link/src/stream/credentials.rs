//! What the agent shows to the server, and by what it knows the server.

use std::path::{Path, PathBuf};

use piculet_core::retry::Verdict;
use piculet_core::secret::Secret;
use rustls::InconsistentKeys;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use crate::link::{Cause, Ended};

/// The agent's token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// The text itself.
    Text(Secret),
    /// A file that holds it, read for each session. White space around it is ignored.
    File(PathBuf),
}

/// Whom to trust, and who the agent is, below the stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// PEM file of the certificate authorities to trust; `None`: those of the machine.
    pub authorities: Option<PathBuf>,
    /// The agent's own certificate.
    pub certificate: Option<ClientCertificate>,
    /// The name that the server's certificate must have; `None`: the host of the address.
    pub server_name: Option<String>,
}

/// PEM files of a certificate, read for each session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate and those above it.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Why a certificate and a key are no pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mismatch {
    /// The certificate can't be used.
    Certificate(String),
    /// There is no private key in PEM, or it needs a password.
    NoKey,
    /// The key is that of another certificate.
    OtherKey,
}

impl Token {
    /// The value of the `authorization` header.
    pub(super) async fn authorization(&self) -> Result<AsciiMetadataValue, Ended> {
        let bearer = Secret::new(format!("Bearer {}", self.read().await?.expose()));
        let mut value = AsciiMetadataValue::try_from(bearer.expose())
            .map_err(|_| unusable(&self.what(), "it has characters that no header can hold"))?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// The text, without white space around it.
    pub(crate) async fn read(&self) -> Result<Secret, Ended> {
        let text = match self {
            Self::Text(token) => token.clone(),
            Self::File(path) => String::from_utf8(read(&self.what(), path).await?)
                .map(Secret::new)
                .map_err(|_| unusable(&self.what(), "it is no text"))?,
        };
        match text.expose().trim() {
            "" => Err(unusable(&self.what(), "it is empty")),
            token => Ok(Secret::new(token)),
        }
    }

    fn what(&self) -> String {
        match self {
            Self::Text(_) => "token".to_owned(),
            Self::File(path) => format!("token file '{}'", path.display()),
        }
    }
}

impl Tls {
    pub(crate) async fn client_config(&self) -> Result<ClientTlsConfig, Ended> {
        let config = self.trusting_nobody().await?;
        Ok(match &self.authorities {
            None => config.with_native_roots(),
            Some(path) => {
                let what = format!("file of certificate authorities '{}'", path.display());
                let pem = read(&what, path).await?;
                certificates(&what, &pem)?;
                config.ca_certificate(Certificate::from_pem(pem))
            }
        })
    }

    /// All but the authorities, for whoever judges the server's certificate in another way.
    pub(crate) async fn trusting_nobody(&self) -> Result<ClientTlsConfig, Ended> {
        let mut config = ClientTlsConfig::new();
        if let Some(ClientCertificate { certificate, key }) = &self.certificate {
            let (of, what) = (format!("certificate file '{}'", certificate.display()), key.display());
            let what = format!("key file '{what}'");
            let (certificate, key) = (read(&of, certificate).await?, read(&what, key).await?);
            let chain = certificates(&of, &certificate)?;
            is_pair(chain, &key).map_err(|problem| match problem {
                Mismatch::Certificate(reason) => unusable(&of, &reason),
                Mismatch::NoKey => unusable(&what, "it holds no private key in PEM, or one behind a password"),
                Mismatch::OtherKey => unusable(&what, &format!("it does not belong to the {of}")),
            })?;
            config = config.identity(Identity::from_pem(certificate, key));
        }
        if let Some(name) = &self.server_name {
            config = config.domain_name(name);
        }
        Ok(config)
    }
}

/// The certificates of a file; the library would take one without any for a file that trusts nobody.
fn certificates(what: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Ended> {
    match CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>() {
        Ok(found) if found.is_empty() => Err(unusable(what, "it holds no certificate in PEM")),
        Ok(found) => Ok(found),
        Err(error) => Err(unusable(what, &format!("it holds no certificate that can be read: {error}"))),
    }
}

/// Looks whether a private key, PEM, belongs to a certificate. `chain` has at least that one.
///
/// # Errors
/// If it doesn't, or one of the two can't be used.
pub fn is_pair(chain: Vec<CertificateDer<'static>>, key: &[u8]) -> Result<(), Mismatch> {
    // Not the library's words: they could quote the key.
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| Mismatch::NoKey)?;
    match CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Err(Mismatch::OtherKey),
        Err(error) => Err(Mismatch::Certificate(error.to_string())),
    }
}

async fn read(what: &str, path: &Path) -> Result<Vec<u8>, Ended> {
    tokio::fs::read(path).await.map_err(|error| unusable(what, &error.to_string()))
}

/// What is wrong now may be put right while the agent runs, as a wrong token may.
pub(crate) fn unusable(what: &str, reason: &str) -> Ended {
    let cause = Cause::Credentials { what: what.to_owned(), reason: reason.to_owned() };
    Ended { cause, verdict: Verdict::Reauthenticate }
}
