//! The link that the configuration asks for.

use piculet_link::stream::{ClientCertificate, Settings, StreamLink, Tls, Token};

use crate::config::Server;

/// The stream to a server.
pub fn stream(server: &Server) -> StreamLink {
    StreamLink::new(settings(server))
}

/// How the stream reaches the server of a configuration.
pub fn settings(server: &Server) -> Settings {
    let mut settings = Settings::new(server.address.clone());
    settings.token = match (&server.token, &server.token_file) {
        (Some(token), _) => Some(Token::Text(token.clone())),
        (None, Some(file)) => Some(Token::File(file.clone())),
        (None, None) => None,
    };
    let pair = server.certificate_file.clone().zip(server.key_file.clone());
    settings.tls = Tls {
        authorities: server.ca_file.clone(),
        certificate: pair.map(|(certificate, key)| ClientCertificate { certificate, key }),
        server_name: server.tls_name.clone(),
    };
    settings
}
