//! The files and directories that a configuration names.

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::path::Path;

use piculet_core::secret::is_token;
use piculet_link::log_folder::{LogFolder, LogFolderError};
use piculet_link::stream::{Mismatch, is_pair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::layers::{ConfigError, Source};
use super::{Config, LogFile, Logs, Server};

/// Looks whether every file that is named can be read and holds what it is said to hold, and whether there can be logs
/// in the directory and the file for them.
pub fn unreadable(config: &Config) -> Vec<ConfigError> {
    let (server, kubernetes) = (&config.server, &config.kubernetes);
    let traces = config.traces.as_ref().map(|traces| traces.tls.clone()).unwrap_or_default();
    let pair = traces.certificate.map(|pair| (pair.certificate, pair.key));
    let (collectors, collectors_key) = pair.unzip();
    let files = [
        ("server.token_file", &server.token_file, token as fn(&[u8]) -> Result<(), String>),
        ("server.ca_file", &server.ca_file, certificates),
        ("server.certificate_file", &server.certificate_file, certificates),
        ("server.key_file", &server.key_file, key),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", &traces.authorities, certificates),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", &collectors, certificates),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", &collectors_key, key),
        ("kubernetes.kubeconfig", &kubernetes.kubeconfig, |_| Ok(())),
    ];
    let named = files.into_iter().filter_map(|(key, path, look)| Some((key, path.as_ref()?, look)));
    let mut wrong: Vec<_> = named.filter_map(|(key, path, look)| Some((key, wrong(path, look)?))).collect();
    if wrong.is_empty() {
        wrong.extend(no_pair(server).map(|message| ("server.key_file", message)));
    }
    wrong.extend(unwritable(&config.log.file).map(|message| ("log.file", message)));
    wrong.extend(log_folder(&config.logs).err().map(|error| ("logs.directory", error.to_string())));
    let wrong = wrong.into_iter();
    wrong.map(|(key, message)| ConfigError { key: key.to_owned(), source: Source::Nowhere, message }).collect()
}

/// The folder for log lines that memory is too small for, if the configuration wants one.
///
/// # Errors
/// The directory can't be used.
pub(crate) fn log_folder(logs: &Logs) -> Result<Option<LogFolder>, LogFolderError> {
    let directory = logs.directory.as_deref().filter(|_| logs.disk > 0);
    directory.map(LogFolder::open).transpose()
}

/// What keeps the agent's own log from its file. Nothing is made here: it is begun when the agent starts.
fn unwritable(file: &LogFile) -> Option<String> {
    let LogFile::Path(path) = file else { return None };
    let error = match OpenOptions::new().append(true).open(path) {
        Ok(_) => return None,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let folder =
                path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
            if folder.is_dir() {
                return None;
            }
            format!("there is no directory '{}'", folder.display())
        }
        Err(error) => error.to_string(),
    };
    Some(format!("the file '{}' can't be written: {error}", path.display()))
}

/// What keeps the client certificate and its key from being used together.
fn no_pair(server: &Server) -> Option<String> {
    let (certificate, key) = (server.certificate_file.as_ref()?, server.key_file.as_ref()?);
    let chain = CertificateDer::pem_slice_iter(&fs::read(certificate).ok()?).collect::<Result<Vec<_>, _>>().ok()?;
    let (certificate, key_pem) = (certificate.display(), fs::read(key).ok()?);
    match is_pair(chain, &key_pem).err()? {
        Mismatch::OtherKey => {
            Some(format!("the file '{}' holds the key of another certificate than '{certificate}'", key.display()))
        }
        Mismatch::NoKey => Some(format!("the file '{}' holds no private key in PEM", key.display())),
        Mismatch::Certificate(reason) => Some(format!("the certificate in '{certificate}' can't be used: {reason}")),
    }
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
