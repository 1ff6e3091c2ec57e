//! An authority of its own, and a certificate for this machine's loopback address.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

/// The files of one pair, which go with it.
pub(crate) struct Certificates {
    folder: TempDir,
    /// The certificate, PEM.
    pub(crate) chain: String,
    /// Its key, PEM.
    pub(crate) private: String,
}

impl Certificates {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "benchmark");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let chain = params.signed_by(&key, &authority).unwrap().pem();
        let made = Self { folder: TempDir::new().unwrap(), chain, private: key.serialize_pem() };
        std::fs::write(made.authority(), authority.pem()).unwrap();
        std::fs::write(made.certificate(), &made.chain).unwrap();
        std::fs::write(made.key(), &made.private).unwrap();
        made
    }

    pub(crate) fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.path().join("tls.pem")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }
}
