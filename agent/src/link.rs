//! The link that the configuration asks for.

use piculet_link::stream::{Address, ClientCertificate, Settings, StreamLink, Tls, Token};
use piculet_link::woodpecker::{self, Transport, WoodpeckerLink};

use crate::clock::Clock;
use crate::config::{Config, Server};
use crate::site::own_platform;

/// The stream to a server.
pub fn stream(address: &Address, server: &Server) -> StreamLink {
    StreamLink::new(settings(address, server))
}

/// How the stream reaches the server of a configuration.
pub fn settings(address: &Address, server: &Server) -> Settings {
    let mut settings = Settings::new(address.clone());
    settings.token = token(server);
    settings.tls = tls(server);
    settings.keep_alive = server.keep_alive.time;
    settings.keep_alive_timeout = server.keep_alive.timeout;
    settings
}

/// The link to a Woodpecker server. `seed` lets agents that lost it at the same moment call it at different ones.
pub fn woodpecker(address: &woodpecker::Address, config: &Config, seed: u64) -> WoodpeckerLink {
    WoodpeckerLink::new(woodpecker_settings(address, config, seed), || Clock::Machine.now())
}

/// How a Woodpecker server is reached, and what it is told.
pub fn woodpecker_settings(address: &woodpecker::Address, config: &Config, seed: u64) -> woodpecker::Settings {
    let server = &config.server;
    woodpecker::Settings {
        transport: Transport {
            tls: tls(server),
            skip_verify: server.skip_verify,
            proxies: server.proxies.clone(),
            keep_alive: server.keep_alive,
            ..Transport::new(address.clone())
        },
        token: token(server),
        id_file: server.id_file.clone(),
        hostname: config.agent.hostname.clone(),
        platform: own_platform(),
        retry_timeout: server.retry_timeout,
        seed,
    }
}

/// The agent's token.
fn token(server: &Server) -> Option<Token> {
    match (&server.token, &server.token_file) {
        (Some(token), _) => Some(Token::Text(token.clone())),
        (None, Some(file)) => Some(Token::File(file.clone())),
        (None, None) => None,
    }
}

fn tls(server: &Server) -> Tls {
    let pair = server.certificate_file.clone().zip(server.key_file.clone());
    Tls {
        authorities: server.ca_file.clone(),
        certificate: pair.map(|(certificate, key)| ClientCertificate { certificate, key }),
        server_name: server.tls_name.clone(),
    }
}
