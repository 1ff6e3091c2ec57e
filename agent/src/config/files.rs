//! The files that a configuration names.

use std::fs;
use std::path::Path;

use piculet_core::secret::is_token;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::Config;
use super::layers::{ConfigError, Source};

/// Looks whether every file that is named can be read and holds what it is said to hold.
pub fn unreadable(config: &Config) -> Vec<ConfigError> {
    let (server, kubernetes) = (&config.server, &config.kubernetes);
    let files = [
        ("server.token_file", &server.token_file, token as fn(&[u8]) -> Result<(), String>),
        ("server.ca_file", &server.ca_file, certificates),
        ("server.certificate_file", &server.certificate_file, certificates),
        ("server.key_file", &server.key_file, key),
        ("kubernetes.kubeconfig", &kubernetes.kubeconfig, |_| Ok(())),
    ];
    let named = files.into_iter().filter_map(|(key, path, look)| Some((key, path.as_ref()?, look)));
    let wrong = named.filter_map(|(key, path, look)| Some((key, wrong(path, look)?)));
    wrong.map(|(key, message)| ConfigError { key: key.to_owned(), source: Source::Nowhere, message }).collect()
}

fn wrong(path: &Path, look: fn(&[u8]) -> Result<(), String>) -> Option<String> {
    match fs::read(path) {
        Err(error) => Some(format!("the file '{}' can't be read: {error}", path.display())),
        Ok(bytes) => look(&bytes).err().map(|problem| format!("the file '{}' {problem}", path.display())),
    }
}

fn token(bytes: &[u8]) -> Result<(), String> {
    match std::str::from_utf8(bytes).map(str::trim) {
        Ok("") => Err("is empty; it has to hold the agent's token".to_owned()),
        Ok(text) if is_token(text) => Ok(()),
        _ => Err("holds no token; that is one word of ASCII".to_owned()),
    }
}

fn certificates(bytes: &[u8]) -> Result<(), String> {
    match CertificateDer::pem_slice_iter(bytes).collect::<Result<Vec<_>, _>>() {
        Ok(found) if found.is_empty() => Err("holds no certificate in PEM".to_owned()),
        Ok(_) => Ok(()),
        Err(error) => Err(format!("holds no certificate that can be read: {error}")),
    }
}

fn key(bytes: &[u8]) -> Result<(), String> {
    // Not the library's words: they could quote the key.
    PrivateKeyDer::from_pem_slice(bytes).map(drop).map_err(|_| "holds no private key in PEM".to_owned())
}
