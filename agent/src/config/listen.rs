//! Where a port is opened, and under which name this machine itself reaches it.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::str::FromStr;

/// An address to listen on: `host:port`, or `:port` for all addresses of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// A name or an IP address, without the brackets of IPv6; absent: all addresses.
    host: Option<String>,
    port: u16,
}

/// A text that is no address to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no address; write host:port, or :port for all addresses of the machine")]
pub struct BadListen;

impl Listen {
    /// All addresses of the machine.
    pub fn everywhere(port: u16) -> Self {
        Self { host: None, port }
    }

    /// Opens the port.
    ///
    /// # Errors
    /// If it is taken, the host has no address, or the address is none of this machine.
    pub fn bind(&self) -> io::Result<TcpListener> {
        match &self.host {
            Some(host) => TcpListener::bind((host.as_str(), self.port)),
            // One socket for IPv6 and IPv4, or for the latter alone where the machine has no other.
            None => TcpListener::bind((Ipv6Addr::UNSPECIFIED, self.port))
                .or_else(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, self.port))),
        }
    }

    /// What to dial on this machine to get there: host and port.
    pub fn here(&self) -> (&str, u16) {
        let host = self.host.as_deref().unwrap_or("localhost");
        let is_everywhere = host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified());
        (if is_everywhere { "localhost" } else { host }, self.port)
    }
}

impl FromStr for Listen {
    type Err = BadListen;

    fn from_str(text: &str) -> Result<Self, BadListen> {
        let (host, port) = text.trim().rsplit_once(':').ok_or(BadListen)?;
        let port = port.parse().map_err(|_| BadListen)?;
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(inner) if inner.parse::<Ipv6Addr>().is_ok() => inner,
            Some(_) => return Err(BadListen),
            None => host,
        };
        let is_name = |host: &str| host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        match host {
            "" => Ok(Self::everywhere(port)),
            _ if is_name(host) || host.parse::<IpAddr>().is_ok() => Ok(Self { host: Some(host.to_owned()), port }),
            _ => Err(BadListen),
        }
    }
}

impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Self {
        Self { host: Some(address.ip().to_string()), port: address.port() }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Some(host) if host.contains(':') => write!(f, "[{host}]:{}", self.port),
            Some(host) => write!(f, "{host}:{}", self.port),
            None => write!(f, ":{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Listen;

    #[test]
    fn addresses_are_read_as_go_writes_them() {
        for (text, here) in [
            (":3000", ("localhost", 3000)),
            ("0.0.0.0:3000", ("localhost", 3000)),
            ("[::]:3000", ("localhost", 3000)),
            ("127.0.0.1:80", ("127.0.0.1", 80)),
            ("[::1]:80", ("::1", 80)),
            ("my-host.ci:80", ("my-host.ci", 80)),
        ] {
            let listen: Listen = text.parse().unwrap();
            assert_eq!((listen.to_string().as_str(), listen.here()), (text, here));
        }
        for text in ["", "3000", "here", "host:port", "host:65536", "[host]:80", "a b:80", "http://host:80", "::1:x"] {
            assert!(text.parse::<Listen>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_listens_everywhere_is_reached_here() {
        let listener = Listen::everywhere(0).bind().unwrap();
        let port = listener.local_addr().unwrap().port();
        std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    }
}
