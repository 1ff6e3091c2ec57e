//! The files that a configuration names.

use std::fs::File;

use super::Config;
use super::layers::{ConfigError, Source};

/// Looks whether every file that is named can be read.
///
/// # Errors
/// Those that can't, all of them.
pub fn readable(config: &Config) -> Result<(), Vec<ConfigError>> {
    let named = [
        ("server.token_file", &config.server.token_file),
        ("server.ca_file", &config.server.ca_file),
        ("server.certificate_file", &config.server.certificate_file),
        ("server.key_file", &config.server.key_file),
        ("kubernetes.kubeconfig", &config.kubernetes.kubeconfig),
    ];
    let mut errors = Vec::new();
    for (key, path) in named {
        let Some(path) = path else { continue };
        if let Err(error) = File::open(path) {
            let message = format!("the file '{}' can't be read: {error}", path.display());
            errors.push(ConfigError { key: key.to_owned(), source: Source::Nowhere, message });
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}
