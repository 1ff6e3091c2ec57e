//! Certificates in files, and what they become.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{InconsistentKeys, RootCertStore, ServerConfig};
use zeroize::Zeroizing;

use super::certificate::Validity;

/// Where a server's certificate is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and those above it, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// Certificates of authorities, PEM: only clients with a certificate of one of them are let in. `None`: all are.
    pub client_authority: Option<PathBuf>,
}

/// One of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFile {
    /// [`TlsFiles::certificate`].
    Certificate,
    /// [`TlsFiles::key`].
    Key,
    /// [`TlsFiles::client_authority`].
    ClientAuthority,
}

/// A file can't be used for TLS. The words hold nothing of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {file} '{}' {problem}", path.display())]
pub struct TlsError {
    /// Which of the files.
    pub file: TlsFile,
    /// Its path.
    pub path: PathBuf,
    /// What is wrong with it: `can't be read: …`.
    pub problem: String,
}

/// What stood in the files at one moment.
#[derive(PartialEq, Eq)]
pub(super) struct Contents {
    certificate: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
    client_authority: Option<Vec<u8>>,
}

/// What the files say, ready for use.
#[derive(Debug, Clone)]
pub(super) struct Credentials {
    /// Without protocols of an upper layer.
    pub(super) config: Arc<ServerConfig>,
    /// Of the server's own certificate.
    pub(super) validity: Validity,
}

impl fmt::Display for TlsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "certificate file",
            Self::Key => "key file",
            Self::ClientAuthority => "file of client authorities",
        })
    }
}

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contents").finish_non_exhaustive()
    }
}

impl TlsFiles {
    /// Reads the files. It blocks.
    pub(super) fn read(&self) -> Result<Contents, TlsError> {
        let read =
            |file, path: &Path| fs::read(path).map_err(|error| self.error(file, format!("can't be read: {error}")));
        let authority = self.client_authority.as_deref();
        Ok(Contents {
            certificate: read(TlsFile::Certificate, &self.certificate)?,
            key: Zeroizing::new(read(TlsFile::Key, &self.key)?),
            client_authority: authority.map(|path| read(TlsFile::ClientAuthority, path)).transpose()?,
        })
    }

    /// Turns what stood in the files into credentials.
    pub(super) fn credentials(&self, contents: &Contents) -> Result<Credentials, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let chain = self.certificates(TlsFile::Certificate, &contents.certificate)?;
        let validity = chain.first().and_then(|own| Validity::of(own));
        let validity = validity.ok_or_else(|| self.error(TlsFile::Certificate, "holds no certificate of X.509"))?;
        // Not the library's words: they could quote the key.
        let key = PrivateKeyDer::from_pem_slice(&contents.key)
            .map_err(|_| self.error(TlsFile::Key, "holds no private key in PEM, or one behind a password"))?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| self.error(TlsFile::Certificate, error.to_string()))?;
        let builder = match &contents.client_authority {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let roots = self.roots(authority)?;
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|error: VerifierBuilderError| {
                    self.error(TlsFile::ClientAuthority, format!("can't be used: {error}"))
                })?)
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                let of = self.certificate.display();
                self.error(TlsFile::Key, format!("does not belong to the certificate in '{of}'"))
            }
            error => self.error(TlsFile::Certificate, format!("can't be used: {error}")),
        })?;
        // Whoever comes back shows its certificate again: the authorities may have changed, or its time may be over.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Credentials { config: Arc::new(config), validity })
    }

    /// The certificate is used outside its time.
    pub(super) fn out_of_time(&self, credentials: &Credentials, now: Timestamp) -> Option<TlsError> {
        credentials.validity.problem(now).map(|problem| self.error(TlsFile::Certificate, problem))
    }

    fn roots(&self, pem: &[u8]) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        for authority in self.certificates(TlsFile::ClientAuthority, pem)? {
            roots
                .add(authority)
                .map_err(|error| self.error(TlsFile::ClientAuthority, format!("can't be used: {error}")))?;
        }
        Ok(roots)
    }

    fn certificates(&self, file: TlsFile, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        match CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>() {
            Ok(found) if found.is_empty() => Err(self.error(file, "holds no certificate in PEM")),
            Ok(found) => Ok(found),
            Err(error) => Err(self.error(file, format!("holds no certificate that can be read: {error}"))),
        }
    }

    fn error(&self, file: TlsFile, problem: impl Into<String>) -> TlsError {
        let path = match file {
            TlsFile::Certificate => &self.certificate,
            TlsFile::Key => &self.key,
            TlsFile::ClientAuthority => self.client_authority.as_ref().unwrap_or(&self.certificate),
        };
        TlsError { file, path: path.clone(), problem: problem.into() }
    }
}
