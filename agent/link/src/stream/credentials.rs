//! What the agent shows to the server, and by what it knows the server.

use std::path::{Path, PathBuf};

use piculet_core::retry::Verdict;
use piculet_core::secret::Secret;
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

impl Token {
    /// The value of the `authorization` header.
    pub(super) async fn authorization(&self) -> Result<AsciiMetadataValue, Ended> {
        let (what, token) = match self {
            Self::Text(token) => ("token".to_owned(), token.clone()),
            Self::File(path) => {
                let what = format!("token file '{}'", path.display());
                let token = String::from_utf8(read(&what, path).await?)
                    .map(Secret::new)
                    .map_err(|_| unusable(&what, "it is no text"))?;
                (what, token)
            }
        };
        let bearer = Secret::new(format!("Bearer {}", token.expose().trim()));
        if bearer.expose() == "Bearer " {
            return Err(unusable(&what, "it is empty"));
        }
        let mut value = AsciiMetadataValue::try_from(bearer.expose())
            .map_err(|_| unusable(&what, "it has characters that no header can hold"))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl Tls {
    pub(super) async fn client_config(&self) -> Result<ClientTlsConfig, Ended> {
        let mut config = ClientTlsConfig::new();
        config = match &self.authorities {
            None => config.with_native_roots(),
            Some(path) => {
                let pem = read(&format!("file of certificate authorities '{}'", path.display()), path).await?;
                config.ca_certificate(Certificate::from_pem(pem))
            }
        };
        if let Some(ClientCertificate { certificate, key }) = &self.certificate {
            let certificate = read(&format!("certificate file '{}'", certificate.display()), certificate).await?;
            let key = read(&format!("key file '{}'", key.display()), key).await?;
            config = config.identity(Identity::from_pem(certificate, key));
        }
        if let Some(name) = &self.server_name {
            config = config.domain_name(name);
        }
        Ok(config)
    }
}

async fn read(what: &str, path: &Path) -> Result<Vec<u8>, Ended> {
    tokio::fs::read(path).await.map_err(|error| unusable(what, &error.to_string()))
}

/// What is wrong now may be put right while the agent runs, as a wrong token may.
pub(super) fn unusable(what: &str, reason: &str) -> Ended {
    let cause = Cause::Credentials { what: what.to_owned(), reason: reason.to_owned() };
    Ended { cause, verdict: Verdict::Reauthenticate }
}
